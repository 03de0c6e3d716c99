/*
 * What follows from what has happened: the operation in flight when a run has ended, the restart
 * policy, a caller that went away, --rm, and the operation that a former monitor left unfinished.
 */
#include "monitor/migrate.h"
#include "monitor/snapshot.h"
#include "monitor/upgrade.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "monitor/restart.h"

/* ---- the end of a run, for the operation in flight ---- */

void vivi_op_start_late(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    if (!vivi_op_starts(m) || m->op.verb == VIVI_VERB_UPGRADE) /* which has another VMM */
        return;
    (void)vivi_fail(&err, VIV_E_TIMEOUT, "not running after %s s; it was killed",
                    vivi_seconds(m->op.timeout_ms, s));
    vivi_op_end(m, &err);
}

static void start_ended(struct vivi_monitor *m, enum vivi_cause cause, const char *text)
{
    viv_error err = m->start_error;

    if (cause == VIVI_CAUSE_START_TIMEOUT) {
        vivi_op_start_late(m);
        return;
    }
    if (cause != VIVI_CAUSE_START_FAILED && (err.code == 0 || m->had_vmm))
        (void)vivi_fail(&err, VIV_E_VMM, text[0] ? "%s" : "it ended at once (%s)",
                        text[0] ? text : m->st.reason);
    vivi_op_end(m, &err);
}

/*
 * A child whose keeper died before it opened the gate is on record and has run nothing. Nobody saw
 * it end, and no monitor ever heard of it: that start is made again, under the same operation.
 */
static bool never_ran(const struct vivi_monitor *m)
{
    return !m->serving && !m->ran && !m->spawn_known &&
           strcmp(m->st.reason, vivi_reason_name(VIVI_REASON_UNOBSERVED)) == 0;
}

static void second_half(struct vivi_monitor *m)
{
    m->op.starting_again = true;
    vivi_op_step(m, "start");
    vivi_start_again(m, false);
}

void vivi_op_run_ended(struct vivi_monitor *m, enum vivi_cause cause, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    if ((m->op.verb == VIVI_VERB_START ||
         (m->op.starting_again && m->op.verb != VIVI_VERB_UPGRADE)) &&
        never_ran(m)) {
        vivi_start_again(m, false);
        return;
    }
    vivi_snapshot_drop(m);
    switch (m->op.verb) {
    case VIVI_VERB_RESTORE:
    case VIVI_VERB_INCOMING:
    case VIVI_VERB_START: start_ended(m, cause, text); return;
    case VIVI_VERB_MIGRATE: vivi_migrate_ended(m, text); return;
    case VIVI_VERB_UPGRADE:
        if (m->serving) /* else what is left of it is looked at in a moment */
            vivi_upgrade_ended(m, text);
        return;
    case VIVI_VERB_STOP:
    case VIVI_VERB_KILL: vivi_op_end(m, NULL); return;
    case VIVI_VERB_REBOOT:
        if (m->op.starting_again)
            start_ended(m, cause, text);
        else if (!m->op.hard)
            second_half(m);
        else
            break;
        return;
    case VIVI_VERB_REMOVE: vivi_op_remove_now(m); return;
    case VIVI_VERB_APPLY: vivi_apply_abandon(m, NULL); return;
    case VIVI_VERB_SNAPSHOT:
    case VIVI_VERB_PAUSE:
    case VIVI_VERB_RESUME: break;
    case VIVI_VERB_NONE:
    case VIVI_VERB_WAIT:
    case VIVI_VERB_LOG_WAIT:
    case VIVI_VERB_CONSOLE:
    case VIVI_VERB_AGENT:
    case VIVI_VERB_STATS:
    case VIVI_VERB_API:
    case VIVI_VERB_NMI:
    case VIVI_VERB_COREDUMP:
    case VIVI_VERB_INFO:
    case VIVI_VERB_COUNT_: return;
    }
    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it ended meanwhile (%s)%s%s", m->st.reason,
                    text[0] ? ": " : "", text);
    vivi_op_end(m, &err);
}

/* ---- restart policy ---- */

static void restart_now(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->restart);
    m->st.next_start_at_ms = 0;
    if (m->op.verb != VIVI_VERB_NONE || vivi_state_has_vmm(m->st.state))
        return;
    m->st.restarts++;
    vivi_op_begin(m, VIVI_VERB_START, "");
    vivi_start_again(m, true);
    vivi_idle_check(m);
}

void vivi_op_restart_arm(struct vivi_monitor *m, uint64_t delay_ms)
{
    vivi_arm(m, &m->restart, &(struct vivi_arm){"restart", delay_ms, restart_now});
}

/*
 * A start that somebody asked for and that never got to run has failed in front of them: it is not
 * repeated behind their back. A restart that failed so is, with the next delay.
 */
void vivi_op_restart_schedule(struct vivi_monitor *m, enum vivi_reason reason)
{
    uint64_t delay;

    if (!m->config_valid || m->op.verb == VIVI_VERB_REMOVE ||
        (m->op.verb == VIVI_VERB_REBOOT && !m->op.hard) ||
        (m->ran_ms == 0 && !m->ran && !m->restarted) ||
        !vivi_restart_wanted(m->config.restart, reason))
        return;
    delay = vivi_restart_delay(m->config.restart_backoff_ms, m->ran_ms, &m->st.backoff_ms);
    m->st.next_start_at_ms = vivi_wall_ms() + (int64_t)delay;
    vivi_log(VIVI_LOG_INFO, "starts again in %" PRIu64 " ms (%s)", delay, vivi_reason_name(reason));
    vivi_op_restart_arm(m, delay);
}

bool vivi_op_restart_cancel(struct vivi_monitor *m)
{
    bool planned = m->st.next_start_at_ms != 0;

    vivi_disarm(m, &m->restart);
    m->st.next_start_at_ms = 0;
    return planned;
}

/* ---- the foreground's caller, --rm ---- */

static void forget_caller(struct vivi_monitor *m)
{
    if (vivi_fds_get(&m->fds, "caller") < 0)
        return;
    (void)vivi_keeper_drop(&m->keeper, "caller", NULL);
    vivi_fds_drop(&m->fds, "caller");
    m->foreground = false;
}

void vivi_op_caller_gone(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    forget_caller(m);
    vivi_desire_now(m, VIVI_DESIRED_STOPPED);
    if (!vivi_state_has_vmm(m->st.state)) {
        if (vivi_op_restart_cancel(m))
            vivi_record_state(m);
        vivi_waits_check(m);
        vivi_op_after_end(m);
        vivi_idle_check(m);
        return;
    }
    vivi_log(VIVI_LOG_INFO, "the caller is gone: stopping");
    if (m->op.verb == VIVI_VERB_STOP || m->op.verb == VIVI_VERB_KILL ||
        m->op.verb == VIVI_VERB_REMOVE)
        return;
    (void)vivi_fail(&err, VIV_E_CANCELLED, "%s of %s was cancelled: its caller is gone",
                    vivi_verb_name(m->op.verb), m->dir.name);
    vivi_op_end(m, &err);
    vivi_op_begin(m, VIVI_VERB_STOP, "");
    m->op.timeout_ms = m->config.stop_timeout_ms;
    vivi_life_stop(m, &(struct vivi_stop_how){.cause = VIVI_CAUSE_STOP,
                                              .grace_ms = (uint64_t)m->config.stop_timeout_ms,
                                              .may_kill = true});
}

void vivi_op_after_end(struct vivi_monitor *m)
{
    if (vivi_state_has_vmm(m->st.state) || m->st.next_start_at_ms != 0 ||
        m->op.verb != VIVI_VERB_NONE || m->removed)
        return;
    forget_caller(m);
    vivi_nics_let_go(m);
    if (m->st.remove_when_ended && m->st.state != VIV_ST_CREATED)
        vivi_op_remove_now(m);
}

/* ---- what a former monitor left unfinished ---- */

static enum vivi_cause cause_of(enum vivi_verb v)
{
    if (v == VIVI_VERB_KILL || v == VIVI_VERB_REMOVE)
        return VIVI_CAUSE_KILL;
    return v == VIVI_VERB_STOP || v == VIVI_VERB_REBOOT ? VIVI_CAUSE_STOP : VIVI_CAUSE_NONE;
}

/* "button:123456:1": phase, end of the grace on the monotonic clock, may it kill. */
struct step {
    enum vivi_ladder_phase phase;
    uint64_t deadline_ms;
    bool may_kill;
};

static bool parse_step(const char *text, struct step *ret)
{
    char word[16];
    int kill = 1;

    if (sscanf(text, "%15[a-z]:%" SCNu64 ":%d", word, &ret->deadline_ms, &kill) != 3 ||
        vivi_ladder_phase_parse(word, &ret->phase) < 0)
        return false;
    ret->may_kill = kill != 0;
    return true;
}

void vivi_op_load_journal(struct vivi_monitor *m)
{
    struct vivi_journal_open open;
    struct step step;
    enum vivi_verb verb;

    if (vivi_journal_unfinished(m->dir.fd, &open, NULL) <= 0)
        return;
    if (vivi_verb_parse(open.verb, &verb) < 0 || !vivi_verb_changes(verb)) {
        (void)vivi_journal_end(m->dir.fd, open.op, VIV_E_CANCELLED, NULL);
        return;
    }
    vivi_log(VIVI_LOG_INFO, "unfinished: %s at \"%s\"", open.verb, open.step);
    m->op = (struct vivi_op){.verb = verb, .journalled = true};
    (void)snprintf(m->op.id, sizeof(m->op.id), "%s", open.op);
    (void)snprintf(m->op.step, sizeof(m->op.step), "%s", open.step);
    m->op.timeout_ms = VIVI_START_DEADLINE_MS;
    m->op.hard = strncmp(open.step, "reset:", 6) == 0;
    m->op.starting_again = strcmp(open.step, "start") == 0;
    if (!m->op.hard && !m->op.starting_again && vivi_state_has_vmm(m->st.state))
        m->cause = cause_of(verb);
    if (parse_step(open.step, &step))
        m->ladder.phase = step.phase; /* in case the VMM has ended at this rung */
}

static void resume_ladder(struct vivi_monitor *m)
{
    struct step step = {VIVI_LADDER_OFF, 0, true};
    uint64_t now = m->loop->now_ms(m->loop->ctx);
    bool kill = m->op.verb == VIVI_VERB_KILL || m->op.verb == VIVI_VERB_REMOVE;
    struct vivi_ladder_begin b;

    m->ladder.phase = VIVI_LADDER_OFF;
    if (kill || !parse_step(m->op.step, &step)) {
        vivi_life_stop(m, &(struct vivi_stop_how){.cause = cause_of(m->op.verb),
                                                  .grace_ms = kill ? 0 : 60000,
                                                  .may_kill = true});
        return;
    }
    b = (struct vivi_ladder_begin){.from = step.phase, .may_kill = step.may_kill};
    /* The loop's clock is the host's monotonic one, so what is left of the grace is known. */
    b.grace_ms = step.deadline_ms > now ? step.deadline_ms - now : 0;
    m->op.timeout_ms = (int64_t)b.grace_ms;
    vivi_life_set_state(m, VIV_ST_STOPPING, NULL);
    vivi_ladder_begin(&m->ladder, &b);
}

static void resume_reboot(struct vivi_monitor *m)
{
    uint64_t boot;

    if (m->op.starting_again) {
        vivi_op_end(m, NULL); /* it runs again */
    } else if (!m->op.hard) {
        resume_ladder(m);
    } else if (sscanf(m->op.step, "reset:%" SCNu64, &boot) == 1 && m->st.boot > boot) {
        vivi_op_end(m, NULL); /* the reset had happened */
    } else {
        vivi_op_reset_now(m);
    }
}

static void resume_pause(struct vivi_monitor *m)
{
    enum viv_state goal = m->op.verb == VIVI_VERB_PAUSE ? VIV_ST_PAUSED : VIV_ST_RUNNING;

    if (m->st.state == goal)
        vivi_op_end(m, NULL);
    else
        vivi_op_pause_now(m);
}

/*
 * Nothing runs: what was being stopped has stopped, what was being started is started. But a start
 * that was journalled and left no other trace never began: whoever still wants it asks again.
 */
static void resume_without_vmm(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    switch (m->op.verb) {
    case VIVI_VERB_START:
        if (m->op.starting_again)
            vivi_start_again(m, m->st.next_start_at_ms != 0);
        else
            m->op = (struct vivi_op){.verb = VIVI_VERB_NONE};
        return;
    case VIVI_VERB_REBOOT: second_half(m); return;
    case VIVI_VERB_REMOVE: vivi_op_remove_now(m); return;
    case VIVI_VERB_STOP:
    case VIVI_VERB_KILL: vivi_op_end(m, NULL); return;
    case VIVI_VERB_APPLY: vivi_apply_resume(m); return;
    case VIVI_VERB_SNAPSHOT: vivi_snapshot_interrupted(m); return;
    case VIVI_VERB_MIGRATE: vivi_migrate_ended(m, m->st.reason_text); return;
    case VIVI_VERB_UPGRADE: vivi_upgrade_resume(m); return;
    case VIVI_VERB_RESTORE:
    case VIVI_VERB_INCOMING:
        (void)vivi_fail(&err, VIV_E_CANCELLED, "%s of %s was interrupted",
                        vivi_verb_name(m->op.verb), m->dir.name);
        vivi_op_end(m, &err);
        return;
    case VIVI_VERB_PAUSE:
    case VIVI_VERB_RESUME:
    case VIVI_VERB_NONE:
    case VIVI_VERB_WAIT:
    case VIVI_VERB_LOG_WAIT:
    case VIVI_VERB_CONSOLE:
    case VIVI_VERB_AGENT:
    case VIVI_VERB_STATS:
    case VIVI_VERB_API:
    case VIVI_VERB_NMI:
    case VIVI_VERB_COREDUMP:
    case VIVI_VERB_INFO:
    case VIVI_VERB_COUNT_: break;
    }
    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it ended meanwhile (%s)", m->st.reason);
    vivi_op_end(m, &err);
}

void vivi_op_resume(struct vivi_monitor *m)
{
    if (m->stage == VIVI_STAGE_SPAWNING || m->stage == VIVI_STAGE_STARTING)
        return; /* it has gone on already: the end of the old run made a new one begin */
    if (m->op.verb != VIVI_VERB_NONE && !vivi_state_has_vmm(m->st.state)) {
        resume_without_vmm(m);
        return;
    }
    switch (m->op.verb) {
    case VIVI_VERB_SNAPSHOT: vivi_snapshot_interrupted(m); return;
    case VIVI_VERB_MIGRATE: vivi_migrate_resume(m); return;
    case VIVI_VERB_UPGRADE: vivi_upgrade_resume(m); return;
    case VIVI_VERB_RESTORE:
    case VIVI_VERB_INCOMING:
    case VIVI_VERB_START: vivi_op_end(m, NULL); return;
    case VIVI_VERB_STOP:
    case VIVI_VERB_KILL:
    case VIVI_VERB_REMOVE: resume_ladder(m); return;
    case VIVI_VERB_REBOOT: resume_reboot(m); return;
    case VIVI_VERB_PAUSE:
    case VIVI_VERB_RESUME: resume_pause(m); return;
    case VIVI_VERB_APPLY: vivi_apply_resume(m); return;
    case VIVI_VERB_NONE:
    case VIVI_VERB_WAIT:
    case VIVI_VERB_LOG_WAIT:
    case VIVI_VERB_CONSOLE:
    case VIVI_VERB_AGENT:
    case VIVI_VERB_STATS:
    case VIVI_VERB_API:
    case VIVI_VERB_NMI:
    case VIVI_VERB_COREDUMP:
    case VIVI_VERB_INFO:
    case VIVI_VERB_COUNT_: break;
    }
    if (m->st.state == VIV_ST_OUTGOING) { /* settled, but its VMM had not given up yet */
        vivi_migrate_resume(m);
        return;
    }
    if (m->st.state == VIV_ST_STOPPING) { /* a stop that nobody asked for any more */
        m->ladder.phase = VIVI_LADDER_OFF;
        vivi_life_stop(m, &(struct vivi_stop_how){
                              .cause = VIVI_CAUSE_STOP, .grace_ms = 60000, .may_kill = true});
    }
}
