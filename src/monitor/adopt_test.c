/* A monitor that dies, at every step, and the next one that takes over. */
#include "monitor/testing.h"

#include <signal.h>
#include <sys/stat.h>

#include "base/pty.h"
#include "monitor/testing_apply.h"

#define EXITED(code) ((code) << 8)

static int open_always(void **state)
{
    return rig_open_as(state, "restart: {policy: always, backoff: 10s}\n");
}

static void start(struct rig *r)
{
    rig_expect(r, &r->client, rig_ask(r, &r->client, "start", NULL, NULL), "ok");
    (void)rig_events(r);
}

/* The monitor is killed; the next one does not come yet. */
static void die(struct rig *r)
{
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
}

static void next(struct rig *r)
{
    rig_boot(r);
    rig_connect(r, &r->client);
}

static uint64_t ask(struct rig *r, const char *verb, const char *op, const char *args)
{
    return rig_ask(r, &r->client, verb, op, args);
}

static void a_running_vm_is_taken_over_and_said_so(void **state)
{
    struct rig *r = *state;
    pid_t vmm;

    start(r);
    rig_serial(r, "VMRS_READY 192.0.2.7\n");
    vmm = r->vmm;
    (void)rig_events(r);
    die(r);
    rig_log(r, "serial.log", "while nobody was there\n", NULL);
    next(r);
    assert_string_equal(rig_events(r), "adopted");
    assert_int_equal(rig_driver.adopts, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_true(rig_state(r).ready);
    assert_int_equal(rig_state(r).vmm.pid, vmm);
    assert_int_equal(r->table.n, 3);
    rig_expect_result(r, &r->client, ask(r, "kill", NULL, NULL), "rung", "sigkill");
}

static void a_marker_that_came_while_nobody_was_there_makes_ready_once(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_serial(r, "VMRS_REA");
    die(r);
    rig_log(r, "serial.log", "DY 192.0.2.7\n", NULL);
    next(r);
    assert_string_equal(rig_events(r), "ready adopted");
    assert_string_equal(rig_state(r).ip, "192.0.2.7");
    die(r);
    next(r);
    assert_string_equal(rig_events(r), "adopted");
}

static void a_marker_that_was_found_and_not_told_is_found_again(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_NEVER;
    (void)ask(r, "start", "op-1", NULL);
    rig_serial(r, "VMRS_READY 192.0.2.7\n");
    vivi_life_set_state(r->m, VIV_ST_RUNNING, NULL); /* recorded; killed before it told ready */
    assert_string_equal(rig_events(r), "starting running");
    die(r);
    next(r);
    assert_true(rig_state(r).ready);
    assert_string_equal(rig_events(r), "ready adopted");
}

static void what_the_driver_had_consumed_is_not_offered_again(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_log(r, "events-vmm.log", "a\nb\nhalf", "events.out");
    assert_string_equal(rig_driver.input, "a\nb\n");
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL); /* something is recorded */
    die(r);
    memset(rig_driver.input, 0, sizeof(rig_driver.input));
    rig_driver.input_len = 0;
    rig_driver.adopt_state = VIV_ST_PAUSED;
    rig_log(r, "events-vmm.log", " line\nc\n", NULL);
    next(r);
    assert_string_equal(rig_driver.input, "half line\nc\n");
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
}

static void the_vmm_says_how_it_is_and_that_is_believed(void **state)
{
    struct rig *r = *state;

    start(r);
    die(r);
    rig_driver.adopt_state = VIV_ST_PAUSED;
    next(r);
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
    assert_string_equal(rig_events(r), "paused adopted");
}

static void a_vmm_that_ended_meanwhile_has_its_exact_reason_and_status(void **state)
{
    static const struct {
        int wstatus;
        const char *words, *reason, *text;
    } rows[] = {
        {EXITED(3), NULL, "vmm-exit", "rig ended with exit code 3"},
        {SIGSEGV, NULL, "vmm-signal", "rig ended by signal 11 (Segmentation fault)"},
        {EXITED(0), "end guest-poweroff\n", "guest-poweroff", "so it says"},
        {-1, NULL, "unobserved", "nobody could see how rig ended"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        rig_driver.adopt = RIG_AT_ONCE;
        start(r);
        die(r);
        if (rows[i].words)
            rig_log(r, "events-vmm.log", rows[i].words, NULL);
        rig_vmm_exits(r, rows[i].wstatus);
        rig_driver.adopt = RIG_REFUSE;
        next(r);
        rig_advance(r, 3000);
        assert_string_equal(rig_state(r).reason, rows[i].reason);
        assert_string_equal(rig_state(r).reason_text, rows[i].text);
        assert_int_equal(r->table.n, 0);
    }
}

static void an_end_that_nobody_can_tell_is_unobserved_after_a_moment(void **state)
{
    struct rig *r = *state;

    start(r);
    die(r);
    r->exit_lost = true;
    rig_vmm_exits(r, EXITED(0));
    next(r);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    rig_advance(r, 2000);
    assert_string_equal(rig_state(r).reason, "unobserved");
    rig_expect_result(r, &r->client, ask(r, "start", NULL, NULL), "changed", "true");
    r->exit_lost = false;
}

static void an_end_that_the_keeper_tells_late_is_waited_for_and_then_clients_are_served(
    void **state)
{
    struct rig *r = *state;

    start(r);
    (void)ask(r, "reboot", "op-1", NULL);
    die(r);
    r->exit_lost = true;
    rig_vmm_exits(r, EXITED(0)); /* not reaped yet */
    rig_driver.adopt = RIG_REFUSE;
    next(r);
    assert_false(r->m->serving);
    r->exit_lost = false;
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, ask(r, "reboot", "op-1", NULL), "run", "2");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_child_that_never_got_past_its_gate_is_started_again(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    r->hold_spawn = true;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    rig_spawned(r); /* on record */
    rig_vmm_exits(r, -1);
    r->hold_spawn = false;
    rig_driver.adopt = RIG_REFUSE;
    next(r);
    rig_advance(r, 2000);
    id = ask(r, "start", "op-1", NULL);
    rig_expect_result(r, &r->client, id, "run", "2");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_vmm_that_was_heard_of_and_ended_unseen_is_not_started_again(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_NEVER;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    rig_vmm_exits(r, -1);
    rig_driver.adopt = RIG_REFUSE;
    next(r);
    rig_advance(r, 2000);
    rig_expect(r, &r->client, ask(r, "start", "op-1", NULL), "VMM: nobody could see how rig ended");
    assert_int_equal(r->spawns, 1);
}

static void a_start_that_was_never_spawned_is_made_now_and_answers_its_client(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    /* The keeper has not read the request when the monitor dies, and both go. */
    r->hold_spawn = true;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    r->hold_spawn = false;
    rig_driver.start = RIG_NEVER;
    next(r);
    assert_int_equal(r->spawns, 2);
    id = ask(r, "start", "op-1", NULL);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_done(rig_driver.last_op, NULL);
    rig_expect_result(r, &r->client, id, "changed", "true");
    assert_int_equal(rig_state(r).run, 1);
    assert_int_equal(rig_state(r).boot, 1);
}

static void a_start_that_was_journalled_and_no_more_is_made_when_it_is_asked_for_again(void **state)
{
    struct rig *r = *state;

    vivi_op_begin(r->m, VIVI_VERB_START, "op-1");
    die(r);
    next(r);
    assert_int_equal(r->spawns, 0);
    rig_expect_result(r, &r->client, ask(r, "start", "op-1", NULL), "changed", "true");
    assert_int_equal(r->spawns, 1);
}

static void an_end_that_could_not_be_journalled_is_journalled_later(void **state)
{
    struct rig *r = *state;
    struct vivi_journal_open open;
    char log[160], kept[160];

    (void)snprintf(log, sizeof(log), "%s/ops.log", r->vm_dir);
    (void)snprintf(kept, sizeof(kept), "%s/kept", r->vm_dir);
    rig_driver.start = RIG_NEVER;
    (void)ask(r, "start", "op-1", NULL);
    assert_int_equal(rename(log, kept), 0);
    assert_int_equal(mkdir(log, 0700), 0); /* nothing can be appended now */
    rig_done(rig_driver.last_op, NULL);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_true(rig_loop_timer(&r->loop, "record-retry") > 0);
    assert_int_equal(rmdir(log), 0);
    assert_int_equal(rename(kept, log), 0);
    assert_int_equal(vivi_journal_unfinished(r->m->dir.fd, &open, NULL), 1);
    rig_advance(r, 60000);
    assert_int_equal(vivi_journal_unfinished(r->m->dir.fd, &open, NULL), 0);
    assert_int_equal(rig_loop_timer(&r->loop, "record-retry"), -1);
}

static void a_start_that_was_spawned_is_finished_by_the_next_monitor(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_NEVER;
    (void)ask(r, "start", "op-1", NULL);
    assert_int_equal(r->spawns, 1);
    die(r);
    next(r);
    assert_int_equal(r->spawns, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    rig_expect_result(r, &r->client, ask(r, "start", "op-1", NULL), "changed", "true");
    assert_string_equal(rig_events(r), "starting running adopted");
}

static void a_spawn_that_was_answered_to_nobody_is_found_in_the_keepers_record(void **state)
{
    struct rig *r = *state;

    r->hold_spawn = true;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    rig_spawned(r); /* recorded; nobody is there to hear it */
    next(r);
    assert_int_equal(r->spawns, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_int_equal(rig_state(r).vmm.pid, r->vmm);
    rig_expect_result(r, &r->client, ask(r, "start", "op-1", NULL), "changed", "true");
}

static void a_start_whose_vmm_ended_meanwhile_fails_for_who_asks_again(void **state)
{
    struct rig *r = *state;

    rig_driver.start = RIG_NEVER;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    rig_vmm_exits(r, EXITED(1));
    rig_driver.adopt = RIG_REFUSE;
    next(r);
    rig_expect(r, &r->client, ask(r, "start", "op-1", NULL),
               "VMM: rig ended at once with exit code 1");
    assert_int_equal(rig_state(r).state, VIV_ST_FAILED);
}

static void a_stop_goes_on_with_what_is_left_of_its_grace(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    (void)ask(r, "stop", "op-1", "{\"timeout_ms\":10000}");
    rig_advance(r, 4000);
    die(r);
    next(r);
    id = ask(r, "stop", "op-1", NULL);
    assert_int_equal(rig_driver.buttons, 2);
    rig_advance(r, 5999);
    assert_int_equal(rig_driver.quits, 0);
    rig_advance(r, 1);
    assert_int_equal(rig_driver.quits, 1);
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "rung", "vmm");
}

static void a_stop_whose_vmm_ended_meanwhile_has_its_rung(void **state)
{
    struct rig *r = *state;

    start(r);
    (void)ask(r, "stop", "op-1", NULL);
    die(r);
    rig_vmm_exits(r, EXITED(0));
    rig_driver.adopt = RIG_REFUSE;
    next(r);
    rig_expect_result(r, &r->client, ask(r, "stop", "op-1", NULL), "changed", "true");
    assert_string_equal(rig_state(r).reason, "stop");
    assert_string_equal(rig_state(r).rung, "acpi");
}

static void a_reboot_goes_on_in_both_halves(void **state)
{
    struct rig *r = *state;

    start(r);
    (void)ask(r, "reboot", "op-1", NULL);
    die(r);
    next(r);
    r->hold_spawn = true;
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_state(r).run, 2);
    die(r);
    r->hold_spawn = false;
    next(r);
    rig_expect_result(r, &r->client, ask(r, "reboot", "op-1", NULL), "run", "2");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_hard_reboot_is_not_made_twice(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_driver.reset = RIG_NEVER;
    (void)ask(r, "reboot", "op-1", "{\"hard\":true}");
    rig_serial(r, "x");
    rig_tell(VIVI_EV_RESET, 1, NULL);
    die(r);
    next(r);
    rig_expect_result(r, &r->client, ask(r, "reboot", "op-1", "{\"hard\":true}"), "changed",
                      "true");
    assert_int_equal(rig_driver.resets, 1);
}

static void a_pause_is_finished_or_done_again(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_driver.pause = RIG_NEVER;
    (void)ask(r, "pause", "op-1", NULL);
    die(r);
    rig_driver.pause = RIG_AT_ONCE;
    next(r);
    rig_expect_result(r, &r->client, ask(r, "pause", "op-1", NULL), "changed", "true");
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
    assert_int_equal(rig_driver.pauses, 2);
}

static void a_forced_removal_goes_on_and_answers_who_asked(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    (void)ask(r, "pause", NULL, NULL);
    vivi_op_begin(r->m, VIVI_VERB_REMOVE, "op-1"); /* journalled, and not one step further */
    die(r);
    rig_driver.adopt_state = VIV_ST_PAUSED;
    rig_driver.adopt = RIG_NEVER; /* so that the client is there before it is done */
    rig_boot(r);
    rig_advance(r, VIVI_ADOPT_SERVE_MS);
    rig_connect(r, &r->client);
    id = ask(r, "remove", "op-1", "{\"force\":true}");
    rig_done(rig_driver.last_op, NULL);
    rig_expect_result(r, &r->client, id, "changed", "true");
    assert_int_equal(r->vmm, 0);
    assert_int_not_equal(access(r->vm_dir, F_OK), 0);
    assert_true(r->ended);
}

static void a_result_from_before_the_crash_is_found_in_the_journal(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_expect_result(r, &r->client, ask(r, "kill", "op-1", NULL), "changed", "true");
    die(r);
    next(r);
    rig_expect_result(r, &r->client, ask(r, "kill", "op-1", NULL), "changed", "true");
    rig_expect_result(r, &r->client, ask(r, "kill", "op-2", NULL), "changed", "false");
}

static void after_a_boot_of_the_host_the_vm_is_stopped(void **state)
{
    struct rig *r = *state;
    cleanup_close int fd = -1;
    struct vivi_state s;

    start(r);
    die(r);
    r->exit_lost = true;
    rig_vmm_exits(r, 0);
    fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vivi_state_read(fd, &s, NULL), 0);
    (void)snprintf(s.host_boot_id, sizeof(s.host_boot_id), "another");
    assert_int_equal(vivi_state_write(fd, &s, VIVI_FAST, NULL), 0);
    vivi_state_done(&s);
    next(r);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
    assert_string_equal(rig_state(r).reason, "host-reboot");
    assert_int_equal(rig_state(r).vmm.pid, 0);
    r->exit_lost = false;
    rig_expect_result(r, &r->client, ask(r, "start", NULL, NULL), "run", "2");
}

static void a_planned_restart_is_kept_and_a_clock_that_jumps_does_not_delay_it(void **state)
{
    struct rig *r = *state;
    cleanup_close int fd = -1;
    struct vivi_state s;

    start(r);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    die(r);
    fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vivi_state_read(fd, &s, NULL), 0);
    s.next_start_at_ms += INT64_C(86400000);
    assert_int_equal(vivi_state_write(fd, &s, VIVI_FAST, NULL), 0);
    vivi_state_done(&s);
    next(r);
    rig_advance(r, 60000);
    assert_int_equal(r->spawns, 2);
    assert_int_equal(rig_state(r).restarts, 1);
}

static void a_silent_vmm_is_served_as_recorded_and_reads_do_not_wait_for_it(void **state)
{
    struct rig *r = *state;
    uint64_t pause_id;

    start(r);
    die(r);
    rig_driver.adopt = RIG_NEVER;
    rig_boot(r);
    rig_advance(r, VIVI_ADOPT_SERVE_MS);
    rig_connect(r, &r->client);
    rig_expect_result(r, &r->client, ask(r, "info", NULL, NULL), "clients", "1");
    pause_id = ask(r, "pause", NULL, NULL);
    assert_false(rig_is_answered(r, &r->client, pause_id));
    rig_advance(r, VIVI_ADOPT_DEADLINE_MS);
    rig_expect_result(r, &r->client, pause_id, "state", "paused");
}

static void a_broken_state_record_is_set_aside_and_the_vmm_is_found(void **state)
{
    struct rig *r = *state;
    cleanup_close int fd = -1;

    start(r);
    die(r);
    fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vivi_write_file_at(fd, "state.json", "{\"sch", 5, VIVI_FAST, NULL), 0);
    next(r);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    assert_int_equal(rig_state(r).vmm.pid, r->vmm);
    rig_expect_result(r, &r->client, ask(r, "kill", NULL, NULL), "rung", "sigkill");
}

static void a_record_of_a_newer_schema_is_left_alone(void **state)
{
    struct rig *r = *state;
    cleanup_close int fd = -1;
    cleanup_buf struct vivi_buf before = VIVI_BUF(4096), after = VIVI_BUF(4096);
    cleanup_json json_t *doc = NULL;

    die(r);
    fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(vivi_read_file_at(fd, "state.json", &before, NULL), 0);
    doc = json_loads(before.data, 0, NULL);
    (void)json_object_set_new(doc, "schema", json_integer(2));
    vivi_buf_reset(&before);
    {
        cleanup_free char *text = json_dumps(doc, 0);

        assert_int_equal(vivi_buf_str(&before, text), 0);
    }
    assert_int_equal(vivi_write_file_at(fd, "state.json", before.data, before.len, VIVI_FAST, NULL),
                     0);
    next(r);
    rig_expect(r, &r->client, ask(r, "start", NULL, NULL),
               "UNSUPPORTED: state.json: schema 2 is newer than this viv understands (1)");
    assert_int_equal(vivi_read_file_at(fd, "state.json", &after, NULL), 0);
    assert_string_equal(after.data, before.data);
}

static void when_keeper_and_monitor_died_the_fifos_are_opened_again(void **state)
{
    struct rig *r = *state;

    start(r);
    die(r);
    /* The VMM's own hold on them is played by the rig's table, which the new keeper lacks. */
    struct vivi_fd_table old = r->table;
    r->table = (struct vivi_fd_table){0};
    next(r);
    assert_int_equal(r->table.n, 3);
    assert_true(vivi_fds_get(&r->table, "serial.out") >= 0);
    vivi_fds_done(&old);
}

/* Who it is stands in the keeper's record only: both were killed before the monitor had noted it.
 */
static void the_terminal_is_taken_out_of_a_vmm_that_nobody_had_noted(void **state)
{
    struct rig *r = *state;
    struct vivi_fd_table old;
    json_t *running;
    int master, slave;
    struct stat before, after;

    assert_int_equal(vivi_pty_open(&master, &slave, NULL), 0);
    assert_int_equal(fstat(master, &before), 0);
    r->hold_spawn = true;
    (void)ask(r, "start", "op-1", NULL);
    die(r);
    rig_spawned(r); /* it has inherited the master, by this number */
    running = rig_read(r, VIVI_RUNNING_FILE);
    assert_int_equal(json_object_set_new(running, "terminal",
                                         json_pack("{s:s, s:i}", "name", "terminal", "fd", master)),
                     0);
    rig_write(r, VIVI_RUNNING_FILE, running);
    json_decref(running);
    old = r->table;
    r->table = (struct vivi_fd_table){0};
    next(r);
    assert_int_equal(rig_state(r).vmm.pid, r->vmm);
    assert_true(vivi_fds_get(&r->table, "terminal") >= 0);
    assert_int_equal(fstat(vivi_fds_get(&r->table, "terminal"), &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    vivi_fds_done(&old);
    vivi_close(&master);
    vivi_close(&slave);
}

#define P(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        P(a_running_vm_is_taken_over_and_said_so),
        P(a_marker_that_came_while_nobody_was_there_makes_ready_once),
        P(a_marker_that_was_found_and_not_told_is_found_again),
        P(what_the_driver_had_consumed_is_not_offered_again),
        P(the_vmm_says_how_it_is_and_that_is_believed),
        P(a_vmm_that_ended_meanwhile_has_its_exact_reason_and_status),
        P(an_end_that_nobody_can_tell_is_unobserved_after_a_moment),
        P(an_end_that_the_keeper_tells_late_is_waited_for_and_then_clients_are_served),
        P(a_child_that_never_got_past_its_gate_is_started_again),
        P(a_vmm_that_was_heard_of_and_ended_unseen_is_not_started_again),
        P(a_start_that_was_never_spawned_is_made_now_and_answers_its_client),
        P(a_start_that_was_journalled_and_no_more_is_made_when_it_is_asked_for_again),
        P(an_end_that_could_not_be_journalled_is_journalled_later),
        P(a_start_that_was_spawned_is_finished_by_the_next_monitor),
        P(a_spawn_that_was_answered_to_nobody_is_found_in_the_keepers_record),
        P(a_start_whose_vmm_ended_meanwhile_fails_for_who_asks_again),
        P(a_stop_goes_on_with_what_is_left_of_its_grace),
        P(a_stop_whose_vmm_ended_meanwhile_has_its_rung),
        P(a_reboot_goes_on_in_both_halves),
        P(a_hard_reboot_is_not_made_twice),
        P(a_pause_is_finished_or_done_again),
        P(a_forced_removal_goes_on_and_answers_who_asked),
        P(a_result_from_before_the_crash_is_found_in_the_journal),
        P(after_a_boot_of_the_host_the_vm_is_stopped),
        cmocka_unit_test_setup_teardown(
            a_planned_restart_is_kept_and_a_clock_that_jumps_does_not_delay_it, open_always,
            rig_close_state),
        P(a_silent_vmm_is_served_as_recorded_and_reads_do_not_wait_for_it),
        P(a_broken_state_record_is_set_aside_and_the_vmm_is_found),
        P(a_record_of_a_newer_schema_is_left_alone),
        P(when_keeper_and_monitor_died_the_fifos_are_opened_again),
        P(the_terminal_is_taken_out_of_a_vmm_that_nobody_had_noted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
