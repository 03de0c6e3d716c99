/*
 * Verbs that change something: one at a time.
 *
 * Theory of operation. An operation has an id, the client's if it gave one. It is journalled before
 * its first effect, so a monitor that takes over knows what was asked; it ends exactly once, in
 * vivi_op_end, which answers everybody who waits for it. A request with a known id never runs a
 * second time: it joins the operation in flight, or gets the kept result (from memory, else from
 * the journal). A request for the same verb joins too; stop and kill end what is in their way;
 * anything else is told that it is busy.
 */
#include "monitor/migrate.h"
#include "monitor/snapshot.h"
#include "monitor/upgrade.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "store/control.h"

/* ---- begin, step, end ---- */

static void op_event(struct vivi_monitor *m, const struct vivi_op *op, const viv_error *err,
                     bool ended)
{
    json_t *more = json_object();

    (void)json_object_set_new(more, "op", vivi_json_str(op->id));
    (void)json_object_set_new(more, "verb", json_string(vivi_verb_name(op->verb)));
    if (ended)
        (void)json_object_set_new(more, "code", json_string(err ? viv_code_name(err->code) : "OK"));
    vivi_record_event(m, "op", more);
}

void vivi_op_begin(struct vivi_monitor *m, enum vivi_verb verb, const char *id)
{
    viv_error err = VIV_ERROR_INIT;
    char made[VIVI_UUID_SIZE] = "-";

    if (m->unended[0])
        vivi_record_op_end(m, m->unended, m->unended_code);
    m->op = (struct vivi_op){.verb = verb};
    if (!id[0])
        (void)vivi_uuid_new(made, NULL); /* without one it is still an operation */
    (void)snprintf(m->op.id, sizeof(m->op.id), "%s", id[0] ? id : made);
    if (vivi_journal_begin(m->dir.fd, m->op.id, vivi_verb_name(verb), VIVI_FAST, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "journal: %s", err.message);
    else
        m->op.journalled = true;
    op_event(m, &m->op, NULL, false);
    vivi_idle_check(m);
}

void vivi_op_step(struct vivi_monitor *m, const char *step)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->op.journalled && vivi_journal_step(m->dir.fd, m->op.id, step, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "journal: %s", err.message);
}

/* Takes what the operation had to say. */
static void keep_result(struct vivi_monitor *m, const struct vivi_op *op, const viv_error *err)
{
    struct vivi_op_result *r = &m->results[m->next_result++ % VIVI_OPS_KEPT];

    json_decref(r->error);
    json_decref(r->more);
    *r = (struct vivi_op_result){
        .verb = op->verb, .error = err ? vivi_error_to_json(err) : NULL, .more = op->more};
    memcpy(r->id, op->id, sizeof(r->id));
}

void vivi_op_end(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_op op = m->op;

    if (op.verb == VIVI_VERB_NONE)
        return;
    if (err && err->code == 0)
        err = NULL;
    vivi_disarm(m, &m->op.deadline);
    m->op = (struct vivi_op){.verb = VIVI_VERB_NONE};
    keep_result(m, &op, err);
    vivi_waits_op(m, op.more, err); /* first: clients wait; a crash here only repeats the answer */
    if (op.journalled)
        vivi_record_op_end(m, op.id, err ? err->code : 0);
    op_event(m, &op, err, true);
    vivi_idle_check(m);
}

/* ---- asking again, joining, getting in the way ---- */

/* Accepted: what becomes of it is told by its event. */
static void answer_accepted(struct vivi_monitor *m, struct vivi_client *c,
                            const struct vivi_request *q, bool own)
{
    json_t *more = json_pack("{s:s}", "op", m->op.id);

    vivi_serve_result(c, q->id, vivi_result_with(m, own, more));
    json_decref(more);
}

/* own: this request is what the operation does; who only joined has changed nothing. */
static int wait_for_op(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                       bool own, viv_error *err)
{
    struct vivi_wait w = {.client = c,
                          .id = q->id,
                          .kind = VIVI_WAIT_OP,
                          .changed = own,
                          .timeout_ms = VIVI_NO_TIMEOUT,
                          .began_ms = m->loop->now_ms(m->loop->ctx)};

    if (q->async) {
        answer_accepted(m, c, q, own);
        return 0;
    }
    if (q->verb == VIVI_VERB_START && q->wait_ready) {
        w.then_ready = true;
        w.timeout_ms = vivi_ready_timeout(m, q);
    }
    return vivi_wait_add(m, &w, err);
}

/* What was asked for is so already. more: see vivi_result_with. */
static int answer_with(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                       bool changed, const json_t *more, viv_error *err)
{
    struct vivi_wait w = {.client = c,
                          .id = q->id,
                          .kind = VIVI_WAIT_READY,
                          .changed = changed,
                          .timeout_ms = vivi_ready_timeout(m, q),
                          .began_ms = m->loop->now_ms(m->loop->ctx)};

    if (q->verb == VIVI_VERB_START && q->wait_ready)
        return vivi_wait_add(m, &w, err);
    vivi_serve_result(c, q->id, vivi_result_with(m, changed, more));
    return 0;
}

static int answer_now(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                      bool changed, viv_error *err)
{
    return answer_with(m, c, q, changed, NULL, err);
}

static int replay_journal(struct vivi_monitor *m, struct vivi_client *c,
                          const struct vivi_request *q, viv_error *err)
{
    struct vivi_journal_found found;
    json_t *more;
    int r = vivi_journal_find(m->dir.fd, q->op, &found, NULL);

    if (r <= 0 || !found.ended || strcmp(found.what.verb, vivi_verb_name(q->verb)) != 0)
        return 0;
    if (found.code != 0)
        return vivi_fail(err, found.code, "%s",
                         m->st.reason_text[0] ? m->st.reason_text
                                              : "it failed; what was said is not kept");
    more = q->verb == VIVI_VERB_APPLY ? vivi_apply_recall(m, q->op) : NULL;
    r = answer_with(m, c, q, true, more, err);
    json_decref(more);
    return r < 0 ? r : 1;
}

/* 1: answered, or waiting for the operation in flight; 0: this id is new. */
static int replay(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                  viv_error *err)
{
    int r;

    if (m->op.verb != VIVI_VERB_NONE && strcmp(m->op.id, q->op) == 0) {
        r = wait_for_op(m, c, q, true, err);
        vivi_incoming_tell(m, c, q->id);
        return r < 0 ? r : 1;
    }
    for (size_t i = 0; i < VIVI_OPS_KEPT; i++) {
        const struct vivi_op_result *k = &m->results[i];

        if (k->verb == VIVI_VERB_NONE || strcmp(k->id, q->op) != 0)
            continue;
        if (k->error) {
            vivi_error_from_json(k->error, err);
            return -err->code;
        }
        r = answer_with(m, c, q, true, k->more, err);
        return r < 0 ? r : 1;
    }
    return replay_journal(m, c, q, err);
}

static bool ends_others(const struct vivi_request *q)
{
    return q->verb == VIVI_VERB_STOP || q->verb == VIVI_VERB_KILL ||
           (q->verb == VIVI_VERB_REMOVE && q->force);
}

static bool can_be_ended(enum vivi_verb v)
{
    return v == VIVI_VERB_START || v == VIVI_VERB_PAUSE || v == VIVI_VERB_RESUME ||
           v == VIVI_VERB_REBOOT || v == VIVI_VERB_SNAPSHOT || v == VIVI_VERB_RESTORE;
}

/* Half of it is elsewhere: a kill ends it, and nothing gentler. */
static bool moves(enum vivi_verb v)
{
    return v == VIVI_VERB_MIGRATE || v == VIVI_VERB_INCOMING || v == VIVI_VERB_UPGRADE;
}

bool vivi_op_starts(const struct vivi_monitor *m)
{
    return m->op.verb == VIVI_VERB_START || m->op.verb == VIVI_VERB_RESTORE ||
           m->op.verb == VIVI_VERB_INCOMING || m->op.starting_again;
}

static bool is_stop(enum vivi_verb v)
{
    return v == VIVI_VERB_STOP || v == VIVI_VERB_KILL;
}

static void meet_incoming(struct vivi_monitor *m, struct vivi_client *c,
                          const struct vivi_request *q)
{
    if (json_is_true(json_object_get(q->args, "abort")))
        vivi_incoming_abort(m);
    else
        vivi_incoming_tell(m, c, q->id);
}

/* A second stop waits for the first; a kill, or a stop without grace, hurries it. */
static int join(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                viv_error *err)
{
    bool kill = q->verb == VIVI_VERB_KILL ||
                (q->verb == VIVI_VERB_STOP && q->timeout_ms == 0 && q->may_kill);
    int r = wait_for_op(m, c, q, q->verb != m->op.verb, err);

    if (r < 0)
        return r;
    if (q->verb == VIVI_VERB_INCOMING)
        meet_incoming(m, c, q);
    if (kill && m->ladder.phase != VIVI_LADDER_KILL)
        vivi_life_stop(m,
                       &(struct vivi_stop_how){.cause = q->verb == VIVI_VERB_KILL ? VIVI_CAUSE_KILL
                                                                                  : VIVI_CAUSE_STOP,
                                               .may_kill = true});
    return 1;
}

/* 1: joined; 0: nothing is in the way any more; < 0: busy. */
static int meet_current(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                        viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    enum vivi_verb now = m->op.verb;
    int r;

    if (now == VIVI_VERB_NONE)
        return 0;
    if (now == VIVI_VERB_APPLY && ends_others(q)) {
        vivi_apply_abandon(m, "given up: the VM is being stopped");
        return 0;
    }
    if ((q->verb == now && now != VIVI_VERB_APPLY && now != VIVI_VERB_MIGRATE) ||
        (is_stop(q->verb) && is_stop(now)))
        return join(m, c, q, err);
    if (ends_others(q) && (can_be_ended(now) || (moves(now) && q->verb != VIVI_VERB_STOP))) {
        (void)vivi_fail(&why, VIV_E_CANCELLED, "%s of %s was cancelled by %s", vivi_verb_name(now),
                        m->dir.name, vivi_verb_name(q->verb));
        vivi_snapshot_drop(m);
        vivi_restore_drop(m);
        vivi_migrate_drop(m);
        vivi_upgrade_drop(m);
        vivi_op_end(m, &why);
        return 0;
    }
    r = vivi_fail(err, VIV_E_BUSY, "%s of %s is in progress", vivi_verb_name(now), m->dir.name);
    if (err)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

/* ---- deadlines of verbs that wait for the VMM ---- */

static void verb_late(void *arg)
{
    struct vivi_monitor *m = arg;
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    vivi_disarm(m, &m->op.deadline);
    (void)vivi_fail(&err, VIV_E_TIMEOUT, "the VMM has not answered for %s s; it goes on (%s)",
                    vivi_seconds(m->op.timeout_ms, s), vivi_state_name(m->st.state));
    vivi_op_end(m, &err);
}

static void arm_deadline(struct vivi_monitor *m, const struct vivi_request *q)
{
    m->op.timeout_ms = q->timeout_ms >= 0 ? q->timeout_ms : VIVI_VERB_DEADLINE_MS;
    vivi_arm(m, &m->op.deadline,
             &(struct vivi_arm){"verb-deadline", (uint64_t)m->op.timeout_ms, verb_late});
}

/* ---- start ---- */

struct ask {
    struct vivi_monitor *m;
    struct vivi_client *c;
    const struct vivi_request *q;
    struct vivi_frame *f;
};

/* The caller's pipe goes to the keeper, which watches it also when no monitor lives. */
static int hold_caller(struct ask *a, viv_error *err)
{
    struct vivi_fd_entry e = {.name = "caller", .fd = -1};
    int r;

    if (a->f->n_fds < 1)
        return vivi_fail(err, VIV_E_INVALID, "args.foreground: no descriptor came with it");
    e.fd = take_fd(&a->f->fds[0]);
    r = vivi_keeper_hold(&a->m->keeper, e.name, e.fd, err);
    if (r < 0) {
        vivi_close(&e.fd);
        return r;
    }
    return vivi_fds_put(&a->m->fds, &e, err);
}

static int begin_start(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    const struct vivi_request *q = a->q;
    cleanup_launch struct vivi_launch l = {0};
    json_t *problems = NULL;
    int r;

    if (m->st.state == VIV_ST_STOPPING)
        return vivi_fail(err, VIV_E_BUSY, "stop of %s is in progress", m->dir.name);
    if (vivi_state_has_vmm(m->st.state)) {
        vivi_desire_now(m, VIVI_DESIRED_RUNNING);
        return answer_now(m, a->c, q, false, err);
    }
    r = vivi_nics_take(m, q->args, a->f, q->foreground ? 1 : 0, err);
    if (r >= 0)
        r = vivi_start_prepare(m, &l, &problems, err);
    if (r < 0)
        vivi_nics_let_go(m);
    if (r < 0 && problems) {
        vivi_serve_problems(a->c, q->id, err, problems);
        return 0;
    }
    if (r >= 0 && q->foreground)
        r = hold_caller(a, err);
    if (r < 0)
        return m->keeper.dead ? 0 : r;
    vivi_start_install(m, &l);
    m->st.backoff_ms = 0;
    vivi_desire(m, VIVI_DESIRED_RUNNING);
    vivi_op_begin(m, VIVI_VERB_START, q->op);
    m->op.timeout_ms =
        q->timeout_ms >= 0 && !q->wait_ready ? q->timeout_ms : VIVI_START_DEADLINE_MS;
    r = wait_for_op(m, a->c, q, true, err);
    if (r < 0) {
        vivi_op_end(m, err);
        return r;
    }
    vivi_start_commit(m, &(struct vivi_start_how){.requested_us = q->requested_us,
                                                  .remove_when_ended = q->remove_when_ended,
                                                  .foreground = q->foreground,
                                                  .timeout_ms = m->op.timeout_ms});
    return 0;
}

/* ---- stop, kill ---- */

int64_t vivi_stop_grace(const struct vivi_monitor *m)
{
    return m->config_valid && m->config.stop_timeout_ms > 0 ? m->config.stop_timeout_ms : 60000;
}

static uint64_t grace_of(const struct vivi_monitor *m, const struct vivi_request *q)
{
    return (uint64_t)(q->timeout_ms >= 0 ? q->timeout_ms : vivi_stop_grace(m));
}

static int begin_stop(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    bool kill = a->q->verb == VIVI_VERB_KILL, planned;
    int r;

    if (!vivi_state_has_vmm(m->st.state)) {
        planned = vivi_op_restart_cancel(m);
        if (planned)
            vivi_record_state(m);
        r = answer_now(m, a->c, a->q, planned, err);
        if (planned)
            vivi_waits_check(m);
        vivi_op_after_end(m);
        return r;
    }
    vivi_op_begin(m, a->q->verb, a->q->op);
    m->op.timeout_ms = kill ? VIVI_STOP_KILL_MS : (int64_t)grace_of(m, a->q);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0) {
        vivi_op_end(m, err);
        return r;
    }
    vivi_life_stop(m, &(struct vivi_stop_how){.cause = kill ? VIVI_CAUSE_KILL : VIVI_CAUSE_STOP,
                                              .grace_ms = kill ? 0 : grace_of(m, a->q),
                                              .may_kill = kill || a->q->may_kill});
    return 0;
}

void vivi_op_stop_gave_up(struct vivi_monitor *m, enum vivi_ladder_phase at)
{
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    if (at == VIVI_LADDER_KILL) {
        (void)vivi_fail(&err, VIV_E_TIMEOUT,
                        "it has not ended %s s after SIGKILL; it goes on ending",
                        vivi_seconds(VIVI_STOP_KILL_MS, s));
    } else {
        m->cause = VIVI_CAUSE_NONE;
        vivi_desire(m, VIVI_DESIRED_RUNNING);
        vivi_life_set_state(m, m->vcpus, NULL);
        (void)vivi_fail(&err, VIV_E_TIMEOUT, "not stopped after %s s; it goes on running",
                        vivi_seconds(m->op.timeout_ms, s));
    }
    vivi_log(VIVI_LOG_WARN, "stop: %s", err.message);
    vivi_op_end(m, &err);
    vivi_waits_check(m);
}

/* ---- reboot ---- */

void vivi_op_reset_now(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    char step[40];

    m->op.hard = true;
    (void)snprintf(step, sizeof(step), "reset:%llu", (unsigned long long)m->st.boot);
    vivi_op_step(m, step);
    if (vivi_machine_reset(&m->machine, vivi_life_dop(m, VIVI_DOP_RESET), &err) < 0) {
        m->dop[VIVI_DOP_RESET] = 0;
        vivi_op_end(m, &err);
    }
}

static int may_reboot(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    cleanup_launch struct vivi_launch l = {0};
    json_t *problems = NULL;
    int r;

    if (m->st.state != VIV_ST_RUNNING && (a->q->hard || m->st.state != VIV_ST_PAUSED))
        return vivi_fail(err, VIV_E_WRONG_STATE, "only a running VM can be rebooted (it is %s)",
                         vivi_state_name(m->st.state));
    if (a->q->hard)
        return vivi_machine_may(&m->machine, "reset", err);
    /* A configuration that cannot start again is found before anything is stopped. */
    r = vivi_start_prepare(m, &l, &problems, err);
    json_decref(problems);
    return r;
}

static int begin_reboot(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    int r = may_reboot(a, err);

    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_REBOOT, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0) {
        vivi_op_end(m, err);
    } else if (a->q->hard) {
        arm_deadline(m, a->q);
        vivi_op_reset_now(m);
    } else {
        vivi_life_stop(m, &(struct vivi_stop_how){.cause = VIVI_CAUSE_STOP,
                                                  .grace_ms = grace_of(m, a->q),
                                                  .may_kill = true});
    }
    return r;
}

/* ---- pause, resume ---- */

void vivi_op_pause_now(struct vivi_monitor *m)
{
    bool pause = m->op.verb == VIVI_VERB_PAUSE;
    enum vivi_dop kind = pause ? VIVI_DOP_PAUSE : VIVI_DOP_RESUME;
    viv_error err = VIV_ERROR_INIT;
    uint64_t op = vivi_life_dop(m, kind);
    int r = pause ? vivi_machine_pause(&m->machine, op, &err)
                  : vivi_machine_resume(&m->machine, op, &err);

    if (r < 0) {
        m->dop[kind] = 0;
        vivi_op_end(m, &err);
    }
}

static int begin_pause(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    bool pause = a->q->verb == VIVI_VERB_PAUSE;
    int r;

    if (m->st.state == (pause ? VIV_ST_PAUSED : VIV_ST_RUNNING))
        return answer_now(m, a->c, a->q, false, err);
    r = vivi_machine_may(&m->machine, vivi_verb_name(a->q->verb), err);
    if (r < 0)
        return r;
    vivi_op_begin(m, a->q->verb, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0) {
        vivi_op_end(m, err);
        return r;
    }
    arm_deadline(m, a->q);
    vivi_op_pause_now(m);
    return 0;
}

/* ---- remove ---- */

void vivi_op_remove_now(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_op_restart_cancel(m);
    if (vivi_vm_remove(&m->dir, vivi_fds_get(&m->fds, "lock"), &err) < 0 &&
        err.code != VIV_E_NOT_FOUND) {
        vivi_log(VIVI_LOG_ERROR, "remove: %s", err.message);
        vivi_op_end(m, &err);
        return;
    }
    m->removed = true;
    vivi_op_end(m, NULL);
    vivi_idle_check(m);
}

static int begin_remove(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    int r;

    if (vivi_state_has_vmm(m->st.state) && !a->q->force) {
        r = vivi_fail(err, VIV_E_WRONG_STATE, "only a stopped VM can be removed (it is %s)",
                      vivi_state_name(m->st.state));
        vivi_hint(err, "viv rm --force %s", m->dir.name);
        return r;
    }
    vivi_op_begin(m, VIVI_VERB_REMOVE, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else if (vivi_state_has_vmm(m->st.state))
        vivi_life_stop(m, &(struct vivi_stop_how){.cause = VIVI_CAUSE_KILL, .may_kill = true});
    else
        vivi_op_remove_now(m);
    return r;
}

/* ---- apply ---- */

static int begin_apply(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    json_t *now = NULL;
    int r = vivi_apply_prepare(m, a->q, &now, err);

    if (r < 0)
        return r;
    if (now) {
        vivi_serve_result(a->c, a->q->id, vivi_result_with(m, false, now));
        json_decref(now);
        return 0;
    }
    vivi_op_begin(m, VIVI_VERB_APPLY, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else
        vivi_apply_go(m);
    return r;
}

/* ---- snapshot, restore ---- */

static int begin_snapshot(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    int r = vivi_snapshot_prepare(m, a->q->snapshot, a->q->allow_long_pause, err);

    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_SNAPSHOT, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0) {
        vivi_snapshot_drop(m);
        vivi_op_end(m, err);
        return r;
    }
    vivi_snapshot_now(m);
    return 0;
}

static int begin_restore(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    cleanup_launch struct vivi_launch l = {0};
    int r = vivi_restore_prepare(m, a->q->snapshot, a->q->on_demand, &l, err);

    if (r < 0)
        return r;
    vivi_desire(m, VIVI_DESIRED_RUNNING);
    vivi_op_begin(m, VIVI_VERB_RESTORE, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0) {
        vivi_op_end(m, err);
        return r;
    }
    vivi_restore_now(m, &l, a->q->requested_us);
    return 0;
}

/* ---- migrate, incoming ---- */

static int answer_offer(struct ask *a, viv_error *err)
{
    json_t *offer = vivi_migrate_offer(a->m), *more = NULL;
    int r;

    if (offer)
        more = json_pack("{s:o}", "offer", offer);
    if (!more)
        return vivi_fail_oom(err);
    r = answer_with(a->m, a->c, a->q, false, more, err);
    json_decref(more);
    return r;
}

/* What was said about it; one that stood still meanwhile goes on. */
static int settle(struct ask *a, bool arrived, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    int r = vivi_migrate_settle(m, arrived, err);

    if (r == 0)
        return answer_now(m, a->c, a->q, true, err);
    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_RESUME, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else
        vivi_op_pause_now(m);
    return r;
}

static int begin_migrate(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    struct vivi_migrate_ask ask;
    int r = vivi_migrate_parse(a->q->args, &ask, err);

    if (r == 0 && ask.step == VIVI_MIGRATE_SETTLE)
        return settle(a, ask.arrived, err);
    if (r == 0)
        r = vivi_migrate_may(m, &ask, err);
    if (r == 0 && ask.step == VIVI_MIGRATE_OFFER)
        return answer_offer(a, err);
    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_MIGRATE, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else
        vivi_migrate_now(m, &ask);
    return r;
}

static int begin_incoming(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    cleanup_launch struct vivi_launch l = {0};
    struct vivi_incoming_ask ask;
    int r = vivi_incoming_parse(a->q->args, &ask, err);

    if (r == 0 && ask.abort) {
        vivi_incoming_abort(m);
        return answer_now(m, a->c, a->q, false, err);
    }
    if (r == 0)
        r = vivi_incoming_prepare(m, &ask, &l, err);
    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_INCOMING, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else
        vivi_incoming_now(m, &ask, &l);
    return r;
}

/* ---- upgrade ---- */

static int begin_upgrade(struct ask *a, viv_error *err)
{
    struct vivi_monitor *m = a->m;
    const char *vmm = json_string_value(json_object_get(a->q->args, "vmm"));
    int r;

    if (vmm && vmm[0] != '/')
        return vivi_fail(err, VIV_E_INVALID, "args.vmm: not an absolute path");
    r = vivi_upgrade_prepare(m, vmm, err);
    if (r < 0)
        return r;
    vivi_op_begin(m, VIVI_VERB_UPGRADE, a->q->op);
    r = wait_for_op(m, a->c, a->q, true, err);
    if (r < 0)
        vivi_op_end(m, err);
    else
        vivi_upgrade_now(m);
    return r;
}

/* ---- the door ---- */

static bool settles(const struct vivi_request *q)
{
    const char *step = json_string_value(json_object_get(q->args, "step"));

    return q->verb == VIVI_VERB_MIGRATE && step && strcmp(step, "settle") == 0;
}

int vivi_op_submit(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                   struct vivi_frame *f, viv_error *err)
{
    struct ask a = {m, c, q, f};
    int r = vivi_state_writable(&m->st, err);

    if (m->keeper.dead)
        return 0; /* this process is about to be replaced: the client asks the next one */
    if (r >= 0 && q->op[0])
        r = replay(m, c, q, err);
    if (r == 0 && m->removed) /* gone, and this is not who removed it */
        r = vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
    if (r == 0 && !settles(q))
        r = vivi_migrate_allows(m, q->verb, err);
    if (r == 0 && is_stop(q->verb) && !q->for_now)
        vivi_desire_now(m, VIVI_DESIRED_STOPPED); /* also when it joins a stop for now */
    if (r == 0)
        r = meet_current(m, c, q, err);
    if (r != 0)
        return r;
    switch (q->verb) {
    case VIVI_VERB_START: return begin_start(&a, err);
    case VIVI_VERB_STOP:
    case VIVI_VERB_KILL: return begin_stop(&a, err);
    case VIVI_VERB_REBOOT: return begin_reboot(&a, err);
    case VIVI_VERB_PAUSE:
    case VIVI_VERB_RESUME: return begin_pause(&a, err);
    case VIVI_VERB_REMOVE: return begin_remove(&a, err);
    case VIVI_VERB_APPLY: return begin_apply(&a, err);
    case VIVI_VERB_SNAPSHOT: return begin_snapshot(&a, err);
    case VIVI_VERB_RESTORE: return begin_restore(&a, err);
    case VIVI_VERB_MIGRATE: return begin_migrate(&a, err);
    case VIVI_VERB_INCOMING: return begin_incoming(&a, err);
    case VIVI_VERB_UPGRADE: return begin_upgrade(&a, err);
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
    return vivi_fail(err, VIV_E_UNSUPPORTED, "unknown verb \"%s\"", vivi_verb_name(q->verb));
}
