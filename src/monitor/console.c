#include "monitor/console.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define CHUNK_BYTES  16384
#define NOTICE_BYTES 96
#define SLICE_CHUNKS 16 /* one client gets no more than this before the loop turns */

struct vivi_console {
    struct vivi_console *next;
    struct vivi_consoles *all;
    int fd;
    struct vivi_watch *watch;
    uint64_t offset; /* of the log: the next byte to send */
    char notice[NOTICE_BYTES];
    size_t notice_len;
    bool writer, blocked; /* blocked: its socket is full */
    bool broken;
};

static void want_events(struct vivi_console *c)
{
    unsigned events = c->blocked ? VIVI_WRITE : 0;

    /* Input that the VMM does not take holds its writer back; the others are only drained. */
    if (!c->writer || c->all->input_len == 0)
        events |= VIVI_READ;
    c->all->loop->rewatch(c->watch, events);
}

void vivi_consoles_init(struct vivi_consoles *all, const struct vivi_loop *loop)
{
    *all = (struct vivi_consoles){.loop = loop, .log_fd = -1, .terminal_fd = -1, .fifo_fd = -1};
}

static void close_fifo(struct vivi_consoles *all)
{
    if (all->loop)
        all->loop->unwatch(all->fifo_watch);
    all->fifo_watch = NULL;
    vivi_close(&all->fifo_fd);
    all->input_len = 0;
}

void vivi_consoles_begin(struct vivi_consoles *all, int log_fd, uint64_t log_size, const char *fifo)
{
    close_fifo(all);
    all->log_fd = log_fd;
    all->log_size = log_size;
    all->fifo = fifo;
    all->terminal_fd = -1;
}

void vivi_consoles_terminal(struct vivi_consoles *all, int fd)
{
    all->terminal_fd = fd;
}

/* ---- output ---- */

static void mark(struct vivi_console *c, const char *text)
{
    size_t room = sizeof(c->notice) - c->notice_len;
    int n = snprintf(c->notice + c->notice_len, room, "\r\n[viv: %s]\r\n", text);

    if (n > 0 && (size_t)n < room)
        c->notice_len += (size_t)n;
}

static void skip_lost(struct vivi_console *c)
{
    uint64_t behind = c->all->log_size > c->offset ? c->all->log_size - c->offset : 0;
    char text[48];

    if (behind <= VIVI_CONSOLE_BACKLOG || c->notice_len > 0)
        return;
    (void)snprintf(text, sizeof(text), "%" PRIu64 " bytes lost", behind - VIVI_CONSOLE_KEEP);
    mark(c, text);
    c->offset = c->all->log_size - VIVI_CONSOLE_KEEP;
}

/* Bytes taken; −1 the socket is full or broken. */
static ssize_t give(struct vivi_console *c, const char *data, size_t len)
{
    ssize_t n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        c->blocked = true;
    else
        c->broken = true;
    return -1;
}

static bool give_notice(struct vivi_console *c)
{
    ssize_t n;

    if (c->notice_len == 0)
        return true;
    n = give(c, c->notice, c->notice_len);
    if (n > 0) {
        c->notice_len -= (size_t)n;
        memmove(c->notice, c->notice + n, c->notice_len);
    }
    return c->notice_len == 0;
}

static void send_more(struct vivi_console *c)
{
    char chunk[CHUNK_BYTES];

    c->blocked = false;
    skip_lost(c);
    for (unsigned i = 0; give_notice(c) && c->offset < c->all->log_size; i++) {
        uint64_t left = c->all->log_size - c->offset;
        ssize_t n;

        if (i == SLICE_CHUNKS) { /* writable is told again as long as it is */
            c->blocked = true;
            break;
        }
        n = pread(c->all->log_fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk),
                  (off_t)c->offset);
        if (n <= 0)
            break;
        n = give(c, chunk, (size_t)n);
        if (n < 0)
            break;
        c->offset += (uint64_t)n;
    }
}

/* ---- who comes and goes ---- */

static void free_console(struct vivi_console *c)
{
    struct vivi_consoles *all = c->all;

    for (struct vivi_console **p = &all->list; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            break;
        }
    }
    all->n--;
    if (c->writer)
        all->input_len = 0;
    all->loop->unwatch(c->watch);
    vivi_close(&c->fd);
    free(c);
}

static struct vivi_console *writer_of(struct vivi_consoles *all)
{
    for (struct vivi_console *c = all->list; c; c = c->next) {
        if (c->writer)
            return c;
    }
    return NULL;
}

/* ---- input ---- */

static void flush_input(struct vivi_consoles *all);

static void on_fifo(void *arg, unsigned events)
{
    (void)events;
    flush_input(arg);
}

/* A FIFO is opened anew by path: a description of our own, so making it non-blocking touches no
 * VMM. Nobody reads or writes through a VMM's duplicate of a terminal's master. */
static int open_fifo(struct vivi_consoles *all)
{
    if (all->fifo_fd >= 0)
        return 0;
    if (!all->fifo && all->terminal_fd < 0)
        return -1;
    all->fifo_fd = all->fifo ? open(all->fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)
                             : fcntl(all->terminal_fd, F_DUPFD_CLOEXEC, 3);
    if (all->fifo_fd < 0) {
        vivi_log(VIVI_LOG_WARN, "console: input is lost: %s: %s",
                 all->fifo ? all->fifo : "terminal", strerror(errno));
        return -1;
    }
    if (all->loop->watch(all->loop->ctx, all->fifo_fd, 0, on_fifo, all, &all->fifo_watch, NULL) < 0)
        close_fifo(all);
    return all->fifo_fd >= 0 ? 0 : -1;
}

static void flush_input(struct vivi_consoles *all)
{
    struct vivi_console *w = writer_of(all);
    ssize_t n;

    if (all->input_len > 0 && open_fifo(all) < 0)
        all->input_len = 0;
    while (all->input_len > 0) {
        n = write(all->fifo_fd, all->input, all->input_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) { /* nobody reads any more */
            close_fifo(all);
            break;
        }
        all->input_len -= (size_t)n;
        memmove(all->input, all->input + n, all->input_len);
    }
    if (all->fifo_watch)
        all->loop->rewatch(all->fifo_watch, all->input_len > 0 ? VIVI_WRITE : 0);
    if (w)
        want_events(w);
}

static void read_input(struct vivi_console *c)
{
    char waste[1024];
    struct vivi_consoles *all = c->all;
    char *to = c->writer ? all->input : waste;
    size_t room = c->writer ? sizeof(all->input) : sizeof(waste);
    ssize_t n;

    if (c->writer && all->input_len > 0)
        return;
    n = recv(c->fd, to, room, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        c->broken = true;
        return;
    }
    if (n > 0 && c->writer) {
        all->input_len = (size_t)n;
        flush_input(all);
    }
}

static void on_client(void *arg, unsigned events)
{
    struct vivi_console *c = arg;
    struct vivi_consoles *all = c->all;

    if (events & VIVI_READ)
        read_input(c);
    if (!c->broken && ((events & VIVI_WRITE) || !c->blocked))
        send_more(c);
    if (c->broken) {
        free_console(c);
        if (all->changed)
            all->changed(all->ctx);
        return;
    }
    want_events(c);
}

void vivi_consoles_grew(struct vivi_consoles *all, uint64_t size)
{
    struct vivi_console *c, *next;

    if (size > all->log_size)
        all->log_size = size;
    for (c = all->list; c; c = next) {
        next = c->next;
        if (c->blocked)
            continue; /* it comes back by itself */
        send_more(c);
        if (c->broken)
            free_console(c);
        else if (c->blocked)
            want_events(c);
    }
}

void vivi_consoles_end(struct vivi_consoles *all)
{
    while (all->list) {
        if (all->log_fd >= 0)
            send_more(all->list);
        free_console(all->list);
    }
    close_fifo(all);
    all->log_fd = -1;
    all->log_size = 0;
    all->fifo = NULL;
}

void vivi_consoles_done(struct vivi_consoles *all)
{
    if (!all->loop)
        return;
    vivi_consoles_end(all);
}

/* ---- a new one ---- */

static void grant(struct vivi_console *c, const struct vivi_console_ask *ask)
{
    struct vivi_console *old = writer_of(c->all);

    if (ask->readonly || (old && !ask->steal))
        return;
    if (old) {
        old->writer = false;
        mark(old, "another client writes now, this one only watches");
        if (!old->blocked)
            send_more(old);
        want_events(old);
        c->all->input_len = 0;
    }
    c->writer = true;
}

int vivi_console_add(struct vivi_consoles *all, const struct vivi_console_ask *ask, int *ret_fd,
                     bool *ret_writer, viv_error *err)
{
    int pair[2] = {-1, -1};
    struct vivi_console *c;
    int r;

    if (all->n >= VIVI_CONSOLES_MAX)
        return vivi_fail(err, VIV_E_BUSY, "%d consoles are open already", VIVI_CONSOLES_MAX);
    r = vivi_socketpair(pair, err);
    if (r < 0)
        return r;
    c = calloc(1, sizeof(*c));
    if (!c) {
        vivi_close(&pair[0]);
        vivi_close(&pair[1]);
        return vivi_fail_oom(err);
    }
    *c = (struct vivi_console){.all = all, .fd = pair[0], .offset = all->log_size};
    r = all->loop->watch(all->loop->ctx, c->fd, VIVI_READ, on_client, c, &c->watch, err);
    if (r < 0) {
        vivi_close(&pair[0]);
        vivi_close(&pair[1]);
        free(c);
        return r;
    }
    grant(c, ask);
    c->next = all->list;
    all->list = c;
    all->n++;
    *ret_writer = c->writer;
    *ret_fd = pair[1];
    return 0;
}
