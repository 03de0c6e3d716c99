/*
 * The qemu driver's effects against a double of QEMU that says what the test wants: the order of
 * steps, what is held back from being consumed, and answers that no real QEMU gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../tests/contract/poll_loop.h"
#include "base/fd.h"
#include "base/file.h"
#include "driver/qemu/qemu.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define LOG_SIZE 4711

struct twin {
    char dir[64];
    struct poll_loop loop;
    struct vivi_driver_host host;
    struct vivi_config config;
    void *m;
    int listen_fd, peer_fd, events_fd;
    struct vivi_buf in;
    uint64_t id; /* of the last command seen */
    /* told by the driver */
    int port;
    unsigned n_api, n_created, n_ports, n_done, n_reset, n_ending, n_state;
    uint64_t done_op, reset_offset;
    viv_error done_err;
    enum viv_state state;
    enum vivi_reason reason;
    char text[200];
    /* asked by the driver */
    char drained[32];
    uint64_t token;
};

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    struct twin *t = ctx;

    switch (e->kind) {
    case VIVI_EV_API: t->n_api++; return;
    case VIVI_EV_LISTENING:
    case VIVI_EV_HANDED_OVER:
    case VIVI_EV_AGENT: return;
    case VIVI_EV_CREATED: t->n_created++; return;
    case VIVI_EV_PROGRESS:
    case VIVI_EV_DEVICE: return;
    case VIVI_EV_PORTS:
        t->n_ports++;
        t->port =
            (int)json_integer_value(json_object_get(json_array_get(e->value, 0), "host_port"));
        return;
    case VIVI_EV_DONE:
        t->n_done++;
        t->done_op = e->op;
        t->done_err = e->err ? *e->err : (viv_error)VIV_ERROR_INIT;
        return;
    case VIVI_EV_STATE:
        t->n_state++;
        t->state = e->state;
        return;
    case VIVI_EV_RESET:
        t->n_reset++;
        t->reset_offset = e->offset;
        return;
    case VIVI_EV_ENDING:
        t->n_ending++;
        t->reason = e->reason;
        (void)snprintf(t->text, sizeof(t->text), "%s", e->text ? e->text : "");
        return;
    }
}

static int on_drain(void *ctx, const char *name, uint64_t token, viv_error *err)
{
    struct twin *t = ctx;

    (void)err;
    (void)snprintf(t->drained, sizeof(t->drained), "%s", name);
    t->token = token;
    return 0;
}

static int setup(void **state)
{
    struct twin *t = calloc(1, sizeof(*t));
    char path[100];

    if (!t)
        return -1;
    poll_loop_init(&t->loop);
    vivi_buf_init(&t->in, 1 << 16);
    t->peer_fd = -1;
    t->host = (struct vivi_driver_host){t, &t->loop.iface, on_event, on_drain};
    t->m = calloc(1, vivi_effects_qemu.machine_size);
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/viv-twin-XXXXXX");
    if (!t->m || !mkdtemp(t->dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/events.in", t->dir);
    if (mkfifo(path, 0600) < 0 || (t->events_fd = open(path, O_RDWR | O_NONBLOCK)) < 0)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/qmp", t->dir);
    *state = t;
    return vivi_unix_listen(path, 1, &t->listen_fd, NULL);
}

static int teardown(void **state)
{
    struct twin *t = *state;
    unsigned left;

    vivi_effects_qemu.done(t->m);
    vivi_effects_qemu.done(t->m);
    left = poll_loop_leftovers(&t->loop);
    vivi_buf_done(&t->in);
    vivi_close(&t->listen_fd);
    vivi_close(&t->peer_fd);
    vivi_close(&t->events_fd);
    (void)vivi_remove_tree_at(AT_FDCWD, t->dir, NULL);
    free(t->m);
    free(t);
    return left == 0 ? 0 : -1;
}

static void run(struct twin *t)
{
    while (poll_loop_step(&t->loop, 0))
        ;
}

static void say(struct twin *t, const char *text)
{
    assert_int_equal(vivi_write_full(t->peer_fd, text, strlen(text), 1000, NULL), 0);
    run(t);
}

/* The next command must be this one; its arguments as text, or NULL. */
static void expect_command(struct twin *t, const char *name, const char *reboot)
{
    json_t *doc;
    char *lf;

    while (!(lf = t->in.len ? memchr(t->in.data, '\n', t->in.len) : NULL)) {
        ssize_t n;

        assert_int_equal(vivi_buf_reserve(&t->in, 1024), 0);
        n = recv(t->peer_fd, t->in.data + t->in.len, 1024, MSG_DONTWAIT);
        if (n <= 0)
            fail_msg("no command, but %s was expected", name);
        t->in.len += (size_t)n;
    }
    doc = json_loadb(t->in.data, (size_t)(lf - t->in.data), 0, NULL);
    assert_non_null(doc);
    assert_string_equal(json_string_value(json_object_get(doc, "execute")), name);
    if (reboot)
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(doc, "arguments"), "reboot")),
            reboot);
    t->id = (uint64_t)json_integer_value(json_object_get(doc, "id"));
    json_decref(doc);
    vivi_buf_consume(&t->in, (size_t)(lf - t->in.data) + 1);
}

static void expect_silence(struct twin *t)
{
    char byte;

    run(t);
    assert_int_equal(t->in.len, 0);
    assert_int_equal(recv(t->peer_fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void answer(struct twin *t, const char *value)
{
    char text[400];

    (void)snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %llu}\r\n", value,
                   (unsigned long long)t->id);
    say(t, text);
}

static void answer_error(struct twin *t, const char *desc)
{
    char text[400];

    (void)snprintf(text, sizeof(text),
                   "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}, \"id\": %llu}\r\n",
                   desc, (unsigned long long)t->id);
    say(t, text);
}

static void obey(struct twin *t, const char *name, const char *reboot)
{
    expect_command(t, name, reboot);
    answer(t, "{}");
}

static size_t input(struct twin *t, const char *text)
{
    size_t used = vivi_effects_qemu.input(t->m, "events.out", text, strlen(text));

    run(t);
    return used;
}

static void drained(struct twin *t, uint64_t size)
{
    uint64_t token = t->token;

    assert_true(token != 0);
    t->token = 0;
    t->drained[0] = '\0';
    vivi_effects_qemu.drained(t->m, token, size);
    run(t);
}

static void begin(struct twin *t, bool adopt)
{
    const struct vivi_machine_start s = {
        .host = &t->host, .config = &t->config, .run_dir = t->dir, .run = 3};
    viv_error err = VIV_ERROR_INIT;
    int r = adopt ? vivi_effects_qemu.adopt(t->m, &s, 1, &err)
                  : vivi_effects_qemu.start(t->m, &s, 1, &err);

    assert_int_equal(r, 0);
    assert_int_equal(vivi_accept(t->listen_fd, &t->peer_fd, NULL), 1);
}

static void start(struct twin *t)
{
    begin(t, false);
    say(t, GREETING);
    obey(t, "qmp_capabilities", NULL);
    obey(t, "cont", NULL);
    assert_int_equal(t->n_done, 1);
    t->n_done = t->n_state = 0;
}

static void adopt(struct twin *t, const char *status, const char *events)
{
    char value[80];

    begin(t, true);
    (void)input(t, events);
    say(t, GREETING);
    obey(t, "qmp_capabilities", NULL);
    obey(t, "set-action", "shutdown");
    expect_command(t, "query-status", NULL);
    (void)snprintf(value, sizeof(value), "{\"status\": \"%s\", \"running\": false}", status);
    answer(t, value);
    assert_int_equal(t->n_done, 0);
    assert_string_equal(t->drained, "events.out");
    drained(t, 100);
}

#define SHUTDOWN(reason) \
    "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"" reason "\"}}\r\n"
#define RESET_EVENT  "{\"event\": \"RESET\", \"data\": {\"guest\": false}}\r\n"
#define STOP_EVENT   "{\"event\": \"STOP\"}\r\n"
#define RESUME_EVENT "{\"event\": \"RESUME\"}\r\n"

/* ---- start ---- */

static void a_port_that_the_system_chose_is_told_before_the_start_is_done(void **state)
{
    static char id[] = "n0";
    struct vivi_forward f = {.host_ip = "127.0.0.1", .guest_port = 80};
    struct vivi_net net = {.id = id, .slot = 1, .forwards = &f, .n_forwards = 1};
    struct twin *t = *state;

    t->config.nets = &net;
    t->config.n_nets = 1;
    begin(t, false);
    say(t, GREETING);
    obey(t, "qmp_capabilities", NULL);
    expect_command(t, "human-monitor-command", NULL);
    answer(t,
           "\"Hub -1 (net0):\\r\\n  TCP[HOST_FORWARD] 11 127.0.0.1 41079 10.0.2.15 80 0 0\\r\\n\"");
    assert_int_equal(t->n_ports, 1);
    assert_int_equal(t->port, 41079);
    assert_int_equal(t->n_done, 0);
    obey(t, "cont", NULL);
    assert_int_equal(t->n_done, 1);
    t->config.n_nets = 0;
}

static void a_start_opens_the_event_stream_before_the_guest_runs(void **state)
{
    struct twin *t = *state;
    char text[100] = "";

    begin(t, false);
    assert_int_equal(read(t->events_fd, text, sizeof(text)), -1);
    say(t, GREETING);
    assert_int_equal(t->n_api, 1);
    assert_true(read(t->events_fd, text, sizeof(text) - 1) > 0);
    assert_string_equal(text, "{\"execute\":\"qmp_capabilities\"}\n");
    assert_int_equal(t->n_created, 0);
    obey(t, "qmp_capabilities", NULL);
    assert_int_equal(t->n_created, 1);
    assert_int_equal(t->n_done, 0);
    obey(t, "cont", NULL);
    assert_true(t->n_done == 1 && t->done_op == 1 && t->done_err.code == 0);
    assert_true(t->n_state == 1 && t->state == VIV_ST_RUNNING);
    assert_int_equal(read(t->events_fd, text, sizeof(text)), -1); /* once */
}

static void broken_answers_each_give_one_clear_error(void **state)
{
    static const struct {
        const char *text, *message;
        int code;
    } rows[] = {
        {GREETING "{\"return\": \r\n", "qemu: not JSON: ", VIV_E_PROTOCOL},
        {GREETING "[1, 2]\n", "qemu: a message that is no object", VIV_E_PROTOCOL},
        {GREETING "{\"what\": 1}\n", "qemu: a message of no known kind", VIV_E_PROTOCOL},
        {GREETING "{\"error\": {\"desc\": \"bad\"}}\n" GREETING "{\"return\"", NULL, VIV_E_IO},
        {"", NULL, VIV_E_IO},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", NULL, VIV_E_IO},
    };
    struct twin *t = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        t->n_done = 0;
        begin(t, false);
        say(t, rows[i].text);
        vivi_close(&t->peer_fd);
        run(t);
        assert_int_equal(t->n_done, 1);
        assert_int_equal(t->done_op, 1);
        assert_int_equal(t->done_err.code, rows[i].code);
        if (rows[i].message)
            assert_memory_equal(t->done_err.message, rows[i].message, strlen(rows[i].message));
        else
            assert_string_equal(t->done_err.message, "the VMM has closed its control socket");
        assert_int_equal(t->n_ending, 0);
        vivi_effects_qemu.done(t->m);
        vivi_buf_reset(&t->in);
    }
}

static void five_megabytes_without_a_newline_end_the_start(void **state)
{
    static char chunk[65536];
    struct twin *t = *state;

    memset(chunk, ' ', sizeof(chunk));
    begin(t, false);
    for (int i = 0; i < 80 && t->n_done == 0; i++) {
        ssize_t n = send(t->peer_fd, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL);

        (void)n;
        run(t);
    }
    assert_int_equal(t->n_done, 1);
    assert_int_equal(t->done_err.code, VIV_E_PROTOCOL);
}

static void what_was_meant_for_the_connection_before_is_skipped(void **state)
{
    struct twin *t = *state;

    begin(t, false);
    say(t, "us\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n" STOP_EVENT GREETING);
    assert_int_equal(t->n_done, 0);
    expect_command(t, "qmp_capabilities", NULL);
    say(t, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}, \"id\": 2}\r\n");
    assert_int_equal(t->n_created, 0); /* not our answer */
    answer(t, "{}");
    assert_int_equal(t->n_created, 1);
}

static void too_much_before_the_greeting_is_no_qemu(void **state)
{
    struct twin *t = *state;

    begin(t, false);
    for (int i = 0; i < 300 && t->n_done == 0; i++)
        say(t, STOP_EVENT);
    assert_int_equal(t->n_done, 1);
    assert_string_equal(t->done_err.message, "qemu does not greet as QMP does");
}

static void a_refused_start_carries_qemus_words(void **state)
{
    struct twin *t = *state;

    begin(t, false);
    say(t, GREETING);
    obey(t, "qmp_capabilities", NULL);
    expect_command(t, "cont", NULL);
    answer_error(t, "Device 'disk0' could not be activated");
    expect_command(t, "query-status", NULL); /* it may be further than we thought */
    answer(t, "{\"status\": \"prelaunch\"}");
    drained(t, 0);
    expect_command(t, "cont", NULL);
    answer_error(t, "Device 'disk0' could not be activated");
    assert_int_equal(t->n_done, 1);
    assert_int_equal(t->done_err.code, VIV_E_VMM);
    assert_string_equal(t->done_err.message, "qemu: cont: Device 'disk0' could not be activated");
}

static void no_event_stream_no_start(void **state)
{
    struct twin *t = *state;
    char path[100];

    (void)snprintf(path, sizeof(path), "%s/events.in", t->dir);
    assert_int_equal(unlink(path), 0);
    begin(t, false);
    say(t, GREETING);
    assert_int_equal(t->n_done, 1);
    assert_int_equal(t->done_err.code, VIV_E_NOT_FOUND);
    assert_int_equal(recv(t->peer_fd, path, 1, 0), 0); /* we hung up */
}

/* ---- the gate ---- */

static void pass_gate(struct twin *t, uint64_t size)
{
    assert_string_equal(t->drained, "serial.out");
    expect_silence(t);
    drained(t, size);
    obey(t, "set-action", "reset");
    obey(t, "system_reset", NULL);
    expect_silence(t); /* the devices are not reset yet */
    say(t, RESET_EVENT);
    obey(t, "set-action", "shutdown");
    expect_command(t, "cont", NULL);
}

static void a_guest_reset_goes_through_the_gate(void **state)
{
    static const char before[] = RESET_EVENT STOP_EVENT;
    static const char first[] = SHUTDOWN("guest-reset");
    static const char whole[] = SHUTDOWN("guest-reset") STOP_EVENT RESET_EVENT RESUME_EVENT;
    struct twin *t = *state;
    char text[400];

    start(t);
    (void)snprintf(text, sizeof(text), "%s%s{\"half\"", before, first);
    /* Everything before the event is consumed, the event itself is not until all is over. */
    assert_int_equal(input(t, text), strlen(before));
    obey(t, "query-status", NULL); /* for the STOP, whose answer is without sense: ignored */
    assert_int_equal(t->n_reset, 0);
    pass_gate(t, LOG_SIZE);
    assert_true(t->n_reset == 1 && t->reset_offset == LOG_SIZE);
    (void)snprintf(text, sizeof(text), "%s%s", first, STOP_EVENT);
    assert_int_equal(input(t, text), 0);
    answer(t, "{}");
    assert_int_equal(input(t, whole), strlen(whole));
    expect_silence(t);
    assert_true(t->n_done == 0 && t->n_ending == 0 && t->n_state == 0);
}

static void a_resume_that_comes_before_the_answer_ends_the_gate_too(void **state)
{
    static const char whole[] = SHUTDOWN("guest-reset") STOP_EVENT RESET_EVENT RESUME_EVENT;
    struct twin *t = *state;

    start(t);
    assert_int_equal(input(t, SHUTDOWN("guest-reset")), 0);
    pass_gate(t, LOG_SIZE);
    assert_int_equal(input(t, whole), strlen(whole));
    /* And the guest resets again before the answer to cont has come. */
    assert_int_equal(input(t, SHUTDOWN("guest-reset")), 0);
    assert_string_equal(t->drained, "");
    answer(t, "{}");
    pass_gate(t, LOG_SIZE + 1);
    assert_int_equal(t->n_reset, 2);
}

static void a_reset_told_twice_counts_once(void **state)
{
    struct twin *t = *state;

    start(t);
    (void)input(t, SHUTDOWN("guest-reset") SHUTDOWN("host-qmp-system-reset"));
    pass_gate(t, LOG_SIZE);
    answer(t, "{}");
    expect_silence(t);
    assert_string_equal(t->drained, "");
    assert_int_equal(t->n_reset, 1);
    (void)input(t, SHUTDOWN("guest-reset") SHUTDOWN("host-qmp-system-reset") RESUME_EVENT);
    /* A later one with no serial byte in between passes the gate but is no new boot. */
    (void)input(t, SHUTDOWN("guest-reset"));
    pass_gate(t, LOG_SIZE);
    assert_int_equal(t->n_reset, 1);
}

static void a_hard_reset_is_done_when_the_gate_was_passed(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(vivi_effects_qemu.reset(t->m, 9, NULL), 0);
    obey(t, "system_reset", NULL);
    assert_int_equal(t->n_done, 0);
    (void)input(t, SHUTDOWN("host-qmp-system-reset"));
    pass_gate(t, LOG_SIZE);
    assert_int_equal(t->n_done, 0);
    answer(t, "{}");
    assert_true(t->n_done == 1 && t->done_op == 9 && t->done_err.code == 0);
}

static void a_gate_that_qemu_refuses_ends_the_machine_with_its_words(void **state)
{
    struct twin *t = *state;

    start(t);
    (void)input(t, SHUTDOWN("guest-reset"));
    drained(t, LOG_SIZE);
    expect_command(t, "set-action", "reset");
    answer_error(t, "not today");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_VMM_EXIT);
    assert_string_equal(t->text, "qemu: set-action: not today");
    expect_command(t, "system_reset", NULL);
    expect_command(t, "quit", NULL);
}

static void a_connection_lost_in_the_gate_gives_no_reason(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(vivi_effects_qemu.reset(t->m, 9, NULL), 0);
    obey(t, "system_reset", NULL);
    (void)input(t, SHUTDOWN("host-qmp-system-reset"));
    drained(t, LOG_SIZE);
    vivi_close(&t->peer_fd);
    run(t);
    assert_int_equal(t->n_ending, 0); /* the exit status will tell */
    assert_true(t->n_done == 1 && t->done_op == 9 && t->done_err.code == VIV_E_IO);
}

static void an_answer_to_another_drain_is_ignored(void **state)
{
    struct twin *t = *state;

    start(t);
    (void)input(t, SHUTDOWN("guest-reset"));
    vivi_effects_qemu.drained(t->m, t->token + 1, 1);
    vivi_effects_qemu.drained(t->m, 0, 1);
    expect_silence(t);
    assert_int_equal(t->n_reset, 0);
}

/* ---- endings, states ---- */

static void a_guest_that_powers_off_is_told_and_qemu_quits(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(input(t, SHUTDOWN("guest-shutdown") STOP_EVENT), 0);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_POWEROFF);
    obey(t, "quit", NULL);
    (void)input(t, SHUTDOWN("guest-shutdown") STOP_EVENT SHUTDOWN("host-qmp-quit"));
    expect_silence(t);
    assert_true(t->n_ending == 1 && t->n_done == 0);
}

static void a_panic_is_told_and_qemu_quits(void **state)
{
    struct twin *t = *state;

    start(t);
    (void)input(t, "{\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"pause\"}}\n");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_PANIC);
    obey(t, "quit", NULL);
}

static void our_own_quit_and_signals_are_no_reason(void **state)
{
    static const char text[] = SHUTDOWN("host-signal") SHUTDOWN("host-qmp-quit");
    struct twin *t = *state;

    start(t);
    assert_int_equal(input(t, text), strlen(text));
    assert_int_equal(t->n_ending, 0);
    expect_silence(t);
}

static void a_machine_that_stops_by_itself_is_told_as_paused(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(input(t, STOP_EVENT), strlen(STOP_EVENT));
    expect_command(t, "query-status", NULL);
    answer(t, "{\"status\": \"io-error\"}");
    assert_true(t->n_state == 1 && t->state == VIV_ST_PAUSED);
    (void)input(t, RESUME_EVENT);
    expect_command(t, "query-status", NULL);
    answer(t, "{\"status\": \"running\"}");
    assert_true(t->n_state == 2 && t->state == VIV_ST_RUNNING);
}

static void the_event_of_our_own_pause_is_no_news(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(vivi_effects_qemu.pause(t->m, 5, NULL), 0);
    obey(t, "stop", NULL);
    assert_true(t->n_done == 1 && t->done_op == 5);
    (void)input(t, STOP_EVENT);
    expect_silence(t);
    /* An event that comes late, after we resumed, is checked and found out of date. */
    assert_int_equal(vivi_effects_qemu.resume(t->m, 6, NULL), 0);
    obey(t, "cont", NULL);
    (void)input(t, STOP_EVENT);
    expect_command(t, "query-status", NULL);
    answer(t, "{\"status\": \"running\"}");
    assert_int_equal(t->n_state, 0);
}

static void noise_in_the_event_stream_is_skipped(void **state)
{
    static const char noise[] = "\0\377{\n{}\n[]\nnull\n{\"return\": {}}\n";
    struct twin *t = *state;
    char *large = malloc(300000);

    start(t);
    assert_int_equal(vivi_effects_qemu.input(t->m, "events.out", noise, sizeof(noise) - 1),
                     sizeof(noise) - 1);
    assert_non_null(large);
    memset(large, 'x', 300000);
    assert_int_equal(vivi_effects_qemu.input(t->m, "events.out", large, 1000), 0);
    assert_int_equal(vivi_effects_qemu.input(t->m, "events.out", large, 300000), 300000);
    free(large);
    assert_int_equal(vivi_effects_qemu.input(t->m, "serial.out", "abc", 3), 3);
    (void)input(t, SHUTDOWN("guest-shutdown"));
    assert_int_equal(t->n_ending, 1);
}

/* ---- adoption ---- */

static void an_adopted_machine_tells_its_state_then_is_done(void **state)
{
    struct twin *t = *state;

    adopt(t, "paused", "");
    assert_true(t->n_done == 1 && t->done_err.code == 0);
    assert_true(t->n_state == 1 && t->state == VIV_ST_PAUSED);
    assert_int_equal(t->n_created, 0);
}

static void an_adopted_shutdown_is_explained_by_its_event(void **state)
{
    struct twin *t = *state;

    adopt(t, "shutdown",
          SHUTDOWN("guest-reset") STOP_EVENT RESUME_EVENT SHUTDOWN("guest-shutdown"));
    assert_int_equal(t->n_done, 1);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_POWEROFF);
    assert_int_equal(t->n_reset, 0);
    expect_command(t, "quit", NULL);
}

static void an_adopted_reset_is_done_now(void **state)
{
    struct twin *t = *state;

    adopt(t, "shutdown", SHUTDOWN("guest-reset") STOP_EVENT);
    assert_int_equal(t->n_done, 1);
    pass_gate(t, LOG_SIZE);
    assert_int_equal(t->n_reset, 1);
}

static void a_reset_that_was_dealt_with_is_not_done_again(void **state)
{
    struct twin *t = *state;

    adopt(t, "running", SHUTDOWN("guest-reset") STOP_EVENT RESET_EVENT RESUME_EVENT);
    assert_int_equal(t->n_done, 1);
    expect_silence(t);
    assert_true(t->n_reset == 0 && t->n_ending == 0);
}

static void a_gate_without_its_last_step_only_gets_that(void **state)
{
    struct twin *t = *state;

    adopt(t, "prelaunch", SHUTDOWN("guest-reset") STOP_EVENT RESET_EVENT);
    assert_int_equal(t->n_done, 0);
    obey(t, "cont", NULL);
    assert_true(t->n_done == 1 && t->state == VIV_ST_RUNNING);
    expect_silence(t);
    assert_int_equal(t->n_reset, 0);
}

static void a_shutdown_that_nothing_explains_is_unobserved(void **state)
{
    struct twin *t = *state;

    adopt(t, "shutdown", "");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_UNOBSERVED);
    expect_command(t, "quit", NULL);
}

static void a_panic_is_known_by_the_status_alone(void **state)
{
    struct twin *t = *state;

    adopt(t, "guest-panicked", "");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_PANIC);
    expect_command(t, "quit", NULL);
}

/* ---- slots ---- */

static void quit_is_done_by_the_end_of_the_connection(void **state)
{
    struct twin *t = *state;

    start(t);
    assert_int_equal(vivi_effects_qemu.quit(t->m, 8, NULL), 0);
    expect_command(t, "quit", NULL);
    vivi_close(&t->peer_fd);
    run(t);
    assert_true(t->n_done == 1 && t->done_op == 8 && t->done_err.code == 0);
}

static void too_many_commands_are_refused(void **state)
{
    struct twin *t = *state;
    viv_error err = VIV_ERROR_INIT;
    int r = 0;

    start(t);
    for (int i = 0; i < 100 && r == 0; i++)
        r = vivi_effects_qemu.query(t->m, 100 + (uint64_t)i, &err);
    assert_int_equal(r, -VIV_E_BUSY);
    assert_string_equal(err.message, "qemu: query-status: too many commands wait for an answer");
    vivi_close(&t->peer_fd);
    run(t);
    assert_int_equal(t->n_done, 32);
    assert_int_equal(t->done_err.code, VIV_E_IO);
    assert_int_equal(vivi_effects_qemu.query(t->m, 1, &err), -VIV_E_IO);
    assert_string_equal(err.message, "qemu: query-status: its control socket is closed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_port_that_the_system_chose_is_told_before_the_start_is_done),
        TEST(a_start_opens_the_event_stream_before_the_guest_runs),
        TEST(broken_answers_each_give_one_clear_error),
        TEST(five_megabytes_without_a_newline_end_the_start),
        TEST(what_was_meant_for_the_connection_before_is_skipped),
        TEST(too_much_before_the_greeting_is_no_qemu),
        TEST(a_refused_start_carries_qemus_words),
        TEST(no_event_stream_no_start),
        TEST(a_guest_reset_goes_through_the_gate),
        TEST(a_resume_that_comes_before_the_answer_ends_the_gate_too),
        TEST(a_reset_told_twice_counts_once),
        TEST(a_hard_reset_is_done_when_the_gate_was_passed),
        TEST(a_gate_that_qemu_refuses_ends_the_machine_with_its_words),
        TEST(a_connection_lost_in_the_gate_gives_no_reason),
        TEST(an_answer_to_another_drain_is_ignored),
        TEST(a_guest_that_powers_off_is_told_and_qemu_quits),
        TEST(a_panic_is_told_and_qemu_quits),
        TEST(our_own_quit_and_signals_are_no_reason),
        TEST(a_machine_that_stops_by_itself_is_told_as_paused),
        TEST(the_event_of_our_own_pause_is_no_news),
        TEST(noise_in_the_event_stream_is_skipped),
        TEST(an_adopted_machine_tells_its_state_then_is_done),
        TEST(an_adopted_shutdown_is_explained_by_its_event),
        TEST(an_adopted_reset_is_done_now),
        TEST(a_reset_that_was_dealt_with_is_not_done_again),
        TEST(a_gate_without_its_last_step_only_gets_that),
        TEST(a_shutdown_that_nothing_explains_is_unobserved),
        TEST(a_panic_is_known_by_the_status_alone),
        TEST(quit_is_done_by_the_end_of_the_connection),
        TEST(too_many_commands_are_refused),
    };

    return cmocka_run_group_tests_name("qemu effects", tests, NULL, NULL);
}
