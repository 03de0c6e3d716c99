#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/testing.h"
#include "keeper/keeper.h"

/* A FIFO of one's own, as a table entry that goes into "serial.log". */
static struct vivi_entry make_stream(const struct test_dir *d, uint64_t limit_bytes)
{
    struct vivi_entry e = {.name = "serial.out", .stream = {.fd = -1}};

    assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
    e.fd = openat(d->fd, "fifo", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(e.fd >= 0);
    (void)vivi_stream_set(&e.stream, d->fd, "serial.log", limit_bytes);
    return e;
}

static void write_text(const struct vivi_entry *e, const char *text)
{
    assert_int_equal(write(e->fd, text, strlen(text)), strlen(text));
}

static void assert_log(const struct test_dir *d, const char *text)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(1 << 20);

    assert_int_equal(vivi_read_file_at(d->fd, "serial.log", &b, NULL), 0);
    assert_string_equal(b.data, text);
}

static void done(struct vivi_entry *e)
{
    vivi_table_drop(e);
}

static void bytes_are_appended_at_the_file_s_size(void **state)
{
    struct test_dir *d = *state;
    struct vivi_entry e;

    assert_int_equal(vivi_write_file_at(d->fd, "serial.log", "before;", 7, VIVI_FAST, NULL), 0);
    e = make_stream(d, 0);
    assert_int_equal(e.stream.size, 7);
    assert_true(e.stream.grew); /* whoever asked for it learns the size */
    e.stream.grew = false;
    vivi_stream_move(&e, d->fd, 1);
    assert_false(e.stream.grew);
    write_text(&e, "one;");
    vivi_stream_move(&e, d->fd, 1);
    write_text(&e, "two;");
    vivi_stream_move(&e, d->fd, 1);
    assert_true(e.stream.grew);
    assert_int_equal(e.stream.size, 15);
    assert_log(d, "before;one;two;");
    done(&e);
}

static void a_burst_of_small_moves_is_paced_and_a_pause_gives_credit_back(void **state)
{
    struct test_dir *d = *state;
    struct vivi_entry e = make_stream(d, 0);
    uint64_t now = 1000000;
    int moves = 0;

    for (; moves < 100 && vivi_stream_due(&e.stream, now); moves++, now += 10) {
        write_text(&e, "x");
        vivi_stream_move(&e, d->fd, now);
    }
    assert_in_range(moves, 8, 32);
    assert_false(vivi_stream_due(&e.stream, now));
    assert_true(vivi_stream_due(&e.stream, now + 1000)); /* never longer than a millisecond */
    write_text(&e, "drained");
    vivi_stream_drain(&e, d->fd, now); /* whoever waits for it does not wait for the pace */
    assert_int_equal(e.stream.size, moves + 7);
    now += 100000;
    for (moves = 0; moves < 100 && vivi_stream_due(&e.stream, now); moves++, now += 10) {
        write_text(&e, "x");
        vivi_stream_move(&e, d->fd, now);
    }
    assert_in_range(moves, 8, 32);
    done(&e);
}

static void large_moves_are_never_paced(void **state)
{
    static char block[8192];
    struct test_dir *d = *state;
    struct vivi_entry e = make_stream(d, 0);

    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(write(e.fd, block, sizeof(block)), sizeof(block));
        assert_true(vivi_stream_due(&e.stream, 1));
        vivi_stream_move(&e, d->fd, 1);
    }
    assert_int_equal(e.stream.size, 100 * sizeof(block));
    done(&e);
}

static void a_log_that_cannot_be_written_keeps_the_rest_in_the_fifo_and_tries_again(void **state)
{
    static char block[8192];
    struct test_dir *d = *state;
    struct vivi_entry e = make_stream(d, 0);
    struct rlimit old, small;
    uint64_t now = 1000000, wait, last = 0;
    struct stat st;

    memset(block, 'x', sizeof(block));
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096; /* a disk that fills up in the middle of a move */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(write(e.fd, block, sizeof(block)), sizeof(block));
    for (int i = 0; i < 12; i++) {
        vivi_stream_move(&e, d->fd, now);
        if (e.stream.failure == 0)
            continue; /* the part that fitted */
        wait = e.stream.not_before_us - now;
        assert_true(wait >= 50000 && wait <= 2000000 && wait >= last);
        assert_false(vivi_stream_due(&e.stream, now + wait - 1));
        last = wait;
        now += wait;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(e.stream.failure, EFBIG);
    assert_int_equal(last, 2000000);
    assert_int_equal(fstatat(d->fd, "serial.log", &st, 0), 0);
    assert_int_equal(st.st_size, e.stream.size);
    assert_int_equal(e.stream.size, 4096);
    vivi_stream_move(&e, d->fd, now);
    assert_int_equal(e.stream.failure, 0);
    assert_int_equal(e.stream.size, 8192);
    assert_true(vivi_stream_due(&e.stream, 1));
    done(&e);
}

static void a_log_that_cannot_be_opened_is_opened_later(void **state)
{
    struct test_dir *d = *state;
    struct vivi_entry e;

    assert_int_equal(symlinkat("elsewhere", d->fd, "serial.log"), 0);
    e = make_stream(d, 0);
    assert_int_equal(e.stream.failure, ELOOP); /* a link is not followed out of the directory */
    write_text(&e, "kept");
    vivi_stream_move(&e, d->fd, 1);
    assert_int_equal(e.stream.failure, ELOOP);
    assert_int_equal(unlinkat(d->fd, "serial.log", 0), 0);
    vivi_stream_drain(&e, d->fd, 1);
    assert_int_equal(e.stream.failure, 0);
    assert_log(d, "kept");
    done(&e);
}

static void the_head_is_punched_out_so_that_the_limit_stays_and_offsets_are_true(void **state)
{
    static char block[16384];
    struct test_dir *d = *state;
    struct vivi_entry e = make_stream(d, 100000);
    cleanup_close int fd = openat(d->fd, "serial.log", O_RDONLY | O_CLOEXEC);
    uint64_t start, most = 0;
    struct stat st;
    char c;

    for (int i = 0; i < 100; i++) {
        memset(block, 'a' + i % 26, sizeof(block));
        assert_int_equal(write(e.fd, block, sizeof(block)), sizeof(block));
        vivi_stream_move(&e, d->fd, 1);
        assert_int_equal(fstat(fd, &st), 0);
        if ((uint64_t)st.st_blocks * 512 > most)
            most = (uint64_t)st.st_blocks * 512;
    }
    if (e.stream.no_holes) {
        (void)printf("# needs a file system with holes\n");
        done(&e);
        skip();
    }
    assert_int_equal(st.st_size, 100 * 16384);
    assert_true(most < 100000 + 65536 + 2 * 16384 + 65536);
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_true(start >= 100 * 16384 - 100000 - 65536 - 2 * 16384 && start % 4096 == 0);
    assert_int_equal(start, e.stream.start);
    for (uint64_t at = start; at < 100 * 16384; at += 4096) {
        assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
        assert_int_equal(c, 'a' + (int)(at / 16384) % 26);
    }
    /* A later keeper finds the start again. */
    (void)vivi_stream_set(&e.stream, d->fd, "serial.log", 100000);
    assert_int_equal(e.stream.start, start);
    assert_int_equal(e.stream.size, 100 * 16384);
    done(&e);
}

static void what_is_put_in_front_of_a_log_is_of_its_length(void **state)
{
    static char block[10000];
    struct test_dir *d = *state;
    cleanup_close int fd = openat(d->fd, "serial.log", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint64_t base = 1 << 20, start;
    struct vivi_entry e;
    char c = 0;

    memset(block, 'b', sizeof(block));
    assert_int_equal(ftruncate(fd, (off_t)base), 0);
    e = make_stream(d, 100000);
    for (uint64_t at = base - 150000; at < base; at += sizeof(block))
        assert_int_equal(pwrite(fd, block, sizeof(block), (off_t)at), sizeof(block));
    for (int i = 0; i < 11; i++) {
        assert_int_equal(write(e.fd, block, sizeof(block)), sizeof(block));
        vivi_stream_move(&e, d->fd, 1);
    }
    if (e.stream.no_holes) {
        (void)printf("# needs a file system with holes\n");
        done(&e);
        skip();
    }
    assert_int_equal(e.stream.size, base + 110000);
    assert_int_equal(vivi_data_start(fd, 0, &start, NULL), 0);
    assert_true(start >= base + 110000 - 100000 - 2 * 65536 - sizeof(block) - 4096);
    assert_int_equal(start, e.stream.start);
    assert_int_equal(pread(fd, &c, 1, (off_t)start), 1);
    assert_int_equal(c, 'b');
    done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(bytes_are_appended_at_the_file_s_size),
        test_in_dir(a_burst_of_small_moves_is_paced_and_a_pause_gives_credit_back),
        test_in_dir(large_moves_are_never_paced),
        test_in_dir(a_log_that_cannot_be_written_keeps_the_rest_in_the_fifo_and_tries_again),
        test_in_dir(a_log_that_cannot_be_opened_is_opened_later),
        test_in_dir(the_head_is_punched_out_so_that_the_limit_stays_and_offsets_are_true),
        test_in_dir(what_is_put_in_front_of_a_log_is_of_its_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
