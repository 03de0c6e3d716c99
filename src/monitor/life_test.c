/* The life of a VM, from a start to its end, as clients see it. */
#include "monitor/testing.h"

#include <signal.h>

#define EXITED(code) ((code) << 8)

/* Starts and leaves it running. */
static void start(struct rig *r)
{
    rig_expect(r, &r->client, rig_ask(r, &r->client, "start", NULL, NULL), "ok");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_start_is_answered_when_it_runs_and_ready_is_told_when_the_marker_stands(void **state)
{
    struct rig *r = *state;
    uint64_t start_id, wait_id;

    start_id = rig_ask(r, &r->client, "start", "op-1", NULL);
    rig_expect_result(r, &r->client, start_id, "changed", "true");
    assert_int_equal(r->spawns, 1);
    assert_int_equal(rig_driver.starts, 1);
    wait_id = rig_ask(r, &r->client, "wait", NULL, "{\"until\":\"ready\"}");
    rig_serial(r, "hello\nVMRS_READY 192.0.2.7\n");
    rig_expect_result(r, &r->client, wait_id, "ip", "192.0.2.7");
    assert_string_equal(rig_events(r), "starting running ready");
    assert_true(rig_state(r).ready);
    assert_string_equal(rig_state(r).ip, "192.0.2.7");
    assert_string_equal(rig_state(r).ready_proof, "marker");
    assert_int_equal(rig_state(r).run, 1);
    assert_int_equal(rig_state(r).boot, 1);
    assert_int_equal(rig_state(r).vmm.pid, r->vmm);
}

static void a_marker_in_pieces_makes_ready_once_and_only_when_its_line_is_whole(void **state)
{
    struct rig *r = *state;
    const char *text = "x\r\n[  1.0] VMRS_READY 192.0.2.7\r\n";

    start(r);
    for (const char *p = text; *p; p++) {
        char piece[2] = {*p, '\0'};

        assert_false(rig_state(r).ready);
        rig_serial(r, piece);
    }
    assert_true(rig_state(r).ready);
    rig_serial(r, "VMRS_READY 192.0.2.8\n");
    assert_string_equal(rig_state(r).ip, "192.0.2.7");
    assert_string_equal(rig_events(r), "starting running ready");
}

static void a_marker_of_another_nonce_counts_for_nothing(void **state)
{
    struct rig *r = *state;
    char line[64];

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7 0123456789abcdef\nVMRS_READY 300.1.2.3\n");
    assert_false(rig_state(r).ready);
    (void)snprintf(line, sizeof(line), "VMRS_READY 192.0.2.7 %s\n", r->m->nonce);
    rig_serial(r, line);
    assert_true(rig_state(r).ready);
}

static void a_marker_before_the_driver_says_running_is_kept_until_then(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.start = RIG_NEVER;
    id = rig_ask(r, &r->client, "start", NULL, "{\"wait\":\"ready\"}");
    rig_serial(r, "VMRS_READY 192.0.2.7\n");
    assert_false(rig_state(r).ready);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_done(rig_driver.last_op, NULL);
    rig_expect_result(r, &r->client, id, "state", "running");
    assert_string_equal(rig_events(r), "starting running ready");
}

static void an_earlier_runs_marker_counts_for_nothing(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7\n");
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    start(r);
    assert_int_equal(rig_state(r).boot_offset, strlen("VMRS_READY 192.0.2.7\n"));
    rig_serial(r, "x\n");
    assert_false(rig_state(r).ready);
}

static void a_reset_clears_ready_and_begins_a_boot_at_its_offset(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7\nold VMRS_READY 192.0.2.9\n");
    (void)rig_events(r);
    rig_tell(VIVI_EV_RESET, 46, NULL);
    assert_false(rig_state(r).ready);
    assert_int_equal(rig_state(r).boot, 2);
    assert_int_equal(rig_state(r).boot_offset, 46);
    rig_tell(VIVI_EV_RESET, 46, NULL); /* told again: the same one */
    assert_int_equal(rig_state(r).boot, 2);
    rig_serial(r, "VMRS_READY 192.0.2.8\n");
    assert_string_equal(rig_state(r).ip, "192.0.2.8");
    assert_string_equal(rig_events(r), "reboot ready");
}

/* The new boot's marker may be in the log before its reset is told. */
static void a_reset_without_a_place_is_told_by_its_stamp(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7\nbye\nVMRS_READY 192.0.2.8\n");
    assert_string_equal(rig_state(r).ip, "192.0.2.7");
    (void)rig_events(r);
    rig_tell_reset(5000);
    rig_tell_reset(5000); /* told again: the same one */
    assert_int_equal(rig_state(r).boot, 2);
    assert_int_equal(rig_state(r).boot_offset, strlen("VMRS_READY 192.0.2.7\n"));
    rig_settle(r);
    assert_string_equal(rig_state(r).ip, "192.0.2.8");
    rig_tell_reset(5001); /* not ready in between: the next one counts all the same */
    rig_tell_reset(5002);
    assert_int_equal(rig_state(r).boot, 4);
    assert_false(rig_state(r).ready);
    assert_string_equal(rig_events(r), "reboot ready reboot reboot");
}

static void a_vmm_that_ends_at_once_is_told_with_its_last_words(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.start = RIG_HANG_UP;
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    rig_log(r, "vmm.log", "warning\nrig: no such machine\n", NULL);
    rig_vmm_exits(r, EXITED(1));
    rig_expect(r, &r->client, id, "VMM: rig ended at once with exit code 1: rig: no such machine");
    assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
    assert_string_equal(rig_state(r).reason, "vmm-exit");
    assert_int_equal(rig_driver.dones, 1);
    assert_int_equal(rig_state(r).vmm.pid, 0);
}

static void a_vmm_that_says_no_is_killed_and_its_words_are_the_answer(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.start = RIG_FAIL;
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    rig_expect(r, &r->client, id, "VMM: rig: no");
    assert_int_equal(r->vmm, 0);
    assert_string_equal(rig_state(r).reason, "spawn-failed");
    assert_string_equal(rig_state(r).reason_text, "rig: no");
}

static void a_vmm_that_hangs_up_and_stays_is_killed_after_a_moment(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.start = RIG_HANG_UP;
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    rig_advance(r, VIVI_START_SETTLE_MS - 1);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id, "IO: connection closed");
}

static void a_spawn_that_fails_is_told_and_leaves_failed(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    r->spawn_fails = true;
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    rig_expect(r, &r->client, id, "VMM: cannot run /bin/rig: No such file or directory");
    assert_string_equal(rig_state(r).reason, "spawn-failed");
    assert_string_equal(rig_events(r), "starting failed");
}

static void a_start_that_does_not_run_in_30_s_is_killed_then(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.start = RIG_NEVER;
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    rig_advance(r, 29999);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id, "TIMEOUT: not running after 30 s; it was killed");
    assert_string_equal(rig_state(r).reason, "start-timeout");
    assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
}

static void a_ready_deadline_leaves_the_vm_running_and_shows_the_last_lines(void **state)
{
    struct rig *r = *state;
    uint64_t id =
        rig_ask(r, &r->client, "start", NULL, "{\"wait\":\"ready\",\"ready_timeout_ms\":1500}");
    cleanup_free char *tail = NULL;

    rig_serial(r, "one\ntwo\nthree\nfour\nfive\nsix\r\n");
    rig_advance(r, 1499);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id, "TIMEOUT: not ready after 1.5 s; it goes on running");
    tail = json_dumps(json_object_get(r->client.note, "serial_tail"), JSON_COMPACT);
    assert_string_equal(tail, "[\"two\",\"three\",\"four\",\"five\",\"six\"]");
    assert_string_equal(json_string_value(json_object_get(r->client.note, "step")), "first_byte");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void the_ready_deadline_of_an_emulated_guest_is_three_times_the_configured(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_driver.accel = VIVI_ACCEL_TCG;
    id = rig_ask(r, &r->client, "start", NULL, "{\"wait\":\"ready\"}");
    rig_advance(r, 3 * 120000 - 1);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id, "TIMEOUT: not ready after 360 s; it goes on running");
}

static void emulation_is_told_in_the_result(void **state)
{
    struct rig *r = *state;

    rig_driver.accel = VIVI_ACCEL_TCG;
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "start", NULL, NULL), "accel_notice",
                      "no usable KVM (none): emulating, much slower.");
}

static void a_vm_that_ends_before_it_is_ready_says_so_to_who_waits(void **state)
{
    struct rig *r = *state;
    uint64_t id = rig_ask(r, &r->client, "start", NULL, "{\"wait\":\"ready\"}");

    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_expect(r, &r->client, id, "WRONG_STATE: it stopped (guest-poweroff) before it was ready");
}

static void the_first_ending_of_a_run_is_its_reason(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_PANIC, "Attempted to kill init");
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
    assert_string_equal(rig_state(r).reason, "guest-panic");
    assert_string_equal(rig_state(r).reason_text, "Attempted to kill init");
}

static void the_end_of_a_run_is_judged_after_the_drivers_stream_was_read(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_log(r, "events-vmm.log", "end guest-poweroff\n", NULL); /* not told as grown */
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_string_equal(rig_state(r).reason, "guest-poweroff");
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
}

static void a_vmm_that_crashes_fails_with_its_signal(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_vmm_exits(r, SIGSEGV);
    rig_settle(r);
    assert_string_equal(rig_state(r).reason, "vmm-signal");
    assert_string_equal(rig_state(r).reason_text, "rig ended by signal 11 (Segmentation fault)");
}

static void an_end_whose_status_nobody_saw_is_unobserved(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_vmm_exits(r, -1);
    rig_settle(r);
    assert_string_equal(rig_state(r).reason, "unobserved");
    assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
}

static void a_late_exit_of_an_earlier_run_changes_nothing(void **state)
{
    struct rig *r = *state;

    start(r);
    r->vmm_run = 7; /* another run's */
    r->exit_lost = false;
    rig_vmm_exits(r, EXITED(1));
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void check_refuses_before_anything_happens_and_lists_all_problems(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *j = NULL;
    uint64_t id;

    rig_driver.problem = "/x: no such file";
    id = rig_ask(r, &r->client, "start", NULL, NULL);
    j = rig_answer(r, &r->client, id);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "message")),
                        "boot.kernel: /x: no such file");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "vm")),
                        "web");
    assert_int_equal(json_array_size(json_object_get(json_object_get(j, "error"), "problems")), 2);
    assert_int_equal(r->spawns, 0);
    assert_int_equal(rig_state(r).state, VIV_ST_CREATED);
    assert_int_equal(rig_state(r).run, 0);
    assert_string_equal(rig_events(r), "");
}

static void pause_and_resume_are_answered_when_done_and_their_repetition_changes_nothing(
    void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, rig_ask(r, &r->client, "pause", NULL, NULL),
               "WRONG_STATE: only a running VM can be paused (it is created)");
    start(r);
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "pause", NULL, NULL), "state",
                      "paused");
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "pause", NULL, NULL), "changed",
                      "false");
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "resume", NULL, NULL), "state",
                      "running");
    assert_int_equal(rig_driver.pauses, 1);
    assert_string_equal(rig_events(r), "starting running paused running");
}

static void a_pause_that_is_not_answered_ends_after_10_s_and_a_late_answer_is_the_truth(
    void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    rig_driver.pause = RIG_NEVER;
    id = rig_ask(r, &r->client, "pause", NULL, NULL);
    rig_advance(r, 9999);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id,
               "TIMEOUT: the VMM has not answered for 10 s; it goes on (running)");
    rig_done(rig_driver.last_op, NULL);
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
}

static void a_full_disk_is_told_once_and_the_record_is_written_later(void **state)
{
    struct rig *r = *state;
    char from[160], to[160];

    start(r);
    (void)rig_events(r);
    /* A directory in the way of the temporary's rename: root would not be stopped by modes. */
    (void)snprintf(from, sizeof(from), "%s/state.json", r->vm_dir);
    (void)snprintf(to, sizeof(to), "%s/kept", r->vm_dir);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(mkdir(from, 0700), 0);
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    rig_tell(VIVI_EV_STATE, VIV_ST_RUNNING, NULL);
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    assert_string_equal(rig_events(r), "lost paused running paused");
    assert_true(r->m->state_dirty);
    assert_true(rig_loop_timer(&r->loop, "record-retry") > 0);
    assert_int_equal(rmdir(from), 0);
    rig_advance(r, 60000);
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
    assert_int_equal(rig_loop_timer(&r->loop, "record-retry"), -1);
}

static void a_running_vm_with_nothing_to_do_has_no_timer(void **state)
{
    struct rig *r = *state;
    unsigned calls;

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7\n");
    rig_settle(r);
    calls = r->loop.calls;
    rig_advance(r, 3600 * 1000);
    assert_int_equal(r->loop.calls, calls);
}

static void a_vm_that_is_stopped_and_alone_ends_its_monitor_after_two_seconds(void **state)
{
    struct rig *r = *state;

    rig_advance(r, 5000);
    assert_false(r->ended); /* a client is there */
    rig_disconnect(r, &r->client);
    rig_advance(r, VIVI_IDLE_MS - 1);
    assert_false(r->ended);
    rig_advance(r, 1);
    assert_true(r->ended);
    assert_int_equal(r->quits, 1);
    assert_int_equal(rig_state(r).monitor.pid, 0);
}

static void nothing_of_a_run_stays_in_the_run_directory_or_with_the_keeper(void **state)
{
    struct rig *r = *state;
    char path[256];

    start(r);
    assert_int_equal(r->table.n, 3); /* the three logs' FIFOs; what the child needed is dropped */
    (void)snprintf(path, sizeof(path), "%s/serial.out", r->run_dir);
    assert_int_equal(access(path, F_OK), 0);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(r->table.n, 0);
    assert_int_not_equal(access(path, F_OK), 0);
    (void)snprintf(path, sizeof(path), "%s/ctl", r->run_dir);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_console_shows_what_comes_and_ends_with_the_run(void **state)
{
    struct rig *r = *state;
    char buf[64];

    rig_expect(r, &r->client, rig_ask(r, &r->client, "console", NULL, NULL),
               "WRONG_STATE: only a running VM has a console (it is created)");
    start(r);
    rig_serial(r, "before\n");
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "console", NULL, NULL), "writer",
                      "true");
    rig_serial(r, "after\n");
    assert_int_equal(read(r->client.got_fd, buf, sizeof(buf)), 6);
    assert_memory_equal(buf, "after\n", 6);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(read(r->client.got_fd, buf, sizeof(buf)), 0);
}

static void who_waits_for_the_log_is_answered_when_it_grows_or_the_vm_ends(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    id = rig_ask(r, &r->client, "log_wait", NULL, "{\"offset\":0}");
    assert_false(rig_is_answered(r, &r->client, id));
    rig_serial(r, "abc");
    rig_expect_result(r, &r->client, id, "size", "3");
    id = rig_ask(r, &r->client, "log_wait", NULL, "{\"offset\":3}");
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "ended", "true");
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_start_is_answered_when_it_runs_and_ready_is_told_when_the_marker_stands),
        T(a_marker_in_pieces_makes_ready_once_and_only_when_its_line_is_whole),
        T(a_marker_of_another_nonce_counts_for_nothing),
        T(a_marker_before_the_driver_says_running_is_kept_until_then),
        T(an_earlier_runs_marker_counts_for_nothing),
        T(a_reset_clears_ready_and_begins_a_boot_at_its_offset),
        T(a_reset_without_a_place_is_told_by_its_stamp),
        T(a_vmm_that_ends_at_once_is_told_with_its_last_words),
        T(a_vmm_that_says_no_is_killed_and_its_words_are_the_answer),
        T(a_vmm_that_hangs_up_and_stays_is_killed_after_a_moment),
        T(a_spawn_that_fails_is_told_and_leaves_failed),
        T(a_start_that_does_not_run_in_30_s_is_killed_then),
        T(a_ready_deadline_leaves_the_vm_running_and_shows_the_last_lines),
        T(the_ready_deadline_of_an_emulated_guest_is_three_times_the_configured),
        T(emulation_is_told_in_the_result),
        T(a_vm_that_ends_before_it_is_ready_says_so_to_who_waits),
        T(the_first_ending_of_a_run_is_its_reason),
        T(the_end_of_a_run_is_judged_after_the_drivers_stream_was_read),
        T(a_vmm_that_crashes_fails_with_its_signal),
        T(an_end_whose_status_nobody_saw_is_unobserved),
        T(a_late_exit_of_an_earlier_run_changes_nothing),
        T(check_refuses_before_anything_happens_and_lists_all_problems),
        T(pause_and_resume_are_answered_when_done_and_their_repetition_changes_nothing),
        T(a_pause_that_is_not_answered_ends_after_10_s_and_a_late_answer_is_the_truth),
        T(a_full_disk_is_told_once_and_the_record_is_written_later),
        T(a_running_vm_with_nothing_to_do_has_no_timer),
        T(a_vm_that_is_stopped_and_alone_ends_its_monitor_after_two_seconds),
        T(nothing_of_a_run_stays_in_the_run_directory_or_with_the_keeper),
        T(a_console_shows_what_comes_and_ends_with_the_run),
        T(who_waits_for_the_log_is_answered_when_it_grows_or_the_vm_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
