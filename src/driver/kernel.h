/* What a kernel file is, from its first bytes and ELF notes. Pure; the bytes are hostile input. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vivi_kernel_kind {
    VIVI_KERNEL_NONE,    /* not one that boots here; text says what it is */
    VIVI_KERNEL_BZIMAGE, /* Linux/x86 boot protocol */
    VIVI_KERNEL_PVH      /* ELF with the PVH entry note */
};

/* ret_text: "gzip data", "ELF, no PVH note", "bzImage"; static. notes: see vivi_path_fact. */
enum vivi_kernel_kind vivi_kernel_kind(const uint8_t *head, size_t head_len, const uint8_t *notes,
                                       size_t notes_len, const char **ret_text);

/* Program headers of an x86-64 ELF file that are notes, for the one who gathers them. Calls cb with
 * offset and size of each, at most 16. Nothing happens when head is no such file. */
void vivi_elf_each_note(const uint8_t *head, size_t head_len,
                        void (*cb)(void *arg, uint64_t offset, uint64_t size), void *arg);
