/* A machine that leaves: at no step is it here and there, whatever fails, and whoever dies. */
#include "monitor/testing.h"

#include <sys/wait.h>

#include "store/moving.h"

#define SEND "{\"step\":\"send\",\"url\":\"unix:/there\",\"to\":\"ssh://moon\"}"
#define HERE "{\"step\":\"settle\",\"arrived\":false}"
#define GONE "{\"step\":\"settle\",\"arrived\":true}"

static uint64_t ask(struct rig *r, const char *verb, const char *op, const char *args)
{
    return rig_ask(r, &r->client, verb, op, args);
}

static void expect(struct rig *r, const char *verb, const char *args, const char *want)
{
    rig_expect(r, &r->client, ask(r, verb, NULL, args), want);
}

/* "sending to ssh://moon paused frozen", "" = it does not move. */
static const char *moving(const struct rig *r)
{
    static char text[200];
    struct vivi_moving m;

    text[0] = '\0';
    if (vivi_moving_read(r->m->dir.fd, &m, NULL) > 0)
        (void)snprintf(text, sizeof(text), "%s to %.100s%s%s", vivi_moving_phase_name(m.phase),
                       m.to, m.paused ? " paused" : "", m.frozen ? " frozen" : "");
    return text;
}

static void assert_state(struct rig *r, enum viv_state state, const char *reason)
{
    struct vivi_state s = rig_state(r);

    assert_string_equal(vivi_state_name(s.state), vivi_state_name(state));
    assert_string_equal(s.reason, reason);
}

/* It runs, and is on its way under operation op-1. */
static uint64_t send_it(struct rig *r)
{
    uint64_t id;

    if (rig_state(r).state == VIV_ST_CREATED)
        rig_start(r);
    id = ask(r, "migrate", "op-1", SEND);
    rig_settle(r);
    assert_false(rig_is_answered(r, &r->client, id));
    assert_state(r, VIV_ST_OUTGOING, "");
    assert_string_equal(rig_driver.sent_to, "unix:/there");
    return id;
}

static uint64_t hand_over(struct rig *r)
{
    uint64_t id = send_it(r);

    rig_tell(VIVI_EV_HANDED_OVER, 0, NULL);
    rig_settle(r);
    assert_string_equal(moving(r), "handed-over to ssh://moon");
    return id;
}

static void send_ends(struct rig *r, const char *error)
{
    rig_done(rig_driver.last_op, error);
    rig_settle(r);
}

/* Its VMM has got a receipt, and ends. */
static void vmm_leaves(struct rig *r)
{
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_MIGRATED, NULL);
    rig_vmm_exits(r, 0);
    rig_settle(r);
}

static void assert_stopped_by_signal(const struct rig *r, bool stopped)
{
    int status = 0;

    assert_int_equal(waitpid(r->vmm, &status, stopped ? WUNTRACED : WCONTINUED), r->vmm);
    assert_true(stopped ? WIFSTOPPED(status) : WIFCONTINUED(status));
}

/* ---- before ---- */

static void the_offer_says_what_the_other_end_has_to_know(void **state)
{
    struct rig *r = *state;
    json_t *answer;
    const json_t *offer;

    rig_driver.version = "3.0";
    rig_start(r);
    rig_serial(r, "one\ntwo\n");
    answer = rig_answer(r, &r->client, ask(r, "migrate", NULL, "{\"step\":\"offer\"}"));
    offer = json_object_get(json_object_get(answer, "result"), "offer");
    assert_string_equal(vivi_json_text(offer, "name"), "web");
    assert_string_equal(vivi_json_text(offer, "uuid"), RIG_UUID);
    assert_string_equal(vivi_json_text(offer, "driver"), "rig");
    assert_string_equal(vivi_json_text(offer, "vmm_version"), "3.0");
    assert_string_equal(vivi_json_text(offer, "nonce"), r->m->nonce);
    assert_true(json_is_object(json_object_get(offer, "config")));
    assert_true(json_is_object(json_object_get(offer, "running")));
    assert_int_equal(json_integer_value(json_object_get(offer, "boot")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(offer, "log"), "size")), 8);
    json_decref(answer);
    assert_string_equal(moving(r), "");
    assert_state(r, VIV_ST_RUNNING, "");
    assert_int_equal(rig_driver.sends, 0);
}

static void what_is_in_the_way_is_told_before_anything(void **state)
{
    struct rig *r = *state;

    expect(r, "migrate", SEND,
           "WRONG_STATE: only a running or paused VM can be migrated (it is created)");
    rig_start(r);
    expect(r, "migrate", "{}", "INVALID: args.step: none of offer, send, settle");
    expect(r, "migrate", "{\"step\":\"fly\"}", "INVALID: args.step: none of offer, send, settle");
    expect(r, "migrate", "{\"step\":\"send\"}", "INVALID: args.url: missing");
    rig_driver.cannot_move = "nets.n0: stays here";
    expect(r, "migrate", "{\"step\":\"offer\"}", "UNSUPPORTED: nets.n0: stays here");
    expect(r, "migrate", SEND, "UNSUPPORTED: nets.n0: stays here");
    assert_state(r, VIV_ST_RUNNING, "");
    assert_string_equal(moving(r), "");
    assert_int_equal(rig_driver.sends, 0);
    assert_string_equal(rig_events(r), "");
}

/* ---- how it goes ---- */

static void a_machine_that_has_arrived_is_gone_here(void **state)
{
    struct rig *r = *state;
    uint64_t id = hand_over(r);

    vmm_leaves(r);
    rig_expect(r, &r->client, id, "ok");
    assert_state(r, VIV_ST_STOPPED, "migrated");
    assert_string_equal(rig_state(r).reason_text, "ssh://moon");
    assert_string_equal(rig_state(r).desired, VIVI_DESIRED_STOPPED);
    assert_string_equal(moving(r), "gone to ssh://moon");
    assert_string_equal(rig_events(r), "migration outgoing migration migration stopped");
    assert_int_equal(rig_loop_timer(&r->loop, "migrate-late"), -1);
    assert_int_equal(rig_loop_timer(&r->loop, "migrate-tell"), -1);
    expect(r, "start", NULL, "WRONG_STATE: it was migrated to ssh://moon and runs there");
    assert_int_equal(r->spawns, 1);
}

static void a_vm_of_which_nothing_was_to_stay_stays_when_it_has_left(void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, ask(r, "start", NULL, "{\"remove_when_ended\":true}"), "ok");
    (void)hand_over(r);
    vmm_leaves(r);
    assert_false(r->m->removed); /* its disks may be in use where it is */
    assert_state(r, VIV_ST_STOPPED, "migrated");
}

static void the_restart_policy_leaves_one_that_is_gone_alone(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    vmm_leaves(r);
    rig_advance(r, 120000);
    assert_int_equal(r->spawns, 1);
}

/* What was told of it last. */
static const char *doing(struct rig *r, uint64_t id)
{
    const json_t *note;

    assert_false(rig_is_answered(r, &r->client, id));
    note = json_object_get(r->client.note, "note");
    return vivi_json_text(note ? note : r->client.note, "doing");
}

static void what_is_going_on_is_told_at_least_every_second(void **state)
{
    struct rig *r = *state;
    uint64_t id = send_it(r);

    assert_string_equal(doing(r, id), "sending");
    assert_int_equal(rig_loop_timer(&r->loop, "migrate-tell"), 1000);
    rig_tell_progress(rig_driver.last_op, 1, 2);
    assert_string_equal(doing(r, id), "the guest changes it");
    rig_advance(r, 1000);
    assert_int_equal(rig_loop_timer(&r->loop, "migrate-tell"), 1000);
    rig_tell_progress(rig_driver.last_op + 1, 1, 2); /* of something else */
    vmm_leaves(r);
    rig_expect(r, &r->client, id, "ok");
}

/* ---- before it was handed over, a failure means that it is here ---- */

static void a_send_that_is_refused_changes_nothing(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.send = RIG_REFUSE;
    expect(r, "migrate", SEND, "VMM: rig: refused");
    assert_state(r, VIV_ST_RUNNING, "");
    assert_string_equal(moving(r), "");
    rig_stop(r);
}

static void a_failure_before_it_was_handed_over_leaves_it_here(void **state)
{
    struct rig *r = *state;
    uint64_t id = send_it(r);

    send_ends(r, "no route");
    rig_expect(r, &r->client, id, "VMM: no route; it goes on here");
    assert_state(r, VIV_ST_RUNNING, "");
    assert_string_equal(moving(r), "");
    assert_int_equal(rig_driver.resumes, 0);
    assert_int_equal(rig_loop_timer(&r->loop, "migrate-tell"), -1);
    id = ask(r, "migrate", NULL, SEND); /* and may try again */
    assert_false(rig_is_answered(r, &r->client, id));
    assert_int_equal(rig_driver.sends, 2);
}

static void one_that_stands_still_after_it_failed_goes_on(void **state)
{
    struct rig *r = *state;
    uint64_t id = send_it(r);

    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    send_ends(r, "no route");
    rig_expect(r, &r->client, id, "VMM: no route; it goes on here");
    assert_int_equal(rig_driver.resumes, 1);
    assert_state(r, VIV_ST_RUNNING, "");
}

static void one_that_stood_still_before_stays_so(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    expect(r, "pause", NULL, "ok");
    id = send_it(r);
    assert_string_equal(moving(r), "sending to ssh://moon paused");
    send_ends(r, "no route");
    rig_expect(r, &r->client, id, "VMM: no route; it goes on here");
    assert_int_equal(rig_driver.resumes, 0);
    assert_state(r, VIV_ST_PAUSED, "");
}

static void a_vmm_that_ends_without_a_word_leaves_it_undecided(void **state)
{
    struct rig *r = *state;
    uint64_t id = send_it(r);

    rig_vmm_exits(r, 9);
    rig_settle(r);
    rig_expect(r, &r->client, id,
               "VMM: its VMM ended while it was on its way (vmm-signal: rig ended by signal 9 "
               "(Killed)): it may run there");
    assert_state(r, VIV_ST_FAILED, "vmm-signal");
    assert_string_equal(moving(r), "sending to ssh://moon");
    expect(r, "start", NULL,
           "WRONG_STATE: its VMM ended while it was on its way to ssh://moon, where it may run");
    expect(r, "migrate", HERE, "ok");
    assert_string_equal(moving(r), "");
    rig_start(r);
}

static void one_that_is_undecided_is_gone_when_the_other_end_says_so(void **state)
{
    struct rig *r = *state;

    (void)send_it(r);
    rig_vmm_exits(r, 9);
    rig_settle(r);
    expect(r, "migrate", GONE, "ok");
    assert_string_equal(moving(r), "gone to ssh://moon");
    assert_state(r, VIV_ST_FAILED, "migrated");
    assert_string_equal(rig_state(r).desired, VIVI_DESIRED_STOPPED);
    expect(r, "migrate", GONE, "ok");
    expect(r, "migrate", HERE, "WRONG_STATE: it was migrated to ssh://moon");
    expect(r, "start", NULL, "WRONG_STATE: it was migrated to ssh://moon and runs there");
}

/* ---- after it, a failure proves nothing ---- */

static void assert_in_doubt(struct rig *r)
{
    static const char *const verbs[] = {"start", "stop", "reboot", "resume"};

    assert_state(r, VIV_ST_PAUSED, "in-doubt");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        expect(r, verbs[i], NULL,
               "WRONG_STATE: it stands still, in doubt: it may run at ssh://moon, where it was "
               "handed over");
    expect(r, "snapshot", "{\"name\":\"s1\"}",
           "WRONG_STATE: it stands still, in doubt: it may run at ssh://moon, where it was handed "
           "over");
    expect(r, "migrate", SEND,
           "WRONG_STATE: it stands still, in doubt: it may run at ssh://moon, where it was handed "
           "over");
    assert_int_equal(rig_driver.resumes, 0);
}

static void a_failure_after_it_was_handed_over_is_a_doubt(void **state)
{
    struct rig *r = *state;
    uint64_t id = hand_over(r);

    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    send_ends(r, "connection reset");
    rig_expect(r, &r->client, id,
               "VMM: connection reset; it stands still here, since it may run there");
    assert_string_equal(moving(r), "handed-over to ssh://moon");
    assert_in_doubt(r);
    expect(r, "migrate", GONE, "WRONG_STATE: it runs here (paused)"); /* first it is killed */
    expect(r, "kill", NULL, "ok");
    expect(r, "migrate", GONE, "ok");
    assert_string_equal(moving(r), "gone to ssh://moon");
}

static void a_doubt_that_is_settled_goes_on_here(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    send_ends(r, "connection reset");
    expect(r, "migrate", HERE, "ok");
    assert_int_equal(rig_driver.resumes, 1);
    assert_state(r, VIV_ST_RUNNING, "");
    assert_string_equal(moving(r), "");
    rig_stop(r);
}

static void a_vmm_that_lets_it_run_after_the_hand_over_is_stopped(void **state)
{
    struct rig *r = *state;
    uint64_t id = hand_over(r);

    send_ends(r, "connection reset");
    rig_expect(r, &r->client, id,
               "VMM: connection reset; it stands still here, since it may run there");
    assert_stopped_by_signal(r, true);
    assert_string_equal(moving(r), "handed-over to ssh://moon frozen");
    assert_in_doubt(r);
}

static void one_of_which_nothing_is_heard_for_ten_seconds_is_stopped(void **state)
{
    struct rig *r = *state;
    uint64_t id = hand_over(r);

    rig_advance(r, 9999);
    assert_string_equal(moving(r), "handed-over to ssh://moon");
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id,
               "VMM: it was handed over, and nothing is heard of it; it stands still here, since "
               "it may run there");
    assert_stopped_by_signal(r, true);
    assert_string_equal(moving(r), "handed-over to ssh://moon frozen");
    assert_in_doubt(r);
}

static void one_that_was_stopped_goes_on_and_gives_up_by_itself(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    rig_advance(r, 10000);
    assert_stopped_by_signal(r, true);
    expect(r, "migrate", HERE, "ok");
    assert_stopped_by_signal(r, false);
    assert_state(r, VIV_ST_OUTGOING, "");
    assert_string_equal(moving(r), "sending to ssh://moon");
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    send_ends(r, "connection reset");
    assert_string_equal(moving(r), "");
    assert_int_equal(rig_driver.resumes, 1);
    assert_state(r, VIV_ST_RUNNING, "");
}

static void a_receipt_in_time_leaves_no_doubt(void **state)
{
    struct rig *r = *state;
    uint64_t id = hand_over(r);

    rig_advance(r, 9999);
    vmm_leaves(r);
    rig_expect(r, &r->client, id, "ok");
    rig_advance(r, 20000);
    assert_state(r, VIV_ST_STOPPED, "migrated");
}

static void what_does_not_move_has_nothing_to_settle(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    expect(r, "migrate", HERE, "ok");
    expect(r, "migrate", GONE, "ok");
    assert_state(r, VIV_ST_RUNNING, "");
    (void)send_it(r);
    expect(r, "migrate", HERE, "BUSY: migrate of web is in progress");
    expect(r, "migrate", GONE, "BUSY: migrate of web is in progress");
}

/* ---- who asks meanwhile ---- */

static void the_same_operation_is_joined_and_another_waits_its_turn(void **state)
{
    struct rig *r = *state;
    struct rig_client other = {.fd = -1};
    uint64_t first = send_it(r), second;

    rig_connect(r, &other);
    second = rig_ask(r, &other, "migrate", "op-1", SEND);

    expect(r, "migrate", SEND, "BUSY: migrate of web is in progress");
    expect(r, "stop", NULL, "BUSY: migrate of web is in progress");
    expect(r, "pause", NULL, "BUSY: migrate of web is in progress");
    assert_int_equal(rig_driver.sends, 1);
    vmm_leaves(r);
    rig_expect(r, &r->client, first, "ok");
    rig_expect(r, &other, second, "ok");
    rig_expect(r, &other, rig_ask(r, &other, "migrate", "op-1", SEND), "ok"); /* again, later */
    rig_disconnect(r, &other);
    assert_int_equal(rig_driver.sends, 1);
}

static void a_kill_on_the_way_leaves_it_undecided(void **state)
{
    struct rig *r = *state;

    (void)send_it(r);
    expect(r, "kill", NULL, "ok");
    assert_string_equal(moving(r), "sending to ssh://moon");
    expect(r, "start", NULL,
           "WRONG_STATE: its VMM ended while it was on its way to ssh://moon, where it may run");
}

/* ---- who dies meanwhile ---- */

static void the_next_monitor_waits_for_the_same_outcome(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    rig_take_over(r);
    assert_string_equal(rig_driver.sent_to, "again");
    assert_state(r, VIV_ST_OUTGOING, "");
    vmm_leaves(r);
    rig_expect(r, &r->client, ask(r, "migrate", "op-1", SEND), "ok");
    assert_string_equal(moving(r), "gone to ssh://moon");
    assert_state(r, VIV_ST_STOPPED, "migrated");
}

static void the_next_monitor_hears_that_it_failed(void **state)
{
    struct rig *r = *state;

    (void)send_it(r);
    rig_take_over(r);
    rig_tell(VIVI_EV_STATE, VIV_ST_RUNNING, NULL);
    send_ends(r, "no route");
    rig_expect(r, &r->client, ask(r, "migrate", "op-1", SEND), "VMM: no route; it goes on here");
    assert_string_equal(moving(r), "");
    assert_state(r, VIV_ST_RUNNING, "");
}

static void a_doubt_outlives_the_monitor(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    send_ends(r, "connection reset");
    rig_driver.adopt_state = VIV_ST_PAUSED;
    rig_take_over(r);
    assert_in_doubt(r);
    expect(r, "migrate", HERE, "ok");
    assert_state(r, VIV_ST_RUNNING, "");
}

static void a_vmm_that_leaves_while_nobody_looks_has_left(void **state)
{
    struct rig *r = *state;

    (void)hand_over(r);
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    {
        cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(vivi_append_at(fd, "events-vmm.log", "end migrated\n", 13, NULL), 0);
    }
    rig_vmm_exits(r, 0);
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_expect(r, &r->client, ask(r, "migrate", "op-1", SEND), "ok");
    assert_string_equal(moving(r), "gone to ssh://moon");
    assert_state(r, VIV_ST_STOPPED, "migrated");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

static int open_restarting(void **state)
{
    return rig_open_as(state, "restart: {policy: always, backoff: 1s}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_offer_says_what_the_other_end_has_to_know),
        TEST(what_is_in_the_way_is_told_before_anything),
        TEST(a_machine_that_has_arrived_is_gone_here),
        TEST(a_vm_of_which_nothing_was_to_stay_stays_when_it_has_left),
        cmocka_unit_test_setup_teardown(the_restart_policy_leaves_one_that_is_gone_alone,
                                        open_restarting, rig_close_state),
        TEST(what_is_going_on_is_told_at_least_every_second),
        TEST(a_send_that_is_refused_changes_nothing),
        TEST(a_failure_before_it_was_handed_over_leaves_it_here),
        TEST(one_that_stands_still_after_it_failed_goes_on),
        TEST(one_that_stood_still_before_stays_so),
        TEST(a_vmm_that_ends_without_a_word_leaves_it_undecided),
        TEST(one_that_is_undecided_is_gone_when_the_other_end_says_so),
        TEST(a_failure_after_it_was_handed_over_is_a_doubt),
        TEST(a_doubt_that_is_settled_goes_on_here),
        TEST(a_vmm_that_lets_it_run_after_the_hand_over_is_stopped),
        TEST(one_of_which_nothing_is_heard_for_ten_seconds_is_stopped),
        TEST(one_that_was_stopped_goes_on_and_gives_up_by_itself),
        TEST(a_receipt_in_time_leaves_no_doubt),
        TEST(what_does_not_move_has_nothing_to_settle),
        TEST(the_same_operation_is_joined_and_another_waits_its_turn),
        TEST(a_kill_on_the_way_leaves_it_undecided),
        TEST(the_next_monitor_waits_for_the_same_outcome),
        TEST(the_next_monitor_hears_that_it_failed),
        TEST(a_doubt_outlives_the_monitor),
        TEST(a_vmm_that_leaves_while_nobody_looks_has_left),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
