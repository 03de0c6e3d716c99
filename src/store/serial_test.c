#include "store/serial.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/testing.h"

#define BASE 16384

static const char before[] = "one\ntwo\nthree\n"; /* what the guest said elsewhere, as of 100 */
#define BEFORE_START 100
#define BEFORE_SIZE  (BEFORE_START + sizeof(before) - 1)

static struct vivi_serial_part part_of(const json_t *boots)
{
    return (struct vivi_serial_part){BEFORE_START, BEFORE_SIZE, boots};
}

/* [from, to) of it. */
static int put(const struct test_dir *d, size_t from, size_t to, viv_error *err)
{
    struct vivi_serial_part part = part_of(NULL);

    return vivi_serial_put(
        d->fd, &part, &(struct vivi_serial_piece){BEFORE_START + from, before + from, to - from},
        err);
}

static int take(const struct test_dir *d, int64_t *ret_bytes, viv_error *err)
{
    struct vivi_serial_part part = part_of(NULL);

    return vivi_serial_take(d->fd, &part, ret_bytes, err);
}

static int open_log(const struct test_dir *d)
{
    int fd = openat(d->fd, VIVI_SERIAL_FILE, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void say_here(const struct test_dir *d, const char *text)
{
    assert_int_equal(vivi_append_at(d->fd, VIVI_SERIAL_FILE, text, strlen(text), NULL), 0);
}

static void assert_reads(const struct test_dir *d, const char *text)
{
    cleanup_close int fd = open_log(d);
    uint64_t start = vivi_serial_start(d->fd, fd);
    char data[256];
    ssize_t n = pread(fd, data, sizeof(data) - 1, (off_t)start);

    assert_true(n >= 0);
    data[n] = '\0';
    assert_string_equal(data, text);
}

static uint64_t size_of_log(const struct test_dir *d)
{
    struct stat st;

    assert_int_equal(fstatat(d->fd, VIVI_SERIAL_FILE, &st, 0), 0);
    return (uint64_t)st.st_size;
}

static void what_was_said_before_stands_in_front_once_all_of_it_is_there(void **state)
{
    struct test_dir *d = *state;
    int64_t bytes = 0;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    assert_int_equal(size_of_log(d), BASE);
    assert_int_equal(vivi_serial_room(d->fd), BASE);
    assert_reads(d, "");
    say_here(d, "here\n");
    assert_reads(d, "here\n");
    assert_int_equal(put(d, 0, 6, NULL), 0);
    assert_reads(d, "here\n"); /* whoever put that may be killed now */
    assert_int_equal(put(d, 6, sizeof(before) - 1, NULL), 0);
    assert_reads(d, "here\n");
    assert_int_equal(take(d, &bytes, NULL), 0);
    assert_int_equal(bytes, sizeof(before) - 1);
    assert_reads(d, "one\ntwo\nthree\nhere\n");
    say_here(d, "more\n");
    assert_reads(d, "one\ntwo\nthree\nhere\nmore\n");
    assert_int_equal(size_of_log(d), BASE + 10); /* offsets of here are what they were */
    assert_int_equal(vivi_serial_room(d->fd), 0);
}

static void nothing_is_there_twice(void **state)
{
    struct test_dir *d = *state;
    int64_t bytes = 0;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    for (int i = 0; i < 3; i++)
        for (size_t at = 0; at < sizeof(before) - 1; at++)
            assert_int_equal(put(d, at, sizeof(before) - 1, NULL), 0);
    assert_int_equal(take(d, &bytes, NULL), 0);
    assert_reads(d, before);
    assert_int_equal(put(d, 0, 3, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "nothing is to come in front of its log");
    assert_int_equal(take(d, &bytes, NULL), -VIV_E_WRONG_STATE);
    assert_reads(d, before);
}

static void what_there_is_no_room_for_is_cut_off_at_its_head(void **state)
{
    static const char text[] = "abcdefghij";
    struct vivi_serial_part part = {0, 4106, NULL};
    struct test_dir *d = *state;
    char block[4106];
    int64_t bytes = 0;

    memset(block, 'x', 4096);
    memcpy(block + 4096, text, 10);
    assert_int_equal(vivi_serial_reserve(d->fd, 4096, NULL), 0);
    for (uint64_t at = 0; at < part.size; at += 2)
        assert_int_equal(
            vivi_serial_put(d->fd, &part, &(struct vivi_serial_piece){at, block + at, 2}, NULL), 0);
    assert_int_equal(vivi_serial_take(d->fd, &part, &bytes, NULL), 0);
    assert_int_equal(bytes, 4096);
    assert_int_equal(size_of_log(d), 4096);
    {
        cleanup_close int fd = open_log(d);
        char read_back[4097];

        assert_int_equal(vivi_serial_start(d->fd, fd), 0);
        assert_int_equal(pread(fd, read_back, sizeof(read_back), 0), 4096);
        assert_memory_equal(read_back, block + 10, 4096);
    }
}

static void pieces_of_something_else_are_refused(void **state)
{
    static const struct vivi_serial_piece bad[] = {{BEFORE_START - 1, before, 1},
                                                   {BEFORE_SIZE, before, 1},
                                                   {BEFORE_SIZE + 1, before, 0},
                                                   {BEFORE_START, before, SIZE_MAX},
                                                   {UINT64_MAX, before, 2}};
    struct vivi_serial_part part = part_of(NULL);
    struct test_dir *d = *state;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(vivi_serial_put(d->fd, &part, &bad[i], NULL), -VIV_E_INVALID);
    assert_int_equal(size_of_log(d), BASE);
    assert_reads(d, "");
}

static void parts_are_parsed(void **state)
{
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "{\"start\":1}",
                                      "{\"start\":-1,\"size\":2}",
                                      "{\"start\":3,\"size\":2}",
                                      "{\"start\":0,\"size\":\"2\"}"};
    struct vivi_serial_part part;
    json_t *j;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        j = json_loads(bad[i], 0, NULL);
        assert_int_equal(vivi_serial_part_parse(j, &part, NULL), -VIV_E_INVALID);
        json_decref(j);
    }
    assert_int_equal(vivi_serial_part_parse(NULL, &part, NULL), -VIV_E_INVALID);
    j = json_loads("{\"start\":2,\"size\":5,\"boots\":[]}", 0, NULL);
    assert_int_equal(vivi_serial_part_parse(j, &part, NULL), 0);
    assert_int_equal(part.start, 2);
    assert_int_equal(part.size, 5);
    assert_non_null(part.boots);
    json_decref(j);
}

/* The keeper has freed what is beyond the limit, up to end. */
static void punch(const struct test_dir *d, uint64_t end)
{
    cleanup_close int fd = open_log(d);
    viv_error err = VIV_ERROR_INIT;

    if (vivi_punch_head(fd, end, &err) < 0) {
        (void)printf("# needs a file system with holes: %s\n", err.message);
        skip();
    }
}

static void say_block_here(const struct test_dir *d, char c)
{
    char block[4097] = "";

    memset(block, c, 4096);
    say_here(d, block);
}

static void a_log_that_has_passed_its_limit_takes_nothing_in_front(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    int64_t bytes = 0;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    say_block_here(d, 'a');
    say_here(d, "end\n");
    punch(d, BASE + 4096);
    assert_int_equal(put(d, 0, sizeof(before) - 1, NULL), 0);
    assert_int_equal(take(d, &bytes, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "the log of here has passed its limit already");
    assert_reads(d, "end\n");
    assert_int_equal(put(d, 0, 3, NULL), 0); /* by one that was killed before it took it */
    assert_reads(d, "end\n");
}

static void what_was_taken_is_freed_as_any_other_head(void **state)
{
    struct test_dir *d = *state;
    int64_t bytes = 0;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    say_block_here(d, 'a');
    say_here(d, "end\n");
    assert_int_equal(put(d, 0, sizeof(before) - 1, NULL), 0);
    assert_int_equal(take(d, &bytes, NULL), 0);
    punch(d, BASE + 4096);
    assert_reads(d, "end\n");
}

static void a_log_that_never_moved_has_no_record(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    bool joined = true;
    json_t *running = json_loads("{\"boots\":[{\"boot\":1,\"offset\":0}]}", 0, NULL), *boots;

    say_here(d, "here\n");
    assert_reads(d, "here\n");
    assert_int_equal(vivi_serial_room(d->fd), -1);
    assert_int_equal(put(d, 0, 3, NULL), -VIV_E_WRONG_STATE);
    boots = vivi_serial_boots(d->fd, running, &joined);
    assert_false(joined);
    assert_true(json_equal(boots, json_object_get(running, "boots")));
    json_decref(boots);
    json_decref(running);
    /* No room can be made in a log that is there, and no record of it stays. */
    assert_int_equal(vivi_serial_reserve(d->fd, BASE, &err), -VIV_E_EXISTS);
    assert_int_equal(vivi_serial_room(d->fd), -1);
}

static char *boots_text(const struct test_dir *d, const char *running, bool *ret_joined)
{
    json_t *doc = json_loads(running, 0, NULL), *boots;
    char *text;

    assert_non_null(doc);
    boots = vivi_serial_boots(d->fd, doc, ret_joined);
    text = json_dumps(boots, JSON_COMPACT);
    json_decref(boots);
    json_decref(doc);
    return text;
}

static void assert_boots(const struct test_dir *d, const char *running, const char *want)
{
    bool joined;
    char *text = boots_text(d, running, &joined);

    assert_string_equal(text, want);
    free(text);
}

static void take_boots(const struct test_dir *d, const char *boots)
{
    json_t *j = json_loads(boots, 0, NULL);
    struct vivi_serial_part part = part_of(j);
    int64_t bytes = 0;

    assert_non_null(j);
    assert_int_equal(vivi_serial_take(d->fd, &part, &bytes, NULL), 0);
    json_decref(j);
}

static void boots_of_before_stand_in_front_and_the_last_one_goes_on(void **state)
{
    static const char here[] =
        "{\"boots\":[{\"boot\":7,\"offset\":16384},{\"boot\":8,\"offset\":16400}]}";
    struct test_dir *d = *state;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    say_here(d, "here\n");
    assert_int_equal(put(d, 0, sizeof(before) - 1, NULL), 0);
    assert_boots(d, here, "[{\"boot\":7,\"offset\":16384},{\"boot\":8,\"offset\":16400}]");
    /* one of them before the part begins; and one more than the offer knew of */
    take_boots(
        d, "[{\"boot\":6,\"offset\":4},{\"boot\":7,\"offset\":104},{\"boot\":8,\"offset\":108}]");
    assert_boots(d, here,
                 "[{\"boot\":5,\"offset\":16370},{\"boot\":6,\"offset\":16374},"
                 "{\"boot\":7,\"offset\":16378},{\"boot\":8,\"offset\":16400}]");
    /* of a later run they are as little as of any other run before */
    assert_boots(d, "{\"boots\":[{\"boot\":9,\"offset\":16500}]}",
                 "[{\"boot\":9,\"offset\":16500}]");
    assert_boots(d, "{}", "[]");
}

static void boots_that_cannot_be_are_left_out(void **state)
{
    struct test_dir *d = *state;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    take_boots(d, "[1,{\"boot\":-1,\"offset\":104},{\"boot\":9223372036854775807,\"offset\":104},"
                  "{\"boot\":1},{\"boot\":1,\"offset\":9223372036854775807},"
                  "{\"boot\":3,\"offset\":104}]");
    assert_boots(d, "{\"boots\":[{\"boot\":3,\"offset\":16384}]}",
                 "[{\"boot\":3,\"offset\":16374}]");
}

static void the_last_boots_are_kept(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf text = VIVI_BUF(65536);
    bool joined;
    char *found;
    json_t *list;

    assert_int_equal(vivi_serial_reserve(d->fd, BASE, NULL), 0);
    (void)vivi_buf_printf(&text, "[");
    for (int i = 1; i <= 100; i++)
        (void)vivi_buf_printf(&text, "%s{\"boot\":%d,\"offset\":104}", i > 1 ? "," : "", i);
    (void)vivi_buf_printf(&text, "]");
    take_boots(d, text.data);
    found = boots_text(d, "{\"boots\":[{\"boot\":100,\"offset\":16384}]}", &joined);
    assert_true(joined);
    list = json_loads(found, 0, NULL);
    assert_int_equal(json_array_size(list), VIVI_SERIAL_BOOTS);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(list, VIVI_SERIAL_BOOTS - 1), "boot")),
        100);
    json_decref(list);
    free(found);
}

static void a_record_that_is_nonsense_is_none(void **state)
{
    static const char *const bad[] = {"{", "{\"schema\":1,\"base\":1,\"head\":2}",
                                      "{\"schema\":1,\"base\":-1,\"head\":-2}", "{\"schema\":1}"};
    struct test_dir *d = *state;

    say_here(d, "here\n");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(
            vivi_write_file_at(d->fd, VIVI_SERIAL_RECORD, bad[i], strlen(bad[i]), VIVI_FAST, NULL),
            0);
        assert_int_equal(vivi_serial_room(d->fd), -1);
        assert_reads(d, "here\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(what_was_said_before_stands_in_front_once_all_of_it_is_there),
        test_in_dir(nothing_is_there_twice),
        test_in_dir(what_there_is_no_room_for_is_cut_off_at_its_head),
        test_in_dir(pieces_of_something_else_are_refused),
        cmocka_unit_test(parts_are_parsed),
        test_in_dir(a_log_that_has_passed_its_limit_takes_nothing_in_front),
        test_in_dir(what_was_taken_is_freed_as_any_other_head),
        test_in_dir(a_log_that_never_moved_has_no_record),
        test_in_dir(boots_of_before_stand_in_front_and_the_last_one_goes_on),
        test_in_dir(boots_that_cannot_be_are_left_out),
        test_in_dir(the_last_boots_are_kept),
        test_in_dir(a_record_that_is_nonsense_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
