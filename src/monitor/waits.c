/*
 * Clients that wait for something to become true. Each has its own one-shot timer if it has a
 * deadline; what is true is looked at whenever the state has changed, so nobody polls. Answers
 * never free a client (serve.c collects broken ones from the loop), so the list is stable while
 * it is walked but for the entry that was just answered.
 */
#include "monitor/monitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "store/serial.h"

#define TAIL_LINES 5

struct vivi_waiter {
    struct vivi_waiter *next;
    struct vivi_monitor *m;
    struct vivi_wait w;
    struct vivi_timer *timer;
};

const char *vivi_seconds(int64_t ms, char ret[24])
{
    (void)snprintf(ret, 24, "%g", (double)ms / 1000);
    return ret;
}

static void unlink_waiter(struct vivi_waiter *e)
{
    for (struct vivi_waiter **p = &e->m->waiters; *p; p = &(*p)->next) {
        if (*p == e) {
            *p = e->next;
            break;
        }
    }
    e->m->loop->timer_stop(e->timer);
    free(e);
}

static void answer(struct vivi_waiter *e, json_t *result)
{
    struct vivi_client *c = e->w.client;
    uint64_t id = e->w.id;

    unlink_waiter(e);
    vivi_serve_result(c, id, result);
}

static void refuse(struct vivi_waiter *e, const viv_error *err)
{
    struct vivi_client *c = e->w.client;
    uint64_t id = e->w.id;

    unlink_waiter(e);
    vivi_serve_error(c, id, err);
}

/* ---- deadlines ---- */

static json_t *tail_note(struct vivi_monitor *m)
{
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);
    char text[2048], step[24], *rest = NULL;
    json_t *note = json_object(), *lines = json_array();

    vivi_tail_lines(&(struct vivi_tail){serial ? serial->fd : -1, m->st.boot_offset}, TAIL_LINES,
                    text, sizeof(text));
    for (char *s = strtok_r(text, "\n", &rest); s; s = strtok_r(NULL, "\n", &rest))
        (void)json_array_append_new(lines, vivi_json_str(s));
    vivi_timeline_last(&m->timeline, step);
    (void)json_object_set_new(note, "serial_tail", lines);
    (void)json_object_set_new(note, "step", vivi_json_str(step));
    return note;
}

static const char *now_is(const struct vivi_monitor *m, char ret[32])
{
    if (m->st.state == VIV_ST_STARTING || m->st.state == VIV_ST_RUNNING)
        return "it goes on running";
    (void)snprintf(ret, 32, "it is %s", vivi_state_name(m->st.state));
    return ret;
}

static void expire(void *arg)
{
    struct vivi_waiter *e = arg;
    struct vivi_monitor *m = e->m;
    viv_error err = VIV_ERROR_INIT;
    char is[32], s[24];
    const char *what = NULL;

    (void)vivi_seconds(e->w.timeout_ms, s);
    switch (e->w.kind) {
    case VIVI_WAIT_READY:
    case VIVI_WAIT_OP:
        what = "ready";
        vivi_serve_note(e->w.client, e->w.id, tail_note(m));
        break;
    case VIVI_WAIT_EXIT: what = "ended"; break;
    case VIVI_WAIT_STATE: what = vivi_state_name(e->w.state); break;
    case VIVI_WAIT_LOG: what = "longer"; break;
    case VIVI_WAIT_STATS: what = "counted"; break;
    }
    (void)vivi_fail(&err, VIV_E_TIMEOUT, "not %s after %s s; %s", what, s, now_is(m, is));
    refuse(e, &err);
}

/* ---- what is true ---- */

static bool planned_again(const struct vivi_monitor *m)
{
    return m->st.next_start_at_ms != 0 || m->op.starting_again;
}

static bool over(const struct vivi_monitor *m)
{
    return (m->st.state == VIV_ST_STOPPED || m->st.state == VIV_ST_FAILED) && !planned_again(m);
}

static void check_ready(struct vivi_waiter *e)
{
    struct vivi_monitor *m = e->m;
    viv_error err = VIV_ERROR_INIT;

    if (m->st.ready && (m->st.state == VIV_ST_RUNNING || m->st.state == VIV_ST_PAUSED ||
                        m->st.state == VIV_ST_STOPPING)) {
        answer(e, vivi_result(m, e->w.changed));
    } else if (m->st.state == VIV_ST_RUNNING && m->config_valid &&
               m->config.ready_by == VIVI_READY_NONE) {
        answer(e, vivi_result(m, e->w.changed)); /* running is all there is to wait for */
    } else if (over(m)) {
        (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it %s (%s) before it was ready",
                        m->st.state == VIV_ST_FAILED ? "failed" : "stopped",
                        m->st.reason[0] ? m->st.reason : "none");
        refuse(e, &err);
    }
}

static void check_state(struct vivi_waiter *e)
{
    struct vivi_monitor *m = e->m;
    viv_error err = VIV_ERROR_INIT;
    bool ends = e->w.state == VIV_ST_STOPPED || e->w.state == VIV_ST_FAILED;

    if (m->st.state == e->w.state) {
        answer(e, vivi_result(m, false));
    } else if (ends && over(m)) {
        (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it %s (%s)",
                        m->st.state == VIV_ST_FAILED ? "failed" : "stopped", m->st.reason);
        refuse(e, &err);
    }
}

static void check_exit(struct vivi_waiter *e)
{
    if (!vivi_state_has_vmm(e->m->st.state) && !e->m->op.starting_again)
        answer(e, vivi_result(e->m, false));
}

static void check_log(struct vivi_waiter *e)
{
    struct vivi_monitor *m = e->m;
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);
    uint64_t size = serial ? serial->size : vivi_log_size(m->dir.fd, VIVI_SERIAL_FILE);

    if (size > e->w.offset)
        answer(e, json_pack("{sI}", "size", (json_int_t)size));
    else if (!vivi_state_has_vmm(m->st.state) && !planned_again(m))
        answer(e, json_pack("{sb}", "ended", 1));
}

static void check_stats(struct vivi_waiter *e)
{
    viv_error err = VIV_ERROR_INIT;

    if (vivi_state_has_vmm(e->m->st.state))
        return;
    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it has ended meanwhile");
    refuse(e, &err);
}

static void check(struct vivi_waiter *e)
{
    switch (e->w.kind) {
    case VIVI_WAIT_OP: return;
    case VIVI_WAIT_READY: check_ready(e); return;
    case VIVI_WAIT_EXIT: check_exit(e); return;
    case VIVI_WAIT_STATE: check_state(e); return;
    case VIVI_WAIT_LOG: check_log(e); return;
    case VIVI_WAIT_STATS: check_stats(e); return;
    }
}

void vivi_waits_check(struct vivi_monitor *m)
{
    struct vivi_waiter *e, *next;

    for (e = m->waiters; e; e = next) {
        next = e->next;
        check(e);
    }
}

void vivi_waits_log(struct vivi_monitor *m)
{
    struct vivi_waiter *e, *next;

    for (e = m->waiters; e; e = next) {
        next = e->next;
        if (e->w.kind == VIVI_WAIT_LOG)
            check_log(e);
    }
}

void vivi_waits_op(struct vivi_monitor *m, const json_t *more, const viv_error *err)
{
    struct vivi_waiter *e, *next;

    for (e = m->waiters; e; e = next) {
        next = e->next;
        if (e->w.kind != VIVI_WAIT_OP)
            continue;
        if (err) {
            refuse(e, err);
            continue;
        }
        if (e->w.then_ready) {
            e->w.kind = VIVI_WAIT_READY;
            check_ready(e);
        } else {
            answer(e, vivi_result_with(m, e->w.changed, more));
        }
    }
}

void vivi_waits_note(struct vivi_monitor *m, json_t *note_consume)
{
    for (struct vivi_waiter *e = m->waiters; e; e = e->next)
        if (e->w.kind == VIVI_WAIT_OP)
            vivi_serve_note(e->w.client, e->w.id, json_incref(note_consume));
    json_decref(note_consume);
}

void vivi_waits_stats(struct vivi_monitor *m, json_t *result, const viv_error *err)
{
    struct vivi_waiter *e, *next;

    for (e = m->waiters; e; e = next) {
        next = e->next;
        if (e->w.kind != VIVI_WAIT_STATS)
            continue;
        if (err)
            refuse(e, err);
        else
            answer(e, json_incref(result));
    }
}

/* ---- the list ---- */

int vivi_wait_add(struct vivi_monitor *m, const struct vivi_wait *w, viv_error *err)
{
    struct vivi_waiter *e = calloc(1, sizeof(*e));
    uint64_t now = m->loop->now_ms(m->loop->ctx), gone, left;
    int r = 0;

    if (!e)
        return vivi_fail_oom(err);
    e->m = m;
    e->w = *w;
    if (w->timeout_ms >= 0) {
        gone = now > w->began_ms ? now - w->began_ms : 0;
        left = (uint64_t)w->timeout_ms > gone ? (uint64_t)w->timeout_ms - gone : 0;
        r = m->loop->timer(m->loop->ctx, "wait-deadline", left, expire, e, &e->timer, err);
    }
    if (r < 0) {
        free(e);
        return r;
    }
    e->next = m->waiters;
    m->waiters = e;
    check(e);
    return 0;
}

void vivi_waits_forget(struct vivi_monitor *m, const struct vivi_client *c)
{
    struct vivi_waiter *e, *next;

    for (e = m->waiters; e; e = next) {
        next = e->next;
        if (e->w.client == c)
            unlink_waiter(e);
    }
}

size_t vivi_waits_of(const struct vivi_monitor *m, const struct vivi_client *c)
{
    size_t n = 0;

    for (const struct vivi_waiter *e = m->waiters; e; e = e->next)
        n += e->w.client == c;
    return n;
}

int64_t vivi_ready_timeout(const struct vivi_monitor *m, const struct vivi_request *q)
{
    if (q->ready_timeout_ms >= 0)
        return q->ready_timeout_ms;
    if (q->timeout_ms >= 0)
        return q->timeout_ms;
    if (!m->config_valid || m->config.ready_timeout_ms <= 0)
        return VIVI_NO_TIMEOUT;
    return m->config.ready_timeout_ms * (vivi_emulated(m) ? VIVI_EMULATED_FACTOR : 1);
}
