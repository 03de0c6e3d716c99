#include "monitor/testing.h"

#include <poll.h>

struct vivi_watch {
    struct vivi_watch *next;
    struct rig_loop *loop;
    int fd;
    unsigned events;
    void (*cb)(void *arg, unsigned events);
    void *arg;
};

struct vivi_timer {
    struct vivi_timer *next;
    struct rig_loop *loop;
    const char *name;
    uint64_t due_ms;
    bool fired;
    void (*cb)(void *arg);
    void *arg;
};

static int watch(void *ctx, int fd, unsigned events, void (*cb)(void *arg, unsigned events),
                 void *arg, struct vivi_watch **ret, viv_error *err)
{
    struct rig_loop *l = ctx;
    struct vivi_watch *w = calloc(1, sizeof(*w));

    if (!w)
        return vivi_fail_oom(err);
    (void)vivi_fd_nonblock(fd, true, NULL);
    *w = (struct vivi_watch){l->watches, l, fd, events, cb, arg};
    l->watches = w;
    *ret = w;
    return 0;
}

static void rewatch(struct vivi_watch *w, unsigned events)
{
    w->events = events;
}

static void unwatch(struct vivi_watch *w)
{
    if (!w)
        return;
    for (struct vivi_watch **p = &w->loop->watches; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            free(w);
            return;
        }
    }
}

static int timer(void *ctx, const char *name, uint64_t after_ms, void (*cb)(void *arg), void *arg,
                 struct vivi_timer **ret, viv_error *err)
{
    struct rig_loop *l = ctx;
    struct vivi_timer *t = calloc(1, sizeof(*t));

    if (!t)
        return vivi_fail_oom(err);
    *t = (struct vivi_timer){l->timers, l, name, l->now_ms + after_ms, false, cb, arg};
    l->timers = t;
    *ret = t;
    return 0;
}

static void timer_stop(struct vivi_timer *t)
{
    if (!t)
        return;
    for (struct vivi_timer **p = &t->loop->timers; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            free(t);
            return;
        }
    }
}

static uint64_t now_ms(void *ctx)
{
    struct rig_loop *l = ctx;

    return l->now_ms;
}

void rig_loop_init(struct rig_loop *l)
{
    *l = (struct rig_loop){.now_ms = 1000000};
    l->face = (struct vivi_loop){l, watch, rewatch, unwatch, timer, timer_stop, now_ms};
}

void rig_loop_done(struct rig_loop *l)
{
    for (const struct vivi_timer *t = l->timers; t; t = t->next)
        print_error("timer %s was never stopped\n", t->name);
    assert_null(l->timers);
    assert_null(l->watches);
}

static struct vivi_timer *next_timer(const struct rig_loop *l)
{
    struct vivi_timer *best = NULL;

    for (struct vivi_timer *t = l->timers; t; t = t->next) {
        if (!t->fired && (!best || t->due_ms < best->due_ms))
            best = t;
    }
    return best;
}

static bool run_timer(struct rig_loop *l)
{
    struct vivi_timer *t = next_timer(l);

    if (!t || t->due_ms > l->now_ms)
        return false;
    t->fired = true;
    l->calls++;
    t->cb(t->arg);
    return true;
}

static bool run_watch(struct rig_loop *l)
{
    for (struct vivi_watch *w = l->watches; w; w = w->next) {
        struct pollfd p = {.fd = w->fd};
        unsigned told = 0;

        if (w->events & VIVI_READ)
            p.events |= POLLIN;
        if (w->events & VIVI_WRITE)
            p.events |= POLLOUT;
        if (!p.events || poll(&p, 1, 0) <= 0)
            continue;
        if (p.revents & (POLLIN | POLLHUP | POLLERR))
            told |= VIVI_READ;
        if (p.revents & POLLOUT)
            told |= VIVI_WRITE;
        l->calls++;
        w->cb(w->arg, told);
        return true; /* the list may be another one by now */
    }
    return false;
}

void rig_loop_settle(struct rig_loop *l)
{
    unsigned turns = 0;

    while ((run_timer(l) || run_watch(l)) && turns < 100000)
        turns++;
    assert_true(turns < 100000); /* a watch that is always ready is a busy loop */
}

void rig_loop_advance(struct rig_loop *l, uint64_t ms)
{
    uint64_t until = l->now_ms + ms;

    rig_loop_settle(l);
    for (struct vivi_timer *t = next_timer(l); t && t->due_ms <= until; t = next_timer(l)) {
        if (t->due_ms > l->now_ms)
            l->now_ms = t->due_ms;
        rig_loop_settle(l);
    }
    l->now_ms = until;
    rig_loop_settle(l);
}

int64_t rig_loop_timer(const struct rig_loop *l, const char *name)
{
    for (const struct vivi_timer *t = l->timers; t; t = t->next) {
        if (!t->fired && strcmp(t->name, name) == 0)
            return (int64_t)(t->due_ms - l->now_ms);
    }
    return -1;
}

size_t rig_loop_timers(const struct rig_loop *l)
{
    size_t n = 0;

    for (const struct vivi_timer *t = l->timers; t; t = t->next)
        n++;
    return n;
}
