#include "base/file.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <signal.h>

#include "base/testing.h"

static int entries(const struct test_dir *d)
{
    cleanup_closedir DIR *dir = opendir(d->path);
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    return n - 2;
}

static void assert_contents(const struct test_dir *d, const char *name, const char *text)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(1 << 20);

    assert_int_equal(vivi_read_file_at(d->fd, name, &b, NULL), 0);
    assert_string_equal(b.data == NULL ? "" : b.data, text);
}

static void a_written_file_is_read_back_and_private(void **state)
{
    struct test_dir *d = *state;
    struct stat st;

    for (int how = VIVI_FAST; how <= VIVI_DURABLE; how++) {
        assert_int_equal(vivi_write_file_at(d->fd, "f", "one", 3, (enum vivi_durability)how, NULL),
                         0);
        assert_contents(d, "f", "one");
        assert_int_equal(vivi_write_file_at(d->fd, "f", "", 0, (enum vivi_durability)how, NULL), 0);
        assert_contents(d, "f", "");
    }
    assert_int_equal(fstatat(d->fd, "f", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(entries(d), 1);
}

static void names_with_directories_and_the_working_directory_work(void **state)
{
    struct test_dir *d = *state;
    char path[200];

    assert_int_equal(mkdirat(d->fd, "sub", 0700), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "sub/f", "x", 1, VIVI_DURABLE, NULL), 0);
    assert_contents(d, "sub/f", "x");
    (void)snprintf(path, sizeof(path), "%s/g", d->path);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, path, "y", 1, VIVI_DURABLE, NULL), 0);
    assert_contents(d, "g", "y");
}

static void a_failed_write_leaves_the_old_file_and_no_temporary(void **state)
{
    struct test_dir *d = *state;
    struct rlimit old, small;
    viv_error err = VIV_ERROR_INIT;
    char big[8192];
    int r;

    memset(big, 'x', sizeof(big));
    assert_int_equal(vivi_write_file_at(d->fd, "f", "old", 3, VIVI_FAST, NULL), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    r = vivi_write_file_at(d->fd, "f", big, sizeof(big), VIVI_FAST, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(r, -VIV_E_IO);
    assert_string_equal(err.message, "f: cannot write: file too large");
    assert_contents(d, "f", "old");
    assert_int_equal(entries(d), 1);

    /* The rename fails: a directory stands there. */
    assert_int_equal(mkdirat(d->fd, "dir", 0700), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "dir", "x", 1, VIVI_FAST, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, EISDIR);
    assert_int_equal(entries(d), 2);
    assert_int_equal(vivi_write_file_at(d->fd, "no/f", "x", 1, VIVI_FAST, &err), -VIV_E_NOT_FOUND);
}

static void what_a_killed_writer_left_is_used_up_by_the_next(void **state)
{
    struct test_dir *d = *state;
    int fd = openat(d->fd, "f.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, "a long leftover", 15), 15);
    (void)close(fd);
    assert_int_equal(vivi_write_file_at(d->fd, "f", "new", 3, VIVI_FAST, NULL), 0);
    assert_contents(d, "f", "new");
    assert_int_equal(entries(d), 1);
}

static void two_writers_at_once_do_not_mix(void **state)
{
    struct test_dir *d = *state;
    int other = openat(d->fd, "f.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    /* A writer at work holds its temporary locked. */
    assert_int_equal(flock(other, LOCK_EX), 0);
    assert_int_equal(write(other, "half", 4), 4);
    assert_int_equal(vivi_write_file_at(d->fd, "f", "mine", 4, VIVI_FAST, NULL), 0);
    assert_contents(d, "f", "mine");
    assert_contents(d, "f.tmp", "half");
    assert_int_equal(entries(d), 2);
    (void)close(other);
}

static void a_file_larger_than_the_ceiling_is_refused_and_one_that_fits_is_not(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(10);
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_write_file_at(d->fd, "f", "0123456789", 10, VIVI_FAST, NULL), 0);
    assert_int_equal(vivi_read_file_at(d->fd, "f", &b, &err), 0);
    assert_string_equal(b.data, "0123456789");
    assert_int_equal(vivi_read_file_at(d->fd, "f", &b, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "f: larger than 10 bytes");
    assert_string_equal(b.data, "0123456789");
    vivi_buf_reset(&b);
    assert_int_equal(vivi_write_file_at(d->fd, "f", "0123456789x", 11, VIVI_FAST, NULL), 0);
    assert_int_equal(vivi_read_file_at(d->fd, "f", &b, &err), -VIV_E_PROTOCOL);
    assert_int_equal(b.len, 0);
}

static void what_is_no_regular_file_is_refused_without_hanging(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(10);
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
    assert_int_equal(vivi_read_file_at(d->fd, "fifo", &b, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "fifo: not a regular file");
    assert_int_equal(vivi_read_file_at(d->fd, ".", &b, &err), -VIV_E_IO);
    assert_string_equal(err.message, ".: is a directory");
    assert_int_equal(vivi_read_file_at(d->fd, "nothing", &b, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "nothing: no such file");
    assert_int_equal(b.len, 0);
}

static void records_are_appended_whole_or_not_at_all(void **state)
{
    struct test_dir *d = *state;
    struct rlimit old, small;
    viv_error err = VIV_ERROR_INIT;
    char big[5000];
    int r;

    assert_int_equal(vivi_append_at(d->fd, "log", "one\n", 4, NULL), 0);
    assert_int_equal(vivi_append_at(d->fd, "log", "two\n", 4, NULL), 0);
    assert_contents(d, "log", "one\ntwo\n");
    memset(big, 'x', sizeof(big));
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096; /* the write is cut in its middle, as on a full disk */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    r = vivi_append_at(d->fd, "log", big, sizeof(big), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(r, -VIV_E_IO);
    assert_contents(d, "log", "one\ntwo\n");
    assert_int_equal(vivi_append_at(d->fd, "log", "three\n", 6, NULL), 0);
    assert_contents(d, "log", "one\ntwo\nthree\n");
}

static void a_path_of_directories_is_made_once(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/a/b//c", d->path);
    assert_int_equal(vivi_mkdir_path(path, 0700, NULL), 0);
    assert_int_equal(vivi_mkdir_path(path, 0700, NULL), 0);
    assert_int_equal(vivi_mkdir_path("/", 0700, NULL), 0);
    assert_int_equal(faccessat(d->fd, "a/b/c", X_OK, 0), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "f", "", 0, VIVI_FAST, NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/f", d->path);
    assert_int_equal(vivi_mkdir_path(path, 0700, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ENOTDIR);
    (void)snprintf(path, sizeof(path), "%s/f/g", d->path);
    assert_int_equal(vivi_mkdir_path(path, 0700, &err), -VIV_E_IO);
    assert_int_equal(vivi_mkdir_path("", 0700, &err), -VIV_E_NOT_FOUND);
}

static void renaming_never_replaces(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(mkdirat(d->fd, "new", 0700), 0);
    assert_int_equal(vivi_rename_noreplace(d->fd, "new", d->fd, "vm", &err), 0);
    assert_int_equal(mkdirat(d->fd, "second", 0700), 0);
    assert_int_equal(vivi_rename_noreplace(d->fd, "second", d->fd, "vm", &err), -VIV_E_EXISTS);
    assert_string_equal(err.message, "vm: file exists");
    assert_int_equal(faccessat(d->fd, "second", F_OK, 0), 0);
    assert_int_equal(vivi_rename_noreplace(d->fd, "none", d->fd, "x", &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "none: no such file");
}

static void a_tree_is_removed_without_following_links(void **state)
{
    struct test_dir *d = *state;
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/t/a/b/c", d->path);
    assert_int_equal(vivi_mkdir_path(path, 0700, NULL), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "keep", "x", 1, VIVI_FAST, NULL), 0);
    assert_int_equal(mkdirat(d->fd, "outside", 0700), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "outside/f", "x", 1, VIVI_FAST, NULL), 0);
    assert_int_equal(symlinkat("../../keep", d->fd, "t/a/link"), 0);
    assert_int_equal(symlinkat("../../outside", d->fd, "t/a/dirlink"), 0);
    assert_int_equal(mkfifoat(d->fd, "t/a/b/fifo", 0600), 0);
    assert_int_equal(vivi_remove_tree_at(d->fd, "t", NULL), 0);
    assert_int_equal(faccessat(d->fd, "t", F_OK, 0), -1);
    assert_contents(d, "keep", "x");
    assert_contents(d, "outside/f", "x");
    assert_int_equal(vivi_remove_tree_at(d->fd, "t", NULL), 0);
    assert_int_equal(symlinkat("outside", d->fd, "l"), 0);
    assert_int_equal(vivi_remove_tree_at(d->fd, "l", NULL), 0);
    assert_contents(d, "outside/f", "x");
}

static void a_tree_deeper_than_any_of_ours_is_an_error_not_a_crash(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    int fd = dup(d->fd), next;

    for (int i = 0; i < 100; i++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)close(fd);
        fd = next;
    }
    (void)close(fd);
    assert_int_equal(vivi_remove_tree_at(d->fd, "d", &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ELOOP);
    /* For the teardown: lift the lower half up. */
    {
        char path[200] = "";

        for (int i = 0; i < 50; i++)
            (void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "d/");
        assert_int_equal(renameat(d->fd, path, d->fd, "e"), 0);
    }
}

static void a_punched_head_frees_space_and_moves_no_offset(void **state)
{
    struct test_dir *d = *state;
    cleanup_close int fd = openat(d->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static char block[65536];
    uint64_t start = 99;
    struct stat before, after;
    char c;

    memset(block, 'x', sizeof(block));
    assert_int_equal(pwrite(fd, block, sizeof(block), 0), sizeof(block));
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_int_equal(start, 0);
    assert_int_equal(fstat(fd, &before), 0);
    if (vivi_punch_head(fd, 4095, NULL) == -VIV_E_UNSUPPORTED) {
        (void)printf("# needs a file system with holes\n");
        skip();
    }
    assert_int_equal(vivi_punch_head(fd, 40000, NULL), 0);
    assert_int_equal(fstat(fd, &after), 0);
    assert_true(after.st_size == before.st_size && after.st_blocks < before.st_blocks);
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_int_equal(start, 36864);
    assert_int_equal(pread(fd, &c, 1, 36863), 1);
    assert_int_equal(c, 0);
    assert_int_equal(pread(fd, &c, 1, 36864), 1);
    assert_int_equal(c, 'x');
    assert_int_equal(vivi_punch_head(fd, 65536, NULL), 0);
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_int_equal(start, 65536);
}

static void space_is_taken_beforehand_and_the_size_stays(void **state)
{
    struct test_dir *d = *state;
    cleanup_close int fd = openat(d->fd, "ahead", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    viv_error err = VIV_ERROR_INIT;
    struct stat st;

    assert_true(fd >= 0);
    if (vivi_reserve(fd, 100, 65536, &err) < 0 && err.sys_errno == EOPNOTSUPP) {
        (void)printf("# needs a file system that reserves\n");
        skip();
    }
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_true(st.st_blocks >= 65536 / 512);
    assert_true(vivi_reserve(fd, 0, UINT64_C(1) << 62, &err) < 0);
}

static void a_pipe_has_no_data_start(void **state)
{
    uint64_t start = 7;
    int fds[2];

    (void)state;
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    assert_int_equal(vivi_data_start(fds[0], 0, &start, NULL), -VIV_E_IO);
    assert_int_equal(start, 7);
    assert_int_equal(vivi_write_full(fds[1], "from a pipe", 11, -1, NULL), 0);
    vivi_close(&fds[1]);
    {
        cleanup_buf struct vivi_buf b = VIVI_BUF(100);

        assert_int_equal(vivi_read_fd(fds[0], &b, NULL), 0);
        assert_string_equal(b.data, "from a pipe");
    }
    vivi_close(&fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_written_file_is_read_back_and_private),
        test_in_dir(names_with_directories_and_the_working_directory_work),
        test_in_dir(a_failed_write_leaves_the_old_file_and_no_temporary),
        test_in_dir(what_a_killed_writer_left_is_used_up_by_the_next),
        test_in_dir(two_writers_at_once_do_not_mix),
        test_in_dir(a_file_larger_than_the_ceiling_is_refused_and_one_that_fits_is_not),
        test_in_dir(what_is_no_regular_file_is_refused_without_hanging),
        test_in_dir(records_are_appended_whole_or_not_at_all),
        test_in_dir(a_path_of_directories_is_made_once),
        test_in_dir(renaming_never_replaces),
        test_in_dir(a_tree_is_removed_without_following_links),
        test_in_dir(a_tree_deeper_than_any_of_ours_is_an_error_not_a_crash),
        test_in_dir(a_punched_head_frees_space_and_moves_no_offset),
        test_in_dir(space_is_taken_beforehand_and_the_size_stays),
        cmocka_unit_test(a_pipe_has_no_data_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
