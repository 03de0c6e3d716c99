/*
 * The connection of one operation to a monitor: greeting, request, answer. Errors that only mean
 * that this monitor is gone lead to vivi_op_lost; what a living one says wrongly ends the
 * operation. Most functions here can close the connection, so they say whether it is still there.
 */
#include "manager/manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "keeper/protocol.h"

#define REQUEST_ID 1

void vivi_conn_close(struct viv_op *op)
{
    if (op->fd < 0)
        return;
    if (op->v)
        vivi_poll_del(&op->v->poll, op->fd);
    vivi_close(&op->fd);
    vivi_frames_done(&op->frames);
    vivi_frames_init(&op->frames);
    vivi_buf_reset(&op->out);
    op->request_queued = false;
}

static void fail(struct viv_op *op, const viv_error *err)
{
    vivi_op_end(op, err);
}

/* ---- sending ---- */

/* All that goes with the request. */
static size_t fds_of(const struct viv_op *op, int ret[VIVI_MAX_FDS])
{
    size_t n = 0;

    if (op->own_fd >= 0)
        ret[n++] = op->own_fd;
    for (size_t i = 0; i < op->nics.n; i++)
        ret[n++] = op->nics.fds[i];
    return n;
}

/* One send. > 0 bytes gone, 0 would block, < 0 the peer is gone. */
static ssize_t send_some(struct viv_op *op)
{
    int fds[VIVI_MAX_FDS];
    size_t n_fds = op->request_queued ? fds_of(op, fds) : 0;
    ssize_t n = vivi_send_fds(op->fd, op->out.data, op->out.len, fds, n_fds, NULL);

    if (n > 0)
        op->request_queued = false; /* the descriptors went with the first byte */
    return n == -VIV_E_BUSY ? 0 : n;
}

/* False: the operation is not connected any more, or is gone altogether. */
static bool flush(struct viv_op *op)
{
    unsigned events = VIVI_POLL_READ;

    while (op->out.len > 0) {
        ssize_t n = send_some(op);

        if (n < 0) {
            vivi_op_lost(op);
            return false;
        }
        if (n == 0) {
            events |= VIVI_POLL_WRITE;
            break;
        }
        vivi_buf_consume(&op->out, (size_t)n);
    }
    (void)vivi_poll_mod(&op->v->poll, op->fd, events, &op->source, NULL);
    if (op->detached && op->phase == VIVI_PH_REPLY && op->out.len == 0) {
        vivi_op_end(op, NULL); /* the request is out: the rest is the monitor's */
        return false;
    }
    return true;
}

static bool send_message(struct viv_op *op, enum vivi_control_op kind, json_t *body_consume)
{
    viv_error err = VIV_ERROR_INIT;
    size_t before = op->out.len;
    int fds[VIVI_MAX_FDS];
    size_t n_fds = kind == VIVI_CTL_REQUEST ? fds_of(op, fds) : 0;
    int r = body_consume ? vivi_control_encode_fds(&op->out, (uint8_t)op->protocol, kind,
                                                   body_consume, n_fds)
                         : -VIV_E_NO_MEMORY;

    json_decref(body_consume);
    if (r == 0 && op->request_queued && n_fds > 0)
        vivi_frame_announce(&op->out, before, (uint8_t)n_fds);
    if (r == 0)
        return flush(op);
    if (r == -VIV_E_NO_MEMORY)
        (void)vivi_fail_oom(&err);
    else
        (void)vivi_fail(&err, VIV_E_INVALID, "the request is too long");
    fail(op, &err);
    return false;
}

/* What is left of a time that began with the operation: asking again does not begin it anew. */
static int shorten(json_t *args, const char *key, uint64_t passed_ms)
{
    json_int_t ms = json_integer_value(json_object_get(args, key));

    if (ms <= 0 || passed_ms == 0)
        return 0;
    ms = (uint64_t)ms > passed_ms ? ms - (json_int_t)passed_ms : 1;
    return json_object_set_new(args, key, json_integer(ms));
}

static bool send_request(struct viv_op *op)
{
    uint64_t passed_ms = op->asked ? (vivi_mono_us() - op->begun_us) / 1000 : 0;
    json_t *args = op->what.args ? json_copy(op->what.args) : json_object();
    json_t *body = NULL;

    if (args && shorten(args, "timeout_ms", passed_ms) == 0 &&
        shorten(args, "ready_timeout_ms", passed_ms) == 0)
        body = json_pack("{s:i,s:s,s:s,s:O}", "id", REQUEST_ID, "verb", op->what.verb, "op", op->id,
                         "args", args);
    json_decref(args);
    op->phase = VIVI_PH_REPLY;
    op->asked = true;
    op->request_queued = true;
    return send_message(op, VIVI_CTL_REQUEST, body);
}

/* ---- receiving ---- */

static bool on_hello(struct viv_op *op, const json_t *body)
{
    json_int_t theirs = json_integer_value(json_object_get(body, "protocol"));
    char who[100];
    viv_error err = VIV_ERROR_INIT;

    (void)snprintf(who, sizeof(who), "the monitor of %s", op->name);
    if (vivi_control_agree(VIVI_CONTROL_PROTOCOL,
                           theirs < 0 || theirs > 1000000 ? 0 : (unsigned)theirs, who,
                           &op->protocol, &err) < 0) {
        vivi_hint(&err, "use the viv that started it, or stop it with that one");
        fail(op, &err);
        return false;
    }
    op->met = true;
    op->pause_us = 0; /* somebody is there: a loss is tried again at once */
    return send_request(op);
}

static bool on_reply(struct viv_op *op, struct vivi_frame *f, json_t *body)
{
    json_t *result = json_object_get(body, "result");
    viv_error err = VIV_ERROR_INIT;

    if (!json_is_object(result)) {
        (void)vivi_fail(&err, VIV_E_PROTOCOL, "the monitor's answer has no result");
        fail(op, &err);
        return false;
    }
    vivi_op_replied(op, json_incref(result), f->n_fds > 0 ? take_fd(&f->fds[0]) : -1);
    return false;
}

static bool on_message(struct viv_op *op, struct vivi_frame *f, json_t *body)
{
    viv_error err = VIV_ERROR_INIT;

    if (op->phase == VIVI_PH_HELLO && f->op == VIVI_CTL_HELLO)
        return on_hello(op, body);
    if (op->phase != VIVI_PH_REPLY || json_integer_value(json_object_get(body, "id")) != REQUEST_ID)
        return true; /* of a kind that a later protocol may have */
    if (f->op == VIVI_CTL_REPLY)
        return on_reply(op, f, body);
    if (f->op == VIVI_CTL_ERROR) {
        vivi_error_from_json(json_object_get(body, "error"), &err);
        fail(op, &err);
        return false;
    }
    if (f->op == VIVI_CTL_NOTE) {
        (void)json_object_del(body, "id");
        json_decref(op->note);
        op->note = json_incref(body);
    }
    return true;
}

/* Handles all whole messages. False: not connected any more. */
static bool take_messages(struct viv_op *op)
{
    viv_error err = VIV_ERROR_INIT;

    for (;;) {
        cleanup_frame struct vivi_frame f = {.n_fds = 0};
        cleanup_json json_t *body = NULL;
        int r = vivi_frames_next(&op->frames, &f, &err);

        if (r == 0)
            return true;
        if (r > 0)
            r = vivi_control_parse(&f, &body, &err);
        if (r < 0) {
            (void)vivi_wrap(&err, r, "the monitor of %s", op->name);
            fail(op, &err);
            return false;
        }
        if (!on_message(op, &f, body))
            return false;
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct viv_op *op = arg;
    viv_error err = VIV_ERROR_INIT;
    int r;

    if ((events & VIVI_POLL_WRITE) && !flush(op))
        return;
    if (!(events & VIVI_POLL_READ))
        return;
    r = vivi_frames_read(&op->frames, op->fd, &err);
    if (r == -VIV_E_BUSY)
        return;
    if (r == -VIV_E_NO_MEMORY || r == -VIV_E_PROTOCOL)
        fail(op, &err);
    else if (r <= 0)
        vivi_op_lost(op);
    else
        (void)take_messages(op);
}

/* ---- opening ---- */

/* In a directory that others can write to (VIV_RUN), somebody else may listen at our path. */
static int check_peer(int fd, viv_error *err)
{
    uid_t uid = 0;
    int r = vivi_peer_uid(fd, &uid, err);

    if (r == 0 && uid != geteuid() && uid != 0)
        r = vivi_fail(err, VIV_E_DENIED, "its control socket belongs to user %u", (unsigned)uid);
    return r;
}

/* Nobody listens: no socket, a dead one, or one whose queue is full. */
static bool is_nobody(int r, const viv_error *err)
{
    return r == -VIV_E_NOT_FOUND || r == -VIV_E_BUSY || err->sys_errno == ECONNRESET;
}

int vivi_conn_open(struct viv_op *op, const struct vivi_vmdir *d, viv_error *err)
{
    cleanup_close int fd = -1;
    char path[VIVI_SUN_PATH_MAX];
    viv_error why = VIV_ERROR_INIT;
    int n, r;

    if (!d->run_dir)
        return vivi_fail(err, VIV_E_PROTOCOL, "broken record (its uuid cannot be read)");
    n = snprintf(path, sizeof(path), "%s/" VIVI_CONTROL_SOCKET, d->run_dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return vivi_fail(err, VIV_E_INVALID, "%s: socket path is too long", d->run_dir);
    r = vivi_unix_connect(path, &fd, &why);
    if (r < 0 && is_nobody(r, &why))
        return 0;
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    r = check_peer(fd, err);
    if (r == 0)
        r = vivi_fd_nonblock(fd, true, err);
    if (r == 0) {
        op->source = (struct vivi_source){on_ready, op};
        r = vivi_poll_add(&op->v->poll, fd, VIVI_POLL_READ, &op->source, err);
    }
    if (r < 0)
        return r;
    op->fd = take_fd(&fd);
    op->phase = VIVI_PH_HELLO;
    op->protocol = VIVI_CONTROL_PROTOCOL;
    /* From here on the operation looks after itself, also when this fails. */
    (void)send_message(
        op, VIVI_CTL_HELLO,
        json_pack("{s:i,s:s}", "protocol", VIVI_CONTROL_PROTOCOL, "version", VIV_VERSION));
    return 1;
}
