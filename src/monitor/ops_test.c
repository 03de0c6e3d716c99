/* Verbs: one at a time, joined, repeated, taken over; stop and restart. */
#include "monitor/testing.h"

#include <signal.h>

#define EXITED(code) ((code) << 8)

static int open_always(void **state)
{
    return rig_open_as(state, "restart: {policy: always, backoff: 1s}\n");
}

static int open_on_failure(void **state)
{
    return rig_open_as(state, "restart: {policy: on-failure, backoff: 20s}\n");
}

static uint64_t ask(struct rig *r, const char *verb, const char *args)
{
    return rig_ask(r, &r->client, verb, NULL, args);
}

/* ---- not waiting ---- */

static void an_operation_that_is_not_waited_for_is_answered_when_it_is_accepted(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.pause = RIG_NEVER;
    id = rig_ask(r, &r->client, "pause", "op-7", "{\"async\":true}");
    rig_expect_result(r, &r->client, id, "op", "op-7");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    id = rig_ask(r, &r->client, "pause", "op-7", NULL); /* who asks again may wait for it */
    assert_false(rig_is_answered(r, &r->client, id));
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    rig_done(rig_driver.last_op, NULL);
    rig_expect_result(r, &r->client, id, "state", "paused");
    id = rig_ask(r, &r->client, "pause", NULL, "{\"async\":true}");
    rig_expect_result(r, &r->client, id, "op", "absent"); /* nothing was left to do */
    rig_expect(r, &r->client, rig_ask(r, &r->client, "stop", NULL, "{\"async\":1}"),
               "INVALID: args.async: not a boolean");
}

static void a_refusal_is_told_to_who_does_not_wait_as_well(void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, ask(r, "pause", "{\"async\":true}"),
               "WRONG_STATE: only a running VM can be paused (it is created)");
}

/* ---- stop ---- */

static void a_guest_that_hears_the_button_stops_by_acpi(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    id = ask(r, "stop", NULL);
    assert_int_equal(rig_driver.buttons, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPING);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "rung", "acpi");
    assert_string_equal(rig_state(r).reason, "stop");
    assert_string_equal(rig_state(r).rung, "acpi");
    assert_string_equal(rig_events(r), "stopping stopped");
}

static void a_guest_that_ignores_everything_is_killed_in_the_order_of_the_ladder(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    r->ignores_term = true;
    rig_start(r);
    rig_driver.quit = RIG_NEVER;
    id = ask(r, "stop", "{\"timeout_ms\":3000}");
    rig_advance(r, 2999);
    assert_int_equal(rig_driver.quits, 0);
    rig_advance(r, 1);
    assert_int_equal(rig_driver.quits, 1);
    rig_advance(r, VIVI_STOP_QUIT_MS);
    assert_int_equal(r->m->ladder.phase, VIVI_LADDER_TERM);
    rig_advance(r, VIVI_STOP_TERM_MS - 1);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect_result(r, &r->client, id, "rung", "sigkill");
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
}

static void a_stop_that_may_not_kill_gives_up_and_the_vm_goes_on(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    id = ask(r, "stop", "{\"timeout_ms\":3000,\"kill\":false}");
    rig_advance(r, 3000);
    rig_expect(r, &r->client, id, "TIMEOUT: not stopped after 3 s; it goes on running");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_int_equal(rig_loop_timer(&r->loop, "stop-rung"), -1);
    rig_vmm_exits(r, EXITED(0)); /* later the guest obeys after all */
    rig_settle(r);
    assert_string_equal(rig_state(r).reason, "vmm-exit");
}

static void a_paused_vm_is_resumed_so_that_it_hears_the_button(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "pause", NULL), "ok");
    id = ask(r, "stop", NULL);
    assert_int_equal(rig_driver.resumes, 1);
    assert_int_equal(rig_driver.buttons, 1);
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "rung", "acpi");
}

static void a_stop_without_grace_kills_at_once(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect_result(r, &r->client, ask(r, "stop", "{\"timeout_ms\":0}"), "rung", "sigkill");
    assert_int_equal(rig_driver.buttons, 0);
    assert_string_equal(rig_state(r).reason, "stop");
}

static void kill_kills_and_says_so(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect_result(r, &r->client, ask(r, "kill", NULL), "rung", "sigkill");
    assert_string_equal(rig_state(r).reason, "kill");
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
    rig_expect_result(r, &r->client, ask(r, "kill", NULL), "changed", "false");
    rig_expect_result(r, &r->client, ask(r, "stop", NULL), "changed", "false");
}

static void a_vmm_that_crashes_during_a_stop_is_no_clean_stop(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    id = ask(r, "stop", NULL);
    rig_vmm_exits(r, SIGSEGV);
    rig_expect_result(r, &r->client, id, "state", "failed");
    assert_string_equal(rig_state(r).reason, "vmm-signal");
}

/* ---- one at a time ---- */

static void two_starts_make_one_vmm_and_only_the_first_changed_anything(void **state)
{
    struct rig *r = *state;
    struct rig_client other;
    uint64_t a, b;

    rig_driver.start = RIG_NEVER;
    rig_connect(r, &other);
    a = rig_ask(r, &r->client, "start", "op-a", NULL);
    b = rig_ask(r, &other, "start", "op-b", NULL);
    rig_done(rig_driver.last_op, NULL);
    rig_expect_result(r, &r->client, a, "changed", "true");
    rig_expect_result(r, &other, b, "changed", "false");
    assert_int_equal(r->spawns, 1);
    rig_disconnect(r, &other);
}

static void another_verb_is_busy_while_one_is_in_flight(void **state)
{
    struct rig *r = *state;
    uint64_t start_id;

    rig_driver.start = RIG_NEVER;
    start_id = ask(r, "start", NULL);
    rig_expect(r, &r->client, ask(r, "pause", NULL), "BUSY: start of web is in progress");
    rig_done(rig_driver.last_op, NULL);
    rig_expect(r, &r->client, start_id, "ok");
}

static void a_stop_takes_over_from_a_start_in_every_stage(void **state)
{
    struct rig *r = *state;

    for (int stage = 0; stage < 2; stage++) {
        uint64_t start_id, stop_id;

        r->hold_spawn = stage == 0;
        rig_driver.start = RIG_NEVER;
        start_id = ask(r, "start", NULL);
        stop_id = ask(r, "stop", NULL);
        if (stage == 0) {
            rig_expect(r, &r->client, start_id, "CANCELLED: start of web was cancelled by stop");
            rig_spawned(r);
            rig_expect_result(r, &r->client, stop_id, "rung", "sigterm");
        } else {
            rig_expect(r, &r->client, start_id, "CANCELLED: start of web was cancelled by stop");
            rig_expect_result(r, &r->client, stop_id, "state", "stopped");
        }
        assert_int_equal(r->vmm, 0);
        assert_string_equal(rig_state(r).reason, "stop");
    }
}

static void a_kill_hurries_a_stop_and_both_are_answered(void **state)
{
    struct rig *r = *state;
    uint64_t stop_id, kill_id;
    struct rig_client other;

    rig_start(r);
    rig_connect(r, &other);
    stop_id = ask(r, "stop", NULL);
    kill_id = rig_ask(r, &other, "kill", NULL, NULL);
    rig_expect_result(r, &other, kill_id, "rung", "sigkill");
    rig_expect_result(r, &r->client, stop_id, "state", "stopped");
    assert_string_equal(rig_state(r).reason, "kill");
    rig_disconnect(r, &other);
}

static void an_operation_asked_again_by_its_id_is_not_done_again(void **state)
{
    static const struct {
        const char *verb, *args;
        unsigned *counter;
    } rows[] = {
        {"start", NULL, &rig_driver.starts},
        {"pause", NULL, &rig_driver.pauses},
        {"resume", NULL, &rig_driver.resumes},
        {"reboot", "{\"hard\":true}", &rig_driver.resets},
        {"kill", NULL, NULL},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned before;

        rig_expect_result(r, &r->client,
                          rig_ask(r, &r->client, rows[i].verb, rows[i].verb, rows[i].args),
                          "changed", "true");
        before = rows[i].counter ? *rows[i].counter : 0;
        rig_expect_result(r, &r->client,
                          rig_ask(r, &r->client, rows[i].verb, rows[i].verb, rows[i].args),
                          "changed", "true");
        assert_int_equal(rows[i].counter ? *rows[i].counter : 0, before);
    }
    assert_int_equal(r->spawns, 1);
    /* The start's id again, although it is stopped by now: still that old answer. */
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "start", "start", NULL), "changed",
                      "true");
    assert_int_equal(r->spawns, 1);
}

static void a_failure_asked_again_by_its_id_is_the_same_failure(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_FAIL;
    for (int i = 0; i < 2; i++)
        rig_expect(r, &r->client, rig_ask(r, &r->client, "start", "op-1", NULL), "VMM: rig: no");
    assert_int_equal(r->spawns, 1);
}

/* ---- reboot ---- */

static void a_reboot_is_a_stop_and_a_start_under_one_answer(void **state)
{
    struct rig *r = *state;
    uint64_t id, exit_id;

    rig_start(r);
    exit_id = ask(r, "wait", "{\"until\":\"exit\"}");
    id = ask(r, "reboot", NULL);
    assert_int_equal(rig_driver.buttons, 1);
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "run", "2");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_false(rig_is_answered(r, &r->client, exit_id));
    assert_string_equal(rig_events(r), "stopping stopped starting running");
}

static void a_hard_reboot_stays_in_its_run(void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, ask(r, "reboot", "{\"hard\":true}"),
               "WRONG_STATE: only a running VM can be rebooted (it is created)");
    rig_start(r);
    rig_expect_result(r, &r->client, ask(r, "reboot", "{\"hard\":true}"), "run", "1");
    assert_int_equal(rig_driver.resets, 1);
}

static void a_reboot_whose_configuration_is_bad_stops_nothing(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.problem = "/x: no such file";
    rig_expect(r, &r->client, ask(r, "reboot", NULL), "INVALID: boot.kernel: /x: no such file");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

/* ---- restart policy ---- */

static void a_restart_waits_longer_each_time_and_a_long_run_starts_the_row_again(void **state)
{
    static const uint64_t delays_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    struct rig *r = *state;

    rig_start(r);
    for (size_t i = 0; i < ARRAY_SIZE(delays_ms); i++) {
        rig_vmm_exits(r, EXITED(0));
        rig_settle(r);
        assert_int_equal(rig_loop_timer(&r->loop, "restart"), delays_ms[i]);
        assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
        assert_true(rig_state(r).next_start_at_ms > 0);
        rig_advance(r, delays_ms[i] - 1);
        assert_int_equal(r->spawns, i + 1);
        rig_advance(r, 1);
        assert_int_equal(r->spawns, i + 2);
        assert_int_equal(rig_state(r).restarts, i + 1);
        assert_int_equal(rig_state(r).next_start_at_ms, 0);
    }
    r->m->running_since_us -= UINT64_C(60000001); /* it ran for a minute */
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_loop_timer(&r->loop, "restart"), 1000);
}

static void a_stop_ends_the_restarts_also_between_two_runs(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_loop_timer(&r->loop, "restart"), 1000);
    rig_expect_result(r, &r->client, ask(r, "stop", NULL), "changed", "true");
    assert_int_equal(rig_state(r).next_start_at_ms, 0);
    rig_advance(r, 100000);
    assert_int_equal(r->spawns, 1);
    rig_start(r);
    rig_expect(r, &r->client, ask(r, "kill", NULL), "ok");
    rig_advance(r, 100000);
    assert_int_equal(r->spawns, 2);
}

static void on_failure_restarts_a_panic_and_no_poweroff(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_advance(r, 100000);
    assert_int_equal(r->spawns, 1);
    rig_start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_PANIC, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_advance(r, 20000);
    assert_int_equal(r->spawns, 3);
}

static void a_start_that_failed_in_front_of_its_caller_is_not_repeated(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_FAIL;
    rig_expect(r, &r->client, ask(r, "start", NULL), "VMM: rig: no");
    rig_advance(r, 200000);
    assert_int_equal(r->spawns, 1);
}

static void a_restart_that_fails_is_tried_again_later(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.start = RIG_FAIL;
    rig_vmm_exits(r, EXITED(0));
    rig_advance(r, 1000);
    assert_int_equal(r->spawns, 2);
    assert_string_equal(rig_state(r).reason, "spawn-failed");
    rig_driver.start = RIG_AT_ONCE;
    rig_advance(r, 2000);
    assert_int_equal(r->spawns, 3);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_ready_timeout_is_no_failure_for_the_policy(void **state)
{
    struct rig *r = *state;
    uint64_t id = ask(r, "start", "{\"wait\":\"ready\",\"ready_timeout_ms\":100}");

    rig_advance(r, 200);
    rig_expect(r, &r->client, id, "TIMEOUT: not ready after 0.1 s; it goes on running");
    rig_advance(r, 200000);
    assert_int_equal(r->spawns, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

/* ---- remove, foreground ---- */

static bool vm_is_there(const struct rig *r)
{
    return access(r->vm_dir, F_OK) == 0;
}

static void a_running_vm_is_only_removed_by_force(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "remove", NULL),
               "WRONG_STATE: only a stopped VM can be removed (it is running)");
    assert_true(vm_is_there(r));
    rig_expect(r, &r->client, ask(r, "remove", "{\"force\":true}"), "ok");
    assert_false(vm_is_there(r));
    assert_int_equal(r->vmm, 0);
    assert_true(r->ended);
    assert_int_equal(r->quits, 1);
    assert_string_equal(rig_events(r), "stopping stopped removed");
}

static void rm_when_ended_removes_after_everybody_was_told(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_expect(r, &r->client, ask(r, "start", "{\"remove_when_ended\":true}"), "ok");
    id = ask(r, "wait", "{\"until\":\"exit\"}");
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "state", "failed");
    assert_false(vm_is_there(r));
    assert_true(r->ended);
}

static void a_caller_that_goes_away_takes_the_stop_ladder_with_it(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *body =
        json_pack("{si,ss,s{sb}}", "id", 900, "verb", "start", "args", "foreground", 1);
    cleanup_free char *text = json_dumps(body, 0);
    struct vivi_frame f = {.version = 1, .op = 2, .payload = text, .len = strlen(text), .n_fds = 1};
    cleanup_buf struct vivi_buf gone = VIVI_BUF(64);
    int pipe_fds[2];

    assert_int_equal(vivi_pipe(pipe_fds, NULL), 0);
    f.fds[0] = pipe_fds[0];
    assert_int_equal(vivi_frame_send(r->client.fd, &f, 1000, NULL), 0);
    vivi_close(&pipe_fds[0]);
    rig_expect(r, &r->client, 900, "ok");
    assert_true(vivi_fds_get(&r->table, "caller") >= 0);
    vivi_close(&pipe_fds[1]);
    assert_int_equal(vivi_frame_encode(&gone, 1, VIVI_KO_CALLER_GONE, NULL, 0), 0);
    assert_int_equal(vivi_write_full(r->keeper_fd, gone.data, gone.len, 1000, NULL), 0);
    rig_settle(r);
    assert_int_equal(rig_driver.buttons, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPING);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_string_equal(rig_state(r).reason, "stop");
    assert_true(vivi_fds_get(&r->table, "caller") < 0);
}

static void foreground_without_a_descriptor_is_refused(void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, ask(r, "start", "{\"foreground\":true}"),
               "INVALID: args.foreground: no descriptor came with it");
    assert_int_equal(rig_state(r).state, VIV_ST_CREATED);
}

/* ---- waiting ---- */

static void waits_are_answered_by_what_becomes_true(void **state)
{
    struct rig *r = *state;
    uint64_t running = ask(r, "wait", "{\"until\":\"running\"}");
    uint64_t paused = ask(r, "wait", "{\"until\":\"paused\"}"), ended, ready;
    uint64_t late = ask(r, "wait", "{\"until\":\"paused\",\"timeout_ms\":5000}");

    assert_false(rig_is_answered(r, &r->client, running));
    rig_start(r);
    rig_expect(r, &r->client, running, "ok");
    rig_advance(r, 5000);
    rig_expect(r, &r->client, late, "TIMEOUT: not paused after 5 s; it goes on running");
    rig_expect(r, &r->client, ask(r, "pause", NULL), "ok");
    (void)paused;
    ended = ask(r, "wait", "{\"until\":\"exit\"}");
    rig_expect(r, &r->client, ask(r, "kill", NULL), "ok");
    (void)ended;
    ready = ask(r, "wait", "{\"until\":\"ready\"}");
    rig_expect(r, &r->client, ready, "WRONG_STATE: it stopped (kill) before it was ready");
}

#define P(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)
#define A(name) cmocka_unit_test_setup_teardown(name, open_always, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        P(an_operation_that_is_not_waited_for_is_answered_when_it_is_accepted),
        P(a_refusal_is_told_to_who_does_not_wait_as_well),
        P(a_guest_that_hears_the_button_stops_by_acpi),
        P(a_guest_that_ignores_everything_is_killed_in_the_order_of_the_ladder),
        P(a_stop_that_may_not_kill_gives_up_and_the_vm_goes_on),
        P(a_paused_vm_is_resumed_so_that_it_hears_the_button),
        P(a_stop_without_grace_kills_at_once),
        P(kill_kills_and_says_so),
        P(a_vmm_that_crashes_during_a_stop_is_no_clean_stop),
        P(two_starts_make_one_vmm_and_only_the_first_changed_anything),
        P(another_verb_is_busy_while_one_is_in_flight),
        P(a_stop_takes_over_from_a_start_in_every_stage),
        P(a_kill_hurries_a_stop_and_both_are_answered),
        P(an_operation_asked_again_by_its_id_is_not_done_again),
        P(a_failure_asked_again_by_its_id_is_the_same_failure),
        P(a_reboot_is_a_stop_and_a_start_under_one_answer),
        P(a_hard_reboot_stays_in_its_run),
        P(a_reboot_whose_configuration_is_bad_stops_nothing),
        A(a_restart_waits_longer_each_time_and_a_long_run_starts_the_row_again),
        A(a_stop_ends_the_restarts_also_between_two_runs),
        cmocka_unit_test_setup_teardown(on_failure_restarts_a_panic_and_no_poweroff,
                                        open_on_failure, rig_close_state),
        A(a_start_that_failed_in_front_of_its_caller_is_not_repeated),
        A(a_restart_that_fails_is_tried_again_later),
        A(a_ready_timeout_is_no_failure_for_the_policy),
        P(a_running_vm_is_only_removed_by_force),
        P(rm_when_ended_removes_after_everybody_was_told),
        P(a_caller_that_goes_away_takes_the_stop_ladder_with_it),
        P(foreground_without_a_descriptor_is_refused),
        P(waits_are_answered_by_what_becomes_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
