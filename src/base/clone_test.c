#include "base/clone.h"

#include <sys/stat.h>

#include "base/testing.h"

#define MIB (UINT64_C(1) << 20)

static int temp_file(void)
{
    char path[] = "/tmp/viv-clone-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    return fd;
}

/* Data at both ends and in the middle, holes between; nothing in the second file that was there
 * before. */
static void pieces_make_the_same_file_and_fill_no_holes(void **state)
{
    cleanup_close int from = temp_file(), to = temp_file();
    uint64_t at = 0;
    unsigned pieces = 0;
    struct stat a, b;
    char data[8] = "";
    int r;

    (void)state;
    assert_int_equal(pwrite(from, "begin", 5, 0), 5);
    assert_int_equal(pwrite(from, "middle", 6, 32 * MIB), 6);
    assert_int_equal(ftruncate(from, 64 * MIB), 0);
    while ((r = vivi_copy_piece(from, to, &at, 4096, NULL)) == 1)
        pieces++;
    assert_int_equal(r, 0);
    assert_true(pieces >= 1 && pieces < 10);
    assert_int_equal(fstat(from, &a), 0);
    assert_int_equal(fstat(to, &b), 0);
    assert_int_equal(a.st_size, b.st_size);
    assert_true(b.st_blocks < 1024);
    assert_int_equal(pread(to, data, 6, 32 * MIB), 6);
    assert_memory_equal(data, "middle", 6);
    assert_int_equal(pread(to, data, 5, 0), 5);
    assert_memory_equal(data, "begin", 5);
}

static void an_empty_file_is_done_at_once(void **state)
{
    cleanup_close int from = temp_file(), to = temp_file();
    uint64_t at = 0;

    (void)state;
    assert_int_equal(vivi_copy_piece(from, to, &at, 4096, NULL), 0);
}

static void what_cannot_be_read_is_an_error(void **state)
{
    cleanup_close int to = temp_file();
    viv_error err = VIV_ERROR_INIT;
    uint64_t at = 0;

    (void)state;
    assert_int_equal(vivi_copy_piece(-1, to, &at, 4096, &err), -VIV_E_IO);
    assert_true(vivi_clone_fd(-1, to, &err) < 0);
}

/* Where the file system can it is a copy, else it says so and nothing has happened. */
static void a_clone_is_whole_or_not_at_all(void **state)
{
    cleanup_close int from = temp_file(), to = temp_file();
    viv_error err = VIV_ERROR_INIT;
    struct stat st;
    int r;

    (void)state;
    assert_int_equal(pwrite(from, "abc", 3, 0), 3);
    r = vivi_clone_fd(from, to, &err);
    assert_true(r == 0 || r == -VIV_E_UNSUPPORTED);
    assert_int_equal(fstat(to, &st), 0);
    assert_int_equal(st.st_size, r == 0 ? 3 : 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_make_the_same_file_and_fill_no_holes),
        cmocka_unit_test(an_empty_file_is_done_at_once),
        cmocka_unit_test(what_cannot_be_read_is_an_error),
        cmocka_unit_test(a_clone_is_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
