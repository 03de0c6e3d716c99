/*
 * The life of a run.
 *
 * Theory of operation. Three sources speak about a VMM: the keeper (spawned, ended, a log grew),
 * the driver (running, paused, reset, ending, an operation is done) and we ourselves (stop ladder,
 * deadlines). Each is an event here; the state that people see changes in few places, all of which
 * go through vivi_life_set_state. The end of a run is told by the keeper alone: a driver may say
 * why, never that. Whatever the driver's stream and the log still hold is read before the end is
 * judged, so that a reason or a readiness line that came just before it counts.
 *
 * Nothing here frees the machine from inside a driver's callback: that happens at the end of a run,
 * which comes from the keeper's socket or from a timer.
 */
#include "monitor/migrate.h"
#include "monitor/rivals.h"
#include "monitor/snapshot.h"
#include "monitor/upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "store/serial.h"

#define VMM_ROLE "vmm"

static void on_serial(struct vivi_monitor *m, bool all);

/* ---- helpers of all ---- */

void vivi_disarm(struct vivi_monitor *m, struct vivi_timer **field)
{
    m->loop->timer_stop(*field);
    *field = NULL;
}

void vivi_arm(struct vivi_monitor *m, struct vivi_timer **field, const struct vivi_arm *a)
{
    viv_error err = VIV_ERROR_INIT;

    vivi_disarm(m, field);
    if (m->loop->timer(m->loop->ctx, a->name, a->after_ms, a->cb, m, field, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "timer %s: %s", a->name, err.message);
}

uint64_t vivi_life_dop(struct vivi_monitor *m, enum vivi_dop kind)
{
    m->dop[kind] = ++m->next_dop;
    return m->dop[kind];
}

void vivi_life_set_state(struct vivi_monitor *m, enum viv_state to, const char *reason)
{
    bool goes_on = to == VIV_ST_RUNNING && m->st.state != VIV_ST_STARTING;
    json_t *more;

    if (m->st.state == to)
        return;
    if (!vivi_state_may(m->st.state, to))
        vivi_log(VIVI_LOG_ERROR, "state %s → %s is not in the table", vivi_state_name(m->st.state),
                 vivi_state_name(to));
    m->st.state = to;
    m->machine.state = to;
    if (goes_on)
        vivi_clock_sync_owe(m);
    vivi_record_state(m);
    vivi_record_role(m);
    more = json_object();
    (void)json_object_set_new(more, "state", json_string(vivi_state_name(to)));
    (void)json_object_set_new(more, "reason", vivi_json_str_or_null(reason));
    vivi_record_event(m, "state", more);
    vivi_log(VIVI_LOG_INFO, "state %s%s%s", vivi_state_name(to), reason ? ": " : "",
             reason ? reason : "");
    vivi_clock_sync(m);
}

/* ---- ready ---- */

static void scan_more(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->scan_more);
    on_serial(m, false);
}

static void look_for_marker(struct vivi_monitor *m, const struct vivi_stream *serial, bool all)
{
    viv_error err = VIV_ERROR_INIT;
    char ip[46];
    int r;

    if (m->config.ready_by != VIVI_READY_AUTO && m->config.ready_by != VIVI_READY_MARKER)
        return;
    do {
        r = vivi_ready_scan(&m->ready, serial->fd, serial->size, ip, &err);
    } while (r == 2 && all);
    if (r < 0)
        vivi_log(VIVI_LOG_ERROR, "readiness: %s", err.message);
    if (r == 2)
        vivi_arm(m, &m->scan_more, &(struct vivi_arm){"scan-more", 0, scan_more});
    if (r != 1)
        return;
    vivi_timeline_mark(&m->timeline, VIVI_STEP_MARKER, vivi_mono_us());
    vivi_ladder_press_again(&m->ladder);
    if (m->st.ready)
        return; /* its agent was sooner: once for each boot */
    if (m->stage == VIVI_STAGE_UP)
        vivi_life_become_ready(m, ip, "marker");
    else
        memcpy(m->ready_pending, ip, sizeof(m->ready_pending));
}

/* The log is longer. all: to its end, however long that takes (a boot or a run is over). */
static void on_serial(struct vivi_monitor *m, bool all)
{
    struct vivi_stream *serial = vivi_stream_serial(&m->streams);

    if (!serial || serial->fd < 0)
        return;
    if (serial->size > m->st.boot_offset)
        vivi_timeline_mark(&m->timeline, VIVI_STEP_FIRST_BYTE, vivi_mono_us());
    look_for_marker(m, serial, all);
    vivi_consoles_grew(&m->consoles, serial->size);
    vivi_waits_log(m);
    vivi_streams_note_time(&m->streams); /* after all that somebody waits for */
}

/* ---- the driver's stream ---- */

static size_t give_input(void *ctx, const char *name, const char *data, size_t len)
{
    struct vivi_monitor *m = ctx;

    return m->machine.fx->input(m->machine.priv, name, data, len);
}

static void pump_stream(struct vivi_monitor *m, struct vivi_stream *s)
{
    const struct vivi_stream_sink sink = {give_input, m};
    viv_error err = VIV_ERROR_INIT;
    unsigned writes = m->state_writes;
    bool skipped = false;

    if (!s->to_driver || m->stage <= VIVI_STAGE_SPAWNING || !m->machine.priv ||
        !m->machine.fx->input)
        return;
    if (vivi_stream_pump(s, &sink, &skipped, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "%s: %s", s->log, err.message);
    if (skipped)
        vivi_log(VIVI_LOG_ERROR, "%s: a message of more than %u bytes", s->log, VIVI_INPUT_MAX);
    if (strcmp(s->log, VIVI_VMM_LOG) != 0)
        m->st.events_offset = s->taken;
    (void)vivi_stream_reserve(s, NULL); /* the disk is full: what is still reserved must do */
    if (m->state_writes != writes)      /* what was handled is recorded: so must be how far */
        vivi_record_state(m);
}

/* What the VMM complained about comes before the event that follows from it. */
static void pump(struct vivi_monitor *m, struct vivi_stream *s)
{
    struct vivi_stream *words = vivi_stream_of_log(&m->streams, VIVI_VMM_LOG);

    if (words && words != s && words->to_driver && s->to_driver) {
        vivi_stream_refresh(words);
        pump_stream(m, words);
    }
    pump_stream(m, s);
}

static void pump_all(struct vivi_monitor *m)
{
    for (size_t i = 0; i < m->streams.n; i++) {
        vivi_stream_refresh(&m->streams.items[i]);
        pump(m, &m->streams.items[i]);
    }
}

/* ---- running ---- */

static void became_running(struct vivi_monitor *m)
{
    m->stage = VIVI_STAGE_UP;
    m->running_since_us = vivi_mono_us();
    if (m->st.state != VIV_ST_INCOMING) /* one that comes is as it was there */
        m->vcpus = VIV_ST_RUNNING;
    vivi_disarm(m, &m->start_deadline);
    vivi_disarm(m, &m->settle);
    vivi_timeline_mark(&m->timeline, VIVI_STEP_RUNNING, m->running_since_us);
    if (m->ladder.phase != VIVI_LADDER_OFF || m->st.state == VIV_ST_STOPPING)
        return;
    if (m->st.state == VIV_ST_INCOMING)
        vivi_incoming_arrived(m);
    vivi_life_set_state(m, m->vcpus, NULL);
    vivi_record_running(m);
    m->ready.found = m->ready.found || m->inherited_ip[0] != '\0';
    if (m->inherited_ip[0]) /* before anybody is answered, who may look */
        vivi_life_become_ready(m, m->inherited_ip, "inherited");
    if (m->op.verb == VIVI_VERB_UPGRADE && m->serving)
        vivi_upgrade_runs(m);
    else if (m->op.verb != VIVI_VERB_UPGRADE && vivi_op_starts(m))
        vivi_op_end(m, NULL);
    if (!m->st.ready && m->ready_pending[0])
        vivi_life_become_ready(m, m->ready_pending, "marker");
    m->inherited_ip[0] = '\0';
    m->ready_pending[0] = '\0';
    vivi_agent_begin(m);
    vivi_waits_check(m);
    m->env->trim();
}

static void give_up_start(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->settle);
    if (m->cause == VIVI_CAUSE_NONE)
        m->cause = VIVI_CAUSE_START_FAILED;
    (void)vivi_life_signal(m, SIGKILL);
}

/*
 * A VMM that said no is killed at once. One that hung up has most likely just ended, and its exit
 * code and last words tell more than "connection closed": it is given a moment to end.
 */
static void start_failed(struct vivi_monitor *m, const viv_error *err)
{
    vivi_log(VIVI_LOG_WARN, "start: %s", err->message);
    if (m->ladder.phase != VIVI_LADDER_OFF || m->cause != VIVI_CAUSE_NONE)
        return;
    m->start_error = *err;
    vivi_rivals_hint(m, &m->start_error);
    if (err->code == VIV_E_VMM)
        give_up_start(m);
    else
        vivi_arm(m, &m->settle,
                 &(struct vivi_arm){"start-settle", VIVI_START_SETTLE_MS, give_up_start});
}

/* Whoever asked is answered in time, also when a large VMM takes its time to die. */
static void answer_start_timeout(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->settle);
    vivi_op_start_late(m);
}

static void start_timed_out(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->start_deadline);
    if (m->cause != VIVI_CAUSE_NONE)
        return;
    m->cause = VIVI_CAUSE_START_TIMEOUT;
    (void)vivi_life_signal(m, SIGKILL);
    vivi_arm(m, &m->settle,
             &(struct vivi_arm){"start-late", VIVI_START_LATE_MS, answer_start_timeout});
}

void vivi_life_start_deadline(struct vivi_monitor *m, uint64_t after_ms)
{
    vivi_arm(m, &m->start_deadline,
             &(struct vivi_arm){"start-deadline", after_ms, start_timed_out});
}

static int give_to_driver(struct vivi_monitor *m, bool adopt, viv_error *err)
{
    struct vivi_machine_start s = {
        .host = &m->host,
        .config = &m->config,
        .plan = m->plan.exe ? &m->plan : NULL,
        .requests = json_object_get(json_object_get(m->running, "plan"), "requests"),
        .run_dir = m->dir.run_dir,
        .run = m->st.run,
        .vmm = m->st.vmm,
        .incoming = adopt && m->st.state == VIV_ST_INCOMING};
    int r = vivi_machine_init(&m->machine, m->machine.driver, m->machine.fx, &m->machine.caps, err);

    if (r < 0)
        return r;
    m->machine.state = m->st.state;
    if (adopt)
        return vivi_machine_adopt(&m->machine, &s, vivi_life_dop(m, VIVI_DOP_ADOPT), err);
    return vivi_machine_start(&m->machine, &s, vivi_life_dop(m, VIVI_DOP_START), err);
}

/* ---- what the keeper says ---- */

static void on_spawned(void *ctx, uint64_t req, const struct vivi_proc_id *proc)
{
    struct vivi_monitor *m = ctx;
    viv_error err = VIV_ERROR_INIT;

    if (req != m->spawn_req || m->stage != VIVI_STAGE_SPAWNING)
        return;
    m->st.vmm = *proc;
    m->stage = VIVI_STAGE_STARTING;
    vivi_timeline_mark(&m->timeline, VIVI_STEP_EXEC, vivi_mono_us());
    (void)vivi_proc_open(proc, &m->pidfd, NULL); /* gone already: its exit will be told */
    if (m->cause == VIVI_CAUSE_STOP || m->cause == VIVI_CAUSE_KILL)
        vivi_ladder_begin(&m->ladder, &m->stop_after_spawn);
    else if (give_to_driver(m, false, &err) < 0)
        start_failed(m, &err);
    vivi_launch_spawned(m);
    vivi_record_state(m);
    vivi_launch_times(m);
    pump_all(m);
}

static void on_spawn_failed(void *ctx, uint64_t req, int sys_errno, const char *text)
{
    struct vivi_monitor *m = ctx;
    viv_error err = VIV_ERROR_INIT;

    if (req != m->spawn_req || m->stage != VIVI_STAGE_SPAWNING)
        return;
    (void)vivi_fail(&err, VIV_E_VMM, "cannot run %s: %s", m->plan.exe ? m->plan.exe : "the VMM",
                    text);
    err.sys_errno = sys_errno;
    vivi_launch_spawned(m);
    vivi_life_no_spawn(m, &err);
}

static void on_exited(void *ctx, const struct vivi_keeper_exit *e)
{
    struct vivi_monitor *m = ctx;

    if (strcmp(e->role, VMM_ROLE) != 0 || e->run != m->st.run || e->proc.pid != m->st.vmm.pid ||
        m->stage <= VIVI_STAGE_SPAWNING)
        return;
    vivi_life_ended(m, &(struct vivi_end_status){e->status_known, e->wstatus});
    vivi_adopt_done(m); /* if it was this end that an adoption waited for */
}

static void on_grew(void *ctx, const char *name, uint64_t size)
{
    struct vivi_monitor *m = ctx;
    struct vivi_stream *s = vivi_stream_find(&m->streams, name);

    if (!s)
        return;
    if (size > s->size)
        s->size = size;
    if (strcmp(s->log, VIVI_SERIAL_FILE) == 0) {
        /* A reset that was told before this output must not be seen after its marker. */
        if (!m->ready.found)
            pump_all(m);
        on_serial(m, false);
    }
    pump(m, s);
}

static void on_drained(void *ctx, const char *name, uint64_t token, uint64_t size)
{
    struct vivi_monitor *m = ctx;
    struct vivi_stream *s = vivi_stream_find(&m->streams, name);

    if (!s || !m->machine.priv || !m->machine.fx->drained)
        return;
    if (size > s->size)
        s->size = size;
    if (strcmp(s->log, VIVI_SERIAL_FILE) == 0)
        on_serial(m, true); /* this boot's last bytes, before the next boot begins */
    pump(m, s);
    m->machine.fx->drained(m->machine.priv, token, size);
}

static void on_lost(void *ctx, const char *name, int sys_errno)
{
    struct vivi_monitor *m = ctx;
    const struct vivi_stream *s = vivi_stream_find(&m->streams, name);

    vivi_log(sys_errno ? VIVI_LOG_ERROR : VIVI_LOG_INFO, "%s: %s", name,
             sys_errno ? strerror(sys_errno) : "can be written again");
    if (sys_errno)
        vivi_record_lost(m, s ? s->log : name, sys_errno);
}

static void on_caller_gone(void *ctx)
{
    vivi_op_caller_gone(ctx);
}

static void on_keeper_gone(void *ctx)
{
    struct vivi_monitor *m = ctx;

    m->env->take_over(m);
}

const struct vivi_keeper_events vivi_life_keeper = {
    .spawned = on_spawned,
    .spawn_failed = on_spawn_failed,
    .exited = on_exited,
    .grew = on_grew,
    .drained = on_drained,
    .lost = on_lost,
    .caller_gone = on_caller_gone,
    .gone = on_keeper_gone,
};

int vivi_life_drain(void *ctx, const char *name, uint64_t token, viv_error *err)
{
    struct vivi_monitor *m = ctx;

    return vivi_keeper_drain(&m->keeper, name, token, err);
}

/* ---- what the driver says ---- */

static void done_pause(struct vivi_monitor *m, const viv_error *err)
{
    if (!err && m->st.state == VIV_ST_RUNNING)
        vivi_life_set_state(m, VIV_ST_PAUSED, NULL);
    if (!err)
        m->vcpus = VIV_ST_PAUSED;
    if (m->op.verb == VIVI_VERB_PAUSE)
        vivi_op_end(m, err);
    else if (m->op.verb == VIVI_VERB_SNAPSHOT && m->saving.name[0])
        vivi_snapshot_paused(m, err);
    else if (m->op.verb == VIVI_VERB_UPGRADE)
        vivi_upgrade_paused(m, err);
}

static void done_resume(struct vivi_monitor *m, const viv_error *err)
{
    if (!err && m->st.state == VIV_ST_PAUSED)
        vivi_life_set_state(m, VIV_ST_RUNNING, NULL);
    if (!err)
        m->vcpus = VIV_ST_RUNNING;
    if (m->op.verb == VIVI_VERB_RESUME)
        vivi_op_end(m, err);
    else if (m->op.verb == VIVI_VERB_SNAPSHOT && m->saving.name[0])
        vivi_snapshot_resumed(m, err);
    else if (m->op.verb == VIVI_VERB_UPGRADE)
        vivi_upgrade_resumed(m, err);
}

static void done_snapshot(struct vivi_monitor *m, const viv_error *err)
{
    if (m->op.verb == VIVI_VERB_UPGRADE)
        vivi_upgrade_saved(m, err);
    else
        vivi_snapshot_saved(m, err);
}

/* A machine that is waited for is here when its VMM says so, and that may be long after the
 * adoption as such is over. */
static void adopted(struct vivi_monitor *m, const viv_error *err)
{
    bool incoming = m->st.state == VIV_ST_INCOMING;

    vivi_adopt_done(m);
    if (!incoming || m->stage != VIVI_STAGE_STARTING)
        return;
    if (err)
        start_failed(m, err);
    else
        became_running(m);
}

/* What a driver has opened for somebody who is not there any more. */
static void refuse_fd(const struct vivi_driver_event *e)
{
    int fd = e->fd;

    if (e->kind == VIVI_EV_DONE && fd > 0)
        vivi_close(&fd);
}

/* Of a call or a change; or it has ended by its deadline. */
static void on_other_done(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    refuse_fd(e);
    if (!vivi_call_done(m, e))
        (void)vivi_change_event(m, e);
}

static void on_done(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    const viv_error *err = e->err && e->err->code ? e->err : NULL;
    int result = err ? -err->code : 0;
    unsigned kind = 0;

    while (kind < VIVI_DOP_COUNT_ && (m->dop[kind] == 0 || m->dop[kind] != e->op))
        kind++;
    if (kind == VIVI_DOP_COUNT_) {
        on_other_done(m, e);
        return;
    }
    m->dop[kind] = 0;
    if (err)
        vivi_log(VIVI_LOG_WARN, "driver: %s", err->message);
    switch ((enum vivi_dop)kind) {
    case VIVI_DOP_START:
        if (err)
            start_failed(m, err);
        else
            became_running(m);
        break;
    case VIVI_DOP_ADOPT: adopted(m, err); break;
    case VIVI_DOP_PAUSE: done_pause(m, err); break;
    case VIVI_DOP_RESUME: done_resume(m, err); break;
    case VIVI_DOP_RESET:
        if (m->op.verb == VIVI_VERB_REBOOT && m->op.hard)
            vivi_op_end(m, err);
        break;
    case VIVI_DOP_BUTTON: vivi_ladder_answer(&m->ladder, VIVI_LADDER_BUTTON, result); break;
    case VIVI_DOP_QUIT: vivi_ladder_answer(&m->ladder, VIVI_LADDER_QUIT, result); break;
    case VIVI_DOP_LADDER_RESUME:
        if (!err)
            m->vcpus = VIV_ST_RUNNING;
        vivi_ladder_answer(&m->ladder, VIVI_LADDER_RESUME, result);
        break;
    case VIVI_DOP_AGENT: vivi_agent_connected(m, e->fd > 0 ? e->fd : -1, err); break;
    case VIVI_DOP_SNAPSHOT: done_snapshot(m, err); break;
    case VIVI_DOP_MIGRATE: vivi_migrate_failed(m, err); break;
    case VIVI_DOP_COUNTERS: vivi_stats_counted(m, e->value, err); break;
    case VIVI_DOP_COUNT_: break;
    }
    vivi_waits_check(m);
}

static void on_state(struct vivi_monitor *m, enum viv_state state)
{
    if (state != VIV_ST_RUNNING && state != VIV_ST_PAUSED)
        return;
    m->vcpus = state;
    vivi_incoming_state(m, state);
    if (m->stage != VIVI_STAGE_UP)
        return; /* the end of start or adopt looks at it */
    if (m->st.state == VIV_ST_RUNNING || m->st.state == VIV_ST_PAUSED)
        vivi_life_set_state(m, state, NULL);
    vivi_waits_check(m);
}

/* Where the marker of a boot with unknown beginning is looked for: behind the last one consumed. */
static uint64_t search_from(struct vivi_monitor *m)
{
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);

    if (m->config.ready_by != VIVI_READY_AUTO && m->config.ready_by != VIVI_READY_MARKER)
        return serial ? serial->size : m->st.boot_offset;
    return vivi_ready_offset(&m->ready);
}

/* Recorded before it returns: the guest goes on right after. */
static void on_reset(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    uint64_t offset = e->offset == VIVI_OFFSET_UNKNOWN ? search_from(m) : e->offset;
    json_t *more;

    if (e->stamp ? e->stamp <= m->st.reset_stamp : e->offset == m->st.boot_offset)
        return; /* the one that is recorded already, told again after an adoption */
    m->st.boot++;
    m->st.boot_offset = offset;
    m->st.reset_stamp = e->stamp;
    m->st.ready = false;
    m->st.ready_proof[0] = m->st.ip[0] = '\0';
    m->st.ready_at_ms = m->st.ready_after_ms = 0;
    m->st.ip_reachable = false;
    m->ready_pending[0] = '\0';
    vivi_disarm(m, &m->ready_port.again);
    vivi_clock_sync_forget(m);
    m->boot_began_us = vivi_mono_us();
    vivi_ready_begin(&m->ready, m->ready.nonce, offset);
    vivi_record_state(m);
    if (e->offset == VIVI_OFFSET_UNKNOWN) /* what it has to say may be in the log already */
        vivi_arm(m, &m->scan_more, &(struct vivi_arm){"scan-more", 0, scan_more});
    more = json_pack("{s:I,s:s*}", "boot", (json_int_t)m->st.boot, "cause", e->text);
    vivi_record_event(m, "reboot", more);
    vivi_record_boot(m);
    vivi_agent_rebooted(m);
}

void vivi_life_event(void *ctx, const struct vivi_driver_event *e)
{
    struct vivi_monitor *m = ctx;

    if (e->run != m->st.run || m->stage <= VIVI_STAGE_SPAWNING) {
        refuse_fd(e);
        return;
    }
    switch (e->kind) {
    case VIVI_EV_DONE: on_done(m, e); break;
    case VIVI_EV_STATE: on_state(m, e->state); break;
    case VIVI_EV_RESET: on_reset(m, e); break;
    case VIVI_EV_ENDING:
        if (!vivi_ending_counts(m->ending, e->reason))
            break;
        m->ending = e->reason;
        (void)snprintf(m->ending_text, sizeof(m->ending_text), "%s", e->text ? e->text : "");
        break;
    case VIVI_EV_AGENT: vivi_agent_port(m, e->open); break;
    case VIVI_EV_API: vivi_timeline_mark(&m->timeline, VIVI_STEP_API, vivi_mono_us()); break;
    case VIVI_EV_CREATED:
        vivi_timeline_mark(&m->timeline, VIVI_STEP_CREATED, vivi_mono_us());
        break;
    case VIVI_EV_PROGRESS:
        if (e->op != 0 && e->op == m->dop[VIVI_DOP_MIGRATE])
            vivi_migrate_progress(m, e->text);
        else
            (void)vivi_change_event(m, e);
        break;
    case VIVI_EV_LISTENING: vivi_incoming_listening(m); break;
    case VIVI_EV_HANDED_OVER: vivi_migrate_handed_over(m); break;
    case VIVI_EV_DEVICE: (void)vivi_change_event(m, e); break;
    case VIVI_EV_PORTS: vivi_record_ports(m, e->value); break;
    }
}

/* ---- adoption ---- */

static void adopt_late(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->adopt_deadline);
    vivi_log(VIVI_LOG_WARN, "the VMM does not answer: taken over as recorded");
    vivi_adopt_done(m);
}

void vivi_life_hear(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (give_to_driver(m, true, &err) < 0)
        vivi_log(VIVI_LOG_INFO, "last words: %s", err.message); /* nobody listens any more */
    m->dop[VIVI_DOP_ADOPT] = 0; /* an answer would be of a VMM that is gone */
    pump_all(m);
}

void vivi_life_adopt(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    int r;

    m->vcpus = m->st.state == VIV_ST_PAUSED || m->st.state == VIV_ST_SAVING ? VIV_ST_PAUSED
                                                                            : VIV_ST_RUNNING;
    r = give_to_driver(m, true, &err);
    if (r >= 0)
        vivi_arm(m, &m->adopt_deadline,
                 &(struct vivi_arm){"adopt-deadline", VIVI_ADOPT_DEADLINE_MS, adopt_late});
    pump_all(m);
    on_serial(m, false);
    if (r < 0) {
        m->dop[VIVI_DOP_ADOPT] = 0;
        vivi_log(VIVI_LOG_WARN, "adopt: %s", err.message);
        vivi_adopt_done(m);
    }
}

/* Adoption is over. A start that was half done is done now; the rest is as the VMM says. */
void vivi_life_adopted(struct vivi_monitor *m)
{
    const char *ip = json_string_value(json_object_get(m->running, "inherited_ip"));
    bool begins = m->st.state == VIV_ST_STARTING || m->st.state == VIV_ST_RESTORING ||
                  m->st.state == VIV_ST_INCOMING;

    vivi_disarm(m, &m->adopt_deadline);
    if (begins)
        (void)snprintf(m->inherited_ip, sizeof(m->inherited_ip), "%.45s", ip ? ip : "");
    if (m->st.state == VIV_ST_INCOMING) {
        m->stage = VIVI_STAGE_STARTING; /* the driver goes on waiting */
        vivi_incoming_adopted(m);
        return;
    }
    m->dop[VIVI_DOP_ADOPT] = 0;
    if (begins) {
        became_running(m);
        return;
    }
    m->stage = VIVI_STAGE_UP;
    if (m->st.state == VIV_ST_RUNNING || m->st.state == VIV_ST_PAUSED ||
        m->st.state == VIV_ST_SAVING)
        vivi_life_set_state(m, m->vcpus, NULL);
    if (m->ready_pending[0])
        vivi_life_become_ready(m, m->ready_pending, "marker");
    m->ready_pending[0] = '\0';
    vivi_agent_begin(m);
}

/* ---- the end ---- */

static void forget_run(struct vivi_monitor *m)
{
    struct vivi_timer **timers[] = {&m->start_deadline, &m->settle,    &m->adopt_deadline,
                                    &m->unobserved,     &m->scan_more, &m->ready_port.again};
    struct vivi_machine machine = m->machine;

    for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
        vivi_disarm(m, timers[i]);
    vivi_clock_sync_forget(m);
    vivi_change_forget(m);
    vivi_calls_end(m);
    vivi_incoming_drop(m);
    vivi_machine_done(&m->machine); /* forgets everything, also what is true between runs */
    m->machine.driver = machine.driver;
    m->machine.fx = machine.fx;
    m->machine.caps = machine.caps;
    m->machine.state = m->st.state;
    vivi_consoles_end(&m->consoles);
    vivi_launch_clean(m);
    vivi_streams_done(&m->streams);
    vivi_close(&m->pidfd);
    memset(m->dop, 0, sizeof(m->dop));
    m->stage = VIVI_STAGE_NONE;
    m->st.vmm = (struct vivi_proc_id){0};
    m->st.ready = false;
    m->st.ready_proof[0] = m->st.ip[0] = '\0';
    m->st.ready_at_ms = m->st.ready_after_ms = 0;
    m->st.ip_reachable = false;
    m->ready_pending[0] = '\0';
}

/* What follows from the end of a run, or of a start that got no further than its spawn. */
static void conclude(struct vivi_monitor *m, enum vivi_reason reason, const char *text)
{
    uint64_t now = vivi_mono_us();
    enum vivi_cause cause = m->cause;
    enum viv_state to = vivi_reason_is_failure(reason) ? VIV_ST_FAILED : VIV_ST_STOPPED;

    vivi_incoming_ended(m);
    m->ran = m->running_since_us != 0;
    m->ran_ms = m->ran ? (now - m->running_since_us) / 1000 : 0;
    m->had_vmm = m->st.vmm.pid != 0;
    vivi_agent_ended(m, vivi_reason_name(reason));
    forget_run(m);
    (void)snprintf(m->st.reason, sizeof(m->st.reason), "%s", vivi_reason_name(reason));
    (void)snprintf(m->st.reason_text, sizeof(m->st.reason_text), "%s", text);
    m->st.ended_at_ms = vivi_wall_ms();
    vivi_migrate_concluded(m, reason);
    vivi_apply_columns(m);
    vivi_op_restart_schedule(m, reason);
    vivi_nics_let_go(m); /* before anybody is told that it has ended */
    vivi_life_set_state(m, to, m->st.reason);
    m->cause = VIVI_CAUSE_NONE;
    m->ending = VIVI_REASON_NONE;
    m->ending_text[0] = '\0';
    vivi_op_run_ended(m, cause, text);
    if (m->stage == VIVI_STAGE_NONE) /* no reboot has begun the next run already */
        vivi_record_running(m);
    vivi_waits_check(m);
    vivi_op_after_end(m);
    vivi_idle_check(m);
}

void vivi_life_ended(struct vivi_monitor *m, const struct vivi_end_status *s)
{
    struct vivi_end_facts f = {.vmm = m->machine.driver ? m->machine.driver->name : "the VMM",
                               .ran = m->running_since_us != 0,
                               .status_known = s->known,
                               .wstatus = s->wstatus};
    const struct vivi_stream *stderr_log;
    char line[256], text[VIVI_END_TEXT_MAX];
    enum vivi_reason reason = VIVI_REASON_UNOBSERVED;

    vivi_calls_hear(m);
    pump_all(m);
    on_serial(m, true);
    stderr_log = vivi_stream_of_log(&m->streams, VIVI_VMM_LOG);
    vivi_tail_line(
        &(struct vivi_tail){stderr_log ? stderr_log->fd : -1, stderr_log ? stderr_log->start : 0},
        line, sizeof(line));
    f.rung = vivi_ladder_ended(&m->ladder);
    f.cause = m->cause;
    f.ending = m->ending;
    f.ending_text = m->ending_text;
    f.start_error = m->start_error.message;
    f.last_line = line;
    vivi_end_reason(&f, &reason, text);
    (void)snprintf(m->st.rung, sizeof(m->st.rung), "%s",
                   f.rung == VIVI_RUNG_NONE ? "" : vivi_rung_name(f.rung));
    vivi_log(VIVI_LOG_INFO, "run %llu ended: %s %s", (unsigned long long)m->st.run,
             vivi_reason_name(reason), text);
    conclude(m, reason, text);
}

void vivi_life_no_spawn(struct vivi_monitor *m, const viv_error *err)
{
    (void)vivi_ladder_ended(&m->ladder);
    m->start_error = *err;
    conclude(m,
             m->cause == VIVI_CAUSE_STOP   ? VIVI_REASON_STOP
             : m->cause == VIVI_CAUSE_KILL ? VIVI_REASON_KILL
                                           : VIVI_REASON_SPAWN_FAILED,
             err->message);
}
