#include "base/log.h"

#include <errno.h>

#include "base/clock.h"
#include "base/testing.h"

static int open_log(const struct test_dir *d)
{
    return openat(d->fd, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void a_line_has_time_name_level_and_text(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(10000);
    cleanup_close int fd = open_log(d);
    int64_t ms;
    char when[VIVI_TIME_SIZE];

    vivi_log_to(fd, "keeper", VIVI_LOG_INFO, 0);
    errno = EIO;
    vivi_log(VIVI_LOG_WARN, "cannot do %s", "this");
    assert_int_equal(errno, EIO);
    vivi_log(VIVI_LOG_DEBUG, "not shown");
    vivi_log_to(-1, NULL, VIVI_LOG_DEBUG, 0);
    vivi_log(VIVI_LOG_ERROR, "silent");
    assert_int_equal(vivi_read_file_at(d->fd, "log", &b, NULL), 0);
    assert_string_equal(b.data + 24, " keeper warning: cannot do this\n");
    (void)snprintf(when, sizeof(when), "%.24s", b.data);
    assert_int_equal(vivi_time_parse(when, &ms), 0);
}

static void hostile_and_overlong_text_stays_one_line(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(10000);
    cleanup_close int fd = open_log(d);
    char big[3000];

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    vivi_log_to(fd, "monitor", VIVI_LOG_DEBUG, 0);
    vivi_log(VIVI_LOG_DEBUG, "a\nb\x1b[31m\tc");
    vivi_log(VIVI_LOG_DEBUG, "%s", big);
    vivi_log_to(-1, NULL, VIVI_LOG_DEBUG, 0);
    assert_int_equal(vivi_read_file_at(d->fd, "log", &b, NULL), 0);
    assert_non_null(strstr(b.data, "monitor debug: a?b?[31m?c\n"));
    assert_int_equal(b.data[b.len - 1], '\n');
    assert_ptr_equal(strchr(strchr(b.data, '\n') + 1, '\n'), b.data + b.len - 1);
    assert_true(b.len < 1200);
}

static void an_old_head_is_punched_out_so_that_the_limit_stays(void **state)
{
    struct test_dir *d = *state;
    cleanup_close int fd = open_log(d);
    struct stat st;
    uint64_t start;
    off_t most_kept = 0;

    if (ftruncate(fd, 8192) < 0 || vivi_punch_head(fd, 4096, NULL) < 0) {
        (void)printf("# needs a file system with holes\n");
        skip();
    }
    assert_int_equal(ftruncate(fd, 0), 0);
    vivi_log_to(fd, "keeper", VIVI_LOG_INFO, 16384);
    for (int i = 0; i < 3000; i++) {
        vivi_log(VIVI_LOG_INFO, "line %d", i);
        if (i % 100 == 0 && fstat(fd, &st) == 0 && st.st_blocks * 512 > most_kept)
            most_kept = st.st_blocks * 512;
    }
    vivi_log_to(-1, NULL, VIVI_LOG_INFO, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_true(st.st_size > 100000); /* offsets stay true */
    assert_true((uint64_t)st.st_size - start >= 16384);
    assert_true(most_kept <= 2 * 16384 + 8192);
}

static void what_has_no_head_is_written_without_a_limit(void **state)
{
    char text[64] = "";
    int fds[2];

    (void)state;
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    vivi_log_to(fds[1], "x", VIVI_LOG_INFO, 1);
    vivi_log(VIVI_LOG_ERROR, "to a pipe");
    vivi_log_to(-1, NULL, VIVI_LOG_INFO, 0);
    assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
    assert_string_equal(text + 24, " x error: to a pipe\n");
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_line_has_time_name_level_and_text),
        test_in_dir(hostile_and_overlong_text_stays_one_line),
        test_in_dir(an_old_head_is_punched_out_so_that_the_limit_stays),
        cmocka_unit_test(what_has_no_head_is_written_without_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
