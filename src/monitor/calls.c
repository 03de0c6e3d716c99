/*
 * Single calls to the VMM, made for a client. They are no operations: several may be under way, and
 * beside any operation; none is journalled, because what a call has done is the VMM's to know. A
 * client that goes away takes its calls with it, a deadline too: the VMM goes on with what it has
 * begun, and nobody hears of it.
 */
#include "monitor/calls.h"

#include <stdio.h>
#include <string.h>

#include "base/frame.h"
#include "monitor/monitor.h"

#define FRAME_ROOM 4096 /* of an answer's frame, beside the answer */

/* ---- the end of one ---- */

/* Off the list: the entry is free, but keeps who it belonged to until it is used again. */
static void take(struct vivi_called *k)
{
    if (k->m->calls.core.call == k)
        vivi_core_drop(k->m);
    vivi_disarm(k->m, &k->deadline);
    k->op = 0;
}

static void drop(struct vivi_called *k)
{
    struct vivi_monitor *m = k->m;
    uint64_t op = k->op;

    take(k);
    if (k->verb == VIVI_VERB_API && m->machine.priv)
        m->machine.fx->raw_drop(m->machine.priv, op);
}

void vivi_call_end(struct vivi_called *k, json_t *result_consume, const viv_error *err)
{
    take(k);
    if (err)
        vivi_serve_error(k->client, k->id, err);
    else
        vivi_serve_result(k->client, k->id, result_consume);
}

static void on_deadline(void *arg)
{
    struct vivi_called *k = arg;
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    drop(k);
    (void)vivi_fail(&err, VIV_E_TIMEOUT, "%s: no answer after %s s; the VMM goes on with it",
                    k->what, vivi_seconds(k->timeout_ms, s));
    vivi_serve_error(k->client, k->id, &err);
}

/* What is longer than a frame would cost the client its connection. */
static bool fits(const json_t *value)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT) + FRAME_ROOM <= VIVI_FRAME_MAX;
}

static void api_done(struct vivi_called *k, const json_t *value)
{
    viv_error err = VIV_ERROR_INIT;

    if (!fits(value)) {
        (void)vivi_fail(&err, VIV_E_PROTOCOL, "%s: an answer of more than %u bytes", k->what,
                        VIVI_FRAME_MAX - FRAME_ROOM);
        vivi_call_end(k, NULL, &err);
        return;
    }
    vivi_call_end(k, json_deep_copy(value), NULL);
}

bool vivi_call_done(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    for (size_t i = 0; i < VIVI_CALLS_MAX; i++) {
        struct vivi_called *k = &m->calls.items[i];

        if (e->op == 0 || k->op != e->op)
            continue;
        if (e->err && e->err->code)
            vivi_call_end(k, NULL, e->err);
        else if (k->verb == VIVI_VERB_API)
            api_done(k, e->value);
        else if (k->verb == VIVI_VERB_COREDUMP)
            vivi_core_written(k);
        else
            vivi_call_end(k, vivi_result(m, true), NULL);
        return true;
    }
    vivi_core_late(m, e->op);
    return false;
}

void vivi_calls_forget(struct vivi_monitor *m, const struct vivi_client *c)
{
    for (size_t i = 0; i < VIVI_CALLS_MAX; i++)
        if (m->calls.items[i].op != 0 && m->calls.items[i].client == c)
            drop(&m->calls.items[i]);
}

void vivi_calls_hear(struct vivi_monitor *m)
{
    for (size_t i = 0; i < VIVI_CALLS_MAX; i++)
        if (m->calls.items[i].op != 0 && m->calls.items[i].verb == VIVI_VERB_API && m->machine.priv)
            m->machine.fx->raw_drop(m->machine.priv, 0);
}

/* A core that is whole is still copied. */
void vivi_calls_end(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (!m->calls.core.call)
        vivi_core_clean(m);
    (void)vivi_fail(&err, VIV_E_IO, "the VMM has ended");
    for (size_t i = 0; i < VIVI_CALLS_MAX; i++) {
        struct vivi_called *k = &m->calls.items[i];

        if (k->op != 0 && !(m->calls.core.call == k && m->calls.core.from >= 0))
            vivi_call_end(k, NULL, &err);
    }
}

/* ---- the beginning ---- */

static int begin_api(struct vivi_called *k, const json_t *args, viv_error *err)
{
    struct vivi_monitor *m = k->m;
    const char *method = json_string_value(json_object_get(args, "method"));
    const json_t *body = json_object_get(args, "body");
    struct vivi_raw call = {.endpoint = json_string_value(json_object_get(args, "endpoint")),
                            .body = json_is_null(body) ? NULL : body};

    if (!method || (strcmp(method, "GET") != 0 && strcmp(method, "PUT") != 0))
        return vivi_fail(err, VIV_E_INVALID, "args.method: neither GET nor PUT");
    if (!call.endpoint || !*call.endpoint)
        return vivi_fail(err, VIV_E_INVALID, "args.endpoint: missing");
    call.get = *method == 'G';
    (void)snprintf(k->what, sizeof(k->what), "%s", call.endpoint);
    if (k->timeout_ms < 0)
        k->timeout_ms = m->machine.fx->raw_ms(call.endpoint);
    return vivi_machine_raw(&m->machine, &call, k->op, err);
}

static int begin(struct vivi_called *k, const struct vivi_request *q, struct vivi_frame *f,
                 viv_error *err)
{
    (void)snprintf(k->what, sizeof(k->what), "%s", vivi_verb_name(q->verb));
    if (q->verb == VIVI_VERB_API)
        return begin_api(k, q->args, err);
    if (q->verb == VIVI_VERB_COREDUMP)
        return f->n_fds > 0 ? vivi_core_begin(k, take_fd(&f->fds[0]), err)
                            : vivi_fail(err, VIV_E_INVALID, "coredump: no descriptor came with it");
    if (k->timeout_ms < 0)
        k->timeout_ms = VIVI_CALL_NMI_MS;
    return vivi_machine_nmi(&k->m->machine, k->op, err);
}

static int may(const struct vivi_monitor *m, enum vivi_verb verb, viv_error *err)
{
    int r = verb == VIVI_VERB_API ? vivi_machine_may_raw(&m->machine, err)
                                  : vivi_machine_may(&m->machine, vivi_verb_name(verb), err);

    if (r == 0 && (!m->machine.priv || m->stage <= VIVI_STAGE_SPAWNING)) {
        r = vivi_fail(err, VIV_E_BUSY, "its VMM is only being started");
        if (err)
            err->flags |= VIV_ERR_RETRY;
    }
    return r;
}

int vivi_call_begin(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                    struct vivi_frame *f, viv_error *err)
{
    struct vivi_called *k = NULL;
    int r = may(m, q->verb, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < VIVI_CALLS_MAX && !k; i++)
        if (m->calls.items[i].op == 0)
            k = &m->calls.items[i];
    if (!k)
        return vivi_fail(err, VIV_E_BUSY, "%d calls to its VMM wait for an answer already",
                         VIVI_CALLS_MAX);
    *k = (struct vivi_called){.m = m,
                              .op = ++m->next_dop,
                              .client = c,
                              .id = q->id,
                              .verb = q->verb,
                              .timeout_ms = q->timeout_ms};
    r = begin(k, q, f, err);
    if (r < 0) {
        k->op = 0;
        return r;
    }
    if (k->timeout_ms >= 0)
        r = m->loop->timer(m->loop->ctx, "call-deadline", (uint64_t)k->timeout_ms, on_deadline, k,
                           &k->deadline, err);
    if (r < 0)
        drop(k);
    return r;
}
