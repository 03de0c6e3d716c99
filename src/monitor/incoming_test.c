/* A machine that comes: nothing else makes it run, and one that was given up may come all the same.
 */
#include "monitor/testing.h"

#include "store/moving.h"

static uint64_t ask(struct rig *r, const char *verb, const char *op, const char *args)
{
    return rig_ask(r, &r->client, verb, op, args);
}

static void expect(struct rig *r, const char *verb, const char *args, const char *want)
{
    rig_expect(r, &r->client, ask(r, verb, NULL, args), want);
}

static bool is_coming(const struct rig *r)
{
    struct vivi_moving m;

    return vivi_moving_read(r->m->dir.fd, &m, NULL) > 0 && m.phase == VIVI_MOVING_COMING;
}

static void announce(const struct rig *r)
{
    const struct vivi_moving m = {.phase = VIVI_MOVING_COMING};

    assert_int_equal(vivi_moving_write(r->m->dir.fd, &m, NULL), 0);
}

/* The arguments, with the configuration of here and more (", …"). The next call reuses it. */
static const char *args_with(const struct rig *r, const char *more)
{
    static char text[8192];
    json_t *config = NULL;
    char *dump;

    assert_int_equal(
        vivi_json_read(r->m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, NULL), 0);
    dump = json_dumps(config, JSON_COMPACT);
    json_decref(config);
    assert_non_null(dump);
    (void)snprintf(text, sizeof(text), "{\"config\":%s,\"nonce\":\"0123456789abcdef\"%s}", dump,
                   more);
    free(dump);
    return text;
}

static void assert_state(struct rig *r, enum viv_state state)
{
    assert_string_equal(vivi_state_name(rig_state(r).state), vivi_state_name(state));
}

/* It waits, under operation op-1. */
static uint64_t wait_for_it(struct rig *r, const char *more)
{
    char text[200];
    uint64_t id;

    announce(r);
    rig_driver.start = RIG_NEVER;
    (void)snprintf(text, sizeof(text), ",\"listen\":\"unix\",\"ip\":\"10.0.0.2\"%s", more);
    id = ask(r, "incoming", "op-1", args_with(r, text));
    assert_false(rig_is_answered(r, &r->client, id));
    assert_state(r, VIV_ST_INCOMING);
    assert_int_equal(rig_driver.how, VIVI_HOW_INCOMING);
    assert_true(is_coming(r));
    return id;
}

static void it_is_here(struct rig *r, enum viv_state as)
{
    rig_tell(VIVI_EV_STATE, (uint64_t)as, NULL);
    rig_done(rig_driver.last_op, NULL);
    rig_settle(r);
}

/* ---- before ---- */

static void what_cannot_be_understood_is_refused(void **state)
{
    struct rig *r = *state;

    announce(r);
    expect(r, "incoming", args_with(r, ""), "INVALID: args.listen: neither unix nor tcp:HOST:PORT");
    expect(r, "incoming", args_with(r, ",\"listen\":\"udp:x\""),
           "INVALID: args.listen: neither unix nor tcp:HOST:PORT");
    expect(r, "incoming", "{\"listen\":\"unix\"}", "INVALID: args.config: missing");
    expect(r, "incoming", args_with(r, ",\"listen\":\"unix\",\"wait_ms\":-1"),
           "INVALID: args.wait_ms: not a number of milliseconds");
    assert_int_equal(r->spawns, 0);
    assert_state(r, VIV_ST_CREATED);
}

static void only_one_that_was_announced_and_does_not_run_is_waited_for(void **state)
{
    struct rig *r = *state;

    expect(r, "incoming", args_with(r, ",\"listen\":\"unix\""),
           "WRONG_STATE: nobody has announced that it comes");
    rig_start(r);
    expect(r, "incoming", args_with(r, ",\"listen\":\"unix\""),
           "WRONG_STATE: only a stopped VM can be waited for (it is running)");
    assert_int_equal(r->spawns, 1);
}

static void what_is_wrong_here_is_told_before_anything_waits(void **state)
{
    struct rig *r = *state;

    announce(r);
    rig_driver.problem = "no such file";
    expect(r, "incoming", args_with(r, ",\"listen\":\"unix\""),
           "INVALID: boot.kernel: no such file");
    assert_int_equal(r->spawns, 0);
    assert_true(is_coming(r));
}

static void a_vmm_that_cannot_be_started_leaves_it_to_come(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    announce(r);
    r->spawn_fails = true;
    id = ask(r, "incoming", NULL, args_with(r, ",\"listen\":\"unix\""));
    rig_settle(r);
    assert_true(rig_is_answered(r, &r->client, id));
    assert_state(r, VIV_ST_FAILED);
    assert_true(is_coming(r));
}

/* ---- how it goes ---- */

static void one_that_arrives_runs_and_is_ready_as_it_was(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, "");
    struct vivi_state s;

    rig_tell(VIVI_EV_LISTENING, 0, NULL);
    it_is_here(r, VIV_ST_RUNNING);
    rig_expect(r, &r->client, id, "ok");
    s = rig_state(r);
    assert_int_equal(s.state, VIV_ST_RUNNING);
    assert_true(s.ready);
    assert_string_equal(s.ready_proof, "inherited");
    assert_string_equal(s.ip, "10.0.0.2");
    assert_string_equal(s.desired, VIVI_DESIRED_RUNNING);
    assert_string_equal(r->m->nonce, "0123456789abcdef");
    assert_false(is_coming(r));
    assert_int_equal(rig_loop_timer(&r->loop, "incoming-wait"), -1);
    rig_advance(r, 120000); /* nobody is waited for any more */
    assert_int_equal(rig_driver.aborts, 0);
    rig_stop(r);
    rig_driver.start = RIG_AT_ONCE;
    rig_start(r); /* a VM like any other */
}

static void one_that_stood_still_stands_still_here(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, "");

    it_is_here(r, VIV_ST_PAUSED);
    rig_expect(r, &r->client, id, "ok");
    assert_state(r, VIV_ST_PAUSED);
    assert_false(is_coming(r));
}

static const char *listening(const struct rig_client *c)
{
    static char text[512];
    char *dump = c->note ? json_dumps(c->note, JSON_COMPACT) : NULL;
    const char *at = dump ? strstr(dump, "\"listening\":\"") : NULL;

    text[0] = '\0';
    if (at)
        (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(at + 13, "\""), at + 13);
    free(dump);
    return text;
}

static void who_asks_and_who_asks_again_is_told_where_it_listens(void **state)
{
    struct rig *r = *state;
    struct rig_client other = {.fd = -1};
    char url[300];
    uint64_t first = wait_for_it(r, ""), again;

    (void)snprintf(url, sizeof(url), "unix:%s/migration", r->run_dir);
    assert_string_equal(listening(&r->client), "");
    rig_tell(VIVI_EV_LISTENING, 0, NULL);
    assert_false(rig_is_answered(r, &r->client, first));
    assert_string_equal(listening(&r->client), url);
    rig_connect(r, &other);
    again = rig_ask(r, &other, "incoming", "op-1", args_with(r, ",\"listen\":\"unix\""));
    assert_false(rig_is_answered(r, &other, again));
    assert_string_equal(listening(&other), url);
    it_is_here(r, VIV_ST_RUNNING);
    rig_expect(r, &r->client, first, "ok");
    rig_expect(r, &other, again, "ok");
    assert_int_equal(r->spawns, 1);
    rig_disconnect(r, &other);
}

static void where_to_listen_is_as_was_asked_for(void **state)
{
    struct rig *r = *state;

    announce(r);
    rig_driver.start = RIG_NEVER;
    (void)ask(r, "incoming", "op-1", args_with(r, ",\"listen\":\"tcp:[::1]:4711\""));
    rig_tell(VIVI_EV_LISTENING, 0, NULL);
    assert_false(rig_is_answered(r, &r->client, r->client.next_id));
    assert_string_equal(listening(&r->client), "tcp:[::1]:4711");
}

static void while_it_is_waited_for_it_is_not_started(void **state)
{
    struct rig *r = *state;

    (void)wait_for_it(r, "");
    expect(r, "start", NULL, "BUSY: incoming of web is in progress");
    expect(r, "pause", NULL, "BUSY: incoming of web is in progress");
    expect(r, "stop", NULL, "BUSY: incoming of web is in progress");
    assert_int_equal(r->spawns, 1);
}

/* ---- nobody comes ---- */

/* The VMM has been touched, and gives up. */
static void it_gives_up(struct rig *r)
{
    rig_done(rig_driver.last_op, "nobody came");
    rig_settle(r);
}

static void nobody_is_waited_for_longer_than_was_said(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, ",\"wait_ms\":5000");

    rig_advance(r, 4999);
    assert_int_equal(rig_driver.aborts, 0);
    rig_advance(r, 1);
    assert_int_equal(rig_driver.aborts, 1);
    assert_false(rig_is_answered(r, &r->client, id)); /* it may have come this moment */
    it_gives_up(r);
    rig_expect(r, &r->client, id, "VMM: nobody came");
    assert_state(r, VIV_ST_FAILED);
    assert_true(is_coming(r));
    expect(r, "start", NULL,
           "WRONG_STATE: it was to come by a migration and has not arrived; it may run where it "
           "was");
}

static void without_a_word_that_is_a_minute(void **state)
{
    struct rig *r = *state;

    (void)wait_for_it(r, "");
    rig_advance(r, 59999);
    assert_int_equal(rig_driver.aborts, 0);
    rig_advance(r, 1);
    assert_int_equal(rig_driver.aborts, 1);
}

static void one_that_is_given_up_may_arrive_all_the_same(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, ",\"wait_ms\":1000");

    rig_advance(r, 1000);
    assert_int_equal(rig_driver.aborts, 1);
    it_is_here(r, VIV_ST_RUNNING);
    rig_expect(r, &r->client, id, "ok");
    assert_state(r, VIV_ST_RUNNING);
    assert_false(is_coming(r));
}

static void whoever_asked_may_give_it_up(void **state)
{
    struct rig *r = *state;
    struct rig_client other = {.fd = -1};
    uint64_t id = wait_for_it(r, ""), abort;

    rig_connect(r, &other);
    abort = rig_ask(r, &other, "incoming", NULL, "{\"abort\":true}");
    rig_settle(r);
    assert_int_equal(rig_driver.aborts, 1);
    it_gives_up(r);
    rig_expect(r, &r->client, id, "VMM: nobody came");
    rig_expect(r, &other, abort, "VMM: nobody came");
    rig_disconnect(r, &other);
}

static void giving_up_what_is_not_waited_for_does_nothing(void **state)
{
    struct rig *r = *state;

    rig_expect_result(r, &r->client, ask(r, "incoming", NULL, "{\"abort\":true}"), "changed",
                      "false");
    rig_start(r);
    rig_expect_result(r, &r->client, ask(r, "incoming", NULL, "{\"abort\":true}"), "changed",
                      "false");
    assert_int_equal(rig_driver.aborts, 0);
    assert_state(r, VIV_ST_RUNNING);
}

static void a_receiver_that_cannot_be_reached_is_not_killed(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, ",\"wait_ms\":1000");

    rig_driver.abort_fails = true;
    rig_advance(r, 30000);
    assert_int_equal(rig_driver.aborts, 1);
    assert_true(r->vmm > 0);
    it_is_here(r, VIV_ST_RUNNING);
    rig_expect(r, &r->client, id, "ok");
}

/* ---- who dies meanwhile ---- */

static void a_vmm_that_dies_before_anything_ran_leaves_it_to_come(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, "");

    rig_vmm_exits(r, 9);
    rig_settle(r);
    assert_true(rig_is_answered(r, &r->client, id));
    assert_state(r, VIV_ST_FAILED);
    assert_true(is_coming(r));
}

static void one_that_has_run_here_is_of_here_whatever_follows(void **state)
{
    struct rig *r = *state;
    uint64_t id = wait_for_it(r, "");

    rig_tell(VIVI_EV_STATE, VIV_ST_RUNNING, NULL);
    assert_true(is_coming(r)); /* its VMM has not said yet that it is whole */
    rig_vmm_exits(r, 9);
    rig_settle(r);
    assert_true(rig_is_answered(r, &r->client, id));
    assert_state(r, VIV_ST_FAILED);
    assert_false(is_coming(r));
    rig_driver.start = RIG_AT_ONCE;
    rig_start(r);
}

static void a_kill_ends_the_waiting(void **state)
{
    struct rig *r = *state;

    (void)wait_for_it(r, "");
    expect(r, "kill", NULL, "ok");
    assert_true(is_coming(r));
    expect(r, "start", NULL,
           "WRONG_STATE: it was to come by a migration and has not arrived; it may run where it "
           "was");
}

static void the_next_monitor_goes_on_waiting(void **state)
{
    struct rig *r = *state;

    (void)wait_for_it(r, "");
    rig_advance(r, 50000);
    rig_driver.adopt = RIG_NEVER;
    rig_take_over(r);
    assert_state(r, VIV_ST_INCOMING);
    rig_advance(r, VIVI_ADOPT_DEADLINE_MS); /* the driver has nothing to say yet */
    assert_state(r, VIV_ST_INCOMING);
    assert_int_equal(rig_driver.aborts, 0);
    it_is_here(r, VIV_ST_RUNNING);
    assert_state(r, VIV_ST_RUNNING);
    assert_string_equal(rig_state(r).ip, "10.0.0.2");
    assert_false(is_coming(r));
}

static void the_next_monitor_does_not_wait_for_ever(void **state)
{
    struct rig *r = *state;

    (void)wait_for_it(r, "");
    rig_driver.adopt = RIG_NEVER;
    rig_take_over(r);
    rig_advance(r, VIVI_ADOPT_DEADLINE_MS + 60000);
    assert_int_equal(rig_driver.aborts, 1);
    it_gives_up(r);
    assert_state(r, VIV_ST_FAILED);
    assert_true(is_coming(r));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_understood_is_refused),
        TEST(only_one_that_was_announced_and_does_not_run_is_waited_for),
        TEST(what_is_wrong_here_is_told_before_anything_waits),
        TEST(a_vmm_that_cannot_be_started_leaves_it_to_come),
        TEST(one_that_arrives_runs_and_is_ready_as_it_was),
        TEST(one_that_stood_still_stands_still_here),
        TEST(who_asks_and_who_asks_again_is_told_where_it_listens),
        TEST(where_to_listen_is_as_was_asked_for),
        TEST(while_it_is_waited_for_it_is_not_started),
        TEST(nobody_is_waited_for_longer_than_was_said),
        TEST(without_a_word_that_is_a_minute),
        TEST(one_that_is_given_up_may_arrive_all_the_same),
        TEST(whoever_asked_may_give_it_up),
        TEST(giving_up_what_is_not_waited_for_does_nothing),
        TEST(a_receiver_that_cannot_be_reached_is_not_killed),
        TEST(a_vmm_that_dies_before_anything_ran_leaves_it_to_come),
        TEST(one_that_has_run_here_is_of_here_whatever_follows),
        TEST(a_kill_ends_the_waiting),
        TEST(the_next_monitor_goes_on_waiting),
        TEST(the_next_monitor_does_not_wait_for_ever),
    };

    return cmocka_run_group_tests_name("incoming", tests, NULL, NULL);
}
