/* The control socket against clients that are new, old, slow or hostile. */
#include "monitor/testing.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "store/control.h"

/* A socket that has said nothing yet. */
static int dial(struct rig *r)
{
    char path[256];
    int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/%s", r->run_dir, VIVI_CONTROL_SOCKET);
    assert_int_equal(vivi_unix_connect(path, &fd, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(fd, true, NULL), 0);
    rig_settle(r);
    return fd;
}

static void say(struct rig *r, int fd, unsigned version, enum vivi_control_op op, const char *text)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    assert_int_equal(vivi_frame_encode(&b, (uint8_t)version, (uint8_t)op, text, strlen(text)), 0);
    assert_int_equal(vivi_write_full(fd, b.data, b.len, 1000, NULL), 0);
    rig_settle(r);
}

static bool is_cut(int fd)
{
    char byte;
    ssize_t n;

    while ((n = recv(fd, &byte, 1, MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* The next message, or NULL. */
static json_t *hear(int fd, uint8_t *ret_version, uint8_t *ret_op)
{
    struct vivi_frames in;
    struct vivi_frame f = {0};
    json_t *j = NULL;

    vivi_frames_init(&in);
    (void)vivi_frames_read(&in, fd, NULL);
    if (vivi_frames_next(&in, &f, NULL) == 1) {
        *ret_version = f.version;
        *ret_op = f.op;
        assert_int_equal(vivi_control_parse(&f, &j, NULL), 0);
    }
    vivi_frame_done(&f);
    vivi_frames_done(&in);
    return j;
}

static void who_does_not_greet_or_speaks_garbage_is_cut(void **state)
{
    static const struct {
        enum vivi_control_op op;
        const char *text;
    } rows[] = {{VIVI_CTL_REQUEST, "{\"id\":1,\"verb\":\"info\"}"},
                {VIVI_CTL_HELLO, "no json"},
                {VIVI_CTL_HELLO, "[]"},
                {VIVI_CTL_REPLY, "{}"},
                {(enum vivi_control_op)77, "{}"}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = dial(r);

        say(r, fd, 1, rows[i].op, rows[i].text);
        assert_true(is_cut(fd));
        vivi_close(&fd);
    }
    assert_int_equal(vivi_serve_clients(r->m), 1);
    rig_expect(r, &r->client, rig_ask(r, &r->client, "info", NULL, NULL), "ok");
}

static void a_flood_of_garbage_is_cut_at_its_first_frame(void **state)
{
    struct rig *r = *state;
    char noise[65536];
    int fd = dial(r);

    memset(noise, 0xff, sizeof(noise));
    (void)send(fd, noise, sizeof(noise), MSG_DONTWAIT | MSG_NOSIGNAL);
    rig_settle(r);
    assert_true(is_cut(fd));
    vivi_close(&fd);
}

static void neighbours_of_the_protocol_are_understood_and_others_refused_by_name(void **state)
{
    struct rig *r = *state;
    uint8_t version = 0, op = 0;
    cleanup_json json_t *hello = NULL, *error = NULL;
    struct vivi_frames in;
    struct vivi_frame f = {0};
    int fd = dial(r);

    say(r, fd, 2, VIVI_CTL_HELLO, "{\"protocol\":2,\"version\":\"9\",\"colour\":\"blue\"}");
    hello = hear(fd, &version, &op);
    assert_int_equal(op, VIVI_CTL_HELLO);
    assert_int_equal(json_integer_value(json_object_get(hello, "protocol")), 1);
    say(r, fd, 1, VIVI_CTL_REQUEST, "{\"id\":1,\"verb\":\"info\",\"mood\":7}");
    error = hear(fd, &version, &op);
    assert_int_equal(op, VIVI_CTL_REPLY);
    assert_int_equal(version, 1);
    json_decref(error);
    vivi_close(&fd);

    fd = dial(r);
    say(r, fd, 4, VIVI_CTL_HELLO, "{\"protocol\":4,\"version\":\"9\"}");
    vivi_frames_init(&in);
    assert_int_equal(vivi_frames_read(&in, fd, NULL), 1);
    assert_int_equal(vivi_frames_next(&in, &f, NULL), 1);
    assert_int_equal(f.op, VIVI_CTL_HELLO); /* first who we are, then why not */
    assert_int_equal(vivi_frames_next(&in, &f, NULL), 1);
    assert_int_equal(f.op, VIVI_CTL_ERROR);
    assert_int_equal(vivi_control_parse(&f, &error, NULL), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(error, "error"), "message")),
        "this viv speaks control protocol 1, this client speaks 4");
    vivi_frames_done(&in);
    assert_true(is_cut(fd));
    vivi_close(&fd);
}

static void an_unknown_verb_is_refused_and_the_connection_goes_on(void **state)
{
    struct rig *r = *state;

    rig_expect(r, &r->client, rig_ask(r, &r->client, "teleport", NULL, NULL),
               "UNSUPPORTED: unknown verb \"teleport\"");
    rig_expect(r, &r->client, rig_ask(r, &r->client, "wait", NULL, NULL),
               "INVALID: args.until: missing");
    rig_expect(r, &r->client, rig_ask(r, &r->client, "info", NULL, NULL), "ok");
}

static void who_does_not_read_its_answers_is_not_read_either(void **state)
{
    struct rig *r = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);
    const char text[] = "{\"id\":1,\"verb\":\"info\"}";
    int fd = dial(r), quiet = 0;
    size_t sent = 0;

    say(r, fd, 1, VIVI_CTL_HELLO, "{\"protocol\":1}");
    assert_int_equal(vivi_frame_encode(&b, 1, VIVI_CTL_REQUEST, text, sizeof(text) - 1), 0);
    while (quiet < 5 && sent < 64u << 20) {
        if (send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b.len) {
            sent += b.len;
            quiet = 0;
            continue;
        }
        quiet++;
        rig_settle(r);
    }
    assert_true(sent < 8u << 20); /* held back by the socket, not by our memory */
    assert_int_equal(vivi_serve_clients(r->m), 2);
    rig_expect(r, &r->client, rig_ask(r, &r->client, "info", NULL, NULL), "ok");
    vivi_close(&fd);
    rig_settle(r);
    assert_int_equal(vivi_serve_clients(r->m), 1);
}

static void waits_of_one_client_are_bounded_and_end_with_it(void **state)
{
    struct rig *r = *state;
    struct rig_client other;
    uint64_t id = 0;

    rig_connect(r, &other);
    for (int i = 0; i < 65; i++)
        id = rig_ask(r, &other, "wait", NULL, "{\"until\":\"running\"}");
    rig_expect(r, &other, id, "BUSY: too many unanswered requests");
    assert_non_null(r->m->waiters);
    rig_disconnect(r, &other);
    assert_null(r->m->waiters);
}

static void a_client_that_leaves_in_the_middle_of_its_start_costs_nothing(void **state)
{
    struct rig *r = *state;
    struct rig_client other;

    rig_driver.start = RIG_NEVER;
    rig_connect(r, &other);
    (void)rig_ask(r, &other, "start", "op-1", "{\"wait\":\"ready\"}");
    rig_disconnect(r, &other);
    rig_done(rig_driver.last_op, NULL);
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    rig_expect_result(r, &r->client, rig_ask(r, &r->client, "start", "op-1", NULL), "changed",
                      "true");
}

static void a_frame_in_pieces_is_one_frame(void **state)
{
    struct rig *r = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);
    uint8_t version = 0, op = 0;
    cleanup_json json_t *j = NULL;
    int fd = dial(r);

    assert_int_equal(vivi_frame_encode(&b, 1, VIVI_CTL_HELLO, "{\"protocol\":1}", 14), 0);
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(send(fd, b.data + i, 1, 0), 1);
        rig_settle(r);
    }
    j = hear(fd, &version, &op);
    assert_non_null(j);
    vivi_close(&fd);
    rig_settle(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_does_not_greet_or_speaks_garbage_is_cut),
        T(a_flood_of_garbage_is_cut_at_its_first_frame),
        T(neighbours_of_the_protocol_are_understood_and_others_refused_by_name),
        T(an_unknown_verb_is_refused_and_the_connection_goes_on),
        T(who_does_not_read_its_answers_is_not_read_either),
        T(waits_of_one_client_are_bounded_and_end_with_it),
        T(a_client_that_leaves_in_the_middle_of_its_start_costs_nothing),
        T(a_frame_in_pieces_is_one_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
