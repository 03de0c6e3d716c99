/*
 * Theory of operation. A watch is a uv_poll_t, a timer a uv_timer_t, each on the heap with its
 * callback; closing is asynchronous in libuv, so the memory is freed by the close callback, while
 * the contract ("no callback afterwards") holds from the call on. Timers are one-shot, armed from
 * the real time and not from the loop's cached one, so a long callback does not shift a deadline.
 * VIV_LOG=debug names each timer as it is armed and as it fires: an idle monitor has none.
 *
 * uv_poll_init makes the descriptor non-blocking, and that flag belongs to the open file
 * description: only descriptors that no VMM shares may be watched.
 */
#include "monitor/loop_uv.h"

#include <uv.h>

#include "base/log.h"

struct vivi_uv {
    uv_loop_t loop;
    struct vivi_loop face;
};

struct vivi_watch {
    uv_poll_t poll;
    int want; /* UV_… */
    void (*cb)(void *arg, unsigned events);
    void *arg;
};

struct vivi_timer {
    uv_timer_t timer;
    const char *name; /* a literal */
    void (*cb)(void *arg);
    void *arg;
};

/*
 * On an error of the descriptor (a peer that died with our words unread: ECONNRESET) libuv stops
 * the handle before it tells. But what the peer had said is read first, and the error by a later
 * read: so the watch must go on until its owner has seen the end.
 */
static void on_poll(uv_poll_t *h, int status, int events)
{
    struct vivi_watch *w = (struct vivi_watch *)h->data;
    unsigned told = 0;

    if (status < 0)
        (void)uv_poll_start(&w->poll, w->want, on_poll);
    if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT)))
        told |= VIVI_READ;
    if (events & UV_WRITABLE)
        told |= VIVI_WRITE;
    if (told)
        w->cb(w->arg, told);
}

static void rewatch(struct vivi_watch *w, unsigned events)
{
    int want = 0;

    if (events & VIVI_READ)
        want |= UV_READABLE | UV_DISCONNECT;
    if (events & VIVI_WRITE)
        want |= UV_WRITABLE;
    w->want = want;
    if (want)
        (void)uv_poll_start(&w->poll, want, on_poll); /* fails only while closing */
    else
        (void)uv_poll_stop(&w->poll);
}

static void free_closed(uv_handle_t *h)
{
    free(h->data);
}

static int watch(void *ctx, int fd, unsigned events, void (*cb)(void *arg, unsigned events),
                 void *arg, struct vivi_watch **ret, viv_error *err)
{
    struct vivi_uv *u = ctx;
    struct vivi_watch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return vivi_fail_oom(err);
    r = uv_poll_init(&u->loop, &w->poll, fd);
    if (r < 0) {
        free(w);
        return vivi_fail_errno(err, -r, "cannot watch descriptor %d", fd);
    }
    w->poll.data = w;
    w->cb = cb;
    w->arg = arg;
    rewatch(w, events);
    *ret = w;
    return 0;
}

static void unwatch(struct vivi_watch *w)
{
    if (!w)
        return;
    (void)uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, free_closed);
}

static void on_timer(uv_timer_t *h)
{
    struct vivi_timer *t = h->data;

    vivi_log(VIVI_LOG_DEBUG, "timer %s: fires", t->name);
    t->cb(t->arg);
}

static int timer(void *ctx, const char *name, uint64_t after_ms, void (*cb)(void *arg), void *arg,
                 struct vivi_timer **ret, viv_error *err)
{
    struct vivi_uv *u = ctx;
    struct vivi_timer *t = calloc(1, sizeof(*t));

    if (!t)
        return vivi_fail_oom(err);
    (void)uv_timer_init(&u->loop, &t->timer); /* cannot fail */
    t->timer.data = t;
    t->name = name;
    t->cb = cb;
    t->arg = arg;
    uv_update_time(&u->loop);
    (void)uv_timer_start(&t->timer, on_timer, after_ms, 0);
    vivi_log(VIVI_LOG_DEBUG, "timer %s: in %llu ms", name, (unsigned long long)after_ms);
    *ret = t;
    return 0;
}

static void timer_stop(struct vivi_timer *t)
{
    if (!t)
        return;
    (void)uv_timer_stop(&t->timer);
    uv_close((uv_handle_t *)&t->timer, free_closed);
}

static uint64_t now_ms(void *ctx)
{
    struct vivi_uv *u = ctx;

    uv_update_time(&u->loop);
    return uv_now(&u->loop);
}

int vivi_uv_new(struct vivi_uv **ret, viv_error *err)
{
    struct vivi_uv *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return vivi_fail_oom(err);
    r = uv_loop_init(&u->loop);
    if (r < 0) {
        free(u);
        return vivi_fail_errno(err, -r, "cannot make an event loop");
    }
    u->face = (struct vivi_loop){.ctx = u,
                                 .watch = watch,
                                 .rewatch = rewatch,
                                 .unwatch = unwatch,
                                 .timer = timer,
                                 .timer_stop = timer_stop,
                                 .now_ms = now_ms};
    *ret = u;
    return 0;
}

void vivi_uv_free(struct vivi_uv *u)
{
    if (!u)
        return;
    (void)uv_run(&u->loop, UV_RUN_NOWAIT); /* close callbacks */
    (void)uv_loop_close(&u->loop);
    free(u);
}

const struct vivi_loop *vivi_uv_loop(struct vivi_uv *u)
{
    return &u->face;
}

void vivi_uv_run(struct vivi_uv *u)
{
    (void)uv_run(&u->loop, UV_RUN_DEFAULT);
}

void vivi_uv_stop(struct vivi_uv *u)
{
    uv_stop(&u->loop);
}
