/* What is wanted beyond the host's boot, and the end of the host. */
#include "monitor/testing.h"

#include <signal.h>

#define EXITED(code) ((code) << 8)

static int open_always(void **state)
{
    return rig_open_as(state, "restart: {policy: always, backoff: 1s}\n");
}

static uint64_t ask(struct rig *r, const char *verb, const char *args)
{
    return rig_ask(r, &r->client, verb, NULL, args);
}

static void start(struct rig *r)
{
    rig_expect(r, &r->client, ask(r, "start", NULL), "ok");
    assert_string_equal(rig_state(r).desired, "running");
    (void)rig_events(r);
}

static void start_wants_it_and_stop_does_not(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    assert_string_equal(rig_state(r).desired, "");
    start(r);
    id = ask(r, "stop", NULL);
    assert_string_equal(rig_state(r).desired, "stopped"); /* before anything happens */
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPING);
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, id, "state", "stopped");
    assert_string_equal(rig_state(r).desired, "stopped");
    start(r);
    rig_expect(r, &r->client, ask(r, "kill", NULL), "ok");
    assert_string_equal(rig_state(r).desired, "stopped");
}

/* The sync would hold the VMM up; whoever asked gets no answer before it. */
static void a_wish_is_synced_when_the_vmm_is_there(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    r->hold_spawn = true;
    id = ask(r, "start", NULL);
    assert_string_equal(rig_state(r).desired, "running");
    assert_true(r->m->state_durable); /* still to be done */
    assert_false(rig_is_answered(r, &r->client, id));
    rig_spawned(r);
    rig_settle(r);
    assert_false(r->m->state_durable);
    rig_expect(r, &r->client, id, "ok");
}

static void what_the_guest_does_is_no_wish(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
    assert_string_equal(rig_state(r).desired, "running");
    rig_expect_result(r, &r->client, ask(r, "stop", NULL), "changed", "false");
    assert_string_equal(rig_state(r).desired, "stopped");
}

static void a_stop_for_now_leaves_it_wanted_unless_a_real_one_joins(void **state)
{
    struct rig *r = *state;
    uint64_t for_now;

    start(r);
    for_now = ask(r, "stop", "{\"for_now\":true}");
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPING);
    assert_string_equal(rig_state(r).desired, "running");
    (void)ask(r, "stop", NULL);
    assert_string_equal(rig_state(r).desired, "stopped");
    rig_vmm_exits(r, EXITED(0));
    rig_expect_result(r, &r->client, for_now, "state", "stopped");
}

static void a_stop_that_gives_up_leaves_it_wanted(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    id = ask(r, "stop", "{\"timeout_ms\":3000,\"kill\":false}");
    rig_advance(r, 3000);
    rig_expect(r, &r->client, id, "TIMEOUT: not stopped after 3 s; it goes on running");
    assert_string_equal(rig_state(r).desired, "running");
}

static void a_start_that_is_refused_changes_no_wish(void **state)
{
    struct rig *r = *state;

    assert_int_equal(unlinkat(r->m->dir.fd, VIVI_CONFIG_FILE, 0), 0);
    assert_false(rig_is_answered(r, &r->client, 0));
    (void)ask(r, "start", NULL);
    rig_settle(r);
    assert_string_equal(rig_state(r).desired, "");
}

static void the_end_of_the_host_is_a_stop_that_leaves_it_wanted(void **state)
{
    struct rig *r = *state;

    start(r);
    vivi_op_host_stops(r->m);
    assert_int_equal(rig_driver.buttons, 1);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPING);
    vivi_op_host_stops(r->m); /* told twice: one button */
    assert_int_equal(rig_driver.buttons, 1);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
    assert_string_equal(rig_state(r).desired, "running");
    assert_int_equal(rig_loop_timer(&r->loop, "restart"), -1); /* whatever the policy */
}

static void the_end_of_the_host_ends_a_planned_restart(void **state)
{
    struct rig *r = *state;

    start(r);
    rig_tell(VIVI_EV_ENDING, VIVI_REASON_GUEST_POWEROFF, NULL);
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_true(rig_loop_timer(&r->loop, "restart") >= 0);
    vivi_op_host_stops(r->m);
    assert_int_equal(rig_loop_timer(&r->loop, "restart"), -1);
    assert_true(rig_state(r).next_start_at_ms == 0);
    assert_string_equal(rig_state(r).desired, "running");
}

static void the_end_of_the_host_ends_the_verb_in_flight(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    start(r);
    rig_driver.pause = RIG_NEVER;
    id = ask(r, "pause", NULL);
    vivi_op_host_stops(r->m);
    rig_expect(r, &r->client, id, "CANCELLED: pause of web was cancelled: the host is going down");
    rig_vmm_exits(r, EXITED(0));
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
}

#define P(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)
#define A(name) cmocka_unit_test_setup_teardown(name, open_always, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        P(start_wants_it_and_stop_does_not),
        P(a_wish_is_synced_when_the_vmm_is_there),
        P(what_the_guest_does_is_no_wish),
        P(a_stop_for_now_leaves_it_wanted_unless_a_real_one_joins),
        P(a_stop_that_gives_up_leaves_it_wanted),
        P(a_start_that_is_refused_changes_no_wish),
        A(the_end_of_the_host_is_a_stop_that_leaves_it_wanted),
        A(the_end_of_the_host_ends_a_planned_restart),
        P(the_end_of_the_host_ends_the_verb_in_flight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
