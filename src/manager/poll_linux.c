/*
 * Theory of operation: an epoll instance holds an eventfd (wake), a timerfd (deadlines), one
 * inotify instance (events.log) and the sockets of operations in flight. Its descriptor never
 * changes, so a caller's own loop registers it once. One source is handled per epoll_wait, because
 * a callback may close the descriptor of the next one.
 */
#include "manager/pollset.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define MOST_AT_ONCE 512 /* callbacks of one run: an endless stream must not lock the caller in */

static int keep(int fd, const char *what, int *ret, viv_error *err)
{
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot make %s", what);
    fd = vivi_fd_above_stdio(fd, err);
    if (fd < 0)
        return fd;
    *ret = fd;
    return 0;
}

static int add(int epoll_fd, int fd, unsigned events, void *arg, viv_error *err)
{
    struct epoll_event e = {.data.ptr = arg};

    e.events =
        (events & VIVI_POLL_READ ? EPOLLIN : 0u) | (events & VIVI_POLL_WRITE ? EPOLLOUT : 0u);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        return vivi_fail_errno(err, errno, "cannot watch a descriptor");
    return 0;
}

int vivi_poll_open(struct vivi_poll *ret, viv_error *err)
{
    struct vivi_poll p = VIVI_POLL_EMPTY;
    int r = keep(epoll_create1(EPOLL_CLOEXEC), "an epoll instance", &p.fd, err);

    if (r == 0)
        r = keep(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "an event descriptor", &p.wake_fd, err);
    if (r == 0)
        r = keep(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "a timer",
                 &p.timer_fd, err);
    /* Our own three have no source: which one is ready is found by reading all of them. */
    if (r == 0)
        r = add(p.fd, p.wake_fd, VIVI_POLL_READ, NULL, err);
    if (r == 0)
        r = add(p.fd, p.timer_fd, VIVI_POLL_READ, NULL, err);
    if (r < 0) {
        vivi_poll_close(&p);
        return r;
    }
    *ret = p;
    return 0;
}

void vivi_poll_close(struct vivi_poll *p)
{
    vivi_close(&p->fd);
    vivi_close(&p->wake_fd);
    vivi_close(&p->timer_fd);
    vivi_close(&p->watch_fd);
}

int vivi_poll_add(struct vivi_poll *p, int fd, unsigned events, struct vivi_source *s,
                  viv_error *err)
{
    return add(p->fd, fd, events, s, err);
}

int vivi_poll_mod(struct vivi_poll *p, int fd, unsigned events, struct vivi_source *s,
                  viv_error *err)
{
    struct epoll_event e = {.data.ptr = s};

    e.events =
        (events & VIVI_POLL_READ ? EPOLLIN : 0u) | (events & VIVI_POLL_WRITE ? EPOLLOUT : 0u);
    if (epoll_ctl(p->fd, EPOLL_CTL_MOD, fd, &e) < 0)
        return vivi_fail_errno(err, errno, "cannot watch a descriptor");
    return 0;
}

void vivi_poll_del(struct vivi_poll *p, int fd)
{
    (void)epoll_ctl(p->fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Empties our own descriptors. 1: woken. */
static int drain(struct vivi_poll *p)
{
    char events[4096];
    uint64_t n;
    int woken = read(p->wake_fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
    ssize_t got = read(p->timer_fd, &n, sizeof(n));

    (void)got; /* that it fired is all it says */
    while (p->watch_fd >= 0 && read(p->watch_fd, events, sizeof(events)) > 0)
        p->changed = true;
    return woken;
}

static void call(const struct epoll_event *e)
{
    const struct vivi_source *s = e->data.ptr;
    unsigned events = e->events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? VIVI_POLL_READ : 0;

    if (e->events & EPOLLOUT)
        events |= VIVI_POLL_WRITE;
    s->ready(s->arg, events);
}

int vivi_poll_run(struct vivi_poll *p, viv_error *err)
{
    struct epoll_event e;
    int woken = 0;

    for (int i = 0; i < MOST_AT_ONCE; i++) {
        int n = epoll_wait(p->fd, &e, 1, 0);

        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot wait for events");
        if (n == 0)
            return woken;
        if (n > 0 && e.data.ptr)
            call(&e);
        else if (n > 0)
            woken |= drain(p);
    }
    return woken;
}

int vivi_poll_block(const struct vivi_poll *p, uint64_t until_us, viv_error *err)
{
    struct pollfd f = {.fd = p->fd, .events = POLLIN};
    uint64_t now = vivi_mono_us();
    uint64_t left_ms = until_us > now ? (until_us - now + 999) / 1000 : 0;
    int timeout = until_us == UINT64_MAX ? -1 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;

    if (poll(&f, 1, timeout) < 0 && errno != EINTR)
        return vivi_fail_errno(err, errno, "cannot wait for events");
    return 0;
}

void vivi_poll_wake(struct vivi_poll *p)
{
    int saved = errno; /* of whatever a signal handler interrupted */
    uint64_t one = 1;
    ssize_t n = write(p->wake_fd, &one, sizeof(one));

    (void)n; /* a full counter is awake already */
    errno = saved;
}

void vivi_poll_timer(struct vivi_poll *p, uint64_t at_us)
{
    struct itimerspec t = {{0, 0}, {0, 0}};

    if (at_us != UINT64_MAX) {
        t.it_value.tv_sec = (time_t)(at_us / 1000000);
        t.it_value.tv_nsec = (long)(at_us % 1000000) * 1000;
        if (at_us == 0)
            t.it_value.tv_nsec = 1; /* zero would disarm it */
    }
    (void)timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

int vivi_poll_watch(struct vivi_poll *p, const char *dir, viv_error *err)
{
    cleanup_close int fd = -1;
    int r;

    if (p->watch_fd >= 0)
        return 0;
    r = keep(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "a file watch", &fd, err);
    if (r < 0)
        return r;
    if (inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return vivi_fail_errno(err, errno, "cannot watch %s", dir);
    r = add(p->fd, fd, VIVI_POLL_READ, NULL, err);
    if (r < 0)
        return r;
    p->watch_fd = take_fd(&fd);
    return 0;
}
