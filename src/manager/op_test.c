#include "manager/testing.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/fd.h"

#define OK_RESULT "{\"changed\":true,\"state\":\"running\"}"

static json_t *nth_request(struct fixture *f, const char *name, unsigned n)
{
    char *seen = double_seen(f, name), *p = seen;
    json_t *j;

    for (; n > 0 && p; n--) {
        p = strchr(p, '\n');
        p = p ? p + 1 : NULL;
    }
    assert_non_null(p);
    j = json_loads(p, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(j);
    free(seen);
    return j;
}

static unsigned count_requests(struct fixture *f, const char *name)
{
    char *seen = double_seen(f, name);
    unsigned n = 0;

    for (const char *p = seen; *p; p++)
        n += *p == '\n';
    free(seen);
    return n;
}

/* Turns a caller's own loop until op is done. */
static void drive(struct fixture *f, viv_op *op)
{
    int64_t until = now_ms() + DEADLINE_MS;

    while (!viv_op_done(op)) {
        struct pollfd p = {.fd = viv_fd(f->v), .events = POLLIN};

        assert_true(now_ms() < until);
        assert_true(poll(&p, 1, DEADLINE_MS) >= 0);
        assert_int_equal(viv_dispatch(f->v, NULL), 0);
    }
}

static void a_blocking_verb_returns_the_monitors_result(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *r = NULL;
    json_t *q;
    int changed = 0;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT});
    assert_int_equal(viv_vm_start(m, NULL, NULL, &r, NULL), 0);
    assert_int_equal(viv_rec_bool(r, "changed", &changed), 0);
    assert_int_equal(changed, 1);
    assert_string_equal(viv_rec_str(r, "state"), "running");
    viv_rec_free(r);
    q = nth_request(f, "web", 0);
    assert_string_equal(json_string_value(json_object_get(q, "verb")), "start");
    assert_int_equal(strlen(json_string_value(json_object_get(q, "op"))), 36);
    assert_int_equal(json_integer_value(vivi_json_at(q, "args.timeout_ms")), 30000);
    assert_string_equal(json_string_value(vivi_json_at(q, "args.wait")), "running");
    assert_true(json_integer_value(vivi_json_at(q, "args.requested_us")) > 0);
    assert_true(json_is_false(json_object_get(q, "has_fd")));
    json_decref(q);
    viv_vm_free(m);
}

static void an_operation_in_flight_makes_the_fd_readable_when_it_is_done(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_op *op = NULL;
    viv_rec *r = NULL;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT});
    assert_int_equal(viv_vm_pause(m, NULL, &op, NULL, NULL), 0);
    drive(f, op);
    assert_int_equal(viv_op_wait(op, 0, &r, NULL), 0);
    viv_rec_free(r);
    assert_int_equal(viv_op_wait(op, 0, &r, NULL), 0); /* as often as asked */
    viv_rec_free(r);
    viv_op_free(op);
    assert_int_equal(viv_timeout_ms(f->v), -1);
    viv_vm_free(m);
}

static void an_error_keeps_its_code_field_and_hint(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *r = NULL;
    viv_error err = VIV_ERROR_INIT;

    double_start(f, "web",
                 &(struct double_how){.error = "{\"code\":\"WRONG_STATE\",\"errno\":\"EBUSY\","
                                               "\"field\":\"a.b\",\"message\":\"only a running VM "
                                               "can be paused (it is stopped)\",\"hint\":\"x\"}"});
    assert_int_equal(viv_vm_pause(m, NULL, NULL, &r, &err), -VIV_E_WRONG_STATE);
    assert_int_equal(err.code, VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "only a running VM can be paused (it is stopped)");
    assert_string_equal(err.field, "a.b");
    assert_string_equal(err.hint, "x");
    assert_string_equal(err.vm, "web");
    assert_null(r);
    viv_vm_free(m);
}

static void a_monitor_one_version_ahead_interoperates(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");

    double_start(f, "web",
                 &(struct double_how){.protocol = VIVI_CONTROL_PROTOCOL + 1, .result = OK_RESULT});
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, NULL), 0);
    viv_vm_free(m);
}

static void other_versions_are_refused_by_name(void **state)
{
    static const int apart[] = {2, 3, -2};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(apart); i++) {
        char name[16], want[200];
        unsigned theirs = (unsigned)(VIVI_CONTROL_PROTOCOL + apart[i]);
        viv_error err = VIV_ERROR_INIT;
        viv_vm *m;

        (void)snprintf(name, sizeof(name), "vm%zu", i);
        m = some_vm(f, name);
        double_start(f, name, &(struct double_how){.protocol = theirs, .result = OK_RESULT});
        assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, &err), -VIV_E_UNSUPPORTED);
        (void)snprintf(want, sizeof(want),
                       "this viv speaks control protocol %d, the monitor of %s speaks %d",
                       VIVI_CONTROL_PROTOCOL, name, apart[i] < 0 ? 0 : (int)theirs);
        assert_string_equal(err.message, want);
        assert_int_equal(count_requests(f, name), 0);
        viv_vm_free(m);
    }
}

static void a_lost_connection_asks_again_by_the_same_id(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *r = NULL;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT, .drops = 3});
    assert_int_equal(viv_vm_start(m, NULL, NULL, &r, NULL), 0);
    viv_rec_free(r);
    assert_int_equal(count_requests(f, "web"), 4);
    for (unsigned i = 1; i < 4; i++) {
        json_t *a = nth_request(f, "web", 0), *b = nth_request(f, "web", i);

        assert_string_equal(json_string_value(json_object_get(a, "op")),
                            json_string_value(json_object_get(b, "op")));
        json_decref(a);
        json_decref(b);
    }
    viv_vm_free(m);
}

static void a_monitor_that_dies_before_it_greets_is_tried_again(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");

    double_start(f, "web",
                 &(struct double_how){.result = OK_RESULT, .drops = 4, .drop_before_hello = true});
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(count_requests(f, "web"), 1);
    viv_vm_free(m);
}

static void asking_again_does_not_begin_the_time_anew(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_opts *o = some_opts("timeout_ms=100000 until=ready");
    viv_op *op = NULL;
    json_t *q;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT, .drops = 1, .ignores = 1});
    assert_int_equal(viv_vm_wait(m, o, &op, NULL, NULL), 0);
    drive(f, op);
    q = nth_request(f, "web", 1);
    assert_true(json_integer_value(vivi_json_at(q, "args.timeout_ms")) <= 100000);
    json_decref(q);
    viv_op_free(op);
    viv_opts_free(o);
    viv_vm_free(m);
}

static void a_silent_monitor_times_out_in_time_and_says_what_goes_on(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_opts *o = some_opts("timeout_ms=200 until=ready");
    viv_error err = VIV_ERROR_INIT;
    int64_t begin = now_ms(), took;

    double_start(f, "web", &(struct double_how){.result = NULL});
    begin = now_ms();
    assert_int_equal(viv_vm_wait(m, o, NULL, NULL, &err), -VIV_E_TIMEOUT);
    took = now_ms() - begin;
    assert_string_equal(err.message, "not ready after 0.2 s; it goes on running");
    assert_in_range(took, 200, DEADLINE_MS); /* how late it may be: bench, section late */
    viv_opts_free(o);
    viv_vm_free(m);
}

static void waiting_with_a_limit_leaves_the_operation_in_flight(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_op *op = NULL;
    viv_error err = VIV_ERROR_INIT;
    int64_t begin, took;

    double_start(f, "web", &(struct double_how){.result = NULL});
    assert_int_equal(viv_vm_wait(m, NULL, &op, NULL, NULL), 0);
    begin = now_ms();
    assert_int_equal(viv_op_wait(op, 100, NULL, &err), -VIV_E_TIMEOUT);
    took = now_ms() - begin;
    assert_in_range(took, 100, DEADLINE_MS);
    assert_int_equal(viv_op_done(op), 0);
    assert_int_equal(viv_op_cancel(op, NULL), 0);
    assert_int_equal(viv_op_done(op), 1);
    assert_int_equal(viv_op_wait(op, 0, NULL, &err), -VIV_E_CANCELLED);
    viv_op_free(op);
    viv_vm_free(m);
}

static void *wake_soon(void *v)
{
    (void)poll(NULL, 0, 30);
    viv_wake(v);
    return NULL;
}

static void a_wake_from_another_thread_ends_a_blocking_call(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_error err = VIV_ERROR_INIT;
    pthread_t t;

    double_start(f, "web", &(struct double_how){.result = NULL});
    assert_int_equal(pthread_create(&t, NULL, wake_soon, f->v), 0);
    assert_int_equal(viv_vm_wait(m, NULL, NULL, NULL, &err), -VIV_E_CANCELLED);
    assert_int_equal(err.code, VIV_E_CANCELLED);
    assert_int_equal(pthread_join(t, NULL), 0);
    viv_vm_free(m);
}

static void a_freed_operation_still_sends_its_request(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_op *op = NULL;
    struct pollfd p = {.fd = viv_fd(f->v), .events = POLLIN};
    int64_t until = now_ms() + DEADLINE_MS;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT});
    assert_int_equal(viv_vm_start(m, NULL, &op, NULL, NULL), 0);
    viv_op_free(op);
    while (f->v->ops && now_ms() < until) {
        (void)poll(&p, 1, 100);
        assert_int_equal(viv_dispatch(f->v, NULL), 0);
    }
    double_wait(f, "web", 1);
    viv_vm_free(m);
}

static void closing_ends_what_is_in_flight(void **state)
{
    struct fixture *f = *state;
    viv *other = NULL;
    viv_vm *m = NULL;
    viv_op *op = NULL, *freed = NULL;
    viv_error err = VIV_ERROR_INIT;

    viv_vm_free(some_vm(f, "web"));
    double_start(f, "web", &(struct double_how){.result = NULL});
    assert_int_equal(viv_open(f->dir, 0, &other, NULL), 0);
    assert_int_equal(viv_lookup(other, "web", &m, NULL), 0);
    assert_int_equal(viv_vm_wait(m, NULL, &op, NULL, NULL), 0);
    assert_int_equal(viv_vm_wait(m, NULL, &freed, NULL, NULL), 0);
    viv_op_free(freed);
    viv_vm_free(m);
    viv_close(other);
    assert_int_equal(viv_op_done(op), 1);
    assert_int_equal(viv_op_wait(op, -1, NULL, &err), -VIV_E_CANCELLED);
    viv_op_free(op);
}

static void a_blocking_call_does_not_swallow_news_of_events(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *e = NULL;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT});
    assert_int_equal(viv_subscribe(f->v, NULL, 0, NULL), 0);
    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    assert_int_equal(viv_next(f->v, &e, NULL), 0);
    viv_vm_free(some_vm(f, "other"));
    assert_int_equal(viv_vm_pause(m, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(vivi_wait_fd(viv_fd(f->v), POLLIN, 0, NULL), 1);
    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    assert_int_equal(viv_next(f->v, &e, NULL), 1);
    viv_rec_free(e);
    assert_int_equal(vivi_wait_fd(viv_fd(f->v), POLLIN, 0, NULL), 0);
    viv_vm_free(m);
}

static void rubbish_is_a_protocol_error(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_error err = VIV_ERROR_INIT;

    double_start(f, "web", &(struct double_how){.rubbish = "\xff\xff\xff\xff\x01\x01\x01\x01"});
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.vm, "web");
    viv_vm_free(m);
}

static void notes_are_kept_for_whoever_asks(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_op *op = NULL;
    viv_rec *note = NULL;
    uint64_t done = 0, total = 0;

    double_start(f, "web",
                 &(struct double_how){.error = "{\"code\":\"TIMEOUT\",\"message\":\"late\"}",
                                      .note = "{\"done\":3,\"total\":4,\"serial_tail\":[\"a\"]}"});
    assert_int_equal(viv_vm_wait(m, NULL, &op, NULL, NULL), 0);
    assert_int_equal(viv_op_note(op, &note, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_op_progress(op, &done, &total), -VIV_E_NOT_FOUND);
    drive(f, op);
    assert_int_equal(viv_op_wait(op, 0, NULL, NULL), -VIV_E_TIMEOUT);
    assert_int_equal(viv_op_progress(op, &done, &total), 0);
    assert_int_equal(done, 3);
    assert_int_equal(total, 4);
    assert_int_equal(viv_op_note(op, &note, NULL), 0);
    assert_string_equal(viv_rec_str(note, "serial_tail.0"), "a");
    assert_true(viv_rec_is_null(note, "id"));
    viv_rec_free(note);
    viv_op_free(op);
    viv_vm_free(m);
}

static void the_console_comes_as_a_descriptor(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    cleanup_close int fd = -1;
    int writer = -1;
    char text[3] = "";

    double_start(f, "web", &(struct double_how){.result = "{\"writer\":true}", .with_fd = true});
    assert_int_equal(viv_vm_console(m, VIV_CONSOLE_STEAL, &fd, &writer, NULL), 0);
    assert_int_equal(writer, 1);
    assert_true(fd >= 3 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    assert_int_equal(read(fd, text, 2), 2);
    assert_string_equal(text, "hi");
    assert_int_equal(viv_vm_console(m, 64, &fd, &writer, NULL), -VIV_E_INVALID);
    viv_vm_free(m);
}

static void a_foreground_descriptor_goes_with_the_request(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    char text[64];
    int fds[2];
    viv_opts *o;
    json_t *q;

    double_start(f, "web", &(struct double_how){.result = OK_RESULT, .drops = 1});
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    (void)snprintf(text, sizeof(text), "foreground_fd=%d remove_when_ended=true", fds[0]);
    o = some_opts(text);
    assert_int_equal(viv_vm_start(m, o, NULL, NULL, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        q = nth_request(f, "web", i);
        assert_true(json_is_true(json_object_get(q, "has_fd")));
        assert_true(json_is_true(vivi_json_at(q, "args.foreground")));
        assert_true(json_is_true(vivi_json_at(q, "args.remove_when_ended")));
        json_decref(q);
    }
    assert_true(fcntl(fds[0], F_GETFD) >= 0); /* it was duplicated */
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
    viv_opts_free(o);
    viv_vm_free(m);
}

static void a_removal_that_hung_up_when_it_was_done_is_a_success(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_opts *o = some_opts("force=true");
    viv_rec *r = NULL;
    viv_error err = VIV_ERROR_INIT;
    int changed = 0;

    double_start(f, "web", &(struct double_how){.removes = true});
    assert_int_equal(viv_vm_remove(m, o, NULL, &r, NULL), 0);
    assert_int_equal(viv_rec_bool(r, "changed", &changed), 0);
    assert_int_equal(changed, 1);
    viv_rec_free(r);
    assert_int_equal(viv_vm_remove(m, o, NULL, NULL, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    viv_opts_free(o);
    viv_vm_free(m);
}

static void a_verb_on_a_vm_that_vanishes_is_not_found(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_error err = VIV_ERROR_INIT;

    double_start(f, "web", &(struct double_how){.removes = true});
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    viv_vm_free(m);
}

static void without_helpers_a_start_is_refused_and_makes_no_operation(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_op *op = NULL;
    viv_error err = VIV_ERROR_INIT;
    char *was = strdup(getenv("VIV_LIBEXEC"));

    assert_non_null(was);
    assert_int_equal(setenv("VIV_LIBEXEC", "/nonexistent", 1), 0);
    assert_int_equal(viv_vm_start(m, NULL, &op, NULL, &err), -VIV_E_NOT_FOUND);
    assert_null(op);
    assert_string_equal(err.message, "viv-keeper: not found (in /nonexistent)");
    assert_true(err.hint[0]);
    assert_int_equal(setenv("VIV_LIBEXEC", was, 1), 0);
    free(was);
    viv_vm_free(m);
}

static void options_of_another_verb_and_nonsense_are_invalid(void **state)
{
    static const struct {
        const char *opts, *message;
    } cases[] = {
        {"hard=true", "hard: is no option of start"},
        {"wait=soon", "wait: \"soon\" is neither running nor ready"},
        {"timeout_ms=-5", "timeout_ms: -5 is not a number of milliseconds"},
    };
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_opts *o;
    viv_error err = VIV_ERROR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        o = some_opts(cases[i].opts);
        assert_int_equal(viv_vm_start(m, o, NULL, NULL, &err), -VIV_E_INVALID);
        assert_string_equal(err.message, cases[i].message);
        viv_opts_free(o);
    }
    assert_int_equal(viv_opts_new(&o, NULL), 0);
    assert_int_equal(viv_opts_set_i64(o, "timout_ms", 1, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "timout_ms: unknown option");
    assert_string_equal(err.hint, "did you mean \"timeout_ms\"?");
    assert_int_equal(viv_opts_set_str(o, "timeout_ms", "1", &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "timeout_ms: is a number");
    viv_opts_free(o);
    viv_vm_free(m);
}

static void two_roots_and_many_operations_share_one_loop_each(void **state)
{
    enum { N = 20 };
    struct fixture *f = *state;
    viv_op *ops[N];
    int64_t until;
    size_t left = N;

    for (size_t i = 0; i < N; i++) {
        char name[16];
        viv_vm *m;

        (void)snprintf(name, sizeof(name), "vm%zu", i);
        m = some_vm(f, name);
        double_start(f, name, &(struct double_how){.result = OK_RESULT, .drops = (unsigned)i % 3});
        assert_int_equal(viv_vm_start(m, NULL, &ops[i], NULL, NULL), 0);
        viv_vm_free(m); /* the operation does not need it */
    }
    until = now_ms() + DEADLINE_MS; /* making them is up to the disk */
    while (left > 0) {
        struct pollfd p = {.fd = viv_fd(f->v), .events = POLLIN};

        assert_true(now_ms() < until);
        (void)poll(&p, 1, DEADLINE_MS);
        assert_int_equal(viv_dispatch(f->v, NULL), 0);
        left = 0;
        for (size_t i = 0; i < N; i++)
            left += !viv_op_done(ops[i]);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(viv_op_wait(ops[i], 0, NULL, NULL), 0);
        viv_op_free(ops[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_blocking_verb_returns_the_monitors_result),
        TEST(an_operation_in_flight_makes_the_fd_readable_when_it_is_done),
        TEST(an_error_keeps_its_code_field_and_hint),
        TEST(a_monitor_one_version_ahead_interoperates),
        TEST(other_versions_are_refused_by_name),
        TEST(a_lost_connection_asks_again_by_the_same_id),
        TEST(a_monitor_that_dies_before_it_greets_is_tried_again),
        TEST(asking_again_does_not_begin_the_time_anew),
        TEST(a_silent_monitor_times_out_in_time_and_says_what_goes_on),
        TEST(waiting_with_a_limit_leaves_the_operation_in_flight),
        TEST(a_wake_from_another_thread_ends_a_blocking_call),
        TEST(a_freed_operation_still_sends_its_request),
        TEST(closing_ends_what_is_in_flight),
        TEST(a_blocking_call_does_not_swallow_news_of_events),
        TEST(rubbish_is_a_protocol_error),
        TEST(notes_are_kept_for_whoever_asks),
        TEST(the_console_comes_as_a_descriptor),
        TEST(a_foreground_descriptor_goes_with_the_request),
        TEST(a_removal_that_hung_up_when_it_was_done_is_a_success),
        TEST(a_verb_on_a_vm_that_vanishes_is_not_found),
        TEST(without_helpers_a_start_is_refused_and_makes_no_operation),
        TEST(options_of_another_verb_and_nonsense_are_invalid),
        TEST(two_roots_and_many_operations_share_one_loop_each),
    };

    return cmocka_run_group_tests_name("manager: operations", tests, NULL, NULL);
}
