#include "manager/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/random.h"

#define REQUEST_MAX VIVI_AW_PAYLOAD_MAX
#define OUT_MAX     (2u * VIVI_AW_PAYLOAD_MAX + 65536u)
#define STREAM      1u
#define READS_MAX   4

static const char about[] = "name=libvivarium";

int vivi_job_new(const struct vivi_job_kind *kind, void *ctx_consume, struct vivi_job **ret,
                 viv_error *err)
{
    struct vivi_job *j = calloc(1, sizeof(*j));

    if (!j) {
        if (kind->done)
            kind->done(ctx_consume);
        return vivi_fail_oom(err);
    }
    *j = (struct vivi_job){.kind = kind,
                           .ctx = ctx_consume,
                           .request = VIVI_BUF(REQUEST_MAX),
                           .out = VIVI_BUF(OUT_MAX),
                           .credit = VIVI_AW_CREDIT_FULL,
                           .fd = -1};
    for (int i = 0; i < VIVI_JOB_ENDS; i++)
        j->ends[i] = (struct vivi_job_end){.job = j, .fd = -1, .buf = VIVI_BUF(VIVI_AW_WINDOW)};
    *ret = j;
    return 0;
}

static void hang_up(struct vivi_job *j)
{
    if (j->fd < 0)
        return;
    if (j->op->v)
        vivi_poll_del(&j->op->v->poll, j->fd);
    vivi_close(&j->fd);
}

void vivi_job_close(struct vivi_job *j)
{
    vivi_job_ends_close(j);
    hang_up(j);
    free(j->in);
    j->in = NULL;
}

void vivi_job_free(struct vivi_job *j)
{
    if (!j)
        return;
    vivi_job_close(j);
    for (int i = 0; i < VIVI_JOB_ENDS; i++)
        vivi_buf_done(&j->ends[i].buf);
    vivi_buf_done(&j->request);
    vivi_buf_done(&j->out);
    json_decref(j->result);
    if (j->kind->done)
        j->kind->done(j->ctx);
    free(j);
}

void vivi_job_free_ptr(struct vivi_job **j)
{
    vivi_job_free(*j);
}

void vivi_job_put(struct vivi_job *j, const char *key, const char *value)
{
    (void)vivi_buf_printf(&j->request, "%s%s%s", key ? key : "", key ? "=" : "", value);
    (void)vivi_buf_add(&j->request, "", 1);
}

void vivi_job_put_i64(struct vivi_job *j, const char *key, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    vivi_job_put(j, key, text);
}

int vivi_job_end_set(struct vivi_job *j, int which, int fd, viv_error *err)
{
    int copy;

    if (fd < 0)
        return 0;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return vivi_fail_errno(err, errno, "descriptor %d", fd);
    vivi_close(&j->ends[which].fd);
    j->ends[which].fd = copy;
    if (which == VIVI_JOB_STDIN)
        j->sends = true;
    return 0;
}

void vivi_job_fail(struct vivi_job *j, const viv_error *err)
{
    vivi_op_end(j->op, err); /* closes the job */
}

/* ---- sending ---- */

static bool flush(struct vivi_job *j)
{
    unsigned events = VIVI_POLL_READ;

    if (j->fd < 0)
        return true;
    while (j->out.len > 0) {
        ssize_t n = send(j->fd, j->out.data, j->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* full; or broken, which is read */
        vivi_buf_consume(&j->out, (size_t)n);
    }
    if (j->out.len > 0)
        events |= VIVI_POLL_WRITE;
    (void)vivi_poll_mod(&j->op->v->poll, j->fd, events, &j->source, NULL);
    return j->out.len == 0;
}

bool vivi_job_send(struct vivi_job *j, const struct vivi_aw_frame *f)
{
    size_t size = f->len + VIVI_AW_FRAME_EXTRA;

    if (j->fd < 0 || !j->wire.up || vivi_buf_reserve(&j->out, size) < 0)
        return false;
    j->out.len += vivi_aw_encode(&j->wire, f, j->out.data + j->out.len, size);
    (void)flush(j);
    return true;
}

static void owe_hello(struct vivi_job *j)
{
    while (j->wire.hello_due && vivi_buf_reserve(&j->out, VIVI_AW_HELLO_MAX) == 0) {
        size_t n = vivi_aw_hello(&j->wire, j->out.data + j->out.len, VIVI_AW_HELLO_MAX);

        if (n == 0)
            break;
        j->out.len += n;
    }
    (void)flush(j);
}

int vivi_job_control(struct vivi_job *j, const struct vivi_aw_writer *fields, viv_error *err)
{
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_CONTROL, .stream = STREAM, .payload = fields->data, .len = fields->len};

    if (!j || !j->opened || j->result || !vivi_job_send(j, &f))
        return vivi_fail(err, VIV_E_WRONG_STATE, "nothing runs in the guest");
    return 0;
}

/* ---- receiving ---- */

static bool broken(struct vivi_job *j, int code, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, code, "%s", text);
    vivi_job_fail(j, &err);
    return false;
}

static bool on_up(struct vivi_job *j)
{
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_OPEN, .stream = STREAM, .payload = j->request.data, .len = j->request.len};

    if (j->opened)
        return broken(j, VIV_E_IO, "the connection to the agent began anew");
    j->opened = true;
    return vivi_job_send(j, &f) || broken(j, VIV_E_NO_MEMORY, "out of memory");
}

static bool on_data(struct vivi_job *j, const struct vivi_aw_frame *f)
{
    struct vivi_job_end *e =
        &j->ends[f->channel == VIVI_AW_STDERR ? VIVI_JOB_STDERR : VIVI_JOB_STDOUT];
    viv_error err = VIV_ERROR_INIT;
    int r = 0;

    if (vivi_aw_credit_received(&j->credit, f->len) < 0)
        return broken(j, VIV_E_PROTOCOL, "the agent sent more than it may");
    if (e->fd >= 0)
        return vivi_buf_add(&e->buf, f->payload, f->len) == 0 ||
               broken(j, VIV_E_NO_MEMORY, "out of memory");
    if (f->channel != VIVI_AW_STDERR && j->kind->take)
        r = j->kind->take(j, f->payload, f->len, &err);
    if (r < 0) {
        vivi_job_fail(j, &err);
        return false;
    }
    j->done_bytes += f->len;
    vivi_job_give_credit(j, f->len);
    return true;
}

static bool on_end(struct vivi_job *j, const struct vivi_aw_frame *f)
{
    viv_error err = VIV_ERROR_INIT;

    if (!vivi_aw_fields_ok(f->payload, f->len))
        return broken(j, VIV_E_PROTOCOL, "the agent's answer is no list of fields");
    if (vivi_aw_get_error(f->payload, f->len, &err) == 0 && f->type == VIVI_AW_RESET)
        (void)vivi_fail(&err, VIV_E_IO, "the agent gave up");
    if (err.code == 0) {
        j->result = j->kind->result(j, f, &err);
        j->ends[VIVI_JOB_STDIN].eof = true;
        hang_up(j); /* its end of file would be told again and again while output waits */
    }
    if (err.code != 0)
        vivi_job_fail(j, &err);
    return err.code == 0;
}

static bool on_frame(struct vivi_job *j, const struct vivi_aw_frame *f)
{
    viv_error err = VIV_ERROR_INIT;

    if (f->stream != STREAM || j->result)
        return true;
    if (f->type == VIVI_AW_DATA)
        return on_data(j, f);
    if (f->type == VIVI_AW_RESULT || f->type == VIVI_AW_RESET)
        return on_end(j, f);
    if (f->type == VIVI_AW_CREDIT)
        return vivi_aw_credit_granted(&j->credit, f) == 0 ||
               broken(j, VIV_E_PROTOCOL, "the agent's credit is damaged");
    if (f->type != VIVI_AW_STARTED || !j->kind->started)
        return true;
    if (!vivi_aw_fields_ok(f->payload, f->len))
        return broken(j, VIV_E_PROTOCOL, "the agent's answer is no list of fields");
    if (j->kind->started(j, f, &err) == 0)
        return true;
    vivi_job_fail(j, &err);
    return false;
}

/* False: the operation is over. */
static bool take_steps(struct vivi_job *j)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;
    bool ok = true;

    while (ok && (step = vivi_aw_next(&j->wire, &f)) != VIVI_AW_MORE) {
        if (j->wire.hello_due)
            owe_hello(j);
        if (step == VIVI_AW_FRAME)
            ok = on_frame(j, &f);
        else if (step == VIVI_AW_UP)
            ok = on_up(j);
        else
            ok = broken(j, VIV_E_PROTOCOL,
                        step == VIVI_AW_ALIEN ? "the monitor speaks another protocol of agents"
                                              : "the connection to the agent is out of step");
    }
    if (ok && j->wire.hello_due)
        owe_hello(j);
    return ok;
}

static void on_ready(void *arg, unsigned events)
{
    struct vivi_job *j = arg;

    if (events & VIVI_POLL_WRITE)
        (void)flush(j);
    for (int i = 0; (events & VIVI_POLL_READ) && i < READS_MAX && j->fd >= 0; i++) {
        size_t room;
        void *space = vivi_aw_space(&j->wire, &room);
        ssize_t n = recv(j->fd, space, room, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            (void)broken(j, VIV_E_IO, "its monitor ended in the middle of it");
            return;
        }
        vivi_aw_received(&j->wire, (size_t)n);
        if (!take_steps(j))
            return;
        if ((size_t)n < room)
            break;
    }
    (void)vivi_job_move(j);
}

void vivi_job_begin(struct vivi_job *j, int fd_consume)
{
    cleanup_close int fd = fd_consume;
    viv_error err = VIV_ERROR_INIT;
    uint64_t nonce = 1;
    int r;

    if (fd < 0) {
        (void)broken(j, VIV_E_PROTOCOL, "the monitor's answer has no channel");
        return;
    }
    r = vivi_buf_check(&j->request, &err);
    if (r == 0 && !(j->in = malloc(VIVI_JOB_IN_BYTES)))
        r = vivi_fail_oom(&err);
    j->source = (struct vivi_source){on_ready, j};
    if (r == 0)
        r = vivi_poll_add(&j->op->v->poll, fd, VIVI_POLL_READ, &j->source, &err);
    if (r < 0) {
        vivi_job_fail(j, &err);
        return;
    }
    j->fd = take_fd(&fd);
    (void)vivi_random(&nonce, sizeof(nonce), NULL);
    vivi_aw_init(&j->wire, VIVI_AW_HOST, j->in, VIVI_JOB_IN_BYTES, nonce);
    vivi_aw_about(&j->wire, about, sizeof(about));
    vivi_aw_connected(&j->wire, nonce, true);
    owe_hello(j);
}
