#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "modinfo.h"
#include "testing.h"

static const char entries[] = "license=GPL\0name=virtio_net\0depends=a,b\0softdep=pre: c d\0"
                              "vermagic=6.1";

static void make(struct vivi_buf *elf)
{
    testing_module(elf, entries, sizeof(entries));
}

static void name_and_dependencies_are_read(void **state)
{
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);
    struct vivi_modinfo info;

    (void)state;
    make(&elf);
    assert_int_equal(vivi_modinfo_parse(elf.data, elf.len, &info, NULL), 0);
    assert_string_equal(info.name, "virtio_net");
    assert_string_equal(info.depends, "a,b");
    assert_string_equal(info.softdep_pre, "c d");
}

static void an_object_cut_anywhere_is_refused_and_changes_nothing(void **state)
{
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);

    (void)state;
    make(&elf);
    for (size_t len = 0; len < elf.len; len++) {
        cleanup_free void *exact = malloc(len > 0 ? len : 1); /* so that a sanitizer sees the end */
        struct vivi_modinfo info = {.name = "before"};
        viv_error err = VIV_ERROR_INIT;

        assert_non_null(exact);
        memcpy(exact, elf.data, len);
        assert_int_equal(vivi_modinfo_parse(exact, len, &info, &err), -VIV_E_PROTOCOL);
        assert_string_equal(info.name, "before");
    }
}

/* Each header field in turn is set to all ones: nothing outside the file is ever read. */
static void wild_offsets_are_refused_or_harmless(void **state)
{
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);
    const size_t headers = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Shdr);

    (void)state;
    make(&elf);
    for (size_t at = 0; at + 8 <= headers; at += 2) {
        cleanup_free char *copy = malloc(elf.len);
        struct vivi_modinfo info;

        assert_non_null(copy);
        memcpy(copy, elf.data, elf.len);
        memset(copy + at, 0xff, 8);
        (void)vivi_modinfo_parse(copy, elf.len, &info, NULL);
        memset(copy + at, 0x7f, 8);
        (void)vivi_modinfo_parse(copy, elf.len, &info, NULL);
    }
}

static void entries_without_an_end_are_left_out(void **state)
{
    static const char open_end[] = {'n', 'a', 'm', 'e', '=', 'a', '\0', 'd', 'e', 'p'};
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);
    struct vivi_modinfo info;

    (void)state;
    testing_module(&elf, open_end, sizeof(open_end));
    assert_int_equal(vivi_modinfo_parse(elf.data, elf.len, &info, NULL), 0);
    assert_string_equal(info.name, "a");
    assert_string_equal(info.depends, "");
}

static void a_name_too_long_for_the_kernel_is_left_out(void **state)
{
    char text[200];
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);
    struct vivi_modinfo info;

    (void)state;
    memset(text, 'n', sizeof(text));
    memcpy(text, "name=", 5);
    text[sizeof(text) - 1] = '\0';
    testing_module(&elf, text, sizeof(text));
    assert_int_equal(vivi_modinfo_parse(elf.data, elf.len, &info, NULL), 0);
    assert_string_equal(info.name, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_and_dependencies_are_read),
        cmocka_unit_test(an_object_cut_anywhere_is_refused_and_changes_nothing),
        cmocka_unit_test(wild_offsets_are_refused_or_harmless),
        cmocka_unit_test(entries_without_an_end_are_left_out),
        cmocka_unit_test(a_name_too_long_for_the_kernel_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
