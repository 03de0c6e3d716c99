/*
 * Requests to the guest's agent, with the agent played here at the other end of the channel: what
 * waits is bounded by the window in both directions, and every way in which it can go wrong ends
 * the operation with its name.
 */
#include "manager/testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/agent_wire.h"
#include "base/fd.h"
#include "base/random.h"

#define STREAM 1u

static const char *const command[] = {"x", NULL};

/* The agent's end. */
struct agent {
    int fd;
    struct vivi_aw wire;
    unsigned char in[2 * VIVI_AW_BUFFER_MIN];
    unsigned counts[16];
    uint64_t data, credit; /* bytes that came; bytes that were given back */
    bool gone;             /* the other end was closed */
};

struct bench {
    struct fixture *f;
    viv_vm *m;
    viv_op *op;
    struct agent a;
    int out[2], in[2]; /* pipes: the command's output and input */
};

static void greet(struct agent *a)
{
    char text[VIVI_AW_HELLO_MAX];
    size_t n;

    while (a->wire.hello_due && (n = vivi_aw_hello(&a->wire, text, sizeof(text))) > 0)
        (void)send(a->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void note(struct agent *a, const struct vivi_aw_frame *f)
{
    struct vivi_aw_credit c = {.send = 0};

    a->counts[f->type]++;
    if (f->type == VIVI_AW_DATA)
        a->data += f->len;
    if (f->type == VIVI_AW_CREDIT) {
        assert_int_equal(vivi_aw_credit_granted(&c, f), 0);
        a->credit += c.send;
    }
}

static void take(struct agent *a)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;
    size_t room;
    void *space = vivi_aw_space(&a->wire, &room);
    ssize_t n = a->fd < 0 ? -1 : recv(a->fd, space, room, MSG_DONTWAIT);

    a->gone = a->gone || n == 0;
    if (n <= 0)
        return;
    vivi_aw_received(&a->wire, (size_t)n);
    while ((step = vivi_aw_next(&a->wire, &f)) != VIVI_AW_MORE) {
        if (step == VIVI_AW_FRAME)
            note(a, &f);
        greet(a);
    }
    greet(a);
}

static void say(struct agent *a, enum vivi_aw_type type, const void *payload, size_t len)
{
    static char frame[VIVI_AW_PAYLOAD_MAX + VIVI_AW_FRAME_EXTRA];
    const struct vivi_aw_frame f = {.type = (uint8_t)type,
                                    .channel = type == VIVI_AW_DATA ? VIVI_AW_STDOUT : 0,
                                    .stream = STREAM,
                                    .payload = payload,
                                    .len = len};
    size_t n = vivi_aw_encode(&a->wire, &f, frame, sizeof(frame));

    assert_int_equal(send(a->fd, frame, n, MSG_NOSIGNAL), n);
}

/* Both sides move until nothing comes any more for a moment. */
static void settle(struct bench *b)
{
    for (;;) {
        struct pollfd p[2] = {{viv_fd(b->f->v), POLLIN, 0}, {b->a.fd, POLLIN, 0}};

        assert_int_equal(viv_dispatch(b->f->v, NULL), 0);
        take(&b->a);
        if (poll(p, b->a.gone ? 1 : 2, 20) <= 0)
            return;
    }
}

static void settle_until(struct bench *b, const unsigned *count, unsigned n)
{
    int64_t until = now_ms() + DEADLINE_MS;

    while (*count < n) {
        assert_true(now_ms() < until);
        settle(b);
    }
}

/* An exec whose channel is this one; text: options besides the descriptors. */
static struct bench *begin(void **state, const char *more)
{
    static struct bench b;
    char text[160];
    int pair[2];
    viv_opts *o;

    b = (struct bench){.f = *state, .out = {-1, -1}, .in = {-1, -1}};
    b.m = some_vm(b.f, "web");
    assert_int_equal(vivi_socketpair(pair, NULL), 0);
    double_start(b.f, "web", &(struct double_how){.result = "{}", .fd = pair[1]});
    vivi_close(&pair[1]);
    assert_int_equal(vivi_pipe(b.out, NULL), 0); /* of which the double has no copy */
    assert_int_equal(vivi_pipe(b.in, NULL), 0);
    b.a.fd = pair[0];
    vivi_aw_init(&b.a.wire, VIVI_AW_AGENT, b.a.in, sizeof(b.a.in), 4711);
    greet(&b.a);
    (void)snprintf(text, sizeof(text), "stdout_fd=%d stdin_fd=%d %s", b.out[1], b.in[0], more);
    o = some_opts(text);
    assert_int_equal(viv_vm_exec(b.m, command, o, &b.op, NULL, NULL), 0);
    viv_opts_free(o);
    settle_until(&b, &b.a.counts[VIVI_AW_OPEN], 1);
    return &b;
}

static void end(struct bench *b)
{
    viv_op_free(b->op);
    viv_vm_free(b->m);
    vivi_close(&b->a.fd);
    for (int i = 0; i < 2; i++) {
        vivi_close(&b->out[i]);
        vivi_close(&b->in[i]);
    }
}

static void expect_error(struct bench *b, int code, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    settle(b);
    assert_int_equal(viv_op_wait(b->op, DEADLINE_MS, NULL, &err), -code);
    assert_string_equal(err.message, text);
    settle(b);
    assert_true(b->a.gone); /* the agent ends what still runs */
    end(b);
}

static void result(struct bench *b, const char *fields, size_t len)
{
    say(&b->a, VIVI_AW_RESULT, fields, len);
}

/* ---- what waits ---- */

static void output_is_given_back_only_when_it_was_taken(void **state)
{
    static char data[32768], got[65536];
    struct bench *b = begin(state, "");
    size_t n = 0;
    viv_error err = VIV_ERROR_INIT;

    assert_true(fcntl(b->out[1], F_SETPIPE_SZ, 4096) >= 4096);
    memset(data, 'x', sizeof(data));
    say(&b->a, VIVI_AW_DATA, data, sizeof(data));
    say(&b->a, VIVI_AW_DATA, data, sizeof(data));
    result(b, "exit=0", 7);
    settle(b);
    assert_int_equal(b->a.credit, 0); /* a pipe of a page took a page */
    assert_int_equal(viv_op_wait(b->op, 50, NULL, &err), -VIV_E_TIMEOUT);
    while (n < sizeof(got)) {
        ssize_t k = read(b->out[0], got + n, sizeof(got) - n);

        assert_true(k > 0);
        n += (size_t)k;
        settle(b);
    }
    assert_int_equal(viv_op_wait(b->op, DEADLINE_MS, NULL, &err), 0);
    end(b);
}

static void credit_comes_by_halves_of_a_window(void **state)
{
    static char data[16384], got[16384];
    struct bench *b = begin(state, "");

    for (uint64_t i = 1; i <= 12; i++) {
        say(&b->a, VIVI_AW_DATA, data, sizeof(data));
        settle(b);
        assert_int_equal(vivi_read_full(b->out[0], got, sizeof(got), DEADLINE_MS, NULL), 0);
        settle(b);
        assert_int_equal(b->a.credit, i / 2 * 32768);
    }
    result(b, "exit=0", 7);
    settle(b);
    assert_int_equal(viv_op_wait(b->op, DEADLINE_MS, NULL, NULL), 0);
    end(b);
}

static void an_agent_that_sends_beyond_its_credit_ends_it(void **state)
{
    static char data[32768];
    struct bench *b = begin(state, "");

    assert_true(fcntl(b->out[1], F_SETPIPE_SZ, 4096) >= 4096);
    say(&b->a, VIVI_AW_DATA, data, sizeof(data));
    say(&b->a, VIVI_AW_DATA, data, sizeof(data));
    say(&b->a, VIVI_AW_DATA, data, 1);
    expect_error(b, VIV_E_PROTOCOL, "the agent sent more than it may");
}

static void of_input_no_more_than_a_window_goes_out_unasked(void **state)
{
    static char data[65536];
    struct bench *b = begin(state, "");

    for (int i = 0; i < 2; i++) {
        assert_int_equal(vivi_write_full(b->in[1], data, 40000, DEADLINE_MS, NULL), 0);
        settle(b);
    }
    assert_int_equal(b->a.data, VIVI_AW_WINDOW);
    say(&b->a, VIVI_AW_CREDIT, "\0\x80\0\0", 4); /* 32768 */
    settle(b);
    assert_int_equal(b->a.data, 80000);
    vivi_close(&b->in[1]);
    settle(b);
    assert_int_equal(b->a.counts[VIVI_AW_EOF], 1);
    result(b, "exit=0", 7);
    settle(b);
    assert_int_equal(viv_op_wait(b->op, DEADLINE_MS, NULL, NULL), 0);
    end(b);
}

static void credit_for_nothing_ends_it(void **state)
{
    struct bench *b = begin(state, "");

    say(&b->a, VIVI_AW_CREDIT, "\1\0\0\0", 4);
    expect_error(b, VIV_E_PROTOCOL, "the agent's credit is damaged");
}

/* ---- how it ends ---- */

static void the_results_of_a_command_are_told(void **state)
{
    struct bench *b = begin(state, "");
    viv_rec *rec = NULL;
    int64_t code = -1;

    result(b, "exit=42", 8);
    settle(b);
    assert_int_equal(viv_op_wait(b->op, DEADLINE_MS, &rec, NULL), 0);
    assert_int_equal(viv_rec_i64(rec, "exit", &code), 0);
    assert_int_equal(code, 42);
    viv_rec_free(rec);
    end(b);
}

static void what_the_agent_refuses_is_told_in_its_words(void **state)
{
    static const char refusal[] = "error=NOT_FOUND\0text=there is no user 'x' in the guest";
    struct bench *b = begin(state, "");

    result(b, refusal, sizeof(refusal));
    expect_error(b, VIV_E_NOT_FOUND, "there is no user 'x' in the guest");
}

static void an_answer_that_is_none_is_told(void **state)
{
    struct bench *b = begin(state, "");

    result(b, "no field", 8);
    expect_error(b, VIV_E_PROTOCOL, "the agent's answer is no list of fields");
}

static void a_reset_without_words_is_told(void **state)
{
    struct bench *b = begin(state, "");

    say(&b->a, VIVI_AW_RESET, NULL, 0);
    expect_error(b, VIV_E_IO, "the agent gave up");
}

static void a_monitor_that_ends_is_told(void **state)
{
    struct bench *b = begin(state, "");

    assert_int_equal(shutdown(b->a.fd, SHUT_RDWR), 0);
    expect_error(b, VIV_E_IO, "its monitor ended in the middle of it");
}

static void a_channel_that_begins_anew_is_told(void **state)
{
    struct bench *b = begin(state, "");

    vivi_aw_connected(&b->a.wire, 4712, true);
    greet(&b->a);
    expect_error(b, VIV_E_PROTOCOL, "the connection to the agent is out of step");
}

static void noise_is_told(void **state)
{
    struct bench *b = begin(state, "");

    assert_int_equal(send(b->a.fd, "login: ", 7, MSG_NOSIGNAL), 7);
    expect_error(b, VIV_E_PROTOCOL, "the connection to the agent is out of step");
}

static void a_reader_that_is_gone_ends_it_and_raises_no_signal(void **state)
{
    struct bench *b = begin(state, "");

    vivi_close(&b->out[0]); /* SIGPIPE would end this test */
    say(&b->a, VIVI_AW_DATA, "x", 1);
    expect_error(b, VIV_E_IO, "cannot write the output: broken pipe");
}

static void an_operation_that_is_given_up_ends_what_runs(void **state)
{
    struct bench *b = begin(state, "");

    viv_op_free(b->op);
    b->op = NULL;
    settle(b);
    assert_true(b->a.gone);
    end(b);
}

static void an_answer_without_a_channel_is_told(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_error err = VIV_ERROR_INIT;

    double_start(f, "web", &(struct double_how){.result = "{}"});
    assert_int_equal(viv_vm_exec(m, command, NULL, NULL, NULL, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "the monitor's answer has no channel");
    viv_vm_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(output_is_given_back_only_when_it_was_taken),
        TEST(credit_comes_by_halves_of_a_window),
        TEST(an_agent_that_sends_beyond_its_credit_ends_it),
        TEST(of_input_no_more_than_a_window_goes_out_unasked),
        TEST(credit_for_nothing_ends_it),
        TEST(the_results_of_a_command_are_told),
        TEST(what_the_agent_refuses_is_told_in_its_words),
        TEST(an_answer_that_is_none_is_told),
        TEST(a_reset_without_words_is_told),
        TEST(a_monitor_that_ends_is_told),
        TEST(a_channel_that_begins_anew_is_told),
        TEST(noise_is_told),
        TEST(a_reader_that_is_gone_ends_it_and_raises_no_signal),
        TEST(an_operation_that_is_given_up_ends_what_runs),
        TEST(an_answer_without_a_channel_is_told),
    };

    return cmocka_run_group_tests_name("manager job", tests, NULL, NULL);
}
