#include "twin_test.h"

#include <poll.h>

#define ANSWER_MS 5000 /* what is asked is there already: it is only that a test must not hang */

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    struct twin *t = ctx;

    if (e->kind == VIVI_EV_API)
        t->n_api++;
    if (e->kind == VIVI_EV_CREATED)
        t->n_created++;
    if (e->kind == VIVI_EV_DONE) {
        t->n_done++;
        t->done_op = e->op;
        t->done_fd = e->fd;
        t->done_err = e->err ? *e->err : (viv_error)VIV_ERROR_INIT;
    }
    if (e->kind == VIVI_EV_STATE) {
        t->n_state++;
        t->state = e->state;
    }
    if (e->kind == VIVI_EV_RESET) {
        t->n_reset++;
        t->stamp = e->stamp;
        assert_true(e->offset == VIVI_OFFSET_UNKNOWN);
    }
    if (e->kind == VIVI_EV_ENDING) {
        t->n_ending++;
        t->reason = e->reason;
    }
    if (e->text)
        (void)snprintf(t->text, sizeof(t->text), "%s", e->text);
}

static int on_drain(void *ctx, const char *name, uint64_t token, viv_error *err)
{
    struct twin *t = ctx;

    (void)err;
    assert_true(strcmp(name, CH_PORT_EVENTS) == 0 || strcmp(name, CH_PORT_LOG) == 0);
    t->token = token;
    return 0;
}

static int on_fd(void *ctx, const char *name)
{
    struct twin *t = ctx;

    (void)snprintf(t->asked, sizeof(t->asked), "%s", name);
    return t->given;
}

int twin_setup(void **state)
{
    struct twin *t = calloc(1, sizeof(*t));
    char path[100];

    if (!t)
        return -1;
    poll_loop_init(&t->loop);
    t->peer_fd = t->vsock_fd = t->given = t->got_fd = -1;
    t->host = (struct vivi_driver_host){t, &t->loop.iface, on_event, on_drain, on_fd};
    t->m = calloc(1, sizeof(*t->m));
    t->requests = json_pack("[{s:s, s:{s:i}}, {s:s}]", "verb", "vm.create", "body", "a", 1, "verb",
                            "vm.boot");
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/viv-twin-XXXXXX");
    if (!t->m || !t->requests || !mkdtemp(t->dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/" CH_PORT_API, t->dir);
    *state = t;
    return vivi_unix_listen(path, 4, &t->listen_fd, NULL);
}

int twin_teardown(void **state)
{
    struct twin *t = *state;
    unsigned left;

    vivi_effects_cloud_hypervisor.done(t->m);
    vivi_effects_cloud_hypervisor.done(t->m);
    left = poll_loop_leftovers(&t->loop);
    vivi_close(&t->listen_fd);
    vivi_close(&t->peer_fd);
    vivi_close(&t->vsock_fd);
    vivi_close(&t->given);
    vivi_close(&t->got_fd);
    (void)vivi_remove_tree_at(AT_FDCWD, t->dir, NULL);
    json_decref(t->requests);
    free(t->m);
    free(t);
    return left == 0 ? 0 : -1;
}

void twin_run(struct twin *t)
{
    while (poll_loop_step(&t->loop, 0))
        ;
}

const char *twin_expect_request(struct twin *t, const char *line)
{
    static char text[4096];
    size_t n_fds = 0;
    int fds[2];
    ssize_t n;
    char *end;

    if (t->peer_fd < 0)
        assert_int_equal(vivi_accept(t->listen_fd, &t->peer_fd, NULL), 1);
    vivi_close(&t->got_fd);
    if (poll(&(struct pollfd){.fd = t->peer_fd, .events = POLLIN}, 1, ANSWER_MS) != 1)
        fail_msg("nothing, but %s was expected", line);
    n = vivi_recv_fds(t->peer_fd, text, sizeof(text) - 1, fds, 2, &n_fds, NULL);
    if (n_fds > 0)
        t->got_fd = fds[0];
    assert_true(n_fds <= 1);
    if (n <= 0)
        fail_msg("no request, but %s was expected", line);
    text[n] = '\0';
    if (strncmp(text, line, strlen(line)) != 0)
        fail_msg("%s, but %s was expected", text, line);
    end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

void twin_expect_no_request(struct twin *t)
{
    char c;

    assert_true(t->peer_fd < 0 || recv(t->peer_fd, &c, 1, MSG_DONTWAIT) < 0);
}

void twin_say(struct twin *t, const char *text, size_t len)
{
    assert_int_equal(vivi_write_full(t->peer_fd, text, len, 1000, NULL), 0);
    twin_run(t);
}

size_t twin_format_answer(char *to, size_t size, int status, const char *body)
{
    int n = status == 204
                ? snprintf(to, size, "HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\n\r\n")
                : snprintf(to, size, "HTTP/1.1 %d \r\nContent-Length: %zu\r\n\r\n%s", status,
                           strlen(body), body);

    return (size_t)n;
}

void twin_answer(struct twin *t, int status, const char *body)
{
    char text[2000];

    twin_say(t, text, twin_format_answer(text, sizeof(text), status, body));
}

void twin_begin(struct twin *t, bool adopt)
{
    const struct vivi_machine_start s = {.host = &t->host,
                                         .requests = t->requests,
                                         .run_dir = t->dir,
                                         .run = 1,
                                         .incoming = t->incoming};

    assert_int_equal(adopt ? vivi_effects_cloud_hypervisor.adopt(t->m, &s, 1, NULL)
                           : vivi_effects_cloud_hypervisor.start(t->m, &s, 1, NULL),
                     0);
    (void)twin_expect_request(t, "GET /api/v1/vmm.ping HTTP/1.1\r\n");
    twin_answer(t, 200, "{\"version\":\"53.0.0\"}");
    assert_int_equal(t->n_api, 1);
}

void twin_start(struct twin *t)
{
    twin_begin(t, false);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.create HTTP/1.1\r\n"), "{\"a\":1}");
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_created, 1);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.boot HTTP/1.1\r\n"), "");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_op == 1 && t->done_err.code == 0);
    assert_true(t->n_state == 1 && t->state == VIV_ST_RUNNING);
}

size_t twin_event(struct twin *t, unsigned secs, const char *source, const char *name)
{
    char text[400];
    bool panic = strcmp(source, "guest") == 0;

    (void)snprintf(text, sizeof(text),
                   "{\n  \"timestamp\": {\n    \"secs\": %u,\n    \"nanos\": 0\n  },\n"
                   "  \"source\": \"%s\",\n  \"event\": \"%s\",\n  \"properties\": %s\n}\n\n",
                   secs, source, name, panic ? "{\n    \"event\": \"panic\"\n  }" : "null");
    return strlen(text) -
           vivi_effects_cloud_hypervisor.input(t->m, CH_PORT_EVENTS, text, strlen(text));
}

void twin_log_line(struct twin *t, const char *line)
{
    assert_int_equal(vivi_effects_cloud_hypervisor.input(t->m, "stderr.out", line, strlen(line)),
                     strlen(line));
}
