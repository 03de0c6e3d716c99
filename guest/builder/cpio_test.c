#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "base/file.h"
#include "cpio.h"
#include "testing.h"

static char dir[256];

static int set_up(void **state)
{
    (void)state;
    testing_make_dir(dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    testing_remove_dir(dir);
    return 0;
}

static void write_to(const char *name, struct vivi_members *m, char ret_path[300])
{
    cleanup_close int fd = -1;

    (void)snprintf(ret_path, 300, "%s/%s", dir, name);
    fd = open(ret_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(vivi_cpio_write(fd, m, NULL), 0);
}

static void add_file(struct vivi_members *m, const char *path, const char *text)
{
    assert_int_equal(vivi_members_add(m, path, S_IFREG | 0644, text, strlen(text), NULL), 0);
}

static void the_same_members_in_any_order_give_the_same_bytes(void **state)
{
    cleanup_members struct vivi_members a = {0};
    cleanup_members struct vivi_members b = {0};
    cleanup_buf struct vivi_buf first = VIVI_BUF(TESTING_MAX_BYTES);
    cleanup_buf struct vivi_buf second = VIVI_BUF(TESTING_MAX_BYTES);
    char path[300];

    (void)state;
    assert_int_equal(vivi_members_add_dir(&a, "d", NULL), 0);
    add_file(&a, "d/x", "hello");
    assert_int_equal(vivi_members_add_link(&a, "l", "d/x", NULL), 0);
    assert_int_equal(vivi_members_add_link(&b, "l", "d/x", NULL), 0);
    add_file(&b, "d/x", "hello");
    assert_int_equal(vivi_members_add_dir(&b, "d", NULL), 0);
    write_to("a", &a, path);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &first, NULL), 0);
    write_to("b", &b, path);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &second, NULL), 0);
    assert_true(first.len > 0);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
}

static void what_is_written_reads_back(void **state)
{
    cleanup_members struct vivi_members m = {0};
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    char path[300];
    char text[16] = {0};

    (void)state;
    assert_int_equal(vivi_members_add_dir(&m, "d", NULL), 0);
    add_file(&m, "d/x", "hello");
    assert_int_equal(vivi_members_add_link(&m, "l", "d/x", NULL), 0);
    write_to("a", &m, path);

    (void)archive_read_support_filter_gzip(a);
    (void)archive_read_support_format_cpio(a);
    assert_int_equal(archive_read_open_filename(a, path, 10240), ARCHIVE_OK);
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(e), "d");
    assert_int_equal(archive_entry_filetype(e), AE_IFDIR);
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(e), "d/x");
    assert_int_equal(archive_entry_mtime(e), 0);
    assert_int_equal(archive_entry_uid(e), 0);
    assert_int_equal(archive_read_data(a, text, sizeof(text)), 5);
    assert_string_equal(text, "hello");
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
    assert_string_equal(archive_entry_symlink(e), "d/x");
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
    (void)archive_read_free(a);
}

static void a_path_that_is_there_twice_is_refused(void **state)
{
    cleanup_members struct vivi_members m = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    add_file(&m, "x", "1");
    add_file(&m, "x", "2");
    assert_int_equal(vivi_cpio_write(-1, &m, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "'x' is there twice");
}

static void a_full_disk_is_reported_with_its_errno(void **state)
{
    cleanup_members struct vivi_members m = {0};
    cleanup_close int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    if (fd < 0)
        skip();
    add_file(&m, "x", "1");
    assert_int_equal(vivi_cpio_write(fd, &m, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
}

static void unsafe_paths_never_become_members(void **state)
{
    const char *const paths[] = {"", "/", "/x", "..", "a/..", "a//b", "./a", "a/", "."};
    cleanup_members struct vivi_members m = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        assert_int_equal(vivi_members_add(&m, paths[i], S_IFREG, "x", 1, &err), -VIV_E_PROTOCOL);
        assert_int_equal(m.n, 0);
    }
    assert_true(vivi_member_path_is_safe("a/..b/.c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_members_in_any_order_give_the_same_bytes),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_path_that_is_there_twice_is_refused),
        cmocka_unit_test(a_full_disk_is_reported_with_its_errno),
        cmocka_unit_test(unsafe_paths_never_become_members),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
