/*
 * A guest in one sector: a bzImage by its header, and then sixteen-bit code that needs no kernel.
 * It prints a banner and the readiness marker on the first serial port and obeys single keys there:
 *     p  powers off     r  resets     k  tells pvpanic of a panic     i  ignores the power button
 * Anything else is printed back. It powers off when the power button is pressed.
 *
 * Addresses: serial 0x3f8; ACPI PM1 of q35 at 0x600 (status), 0x602 (enable), 0x604 (control);
 * reset 0xcf9; PCI 00:02.0 (pvpanic) by 0xcf8/0xcfc.
 */
    .section .rodata
    .globl tiny_guest_start, tiny_guest_end
    .code16
tiny_guest_start:
    .fill 0x1f1, 1, 0
    .byte 1                 /* setup_sects: one sector of setup code follows */
    .fill 0x1fe - 0x1f2, 1, 0
    .word 0xaa55
setup:                      /* 0x200: entered in real mode as 0x1020:0 */
    .byte 0xeb, main - 1f
1:  .ascii "HdrS"
    .word 0x0206            /* protocol */
    .fill 0x211 - 0x208, 1, 0
    .byte 1                 /* loadflags: the kernel proper goes to 1 MiB */
    .fill 0x260 - 0x212, 1, 0

main:
    cli
    push %cs
    pop %ds
    mov $0x602, %dx         /* let the power button show in the status register */
    mov $0x0100, %ax
    out %ax, %dx
    xor %bx, %bx            /* 1: the button is ignored */
    mov $(banner - setup), %si
2:  lodsb
    test %al, %al
    jz loop
    call putc
    jmp 2b

loop:
    mov $0x600, %dx
    in %dx, %ax
    test $0x0100, %ax
    jz 3f
    mov $0x0100, %ax        /* seen: cleared by writing it */
    out %ax, %dx
    test %bx, %bx
    jz poweroff
3:  mov $0x3fd, %dx
    in %dx, %al
    test $1, %al
    jz loop
    mov $0x3f8, %dx
    in %dx, %al
    cmp $'p', %al
    je poweroff
    cmp $'r', %al
    je reset
    cmp $'k', %al
    je panic
    cmp $'i', %al
    je ignore
    call putc
    jmp loop

putc:
    mov %al, %ah
    mov $0x3fd, %dx
4:  in %dx, %al
    test $0x20, %al
    jz 4b
    mov $0x3f8, %dx
    mov %ah, %al
    out %al, %dx
    ret

ignore:
    mov $1, %bx
    call putc
    jmp loop

poweroff:
    mov $0x604, %dx
    mov $0x2000, %ax
    out %ax, %dx
    jmp loop

reset:
    mov $0xcf9, %dx
    mov $0x06, %al
    out %al, %dx
    jmp loop

panic:                      /* the device's register is above 1 MiB: a flat segment first */
    mov $0x80001010, %eax
    mov $0xcf8, %dx
    outl %eax, %dx
    mov $0xcfc, %dx
    inl %dx, %eax
    and $0xfffffff0, %eax
    mov %eax, %ebp
    xor %eax, %eax
    mov %cs, %ax
    shl $4, %eax
    add $(gdt - setup), %eax
    mov %eax, (gdtr + 2 - setup)
    lgdtl (gdtr - setup)
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    mov $8, %cx
    mov %cx, %es
    and $0xfe, %al
    mov %eax, %cr0
    movb $1, %es:(%ebp)
    jmp loop

banner:
    .asciz "tiny guest\r\nVMRS_READY 10.0.2.15\r\n"
    .balign 8
gdt:
    .quad 0
    .quad 0x008f92000000ffff
gdtr:
    .word 15
    .long 0
    .fill 0x400 - (. - tiny_guest_start), 1, 0
    .fill 0x200, 1, 0       /* the kernel proper: never run, but it must be there */
tiny_guest_end:
    .section .note.GNU-stack, "", %progbits
