/*
 * Theory of operation: events.log is the queue. A subscriber's cursor reads it, one watch of its
 * directory says when there is more, so nobody has to be told and nothing is kept in memory.
 *
 * A VM whose keeper and monitor both died has nobody to tell events any more. Whoever wants to hear
 * them revives them: at the time of the subscription each such VM's monitor is asked something.
 */
#include "manager/manager.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define REVIVE_US (UINT64_C(30) * 1000000)

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

/* Runs, and nobody keeps it? */
static bool is_orphan(const struct vivi_vmdir *d)
{
    cleanup_state struct vivi_state s = {.extra = NULL};

    return vivi_state_read(d->fd, &s, NULL) == 0 && vivi_state_has_vmm(s.state) &&
           s.schema <= VIVI_SCHEMA && s.vmm.pid != 0 && vivi_proc_alive(&s.vmm) &&
           vivi_lock_test(d->fd, VIVI_LOCK_FILE, NULL) == 0;
}

/* Asks its monitor, so that there is one. As far as that works: events of others are worth having.
 */
static void revive(viv *v, const struct vivi_vmdir *d)
{
    struct vivi_request_of q = {
        .verb = "info", .timeout_us = REVIVE_US, .late = "no monitor came up", .send_fd = -1};
    viv_vm *m = NULL;
    viv_op *op = NULL;

    if (vivi_vm_new(v, d, &m, NULL) == 0 && vivi_op_begin(m, &q, &op, NULL) == 0)
        viv_op_free(op);
    viv_vm_free(m);
}

static void revive_orphans(viv *v)
{
    char **names = NULL;
    size_t n = 0;

    if (vivi_vm_names(&v->root, &names, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
        const json_t *vm = json_object_get(v->event_filter, "vm");

        if (vm && strcmp(json_string_value(vm), names[i]) != 0)
            continue;
        if (vivi_vmdir_open(&v->root, names[i], &d, NULL) == 0 && is_orphan(&d))
            revive(v, &d);
    }
    vivi_names_free(names, n);
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
    if (!v->root.readonly)
        revive_orphans(v);
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
