#include "monitor/testing.h"

#include <poll.h>

#include "base/fd.h"
#include "store/control.h"

static void send_json(struct rig_client *c, enum vivi_control_op op, json_t *body_consume)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    assert_int_equal(vivi_control_encode(&b, VIVI_CONTROL_PROTOCOL, op, body_consume), 0);
    json_decref(body_consume);
    assert_int_equal(vivi_write_full(c->fd, b.data, b.len, 1000, NULL), 0);
}

void rig_connect(struct rig *r, struct rig_client *c)
{
    char path[256];

    *c = (struct rig_client){.fd = -1, .got_fd = -1};
    vivi_frames_init(&c->in);
    (void)snprintf(path, sizeof(path), "%s/%s", r->run_dir, VIVI_CONTROL_SOCKET);
    assert_int_equal(vivi_unix_connect(path, &c->fd, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(c->fd, true, NULL), 0);
    send_json(c, VIVI_CTL_HELLO, json_pack("{si,ss}", "protocol", 1, "version", "0.1.0"));
    rig_settle(r);
}

void rig_disconnect(struct rig *r, struct rig_client *c)
{
    if (c->fd < 0)
        return;
    vivi_close(&c->fd);
    vivi_close(&c->got_fd);
    vivi_frames_done(&c->in);
    json_decref(c->note);
    c->note = NULL;
    if (r->m)
        rig_settle(r);
}

uint64_t rig_ask(struct rig *r, struct rig_client *c, const char *verb, const char *op,
                 const char *args)
{
    json_t *body = json_pack("{sI,ss}", "id", (json_int_t)++c->next_id, "verb", verb);

    if (op)
        (void)json_object_set_new(body, "op", json_string(op));
    if (args)
        (void)json_object_set_new(body, "args", json_loads(args, 0, NULL));
    send_json(c, VIVI_CTL_REQUEST, body);
    rig_settle(r);
    return c->next_id;
}

json_t *rig_answer(struct rig *r, struct rig_client *c, uint64_t id)
{
    rig_settle(r);
    for (;;) {
        cleanup_frame struct vivi_frame f = {0};
        json_t *body = NULL;
        int n = vivi_frames_next(&c->in, &f, NULL);

        if (n == 0 && vivi_wait_fd(c->fd, POLLIN, 0, NULL) == 1 &&
            vivi_frames_read(&c->in, c->fd, NULL) > 0)
            continue;
        if (n <= 0)
            return NULL;
        assert_int_equal(vivi_control_parse(&f, &body, NULL), 0);
        if (f.n_fds > 0) {
            vivi_close(&c->got_fd);
            c->got_fd = take_fd(&f.fds[0]);
        }
        if (f.op == VIVI_CTL_NOTE) {
            json_decref(c->note);
            c->note = json_incref(body);
        }
        if ((f.op == VIVI_CTL_REPLY || f.op == VIVI_CTL_ERROR) &&
            (uint64_t)json_integer_value(json_object_get(body, "id")) == id)
            return body;
        json_decref(body);
    }
}

bool rig_is_answered(struct rig *r, struct rig_client *c, uint64_t id)
{
    json_t *j = rig_answer(r, c, id);

    json_decref(j);
    return j != NULL;
}

void rig_expect(struct rig *r, struct rig_client *c, uint64_t id, const char *want)
{
    cleanup_json json_t *j = rig_answer(r, c, id);
    const json_t *error = json_object_get(j, "error");
    char got[700] = "ok";

    assert_non_null(j);
    if (error)
        (void)snprintf(got, sizeof(got), "%s: %s",
                       json_string_value(json_object_get(error, "code")),
                       json_string_value(json_object_get(error, "message")));
    assert_string_equal(got, want);
}

void rig_expect_result(struct rig *r, struct rig_client *c, uint64_t id, const char *key,
                       const char *want)
{
    cleanup_json json_t *j = rig_answer(r, c, id);
    const json_t *v = json_object_get(json_object_get(j, "result"), key);
    cleanup_free char *text = NULL;

    if (!j || !json_object_get(j, "result")) {
        text = j ? json_dumps(j, JSON_COMPACT) : strdup("no answer");
        fail_msg("%s", text);
    }
    text = json_is_string(v) ? strdup(json_string_value(v))
                             : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text ? text : "absent", want);
}
