#include "store/testing.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t append(const struct vivi_root *r, const char *type)
{
    struct vivi_state s;
    cleanup_json json_t *j = NULL;
    uint64_t seq = 0;

    some_state(&s, "web", UUID_A);
    s.run = 3;
    j = vivi_event_new(&s, type);
    assert_int_equal(vivi_event_append(r, j, &seq, NULL), 0);
    assert_null(json_object_get(j, "seq")); /* the caller's object is not touched */
    return seq;
}

/* Next event's type as text ("none" when there is none) and its number. */
static const char *next(struct vivi_events *e, char ret[32], json_int_t *ret_n)
{
    json_t *j = NULL;
    int r = vivi_events_next(e, &j, NULL);

    *ret_n = -1;
    (void)snprintf(ret, 32, r < 0 ? "error" : "none");
    if (r > 0) {
        const char *type = json_string_value(json_object_get(j, "type"));

        (void)snprintf(ret, 32, "%s", type);
        *ret_n =
            json_integer_value(json_object_get(j, strcmp(type, "lost") == 0 ? "count" : "seq"));
    }
    json_decref(j);
    return ret;
}

static void events_are_numbered_and_read_in_order(void **state)
{
    struct fixture *f = *state;
    struct vivi_events e;
    char type[32];
    json_int_t n;
    json_t *j = NULL;

    assert_int_equal(vivi_events_open(&f->root, 0, &e, NULL), 0); /* there is no file yet */
    assert_string_equal(next(&e, type, &n), "none");
    assert_int_equal(append(&f->root, "created"), 1);
    assert_int_equal(append(&f->root, "state"), 2);
    assert_int_equal(vivi_events_next(&e, &j, NULL), 1);
    assert_string_equal(json_string_value(json_object_get(j, "vm")), "web");
    assert_string_equal(json_string_value(json_object_get(j, "uuid")), UUID_A);
    assert_int_equal(json_integer_value(json_object_get(j, "run")), 3);
    assert_int_equal(json_integer_value(json_object_get(j, "boot")), 0);
    assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 24);
    json_decref(j);
    assert_string_equal(next(&e, type, &n), "state");
    assert_int_equal(n, 2);
    assert_string_equal(next(&e, type, &n), "none");
    append(&f->root, "ready");
    assert_string_equal(next(&e, type, &n), "ready");
    vivi_events_done(&e);
}

static void a_cursor_begins_where_it_is_told(void **state)
{
    struct fixture *f = *state;
    struct vivi_events after, fresh;
    char type[32];
    json_int_t n;

    append(&f->root, "one");
    append(&f->root, "two");
    append(&f->root, "three");
    assert_int_equal(vivi_events_open(&f->root, 2, &after, NULL), 0);
    assert_int_equal(vivi_events_open(&f->root, VIVI_EVENTS_NEW, &fresh, NULL), 0);
    assert_string_equal(next(&after, type, &n), "three");
    assert_string_equal(next(&fresh, type, &n), "none");
    append(&f->root, "four");
    assert_string_equal(next(&after, type, &n), "four");
    assert_string_equal(next(&fresh, type, &n), "four");
    assert_int_equal(n, 4);
    vivi_events_done(&after);
    vivi_events_done(&fresh);
}

static void a_half_line_is_waited_for_and_a_torn_one_is_closed(void **state)
{
    struct fixture *f = *state;
    struct vivi_events e;
    char type[32];
    json_int_t n;

    append(&f->root, "one");
    assert_int_equal(vivi_append_at(f->root.fd, "events.log", "{\"seq\":2,\"ty", 12, NULL), 0);
    assert_int_equal(vivi_events_open(&f->root, 1, &e, NULL), 0);
    assert_string_equal(next(&e, type, &n), "none");
    assert_int_equal(append(&f->root, "next"), 2);
    assert_string_equal(next(&e, type, &n), "next");
    assert_int_equal(n, 2);
    vivi_events_done(&e);
}

static void missing_numbers_are_told_as_lost(void **state)
{
    struct fixture *f = *state;
    struct vivi_events e;
    char type[32];
    json_int_t n;

    put_file(f->root.fd, "events.log",
             "{\"seq\":10,\"type\":\"a\"}\nnot json\n{\"seq\":12,\"type\":\"b\"}\n"
             "{\"seq\":13,oops}\n{\"seq\":14,\"type\":\"c\"}\n");
    assert_int_equal(vivi_events_open(&f->root, 4, &e, NULL), 0);
    assert_string_equal(next(&e, type, &n), "lost");
    assert_int_equal(n, 5);
    assert_string_equal(next(&e, type, &n), "a");
    assert_string_equal(next(&e, type, &n), "lost");
    assert_int_equal(n, 1);
    assert_string_equal(next(&e, type, &n), "b");
    assert_string_equal(next(&e, type, &n), "lost");
    assert_string_equal(next(&e, type, &n), "c");
    assert_string_equal(next(&e, type, &n), "none");
    vivi_events_done(&e);
    assert_int_equal(append(&f->root, "d"), 15);
}

/* A log that was punched: a hole of the given size, then half a line, then events from seq on. */
static void punched(const struct fixture *f, uint64_t hole, unsigned seq)
{
    char text[200];
    cleanup_close int fd = openat(f->root.fd, "events.log", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int n = snprintf(text, sizeof(text),
                     "of a line\"}\n{\"seq\":%u,\"type\":\"x\"}\n{\"seq\":%u,\"type\":\"y\"}\n",
                     seq, seq + 1);

    assert_int_equal(pwrite(fd, text, (size_t)n, (off_t)hole), n);
}

static void a_reader_in_the_hole_goes_on_after_it(void **state)
{
    static const uint64_t holes[] = {1, 4096, 65536, 65537, 3u << 20};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(holes); i++) {
        struct vivi_events e;
        char type[32];
        json_int_t n;

        punched(f, holes[i], 100);
        assert_int_equal(vivi_events_open(&f->root, 97, &e, NULL), 0);
        assert_string_equal(next(&e, type, &n), "lost");
        assert_int_equal(n, 2);
        assert_string_equal(next(&e, type, &n), "x");
        assert_string_equal(next(&e, type, &n), "y");
        assert_string_equal(next(&e, type, &n), "none");
        vivi_events_done(&e);
        assert_int_equal(append(&f->root, "z"), 102);
        assert_int_equal(unlinkat(f->root.fd, "events.log", 0), 0);
    }
}

static void the_head_is_punched_and_the_numbers_go_on(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *j = json_object();
    char big[8001];
    struct vivi_events slow;
    char type[32];
    json_int_t n;
    struct stat st;
    uint64_t seq = 0;

    memset(big, 'x', 8000);
    big[8000] = '\0';
    assert_int_equal(json_object_set_new(j, "type", json_string("big")), 0);
    assert_int_equal(json_object_set_new(j, "pad", json_string(big)), 0);
    assert_int_equal(vivi_events_open(&f->root, 0, &slow, NULL), 0);
    append(&f->root, "first");
    assert_string_equal(next(&slow, type, &n), "first");
    while (seq < 2000)
        assert_int_equal(vivi_event_append(&f->root, j, &seq, NULL), 0);
    assert_int_equal(fstatat(f->root.fd, "events.log", &st, 0), 0);
    assert_true(st.st_size > 15 << 20);
    assert_true(st.st_blocks * 512 < 10 << 20); /* 8 MiB are kept, in steps of 1 */
    assert_string_equal(next(&slow, type, &n), "lost");
    assert_true(n > 500 && n < 1000);
    assert_string_equal(next(&slow, type, &n), "big");
    vivi_events_done(&slow);
}

static void an_event_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *j = json_object();
    char *big = calloc(1, 20001);
    viv_error err = VIV_ERROR_INIT;

    assert_non_null(big);
    memset(big, 'x', 20000);
    assert_int_equal(json_object_set_new(j, "pad", json_string(big)), 0);
    free(big);
    assert_int_equal(vivi_event_append(&f->root, j, NULL, &err), -VIV_E_PROTOCOL);
    assert_int_equal(append(&f->root, "x"), 1);
}

#define WRITERS 4
#define EACH    200

static void many_writers_share_one_sequence(void **state)
{
    struct fixture *f = *state;
    struct vivi_events e;
    char type[32];
    json_int_t n;

    for (int i = 0; i < WRITERS; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
            continue;
        struct vivi_state s;
        json_t *j;
        int bad = 0;

        some_state(&s, "web", UUID_A);
        j = vivi_event_new(&s, "x");
        for (int k = 0; k < EACH; k++)
            bad |= vivi_event_append(&f->root, j, NULL, NULL);
        json_decref(j);
        _exit(bad ? 1 : 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = -1;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(vivi_events_open(&f->root, 0, &e, NULL), 0);
    for (int i = 1; i <= WRITERS * EACH; i++) {
        assert_string_equal(next(&e, type, &n), "x");
        assert_int_equal(n, i);
    }
    assert_string_equal(next(&e, type, &n), "none");
    vivi_events_done(&e);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(events_are_numbered_and_read_in_order),
        T(a_cursor_begins_where_it_is_told),
        T(a_half_line_is_waited_for_and_a_torn_one_is_closed),
        T(missing_numbers_are_told_as_lost),
        T(a_reader_in_the_hole_goes_on_after_it),
        T(the_head_is_punched_and_the_numbers_go_on),
        T(an_event_that_is_too_long_is_refused),
        T(many_writers_share_one_sequence),
    };

    return cmocka_run_group_tests_name("store: events", tests, NULL, NULL);
}
