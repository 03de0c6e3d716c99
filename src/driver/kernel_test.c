#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "driver/kernel.h"

static const char *text_of(const void *head, size_t len, const void *notes, size_t notes_len,
                           enum vivi_kernel_kind *ret)
{
    const char *text = NULL;

    *ret = vivi_kernel_kind(head, len, notes, notes_len, &text);
    return text;
}

static void a_bzimage_is_known_by_its_header(void **state)
{
    uint8_t head[4096] = {[0x1fe] = 0x55, [0x1ff] = 0xaa};
    enum vivi_kernel_kind kind;

    (void)state;
    memcpy(head + 0x202, "HdrS", 4);
    assert_string_equal(text_of(head, sizeof(head), NULL, 0, &kind), "bzImage");
    assert_int_equal(kind, VIVI_KERNEL_BZIMAGE);
    (void)text_of(head, 0x205, NULL, 0, &kind); /* one byte short */
    assert_int_equal(kind, VIVI_KERNEL_NONE);
    head[0x202] = 'h';
    assert_string_equal(text_of(head, sizeof(head), NULL, 0, &kind), "boot sector");
    assert_int_equal(kind, VIVI_KERNEL_NONE);
}

static void make_elf(uint8_t head[4096])
{
    memset(head, 0, 4096);
    memcpy(head, "\177ELF\2\1\1", 7);
    head[18] = 62;
    head[32] = 64; /* program headers right behind */
    head[54] = 56;
}

static void an_elf_file_boots_with_the_pvh_note_only(void **state)
{
    static const uint8_t other[] = {4, 0, 0,   0,   4,   0, 0, 0, 5, 0,
                                    0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4};
    static const uint8_t pvh[] = {4,   0, 0, 0, 2,   0,   0,   0, 1, 0, 0, 0, 'G', 'N',
                                  'U', 0, 9, 9, 0,   0,   4,   0, 0, 0, 4, 0, 0,   0,
                                  18,  0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0, 1};
    uint8_t head[4096];
    enum vivi_kernel_kind kind;

    (void)state;
    make_elf(head);
    assert_string_equal(text_of(head, sizeof(head), NULL, 0, &kind), "ELF, no PVH note");
    assert_int_equal(kind, VIVI_KERNEL_NONE);
    assert_string_equal(text_of(head, sizeof(head), other, sizeof(other), &kind),
                        "ELF, no PVH note");
    assert_int_equal(kind, VIVI_KERNEL_NONE);
    assert_string_equal(text_of(head, sizeof(head), pvh, sizeof(pvh), &kind), "ELF with PVH note");
    assert_int_equal(kind, VIVI_KERNEL_PVH);
    /* Cut anywhere before the second note's name is whole, it is not there. */
    for (size_t n = 0; n < sizeof(pvh) - 4; n++) {
        (void)text_of(head, sizeof(head), pvh, n, &kind);
        assert_int_equal(kind, VIVI_KERNEL_NONE);
    }
    head[18] = 183;
    assert_string_equal(text_of(head, sizeof(head), pvh, sizeof(pvh), &kind), "ELF, not x86-64");
}

static void notes_of_absurd_sizes_end_the_search(void **state)
{
    uint8_t head[4096];
    uint8_t notes[64];
    enum vivi_kernel_kind kind;

    (void)state;
    make_elf(head);
    memset(notes, 0xff, sizeof(notes));
    (void)text_of(head, sizeof(head), notes, sizeof(notes), &kind);
    assert_int_equal(kind, VIVI_KERNEL_NONE);
    memset(notes, 0, sizeof(notes));
    (void)text_of(head, sizeof(head), notes, sizeof(notes), &kind);
    assert_int_equal(kind, VIVI_KERNEL_NONE);
}

static void what_is_no_kernel_is_called_by_its_name(void **state)
{
    static const struct {
        const char *head;
        size_t len;
        const char *text;
    } rows[] = {
        {"", 0, "empty file"},
        {"\x1f\x8b\x08", 3, "gzip data"},
        {"\xfd"
         "7zXZ",
         5, "xz data"},
        {"\x28\xb5\x2f\xfd", 4, "zstd data"},
        {"BZh9", 4, "bzip2 data"},
        {"\x02\x21\x4c\x18", 4, "LZ4 data"},
        {"070701", 6, "cpio archive"},
        {"QFI\xfb", 4, "qcow2 image"},
        {"MZ\x90", 3, "EFI or DOS program"},
        {"#!/bin/sh\n", 10, "script"},
        {"hello\n", 6, "text"},
        {"a\0b", 3, "data"},
    };
    enum vivi_kernel_kind kind;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_string_equal(text_of(rows[i].head, rows[i].len, NULL, 0, &kind), rows[i].text);
        assert_int_equal(kind, VIVI_KERNEL_NONE);
    }
}

struct seen {
    unsigned n;
    uint64_t offset, size;
};

static void see(void *arg, uint64_t offset, uint64_t size)
{
    struct seen *s = arg;

    s->n++;
    s->offset = offset;
    s->size = size;
}

static void notes_are_found_by_program_headers_inside_the_head_only(void **state)
{
    uint8_t head[4096];
    struct seen seen = {0};

    (void)state;
    make_elf(head);
    head[56] = 2;
    head[64] = 1;      /* PT_LOAD */
    head[64 + 56] = 4; /* PT_NOTE */
    head[64 + 56 + 9] = 0x10;
    head[64 + 56 + 32] = 0x24;
    vivi_elf_each_note(head, sizeof(head), see, &seen);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.offset, 0x1000);
    assert_int_equal(seen.size, 0x24);

    seen.n = 0;
    head[33] = 0x10; /* the table is beyond what was read */
    vivi_elf_each_note(head, sizeof(head), see, &seen);
    assert_int_equal(seen.n, 0);
    memset(head + 32, 0xff, 8);
    vivi_elf_each_note(head, sizeof(head), see, &seen);
    assert_int_equal(seen.n, 0);
    vivi_elf_each_note(head, 63, see, &seen);
    assert_int_equal(seen.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bzimage_is_known_by_its_header),
        cmocka_unit_test(an_elf_file_boots_with_the_pvh_note_only),
        cmocka_unit_test(notes_of_absurd_sizes_end_the_search),
        cmocka_unit_test(what_is_no_kernel_is_called_by_its_name),
        cmocka_unit_test(notes_are_found_by_program_headers_inside_the_head_only),
    };

    return cmocka_run_group_tests_name("driver kernel", tests, NULL, NULL);
}
