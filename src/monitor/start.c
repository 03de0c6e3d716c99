/*
 * A start: first everything that can be refused (nothing is changed), then everything that happens.
 */
#include "monitor/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "store/control.h"
#include "store/moving.h"
#include "store/snapshots.h"
#include "store/serial.h"

void vivi_launch_done(struct vivi_launch *l)
{
    vivi_config_done(&l->config);
    vivi_plan_done(&l->plan);
    json_decref(l->doc);
    l->doc = NULL;
}

static int find_driver(struct vivi_monitor *m, struct vivi_launch *l, viv_error *err)
{
    l->driver = m->env->driver(l->config.driver);
    l->fx = vivi_effects_for(m->env->effects(l->config.driver), &l->config);
    if (!l->driver) { /* recorded where there was one: the same words as at creation */
        enum vivi_driver_kind kind;
        char reason[200];
        int r = vivi_driver_resolve(l->config.driver, m->cache_dir, &kind, reason, err);

        if (r < 0)
            return r;
    }
    if (!l->driver || !l->fx)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s is not built here",
                         vivi_driver_name(l->config.driver));
    return 0;
}

static json_t *problems_json(const struct vivi_problems *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n; i++)
        (void)json_array_append_new(list, vivi_error_to_json(&p->items[i]));
    return list;
}

/* The first problem is the error; all of them go along. */
static int check(const struct vivi_launch *l, const struct vivi_facts *f, json_t **ret_problems,
                 viv_error *err)
{
    cleanup_problems struct vivi_problems p = {0};
    int r = l->driver->check(&l->config, f, &p);

    if (r < 0)
        return vivi_fail_oom(err);
    if (p.n > 0) {
        uint32_t size = err ? err->size : 0;

        r = -p.items[0].code;
        if (err) {
            *err = p.items[0];
            err->size = size;
        }
        if (ret_problems)
            *ret_problems = problems_json(&p);
        return r;
    }
    if (!f->probe.usable) {
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "%s", f->probe.reason);
        if (f->probe.hint[0])
            vivi_hint(err, "%s", f->probe.hint);
        return r;
    }
    return 0;
}

static int make_plan(struct vivi_monitor *m, struct vivi_launch *l, const struct vivi_facts *f,
                     const struct vivi_launch_from *from, viv_error *err)
{
    struct vivi_plan_input in = {.config = &l->config,
                                 .facts = f,
                                 .uuid = m->dir.uuid,
                                 .nonce = l->nonce,
                                 .run_dir = m->dir.run_dir,
                                 .vm_dir = m->dir.path,
                                 .how = VIVI_HOW_BOOT};
    char dir[PATH_MAX];
    int r = 0;

    if (from && from->incoming_url) {
        in.how = VIVI_HOW_INCOMING;
        in.incoming_url = from->incoming_url;
        in.incoming_tls = from->incoming_tls;
    } else if (from) {
        (void)snprintf(dir, sizeof(dir), "%s/" VIVI_SNAPSHOTS_DIR "/%s/" VIVI_SNAPSHOT_VMM,
                       m->dir.path, from->snapshot);
        in.how = VIVI_HOW_RESTORE;
        in.restore_dir = dir;
        in.restore_on_demand = from->on_demand;
    }
    if (from)
        (void)snprintf(l->nonce, sizeof(l->nonce), "%s", from->nonce ? from->nonce : "");
    else
        r = vivi_random_hex(l->nonce, sizeof(l->nonce) - 1, err);
    return r < 0 ? r : l->driver->plan(&in, &l->plan, err);
}

int vivi_start_prepare(struct vivi_monitor *m, struct vivi_launch *ret, json_t **ret_problems,
                       viv_error *err)
{
    return vivi_start_prepare_from(m, NULL, ret, ret_problems, err);
}

static int use_vmm(struct vivi_config *c, const char *path, viv_error *err)
{
    char *copy = strdup(path);

    if (!copy)
        return vivi_fail_oom(err);
    free(c->vmm_path);
    c->vmm_path = copy;
    return 0;
}

/* doc and config of l. */
static int read_config(const struct vivi_monitor *m, const struct vivi_launch_from *from,
                       struct vivi_launch *l, viv_error *err)
{
    int r = 0;

    if (from)
        l->doc = json_incref((json_t *)(uintptr_t)from->doc);
    else
        r = vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &l->doc, err);
    if (r >= 0)
        r = vivi_config_decode(l->doc, &l->config, err);
    return r >= 0 && from && from->vmm ? use_vmm(&l->config, from->vmm, err) : r;
}

int vivi_start_prepare_from(struct vivi_monitor *m, const struct vivi_launch_from *from,
                            struct vivi_launch *ret, json_t **ret_problems, viv_error *err)
{
    cleanup_launch struct vivi_launch l = {0};
    struct vivi_facts f = {0};
    int r = vivi_state_writable(&m->st, err);

    if (r >= 0 && (!from || !from->incoming_url))
        r = vivi_moving_allows(m->dir.fd, m->dir.name, err);
    if (r < 0)
        return r;
    r = read_config(m, from, &l, err);
    if (r >= 0)
        r = find_driver(m, &l, err);
    if (r >= 0)
        r = vivi_nics_check(m, &l.config, l.fx->taps_up, err);
    if (r >= 0)
        r = m->env->facts(&l.config, l.driver, m->cache_dir, &f, err);
    if (r >= 0)
        r = check(&l, &f, ret_problems, err);
    if (r >= 0)
        r = make_plan(m, &l, &f, from, err);
    if (r >= 0 && l.config.landlock == VIVI_SWITCH_OFF)
        vivi_log(VIVI_LOG_WARN,
                 "sandbox.landlock: off: the VMM may open whatever its user may in this run");
    l.probe = f.probe;
    vivi_facts_done(&f);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct vivi_launch){0};
    return 0;
}

void vivi_start_install(struct vivi_monitor *m, struct vivi_launch *l)
{
    struct vivi_probe *probe = malloc(sizeof(*probe));

    if (probe)
        *probe = l->probe;
    free(m->probe);
    m->probe = probe;
    if (m->config_valid)
        vivi_config_done(&m->config);
    m->config = l->config;
    m->config_valid = true;
    vivi_nics_drop_others(m, &m->config);
    vivi_plan_done(&m->plan);
    m->plan = l->plan;
    json_decref(m->doc);
    m->doc = l->doc;
    memcpy(m->nonce, l->nonce, sizeof(m->nonce));
    m->machine.driver = l->driver;
    m->machine.fx = l->fx;
    m->machine.caps = l->probe.caps;
    (void)snprintf(m->st.driver, sizeof(m->st.driver), "%s", l->driver->name);
    (void)snprintf(m->st.accel, sizeof(m->st.accel), "%s", vivi_accel_name(l->probe.accel));
    m->st.cpus = l->config.cpus;
    m->st.memory_bytes = l->config.memory_bytes;
    (void)snprintf(m->inherited_ip, sizeof(m->inherited_ip), "%s", l->ip);
    *l = (struct vivi_launch){0};
}

/* The records of a run that has not begun: run +1, boot +1, nothing known of it yet. */
static void new_run(struct vivi_monitor *m, const struct vivi_start_how *how)
{
    struct vivi_state *s = &m->st;

    s->run++;
    s->boot++;
    s->ready = s->ip_reachable = false;
    s->ready_proof[0] = s->ip[0] = s->reason[0] = s->reason_text[0] = s->rung[0] = '\0';
    s->ready_at_ms = s->ready_after_ms = s->ended_at_ms = s->next_start_at_ms = 0;
    s->started_at_ms = vivi_wall_ms();
    s->remove_when_ended = s->remove_when_ended || how->remove_when_ended;
    s->vmm = (struct vivi_proc_id){0};
    s->events_offset = s->reset_stamp = 0;
    (void)snprintf(s->host_boot_id, sizeof(s->host_boot_id), "%s", m->now.boot_id);
    s->pid_ns = m->now.pid_ns;
    m->stage = VIVI_STAGE_SPAWNING;
    m->cause = VIVI_CAUSE_NONE;
    m->ending = VIVI_REASON_NONE;
    m->ending_text[0] = m->ready_pending[0] = '\0';
    m->start_error = (viv_error)VIV_ERROR_INIT;
    m->running_since_us = 0;
    m->vcpus = VIV_ST_RUNNING;
    m->restarted = how->restarted;
    m->foreground = how->foreground;
}

static void begin_reading(struct vivi_monitor *m)
{
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);
    const char *input = json_string_value(json_object_get(m->running, "input"));

    m->st.boot_offset = serial ? serial->size : 0;
    vivi_ready_begin(&m->ready, m->nonce, m->st.boot_offset);
    free(m->input_path);
    m->input_path = NULL;
    if (input && asprintf(&m->input_path, "%s/%s", m->dir.run_dir, input) < 0)
        m->input_path = NULL;
    if (serial)
        vivi_consoles_begin(&m->consoles, serial->fd, serial->size, m->input_path);
}

/* There before the VMM: one that locks itself in can name them among what it may open later. */
static int make_room_for_later(struct vivi_monitor *m, viv_error *err)
{
    cleanup_close int fd = -1;

    if (mkdirat(m->dir.fd, VIVI_HOTPLUG_DIR, 0700) < 0 && errno != EEXIST)
        return vivi_fail_errno(err, errno, VIVI_HOTPLUG_DIR);
    return vivi_snapshots_open(&m->dir, &fd, err);
}

static enum viv_state state_of(enum vivi_how how)
{
    switch (how) {
    case VIVI_HOW_RESTORE: return VIV_ST_RESTORING;
    case VIVI_HOW_INCOMING: return VIV_ST_INCOMING;
    case VIVI_HOW_BOOT: break;
    }
    return VIV_ST_STARTING;
}

/* The state that the run begins with. A disk's sync takes milliseconds: no VMM waits for it. What
 * is to be synced is when the VMM sets itself up, before whoever asked for the start has an answer.
 */
static void record_begin(struct vivi_monitor *m, enum viv_state state)
{
    bool durable = m->state_durable;

    m->state_durable = false;
    vivi_life_set_state(m, state, NULL);
    m->state_durable = durable;
}

void vivi_start_commit(struct vivi_monitor *m, const struct vivi_start_how *how)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t now = vivi_mono_us();
    int r;

    (void)vivi_op_restart_cancel(m);
    vivi_timeline_begin(&m->timeline,
                        how->requested_us && how->requested_us <= now ? how->requested_us : now);
    m->boot_began_us = m->timeline.origin_us;
    new_run(m, how);
    r = vivi_launch_streams(m, &err);
    if (r >= 0 && vivi_caps_has(&m->machine.driver->caps, VIVI_CAP_SNAPSHOT))
        r = make_room_for_later(m, &err);
    m->st.boot_offset = vivi_log_size(m->dir.fd, VIVI_SERIAL_FILE);
    record_begin(m, state_of(how->how));
    if (r >= 0 && !m->probe)
        r = vivi_fail_oom(&err);
    if (r >= 0)
        r = vivi_record_running_new(m, &err);
    if (r >= 0) {
        begin_reading(m);
        r = vivi_launch_apply(m, &err);
        vivi_terminal_use(m);
    }
    if (r < 0 && m->keeper.dead)
        return; /* its successor's monitor finds this start unfinished and makes it */
    if (r < 0) {
        vivi_life_no_spawn(m, &err);
        return;
    }
    if (how->how == VIVI_HOW_INCOMING)
        return; /* as long as it takes to come */
    vivi_life_start_deadline(m, how->timeout_ms >= 0 ? (uint64_t)how->timeout_ms
                                                     : VIVI_START_DEADLINE_MS);
}

/* Without a client: the restart policy, the second half of a reboot, a start that a former monitor
 * had begun. The operation is there already. */
void vivi_start_again(struct vivi_monitor *m, bool restarted)
{
    cleanup_launch struct vivi_launch l = {0};
    viv_error err = VIV_ERROR_INIT;

    if (vivi_start_prepare(m, &l, NULL, &err) < 0) {
        vivi_log(VIVI_LOG_ERROR, "start: %s", err.message);
        (void)snprintf(m->st.reason_text, sizeof(m->st.reason_text), "%.159s", err.message);
        vivi_op_end(m, &err);
        if (restarted) /* what is missing may come back */
            vivi_op_restart_schedule(m, VIVI_REASON_SPAWN_FAILED);
        vivi_record_state(m);
        return;
    }
    vivi_start_install(m, &l);
    m->op.timeout_ms = VIVI_START_DEADLINE_MS;
    vivi_start_commit(m,
                      &(struct vivi_start_how){.foreground = vivi_fds_get(&m->fds, "caller") >= 0,
                                               .restarted = restarted,
                                               .timeout_ms = VIVI_NO_TIMEOUT});
}
