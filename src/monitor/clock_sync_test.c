/* The guest's clock after the guest stood still: when its agent is told the time, and who dies
 * meanwhile. */
#include "monitor/testing_agent.h"

#include "base/clock.h"
#include "monitor/testing_apply.h"

#define HOUR_NS INT64_C(3600000000000)

static struct rig rig;
static struct rig_end agent;

/* ---- help ---- */

static void does(const char *verb)
{
    rig_expect(&rig, &rig.client, rig_ask(&rig, &rig.client, verb, NULL, NULL), "ok");
    rig_agent_settle(&rig, &agent);
}

static void stand_still(void)
{
    does("pause");
    does("resume");
}

/* So often was it told the time; the last is the present. */
static void was_told(unsigned times)
{
    static const char head[] = "clock within_ns=1000000000 realtime_ns=";
    int64_t off;

    assert_int_equal(agent.counts[VIVI_AW_OPEN], times);
    if (times == 0)
        return;
    assert_memory_equal(agent.text, head, strlen(head));
    off = vivi_wall_ns() - strtoll(agent.text + strlen(head), NULL, 10);
    assert_in_range(off, 0, HOUR_NS);
}

static void answers(const char *fields)
{
    rig_agent_answers(&rig, &agent, fields);
}

static void another_monitor(void)
{
    rig_disconnect(&rig, &rig.client);
    rig_kill_monitor(&rig);
    vivi_close(&agent.fd);
    rig_boot(&rig);
    rig_connect(&rig, &rig.client);
}

/* By how much the last event says, and how many there were since the start. */
static int64_t told(unsigned *ret_events)
{
    json_t *e = NULL;
    const char *list = rig_events(&rig);
    int64_t ms = 0;

    *ret_events = 0;
    for (const char *at = list; (at = strstr(at, "clock")) != NULL; at++)
        ++*ret_events;
    if (vivi_event_last(&rig.root, RIG_UUID, "clock", &e, NULL) > 0)
        ms = json_integer_value(json_object_get(e, "adjusted_ms"));
    json_decref(e);
    return ms;
}

static void told_is(unsigned events, int64_t adjusted_ms)
{
    unsigned n;
    int64_t ms = told(&n);

    assert_int_equal(n, events);
    assert_int_equal(ms, adjusted_ms);
}

static bool is_due(void)
{
    cleanup_json json_t *run = rig_read(&rig, VIVI_RUNNING_FILE);

    return json_is_true(json_object_get(run, "clock_due"));
}

static int open_with(void **state, const char *config)
{
    int r = rig_open(&rig, config);

    *state = &rig;
    agent.fd = -1;
    rig_driver.has_agent = true;
    rig_driver.version = "3.0";
    does("start");
    (void)rig_events(&rig);
    return r;
}

static int open_plain(void **state)
{
    int r = open_with(state, "");

    rig_agent_meet(&rig, &agent);
    return r;
}

static int open_off(void **state)
{
    int r = open_with(state, "agent: {sync_clock: false}\n");

    rig_agent_meet(&rig, &agent);
    return r;
}

static int open_alone(void **state)
{
    return open_with(state, "");
}

static int close_all(void **state)
{
    rig_close(*state);
    rig_agent_close(&agent);
    return 0;
}

/* ---- when ---- */

static void a_boot_needs_nothing(void **state)
{
    (void)state;
    was_told(0);
    assert_false(is_due());
}

static void a_guest_that_goes_on_is_told_the_time_at_once(void **state)
{
    (void)state;
    does("pause");
    was_told(0);
    does("resume");
    was_told(1);
    assert_true(is_due());
    answers("adjusted_ns=90000999999");
    assert_false(is_due());
    told_is(1, 90000);
    stand_still();
    was_told(2);
    answers("adjusted_ns=-5000000000"); /* it ran ahead */
    told_is(1, -5000);
}

static void a_clock_that_was_right_is_no_event(void **state)
{
    (void)state;
    stand_still();
    answers("adjusted_ns=0");
    assert_false(is_due());
    stand_still();
    answers("adjusted_ns=999999999"); /* of an older agent, which sets it always */
    assert_false(is_due());
    told_is(0, 0);
}

static void an_answer_that_is_no_number_is_no_event(void **state)
{
    static const char *const all[] = {"x=1", "adjusted_ns=", "adjusted_ns=9000000000000000000000",
                                      "adjusted_ns=90000000000x"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        stand_still();
        answers(all[i]);
        assert_false(is_due());
    }
    told_is(0, 0);
}

static void it_is_told_when_its_agent_is_there(void **state)
{
    (void)state;
    does("pause");
    does("resume");
    assert_true(is_due());
    rig_agent_meet(&rig, &agent);
    was_told(1);
    answers("adjusted_ns=2000000000");
    told_is(1, 2000);
    assert_false(is_due());
}

static void what_goes_on_from_a_snapshot_is_told(void **state)
{
    uint64_t id = rig_ask(&rig, &rig.client, "snapshot", NULL, "{\"name\":\"s1\"}");

    (void)state;
    rig_expect(&rig, &rig.client, id, "ok");
    rig_agent_settle(&rig, &agent);
    was_told(1); /* it stood still for that, too */
    answers("adjusted_ns=0");
    does("kill");
    vivi_close(&agent.fd);
    id = rig_ask(&rig, &rig.client, "restore", NULL, "{\"name\":\"s1\"}");
    rig_expect(&rig, &rig.client, id, "ok");
    assert_int_equal(rig_driver.how, VIVI_HOW_RESTORE);
    rig_agent_meet(&rig, &agent);
    was_told(1);
    answers("adjusted_ns=86400000000000");
    told_is(1, 86400000);
}

static void what_comes_by_a_migration_is_told(void **state)
{
    (void)state;
    rig.m->st.state = VIV_ST_INCOMING; /* what a receiver is until the machine is there */
    vivi_life_set_state(rig.m, VIV_ST_RUNNING, NULL);
    rig_agent_settle(&rig, &agent);
    was_told(1);
}

static void somebody_elses_pause_counts_as_well(void **state)
{
    (void)state;
    rig_tell(VIVI_EV_STATE, VIV_ST_PAUSED, NULL);
    rig_tell(VIVI_EV_STATE, VIV_ST_RUNNING, NULL);
    rig_agent_settle(&rig, &agent);
    was_told(1);
}

static void whoever_does_not_want_it_is_left_alone(void **state)
{
    (void)state;
    stand_still();
    was_told(0);
    assert_false(is_due());
}

static void a_reboot_reads_the_clock_itself(void **state)
{
    (void)state;
    vivi_close(&agent.fd);
    rig_advance(&rig, 60000); /* its channel is lost and not to be had for a while */
    stand_still();
    rig_tell(VIVI_EV_RESET, 7, NULL);
    rig_settle(&rig);
    assert_false(is_due());
    rig_agent_meet(&rig, &agent);
    was_told(0);
}

/* ---- trouble ---- */

static void a_monitor_that_dies_before_leaves_it_to_the_next(void **state)
{
    (void)state;
    stand_still();
    was_told(1);
    another_monitor(); /* asked, and died before the answer */
    rig_agent_meet(&rig, &agent);
    was_told(1);
    another_monitor();
    rig_agent_meet(&rig, &agent);
    was_told(1);
    answers("adjusted_ns=3000000000");
    told_is(1, 3000);
    assert_false(is_due());
    another_monitor();
    rig_agent_meet(&rig, &agent);
    was_told(0); /* it is done */
}

static void one_that_dies_between_resume_and_its_record_leaves_it_too(void **state)
{
    (void)state;
    does("pause");
    rig_driver.resume = RIG_NEVER;
    (void)rig_ask(&rig, &rig.client, "resume", NULL, NULL);
    rig_agent_settle(&rig, &agent);
    rig_driver.adopt_state = VIV_ST_RUNNING; /* the VMM has done it */
    another_monitor();
    rig_agent_meet(&rig, &agent);
    was_told(1);
}

static void an_answer_that_came_late_is_checked_again(void **state)
{
    (void)state;
    stand_still();
    for (unsigned i = 1; i <= 3; i++) {
        was_told(i);
        rig_advance(&rig, 1500);
        answers("adjusted_ns=-1500000000"); /* it was told a time that was over */
    }
    was_told(3);
    told_is(3, -1500);
    assert_false(is_due());
}

static void an_agent_that_does_not_answer_is_asked_three_times(void **state)
{
    (void)state;
    stand_still();
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(agent.counts[VIVI_AW_OPEN], i);
        assert_true(is_due());
        rig_advance(&rig, 10000);
        rig_agent_settle(&rig, &agent);
    }
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 3);
    assert_false(is_due());
    told_is(0, 0);
}

static void one_that_cannot_is_not_asked_again(void **state)
{
    (void)state;
    stand_still();
    answers("error=DENIED text=no");
    assert_false(is_due());
    was_told(1);
    told_is(0, 0);
}

static void a_session_that_ends_before_the_answer_is_followed_by_another(void **state)
{
    (void)state;
    stand_still();
    vivi_aw_connected(&agent.wire, 777, true);
    rig_end_greet(&agent);
    rig_agent_settle(&rig, &agent);
    was_told(2);
    answers("adjusted_ns=4000000000");
    told_is(1, 4000);
}

/* What the guest had not read holds a time that is over when it goes on. */
static void a_pause_before_the_answer_makes_the_request_void(void **state)
{
    uint32_t first;

    (void)state;
    stand_still();
    first = agent.stream;
    does("pause");
    rig_advance(&rig, 3600000);
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 1);
    does("resume");
    was_told(2);
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, first, "adjusted_ns=9000000000", 23));
    rig_agent_settle(&rig, &agent);
    told_is(0, 0); /* it was given up */
    answers("adjusted_ns=3600000000000");
    told_is(1, 3600000);
}

static void the_end_of_the_vm_forgets_it(void **state)
{
    (void)state;
    stand_still();
    does("kill");
    assert_false(is_due());
    vivi_close(&agent.fd);
    does("start");
    rig_agent_meet(&rig, &agent);
    was_told(0);
}

#define T(f)       cmocka_unit_test_setup_teardown(f, open_plain, close_all)
#define ALONE(f)   cmocka_unit_test_setup_teardown(f, open_alone, close_all)
#define WITHOUT(f) cmocka_unit_test_setup_teardown(f, open_off, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_boot_needs_nothing),
        T(a_guest_that_goes_on_is_told_the_time_at_once),
        T(a_clock_that_was_right_is_no_event),
        T(an_answer_that_is_no_number_is_no_event),
        ALONE(it_is_told_when_its_agent_is_there),
        T(what_goes_on_from_a_snapshot_is_told),
        T(what_comes_by_a_migration_is_told),
        T(somebody_elses_pause_counts_as_well),
        WITHOUT(whoever_does_not_want_it_is_left_alone),
        T(a_reboot_reads_the_clock_itself),
        T(a_monitor_that_dies_before_leaves_it_to_the_next),
        T(one_that_dies_between_resume_and_its_record_leaves_it_too),
        T(an_answer_that_came_late_is_checked_again),
        T(an_agent_that_does_not_answer_is_asked_three_times),
        T(one_that_cannot_is_not_asked_again),
        T(a_session_that_ends_before_the_answer_is_followed_by_another),
        T(a_pause_before_the_answer_makes_the_request_void),
        T(the_end_of_the_vm_forgets_it),
    };

    return cmocka_run_group_tests_name("monitor clock", tests, NULL, NULL);
}
