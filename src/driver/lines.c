/*
 * The line channel of control protocols.
 *
 * Theory of operation: the socket is non-blocking. What cannot be sent at once waits in `out`, and
 * only then write readiness is watched. What arrives is collected in `in` and handed out line by
 * line; `scanned` keeps a long half line from being searched again with each piece. A callback may
 * close the channel, so `open` is looked at after each one. A failed send is told to the owner from
 * the loop (a zero timer), because callbacks must not run inside a call of the owner's.
 */
#include "driver/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

#define READ_BYTES       4096
#define READS_PER_WAKEUP 32 /* then others get their turn; level-triggered, so nothing is lost */

static void lines_event(void *arg, unsigned events);

int vivi_lines_open(struct vivi_lines *l, const struct vivi_loop *loop, const char *path,
                    const struct vivi_lines_handler *on, viv_error *err)
{
    cleanup_close int fd = -1;
    struct vivi_watch *watch;
    int r;

    r = vivi_unix_connect(path, &fd, err);
    if (r < 0)
        return r;
    r = vivi_fd_nonblock(fd, true, err);
    if (r < 0)
        return r;

    memset(l, 0, sizeof(*l));
    r = loop->watch(loop->ctx, fd, VIVI_READ, lines_event, l, &watch, err);
    if (r < 0)
        return r;
    l->fd = take_fd(&fd);
    l->watch = watch;
    l->loop = loop;
    l->on = *on;
    vivi_buf_init(&l->in, VIVI_LINE_MAX_BYTES + READ_BYTES);
    vivi_buf_init(&l->out, VIVI_LINES_OUT_BYTES);
    l->open = true;
    return 0;
}

void vivi_lines_look(struct vivi_lines *l)
{
    if (l->open)
        lines_event(l, VIVI_READ);
}

void vivi_lines_close(struct vivi_lines *l)
{
    if (!l->open)
        return;
    l->open = false;
    l->loop->unwatch(l->watch);
    l->watch = NULL;
    l->loop->timer_stop(l->late_end);
    l->late_end = NULL;
    vivi_close(&l->fd);
    vivi_buf_done(&l->in);
    vivi_buf_done(&l->out);
}

static void lines_end(struct vivi_lines *l, const viv_error *why)
{
    if (!l->open)
        return;
    vivi_lines_close(l);
    l->on.end(l->on.arg, why);
}

static void late_end(void *arg)
{
    struct vivi_lines *l = arg;
    viv_error why = l->late_error;

    lines_end(l, &why);
}

/* Sends what waits. A dead peer is not told here: its end of file tells why better. */
static int flush_out(struct vivi_lines *l, viv_error *err)
{
    while (l->out.len > 0) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot send to the VMM");
        vivi_buf_consume(&l->out, (size_t)n);
    }
    l->loop->rewatch(l->watch, l->out.len > 0 ? VIVI_READ | VIVI_WRITE : VIVI_READ);
    return 0;
}

int vivi_lines_send(struct vivi_lines *l, const char *text, size_t len, viv_error *err)
{
    int r;

    if (!l->open)
        return vivi_fail(err, VIV_E_IO, "the VMM has closed its control socket");
    if (l->out.len + len > VIVI_LINES_OUT_BYTES)
        return vivi_fail(err, VIV_E_BUSY, "the VMM reads no commands");
    r = vivi_buf_add(&l->out, text, len);
    if (r < 0)
        return vivi_fail_oom(err);
    l->late_error = (viv_error)VIV_ERROR_INIT;
    if (!l->late_end && flush_out(l, &l->late_error) < 0)
        return l->loop->timer(l->loop->ctx, "vmm-send-failed", 0, late_end, l, &l->late_end, err);
    return 0;
}

/* Hands out every whole line; false when the channel was closed meanwhile. */
static bool hand_out(struct vivi_lines *l)
{
    size_t start = 0;

    while (l->open) {
        char *lf = memchr(l->in.data + l->scanned, '\n', l->in.len - l->scanned);
        size_t len, next;

        if (!lf)
            break;
        next = (size_t)(lf - l->in.data) + 1;
        len = next - 1 - start;
        if (len > 0 && l->in.data[start + len - 1] == '\r')
            len--;
        l->in.data[start + len] = '\0';
        l->scanned = next;
        l->on.line(l->on.arg, l->in.data + start, len);
        start = next;
    }
    if (!l->open)
        return false;
    vivi_buf_consume(&l->in, start);
    l->scanned = l->in.len;
    return true;
}

/* 1 something came and was handed out, 0 nothing now or closed. */
static int read_once(struct vivi_lines *l)
{
    viv_error why = VIV_ERROR_INIT;
    ssize_t n;

    if (vivi_buf_reserve(&l->in, READ_BYTES) < 0) {
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "the VMM sent a line longer than %u bytes",
                        VIVI_LINE_MAX_BYTES);
        lines_end(l, &why);
        return 0;
    }
    n = recv(l->fd, l->in.data + l->in.len, READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    if (n <= 0) {
        if (n < 0 && errno != ECONNRESET)
            (void)vivi_fail_errno(&why, errno, "cannot read from the VMM");
        else
            (void)vivi_fail(&why, VIV_E_IO, "the VMM has closed its control socket");
        lines_end(l, &why);
        return 0;
    }
    l->in.len += (size_t)n;
    l->in.data[l->in.len] = '\0';
    return hand_out(l) ? 1 : 0;
}

static void lines_event(void *arg, unsigned events)
{
    struct vivi_lines *l = arg;

    if ((events & VIVI_WRITE) && flush_out(l, NULL) < 0)
        l->loop->rewatch(l->watch, VIVI_READ); /* the end of file that follows says why */
    if (!(events & VIVI_READ))
        return;
    for (int i = 0; i < READS_PER_WAKEUP && l->open; i++)
        if (read_once(l) == 0)
            return;
}
