/* A handle: the state root, the one descriptor, the subscription; see vivarium.h. */
#include "manager/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

int viv_open(const char *root_or_null, uint64_t flags, viv **ret, viv_error *err)
{
    cleanup_free char *path = NULL;
    viv *v;
    int r = 0;

    if (flags & ~(uint64_t)(VIV_OPEN_CREATE | VIV_OPEN_READONLY))
        return vivi_fail(err, VIV_E_INVALID, "viv_open: unknown flags");
    if (!root_or_null) {
        r = vivi_root_default(&path, err);
        if (r < 0)
            return r;
    }
    v = calloc(1, sizeof(*v));
    if (!v)
        return vivi_fail_oom(err);
    v->root = (struct vivi_root)VIVI_ROOT_EMPTY;
    v->poll = (struct vivi_poll)VIVI_POLL_EMPTY;
    v->cache_dir = vivi_cache_dir();
    r = vivi_root_open(root_or_null ? root_or_null : path, (flags & VIV_OPEN_CREATE) != 0,
                       (flags & VIV_OPEN_READONLY) != 0, &v->root, err);
    if (r == 0)
        r = vivi_poll_open(&v->poll, err);
    if (r < 0) {
        viv_close(v);
        return r;
    }
    *ret = v;
    return 0;
}

void viv_close(viv *v)
{
    if (!v)
        return;
    /* The poll set first: nothing below may talk to it (in a forked child it is shared). */
    vivi_poll_close(&v->poll);
    while (v->ops) {
        struct viv_op *op = v->ops;

        op->v = NULL; /* an op that its owner still holds outlives us, finished */
        v->ops = op->next;
        vivi_op_orphan(op);
    }
    if (v->subscribed)
        vivi_events_done(&v->events);
    vivi_filter_done(&v->event_filter);
    json_decref(v->event_labels);
    vivi_root_done(&v->root);
    free(v->cache_dir);
    free(v);
}

const char *viv_root(const viv *v)
{
    return v->root.path;
}

void viv_wake(viv *v)
{
    vivi_poll_wake(&v->poll);
}

int viv_fd(viv *v)
{
    return v->poll.fd;
}

/* When the next operation has something to do. */
static uint64_t next_op(const viv *v)
{
    uint64_t due = VIVI_NEVER;

    for (const struct viv_op *op = v->ops; op; op = op->next) {
        uint64_t at = vivi_op_next_us(op);

        due = at < due ? at : due;
    }
    return due;
}

static uint64_t next_due(const viv *v)
{
    return v->attention ? 0 : next_op(v);
}

void vivi_rearm(viv *v)
{
    vivi_poll_timer(&v->poll, next_due(v));
}

void vivi_rearm_for(viv *v, uint64_t deadline_us)
{
    uint64_t due = next_op(v);

    vivi_poll_timer(&v->poll, due < deadline_us ? due : deadline_us);
}

int64_t viv_timeout_ms(viv *v)
{
    uint64_t due = next_due(v), now = vivi_mono_us();

    if (due == VIVI_NEVER)
        return -1;
    return due > now ? (int64_t)((due - now + 999) / 1000) : 0;
}

/* Operations may leave the list while they do what is due, so the walk begins anew after each. */
static void do_what_is_due(viv *v)
{
    uint64_t now = vivi_mono_us();
    struct viv_op *op = v->ops;

    while (op) {
        if (vivi_op_next_us(op) <= now) {
            vivi_op_due(op, now);
            op = v->ops;
        } else {
            op = op->next;
        }
    }
}

int vivi_turn(viv *v, viv_error *err)
{
    int woken = vivi_poll_run(&v->poll, err);

    if (woken >= 0)
        do_what_is_due(v);
    vivi_ops_sweep(v);
    if (v->poll.changed) { /* whichever call met it: the subscriber has to look */
        v->poll.changed = false;
        v->attention = true;
    }
    return woken;
}

int viv_dispatch(viv *v, viv_error *err)
{
    int r = vivi_turn(v, err);

    v->attention = false; /* whoever calls this looks at its operations next */
    vivi_rearm(v);
    return r < 0 ? r : 0;
}
