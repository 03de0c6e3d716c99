#include "testing.h"

#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"

#define TAR_BLOCK 512

static void add(struct vivi_buf *b, const void *data, size_t len)
{
    assert_int_equal(vivi_buf_add(b, data, len), 0);
}

static void pad(struct vivi_buf *b, size_t to)
{
    static const char zeros[TAR_BLOCK];

    if (b->len % to != 0)
        add(b, zeros, to - b->len % to);
}

/* Twelve bytes of octal digits, or the base-256 form where octal is too short. */
static void tar_size(char field[12], uint64_t size)
{
    if (size < (uint64_t)1 << 33) {
        (void)snprintf(field, 12, "%011" PRIo64, size);
        return;
    }
    memset(field, 0, 12);
    field[0] = (char)0x80;
    for (int i = 11; size > 0; i--, size >>= 8)
        field[i] = (char)(size & 0xff);
}

void testing_tar_add(struct vivi_buf *tar, const struct testing_file *f)
{
    char h[TAR_BLOCK] = {0};
    unsigned int sum = 0;

    (void)snprintf(h, 100, "%s", f->name);
    memcpy(h + 100, "0000755", 8);
    memcpy(h + 108, "0000000", 8);
    memcpy(h + 116, "0000000", 8);
    tar_size(h + 124, f->claimed_bytes != 0 ? f->claimed_bytes : f->len);
    memcpy(h + 136, "00000000000", 12);
    memset(h + 148, ' ', 8);
    h[156] = f->type != 0 ? f->type : '0';
    if (f->type == '2')
        (void)snprintf(h + 157, 100, "target");
    memcpy(h + 257, "ustar\00000", 8);
    for (size_t i = 0; i < sizeof(h); i++)
        sum += (unsigned char)h[i];
    (void)snprintf(h + 148, 8, "%06o", sum);
    add(tar, h, sizeof(h));
    add(tar, f->data, f->len);
    pad(tar, TAR_BLOCK);
}

void testing_tar_end(struct vivi_buf *tar)
{
    static const char zeros[2 * TAR_BLOCK];

    add(tar, zeros, sizeof(zeros));
}

void testing_ar_begin(struct vivi_buf *ar)
{
    add(ar, "!<arch>\n", 8);
}

void testing_ar_add(struct vivi_buf *ar, const char *name, const void *data, size_t len)
{
    char h[61];

    (void)snprintf(h, sizeof(h), "%-16s%-12s%-6s%-6s%-8s%-10zu`\n", name, "0", "0", "0", "100644",
                   len);
    add(ar, h, 60);
    add(ar, data, len);
    if (len % 2 != 0)
        add(ar, "\n", 1);
}

void testing_write_deb(const char *path, const char *control, const struct testing_file *files)
{
    cleanup_buf struct vivi_buf ar = VIVI_BUF(TESTING_MAX_BYTES);
    cleanup_buf struct vivi_buf control_tar = VIVI_BUF(TESTING_MAX_BYTES);
    cleanup_buf struct vivi_buf data_tar = VIVI_BUF(TESTING_MAX_BYTES);
    const struct testing_file control_file = {
        .name = "./control", .data = control, .len = strlen(control)};

    testing_tar_add(&control_tar, &control_file);
    testing_tar_end(&control_tar);
    for (; files != NULL && files->name != NULL; files++)
        testing_tar_add(&data_tar, files);
    testing_tar_end(&data_tar);
    testing_ar_begin(&ar);
    testing_ar_add(&ar, "debian-binary", "2.0\n", 4);
    testing_ar_add(&ar, "control.tar", control_tar.data, control_tar.len);
    testing_ar_add(&ar, "data.tar", data_tar.data, data_tar.len);
    testing_write_file(path, ar.data, ar.len);
}

void testing_module(struct vivi_buf *elf, const char *modinfo, size_t len)
{
    static const char names[] = "\0.shstrtab\0.modinfo";
    Elf64_Ehdr h = {.e_type = ET_REL,
                    .e_machine = EM_X86_64,
                    .e_shoff = sizeof(h),
                    .e_shentsize = sizeof(Elf64_Shdr),
                    .e_shnum = 3,
                    .e_shstrndx = 1};
    Elf64_Shdr s[3] = {{0},
                       {.sh_name = 1, .sh_type = SHT_STRTAB, .sh_size = sizeof(names)},
                       {.sh_name = 11, .sh_type = SHT_PROGBITS, .sh_size = len}};

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    s[1].sh_offset = sizeof(h) + sizeof(s);
    s[2].sh_offset = s[1].sh_offset + sizeof(names);
    add(elf, &h, sizeof(h));
    add(elf, s, sizeof(s));
    add(elf, names, sizeof(names));
    add(elf, modinfo, len);
}

void testing_write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

void testing_make_dir(char ret_path[256])
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(ret_path, 256, "%s/vivguest.XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(ret_path));
}

void testing_remove_dir(const char *path)
{
    assert_int_equal(vivi_remove_tree_at(AT_FDCWD, path, NULL), 0);
}
