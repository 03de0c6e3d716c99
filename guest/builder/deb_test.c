#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "deb.h"
#include "testing.h"

static const char control[] = "Package: hello\nVersion: 1:2.0-3\nArchitecture: amd64\n"
                              "Depends: libc6 (>= 2.3), x | y\nDescription: a\n Depends: no\n";

struct fixture {
    char dir[256];
    char path[300];
};

static int set_up(void **state)
{
    static struct fixture f;

    testing_make_dir(f.dir);
    (void)snprintf(f.path, sizeof(f.path), "%s/p.deb", f.dir);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    testing_remove_dir(((struct fixture *)*state)->dir);
    return 0;
}

static bool all(const char *path)
{
    (void)path;
    return true;
}

static bool only_b(const char *path)
{
    return strcmp(path, "usr/b") == 0;
}

/* Reads the fixture's package, wants a refusal with this code and text, and untouched outputs. */
static void assert_refused(const struct fixture *f, int code, const char *text)
{
    struct vivi_deb_info info = {.package = "before"};
    struct vivi_members members = {.n = 77};
    viv_error err = VIV_ERROR_INIT;
    char expected[600];

    (void)snprintf(expected, sizeof(expected), "%s: %s", f->path, text);
    assert_int_equal(vivi_deb_read(f->path, all, &info, &members, &err), -code);
    assert_int_equal(err.code, code);
    assert_string_equal(err.message, expected);
    assert_string_equal(info.package, "before");
    assert_int_equal(members.n, 77);
}

static void a_sound_package_gives_its_fields_and_the_wanted_files(void **state)
{
    const struct fixture *f = *state;
    const struct testing_file files[] = {{.name = "./", .type = '5'},
                                         {.name = "./usr/", .type = '5'},
                                         {.name = "./usr/a", .data = "AAAA", .len = 4},
                                         {.name = "./usr/b", .data = "BB", .len = 2},
                                         {.name = "./usr/c", .type = '2'},
                                         {0}};
    struct vivi_deb_info info;
    struct vivi_members members;
    viv_error err = VIV_ERROR_INIT;

    testing_write_deb(f->path, control, files);
    assert_int_equal(vivi_deb_read(f->path, only_b, &info, &members, &err), 0);
    assert_string_equal(info.package, "hello");
    assert_string_equal(info.version, "1:2.0-3");
    assert_string_equal(info.architecture, "amd64");
    assert_string_equal(info.depends, "libc6 (>= 2.3), x | y");
    assert_int_equal(members.n, 1);
    assert_string_equal(members.at[0].path, "usr/b");
    assert_memory_equal(members.at[0].data, "BB", 2);
    vivi_members_done(&members);
}

static void a_package_can_be_asked_for_its_fields_alone(void **state)
{
    const struct fixture *f = *state;
    struct vivi_deb_info info;

    testing_write_deb(f->path, control, NULL);
    assert_int_equal(vivi_deb_read(f->path, NULL, &info, NULL, NULL), 0);
    assert_string_equal(info.package, "hello");
}

static void links_are_never_among_the_files(void **state)
{
    const struct fixture *f = *state;
    const struct testing_file files[] = {{.name = "./usr/c", .type = '2'}, {0}};
    struct vivi_deb_info info;
    struct vivi_members members;

    testing_write_deb(f->path, control, files);
    assert_int_equal(vivi_deb_read(f->path, all, &info, &members, NULL), 0);
    assert_int_equal(members.n, 0);
    vivi_members_done(&members);
}

static void a_name_that_climbs_out_is_refused(void **state)
{
    const char *const names[] = {"../etc/passwd", "./../x", "a/../../x",
                                 "/etc/passwd",   "a//b",   "./a/./b"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct testing_file files[] = {{.name = names[i], .data = "x", .len = 1}, {0}};
        char text[200];

        (void)snprintf(text, sizeof(text), "unsafe name in the package: '%s'", names[i]);
        testing_write_deb(((struct fixture *)*state)->path, control, files);
        assert_refused(*state, VIV_E_PROTOCOL, text);
    }
}

static void a_member_larger_than_any_real_one_is_refused_before_memory_is_taken(void **state)
{
    const struct fixture *f = *state;
    const struct testing_file big[] = {{.name = "./big", .claimed_bytes = 129u << 20}, {0}};
    const struct testing_file huge[] = {{.name = "./huge", .claimed_bytes = (uint64_t)1 << 40},
                                        {0}};

    testing_write_deb(f->path, control, big);
    assert_refused(f, VIV_E_PROTOCOL, "big is larger than 128 MiB");
    testing_write_deb(f->path, control, huge);
    assert_refused(f, VIV_E_PROTOCOL, "the package is larger than any real one");
}

static void a_member_that_ends_too_early_is_refused(void **state)
{
    const struct fixture *f = *state;
    const struct testing_file files[] = {
        {.name = "./x", .data = "xx", .len = 2, .claimed_bytes = 5000}, {0}};
    struct vivi_deb_info info;
    struct vivi_members members;
    viv_error err = VIV_ERROR_INIT;

    testing_write_deb(f->path, control, files);
    assert_int_equal(vivi_deb_read(f->path, all, &info, &members, &err), -VIV_E_PROTOCOL);
    assert_non_null(strstr(err.message, "damaged package: "));
}

/* Cut at every length, it is either refused or complete; it never crashes or hangs. */
static void a_package_cut_anywhere_is_refused(void **state)
{
    const struct fixture *f = *state;
    const struct testing_file files[] = {{.name = "./usr/b", .data = "BB", .len = 2}, {0}};
    cleanup_buf struct vivi_buf whole = VIVI_BUF(TESTING_MAX_BYTES);
    const size_t data_ends = 8 + 60 + 4 + 60 + 2048 + 60 + 1024;

    testing_write_deb(f->path, control, files);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, f->path, &whole, NULL), 0);
    for (size_t len = 0; len < data_ends; len += 13) {
        struct vivi_deb_info info = {.package = "before"};
        struct vivi_members members = {.n = 77};
        viv_error err = VIV_ERROR_INIT;

        testing_write_file(f->path, whole.data, len);
        assert_int_equal(vivi_deb_read(f->path, all, &info, &members, &err), -VIV_E_PROTOCOL);
        assert_string_equal(info.package, "before");
        assert_int_equal(members.n, 77);
    }
}

static void what_is_no_package_is_called_so(void **state)
{
    const struct fixture *f = *state;
    cleanup_buf struct vivi_buf ar = VIVI_BUF(TESTING_MAX_BYTES);
    viv_error err = VIV_ERROR_INIT;
    struct vivi_deb_info info;

    testing_ar_begin(&ar);
    testing_ar_add(&ar, "debian-binary", "2.0\n", 4);
    testing_write_file(f->path, ar.data, ar.len);
    assert_refused(f, VIV_E_PROTOCOL, "not a Debian package (no control file)");
    testing_write_deb(f->path, "Version: 1\n", NULL);
    assert_refused(f, VIV_E_PROTOCOL, "not a Debian package (it has no name)");
    testing_write_file(f->path, "hello, world: no archive at all", 31);
    assert_int_equal(vivi_deb_read(f->path, all, &info, NULL, &err), -VIV_E_PROTOCOL);
}

static void a_missing_file_is_not_found(void **state)
{
    struct fixture f = {.path = "/nonexistent/p.deb"};

    (void)state;
    assert_refused(&f, VIV_E_NOT_FOUND, "cannot open it: no such file");
}

static void versions_are_ordered_as_dpkg_orders_them(void **state)
{
    const char *const rising[] = {"1.0~rc1",
                                  "1.0",
                                  "1.0a",
                                  "1.0-1",
                                  "1.0.1",
                                  "1.9",
                                  "1.10",
                                  "6.1.0-9-x_6.1.99-1",
                                  "6.1.0-56-x_6.1.176-1",
                                  "6.1.0-56-x_6.1.192-2"};

    (void)state;
    for (size_t i = 0; i < sizeof(rising) / sizeof(rising[0]); i++) {
        for (size_t k = 0; k < sizeof(rising) / sizeof(rising[0]); k++) {
            int r = vivi_deb_version_compare(rising[i], rising[k]);

            assert_int_equal((r > 0) - (r < 0), (i > k) - (i < k));
        }
    }
    assert_int_equal(vivi_deb_version_compare("1.01", "1.1"), 0);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON(a_sound_package_gives_its_fields_and_the_wanted_files),
        ON(a_package_can_be_asked_for_its_fields_alone),
        ON(links_are_never_among_the_files),
        ON(a_name_that_climbs_out_is_refused),
        ON(a_member_larger_than_any_real_one_is_refused_before_memory_is_taken),
        ON(a_member_that_ends_too_early_is_refused),
        ON(a_package_cut_anywhere_is_refused),
        ON(what_is_no_package_is_called_so),
        cmocka_unit_test(a_missing_file_is_not_found),
        cmocka_unit_test(versions_are_ordered_as_dpkg_orders_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
