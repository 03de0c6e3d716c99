#include "base/log_times.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/testing.h"

#define NAME "log.times"

static struct vivi_log_time at(uint64_t size, int64_t wall_ms)
{
    return (struct vivi_log_time){size, wall_ms};
}

static struct vivi_log_times opened(const struct test_dir *d, uint64_t size, int64_t wall_ms)
{
    struct vivi_log_times t;

    assert_int_equal(
        vivi_log_times_open(&t, d->fd, NAME, &(struct vivi_log_time){size, wall_ms}, NULL), 0);
    return t;
}

static void note(struct vivi_log_times *t, uint64_t size, int64_t wall_ms)
{
    struct vivi_log_time now = at(size, wall_ms);

    vivi_log_times_note(t, &now, -1);
}

/* The time of the byte at offset; −1: newer than all records. */
static int64_t time_of(const struct vivi_log_times *t, uint64_t offset)
{
    struct vivi_log_time r;
    int found = vivi_log_times_find(t->fd, offset, &r, NULL);

    assert_true(found >= 0);
    assert_true(found == 0 || r.size > offset);
    return found ? r.wall_ms : -1;
}

static void a_byte_has_the_time_when_the_log_first_held_it(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    assert_int_equal(time_of(&t, 0), -1);
    note(&t, 10, 1000);
    note(&t, 30, 2000);
    note(&t, 30, 3000); /* nothing new */
    note(&t, 31, 4000);
    assert_int_equal(time_of(&t, 0), 1000);
    assert_int_equal(time_of(&t, 9), 1000);
    assert_int_equal(time_of(&t, 10), 2000);
    assert_int_equal(time_of(&t, 29), 2000);
    assert_int_equal(time_of(&t, 30), 4000);
    assert_int_equal(time_of(&t, 31), -1);
    vivi_log_times_done(&t);
}

static void growth_within_the_grain_shares_a_record(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    note(&t, 10, 1000);
    note(&t, 20, 1000 + VIVI_LOG_TIMES_GRAIN - 1);
    assert_int_equal(t.n, 1);
    assert_int_equal(time_of(&t, 19), 1000);
    note(&t, 30, 1000 + VIVI_LOG_TIMES_GRAIN);
    assert_int_equal(t.n, 2);
    assert_int_equal(time_of(&t, 20), 1000 + VIVI_LOG_TIMES_GRAIN);
    vivi_log_times_done(&t);
}

static void what_was_there_before_anybody_noted_has_no_time(void **state)
{
    struct vivi_log_times t = opened(*state, 500, 1000);

    assert_int_equal(time_of(&t, 499), 0);
    note(&t, 510, 1001); /* no share of a record that has no time */
    assert_int_equal(time_of(&t, 499), 0);
    assert_int_equal(time_of(&t, 500), 1001);
    vivi_log_times_done(&t);
}

static void what_came_while_nobody_noted_was_seen_at_the_next_opening(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    note(&t, 10, 1000);
    vivi_log_times_done(&t);
    t = opened(*state, 25, 9000);
    assert_int_equal(time_of(&t, 9), 1000);
    assert_int_equal(time_of(&t, 10), 9000);
    vivi_log_times_done(&t);
    t = opened(*state, 25, 9500); /* nothing came */
    assert_int_equal(t.n, 2);
    vivi_log_times_done(&t);
}

static void records_that_go_further_than_the_log_are_of_another_one(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    note(&t, 100, 1000);
    vivi_log_times_done(&t);
    t = opened(*state, 40, 2000);
    assert_int_equal(time_of(&t, 39), 0);
    note(&t, 60, 3000);
    assert_int_equal(time_of(&t, 59), 3000);
    vivi_log_times_done(&t);
}

static void half_a_record_at_the_end_is_none(void **state)
{
    struct test_dir *d = *state;
    struct vivi_log_times t = opened(d, 0, 1000);

    note(&t, 10, 1000);
    assert_int_equal(pwrite(t.fd, "half", 4, VIVI_LOG_TIME_BYTES), 4);
    assert_int_equal(time_of(&t, 10), -1);
    vivi_log_times_done(&t);
    t = opened(d, 10, 5000);
    note(&t, 20, 6000); /* in its place */
    assert_int_equal(time_of(&t, 10), 6000);
    vivi_log_times_done(&t);
}

static uint64_t since(const struct vivi_log_times *t, int64_t ms)
{
    struct vivi_log_time r = at(0, 0);

    assert_true(vivi_log_times_before(t->fd, ms, &r, NULL) >= 0);
    return r.size;
}

static void since_begins_behind_the_last_older_record(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    for (int i = 1; i <= 1000; i++)
        note(&t, (uint64_t)i * 10, i * 100);
    assert_int_equal(since(&t, 1), 0);
    assert_int_equal(since(&t, 100), 0);
    assert_int_equal(since(&t, 101), 10);
    assert_int_equal(since(&t, 50000), 4990);
    assert_int_equal(since(&t, 999999), 10000);
    vivi_log_times_done(&t);
}

static void a_clock_that_was_set_back_loses_nothing(void **state)
{
    struct vivi_log_times t = opened(*state, 0, 1000);

    note(&t, 10, 8000);
    note(&t, 20, 9000);
    note(&t, 30, 5000);
    note(&t, 40, 6000);
    assert_int_equal(time_of(&t, 25), 5000);
    assert_int_equal(since(&t, 5500), 30);
    assert_int_equal(since(&t, 8500), 40);
    vivi_log_times_done(&t);
}

static void old_records_are_freed_with_the_head_of_the_log(void **state)
{
    struct test_dir *d = *state;
    struct vivi_log_times t = opened(d, 0, 1000);
    int log = openat(d->fd, "log", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint64_t start;

    assert_true(log >= 0);
    assert_int_equal(ftruncate(log, 1 << 20), 0); /* all of it is a hole but for the end */
    assert_int_equal(pwrite(log, "end", 3, (1 << 20) - 3), 3);
    if (vivi_data_start(log, 0, &start, NULL) < 0 || start == 0 ||
        vivi_punch_head(log, 4096, NULL) < 0) {
        print_message("this file system has no holes\n");
    } else {
        for (uint64_t i = 1; i <= 1024; i++) {
            struct vivi_log_time now = at(i * 1024, (int64_t)i * 10);

            vivi_log_times_note(&t, &now, log);
        }
        assert_int_equal(vivi_data_start(t.fd, 0, &start, NULL), 0);
        assert_true(start >= 12288);         /* of 16384 */
        assert_int_equal(time_of(&t, 0), 0); /* not known any more */
        assert_int_equal(time_of(&t, (1 << 20) - 1), 10240);
    }
    (void)close(log);
    vivi_log_times_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_byte_has_the_time_when_the_log_first_held_it),
        test_in_dir(growth_within_the_grain_shares_a_record),
        test_in_dir(what_was_there_before_anybody_noted_has_no_time),
        test_in_dir(what_came_while_nobody_noted_was_seen_at_the_next_opening),
        test_in_dir(records_that_go_further_than_the_log_are_of_another_one),
        test_in_dir(half_a_record_at_the_end_is_none),
        test_in_dir(since_begins_behind_the_last_older_record),
        test_in_dir(a_clock_that_was_set_back_loses_nothing),
        test_in_dir(old_records_are_freed_with_the_head_of_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
