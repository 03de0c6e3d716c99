/*
 * Sending a running machine to another VMM.
 *
 * Theory of operation. From "send" on nobody here knows whether the machine runs here or there,
 * until the VMM tells: its end by a migration is the success, and an answer of the driver the
 * failure. What must never be is two that run. So moving.json is written first, durably, and from
 * then on no start of this VM is made while it is there: it goes away when the machine is known to
 * be here, and stays for good when it is known to be there. A VMM that dies on the way leaves it
 * undecided, and only who can ask the other end may settle it.
 *
 * It is a commit in two phases, with the other end as the one who decides. Until the machine was
 * handed over ("sending") a failure means that it is here. After that ("handed-over") it may run
 * there, whatever our VMM thinks of the connection: the machine here stands still, in doubt, until
 * somebody who has asked the other end says which one is true. A VMM that hears nothing at all, as
 * when the network has gone, would believe in a failure minutes later and let the machine run:
 * it is stopped by a signal before that.
 */
#include "monitor/migrate.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "driver/cpu.h"
#include "store/moving.h"
#include "store/serial.h"

#define TELL_MS 1000
#define LATE_MS 10000 /* from the hand-over to its end: a restart of devices and an answer */

/* ---- what is asked ---- */

static const char *text_of(const json_t *args, const char *key)
{
    return json_string_value(json_object_get(args, key));
}

static int64_t number_of(const json_t *args, const char *key)
{
    const json_t *j = json_object_get(args, key);

    return json_is_integer(j) && json_integer_value(j) >= 0 ? (int64_t)json_integer_value(j) : -1;
}

int vivi_migrate_parse(const json_t *args, struct vivi_migrate_ask *ret, viv_error *err)
{
    const char *step = text_of(args, "step"), *to = text_of(args, "to");

    *ret = (struct vivi_migrate_ask){.name = to ? to : "",
                                     .arrived = json_is_true(json_object_get(args, "arrived")),
                                     .to = {.url = text_of(args, "url"),
                                            .tls_dir = text_of(args, "tls_dir"),
                                            .local = json_is_true(json_object_get(args, "local")),
                                            .downtime_ms = number_of(args, "downtime_ms"),
                                            .timeout_s = number_of(args, "timeout_s"),
                                            .connections = number_of(args, "connections")}};
    if (step && strcmp(step, "offer") == 0)
        ret->step = VIVI_MIGRATE_OFFER;
    else if (step && strcmp(step, "send") == 0)
        ret->step = VIVI_MIGRATE_SEND;
    else if (step && strcmp(step, "settle") == 0)
        ret->step = VIVI_MIGRATE_SETTLE;
    else
        return vivi_fail(err, VIV_E_INVALID, "args.step: none of offer, send, settle");
    if (ret->step == VIVI_MIGRATE_SEND && !ret->to.url)
        return vivi_fail(err, VIV_E_INVALID, "args.url: missing");
    return 0;
}

static const char *vmm_version(const struct vivi_monitor *m)
{
    return vivi_json_text(vivi_record_vmm(m), "version");
}

int vivi_migrate_may(struct vivi_monitor *m, const struct vivi_migrate_ask *a, viv_error *err)
{
    int r = vivi_machine_may(&m->machine, "migrate", err);

    if (r == 0 && m->stage != VIVI_STAGE_UP)
        r = vivi_fail(err, VIV_E_BUSY, "its VMM is not known yet");
    return r < 0 ? r : m->machine.driver->may_move(&m->config, vmm_version(m), &a->to, err);
}

/* ---- offer ---- */

/* As long as it is now. */
static json_t *log_json(struct vivi_monitor *m)
{
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);

    return serial ? json_pack("{s:I, s:I}", "start",
                              (json_int_t)vivi_serial_start(m->dir.fd, serial->fd), "size",
                              (json_int_t)serial->size)
                  : json_null();
}

json_t *vivi_migrate_offer(struct vivi_monitor *m)
{
    char *cpu = vivi_cpu_describe();
    cleanup_json json_t *config = NULL;
    json_t *j = NULL;

    if (vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, NULL) == 0)
        j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O}", "offer", 1, "name",
                      m->dir.name, "uuid", m->dir.uuid, "driver", m->machine.driver->name,
                      "vmm_version", vmm_version(m), "nonce", m->nonce, "ip",
                      m->st.ready ? m->st.ip : "", "config", config, "running",
                      json_object_get(m->running, "config"));
    if (j) {
        (void)json_object_set_new(j, "ready", json_boolean(m->st.ready));
        (void)json_object_set_new(j, "boot", json_integer((json_int_t)m->st.boot));
        (void)json_object_set_new(j, "log", log_json(m));
    }
    if (j)
        (void)json_object_set_new(j, "cpu", vivi_json_str(cpu ? cpu : ""));
    free(cpu);
    return j;
}

/* ---- sending ---- */

static void tell_phase(struct vivi_monitor *m, const struct vivi_moving *moving)
{
    json_t *more = json_object();

    (void)json_object_set_new(more, "phase", json_string(vivi_moving_phase_name(moving->phase)));
    (void)json_object_set_new(more, "to", vivi_json_str(moving->to));
    vivi_record_event(m, "migration", more);
}

void vivi_migrate_drop(struct vivi_monitor *m)
{
    vivi_disarm(m, &m->migrate_tell);
    vivi_disarm(m, &m->migrate_late);
    m->migrate_doing[0] = '\0';
}

static void tell(void *arg)
{
    struct vivi_monitor *m = arg;
    uint64_t now = m->loop->now_ms(m->loop->ctx);

    vivi_disarm(m, &m->migrate_tell);
    if (m->op.verb != VIVI_VERB_MIGRATE)
        return;
    vivi_waits_note(m, json_pack("{s:s, s:I}", "doing",
                                 m->migrate_doing[0] ? m->migrate_doing : "sending", "elapsed_ms",
                                 (json_int_t)(now - m->migrate_since_ms)));
    vivi_arm(m, &m->migrate_tell, &(struct vivi_arm){"migrate-tell", TELL_MS, tell});
}

void vivi_migrate_progress(struct vivi_monitor *m, const char *text)
{
    (void)snprintf(m->migrate_doing, sizeof(m->migrate_doing), "%s", text ? text : "");
    tell(m);
}

/* Its VMM was stopped on its way, and made it stand still when it gave up. */
static void go_on(struct vivi_monitor *m)
{
    viv_error why = VIV_ERROR_INIT;

    if (vivi_machine_resume(&m->machine, vivi_life_dop(m, VIVI_DOP_RESUME), &why) == 0)
        return;
    m->dop[VIVI_DOP_RESUME] = 0;
    vivi_log(VIVI_LOG_ERROR, "migrate: %s", why.message);
}

/* It is here, and may be started again one day. */
static void stays(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    struct vivi_moving moving;
    bool ran = vivi_moving_read(m->dir.fd, &moving, NULL) > 0 && !moving.paused;

    vivi_migrate_drop(m);
    if (vivi_moving_remove(m->dir.fd, &why) < 0)
        vivi_log(VIVI_LOG_ERROR, "migrate: %s", why.message);
    if (m->st.state == VIV_ST_OUTGOING)
        vivi_life_set_state(m, m->vcpus, NULL);
    if (ran && m->st.state == VIV_ST_PAUSED)
        go_on(m);
    if (m->op.verb == VIVI_VERB_MIGRATE)
        vivi_op_end(m, err);
    vivi_waits_check(m);
}

/* ---- in doubt ---- */

bool vivi_migrate_in_doubt(const struct vivi_monitor *m)
{
    return vivi_state_has_vmm(m->st.state) &&
           strcmp(m->st.reason, vivi_reason_name(VIVI_REASON_IN_DOUBT)) == 0;
}

int vivi_migrate_allows(struct vivi_monitor *m, enum vivi_verb v, viv_error *err)
{
    static const bool goes_on[VIVI_VERB_COUNT_] = {
        [VIVI_VERB_START] = true,   [VIVI_VERB_STOP] = true,     [VIVI_VERB_REBOOT] = true,
        [VIVI_VERB_RESUME] = true,  [VIVI_VERB_SNAPSHOT] = true, [VIVI_VERB_APPLY] = true,
        [VIVI_VERB_RESTORE] = true, [VIVI_VERB_MIGRATE] = true,  [VIVI_VERB_UPGRADE] = true};
    struct vivi_moving moving;
    int r;

    if (!goes_on[v] || !vivi_migrate_in_doubt(m))
        return 0;
    r = vivi_moving_read(m->dir.fd, &moving, err);
    if (r < 0)
        return r;
    r = vivi_fail(err, VIV_E_WRONG_STATE,
                  "it stands still, in doubt: it may run at %.300s, where it was handed over",
                  r > 0 ? moving.to : "another host");
    vivi_hint(err, "viv migrate --resolve %s", m->dir.name);
    return r;
}

/* What is recorded stands for this until somebody settles it; moving may be frozen now. */
static void doubt(struct vivi_monitor *m, const struct vivi_moving *moving, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    vivi_migrate_drop(m);
    if (vivi_moving_write(m->dir.fd, moving, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "migrate: %s", err.message); /* "handed-over" stands */
    m->vcpus = VIV_ST_PAUSED;
    (void)snprintf(m->st.reason, sizeof(m->st.reason), "%s",
                   vivi_reason_name(VIVI_REASON_IN_DOUBT));
    (void)snprintf(m->st.reason_text, sizeof(m->st.reason_text), "%.159s", text);
    vivi_life_set_state(m, VIV_ST_PAUSED, m->st.reason);
    if (m->op.verb == VIVI_VERB_MIGRATE) {
        (void)vivi_fail(&err, VIV_E_VMM, "%s; it stands still here, since it may run there", text);
        vivi_hint(&err, "viv migrate --resolve %s", m->dir.name);
        vivi_op_end(m, &err);
    }
    vivi_waits_check(m);
}

static void freeze(struct vivi_monitor *m, struct vivi_moving *moving, const char *text)
{
    moving->frozen = true;
    (void)vivi_life_signal(m, SIGSTOP);
    doubt(m, moving, text);
}

static void late(void *arg)
{
    struct vivi_monitor *m = arg;
    struct vivi_moving moving;

    vivi_disarm(m, &m->migrate_late);
    if (m->st.state == VIV_ST_OUTGOING && vivi_moving_read(m->dir.fd, &moving, NULL) > 0 &&
        moving.phase == VIVI_MOVING_HANDED)
        freeze(m, &moving, "it was handed over, and nothing is heard of it");
}

void vivi_migrate_handed_over(struct vivi_monitor *m)
{
    struct vivi_moving moving;
    viv_error err = VIV_ERROR_INIT;

    if (m->st.state != VIV_ST_OUTGOING || vivi_moving_read(m->dir.fd, &moving, NULL) <= 0)
        return;
    moving.phase = VIVI_MOVING_HANDED;
    if (vivi_moving_write(m->dir.fd, &moving, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "migrate: %s", err.message);
    tell_phase(m, &moving);
    vivi_arm(m, &m->migrate_late, &(struct vivi_arm){"migrate-late", LATE_MS, late});
    vivi_migrate_progress(m, "handed over");
}

/* ---- how it went ---- */

void vivi_migrate_failed(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_moving moving;
    viv_error why = VIV_ERROR_INIT;

    if (m->st.state == VIV_ST_OUTGOING && vivi_moving_read(m->dir.fd, &moving, NULL) > 0 &&
        moving.phase == VIVI_MOVING_HANDED) {
        if (m->vcpus == VIV_ST_PAUSED)
            doubt(m, &moving, err ? err->message : "the VMM did not end");
        else
            freeze(m, &moving, err ? err->message : "the VMM did not end");
        return;
    }
    (void)vivi_fail(&why, err ? err->code : VIV_E_VMM, "%s; it goes on here",
                    err ? err->message : "the VMM did not end");
    stays(m, &why);
}

void vivi_migrate_now(struct vivi_monitor *m, const struct vivi_migrate_ask *a)
{
    struct vivi_moving moving = {.phase = VIVI_MOVING_SENDING,
                                 .paused = m->st.state == VIV_ST_PAUSED};
    viv_error err = VIV_ERROR_INIT;
    int r;

    (void)snprintf(moving.to, sizeof(moving.to), "%s", a->name);
    m->migrate_since_ms = m->loop->now_ms(m->loop->ctx);
    m->migrate_doing[0] = '\0';
    r = vivi_moving_write(m->dir.fd, &moving, &err);
    if (r == 0) {
        vivi_op_step(m, "send");
        tell_phase(m, &moving);
        vivi_life_set_state(m, VIV_ST_OUTGOING, NULL);
        r = vivi_machine_migrate_send(&m->machine, &a->to, vivi_life_dop(m, VIVI_DOP_MIGRATE),
                                      &err);
    }
    if (r < 0) {
        m->dop[VIVI_DOP_MIGRATE] = 0;
        stays(m, &err);
        return;
    }
    tell(m);
}

/* ---- the end ---- */

void vivi_migrate_concluded(struct vivi_monitor *m, enum vivi_reason reason)
{
    struct vivi_moving moving;
    viv_error err = VIV_ERROR_INIT;

    vivi_migrate_drop(m);
    if (reason != VIVI_REASON_MIGRATED)
        return;
    m->st.remove_when_ended = false; /* its disks may be in use where it is now */
    vivi_desire(m, VIVI_DESIRED_STOPPED);
    if (vivi_moving_read(m->dir.fd, &moving, NULL) <= 0)
        moving = (struct vivi_moving){.to = "another host"};
    moving.phase = VIVI_MOVING_GONE;
    (void)snprintf(m->st.reason_text, sizeof(m->st.reason_text), "%.159s", moving.to);
    if (vivi_moving_write(m->dir.fd, &moving, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "migrate: %s", err.message); /* "sending" stands: no start */
    tell_phase(m, &moving);
}

void vivi_migrate_ended(struct vivi_monitor *m, const char *text)
{
    struct vivi_moving moving;
    viv_error err = VIV_ERROR_INIT;
    int found = vivi_moving_read(m->dir.fd, &moving, NULL);

    if (found > 0 && moving.phase == VIVI_MOVING_GONE) {
        vivi_op_end(m, NULL);
        return;
    }
    (void)vivi_fail(&err, VIV_E_VMM, "its VMM ended while it was on its way (%s%s%s)%s",
                    m->st.reason, text[0] ? ": " : "", text, found > 0 ? ": it may run there" : "");
    if (found > 0)
        vivi_hint(&err, "viv migrate --resolve %s", m->dir.name);
    vivi_op_end(m, &err);
}

/* It is known to be here only. */
static int settle_here(struct vivi_monitor *m, struct vivi_moving *moving, viv_error *err)
{
    bool frozen = moving->frozen;
    int r;

    if (frozen) { /* its VMM goes on with a connection that leads nowhere, and gives up */
        moving->frozen = false;
        moving->phase = VIVI_MOVING_SENDING;
        r = vivi_moving_write(m->dir.fd, moving, err);
    } else {
        r = vivi_moving_remove(m->dir.fd, err);
    }
    if (r < 0)
        return r;
    m->st.reason[0] = m->st.reason_text[0] = '\0';
    vivi_record_state(m);
    if (!frozen)
        return !moving->paused;
    m->vcpus = moving->paused ? VIV_ST_PAUSED : VIV_ST_RUNNING;
    vivi_life_set_state(m, VIV_ST_OUTGOING, NULL);
    return vivi_life_signal(m, SIGCONT);
}

int vivi_migrate_settle(struct vivi_monitor *m, bool arrived, viv_error *err)
{
    struct vivi_moving moving;
    int r = vivi_moving_read(m->dir.fd, &moving, err);

    if (r <= 0)
        return r;
    if (!arrived && vivi_migrate_in_doubt(m))
        return settle_here(m, &moving, err);
    if (arrived && vivi_state_has_vmm(m->st.state))
        return vivi_fail(err, VIV_E_WRONG_STATE, "it runs here (%s)", vivi_state_name(m->st.state));
    if (!arrived)
        return moving.phase == VIVI_MOVING_GONE || m->st.state == VIV_ST_OUTGOING
                   ? vivi_fail(err, VIV_E_WRONG_STATE, "it was migrated to %.300s", moving.to)
                   : vivi_moving_remove(m->dir.fd, err);
    moving.phase = VIVI_MOVING_GONE;
    r = vivi_moving_write(m->dir.fd, &moving, err);
    if (r < 0)
        return r;
    (void)snprintf(m->st.reason, sizeof(m->st.reason), "%s",
                   vivi_reason_name(VIVI_REASON_MIGRATED));
    (void)snprintf(m->st.reason_text, sizeof(m->st.reason_text), "%.159s", moving.to);
    (void)vivi_op_restart_cancel(m);
    vivi_desire(m, VIVI_DESIRED_STOPPED);
    vivi_record_state(m);
    return 0;
}

/* ---- a former monitor ---- */

void vivi_migrate_resume(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->st.state != VIV_ST_OUTGOING) {
        (void)vivi_fail(&err, VIV_E_CANCELLED, "it was interrupted; it goes on here");
        stays(m, &err);
        return;
    }
    m->migrate_since_ms = m->loop->now_ms(m->loop->ctx);
    if (vivi_machine_migrate_send(&m->machine, NULL, vivi_life_dop(m, VIVI_DOP_MIGRATE), &err) <
        0) {
        m->dop[VIVI_DOP_MIGRATE] = 0;
        vivi_log(VIVI_LOG_WARN, "migrate: %s", err.message); /* its end is about to be told */
    }
    tell(m);
}
