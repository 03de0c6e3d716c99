#include "poll_loop.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"

static int loop_watch(void *ctx, int fd, unsigned events, void (*cb)(void *, unsigned), void *arg,
                      struct vivi_watch **ret, viv_error *err)
{
    struct poll_loop *l = ctx;

    for (unsigned i = 0; i < POLL_LOOP_MAX; i++) {
        struct vivi_watch *w = &l->watches[i];

        if (w->used)
            continue;
        *w = (struct vivi_watch){l, fd, events, true, cb, arg};
        *ret = w;
        return 0;
    }
    return vivi_fail(err, VIV_E_NO_MEMORY, "too many watches");
}

static void loop_rewatch(struct vivi_watch *w, unsigned events)
{
    w->events = events;
}

static void loop_unwatch(struct vivi_watch *w)
{
    if (w)
        w->used = false;
}

static int loop_timer(void *ctx, const char *name, uint64_t after_ms, void (*cb)(void *), void *arg,
                      struct vivi_timer **ret, viv_error *err)
{
    struct poll_loop *l = ctx;

    (void)name;
    for (unsigned i = 0; i < POLL_LOOP_MAX; i++) {
        struct vivi_timer *t = &l->timers[i];

        if (t->used)
            continue;
        *t = (struct vivi_timer){l, vivi_mono_us() / 1000 + after_ms, true, false, cb, arg};
        *ret = t;
        return 0;
    }
    return vivi_fail(err, VIV_E_NO_MEMORY, "too many timers");
}

static void loop_timer_stop(struct vivi_timer *t)
{
    if (t)
        t->used = false;
}

static uint64_t loop_now_ms(void *ctx)
{
    (void)ctx;
    return vivi_mono_us() / 1000;
}

void poll_loop_init(struct poll_loop *l)
{
    memset(l, 0, sizeof(*l));
    l->iface = (struct vivi_loop){.ctx = l,
                                  .watch = loop_watch,
                                  .rewatch = loop_rewatch,
                                  .unwatch = loop_unwatch,
                                  .timer = loop_timer,
                                  .timer_stop = loop_timer_stop,
                                  .now_ms = loop_now_ms};
}

/* Fires the first due timer; otherwise lowers *timeout_ms to the next one. */
static bool fire_timer(struct poll_loop *l, int *timeout_ms)
{
    uint64_t now = vivi_mono_us() / 1000;

    for (unsigned i = 0; i < POLL_LOOP_MAX; i++) {
        struct vivi_timer *t = &l->timers[i];

        if (!t->used || t->fired)
            continue;
        if (t->due_ms <= now) {
            t->fired = true;
            t->cb(t->arg);
            return true;
        }
        if (*timeout_ms < 0 || t->due_ms - now < (uint64_t)*timeout_ms)
            *timeout_ms = (int)(t->due_ms - now);
    }
    return false;
}

static bool fire_watch(struct poll_loop *l, int timeout_ms)
{
    struct pollfd fds[POLL_LOOP_MAX];
    unsigned of[POLL_LOOP_MAX];
    nfds_t n = 0;

    for (unsigned k = 0; k < POLL_LOOP_MAX; k++) {
        unsigned i = (l->turn + k) % POLL_LOOP_MAX;
        struct vivi_watch *w = &l->watches[i];

        if (!w->used || w->events == 0)
            continue;
        fds[n].fd = w->fd;
        fds[n].revents = 0;
        fds[n].events =
            (short)((w->events & VIVI_READ ? POLLIN : 0) | (w->events & VIVI_WRITE ? POLLOUT : 0));
        of[n++] = i;
    }
    if (poll(fds, n, timeout_ms) <= 0)
        return false;
    for (nfds_t k = 0; k < n; k++) {
        struct vivi_watch *w = &l->watches[of[k]];
        unsigned got = (fds[k].revents & (POLLIN | POLLHUP | POLLERR) ? VIVI_READ : 0) |
                       (fds[k].revents & POLLOUT ? VIVI_WRITE : 0);

        if (!got)
            continue;
        l->turn = of[k] + 1;
        w->cb(w->arg, got);
        return true;
    }
    return false;
}

int poll_loop_step(struct poll_loop *l, int timeout_ms)
{
    if (fire_timer(l, &timeout_ms) || fire_watch(l, timeout_ms))
        return 1;
    return fire_timer(l, &timeout_ms) ? 1 : 0;
}

unsigned poll_loop_leftovers(const struct poll_loop *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < POLL_LOOP_MAX; i++)
        n += (unsigned)l->watches[i].used + (unsigned)l->timers[i].used;
    return n;
}
