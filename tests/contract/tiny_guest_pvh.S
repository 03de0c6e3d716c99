/*
 * The guest of tiny_guest_x86.S for Cloud Hypervisor, which boots no sixteen-bit code: an ELF image
 * with a PVH note, entered with flat segments and without paging. Same keys, same words.
 *
 * Addresses: serial 0x3f8; ACPI's shutdown device at 0x600 takes 0x34 (S5) and 1 (reset); the power
 * button is told by the event device, a byte of memory that reading clears, whose address only its
 * AML says: the region "GDST", looked for behind the RSDP at 0xa0000; PCI by 0xcf8/0xcfc.
 */
#define BASE     0x100000
#define AT(x)    ((x) - pvh_guest_start + BASE)
#define PANIC_ID 0x00111b36
#define TABLES   0x200000   /* of pages: four times 512, then the four that lead to them */
#define WINDOW   0x40000000 /* behind all memory */

    .section .rodata
    .globl pvh_guest_start, pvh_guest_end
    .code32
    .balign 16
pvh_guest_start:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .short 2, 62            /* an executable, x86-64 */
    .long 1
    .quad AT(main), 64, 0   /* entry, program headers, no sections */
    .long 0
    .short 64, 56, 2, 64, 0, 0

    .long 1, 7              /* all of it, and a page for the stack */
    .quad 0, BASE, BASE, pvh_guest_end - pvh_guest_start, 0x2000, 0x1000
    .long 4, 4
    .quad note - pvh_guest_start, AT(note), AT(note), 20, 20, 4

note:
    .long 4, 4, 18          /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long AT(main)

main:
    cli
    cld
    mov $(BASE + 0x2000), %esp
    xor %ebx, %ebx          /* 1: the button is ignored */
    call find_button
    mov $AT(banner), %esi
1:  lodsb
    test %al, %al
    jz loop
    call putc
    jmp 1b

loop:
    test %ebp, %ebp
    jz 2f
    movb (%ebp), %al        /* seen: cleared by reading it */
    test $8, %al
    jz 2f
    test %ebx, %ebx
    jz poweroff
2:  mov $0x3fd, %dx
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
3:  in %dx, %al
    test $0x20, %al
    jz 3b
    mov $0x3f8, %dx
    mov %ah, %al
    out %al, %dx
    ret

ignore:
    mov $1, %ebx
    call putc
    jmp loop

poweroff:
    mov $0x34, %al
    jmp 4f
reset:
    mov $1, %al
4:  mov $0x600, %dx
    out %al, %dx
    jmp loop

find_button:                /* OpRegion(GDST, SystemMemory, address, …): seen at ebp, else 0 */
    xor %ebp, %ebp
    mov $0xa0000, %esi
5:  cmpl $0x54534447, (%esi)
    jne 6f
    cmpw $0x0e00, 4(%esi)   /* an integer of eight bytes */
    je 7f
6:  inc %esi
    cmp $0xffff0, %esi
    jb 5b
    ret
7:  mov $TABLES, %edi       /* it lies at the end of all addresses: PAE, 4 GiB as they are, … */
    mov $0x83, %eax
8:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $8, %edi
    add $0x200000, %eax
    jnc 8b
    mov $(TABLES + 1), %eax
9:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $8, %edi
    add $0x1000, %eax
    cmp $(TABLES + 0x4000), %eax
    jb 9b
    mov 6(%esi), %eax       /* … and 2 MiB of it where nothing is */
    mov %eax, %ebp
    and $0x1fffff, %ebp
    or $WINDOW, %ebp
    and $0xffe00000, %eax
    or $0x83, %eax
    mov %eax, TABLES + WINDOW / 0x200000 * 8
    mov 10(%esi), %eax
    mov %eax, TABLES + WINDOW / 0x200000 * 8 + 4
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $(TABLES + 0x4000), %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ret

panic:                      /* the first device of bus 0 that is pvpanic: 1 into its register */
    mov $0x80000000, %ecx
1:  mov %ecx, %eax
    call pci
    cmp $PANIC_ID, %eax
    je 2f
    add $0x800, %ecx
    cmp $0x80010000, %ecx
    jb 1b
    jmp loop
2:  lea 0x10(%ecx), %eax
    call pci
    and $0xfffffff0, %eax
    movb $1, (%eax)
    jmp loop

pci:
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    ret

banner:
    .asciz "tiny guest\r\nVMRS_READY 10.0.2.15\r\n"
pvh_guest_end:
    .section .note.GNU-stack, "", %progbits
