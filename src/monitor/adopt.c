/*
 * What a new monitor finds, and what it makes of it.
 *
 * Theory of operation. Every monitor begins here, whether the VM is new, has ended, or runs and has
 * lost its monitor: there is one path, so the rare case is the tested one. The order: records; the
 * operation a former monitor left unfinished; host boot id and pid namespace; the keeper's record
 * of the spawn and its end; identity of the process, held by a pidfd; streams; the driver, which
 * drains its events and asks the VMM; the unfinished operation; the event; clients. Each step can
 * be done again, so it may be interrupted anywhere.
 */
#include "monitor/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "monitor/policy.h"
#include "monitor/restart.h"

#define UNOBSERVED_MS 2000 /* a keeper that reaps has told by then */
#define EXITS_TAIL    4096

/* ---- records ---- */

static int read_state(struct vivi_monitor *m, viv_error *err)
{
    int r = vivi_state_repair(&m->dir, err);

    if (r > 0)
        vivi_log(VIVI_LOG_WARN, "state.json was broken and has been made anew");
    if (r >= 0)
        r = vivi_state_read(m->dir.fd, &m->st, err);
    return r < 0 ? r : 0;
}

/* The configuration that counts now: of the run while there is one, else of the next start. */
static void read_config(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = NULL;
    int r;

    if (vivi_state_has_vmm(m->st.state) && json_object_get(m->running, "config"))
        doc = json_incref(json_object_get(m->running, "config"));
    else
        (void)vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, &err);
    r = doc ? vivi_config_decode(doc, &m->config, &err) : -VIV_E_NOT_FOUND;
    json_decref(doc);
    if (r < 0) {
        vivi_log(VIVI_LOG_WARN, "configuration: %s", err.message);
        return;
    }
    m->config_valid = true;
    m->machine.driver = m->env->driver(m->config.driver);
    m->machine.fx = vivi_effects_for(m->env->effects(m->config.driver), &m->config);
    if (m->machine.driver)
        m->machine.caps = m->machine.driver->caps;
    if (m->machine.fx)
        vivi_machine_narrow(&m->machine.caps, m->machine.fx);
    m->machine.state = m->st.state;
}

static void read_running(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    const char *nonce;

    if (vivi_json_read(m->dir.fd, VIVI_RUNNING_FILE, VIVI_DOCUMENT_MAX_BYTES, &m->running, &err) <
        0) {
        if (err.code != VIV_E_NOT_FOUND)
            vivi_log(VIVI_LOG_WARN, "%s", err.message);
        return;
    }
    nonce = json_string_value(json_object_get(m->running, "nonce"));
    (void)snprintf(m->nonce, sizeof(m->nonce), "%s", nonce ? nonce : "");
    m->foreground = json_is_true(json_object_get(m->running, "foreground"));
    vivi_timeline_from_json(json_object_get(m->running, "timeline"), &m->timeline);
}

static void identify(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    pid_t keeper = 0;

    vivi_proc_self(&m->st.monitor);
    m->st.keeper = (struct vivi_proc_id){0};
    /* Not our parent: when the keeper dies early, that is somebody else by now. */
    if (vivi_peer_pid(m->keeper.fd, &keeper, &err) < 0 ||
        vivi_proc_identify(keeper, &m->st.keeper, &err) < 0)
        vivi_log(VIVI_LOG_WARN, "keeper: %s", err.message);
}

/* ---- streams ---- */

static uint64_t number_of(const json_t *j, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(j, key));

    return n > 0 ? (uint64_t)n : 0;
}

/* Keeper and monitor died: the VMM still holds the FIFO, so it is opened again by its path. */
static void log_again(struct vivi_monitor *m, const struct vivi_stream *s)
{
    struct vivi_fd_entry e = {.limit_bytes = s->limit_bytes, .fd = -1};
    viv_error err = VIV_ERROR_INIT;
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", m->dir.run_dir, s->name);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        vivi_log(VIVI_LOG_ERROR, "%s: %s: its output is lost", path, strerror(errno));
        return;
    }
    e.fd = vivi_fd_above_stdio(fd, &err);
    (void)snprintf(e.name, sizeof(e.name), "%s", s->name);
    (void)snprintf(e.file, sizeof(e.file), "%s", s->log);
    if (e.fd < 0 ||
        vivi_keeper_log(&m->keeper,
                        &(struct vivi_keeper_log){s->name, s->log, s->limit_bytes, e.fd}, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "%s: %s", s->name, err.message);
    if (e.fd >= 0)
        (void)vivi_fds_put(&m->fds, &e, &err);
}

static void open_stream(struct vivi_monitor *m, const json_t *j)
{
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *log = json_string_value(json_object_get(j, "log"));
    viv_error err = VIV_ERROR_INIT;
    struct vivi_stream *s = name && log ? vivi_stream_add(&m->streams, name, log) : NULL;

    if (!s)
        return;
    s->to_driver = json_is_true(json_object_get(j, "to_driver"));
    s->limit_bytes = number_of(j, "limit");
    s->start = number_of(j, "start");
    s->taken = s->start; /* the VMM's stderr is told again from the start of the run */
    if (s->to_driver && strcmp(log, VIVI_VMM_LOG) != 0 && m->st.events_offset > s->start)
        s->taken = m->st.events_offset;
    if (vivi_stream_open(s, m->dir.fd, &err) < 0 || vivi_stream_reserve(s, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "%s", err.message);
    if (vivi_fds_get(&m->fds, name) < 0)
        log_again(m, s);
}

static bool is_ours(struct vivi_monitor *m, const char *name)
{
    static const char *const always[] = {"lock", "listener", "keeper", "caller"};

    for (size_t i = 0; i < ARRAY_SIZE(always); i++) {
        if (strcmp(name, always[i]) == 0)
            return true;
    }
    return strncmp(name, VIVI_NIC_FD, strlen(VIVI_NIC_FD)) == 0 ||
           vivi_stream_find(&m->streams, name) != NULL ||
           (vivi_terminal_name(m) && strcmp(vivi_terminal_name(m), name) == 0);
}

/* What a former monitor lent to a child, or left of an earlier run. */
static void drop_strangers(struct vivi_monitor *m)
{
    for (size_t i = 0; i < m->fds.n;) {
        char name[VIVI_KEEPER_NAME_MAX];

        memcpy(name, m->fds.items[i].name, sizeof(name));
        if (is_ours(m, name)) {
            i++;
            continue;
        }
        (void)vivi_keeper_drop(&m->keeper, name, NULL);
        vivi_fds_drop(&m->fds, name); /* the last entry takes its place */
    }
}

static void open_run(struct vivi_monitor *m)
{
    const json_t *streams = json_object_get(m->running, "streams");
    const char *input = json_string_value(json_object_get(m->running, "input"));
    const struct vivi_stream *serial;
    uint64_t from = m->st.boot_offset;

    for (size_t i = 0; i < json_array_size(streams); i++)
        open_stream(m, json_array_get(streams, i));
    drop_strangers(m);
    if (m->st.scan_offset > from)
        from = m->st.scan_offset;
    vivi_ready_begin(&m->ready, m->nonce, from);
    m->ready.found = m->st.ready;
    if (input && strchr(input, '/') == NULL &&
        asprintf(&m->input_path, "%s/%s", m->dir.run_dir, input) < 0)
        m->input_path = NULL;
    serial = vivi_stream_serial(&m->streams);
    if (serial) {
        vivi_consoles_begin(&m->consoles, serial->fd, serial->size, m->input_path);
        vivi_streams_time(&m->streams, m->dir.fd, serial->size);
    }
    m->clock_sync.due = json_is_true(json_object_get(m->running, "clock_due"));
    vivi_terminal_recover(m);
    vivi_terminal_use(m);
}

/* ---- a run that was recorded ---- */

static bool this_run_recorded(const struct vivi_monitor *m)
{
    return number_of(m->running, "run") == m->st.run;
}

static void nobody_told(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->unobserved);
    vivi_life_ended(m, &(struct vivi_end_status){false, 0});
    vivi_adopt_done(m);
}

static void hear_last_words(struct vivi_monitor *m)
{
    if (this_run_recorded(m) && m->machine.driver && m->machine.fx)
        vivi_life_hear(m);
}

static void ended_meanwhile(struct vivi_monitor *m, const struct vivi_exit_rec *rec)
{
    hear_last_words(m);
    vivi_life_ended(m, &(struct vivi_end_status){rec->status_known, rec->wstatus});
    vivi_adopt_done(m);
}

static void other_host_boot(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_CANCELLED, "the host has booted since");
    vivi_ladder_ended(&m->ladder);
    vivi_op_end(m, &err);
    m->st.vmm = (struct vivi_proc_id){0};
    (void)snprintf(m->st.reason, sizeof(m->st.reason), "%s",
                   vivi_reason_name(VIVI_REASON_HOST_REBOOT));
    m->st.reason_text[0] = m->st.ip[0] = m->st.ready_proof[0] = '\0';
    m->st.ready = m->st.ip_reachable = false;
    m->st.ready_at_ms = m->st.ready_after_ms = m->st.next_start_at_ms = 0;
    m->st.ended_at_ms = vivi_wall_ms();
    m->stage = VIVI_STAGE_NONE;
    m->cause = VIVI_CAUSE_NONE;
    vivi_launch_clean(m);
    vivi_life_set_state(m, VIV_ST_STOPPED, m->st.reason);
    vivi_adopt_done(m);
}

/*
 * A start that never got a process: whoever asked asks again by its id, so it is made now. Its run
 * and boot never were. Without a journalled operation there is nothing to go on with.
 */
static void never_spawned(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->op.verb == VIVI_VERB_START ||
        (m->op.starting_again && m->op.verb != VIVI_VERB_UPGRADE)) {
        vivi_launch_clean(m);
        vivi_streams_done(&m->streams);
        m->st.run--;
        m->st.boot--;
        m->st.state = VIV_ST_STOPPED;
        m->stage = VIVI_STAGE_NONE;
        m->op.starting_again = true;
    } else {
        (void)vivi_fail(&err, VIV_E_VMM, "the start was interrupted before the VMM ran");
        vivi_life_no_spawn(m, &err);
    }
    vivi_adopt_done(m);
}

/* It is alive, as far as the host can say: held by a pidfd, which checks its identity again. */
static void take_over(struct vivi_monitor *m, const struct vivi_exit_rec *rec)
{
    viv_error err = VIV_ERROR_INIT;

    if (vivi_proc_open(&m->st.vmm, &m->pidfd, &err) < 0) {
        vivi_log(VIVI_LOG_INFO, "vmm: %s", err.message);
        if (rec->exited) {
            ended_meanwhile(m, rec);
            return;
        }
        hear_last_words(m); /* its end is being reaped, or nobody will ever know */
        vivi_arm(m, &m->unobserved,
                 &(struct vivi_arm){"exit-unobserved", UNOBSERVED_MS, nobody_told});
        return;
    }
    if (!m->machine.driver || !m->machine.fx) {
        vivi_log(VIVI_LOG_ERROR, "the VMM lives, but its driver is not known");
        vivi_adopt_done(m);
        return;
    }
    vivi_life_adopt(m);
}

/* When it came to run, as near as the timeline knows; 0: it never did. */
static uint64_t ran_since(const struct vivi_monitor *m)
{
    if (this_run_recorded(m) && vivi_timeline_has(&m->timeline, VIVI_STEP_RUNNING))
        return m->timeline.origin_us + m->timeline.step_us[VIVI_STEP_RUNNING];
    return m->st.state == VIV_ST_STARTING ? 0 : m->adopted_since_us;
}

static int find_run(struct vivi_monitor *m, viv_error *err)
{
    struct vivi_exit_rec rec = {0};
    int r;

    if (strcmp(m->st.host_boot_id, m->now.boot_id) != 0) {
        other_host_boot(m);
        return 0;
    }
    r = vivi_exits_find(m->dir.fd, "vmm", m->st.run, &rec, err);
    if (r < 0)
        return r;
    m->stage = VIVI_STAGE_ADOPTING;
    /* The first boot of a run began with the request; when a later one did is not recorded. */
    m->boot_began_us = json_array_size(json_object_get(m->running, "boots")) > 1
                           ? m->adopted_since_us
                           : m->timeline.origin_us;
    m->running_since_us = ran_since(m);
    m->spawn_known = m->st.vmm.pid != 0;
    if (r > 0) /* who it is, before what only it has left is taken out of it */
        m->st.vmm = rec.proc;
    if (this_run_recorded(m))
        open_run(m);
    else
        drop_strangers(m);
    if (m->st.pid_ns != 0 && m->st.pid_ns != m->now.pid_ns) {
        vivi_log(VIVI_LOG_WARN, "the VMM was started in another pid namespace");
        m->st.vmm = (struct vivi_proc_id){0};
        vivi_life_ended(m, &(struct vivi_end_status){false, 0});
        vivi_adopt_done(m);
    } else if (m->st.vmm.pid == 0) {
        never_spawned(m);
    } else if (rec.exited && rec.status_known) {
        ended_meanwhile(m, &rec);
    } else {
        take_over(m, &rec);
    }
    return 0;
}

/* ---- no run ---- */

static void plan_restart(struct vivi_monitor *m)
{
    int64_t left = m->st.next_start_at_ms - vivi_wall_ms();

    if (strcmp(m->st.host_boot_id, m->now.boot_id) != 0) {
        m->st.next_start_at_ms = 0; /* what starts at a host's boot is not decided here */
        return;
    }
    /* The wall clock may have jumped: never later than the longest delay. */
    if (left < 0)
        left = 0;
    if (left > VIVI_BACKOFF_MAX_MS)
        left = VIVI_BACKOFF_MAX_MS;
    vivi_op_restart_arm(m, (uint64_t)left);
}

/* ---- the end of adoption ---- */

/* How long nobody was there: since the keeper saw the former monitor end, else since our start. */
static int64_t gap_ms(struct vivi_monitor *m)
{
    uint64_t size = vivi_log_size(m->dir.fd, "exits.log");
    uint64_t from = size > EXITS_TAIL ? size - EXITS_TAIL : 0;
    char buf[EXITS_TAIL + 1], *rest = NULL;
    cleanup_close int fd = openat(m->dir.fd, "exits.log", O_RDONLY | O_CLOEXEC);
    int64_t last = 0, now = vivi_wall_ms();
    ssize_t n = fd >= 0 ? pread(fd, buf, EXITS_TAIL, (off_t)from) : 0;

    buf[n > 0 ? n : 0] = '\0';
    for (char *s = strtok_r(buf, "\n", &rest); s; s = strtok_r(NULL, "\n", &rest)) {
        long long at;

        if (sscanf(s, "exit monitor 0 %*s %*s %*s %lld", &at) == 1)
            last = at;
    }
    if (last > 0 && last <= now)
        return now - last;
    return (int64_t)((vivi_mono_us() - m->adopted_since_us) / 1000);
}

static void tell_adopted(struct vivi_monitor *m)
{
    json_t *more = json_object();

    (void)json_object_set_new(more, "gap_ms", json_integer(gap_ms(m)));
    vivi_record_event(m, "adopted", more);
}

void vivi_adopt_done(struct vivi_monitor *m)
{
    bool alive = m->stage == VIVI_STAGE_ADOPTING;

    if (m->serving)
        return;
    vivi_disarm(m, &m->unobserved);
    vivi_disarm(m, &m->serve_early);
    if (alive) {
        vivi_log(VIVI_LOG_INFO, "taken over run %" PRIu64 " after %" PRIu64 " us", m->st.run,
                 vivi_mono_us() - m->adopted_since_us);
        vivi_life_adopted(m);
        vivi_policy_take(m); /* a former monitor may have got no further than to record it */
    }
    m->serving = true;
    vivi_op_resume(m);
    if (alive)
        tell_adopted(m);
    if (alive)
        vivi_record_state(m);
    else
        vivi_record_state_soon(m); /* we were started for a verb, which records more than this */
    vivi_serve_adopted(m);
    vivi_waits_check(m);
    vivi_op_after_end(m);
    vivi_idle_check(m);
    m->env->trim();
}

/* Our predecessor may have told that this boot is ready and died before it wrote it down. */
static void recall_ready(struct vivi_monitor *m)
{
    cleanup_json json_t *e = NULL;
    const char *ip, *time, *proof;
    int64_t at;

    if (m->st.ready || vivi_event_last(&m->root, m->st.uuid, "ready", &e, NULL) <= 0 ||
        number_of(e, "run") != m->st.run || number_of(e, "boot") != m->st.boot)
        return;
    ip = json_string_value(json_object_get(e, "ip"));
    proof = json_string_value(json_object_get(e, "proof"));
    m->st.ready = true;
    (void)snprintf(m->st.ready_proof, sizeof(m->st.ready_proof), "%s", proof ? proof : "marker");
    (void)snprintf(m->st.ip, sizeof(m->st.ip), "%s", ip ? ip : "");
    m->st.ip_reachable = m->config.driver != VIVI_DRIVER_QEMU;
    m->st.ready_after_ms = (int64_t)number_of(e, "after_ms");
    time = json_string_value(json_object_get(e, "time"));
    if (time && vivi_time_parse(time, &at) == 0)
        m->st.ready_at_ms = at;
}

static void serve_early(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->serve_early);
    vivi_serve_begin(m);
}

int vivi_adopt(struct vivi_monitor *m, viv_error *err)
{
    int r = read_state(m, err);

    if (r < 0)
        return r;
    identify(m);
    if (vivi_state_writable(&m->st, err) < 0) {
        vivi_log(VIVI_LOG_ERROR, "%s", err->message);
        m->readonly = m->serving = true;
        vivi_serve_adopted(m);
        vivi_idle_check(m);
        return 0;
    }
    vivi_core_clean(m);
    read_running(m);
    read_config(m);
    vivi_op_load_journal(m);
    if (vivi_state_has_vmm(m->st.state)) {
        recall_ready(m);
        m->state_durable = m->op.verb == VIVI_VERB_START; /* died before it was synced, maybe */
        vivi_arm(m, &m->serve_early,
                 &(struct vivi_arm){"adopt-serve", VIVI_ADOPT_SERVE_MS, serve_early});
        vivi_record_state(m); /* who looks at the record finds us, not our predecessor */
        return find_run(m, err);
    }
    drop_strangers(m);
    if (m->st.next_start_at_ms != 0)
        plan_restart(m);
    vivi_adopt_done(m);
    return 0;
}
