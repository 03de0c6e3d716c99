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

/* ---- labels, for filters that ask for them ---- */

/* What the VM of that name is labelled with now, by its uuid. It may be gone: then nothing. */
static void learn_labels(viv *v, const char *name)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    cleanup_json json_t *config = NULL;
    json_t *labels;
    unsigned schema;

    if (vivi_vmdir_open(&v->root, name, &d, NULL) < 0 || !d.uuid[0] ||
        vivi_json_read_any(d.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, &schema,
                           NULL) < 0)
        return;
    labels = json_object_get(config, "labels");
    if (json_is_object(labels))
        (void)json_object_set(v->event_labels, d.uuid, labels);
}

/* Those that are there: one of them may be removed before anything else is told of it. */
static void learn_all_labels(viv *v)
{
    char **names = NULL;
    size_t n = 0;

    if (vivi_vm_names(&v->root, &names, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        learn_labels(v, names[i]);
    vivi_names_free(names, n);
}

/* Borrowed; NULL: not known. */
static const json_t *labels_of(viv *v, const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "vm"));
    const char *uuid = json_string_value(json_object_get(event, "uuid"));
    const char *type = json_string_value(json_object_get(event, "type"));

    if (!name || !uuid)
        return NULL;
    if (!json_object_get(v->event_labels, uuid) || strcmp(type, "config") == 0)
        learn_labels(v, name);
    return json_object_get(v->event_labels, uuid);
}

/* A removed VM is spoken of no more. */
static void forget_labels(viv *v, const json_t *event)
{
    const char *uuid = json_string_value(json_object_get(event, "uuid"));
    const char *type = json_string_value(json_object_get(event, "type"));

    if (uuid && strcmp(type, "removed") == 0)
        (void)json_object_del(v->event_labels, uuid);
}

/* ---- VMs that nobody keeps ---- */

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

        if (vivi_filter_excludes(&v->event_filter, names[i]))
            continue;
        if (vivi_vmdir_open(&v->root, names[i], &d, NULL) == 0 && is_orphan(&d))
            revive(v, &d);
    }
    vivi_names_free(names, n);
}

int viv_subscribe(viv *v, const char *filter, uint64_t after_seq, viv_error *err)
{
    cleanup_filter struct vivi_filter parsed = {.terms = NULL};
    cleanup_json json_t *labels = json_object();
    struct vivi_events events;
    uint64_t after = after_seq == 0 ? VIVI_EVENTS_NEW : after_seq == VIV_EVENTS_ALL ? 0 : after_seq;
    int r =
        labels ? vivi_filter_parse(filter, VIVI_FILTER_EVENTS, &parsed, err) : vivi_fail_oom(err);

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
    vivi_filter_done(&v->event_filter);
    json_decref(v->event_labels);
    v->events = events;
    v->event_filter = parsed;
    parsed.terms = NULL;
    v->event_labels = take_ptr(labels);
    v->subscribed = true;
    if (v->event_filter.labels)
        learn_all_labels(v);
    if (!v->root.readonly)
        revive_orphans(v);
    v->attention = true; /* there may be old ones */
    vivi_rearm(v);
    return 0;
}

static bool wanted(viv *v, const json_t *event)
{
    bool matches;

    if (strcmp(json_string_value(json_object_get(event, "type")), "lost") == 0 &&
        !json_object_get(event, "seq"))
        return true; /* whoever waits for something has to know that it may have been among them */
    matches = vivi_filter_match_event(&v->event_filter, event,
                                      v->event_filter.labels ? labels_of(v, event) : NULL);
    if (v->event_filter.labels)
        forget_labels(v, event);
    return matches;
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
