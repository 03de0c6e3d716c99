/*
 * channel.c: frames in and out.
 *
 * The stream is edge-triggered, because a virtio-serial port without a host reports a hang-up all
 * the time, and with edges only when something changes: so an agent nobody talks to sleeps. The
 * price is that reading goes on until nothing is left, or `readable` stays set for the next turn.
 *
 * Output is one buffer of whole frames. The handshake's bytes go behind the last of them, so they
 * always stand between two frames.
 *
 * Much data does not go through it: what a command's pipe holds is moved (splice) into a first pipe
 * of ours, which tells how much it is; then head, data and seal into a second one, and that whole
 * into the stream. A virtio-serial port takes the pages themselves, in one go. It must be given all
 * that the pipe holds: Linux (up to 6.1 at least) makes a broken descriptor chain of a part of it.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#define TURN_READS 64
/* Pages of a window, and one each for head and seal. */
#define FRAME_PIPE_BYTES (2 * VIVI_AW_WINDOW)

static uint64_t random_nonce(void)
{
    uint64_t n = 0;

    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t)sizeof(n))
        n = loop_now_ms() * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid() << 32; /* early in a boot */
    return n;
}

void channel_init(struct agent *a)
{
    struct channel *c = &a->channel;

    c->stream.fd = c->listener.fd = c->uevents.fd = -1;
    c->gather[0] = c->gather[1] = c->frame[0] = c->frame[1] = -1;
    vivi_aw_init(&c->aw, VIVI_AW_AGENT, c->in, sizeof(c->in), random_nonce());
}

static size_t room(const struct channel *c)
{
    return sizeof(c->out) - (c->out_end - c->out_at);
}

/* Room behind the end, if need be by moving what waits to the front. */
static void make_room(struct channel *c, size_t n)
{
    if (c->out_at == c->out_end)
        c->out_at = c->out_end = 0;
    if (sizeof(c->out) - c->out_end >= n || c->out_at == 0)
        return;
    memmove(c->out, c->out + c->out_at, c->out_end - c->out_at);
    c->out_end -= c->out_at;
    c->out_at = 0;
}

bool channel_has_room(const struct agent *a, size_t payload)
{
    return room(&a->channel) >= payload + VIVI_AW_FRAME_EXTRA;
}

char *channel_begin(struct agent *a, size_t want, size_t *ret_room)
{
    struct channel *c = &a->channel;

    if (!c->aw.up || !channel_has_room(a, want + 2 * AGENT_REPLY_MAX))
        return NULL;
    make_room(c, want + VIVI_AW_FRAME_EXTRA);
    *ret_room = want;
    return (char *)c->out + c->out_end + VIVI_AW_HEAD;
}

void channel_commit(struct agent *a, uint32_t stream, unsigned channel, size_t len)
{
    struct channel *c = &a->channel;
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_DATA, .channel = (uint16_t)channel, .stream = stream, .len = len};

    vivi_aw_head(&f, c->out + c->out_end);
    vivi_aw_seal(&c->aw, c->out + c->out_end + VIVI_AW_HEAD + len);
    c->out_end += VIVI_AW_FRAME_EXTRA + len;
    /* The host may begin with it while the rest is gathered. */
    if (c->out_end - c->out_at >= VIVI_AW_DATA_BEST)
        channel_flush(a);
}

void channel_send(struct agent *a, const struct vivi_aw_frame *f)
{
    struct channel *c = &a->channel;

    if (!c->aw.up)
        return;
    make_room(c, f->len + VIVI_AW_FRAME_EXTRA);
    c->out_end += vivi_aw_encode(&c->aw, f, c->out + c->out_end, sizeof(c->out) - c->out_end);
}

void channel_send_fields(struct agent *a, enum vivi_aw_type type, uint32_t stream,
                         const struct vivi_aw_writer *w)
{
    const struct vivi_aw_frame f = {
        .type = (uint8_t)type, .stream = stream, .payload = w->data, .len = w->len};

    channel_send(a, &f);
}

static void pipes_close(struct channel *c)
{
    for (int i = 0; i < 2; i++) {
        vivi_close(&c->gather[i]);
        vivi_close(&c->frame[i]);
    }
    c->framed = 0;
}

static bool pipes_open(struct channel *c)
{
    if (c->frame[0] >= 0)
        return true;
    if (pipe2(c->gather, O_CLOEXEC | O_NONBLOCK) == 0 &&
        pipe2(c->frame, O_CLOEXEC | O_NONBLOCK) == 0 &&
        fcntl(c->frame[1], F_SETPIPE_SZ, FRAME_PIPE_BYTES) >= (int)FRAME_PIPE_BYTES)
        return true;
    pipes_close(c);
    c->copies_only = true;
    return false;
}

/* Head, what was gathered, seal. False: they did not fit, which cannot be. */
static bool put_together(struct channel *c, const struct vivi_aw_frame *f)
{
    unsigned char head[VIVI_AW_HEAD], seal[VIVI_AW_SEAL];
    size_t left = f->len;

    vivi_aw_head(f, head);
    vivi_aw_seal(&c->aw, seal);
    if (write(c->frame[1], head, sizeof(head)) != (ssize_t)sizeof(head))
        return false;
    while (left > 0) {
        ssize_t n = splice(c->gather[0], NULL, c->frame[1], NULL, left, SPLICE_F_NONBLOCK);

        if (n <= 0)
            return false;
        left -= (size_t)n;
    }
    c->framed = f->len + VIVI_AW_FRAME_EXTRA;
    return write(c->frame[1], seal, sizeof(seal)) == (ssize_t)sizeof(seal);
}

/* The stream does not take pages: the frame goes by way of the buffer, which is empty. */
static void copy_framed(struct channel *c)
{
    ssize_t n;

    c->copies_only = true;
    make_room(c, c->framed);
    n = read(c->frame[0], c->out + c->out_end, c->framed);
    c->out_end += n > 0 ? (size_t)n : 0;
    pipes_close(c);
}

static void start_over(struct agent *a);

/* True when nothing of it waits any more. */
static bool flush_framed(struct agent *a)
{
    struct channel *c = &a->channel;

    while (c->framed > 0) {
        ssize_t n = splice(c->frame[0], NULL, c->stream.fd, NULL, c->framed, SPLICE_F_NONBLOCK);

        if (n > 0)
            c->framed -= (size_t)n;
        else if (n < 0 && (errno == EINVAL || errno == ENOSYS) && c->out_at == c->out_end)
            copy_framed(c);
        else if (n == 0 || (n < 0 && errno == ENOMEM))
            start_over(a); /* a port that was out of memory has thrown it away */
        else if (n < 0 && errno != EINTR)
            return false; /* full: an edge will tell; or gone, which shows when reading */
    }
    return true;
}

size_t channel_splice(struct agent *a, uint32_t stream, unsigned channel, int pipe_fd, size_t want)
{
    struct channel *c = &a->channel;
    struct vivi_aw_frame f = {.type = VIVI_AW_DATA, .channel = (uint16_t)channel, .stream = stream};
    ssize_t n;

    if (c->copies_only || !c->aw.up || !pipes_open(c))
        return 0;
    channel_flush(a);
    if (!c->aw.up || c->stream.fd < 0 || c->framed > 0 || c->out_at != c->out_end)
        return 0;
    n = splice(pipe_fd, NULL, c->gather[1], NULL, want, SPLICE_F_NONBLOCK);
    if (n <= 0)
        return 0;
    f.len = (size_t)n;
    if (!put_together(c, &f))
        start_over(a);
    else
        channel_flush(a);
    return (size_t)n;
}

static void greet(struct channel *c)
{
    while (c->aw.hello_due && room(c) >= VIVI_AW_HELLO_MAX) {
        make_room(c, VIVI_AW_HELLO_MAX);
        c->out_end += vivi_aw_hello(&c->aw, c->out + c->out_end, sizeof(c->out) - c->out_end);
    }
}

/* Another host, or none: nothing that waits to be sent is for it. */
static void link_down(struct agent *a)
{
    struct channel *c = &a->channel;

    c->linked = false;
    c->readable = false;
    c->out_at = c->out_end = 0;
    if (c->framed > 0)
        pipes_close(c);
    c->aw.up = false;
    streams_stop_all(a);
}

static void link_up(struct agent *a, bool fresh)
{
    struct channel *c = &a->channel;

    c->linked = true;
    c->readable = true;
    c->out_at = c->out_end = 0;
    vivi_aw_connected(&c->aw, random_nonce(), fresh);
}

/* What the peer got is no whole frame: a new session. */
static void start_over(struct agent *a)
{
    pipes_close(&a->channel);
    link_down(a);
    link_up(a, false);
}

static void stream_lost(struct agent *a)
{
    struct channel *c = &a->channel;

    link_down(a);
    if (c->is_port && c->stream.fd >= 0) {
        char byte;

        /* A port that was unplugged says ENODEV; one without a host just has nothing. */
        if (read(c->stream.fd, &byte, 1) >= 0 || errno == EAGAIN)
            return;
    }
    source_close(a, &c->stream);
    if (a->options->fd >= 0)
        a->quit = true;
    else
        (void)channel_open(a, NULL);
}

static void stream_ready(struct agent *a, struct source *s, uint32_t events)
{
    struct channel *c = &a->channel;

    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && c->is_port) {
        if (c->linked)
            stream_lost(a);
        return;
    }
    if (!c->linked)
        link_up(a, true);
    c->readable = true;
}

static void stream_begin(struct agent *a, int fd_consume, bool fresh)
{
    struct channel *c = &a->channel;

    source_open(&c->stream, fd_consume, a, stream_ready);
    source_arm(a, &c->stream, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    c->copies_only = false;
    link_up(a, fresh);
}

static void listener_ready(struct agent *a, struct source *s, uint32_t events)
{
    struct channel *c = &a->channel;
    int fd;

    while (channel_accept(s->fd, &fd) == 1) {
        link_down(a);
        source_close(a, &c->stream);
        c->is_port = false;
        stream_begin(a, fd, true);
    }
}

static void uevent_ready(struct agent *a, struct source *s, uint32_t events)
{
    char text[4096];

    while (read(s->fd, text, sizeof(text)) > 0)
        continue;
    (void)channel_open(a, NULL);
}

static void listener_begin(struct agent *a)
{
    struct channel *c = &a->channel;

    source_open(&c->listener, take_fd(&c->listener.fd), a, listener_ready);
    source_arm(a, &c->listener, EPOLLIN);
}

int channel_open(struct agent *a, viv_error *err)
{
    struct channel *c = &a->channel;
    int r = channel_find(a, err);

    if (r < 0)
        return r;
    /* What is not armed yet was opened just now; at a port the agent before this one may have left
     * half a frame. */
    if (c->stream.fd >= 0 && c->stream.events == 0)
        stream_begin(a, take_fd(&c->stream.fd), !c->is_port);
    if (c->listener.fd >= 0 && c->listener.events == 0)
        listener_begin(a);
    if (c->stream.fd >= 0) {
        source_close(a, &c->uevents);
    } else if (c->uevents.fd >= 0) {
        c->uevents.ready = uevent_ready;
        source_arm(a, &c->uevents, EPOLLIN);
    }
    return 0;
}

void channel_close(struct agent *a)
{
    struct channel *c = &a->channel;

    link_down(a);
    pipes_close(c);
    source_close(a, &c->stream);
    source_close(a, &c->listener);
    source_close(a, &c->uevents);
}

/* All whole frames that there are, as long as there is room for what they may be answered with. */
static bool take_frames(struct agent *a)
{
    struct channel *c = &a->channel;
    struct vivi_aw_frame f;

    for (;;) {
        if (!channel_has_room(a, AGENT_REPLY_MAX))
            return false;
        switch (vivi_aw_next(&c->aw, &f)) {
        case VIVI_AW_MORE: greet(c); return true;
        case VIVI_AW_FRAME: streams_frame(a, &f); break;
        case VIVI_AW_UP: events_session(a); break;
        case VIVI_AW_DOWN: streams_stop_all(a); break;
        case VIVI_AW_ALIEN:
            agent_say(a, "the host speaks versions %u to %u of the protocol, this agent %u to %u",
                      c->aw.peer.version_min, c->aw.peer.version, VIVI_AW_VERSION_MIN,
                      VIVI_AW_VERSION);
            break;
        }
    }
}

void channel_read(struct agent *a)
{
    struct channel *c = &a->channel;

    greet(c);
    for (int i = 0; i < TURN_READS && c->readable && c->stream.fd >= 0; i++) {
        size_t n;
        void *to;
        ssize_t got;

        if (!take_frames(a))
            return;
        to = vivi_aw_space(&c->aw, &n);
        got = read(c->stream.fd, to, n);
        if (got > 0) {
            vivi_aw_received(&c->aw, (size_t)got);
        } else if (got < 0 && errno == EAGAIN) {
            c->readable = false;
        } else if (got == 0 || errno != EINTR) {
            stream_lost(a);
            return;
        }
    }
    (void)take_frames(a);
}

void channel_flush(struct agent *a)
{
    struct channel *c = &a->channel;

    if (!c->linked || c->stream.fd < 0 || !flush_framed(a))
        return;
    greet(c);
    while (c->linked && c->stream.fd >= 0 && c->out_at < c->out_end) {
        ssize_t n = write(c->stream.fd, c->out + c->out_at, c->out_end - c->out_at);

        if (n > 0)
            c->out_at += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n == 0 || errno == EAGAIN)
            return; /* an edge will tell */
        else
            return; /* a host that is gone shows when reading */
        greet(c);
    }
}
