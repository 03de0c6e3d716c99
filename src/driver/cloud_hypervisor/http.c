/*
 * Theory of operation. Requests wait in a queue; the first one is on the wire. It is a whole
 * request in one string, written as far as the socket takes it; descriptors go with its first byte,
 * and never two requests are on the way at once, because the VMM gives what has arrived to
 * whichever request is complete next. An answer that says the connection cannot be trusted any more
 * ends it; the next request opens another. When a connection ends by itself everything that waits
 * is failed: what the VMM did with the first request is unknown, and the others were asked after
 * it.
 */
#include "driver/cloud_hypervisor/http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

#define READ_BYTES       16384
#define READS_PER_WAKEUP 8

static void on_socket(void *arg, unsigned events);

/* ---- the queue ---- */

static void call_done(struct ch_call *c)
{
    free(c->text);
    for (size_t i = 0; i < c->n_fds; i++)
        vivi_close(&c->fds[i]);
    memset(c, 0, sizeof(*c));
}

/* Takes the first call off the queue; what it owned is freed. */
static struct ch_call pop(struct ch_http *h)
{
    struct ch_call c = h->calls[0];

    call_done(&h->calls[0]);
    h->n_calls--;
    memmove(h->calls, h->calls + 1, h->n_calls * sizeof(h->calls[0]));
    memset(&h->calls[h->n_calls], 0, sizeof(h->calls[0]));
    h->sent = 0;
    c.text = NULL;
    c.n_fds = 0;
    return c;
}

static void disconnect(struct ch_http *h)
{
    if (!h->loop)
        return; /* nothing was begun */
    h->loop->timer_stop(h->late);
    h->late = NULL;
    if (!h->open)
        return;
    h->open = false;
    h->loop->unwatch(h->watch);
    h->watch = NULL;
    vivi_close(&h->fd);
    vivi_buf_done(&h->in);
    h->sent = 0;
}

static void fail_all(struct ch_http *h, const viv_error *why)
{
    size_t n = h->n_calls; /* what a callback adds is not meant */

    disconnect(h);
    while (n-- > 0 && h->n_calls > 0) {
        struct ch_call c = pop(h);
        viv_error own = *why;

        (void)vivi_wrap(&own, -own.code, "cloud-hypervisor: %s", c.verb);
        h->on.reply(h->on.arg, &c, NULL, &own);
    }
    h->on.end(h->on.arg, why);
}

static void late(void *arg)
{
    struct ch_http *h = arg;
    viv_error why = h->late_why;

    fail_all(h, &why);
}

/* From inside a call of the owner's: told by the loop. */
static int fail_later(struct ch_http *h, viv_error *err)
{
    if (h->late)
        return 0;
    return h->loop->timer(h->loop->ctx, "ch-api-failed", 0, late, h, &h->late, err);
}

/* ---- the wire ---- */

static int reconnect(struct ch_http *h, viv_error *err)
{
    cleanup_close int fd = -1;
    int r = vivi_unix_connect(h->path, &fd, err);

    if (r >= 0)
        r = vivi_fd_nonblock(fd, true, err);
    if (r >= 0)
        r = h->loop->watch(h->loop->ctx, fd, VIVI_READ, on_socket, h, &h->watch, err);
    if (r < 0)
        return r;
    h->fd = take_fd(&fd);
    h->open = true;
    h->sent = 0;
    vivi_buf_init(&h->in, CH_ANSWER_MAX_BYTES + READ_BYTES);
    return 0;
}

static ssize_t send_some(struct ch_http *h, const struct ch_call *c, viv_error *err)
{
    ssize_t n;

    if (h->sent == 0 && c->n_fds > 0)
        return vivi_send_fds(h->fd, c->text, c->len, c->fds, c->n_fds, err);
    do {
        n = send(h->fd, c->text + h->sent, c->len - h->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return -VIV_E_BUSY;
    return n < 0 ? vivi_fail_errno(err, errno, "cannot send to the VMM") : n;
}

/* Writes the first call as far as it goes. */
static int flush(struct ch_http *h, viv_error *err)
{
    const struct ch_call *c = &h->calls[0];

    while (h->n_calls > 0 && h->sent < c->len) {
        ssize_t n = send_some(h, c, err);

        if (n == -VIV_E_BUSY)
            break;
        if (n < 0)
            return (int)n;
        h->sent += (size_t)n;
    }
    h->loop->rewatch(h->watch,
                     h->n_calls > 0 && h->sent < c->len ? VIVI_READ | VIVI_WRITE : VIVI_READ);
    return 0;
}

/* The next call, if there is one and nothing is under way. */
static void go_on(struct ch_http *h)
{
    viv_error why = VIV_ERROR_INIT;

    if (h->n_calls == 0 || h->late)
        return;
    if ((!h->open && reconnect(h, &why) < 0) || flush(h, &why) < 0) {
        if (why.code == VIV_E_NOT_FOUND || why.code == VIV_E_BUSY)
            why.code = VIV_E_IO;
        fail_all(h, &why);
    }
}

/* ---- what comes in ---- */

/* false: the connection is over, or nothing whole is there. */
static bool take_answer(struct ch_http *h)
{
    viv_error why = VIV_ERROR_INIT;
    struct ch_answer a;
    struct ch_call c;
    char *text;
    int r = h->in.len > 0 ? ch_answer_parse(h->in.data, h->in.len, &a, &why) : 0;

    if (r == 1 && h->n_calls == 0)
        r = vivi_fail(&why, VIV_E_PROTOCOL, "cloud-hypervisor: an answer that nobody asked for");
    if (r < 0)
        fail_all(h, &why);
    if (r != 1)
        return false;

    /* The answer must outlive whatever the callback does to the connection. */
    text = h->in.data;
    h->in.data = NULL;
    if (h->in.len > a.whole)
        a.last = true; /* more than was asked for */
    vivi_buf_done(&h->in);
    vivi_buf_init(&h->in, CH_ANSWER_MAX_BYTES + READ_BYTES);
    c = pop(h);
    if (a.last)
        disconnect(h);
    h->on.reply(h->on.arg, &c, &a, NULL);
    free(text);
    if (a.last && h->loop && !h->open && h->n_calls == 0) /* its end tells that of the VMM */
        (void)reconnect(h, NULL);
    go_on(h);
    return h->open;
}

static void ended(struct ch_http *h, int error)
{
    viv_error why = VIV_ERROR_INIT;

    if (error != 0 && error != ECONNRESET)
        (void)vivi_fail_errno(&why, error, "cannot read from the VMM");
    else
        (void)vivi_fail(&why, VIV_E_IO, "the VMM has closed its API socket");
    fail_all(h, &why);
}

/* 1 something came, 0 nothing now or the connection is over. */
static int read_once(struct ch_http *h)
{
    viv_error why = VIV_ERROR_INIT;
    ssize_t n;

    if (vivi_buf_reserve(&h->in, READ_BYTES) < 0) {
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "the VMM sent more than an answer may hold");
        fail_all(h, &why);
        return 0;
    }
    n = recv(h->fd, h->in.data + h->in.len, READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    if (n <= 0) {
        ended(h, n < 0 ? errno : 0);
        return 0;
    }
    h->in.len += (size_t)n;
    h->in.data[h->in.len] = '\0';
    return take_answer(h) || h->open ? 1 : 0;
}

static void on_socket(void *arg, unsigned events)
{
    struct ch_http *h = arg;

    if ((events & VIVI_WRITE) && flush(h, NULL) < 0)
        h->loop->rewatch(h->watch, VIVI_READ); /* the end of file that follows says why */
    if (!(events & VIVI_READ))
        return;
    for (int i = 0; i < READS_PER_WAKEUP && h->open; i++)
        if (read_once(h) == 0)
            return;
}

/* ---- sending ---- */

static bool is_verb(const char *verb)
{
    size_t n = strspn(verb, "abcdefghijklmnopqrstuvwxyz.-");

    return n > 0 && n < CH_VERB_BYTES && verb[n] == '\0';
}

static int format(const struct ch_request *r, struct ch_call *c, viv_error *err)
{
    const char *method = r->get ? "GET" : "PUT";
    cleanup_free char *body = r->body ? json_dumps(r->body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    size_t len = body ? strlen(body) : 0;
    int n;

    if (r->body && !body)
        return vivi_fail_oom(err);
    if (len > CH_BODY_OUT_MAX)
        return vivi_fail(err, VIV_E_INVALID,
                         "cloud-hypervisor: %s: a request of %zu bytes: it takes no more than %u",
                         r->verb, len, CH_BODY_OUT_MAX);
    n = body
            ? asprintf(&c->text,
                       "%s /api/v1/%s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       method, r->verb, len, body)
            : asprintf(&c->text, "%s /api/v1/%s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
                       method, r->verb);
    if (n < 0) {
        c->text = NULL;
        return vivi_fail_oom(err);
    }
    c->len = (size_t)n;
    return 0;
}

static int duplicate(const struct ch_request *r, struct ch_call *c, viv_error *err)
{
    if (r->n_fds > CH_MAX_FDS)
        return vivi_fail(err, VIV_E_INVALID, "cloud-hypervisor: %s: more than %d descriptors",
                         r->verb, CH_MAX_FDS);
    for (; c->n_fds < r->n_fds; c->n_fds++) {
        c->fds[c->n_fds] = fcntl(r->fds[c->n_fds], F_DUPFD_CLOEXEC, 3);
        if (c->fds[c->n_fds] < 0)
            return vivi_fail_errno(err, errno, "cannot duplicate a descriptor");
    }
    return 0;
}

int ch_http_send(struct ch_http *h, const struct ch_request *r, viv_error *err)
{
    struct ch_call c = {.tag = r->tag, .op = r->op};
    int n;

    if (!is_verb(r->verb))
        return vivi_fail(err, VIV_E_INVALID, "cloud-hypervisor: \"%.40s\" is no endpoint", r->verb);
    if (h->n_calls == CH_MAX_CALLS)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: %s: too many requests wait", r->verb);
    (void)snprintf(c.verb, sizeof(c.verb), "%s", r->verb);
    n = format(r, &c, err);
    if (n == 0)
        n = duplicate(r, &c, err);
    if (n == 0 && !h->open && !h->late) {
        viv_error why = VIV_ERROR_INIT;

        n = reconnect(h, &why);
        if (n < 0)
            n = vivi_fail(err, VIV_E_IO, "cloud-hypervisor: %s: %s", r->verb, why.message);
    }
    if (n < 0) {
        call_done(&c);
        return n;
    }
    h->calls[h->n_calls++] = c;
    h->late_why = (viv_error)VIV_ERROR_INIT;
    n = h->n_calls == 1 && !h->late && flush(h, &h->late_why) < 0 ? fail_later(h, err) : 0;
    if (n < 0)
        call_done(&h->calls[--h->n_calls]);
    return n;
}

int ch_http_open(struct ch_http *h, const struct vivi_loop *loop, const char *path,
                 const struct ch_handler *on, viv_error *err)
{
    memset(h, 0, sizeof(*h));
    h->loop = loop;
    h->on = *on;
    (void)snprintf(h->path, sizeof(h->path), "%s", path);
    return reconnect(h, err);
}

void ch_http_look(struct ch_http *h)
{
    if (h->open)
        on_socket(h, VIVI_READ);
}

void ch_http_close(struct ch_http *h)
{
    disconnect(h);
    for (size_t i = 0; i < h->n_calls; i++)
        call_done(&h->calls[i]);
    h->n_calls = 0;
}
