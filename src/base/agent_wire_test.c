#include "base/agent_wire.h"

#include "base/testing.h"

#define WIRE_MAX (1u << 20)

/* What one side has put on the way to the other. */
struct line {
    unsigned char *data; /* WIRE_MAX bytes */
    size_t len;
};

struct side {
    struct vivi_aw w;
    unsigned char *in;
    struct line out;
    unsigned ups, downs, aliens, frames, hellos;
    struct vivi_aw_frame last;
    char last_payload[64];
};

struct pair {
    struct side host, agent;
};

static void side_init(struct side *s, enum vivi_aw_role role, uint64_t nonce, bool fresh)
{
    memset(s, 0, sizeof(*s));
    s->in = malloc(VIVI_AW_BUFFER_MIN * 2);
    s->out.data = malloc(WIRE_MAX);
    assert_non_null(s->in);
    assert_non_null(s->out.data);
    vivi_aw_init(&s->w, role, s->in, VIVI_AW_BUFFER_MIN * 2, nonce);
    vivi_aw_connected(&s->w, nonce, fresh);
}

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));

    side_init(&p->host, VIVI_AW_HOST, 0x1111111111111111u, true);
    side_init(&p->agent, VIVI_AW_AGENT, 0x2222222222222222u, true);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;

    free(p->host.in);
    free(p->host.out.data);
    free(p->agent.in);
    free(p->agent.out.data);
    free(p);
    return 0;
}

static void say_hello(struct side *s)
{
    size_t n;

    s->hellos += s->w.hello_due;
    while ((n = vivi_aw_hello(&s->w, s->out.data + s->out.len, WIRE_MAX - s->out.len)) > 0)
        s->out.len += n;
}

static void take_steps(struct side *s)
{
    enum vivi_aw_step step;
    struct vivi_aw_frame f;

    while ((step = vivi_aw_next(&s->w, &f)) != VIVI_AW_MORE) {
        s->ups += step == VIVI_AW_UP;
        s->downs += step == VIVI_AW_DOWN;
        s->aliens += step == VIVI_AW_ALIEN;
        if (step == VIVI_AW_FRAME) {
            size_t n = f.len < sizeof(s->last_payload) - 1 ? f.len : sizeof(s->last_payload) - 1;

            s->frames++;
            s->last = f;
            memcpy(s->last_payload, f.payload, n);
            s->last_payload[n] = '\0';
        }
        say_hello(s);
    }
    say_hello(s);
}

/* Delivers bytes in pieces. */
static void hear(struct side *s, const void *data, size_t len, size_t piece)
{
    const unsigned char *p = data;

    while (len > 0) {
        size_t room, n = len < piece ? len : piece;
        void *to = vivi_aw_space(&s->w, &room);

        assert_true(room > 0);
        n = n < room ? n : room;
        memcpy(to, p, n);
        vivi_aw_received(&s->w, n);
        take_steps(s);
        p += n;
        len -= n;
    }
}

static void deliver(struct side *from, struct side *to, size_t piece)
{
    size_t n = from->out.len;
    unsigned char *copy = malloc(n == 0 ? 1 : n);

    memcpy(copy, from->out.data, n);
    from->out.len = 0;
    hear(to, copy, n, piece);
    free(copy);
}

/* Until nobody has anything to say; more rounds than the protocol may need are a failure. */
static void settle(struct pair *p)
{
    int rounds = 0;

    say_hello(&p->host);
    say_hello(&p->agent);
    while (p->host.out.len + p->agent.out.len > 0) {
        assert_true(++rounds < 12);
        deliver(&p->host, &p->agent, WIRE_MAX);
        deliver(&p->agent, &p->host, WIRE_MAX);
    }
}

static void send_frame(struct side *s, uint8_t type, uint32_t stream, const char *text)
{
    const struct vivi_aw_frame f = {
        .type = type, .channel = 1, .stream = stream, .payload = text, .len = strlen(text)};
    size_t n = vivi_aw_encode(&s->w, &f, s->out.data + s->out.len, WIRE_MAX - s->out.len);

    assert_int_equal(n, f.len + VIVI_AW_FRAME_EXTRA);
    s->out.len += n;
}

static void two_that_begin_at_once_meet(void **state)
{
    struct pair *p = *state;

    settle(p);
    assert_true(p->host.w.up && p->agent.w.up);
    assert_int_equal(p->host.ups, 1);
    assert_int_equal(p->agent.ups, 1);
    assert_int_equal(p->host.downs + p->agent.downs, 0);
    assert_int_equal(p->host.w.peer.nonce, 0x2222222222222222u);
    assert_int_equal(p->host.w.version, VIVI_AW_VERSION);
    assert_int_equal(p->host.w.peer.streams, VIVI_AW_STREAMS_MAX);
}

static void one_that_comes_late_is_met(void **state)
{
    struct pair *p = *state;

    say_hello(&p->host);
    deliver(&p->host, &p->agent, 1); /* heard before the agent has said anything itself */
    settle(p);
    assert_true(p->host.w.up && p->agent.w.up);
}

static void both_learn_what_the_other_calls_itself(void **state)
{
    static const char about[] = "name=viv-agent\0release=9";
    struct pair *p = *state;

    vivi_aw_about(&p->agent.w, about, sizeof(about));
    settle(p);
    assert_string_equal(vivi_aw_field(p->host.w.peer.about, p->host.w.peer.about_len, "release"),
                        "9");
    assert_null(vivi_aw_field(p->agent.w.peer.about, p->agent.w.peer.about_len, "release"));
}

static void frames_arrive_whole_however_they_are_cut(void **state)
{
    struct pair *p = *state;

    settle(p);
    for (size_t piece = 1; piece < 80; piece++) {
        p->agent.frames = 0;
        send_frame(&p->host, VIVI_AW_OPEN, 7, "exec");
        send_frame(&p->host, VIVI_AW_EOF, 7, "");
        send_frame(&p->host, VIVI_AW_DATA, 0xfffffffe, "some bytes");
        deliver(&p->host, &p->agent, piece);
        assert_int_equal(p->agent.frames, 3);
        assert_int_equal(p->agent.last.type, VIVI_AW_DATA);
        assert_int_equal(p->agent.last.stream, 0xfffffffe);
        assert_int_equal(p->agent.last.channel, 1);
        assert_string_equal(p->agent.last_payload, "some bytes");
    }
    assert_int_equal(p->agent.downs, 0);
}

static void the_longest_frame_goes_through_and_a_longer_one_is_not_made(void **state)
{
    struct pair *p = *state;
    char *big = calloc(1, VIVI_AW_PAYLOAD_MAX + 1);
    struct vivi_aw_frame f = {.type = VIVI_AW_DATA, .payload = big, .len = VIVI_AW_PAYLOAD_MAX};

    settle(p);
    p->host.out.len = vivi_aw_encode(&p->host.w, &f, p->host.out.data, WIRE_MAX);
    assert_int_equal(p->host.out.len, VIVI_AW_PAYLOAD_MAX + VIVI_AW_FRAME_EXTRA);
    deliver(&p->host, &p->agent, 5000);
    assert_int_equal(p->agent.frames, 1);
    assert_int_equal(p->agent.last.len, VIVI_AW_PAYLOAD_MAX);
    f.len++;
    assert_int_equal(vivi_aw_encode(&p->host.w, &f, p->host.out.data, WIRE_MAX), 0);
    f.len = 10;
    assert_int_equal(vivi_aw_encode(&p->host.w, &f, p->host.out.data, 25), 0);
    free(big);
}

static void an_agent_that_was_replaced_is_met_again_and_its_streams_are_gone(void **state)
{
    struct pair *p = *state;

    settle(p);
    send_frame(&p->host, VIVI_AW_OPEN, 1, "exec");
    send_frame(&p->host, VIVI_AW_OPEN, 2, "exec");
    vivi_aw_connected(&p->agent.w, 0x3333, false); /* what the host sent stays in the port */
    settle(p);
    assert_int_equal(p->host.downs, 1);
    assert_int_equal(p->host.ups, 2);
    assert_true(p->host.w.up && p->agent.w.up);
    assert_int_equal(p->agent.frames, 0); /* of the session before: not for this agent */
    send_frame(&p->host, VIVI_AW_OPEN, 1, "info");
    settle(p);
    assert_int_equal(p->agent.frames, 1);
    assert_string_equal(p->agent.last_payload, "info");
}

/* The host's monitor is killed with a frame half written; its successor knows nothing of it. */
static void a_frame_left_half_done_is_never_taken_for_whole(void **state)
{
    struct pair *p = *state;
    char *big = malloc(60001);

    memset(big, 'd', 60000);
    big[60000] = '\0';
    settle(p);
    for (size_t cut = 1; cut < 60000 + VIVI_AW_FRAME_EXTRA; cut = cut < 40 ? cut + 1 : cut * 3) {
        unsigned ups = p->agent.ups;

        p->agent.frames = 0;
        send_frame(&p->host, VIVI_AW_DATA, 5, big);
        p->host.out.len = cut;
        vivi_aw_connected(&p->host.w, 0x4000 + cut, false);
        settle(p);
        assert_int_equal(p->agent.frames, 0);
        assert_true(p->host.w.up && p->agent.w.up);
        assert_true(p->agent.ups > ups);
    }
    free(big);
}

static void noise_ends_the_session_and_a_new_one_begins(void **state)
{
    static const unsigned char noises[][14] = {
        "login: \n",
        {VIVI_AW_PONG + 1},
        {VIVI_AW_DATA, 1},                                    /* a flag */
        {VIVI_AW_DATA, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0},      /* 65,537 bytes */
        {VIVI_AW_EOF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9}, /* a wrong seal */
        {VIVI_AW_HELLO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9},
        {VIVI_AW_PING, 0, 0, 0, 0, 0, 0, 0, 65, 0, 0, 0},
        "\xf6vivarium, but"};
    struct pair *p = *state;

    settle(p);
    for (size_t i = 0; i < ARRAY_SIZE(noises); i++) {
        unsigned char bytes[VIVI_AW_FRAME_EXTRA] = {0};
        unsigned downs = p->agent.downs, host_downs = p->host.downs;

        memcpy(bytes, noises[i], sizeof(noises[i]));
        hear(&p->agent, bytes, sizeof(bytes), sizeof(bytes));
        assert_int_equal(p->agent.downs, downs + 1);
        assert_false(p->agent.w.up);
        settle(p);
        assert_true(p->host.w.up && p->agent.w.up);
        assert_int_equal(p->host.downs, host_downs + 1);
        send_frame(&p->host, VIVI_AW_OPEN, 1, "info");
        settle(p);
        assert_string_equal(p->agent.last_payload, "info");
    }
}

static void an_echo_of_oneself_is_no_peer(void **state)
{
    struct pair *p = *state;

    say_hello(&p->host);
    for (int i = 0; i < 5; i++)
        deliver(&p->host, &p->host, WIRE_MAX);
    assert_false(p->host.w.up);
    assert_int_equal(p->host.ups, 0);
}

static void a_confirmed_session_is_not_ended_by_an_old_hello(void **state)
{
    struct pair *p = *state;
    unsigned char old[VIVI_AW_HELLO_MAX];
    size_t n;

    say_hello(&p->host);
    n = p->host.out.len;
    memcpy(old, p->host.out.data, n); /* HELLO(n, 0) */
    settle(p);
    hear(&p->agent, old, n, 1);
    assert_true(p->agent.w.up);
    assert_int_equal(p->agent.downs, 0);
    assert_int_equal(p->agent.out.len, 0);
}

/* Writes another version into a HELLO that waits to be delivered. */
static void other_version(struct side *s, uint8_t version, uint8_t lowest)
{
    unsigned char *payload = s->out.data + VIVI_AW_SYNC_BYTES + VIVI_AW_HEAD;

    payload[0] = version;
    payload[2] = lowest;
}

static void a_later_version_that_still_speaks_ours_is_met(void **state)
{
    struct pair *p = *state;

    say_hello(&p->agent);
    other_version(&p->agent, VIVI_AW_VERSION + 1, VIVI_AW_VERSION);
    deliver(&p->agent, &p->host, 1);
    deliver(&p->host, &p->agent, 1);
    other_version(&p->agent, VIVI_AW_VERSION + 1, VIVI_AW_VERSION);
    deliver(&p->agent, &p->host, 1);
    assert_true(p->host.w.up);
    assert_int_equal(p->host.w.version, VIVI_AW_VERSION);
    assert_int_equal(p->host.w.peer.version, VIVI_AW_VERSION + 1);
}

static void a_version_without_common_ground_is_told_and_gets_no_session(void **state)
{
    struct pair *p = *state;

    say_hello(&p->agent);
    other_version(&p->agent, VIVI_AW_VERSION + 2, VIVI_AW_VERSION + 1);
    deliver(&p->agent, &p->host, 1);
    assert_int_equal(p->host.aliens, 1);
    assert_false(p->host.w.up);
    assert_int_equal(p->host.w.peer.version_min, VIVI_AW_VERSION + 1);
    assert_true(p->host.out.len > 0); /* so that the other side can tell, too */
}

static void a_peer_that_says_hello_without_end_is_answered_with_one_at_a_time(void **state)
{
    struct pair *p = *state;

    for (unsigned i = 1; i <= 1000; i++) {
        struct vivi_aw_frame f;
        size_t n, room;

        vivi_aw_connected(&p->host.w, i, true);
        p->host.out.len = 0;
        say_hello(&p->host);
        n = p->host.out.len;
        memcpy(vivi_aw_space(&p->agent.w, &room), p->host.out.data, n);
        vivi_aw_received(&p->agent.w, n);
        while (vivi_aw_next(&p->agent.w, &f) != VIVI_AW_MORE)
            continue;
    }
    say_hello(&p->agent);
    assert_int_equal(p->agent.hellos, 1);
    assert_true(p->agent.out.len <= VIVI_AW_HELLO_MAX);
}

static void credit_bounds_what_is_on_its_way(void **state)
{
    struct vivi_aw_credit from = VIVI_AW_CREDIT_FULL, to = VIVI_AW_CREDIT_FULL;
    unsigned char value[4];
    struct vivi_aw_frame f;
    uint64_t total = 0;

    (void)state;
    while (total < 10 * VIVI_AW_WINDOW) {
        size_t n = from.send < 5000 ? from.send : 5000;
        uint32_t give;

        assert_true(n > 0); /* it never runs dry */
        vivi_aw_credit_sent(&from, n);
        assert_int_equal(vivi_aw_credit_received(&to, n), 0);
        give = vivi_aw_credit_consumed(&to, n);
        total += n;
        if (give == 0)
            continue;
        f = vivi_aw_credit_frame(9, give, value);
        assert_int_equal(f.stream, 9);
        assert_int_equal(vivi_aw_credit_granted(&from, &f), 0);
        assert_int_equal(from.send, to.receive);
    }
}

static void more_than_was_granted_is_refused(void **state)
{
    struct vivi_aw_credit c = VIVI_AW_CREDIT_FULL;
    unsigned char value[4];
    struct vivi_aw_frame f = vivi_aw_credit_frame(1, 1, value);

    (void)state;
    assert_int_equal(vivi_aw_credit_granted(&c, &f), -VIV_E_PROTOCOL);
    vivi_aw_credit_sent(&c, 1);
    assert_int_equal(vivi_aw_credit_granted(&c, &f), 0);
    f = vivi_aw_credit_frame(1, UINT32_MAX, value);
    assert_int_equal(vivi_aw_credit_granted(&c, &f), -VIV_E_PROTOCOL);
    f.len = 3;
    assert_int_equal(vivi_aw_credit_granted(&c, &f), -VIV_E_PROTOCOL);
    assert_int_equal(vivi_aw_credit_received(&c, VIVI_AW_WINDOW), 0);
    assert_int_equal(vivi_aw_credit_received(&c, 1), -VIV_E_PROTOCOL);
}

static void fields_are_found_by_their_keys(void **state)
{
    static const char p[] = "exec\0arg=ls\0argument=x\0arg=\0env=A=B";
    size_t at = 0;

    (void)state;
    assert_true(vivi_aw_fields_ok(p, sizeof(p)));
    assert_string_equal(vivi_aw_kind(p, sizeof(p)), "exec");
    assert_string_equal(vivi_aw_field(p, sizeof(p), "env"), "A=B");
    assert_null(vivi_aw_field(p, sizeof(p), "exec"));
    assert_string_equal(vivi_aw_field_next(p, sizeof(p), "arg", &at), "ls");
    assert_string_equal(vivi_aw_field_next(p, sizeof(p), "arg", &at), "");
    assert_null(vivi_aw_field_next(p, sizeof(p), "arg", &at));
    assert_true(vivi_aw_fields_ok("", 0));
    assert_false(vivi_aw_fields_ok("a", 1));
    assert_false(vivi_aw_fields_ok("\0a", 3));
    assert_false(vivi_aw_fields_ok("a\0\0b", 5));
    assert_string_equal(vivi_aw_kind("", 0), "");
}

static void numbers_are_checked(void **state)
{
    static const char p[] = "exec\0a=17\0b=\0c=1x\0d=-1\0e=18446744073709551616\0f=0";
    const struct vivi_aw_frame f = {.payload = p, .len = sizeof(p)};
    viv_error err = VIV_ERROR_INIT;
    uint64_t v = 5;

    (void)state;
    assert_int_equal(vivi_aw_field_u64(&f, "absent", 10, &v, &err), 0);
    assert_int_equal(v, 5);
    assert_int_equal(vivi_aw_field_u64(&f, "a", 17, &v, &err), 0);
    assert_int_equal(v, 17);
    assert_int_equal(vivi_aw_field_u64(&f, "f", 0, &v, &err), 0);
    assert_int_equal(v, 0);
    assert_int_equal(vivi_aw_field_u64(&f, "a", 16, &v, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "a: more than 16");
    assert_int_equal(vivi_aw_field_u64(&f, "b", 16, &v, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "b: not a number");
    assert_int_equal(vivi_aw_field_u64(&f, "c", 16, &v, &err), -VIV_E_INVALID);
    assert_int_equal(vivi_aw_field_u64(&f, "d", 16, &v, &err), -VIV_E_INVALID);
    assert_int_equal(vivi_aw_field_u64(&f, "e", UINT64_MAX, &v, &err), -VIV_E_INVALID);
    assert_int_equal(v, 0);
}

static void what_does_not_fit_is_left_out_and_told(void **state)
{
    char buf[16];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    (void)state;
    vivi_aw_put(&w, NULL, "exec");
    vivi_aw_put_u64(&w, "n", 1234567);
    assert_false(w.full);
    vivi_aw_put(&w, "a", "");
    assert_true(w.full);
    assert_int_equal(w.len, 15);
    assert_string_equal(vivi_aw_field(buf, w.len, "n"), "1234567");
}

static void an_error_travels(void **state)
{
    char buf[700];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);
    viv_error err = VIV_ERROR_INIT, there = VIV_ERROR_INIT;

    (void)state;
    (void)vivi_fail_errno(&err, 2, "cannot open /x");
    vivi_aw_put_error(&w, &err);
    assert_int_equal(vivi_aw_get_error(buf, w.len, &there), -VIV_E_NOT_FOUND);
    assert_string_equal(there.message, err.message);
    assert_string_equal(vivi_aw_field(buf, w.len, "errno"), "ENOENT");
    assert_int_equal(vivi_aw_get_error("exit=0", 7, &there), 0);
    assert_int_equal(vivi_aw_get_error("error=NEW", 10, &there), -VIV_E_INTERNAL);
    assert_string_equal(there.message, "the guest gave no reason");
}

int main(void)
{
#define in_pair(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        in_pair(two_that_begin_at_once_meet),
        in_pair(one_that_comes_late_is_met),
        in_pair(both_learn_what_the_other_calls_itself),
        in_pair(frames_arrive_whole_however_they_are_cut),
        in_pair(the_longest_frame_goes_through_and_a_longer_one_is_not_made),
        in_pair(an_agent_that_was_replaced_is_met_again_and_its_streams_are_gone),
        in_pair(a_frame_left_half_done_is_never_taken_for_whole),
        in_pair(noise_ends_the_session_and_a_new_one_begins),
        in_pair(an_echo_of_oneself_is_no_peer),
        in_pair(a_confirmed_session_is_not_ended_by_an_old_hello),
        in_pair(a_later_version_that_still_speaks_ours_is_met),
        in_pair(a_version_without_common_ground_is_told_and_gets_no_session),
        in_pair(a_peer_that_says_hello_without_end_is_answered_with_one_at_a_time),
        cmocka_unit_test(credit_bounds_what_is_on_its_way),
        cmocka_unit_test(more_than_was_granted_is_refused),
        cmocka_unit_test(fields_are_found_by_their_keys),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(what_does_not_fit_is_left_out_and_told),
        cmocka_unit_test(an_error_travels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
