/* The pure parts: reason, restart arithmetic, requests, the descriptor table, the timeline. */
#include "monitor/testing.h"

#include <signal.h>

#include "monitor/restart.h"

#define EXITED(code) ((code) << 8)

/* ---- reason ---- */

static void every_end_has_its_reason_and_words(void **state)
{
    static const struct {
        struct vivi_end_facts f;
        enum vivi_reason reason;
        const char *text;
    } rows[] = {
        {{"qemu", false, true, EXITED(1), .ending_text = "", .last_line = "no such machine"},
         VIVI_REASON_VMM_EXIT,
         "qemu ended at once with exit code 1: no such machine"},
        {{"qemu", true, true, EXITED(0), .ending_text = "", .last_line = ""},
         VIVI_REASON_VMM_EXIT,
         "qemu ended with exit code 0"},
        {{"qemu", true, true, SIGKILL, .ending_text = "", .last_line = ""},
         VIVI_REASON_VMM_SIGNAL,
         "qemu ended by signal 9 (Killed)"},
        {{"qemu", true, false, 0, .ending_text = "", .last_line = ""},
         VIVI_REASON_UNOBSERVED,
         "nobody could see how qemu ended"},
        {{"qemu", true, true, EXITED(0), .ending = VIVI_REASON_GUEST_PANIC, .ending_text = "oops",
          .last_line = ""},
         VIVI_REASON_GUEST_PANIC,
         "oops"},
        {{"qemu", true, true, EXITED(0), VIVI_CAUSE_STOP, VIVI_RUNG_ACPI,
          VIVI_REASON_GUEST_POWEROFF, .ending_text = "", .last_line = ""},
         VIVI_REASON_STOP,
         ""},
        {{"qemu", true, true, SIGTERM, VIVI_CAUSE_STOP, VIVI_RUNG_SIGTERM, .ending_text = "",
          .last_line = ""},
         VIVI_REASON_STOP,
         ""},
        {{"qemu", true, true, SIGSEGV, VIVI_CAUSE_STOP, VIVI_RUNG_ACPI, .ending_text = "",
          .last_line = ""},
         VIVI_REASON_VMM_SIGNAL,
         "qemu ended by signal 11 (Segmentation fault)"},
        {{"qemu", true, true, SIGKILL, VIVI_CAUSE_KILL, VIVI_RUNG_SIGKILL, .ending_text = "",
          .last_line = ""},
         VIVI_REASON_KILL,
         ""},
        {{"qemu", false, true, SIGKILL, VIVI_CAUSE_START_TIMEOUT, .ending_text = "",
          .last_line = ""},
         VIVI_REASON_START_TIMEOUT,
         "it was not running in time"},
        {{"qemu", false, true, SIGKILL, VIVI_CAUSE_START_FAILED, .ending_text = "",
          .start_error = "no disk", .last_line = ""},
         VIVI_REASON_SPAWN_FAILED,
         "no disk"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        enum vivi_reason reason = VIVI_REASON_COUNT_;
        char text[VIVI_END_TEXT_MAX];

        vivi_end_reason(&rows[i].f, &reason, text);
        assert_string_equal(vivi_reason_name(reason), vivi_reason_name(rows[i].reason));
        assert_string_equal(text, rows[i].text);
    }
}

/* ---- restart ---- */

static void who_is_started_again_depends_on_policy_and_reason(void **state)
{
    static const struct {
        enum vivi_reason reason;
        bool never, on_failure, always;
    } rows[] = {
        {VIVI_REASON_GUEST_POWEROFF, false, false, true},
        {VIVI_REASON_GUEST_PANIC, false, true, true},
        {VIVI_REASON_VMM_EXIT, false, true, true},
        {VIVI_REASON_VMM_SIGNAL, false, true, true},
        {VIVI_REASON_UNOBSERVED, false, true, true},
        {VIVI_REASON_STOP, false, false, false},
        {VIVI_REASON_KILL, false, false, false},
        {VIVI_REASON_HOST_REBOOT, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(vivi_restart_wanted(VIVI_RESTART_NEVER, rows[i].reason), rows[i].never);
        assert_int_equal(vivi_restart_wanted(VIVI_RESTART_ON_FAILURE, rows[i].reason),
                         rows[i].on_failure);
        assert_int_equal(vivi_restart_wanted(VIVI_RESTART_ALWAYS, rows[i].reason), rows[i].always);
    }
}

static void the_delay_doubles_to_a_minute_and_falls_back_after_a_minutes_run(void **state)
{
    static const uint64_t want[] = {700, 1400, 2800, 5600, 11200, 22400, 44800, 60000, 60000};
    int64_t backoff = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(vivi_restart_delay(700, 59999, &backoff), want[i]);
    assert_int_equal(vivi_restart_delay(700, 60000, &backoff), 700);
    backoff = 0;
    assert_int_equal(vivi_restart_delay(90000, 0, &backoff), 60000);
    backoff = 0;
    assert_int_equal(vivi_restart_delay(0, 0, &backoff), 1); /* never a busy loop */
}

/* ---- requests ---- */

static int parse(const char *text, struct vivi_request *q, viv_error *err)
{
    cleanup_json json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    return vivi_request_parse(j, q, err);
}

static void a_request_is_taken_apart_with_its_defaults(void **state)
{
    struct vivi_request q;

    (void)state;
    assert_int_equal(parse("{\"id\":7,\"verb\":\"start\",\"op\":\"a-1\",\"args\":{\"wait\":"
                           "\"ready\",\"timeout_ms\":5,\"new key\":1}}",
                           &q, NULL),
                     0);
    assert_int_equal(q.id, 7);
    assert_int_equal(q.verb, VIVI_VERB_START);
    assert_string_equal(q.op, "a-1");
    assert_true(q.wait_ready);
    assert_int_equal(q.timeout_ms, 5);
    assert_int_equal(q.ready_timeout_ms, VIVI_NO_TIMEOUT);
    assert_true(json_is_object(q.args)); /* NICs are named in them */
    vivi_request_done(&q);
    assert_int_equal(parse("{\"id\":8,\"verb\":\"stop\"}", &q, NULL), 0);
    assert_true(q.may_kill);
    assert_int_equal(q.timeout_ms, VIVI_NO_TIMEOUT);
    assert_int_equal(parse("{\"id\":9,\"verb\":\"wait\",\"args\":{\"until\":\"exit\"}}", &q, NULL),
                     0);
    assert_int_equal(q.until, VIVI_UNTIL_EXIT);
}

static void a_request_that_is_wrong_is_refused_by_name(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *message;
    } rows[] = {
        {"{}", VIV_E_PROTOCOL, "a request without id"},
        {"{\"id\":-1,\"verb\":\"stop\"}", VIV_E_PROTOCOL, "a request without id"},
        {"{\"id\":1}", VIV_E_PROTOCOL, "a request without verb"},
        {"{\"id\":1,\"verb\":\"fly\"}", VIV_E_UNSUPPORTED, "unknown verb \"fly\""},
        {"{\"id\":1,\"verb\":\"none\"}", VIV_E_UNSUPPORTED, "unknown verb \"none\""},
        {"{\"id\":1,\"verb\":\"stop\",\"args\":[]}", VIV_E_INVALID, "args: not an object"},
        {"{\"id\":1,\"verb\":\"stop\",\"op\":\"a b\"}", VIV_E_INVALID,
         "op: at most 39 letters, digits and -"},
        {"{\"id\":1,\"verb\":\"stop\",\"op\":7}", VIV_E_INVALID, "op: not a string"},
        {"{\"id\":1,\"verb\":\"stop\",\"args\":{\"timeout_ms\":\"5\"}}", VIV_E_INVALID,
         "args.timeout_ms: not a number of milliseconds"},
        {"{\"id\":1,\"verb\":\"stop\",\"args\":{\"timeout_ms\":9e18}}", VIV_E_INVALID,
         "args.timeout_ms: not a number of milliseconds"},
        {"{\"id\":1,\"verb\":\"stop\",\"args\":{\"kill\":1}}", VIV_E_INVALID,
         "args.kill: not a boolean"},
        {"{\"id\":1,\"verb\":\"wait\"}", VIV_E_INVALID, "args.until: missing"},
        {"{\"id\":1,\"verb\":\"wait\",\"args\":{\"until\":\"x\"}}", VIV_E_INVALID,
         "args.until: neither a state nor ready nor exit"},
        {"{\"id\":1,\"verb\":\"log_wait\",\"args\":{\"offset\":-4}}", VIV_E_INVALID,
         "args.offset: not a number"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        viv_error err = VIV_ERROR_INIT;
        struct vivi_request q;

        assert_int_equal(parse(rows[i].text, &q, &err), -rows[i].code);
        assert_string_equal(err.message, rows[i].message);
    }
}

static void every_verb_has_a_name_that_parses_back(void **state)
{
    (void)state;
    for (unsigned i = VIVI_VERB_NONE + 1; i < VIVI_VERB_COUNT_; i++) {
        enum vivi_verb v = VIVI_VERB_NONE;

        assert_int_equal(vivi_verb_parse(vivi_verb_name((enum vivi_verb)i), &v), 0);
        assert_int_equal(v, i);
    }
}

/* ---- the descriptor table ---- */

static void the_table_goes_out_as_it_came_in(void **state)
{
    struct vivi_fd_table t = {0};
    cleanup_buf struct vivi_buf out = VIVI_BUF(1000);
    char text[100];
    int a = dup(0), b = dup(0), c = dup(0);

    (void)state;
    (void)snprintf(text, sizeof(text), "lock=%d,serial.out@serial.log@16777216=%d,keeper=%d", a, b,
                   c);
    assert_int_equal(vivi_fds_parse(text, &t, NULL), 0);
    assert_int_equal(vivi_fds_get(&t, "serial.out"), b);
    assert_int_equal(t.items[1].limit_bytes, 16777216);
    assert_string_equal(t.items[1].file, "serial.log");
    assert_true(fcntl(b, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(vivi_fds_format(&t, NULL, &out), 0);
    assert_string_equal(out.data, text);
    vivi_buf_reset(&out);
    assert_int_equal(vivi_fds_format(&t, "keeper", &out), 0);
    assert_null(strstr(out.data, "keeper"));
    assert_int_equal(vivi_fds_inherit(&t, NULL), 0);
    assert_false(fcntl(b, F_GETFD) & FD_CLOEXEC);
    vivi_fds_drop(&t, "lock");
    assert_int_equal(vivi_fds_get(&t, "lock"), -1);
    assert_int_equal(fcntl(a, F_GETFD), -1);
    vivi_fds_done(&t);
    assert_int_equal(fcntl(b, F_GETFD), -1);
}

static void a_table_that_is_damaged_is_refused_and_nothing_is_closed(void **state)
{
    static const char *const bad[] = {"lock",  "lock=x",  "=0",      "lock=99999",
                                      "a@b=0", "a@b@c=0", "a=0,a=0", "a@x/y@0=0",
                                      "a b=0", "a@@0=0",  "lock=-1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vivi_fd_table t = {0};

        assert_int_equal(vivi_fds_parse(bad[i], &t, NULL), -VIV_E_PROTOCOL);
        assert_int_equal(t.n, 0);
        assert_true(fcntl(0, F_GETFD) >= 0);
    }
    (void)fcntl(0, F_SETFD, 0);
}

/* ---- timeline ---- */

static void a_timeline_survives_its_record(void **state)
{
    struct vivi_timeline t, u;
    cleanup_json json_t *j = NULL;
    char last[24];

    (void)state;
    vivi_timeline_begin(&t, 1000);
    vivi_timeline_mark(&t, VIVI_STEP_EXEC, 1500);
    vivi_timeline_mark(&t, VIVI_STEP_EXEC, 9000); /* the first one counts */
    vivi_timeline_mark(&t, VIVI_STEP_RUNNING, 3000);
    vivi_timeline_last(&t, last);
    assert_string_equal(last, "running");
    j = vivi_timeline_to_json(&t);
    assert_int_equal(json_integer_value(json_object_get(j, "exec_us")), 500);
    assert_true(json_is_null(json_object_get(j, "ready_us")));
    vivi_timeline_from_json(j, &u);
    assert_memory_equal(&t, &u, sizeof(t));
    vivi_timeline_from_json(NULL, &u);
    assert_false(vivi_timeline_has(&u, VIVI_STEP_REQUESTED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_end_has_its_reason_and_words),
        cmocka_unit_test(who_is_started_again_depends_on_policy_and_reason),
        cmocka_unit_test(the_delay_doubles_to_a_minute_and_falls_back_after_a_minutes_run),
        cmocka_unit_test(a_request_is_taken_apart_with_its_defaults),
        cmocka_unit_test(a_request_that_is_wrong_is_refused_by_name),
        cmocka_unit_test(every_verb_has_a_name_that_parses_back),
        cmocka_unit_test(the_table_goes_out_as_it_came_in),
        cmocka_unit_test(a_table_that_is_damaged_is_refused_and_nothing_is_closed),
        cmocka_unit_test(a_timeline_survives_its_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
