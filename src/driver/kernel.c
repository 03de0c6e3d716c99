/*
 * Recognising kernels. Linux/x86 boot protocol: Documentation/x86/boot.rst ("HdrS" at 0x202). PVH:
 * an ELF note of owner "Xen" and type 18 (XEN_ELFNOTE_PHYS32_ENTRY) gives the entry point.
 */
#include "driver/kernel.h"

#include <string.h>

#define BOOT_FLAG_AT     0x1fe
#define HDRS_AT          0x202
#define ARM64_MAGIC_AT   0x38
#define ELF_HEADER_BYTES 64
#define ELF_MAX_PHDRS    16
#define ELF_PHDR_BYTES   56
#define PT_NOTE_TYPE     4
#define EM_X86_64_ID     62
#define XEN_PHYS32_ENTRY 18

static uint32_t le16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p) | le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
    return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
}

static bool is_elf(const uint8_t *head, size_t len)
{
    return len >= 4 && memcmp(head, "\177ELF", 4) == 0;
}

/* 64 bits, little endian, x86-64. */
static bool is_x86_elf(const uint8_t *head, size_t len)
{
    return is_elf(head, len) && len >= ELF_HEADER_BYTES && head[4] == 2 && head[5] == 1 &&
           le16(head + 18) == EM_X86_64_ID;
}

void vivi_elf_each_note(const uint8_t *head, size_t head_len,
                        void (*cb)(void *arg, uint64_t offset, uint64_t size), void *arg)
{
    uint64_t at;
    uint32_t n;

    if (!is_x86_elf(head, head_len) || le16(head + 54) != ELF_PHDR_BYTES)
        return;
    at = le64(head + 32);
    n = le16(head + 56);
    for (uint32_t i = 0; i < n && i < ELF_MAX_PHDRS; i++) {
        const uint8_t *phdr;

        if (at > head_len || head_len - at < ELF_PHDR_BYTES)
            return;
        phdr = head + at;
        if (le32(phdr) == PT_NOTE_TYPE)
            cb(arg, le64(phdr + 8), le64(phdr + 32));
        at += ELF_PHDR_BYTES;
    }
}

static size_t padded(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

static bool has_pvh_note(const uint8_t *notes, size_t len)
{
    size_t at = 0;

    while (len - at >= 12) {
        size_t name_len = le32(notes + at), desc_len = le32(notes + at + 4);
        uint32_t type = le32(notes + at + 8);

        at += 12;
        if (name_len > len - at || padded(name_len) > len - at)
            return false;
        if (type == XEN_PHYS32_ENTRY && name_len == 4 && memcmp(notes + at, "Xen", 4) == 0)
            return true;
        at += padded(name_len);
        if (desc_len > len - at || padded(desc_len) > len - at)
            return false;
        at += padded(desc_len);
    }
    return false;
}

/* What else people mistake for a kernel. */
static const char *describe(const uint8_t *head, size_t len)
{
    static const struct {
        size_t at;
        const char *magic;
        size_t len;
        const char *text;
    } known[] = {
        {0, "\x1f\x8b", 2, "gzip data"},
        {0,
         "\xfd"
         "7zXZ",
         5, "xz data"},
        {0, "\x28\xb5\x2f\xfd", 4, "zstd data"},
        {0, "BZh", 3, "bzip2 data"},
        {0, "\x02\x21\x4c\x18", 4, "LZ4 data"},
        {0, "\x04\x22\x4d\x18", 4, "LZ4 data"},
        {0, "070701", 6, "cpio archive"},
        {0, "070702", 6, "cpio archive"},
        {0, "QFI\xfb", 4, "qcow2 image"},
        {0, "PK\x03\x04", 4, "zip archive"},
        {257, "ustar", 5, "tar archive"},
        {ARM64_MAGIC_AT, "ARM\x64", 4, "arm64 Image"},
        {0,
         "\x7f"
         "ELF",
         4, "ELF, not x86-64"},
        {0, "MZ", 2, "EFI or DOS program"},
        {0, "#!", 2, "script"},
        {BOOT_FLAG_AT, "\x55\xaa", 2, "boot sector"},
    };

    if (len == 0)
        return "empty file";
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].at + known[i].len <= len &&
            memcmp(head + known[i].at, known[i].magic, known[i].len) == 0)
            return known[i].text;
    for (size_t i = 0; i < len; i++)
        if ((head[i] < 0x20 || head[i] == 0x7f) && (head[i] < '\t' || head[i] > '\r'))
            return "data";
    return "text";
}

enum vivi_kernel_kind vivi_kernel_kind(const uint8_t *head, size_t head_len, const uint8_t *notes,
                                       size_t notes_len, const char **ret_text)
{
    if (head_len >= HDRS_AT + 4 && head[BOOT_FLAG_AT] == 0x55 && head[BOOT_FLAG_AT + 1] == 0xaa &&
        memcmp(head + HDRS_AT, "HdrS", 4) == 0) {
        *ret_text = "bzImage";
        return VIVI_KERNEL_BZIMAGE;
    }
    if (is_x86_elf(head, head_len)) {
        bool pvh = notes && has_pvh_note(notes, notes_len);

        *ret_text = pvh ? "ELF with PVH note" : "ELF, no PVH note";
        return pvh ? VIVI_KERNEL_PVH : VIVI_KERNEL_NONE;
    }
    *ret_text = describe(head, head_len);
    return VIVI_KERNEL_NONE;
}
