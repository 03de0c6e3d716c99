/* A handle: the state root, the one descriptor, the subscription; see vivarium.h. */
#include "manager/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* Results of running VMM binaries are kept here: not in the root, which a reader may not write. */
static char *cache_dir(void)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int n = -1;

    if (geteuid() == 0 && !(base && base[0] == '/'))
        return strdup("/var/cache/vivarium");
    if (base && base[0] == '/')
        n = asprintf(&path, "%s/vivarium", base);
    else if (home && home[0] == '/')
        n = asprintf(&path, "%s/.cache/vivarium", home);
    return n < 0 ? NULL : path;
}

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
    v->cache_dir = cache_dir();
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
    json_decref(v->event_filter);
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
    return woken;
}

int viv_dispatch(viv *v, viv_error *err)
{
    int r = vivi_turn(v, err);

    v->attention = false; /* whoever calls this looks at its operations next */
    vivi_rearm(v);
    return r < 0 ? r : 0;
}

/* ---- events ---- */

static const char *const event_keys[] = {"vm", "uuid", "type"};

static int parse_term(json_t *filter, char *term, viv_error *err)
{
    char *equals = strchr(term, '=');

    if (!equals)
        return vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not KEY=VALUE", term);
    *equals = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(event_keys); i++) {
        if (strcmp(event_keys[i], term) != 0)
            continue;
        return json_object_set_new(filter, term, vivi_json_str(equals + 1)) < 0 ? vivi_fail_oom(err)
                                                                                : 0;
    }
    return vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not a key of events (vm, uuid, type)",
                     term);
}

static int parse_event_filter(const char *text, json_t **ret, viv_error *err)
{
    cleanup_json json_t *filter = json_object();
    cleanup_free char *copy = strdup(text ? text : "");
    char *rest = NULL;

    if (!filter || !copy)
        return vivi_fail_oom(err);
    for (char *t = strtok_r(copy, ",", &rest); t; t = strtok_r(NULL, ",", &rest)) {
        int r = parse_term(filter, t, err);

        if (r < 0)
            return r;
    }
    *ret = take_ptr(filter);
    return 0;
}

int viv_subscribe(viv *v, const char *filter, uint64_t after_seq, viv_error *err)
{
    cleanup_json json_t *parsed = NULL;
    struct vivi_events events;
    uint64_t after = after_seq == 0 ? VIVI_EVENTS_NEW : after_seq == VIV_EVENTS_ALL ? 0 : after_seq;
    int r = parse_event_filter(filter, &parsed, err);

    if (r == 0 && v->root.fd < 0)
        r = vivi_fail(err, VIV_E_NOT_FOUND, "state root %s: no such directory", v->root.path);
    if (r == 0)
        r = vivi_poll_watch(&v->poll, v->root.path, err);
    if (r == 0)
        r = vivi_events_open(&v->root, after, &events, err);
    if (r < 0)
        return r;
    if (v->subscribed)
        vivi_events_done(&v->events);
    json_decref(v->event_filter);
    v->events = events;
    v->event_filter = take_ptr(parsed);
    v->subscribed = true;
    v->attention = true; /* there may be old ones */
    vivi_rearm(v);
    return 0;
}

static bool wanted(const viv *v, const json_t *event)
{
    const char *key;
    json_t *value;

    if (strcmp(json_string_value(json_object_get(event, "type")), "lost") == 0 &&
        !json_object_get(event, "seq"))
        return true; /* whoever waits for something has to know that it may have been among them */
    json_object_foreach(v->event_filter, key,
                        value) if (!json_equal(json_object_get(event, key), value)) return false;
    return true;
}

/* Every key is always there. */
static json_t *whole_event(const json_t *event)
{
    cleanup_json json_t *borrowed = json_incref((json_t *)(uintptr_t)event);
    json_t *j = json_pack("{s:n,s:n,s:n,s:n,s:n,s:n,s:n}", "seq", "time", "vm", "uuid", "run",
                          "boot", "type");

    if (j && json_object_update(j, borrowed) == 0)
        return j;
    json_decref(j);
    return NULL;
}

int viv_next(viv *v, viv_rec **ret_event, viv_error *err)
{
    int r;

    if (!v->subscribed)
        return vivi_fail(err, VIV_E_INVALID, "viv_next: viv_subscribe was not called");
    for (;;) {
        cleanup_json json_t *event = NULL;

        r = vivi_events_next(&v->events, &event, err);
        if (r <= 0)
            return r;
        if (!json_is_string(json_object_get(event, "type")) || !wanted(v, event))
            continue;
        r = vivi_rec_new(whole_event(event), ret_event, err);
        return r < 0 ? r : 1;
    }
}
