/*
 * Calls that somebody else makes of the API. Each has a connection of its own, so that what the VMM
 * thinks about for long keeps none of our requests in a queue behind it; the VMM itself does one
 * thing after the other all the same.
 */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

#define QUICK_MS      10000 /* of calls that wait for nothing but the VMM's own thread */
#define VHOST_USER_MS 70000 /* the VMM looks for a back end for 60 s */

/* Those that take longer than QUICK_MS when all is well. */
static const struct {
    const char *verb;
    int64_t ms;
} slow[] = {
    {"vm.boot", VHOST_USER_MS},
    {"vm.reboot", VHOST_USER_MS},
    {"vm.add-disk", VHOST_USER_MS},
    {"vm.add-fs", VHOST_USER_MS},
    {"vm.add-net", VHOST_USER_MS},
    {"vm.add-generic-vhost-user", VHOST_USER_MS},
    {"vm.snapshot", VIVI_RAW_NO_LIMIT},
    {"vm.restore", VIVI_RAW_NO_LIMIT},
    {"vm.coredump", VIVI_RAW_NO_LIMIT},
    {"vm.send-migration", VIVI_RAW_NO_LIMIT},
    {"vm.receive-migration", VIVI_RAW_NO_LIMIT},
};

int64_t ch_raw_ms(const char *endpoint)
{
    for (size_t i = 0; i < ARRAY_SIZE(slow); i++)
        if (strcmp(slow[i].verb, endpoint) == 0)
            return slow[i].ms;
    return QUICK_MS;
}

/* After these there is no machine: its end is by wish, whatever the events call it. */
static bool cuts(const char *verb)
{
    return strcmp(verb, "vm.shutdown") == 0 || strcmp(verb, "vm.delete") == 0 ||
           strcmp(verb, "vmm.shutdown") == 0;
}

/* Releases differ in the status of a failure (until 52 it is nearly always 500), not in its words.
 */
static int code_of(const struct ch_answer *a)
{
    static const char *const states[] = {"VM is not created", "VM config is missing",
                                         "VM is already created", "VM is not running",
                                         "VM is currently migrating and can't be modified"};

    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        if (ch_answer_blames(a, states[i]))
            return VIV_E_WRONG_STATE;
    switch (a->status) {
    case 400: return VIV_E_INVALID;
    case 404: return ch_answer_blames(a, "Not Found") ? VIV_E_UNSUPPORTED : VIV_E_NOT_FOUND;
    case 409: return VIV_E_EXISTS;
    case 429: return VIV_E_BUSY;
    default: return VIV_E_VMM;
    }
}

static json_t *value_of(const struct ch_answer *a, viv_error *err)
{
    json_t *body = a->body_len > 0 ? json_stringn(a->body, a->body_len) : json_null();
    json_t *value = body ? json_pack("{s:i, s:o}", "status", a->status, "body", body) : NULL;

    if (!body)
        (void)vivi_fail(err, VIV_E_PROTOCOL, "an answer that is no text");
    else if (!value)
        (void)vivi_fail_oom(err);
    return value;
}

/* The slot is free before anybody is told. */
static void finish(struct ch_raw *r, const viv_error *err, const json_t *value)
{
    struct ch_machine *m = r->m;
    uint64_t op = r->op;

    if (err && err->code && strcmp(m->cut, r->verb) == 0)
        m->cut[0] = '\0';
    ch_raw_drop(m, op);
    ch_emit(m,
            (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .err = err, .value = value});
}

static void on_reply(void *arg, const struct ch_call *c, const struct ch_answer *a,
                     const viv_error *why)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *value = NULL;

    if (why) {
        err = *why;
    } else if (a->status >= 300) {
        (void)ch_answer_fail(a, c->verb, &err);
        err.code = code_of(a);
    } else {
        value = value_of(a, &err);
    }
    finish(arg, err.code ? &err : NULL, value);
    json_decref(value);
}

static void on_end(void *arg, const viv_error *why)
{
    (void)arg; /* whatever waited was answered before */
    (void)why;
}

int ch_raw(void *priv, const struct vivi_raw *call, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    struct ch_raw *r = NULL;
    char path[512];
    int n;

    for (size_t i = 0; i < CH_RAWS_MAX && !r; i++)
        if (m->raws[i].op == 0)
            r = &m->raws[i];
    if (!r)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: %d calls wait for an answer already",
                         CH_RAWS_MAX);
    (void)snprintf(path, sizeof(path), "%s/" CH_PORT_API, m->run_dir);
    r->m = m;
    n = ch_http_open(&r->http, m->host->loop, path,
                     &(struct ch_handler){.arg = r, .reply = on_reply, .end = on_end}, err);
    if (n < 0)
        return vivi_wrap(err, n, "cloud-hypervisor");
    n = ch_http_send(&r->http,
                     &(struct ch_request){
                         .verb = call->endpoint, .get = call->get, .body = call->body, .op = op},
                     err);
    if (n < 0) {
        ch_http_close(&r->http);
        return n;
    }
    r->op = op;
    (void)snprintf(r->verb, sizeof(r->verb), "%s", call->endpoint);
    if (!call->get && cuts(call->endpoint))
        memcpy(m->cut, r->verb, sizeof(m->cut));
    return 0;
}

void ch_raw_drop(void *priv, uint64_t op)
{
    struct ch_machine *m = priv;

    for (size_t i = 0; i < CH_RAWS_MAX; i++) {
        if (op == 0 && m->raws[i].op != 0)
            ch_http_look(&m->raws[i].http);
        if (op == 0 || m->raws[i].op != op)
            continue;
        m->raws[i].op = 0;
        ch_http_close(&m->raws[i].http);
        m->raws[i].http.loop = NULL; /* it is not opened again for its end */
    }
}

void ch_raws_done(struct ch_machine *m)
{
    for (size_t i = 0; i < CH_RAWS_MAX; i++)
        if (m->raws[i].op != 0)
            ch_raw_drop(m, m->raws[i].op);
}
