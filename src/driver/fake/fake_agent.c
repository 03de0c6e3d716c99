/*
 * The channel of the pretended guest's agent. It is like a virtio-serial port: a host may connect
 * although nobody has opened the other end, what it sends then waits, and neither sees the other's
 * death on it.
 */
#include "driver/fake/fake_agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/random.h"

static uint64_t new_nonce(void)
{
    uint64_t n = 1;

    (void)vivi_random(&n, sizeof(n), NULL);
    return n;
}

static void free_stream(struct fake_stream *s)
{
    vivi_buf_done(&s->held);
    *s = (struct fake_stream){.program = FAKE_P_NONE};
}

static void free_streams(struct fake_agent *a)
{
    for (size_t i = 0; i < FAKE_AGENT_STREAMS; i++)
        free_stream(&a->streams[i]);
}

static void owe_hello(struct fake_agent *a)
{
    while (a->wire.hello_due && vivi_buf_reserve(&a->out, VIVI_AW_HELLO_MAX) == 0) {
        size_t n = vivi_aw_hello(&a->wire, a->out.data + a->out.len, VIVI_AW_HELLO_MAX);

        if (n == 0)
            break;
        a->out.len += n;
    }
}

void fake_agent_init(struct fake_agent *a, int listen_fd)
{
    a->listen_fd = listen_fd;
    a->fd = -1;
    vivi_buf_init(&a->out, FAKE_AGENT_OUT_BYTES);
    vivi_aw_init(&a->wire, VIVI_AW_AGENT, a->in, sizeof(a->in), new_nonce());
    vivi_aw_about(&a->wire, "name=viv-fake", sizeof("name=viv-fake"));
}

void fake_agent_start(struct fake_agent *a)
{
    if (a->alive || a->listen_fd < 0)
        return;
    a->alive = true;
    a->said_ready = false;
    vivi_aw_connected(&a->wire, new_nonce(), false);
    owe_hello(a);
}

/* What it had begun to send may stay half done in the channel. */
void fake_agent_stop(struct fake_agent *a)
{
    a->alive = a->power_off = a->reboot = false;
    a->ready_ip[0] = '\0';
    free_streams(a);
    vivi_buf_reset(&a->out);
}

void fake_agent_send(struct fake_agent *a, const struct vivi_aw_frame *f)
{
    size_t size = f->len + VIVI_AW_FRAME_EXTRA;

    if (a->wire.up && vivi_buf_reserve(&a->out, size) == 0)
        a->out.len += vivi_aw_encode(&a->wire, f, a->out.data + a->out.len, size);
}

void fake_agent_result(struct fake_agent *a, struct fake_stream *s, struct vivi_aw_writer *w)
{
    fake_agent_send(
        a, &(struct vivi_aw_frame){
               .type = VIVI_AW_RESULT, .stream = s->id, .payload = w->data, .len = w->len});
    free_stream(s);
}

static void tell_ready(struct fake_agent *a)
{
    char text[128];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    if (!a->wire.up || a->ready_ip[0] == '\0' || a->said_ready)
        return;
    a->said_ready = true;
    vivi_aw_put(&w, "event", "ready");
    vivi_aw_put(&w, "address", a->ready_ip);
    vivi_aw_put(&w, "nonce", a->ready_nonce);
    fake_agent_send(a,
                    &(struct vivi_aw_frame){.type = VIVI_AW_EVENT, .payload = text, .len = w.len});
}

void fake_agent_say_ready(struct fake_agent *a, const char *ip, const char *nonce)
{
    (void)snprintf(a->ready_ip, sizeof(a->ready_ip), "%s", ip);
    (void)snprintf(a->ready_nonce, sizeof(a->ready_nonce), "%s", nonce);
    a->said_ready = false;
    if (a->alive)
        tell_ready(a);
}

/* ---- frames ---- */

static struct fake_stream *find(struct fake_agent *a, uint32_t id)
{
    for (size_t i = 0; i < FAKE_AGENT_STREAMS; i++)
        if (a->streams[i].program != FAKE_P_NONE && a->streams[i].id == id)
            return &a->streams[i];
    return NULL;
}

static void on_open(struct fake_agent *a, const struct vivi_aw_frame *f)
{
    char text[200];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);
    viv_error err = VIV_ERROR_INIT;

    if (a->deaf)
        return;
    for (size_t i = 0; i < FAKE_AGENT_STREAMS; i++) {
        struct fake_stream *s = &a->streams[i];

        if (s->program != FAKE_P_NONE)
            continue;
        *s = (struct fake_stream){.id = f->stream,
                                  .credit = VIVI_AW_CREDIT_FULL,
                                  .held = VIVI_BUF(VIVI_AW_WINDOW),
                                  .due_us = FAKE_AGENT_NEVER,
                                  .timeout_us = FAKE_AGENT_NEVER};
        fake_exec_open(a, s, f);
        return;
    }
    (void)vivi_fail(&err, VIV_E_BUSY, "too many streams");
    vivi_aw_put_error(&w, &err);
    fake_agent_send(
        a, &(struct vivi_aw_frame){
               .type = VIVI_AW_RESULT, .stream = f->stream, .payload = text, .len = w.len});
}

static void on_frame(struct fake_agent *a, const struct vivi_aw_frame *f)
{
    struct fake_stream *s = find(a, f->stream);
    struct vivi_aw_frame pong = *f;

    if (f->type == VIVI_AW_OPEN && !s) {
        on_open(a, f);
        return;
    }
    if (f->type == VIVI_AW_PING && !a->deaf) {
        pong.type = VIVI_AW_PONG;
        fake_agent_send(a, &pong);
    }
    if (!s)
        return;
    if (f->type == VIVI_AW_DATA)
        fake_exec_data(a, s, f);
    else if (f->type == VIVI_AW_EOF)
        s->eof = true;
    else if (f->type == VIVI_AW_CREDIT && vivi_aw_credit_granted(&s->credit, f) < 0)
        free_stream(s);
    else if (f->type == VIVI_AW_CONTROL)
        fake_exec_control(a, s, f);
    else if (f->type == VIVI_AW_RESET)
        free_stream(s);
}

static void take_steps(struct fake_agent *a)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;

    while ((step = vivi_aw_next(&a->wire, &f)) != VIVI_AW_MORE) {
        owe_hello(a);
        if (step == VIVI_AW_FRAME)
            on_frame(a, &f);
        else if (step == VIVI_AW_DOWN)
            free_streams(a);
        if (step == VIVI_AW_UP) {
            a->said_ready = false;
            tell_ready(a);
        }
    }
    owe_hello(a);
}

/* ---- the channel ---- */

int fake_agent_poll(const struct fake_agent *a, short *ret_events)
{
    *ret_events = POLLIN;
    if (a->fd < 0)
        return a->listen_fd;
    *ret_events = (short)((a->alive ? POLLIN : 0) | (a->alive && a->out.len > 0 ? POLLOUT : 0));
    return a->fd; /* a hang-up is told whatever is asked for */
}

/* The host's end is closed: what it had sent is gone with it, the agent knows nothing of it. */
static void hang_up(struct fake_agent *a)
{
    vivi_close(&a->fd);
    vivi_buf_reset(&a->out);
    free_streams(a);
    vivi_aw_connected(&a->wire, new_nonce(), false);
    if (a->alive)
        owe_hello(a);
}

static void receive(struct fake_agent *a)
{
    size_t room;
    void *space = vivi_aw_space(&a->wire, &room);
    ssize_t n = recv(a->fd, space, room, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        hang_up(a);
        return;
    }
    vivi_aw_received(&a->wire, (size_t)n);
    take_steps(a);
}

static void flush(struct fake_agent *a)
{
    while (a->out.len > 0) {
        ssize_t n = send(a->fd, a->out.data, a->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n <= 0)
            return; /* a hang-up is read */
        vivi_buf_consume(&a->out, (size_t)n);
    }
}

void fake_agent_handle(struct fake_agent *a, short revents)
{
    if (a->fd < 0) {
        (void)vivi_accept(a->listen_fd, &a->fd, NULL);
        return;
    }
    if (!a->alive) {
        if (revents & (POLLHUP | POLLERR))
            hang_up(a);
        return;
    }
    if (revents & (POLLIN | POLLHUP | POLLERR))
        receive(a);
    if (a->fd >= 0)
        flush(a);
}

uint64_t fake_agent_play(struct fake_agent *a)
{
    uint64_t next = FAKE_AGENT_NEVER;
    bool full;

    if (!a->alive || a->fd < 0)
        return next;
    for (size_t i = 0; i < FAKE_AGENT_STREAMS; i++) {
        struct fake_stream *s = &a->streams[i];
        uint64_t t = s->program != FAKE_P_NONE ? fake_exec_play(a, s) : FAKE_AGENT_NEVER;

        next = t < next ? t : next;
    }
    full = a->out.len > FAKE_AGENT_OUT_SOME;
    flush(a);
    /* Whom that held up nobody else would wake. */
    return full && a->out.len <= FAKE_AGENT_OUT_SOME ? 0 : next;
}
