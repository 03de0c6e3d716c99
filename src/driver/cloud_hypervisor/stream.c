/*
 * What the VMM tells by itself: its events, and its log.
 *
 * Theory of operation. Both come as streams that the keeper has in files. An event is consumed when
 * everything that follows from it is done or recorded: until the machine runs for us none is (a
 * boot that was begun and did not succeed must never be begun again in the same process, and only
 * the events tell), and from the first event on that means an end none is either, so that whoever
 * comes after this monitor sees it as well. Resets are told at once: their time names them, so a
 * repeated one counts once.
 *
 * An end is the same to the events whatever its cause: vm/shutdown, vm/deleted, vmm/shutdown. What
 * tells a guest that powered off from a VMM that failed is a line in its log, which was written
 * before. A panic is only told; ending the machine is up to us.
 */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

#define INPUT_MAX_BYTES (256u << 10) /* held events and what follows; more is no event stream */
#define LINE_MAX_BYTES  (16u << 10)
#define SETTLE_MS       1000 /* the machine is off: how long the process may take to follow */

/* ---- ends ---- */

static void tell_ending(struct ch_machine *m, enum vivi_reason reason, const char *text)
{
    if (m->ending || m->quitting) /* whoever asked for it knows why */
        return;
    m->ending = true;
    m->told_off = reason == VIVI_REASON_GUEST_POWEROFF;
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_ENDING, .reason = reason, .text = text});
}

static void quit_now(struct ch_machine *m)
{
    if (m->quitting || m->phase == CH_GONE)
        return;
    m->quitting = true;
    if (m->cli) {
        ch_cli_end(m);
        return;
    }
    (void)ch_ask(m, "vmm.shutdown", CH_T_QUIT, 0, NULL); /* refused: it is ending already */
}

void ch_finish(struct ch_machine *m, enum vivi_reason reason, const char *text)
{
    tell_ending(m, reason, text);
    quit_now(m);
}

static void on_settle(void *arg)
{
    struct ch_machine *m = arg;

    ch_stream_done(m);
    quit_now(m);
}

/* The process follows by itself, unless the machine was cut off over the API. */
static void is_off(struct ch_machine *m)
{
    char by_wish[CH_VERB_BYTES + 20];

    (void)snprintf(by_wish, sizeof(by_wish), "%s over its API", m->cut);
    if (m->failure[0])
        tell_ending(m, VIVI_REASON_VMM_EXIT, m->failure);
    else if (m->cut[0])
        tell_ending(m, VIVI_REASON_STOP, by_wish);
    else
        tell_ending(m, VIVI_REASON_GUEST_POWEROFF, NULL);
    if (m->phase == CH_RUNNING && !m->settle)
        (void)m->host->loop->timer(m->host->loop->ctx, "ch-off", SETTLE_MS, on_settle, m,
                                   &m->settle, NULL);
}

void ch_stream_done(struct ch_machine *m)
{
    if (m->settle)
        m->host->loop->timer_stop(m->settle);
    m->settle = NULL;
}

void ch_act_on_cause(struct ch_machine *m)
{
    enum ch_cause cause = m->cause;

    m->cause = CH_CAUSE_NONE;
    if (cause == CH_CAUSE_OFF)
        is_off(m);
    else if (cause == CH_CAUSE_PANIC)
        ch_finish(m, VIVI_REASON_GUEST_PANIC, NULL);
    else if (cause == CH_CAUSE_MOVED)
        ch_moved(m);
}

void ch_moved(struct ch_machine *m)
{
    tell_ending(m, VIVI_REASON_MIGRATED, NULL);
}

static void on_cause(struct ch_machine *m, enum ch_cause cause)
{
    m->held = true;
    if (m->cause == CH_CAUSE_NONE)
        m->cause = cause;
    if (m->phase != CH_OPENING)
        ch_act_on_cause(m);
}

/* ---- resets ---- */

static void reset_done(struct ch_machine *m)
{
    uint64_t op = m->reset_op;

    m->reset_op = 0;
    ch_tell_done(m, op, NULL);
}

static void tell_reset(struct ch_machine *m, uint64_t stamp)
{
    m->last_stamp = stamp;
    m->reset_seen = true;
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_RESET,
                                          .offset = VIVI_OFFSET_UNKNOWN,
                                          .stamp = stamp,
                                          .text = m->watchdog ? "watchdog" : NULL});
    m->watchdog = false;
    if (m->reset_op && m->reset_answered)
        reset_done(m);
}

void ch_reset_logged(struct ch_machine *m)
{
    uint64_t stamp = m->reset_stamp;

    m->drain_log = m->reset_stamp = 0;
    if (m->cause == CH_CAUSE_NONE && !m->ending)
        m->held = false;
    if (stamp != 0)
        tell_reset(m, stamp);
}

/*
 * Its cause stands in the log, a stream of its own: told when all of that was seen. Until then the
 * event is not consumed, so that the next monitor sees it again.
 */
static void on_reset(struct ch_machine *m, uint64_t stamp)
{
    if (m->reset_stamp != 0)
        ch_reset_logged(m);
    m->reset_stamp = stamp;
    m->held = true;
    m->drain_log = ++m->token;
    if (m->watchdog || m->phase != CH_RUNNING ||
        m->host->drain(m->host->ctx, CH_PORT_LOG, m->drain_log, NULL) < 0)
        ch_reset_logged(m);
}

void ch_reset_answered(struct ch_machine *m)
{
    m->reset_answered = true;
    if (m->reset_seen) {
        reset_done(m);
        return;
    }
    m->drain_reset = ++m->token;
    if (m->host->drain(m->host->ctx, CH_PORT_EVENTS, m->drain_reset, NULL) < 0)
        ch_reset_drained(m);
}

/* Its event was written long before the answer: it is lost when it is not there now. */
void ch_reset_drained(struct ch_machine *m)
{
    m->drain_reset = 0;
    if (m->reset_stamp != 0)
        ch_reset_logged(m); /* it is there, and its cause was waited for */
    else if (m->reset_op && m->reset_answered)
        tell_reset(m, m->last_stamp + 1);
}

/* ---- events ---- */

/* Somebody else's doing, over the API: what is true now is asked for. */
static void paused_or_resumed(struct ch_machine *m, bool paused)
{
    if (m->phase == CH_RUNNING && !m->ending && !m->quitting && !m->move.op && m->paused != paused)
        (void)ch_get(m, "vm.info", CH_T_CHECK, 0, NULL);
}

static void on_vm_event(struct ch_machine *m, const struct ch_event *e)
{
    if (strcmp(e->name, "booting") == 0) {
        m->booting = true;
        m->booted = false;
    } else if (strcmp(e->name, "booted") == 0) {
        m->booted = true;
        if (m->cli)
            ch_cli_booted(m);
    } else if (strcmp(e->name, "rebooting") == 0) {
        on_reset(m, e->stamp);
    } else if (strcmp(e->name, "rebooted") == 0) {
        ch_hot_rebooted(m);
    } else if (strcmp(e->name, "device-removed") == 0) {
        ch_device_left(m, e->id);
    } else if (strcmp(e->name, "migration-finished") == 0) {
        on_cause(m, CH_CAUSE_MOVED);
    } else if (strncmp(e->name, "migration-", 10) == 0) {
        ch_move_event(m, e->name, e->id);
    } else if (strcmp(e->name, "snapshotted") == 0) {
        ch_move_handed(m);
    } else if (strcmp(e->name, "resuming") == 0) {
        ch_move_runs_here(m);
    } else if (strcmp(e->name, "shutdown") == 0) {
        on_cause(m, CH_CAUSE_OFF);
    } else if (strcmp(e->name, "paused") == 0 || strcmp(e->name, "resumed") == 0) {
        paused_or_resumed(m, e->name[0] == 'p');
    }
}

static void on_event(struct ch_machine *m, const struct ch_event *e)
{
    if (strcmp(e->source, "vm") == 0)
        on_vm_event(m, e);
    else if (ch_event_is(e, "guest", "panic") && strcmp(e->detail, "panic") == 0)
        on_cause(m, CH_CAUSE_PANIC);
    else if (ch_event_is(e, "vmm", "shutdown"))
        on_cause(m, CH_CAUSE_OFF);
}

static size_t events_input(struct ch_machine *m, const char *data, size_t len)
{
    size_t at = m->seen < len ? m->seen : len, used = 0, consumed;
    struct ch_event e;
    int found;

    do {
        bool was_held = m->held;

        found = ch_event_next(data + at, len - at, &e, &used);
        if (found)
            on_event(m, &e);
        if (m->held && !was_held)
            m->hold_at = at;
        at += used;
    } while (found);
    consumed = m->held ? m->hold_at : m->phase == CH_OPENING ? 0 : at;
    if (len - consumed >= INPUT_MAX_BYTES)
        consumed = at = len;
    m->seen = at - consumed;
    m->hold_at = 0;
    return consumed;
}

/* ---- the log ---- */

/*
 * What it ends with before there is an API to tell it: a head line, then the chain, a number in
 * front of each of its lines. The last one alone ("No such file or directory") says little.
 */
static bool on_last_words(struct ch_machine *m, const char *line, size_t len)
{
    static const char head[] = "exited with the following chain of errors:";
    size_t at = 0, have = strlen(m->failure);

    if (memmem(line, len, head, sizeof(head) - 1)) {
        m->failure[0] = '\0';
        m->last_words = true;
        return true;
    }
    while (at < len && line[at] == ' ')
        at++;
    if (!m->last_words || at == len || line[at] < '0' || line[at] > '9')
        return false;
    while (at < len && line[at] >= '0' && line[at] <= '9')
        at++;
    if (len - at < 3 || line[at] != ':')
        return false;
    (void)snprintf(m->failure + have, sizeof(m->failure) - have, "%s%.*s",
                   have > 0 ? ": " : "cloud-hypervisor: ", (int)(len - at - 2), line + at + 2);
    ch_emit(m, (struct vivi_driver_event){
                   .kind = VIVI_EV_ENDING, .reason = VIVI_REASON_VMM_EXIT, .text = m->failure});
    return true;
}

static void on_line(struct ch_machine *m, const char *line, size_t len)
{
    const char *text;
    size_t n;
    enum ch_complaint what = ch_complaint(line, len, &text, &n);

    if (on_last_words(m, line, len))
        return;
    if (what == CH_COMPLAINT_WATCHDOG)
        m->watchdog = true;
    if (what == CH_COMPLAINT_MOVE)
        (void)snprintf(m->move.text, sizeof(m->move.text), "%.*s", (int)n, text);
    if (what != CH_COMPLAINT_FAILURE || m->failure[0])
        return;
    (void)snprintf(m->failure, sizeof(m->failure), "%.*s", (int)n, text);
    if (m->told_off) /* the two streams share no order: it was no power-off after all */
        ch_emit(m, (struct vivi_driver_event){
                       .kind = VIVI_EV_ENDING, .reason = VIVI_REASON_VMM_EXIT, .text = m->failure});
}

static size_t log_input(struct ch_machine *m, const char *data, size_t len)
{
    size_t at = 0;

    for (const char *lf; at < len && (lf = memchr(data + at, '\n', len - at));) {
        on_line(m, data + at, (size_t)(lf - data) - at);
        at = (size_t)(lf - data) + 1;
    }
    return len - at > LINE_MAX_BYTES ? len : at;
}

size_t ch_input(void *priv, const char *name, const char *data, size_t len)
{
    struct ch_machine *m = priv;

    if (m->phase == CH_NOT_BEGUN)
        return len;
    if (strcmp(name, CH_PORT_EVENTS) == 0)
        return events_input(m, data, len);
    return log_input(m, data, len);
}
