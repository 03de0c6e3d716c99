/*
 * The agent's channel with a client at one end and an agent at the other, both played here, both as
 * hostile as they can be: what the monitor holds for them is bounded, and who breaks the rules is
 * told so by name.
 */
#include "monitor/testing_agent.h"

#include "monitor/agent_priv.h"

#define TURNS_MAX 100000
/* In one read: frames that are handed on before the limit is looked at again. */
#define ONE_READ VIVI_AW_BUFFER_MIN

static struct rig rig;
static struct rig_end agent, client;

/* ---- the ends ---- */

static void settle(void)
{
    unsigned turns = 0;

    do {
        rig_settle(&rig);
        assert_true(++turns < TURNS_MAX);
    } while (rig_end_take(&client) || rig_end_take(&agent));
}

static void begin(struct rig_end *e, int fd, enum vivi_aw_role role)
{
    rig_end_begin(e, fd, role);
    settle();
}

static void lend(void)
{
    uint64_t id = rig_ask(&rig, &rig.client, "agent", NULL, "{\"wait_ms\":1000}");

    rig_expect(&rig, &rig.client, id, "ok");
    begin(&client, take_fd(&rig.client.got_fd), VIVI_AW_HOST);
    assert_true(client.wire.up);
}

/* Opens stream `number` of the client's: its number at the agent. */
static uint32_t open_stream(uint32_t number)
{
    static const char request[] = "exec\0arg=x";

    assert_true(rig_end_say(&client, VIVI_AW_OPEN, number, request, sizeof(request)));
    settle();
    assert_string_equal(agent.text, "exec arg=x ");
    return agent.stream;
}

static int open_both(void **state)
{
    int r = rig_open(&rig, "");

    *state = &rig;
    agent.fd = client.fd = -1;
    rig_driver.has_agent = true;
    rig_expect(&rig, &rig.client, rig_ask(&rig, &rig.client, "start", NULL, NULL), "ok");
    rig_settle(&rig);
    begin(&agent, rig_driver.agent_fd, VIVI_AW_AGENT);
    assert_true(vivi_agent_up(rig.m));
    lend();
    return r;
}

static int close_both(void **state)
{
    rig_close(*state);
    vivi_close(&client.fd);
    vivi_close(&agent.fd);
    return 0;
}

static size_t held_for_agent(void)
{
    return rig.m->agent->out.len;
}

static void expect_other_streams_go_on(uint32_t number)
{
    static const char done[] = "exit=0";
    uint32_t id = open_stream(number);

    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, id, done, sizeof(done)));
    settle();
    assert_string_equal(client.text, "exit=0 ");
}

/* ---- in good order ---- */

static void frames_pass_with_the_number_exchanged(void **state)
{
    static const char done[] = "exit=3";
    uint32_t first = open_stream(7), second = open_stream(9);

    (void)state;
    assert_true(first != second);
    assert_true(rig_end_say(&client, VIVI_AW_DATA, 9, "in", 2));
    assert_true(rig_end_say(&agent, VIVI_AW_DATA, first, "out!", 4));
    settle();
    assert_int_equal(agent.data, 2);
    assert_int_equal(client.data, 4);
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, first, done, sizeof(done)));
    settle();
    assert_string_equal(client.text, "exit=3 ");
    assert_int_equal(rig.m->agent->n_streams, 1);
}

static void a_client_that_goes_ends_its_streams(void **state)
{
    uint32_t id = open_stream(1);

    (void)state;
    vivi_close(&client.fd);
    settle();
    assert_int_equal(agent.counts[VIVI_AW_RESET], 1);
    assert_int_equal(agent.stream, id);
    assert_int_equal(vivi_agent_clients(rig.m), 0);
    assert_int_equal(rig.m->agent->n_streams, 0);
}

static void a_session_that_ends_is_told_to_every_stream(void **state)
{
    (void)state;
    (void)open_stream(1);
    (void)open_stream(2);
    vivi_aw_connected(&agent.wire, 777, true);
    rig_end_greet(&agent);
    settle();
    assert_int_equal(client.counts[VIVI_AW_RESET], 2);
    assert_string_equal(client.text, "error=IO text=the agent in the guest began anew ");
    expect_other_streams_go_on(3);
}

/* ---- a hostile agent ---- */

static void an_agent_that_sends_more_than_its_credit_is_cut_off(void **state)
{
    static char data[32768];
    uint32_t id = open_stream(1);

    (void)state;
    client.deaf = true;
    for (int i = 0; i < 3; i++) {
        assert_true(rig_end_say(&agent, VIVI_AW_DATA, id, data, sizeof(data)));
        rig_settle(&rig);
    }
    client.deaf = false;
    settle();
    assert_int_equal(client.data, VIVI_AW_WINDOW);
    assert_string_equal(client.text, "error=PROTOCOL text=the agent sent more than it may ");
    assert_int_equal(agent.stream, id);
    assert_string_equal(agent.text, "error=PROTOCOL text=the agent sent more than it may ");
    expect_other_streams_go_on(2);
}

static void an_agent_that_gives_credit_for_nothing_is_cut_off(void **state)
{
    uint32_t id = open_stream(1);

    (void)state;
    assert_true(rig_end_say(&agent, VIVI_AW_CREDIT, id, "\0\1\0\0", 4));
    settle();
    assert_string_equal(client.text, "error=PROTOCOL text=the agent sent more than it may ");
    expect_other_streams_go_on(2);
}

static void streams_that_nobody_opened_cost_nothing(void **state)
{
    static char data[16384];

    (void)state;
    for (uint32_t i = 0; i < 2000; i++) {
        (void)rig_end_say(&agent, i % 2 ? VIVI_AW_DATA : VIVI_AW_RESULT, 1000 + i, data,
                          sizeof(data));
        rig_settle(&rig);
    }
    assert_int_equal(rig.m->agent->n_streams, 0);
    assert_int_equal(held_for_agent(), 0);
    assert_int_equal(client.data, 0);
    settle();
    expect_other_streams_go_on(1);
}

static void an_agent_that_asks_and_never_reads_is_answered_up_to_a_limit(void **state)
{
    char ping[VIVI_AW_PING_MAX] = "";
    unsigned sent = 0;

    (void)state;
    agent.deaf = true;
    for (int i = 0; i < 20000; i++) {
        sent += rig_end_say(&agent, VIVI_AW_PING, 0, ping, sizeof(ping));
        rig_settle(&rig);
    }
    assert_int_equal(sent, 20000); /* it is read all the same */
    assert_in_range(held_for_agent(), 1, AGENT_OUT_PAUSE + VIVI_AW_PING_MAX + VIVI_AW_FRAME_EXTRA);
    agent.deaf = false;
    settle();
    expect_other_streams_go_on(1);
}

static void an_agent_that_begins_anew_for_ever_and_never_reads_is_answered_up_to_a_limit(
    void **state)
{
    (void)state;
    agent.deaf = true;
    for (uint64_t i = 0; i < 20000; i++) {
        vivi_aw_connected(&agent.wire, 1000 + i, true);
        rig_end_greet(&agent);
        rig_settle(&rig);
    }
    assert_true(held_for_agent() <= AGENT_OUT_PAUSE + VIVI_AW_HELLO_MAX);
    /* One that reads again is met again. */
    agent.deaf = false;
    settle();
    vivi_aw_connected(&agent.wire, 99, true);
    rig_end_greet(&agent);
    settle();
    assert_true(vivi_agent_up(rig.m));
    expect_other_streams_go_on(1);
}

static void frames_without_end_for_a_client_that_does_not_read_cost_it_its_channel(void **state)
{
    static char fields[4096];
    uint32_t id = open_stream(1);

    (void)state;
    client.deaf = true;
    for (int i = 0; i < 1000 && vivi_agent_clients(rig.m) > 0; i++) {
        (void)rig_end_say(&agent, VIVI_AW_EVENT, id, fields, sizeof(fields));
        rig_settle(&rig);
    }
    assert_int_equal(vivi_agent_clients(rig.m), 0);
    settle();
    assert_int_equal(agent.counts[VIVI_AW_RESET], 1); /* what ran for it is ended */
    assert_true(vivi_agent_up(rig.m));
    vivi_close(&client.fd);
    lend();
    expect_other_streams_go_on(1);
}

static void a_text_that_is_no_frame_ends_the_session_and_not_the_monitor(void **state)
{
    static char noise[65536];

    (void)state;
    (void)open_stream(1);
    memset(noise, 'x', sizeof(noise));
    for (int i = 0; i < 20; i++) {
        (void)rig_end_push(&agent, noise, sizeof(noise));
        rig_settle(&rig);
    }
    settle();
    assert_int_equal(client.counts[VIVI_AW_RESET], 1);
    assert_true(strstr(client.text, "the agent in the guest began anew") != NULL);
    vivi_aw_connected(&agent.wire, 4242, true);
    rig_end_greet(&agent);
    settle();
    expect_other_streams_go_on(2);
}

static void an_agent_of_another_version_is_told_with_what_to_do(void **state)
{
    static const char *const wants[] = {"UNSUPPORTED: the agent in the guest is too old (it speaks "
                                        "protocol 0, this needs at least 1)",
                                        "UNSUPPORTED: the agent in the guest is too new (it speaks "
                                        "protocol 8, this needs at most 1)"};
    uint64_t id;

    (void)state;
    (void)open_stream(1);
    for (int i = 0; i < 2; i++) {
        agent.version = i ? 9 : -1;
        agent.lowest = 8;
        vivi_aw_connected(&agent.wire, 5000 + (uint64_t)i, true);
        rig_end_greet(&agent);
        settle();
        assert_int_equal(client.counts[VIVI_AW_RESET], 1); /* what ran ended with its session */
        id = rig_ask(&rig, &rig.client, "agent", NULL, "{\"wait_ms\":1000}");
        rig_expect(&rig, &rig.client, id, wants[i]);
    }
    agent.version = 0;
    vivi_aw_connected(&agent.wire, 6000, true);
    rig_end_greet(&agent);
    settle();
    expect_other_streams_go_on(2);
}

/* ---- a hostile client ---- */

static void a_client_that_sends_more_than_its_credit_is_cut_off(void **state)
{
    static char data[32768];
    uint32_t id = open_stream(1);

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(rig_end_say(&client, VIVI_AW_DATA, 1, data, sizeof(data)));
        settle();
    }
    assert_int_equal(agent.data, VIVI_AW_WINDOW);
    assert_int_equal(agent.stream, id);
    assert_string_equal(agent.text, "error=PROTOCOL text=the client sent more than it may ");
    assert_string_equal(client.text, "error=PROTOCOL text=the client sent more than it may ");
    expect_other_streams_go_on(2);
}

static void towards_an_agent_that_does_not_read_a_client_is_held_up(void **state)
{
    static char fields[8192] = "signal=1";
    unsigned sent = 0;

    (void)state;
    (void)open_stream(1);
    agent.deaf = true;
    memset(fields + 8, 'x', sizeof(fields) - 9);
    for (int i = 0; i < 2000; i++) {
        sent += rig_end_say(&client, VIVI_AW_CONTROL, 1, fields, sizeof(fields));
        rig_settle(&rig);
    }
    assert_true(sent < 2000);
    assert_in_range(held_for_agent(), AGENT_OUT_PAUSE, AGENT_OUT_PAUSE + ONE_READ);
    agent.deaf = false;
    settle();
    assert_int_equal(agent.counts[VIVI_AW_CONTROL], sent); /* held up, and nothing is lost */
    assert_int_equal(held_for_agent(), 0);
}

static void a_client_that_asks_and_never_reads_loses_its_channel(void **state)
{
    char ping[VIVI_AW_PING_MAX] = "";

    (void)state;
    client.deaf = true;
    for (int i = 0; i < 50000 && vivi_agent_clients(rig.m) > 0; i++) {
        (void)rig_end_say(&client, VIVI_AW_PING, 0, ping, sizeof(ping));
        rig_settle(&rig);
    }
    assert_int_equal(vivi_agent_clients(rig.m), 0);
}

static void a_client_that_begins_anew_for_ever_and_never_reads_loses_its_channel(void **state)
{
    (void)state;
    client.deaf = true;
    for (uint64_t i = 0; i < 50000 && vivi_agent_clients(rig.m) > 0; i++) {
        vivi_aw_connected(&client.wire, 1000 + i, true);
        rig_end_greet(&client);
        rig_settle(&rig);
    }
    assert_int_equal(vivi_agent_clients(rig.m), 0);
}

static void a_client_that_speaks_as_an_agent_or_opens_twice_loses_its_channel(void **state)
{
    (void)state;
    (void)open_stream(5);
    assert_true(rig_end_say(&client, VIVI_AW_RESULT, 5, "exit=0", 7));
    settle();
    assert_int_equal(vivi_agent_clients(rig.m), 0);
    vivi_close(&client.fd);
    lend();
    (void)open_stream(5);
    assert_true(rig_end_say(&client, VIVI_AW_OPEN, 5, "exec\0arg=x", 11));
    settle();
    assert_int_equal(vivi_agent_clients(rig.m), 0);
    assert_int_equal(rig.m->agent->n_streams, 0);
}

static void more_streams_than_there_are_get_busy(void **state)
{
    static const char request[] = "exec\0arg=x";

    (void)state;
    for (uint32_t i = 1; i <= VIVI_AW_STREAMS_MAX; i++) {
        assert_true(rig_end_say(&client, VIVI_AW_OPEN, i, request, sizeof(request)));
        settle();
    }
    assert_int_equal(rig.m->agent->n_streams, VIVI_AW_STREAMS_MAX);
    assert_true(rig_end_say(&client, VIVI_AW_OPEN, 1000, request, sizeof(request)));
    settle();
    assert_string_equal(client.text,
                        "error=BUSY text=the agent works on as many requests as it can ");
    assert_int_equal(agent.counts[VIVI_AW_OPEN], VIVI_AW_STREAMS_MAX);
}

/* ---- requests of the monitor's own ---- */

static struct {
    unsigned answers;
    int code;
    char text[600];
    size_t data_len;
} got;

static void answered(void *ctx, const struct vivi_agent_reply *reply)
{
    (void)ctx;
    got.answers++;
    got.code = reply->err ? reply->err->code : 0;
    (void)snprintf(got.text, sizeof(got.text), "%s",
                   reply->err      ? reply->err->message
                   : reply->fields ? reply->fields
                                   : "");
    got.data_len = reply->data_len;
}

static uint32_t ask(struct vivi_agent_call **ret)
{
    static const char request[] = "info";

    memset(&got, 0, sizeof(got));
    assert_int_equal(vivi_agent_request(rig.m,
                                        &(struct vivi_agent_ask){.request = request,
                                                                 .len = sizeof(request),
                                                                 .timeout_ms = 1000,
                                                                 .done = answered},
                                        ret, NULL),
                     0);
    settle();
    assert_string_equal(agent.text, "info ");
    return agent.stream;
}

static void a_request_gets_its_fields_and_its_data(void **state)
{
    uint32_t id = ask(NULL);

    (void)state;
    assert_true(rig_end_say(&agent, VIVI_AW_DATA, id, "12345", 5));
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, id, "a=b", 4));
    settle();
    assert_int_equal(got.answers, 1);
    assert_string_equal(got.text, "a=b");
    assert_int_equal(got.data_len, 5);
    assert_int_equal(rig_loop_timer(&rig.loop, "agent-request"), -1);
}

static void a_request_that_is_not_answered_ends_by_its_deadline_and_at_the_agent(void **state)
{
    uint32_t id = ask(NULL);

    (void)state;
    rig_advance(&rig, 999);
    assert_int_equal(got.answers, 0);
    rig_advance(&rig, 1);
    settle();
    assert_int_equal(got.code, VIV_E_TIMEOUT);
    assert_string_equal(got.text, "the agent has not answered after 1 s");
    assert_int_equal(agent.counts[VIVI_AW_RESET], 1);
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, id, "a=b", 4)); /* too late */
    settle();
    assert_int_equal(got.answers, 1);
}

static void a_request_takes_no_more_data_than_it_may(void **state)
{
    static char data[32768];
    uint32_t id = ask(NULL);

    (void)state;
    for (int i = 0; i < 4; i++) {
        (void)rig_end_say(&agent, VIVI_AW_DATA, id, data, sizeof(data));
        settle();
    }
    assert_int_equal(got.answers, 1);
    assert_int_equal(got.code, VIV_E_PROTOCOL);
    assert_string_equal(got.text, "the agent sends more than was asked for");
}

static void a_damaged_answer_an_error_and_a_refusal_are_told_apart(void **state)
{
    (void)state;
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, ask(NULL), "no field", 8));
    settle();
    assert_int_equal(got.code, VIV_E_PROTOCOL);
    assert_true(rig_end_say(&agent, VIVI_AW_RESULT, ask(NULL), "error=DENIED\0text=no", 21));
    settle();
    assert_int_equal(got.code, VIV_E_DENIED);
    assert_string_equal(got.text, "no");
    assert_true(rig_end_say(&agent, VIVI_AW_RESET, ask(NULL), NULL, 0));
    settle();
    assert_int_equal(got.code, VIV_E_IO);
    assert_string_equal(got.text, "the agent gave up");
}

static void a_request_ends_with_its_session_or_by_being_given_up(void **state)
{
    struct vivi_agent_call *call = NULL;

    (void)state;
    (void)ask(NULL);
    vivi_aw_connected(&agent.wire, 777, true);
    rig_end_greet(&agent);
    settle();
    assert_int_equal(got.code, VIV_E_IO);
    assert_string_equal(got.text, "the agent in the guest began anew");
    (void)ask(&call);
    vivi_agent_cancel(call);
    settle();
    assert_int_equal(got.answers, 0);
    assert_int_equal(agent.counts[VIVI_AW_RESET], 1);
    rig_advance(&rig, 5000);
    assert_int_equal(got.answers, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_both, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(frames_pass_with_the_number_exchanged),
        T(a_client_that_goes_ends_its_streams),
        T(a_session_that_ends_is_told_to_every_stream),
        T(an_agent_that_sends_more_than_its_credit_is_cut_off),
        T(an_agent_that_gives_credit_for_nothing_is_cut_off),
        T(streams_that_nobody_opened_cost_nothing),
        T(an_agent_that_asks_and_never_reads_is_answered_up_to_a_limit),
        T(an_agent_that_begins_anew_for_ever_and_never_reads_is_answered_up_to_a_limit),
        T(frames_without_end_for_a_client_that_does_not_read_cost_it_its_channel),
        T(a_text_that_is_no_frame_ends_the_session_and_not_the_monitor),
        T(an_agent_of_another_version_is_told_with_what_to_do),
        T(a_client_that_sends_more_than_its_credit_is_cut_off),
        T(towards_an_agent_that_does_not_read_a_client_is_held_up),
        T(a_client_that_asks_and_never_reads_loses_its_channel),
        T(a_client_that_begins_anew_for_ever_and_never_reads_loses_its_channel),
        T(a_client_that_speaks_as_an_agent_or_opens_twice_loses_its_channel),
        T(more_streams_than_there_are_get_busy),
        T(a_request_gets_its_fields_and_its_data),
        T(a_request_that_is_not_answered_ends_by_its_deadline_and_at_the_agent),
        T(a_request_takes_no_more_data_than_it_may),
        T(a_damaged_answer_an_error_and_a_refusal_are_told_apart),
        T(a_request_ends_with_its_session_or_by_being_given_up),
    };

    return cmocka_run_group_tests_name("monitor agent", tests, NULL, NULL);
}
