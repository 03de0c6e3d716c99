/*
 * What this monitor writes: state.json (no fsync: it names the host's boot and dies with it, but
 * for "desired", which autostart asks for after the next one), running.json, events. A write that
 * fails is told once, kept in memory and tried again by a timer with back-off; nothing here ever
 * stops the VM.
 */
#include "monitor/terminal.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MOST_MS  60000

static void retry(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->record_retry);
    if (m->unended[0])
        vivi_record_op_end(m, m->unended, m->unended_code);
    if (m->state_dirty)
        vivi_record_state(m);
}

static void retry_later(struct vivi_monitor *m)
{
    if (m->record_retry_ms == 0)
        m->record_retry_ms = RETRY_FIRST_MS;
    else if (m->record_retry_ms < RETRY_MOST_MS)
        m->record_retry_ms *= 2;
    vivi_arm(m, &m->record_retry, &(struct vivi_arm){"record-retry", m->record_retry_ms, retry});
}

static void retry_no_more(struct vivi_monitor *m)
{
    if (m->state_dirty || m->unended[0])
        return;
    m->record_retry_ms = 0;
    vivi_disarm(m, &m->record_retry);
}

/* An end that is not on record would be taken for an operation to go on with. */
void vivi_record_op_end(struct vivi_monitor *m, const char *op, int code)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->removed)
        return;
    if (vivi_journal_end(m->dir.fd, op, code, &err) == 0) {
        m->unended[0] = '\0';
        retry_no_more(m);
        return;
    }
    vivi_log(VIVI_LOG_ERROR, "journal: %s", err.message);
    if (op != m->unended)
        (void)snprintf(m->unended, sizeof(m->unended), "%s", op);
    m->unended_code = code;
    retry_later(m);
}

void vivi_record_lost(struct vivi_monitor *m, const char *what, int sys_errno)
{
    json_t *more = json_object();

    (void)json_object_set_new(more, "stream", vivi_json_str(what));
    (void)json_object_set_new(more, "errno", vivi_json_str(vivi_errno_name(sys_errno)));
    vivi_record_event(m, "lost", more);
}

static void write_failed(struct vivi_monitor *m, const viv_error *err)
{
    vivi_log(VIVI_LOG_ERROR, "cannot record: %s", err->message);
    if (!m->state_dirty)
        vivi_record_lost(m, VIVI_STATE_FILE, err->sys_errno);
    m->state_dirty = true;
    retry_later(m);
}

void vivi_record_state(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    struct vivi_stream *serial = vivi_stream_serial(&m->streams);

    vivi_disarm(m, &m->record_soon);
    if (m->removed || m->readonly)
        return;
    m->state_writes++;
    /* A marker that was found and not told yet must be found again by who comes after us. */
    if (serial && m->stage != VIVI_STAGE_NONE && (m->st.ready || !m->ready.found))
        m->st.scan_offset = vivi_ready_offset(&m->ready);
    if (vivi_state_write(m->dir.fd, &m->st, m->state_durable ? VIVI_DURABLE : VIVI_FAST, &err) <
        0) {
        write_failed(m, &err);
        return;
    }
    m->state_durable = false;
    if (m->state_dirty)
        vivi_log(VIVI_LOG_INFO, "state.json can be written again");
    m->state_dirty = false;
    retry_no_more(m);
}

static void soon(void *arg)
{
    vivi_record_state(arg);
}

void vivi_record_state_soon(struct vivi_monitor *m)
{
    vivi_arm(m, &m->record_soon, &(struct vivi_arm){"record-soon", VIVI_SOON_MS, soon});
}

void vivi_record_event(struct vivi_monitor *m, const char *type, json_t *more_consume)
{
    json_t *body = vivi_event_new(&m->st, type);
    viv_error err = VIV_ERROR_INIT;

    if (body && more_consume)
        (void)json_object_update(body, more_consume);
    json_decref(more_consume);
    if (!body || vivi_event_append(&m->root, body, NULL, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "event %s is lost: %s", type, body ? err.message : "no memory");
    json_decref(body);
}

/* ---- running.json ---- */

/* What the VMM is to the machine: one that leaves, or is waited for, is not where it runs. NULL:
 * there is none any more, and what it was stays on record. */
static const char *role_of(enum viv_state s)
{
    if (s == VIV_ST_INCOMING)
        return "incoming";
    if (s == VIV_ST_OUTGOING)
        return "outgoing";
    return vivi_state_has_vmm(s) ? "active" : NULL;
}

void vivi_record_role(struct vivi_monitor *m)
{
    const json_t *run = json_object_get(m->running, "run");
    const char *role = role_of(m->st.state);

    if (role && (uint64_t)json_integer_value(run) == m->st.run &&
        strcmp(role, vivi_json_text(vivi_record_vmm(m), "role")) != 0)
        vivi_record_running(m);
}

static json_t *proc_json(const struct vivi_monitor *m)
{
    const char *role = role_of(m->st.state);
    json_t *j = json_object();

    if (role)
        (void)json_object_set_new(j, "role", json_string(role));
    (void)json_object_set_new(j, "pid", json_integer(m->st.vmm.pid));
    (void)json_object_set_new(j, "start_time", json_integer((json_int_t)m->st.vmm.start_time));
    (void)json_object_set_new(j, "run", json_integer((json_int_t)m->st.run));
    return j;
}

static json_t *boot_json(const struct vivi_monitor *m)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "boot", json_integer((json_int_t)m->st.boot));
    (void)json_object_set_new(j, "offset", json_integer((json_int_t)m->st.boot_offset));
    return j;
}

static json_t *streams_json(const struct vivi_monitor *m)
{
    json_t *list = json_array();

    for (size_t i = 0; i < m->streams.n; i++) {
        const struct vivi_stream *s = &m->streams.items[i];
        json_t *j = json_object();

        (void)json_object_set_new(j, "name", vivi_json_str(s->name));
        (void)json_object_set_new(j, "log", vivi_json_str(s->log));
        (void)json_object_set_new(j, "start", json_integer((json_int_t)s->start));
        (void)json_object_set_new(j, "limit", json_integer((json_int_t)s->limit_bytes));
        (void)json_object_set_new(j, "to_driver", json_boolean(s->to_driver));
        (void)json_array_append_new(list, j);
    }
    return list;
}

/* Names in the run directory that this run leaves there. */
static json_t *ports_json(const struct vivi_monitor *m)
{
    json_t *list = json_array();

    for (size_t i = 0; i < m->plan.n_ports; i++)
        (void)json_array_append_new(list, vivi_json_str(m->plan.ports[i].name));
    return list;
}

static const char *input_port(const struct vivi_monitor *m)
{
    for (size_t i = 0; i < m->plan.n_ports; i++) {
        if (m->plan.ports[i].kind == VIVI_PORT_FIFO_IN &&
            strncmp(m->plan.ports[i].name, "serial", 6) == 0)
            return m->plan.ports[i].name;
    }
    return NULL;
}

const json_t *vivi_record_vmm(const struct vivi_monitor *m)
{
    return json_array_get(json_object_get(m->running, "vmms"), 0);
}

/* Puts what changes during a run into the document. */
static void refresh(struct vivi_monitor *m)
{
    json_t *vmms = json_object_get(m->running, "vmms"), *vmm = json_array_get(vmms, 0);
    json_t *old = vmm ? json_incref(vmm) : NULL, *now = proc_json(m);

    /* path and version of the VMM stay as they were planned */
    (void)json_object_update_missing(now, old);
    json_decref(old);
    (void)json_array_clear(vmms);
    (void)json_array_append_new(vmms, now);
    (void)json_object_set_new(m->running, "monitor", json_pack("{ss}", "version", viv_version()));
    (void)json_object_set_new(m->running, "timeline", vivi_timeline_to_json(&m->timeline));
    (void)json_object_set_new(m->running, "remove_when_ended",
                              json_boolean(m->st.remove_when_ended));
    (void)json_object_set_new(m->running, "foreground", json_boolean(m->foreground));
    if (m->clock_sync.due)
        (void)json_object_set_new(m->running, "clock_due", json_true());
    else
        (void)json_object_del(m->running, "clock_due");
}

void vivi_record_running(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (!m->running || m->removed)
        return;
    refresh(m);
    if (vivi_json_write(m->dir.fd, VIVI_RUNNING_FILE, m->running, VIVI_FAST, &err) < 0) {
        vivi_log(VIVI_LOG_ERROR, "cannot record: %s", err.message);
        vivi_record_lost(m, VIVI_RUNNING_FILE, err.sys_errno);
    }
}

static json_t *vmm_planned(const struct vivi_monitor *m)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "path", vivi_json_str(m->plan.exe));
    (void)json_object_set_new(j, "version", vivi_json_str_or_null(m->probe->version));
    return j;
}

int vivi_record_running_new(struct vivi_monitor *m, viv_error *err)
{
    json_t *plan = NULL, *doc = json_object(), *vmms = json_array(), *boots = json_array();
    int r = vivi_plan_to_json(&m->plan, &plan, err);

    if (r < 0 || !doc || !vmms || !boots) {
        json_decref(plan);
        json_decref(doc);
        json_decref(vmms);
        json_decref(boots);
        return r < 0 ? r : vivi_fail_oom(err);
    }
    (void)json_array_append_new(vmms, vmm_planned(m));
    (void)json_array_append_new(boots, boot_json(m));
    (void)json_object_set_new(doc, "run", json_integer((json_int_t)m->st.run));
    (void)json_object_set(doc, "config", m->doc);
    (void)json_object_set_new(doc, "plan", plan);
    (void)json_object_set_new(doc, "nonce", vivi_json_str(m->nonce));
    (void)json_object_set_new(doc, "accel", vivi_json_str(vivi_accel_name(m->probe->accel)));
    (void)json_object_set_new(doc, "accel_reason", vivi_json_str_or_null(m->probe->accel_reason));
    (void)json_object_set_new(doc, "accel_fix", vivi_json_str_or_null(m->probe->accel_fix));
    (void)json_object_set_new(doc, "vmms", vmms);
    (void)json_object_set_new(doc, "streams", streams_json(m));
    (void)json_object_set_new(doc, "ports", ports_json(m));
    (void)json_object_set_new(doc, "input", vivi_json_str(input_port(m)));
    (void)json_object_set_new(doc, "terminal", vivi_terminal_json(&m->plan));
    (void)json_object_set_new(doc, "boots", boots);
    (void)json_object_set_new(doc, "inherited_ip", vivi_json_str_or_null(m->inherited_ip));
    json_decref(m->running);
    m->running = doc;
    refresh(m);
    return vivi_json_write(m->dir.fd, VIVI_RUNNING_FILE, doc, VIVI_FAST, err);
}

void vivi_record_ports(struct vivi_monitor *m, const json_t *ports)
{
    (void)json_object_set_new(m->running, "forwards", json_deep_copy(ports));
    vivi_record_running(m);
}

void vivi_record_boot(struct vivi_monitor *m)
{
    json_t *boots = json_object_get(m->running, "boots");

    while (json_array_size(boots) >= VIVI_BOOTS_KEPT)
        (void)json_array_remove(boots, 0);
    (void)json_array_append_new(boots, boot_json(m));
    vivi_record_running(m);
}

/* ---- what verbs answer ---- */

bool vivi_emulated(const struct vivi_monitor *m)
{
    return strcmp(m->st.accel, vivi_accel_name(VIVI_ACCEL_TCG)) == 0;
}

static json_t *ready_json(const struct vivi_monitor *m)
{
    char time[VIVI_TIME_SIZE];
    json_t *j;

    if (!m->st.ready)
        return json_null();
    j = json_object();
    vivi_time_format(m->st.ready_at_ms, time);
    (void)json_object_set_new(j, "proof", vivi_json_str(m->st.ready_proof));
    (void)json_object_set_new(j, "at", vivi_json_str(time));
    (void)json_object_set_new(j, "after_ms", json_integer(m->st.ready_after_ms));
    return j;
}

static json_t *reason_json(const struct vivi_monitor *m)
{
    json_t *j;

    if (!m->st.reason[0])
        return json_null();
    j = json_object();
    (void)json_object_set_new(j, "code", vivi_json_str(m->st.reason));
    (void)json_object_set_new(j, "text", vivi_json_str_or_null(m->st.reason_text));
    return j;
}

static json_t *accel_notice_json(const struct vivi_monitor *m)
{
    const char *why = json_string_value(json_object_get(m->running, "accel_reason"));
    const char *fix = json_string_value(json_object_get(m->running, "accel_fix"));
    char notice[512];

    vivi_accel_notice(why ? why : "", fix ? fix : "", notice, sizeof(notice));
    return vivi_json_str_or_null(notice);
}

json_t *vivi_result(const struct vivi_monitor *m, bool changed)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "changed", json_boolean(changed));
    (void)json_object_set_new(j, "state", json_string(vivi_state_name(m->st.state)));
    (void)json_object_set_new(j, "ready", ready_json(m));
    (void)json_object_set_new(j, "ip", vivi_json_str_or_null(m->st.ip));
    (void)json_object_set_new(j, "reason", reason_json(m));
    (void)json_object_set_new(j, "rung", vivi_json_str_or_null(m->st.rung));
    (void)json_object_set_new(j, "run", json_integer((json_int_t)m->st.run));
    (void)json_object_set_new(j, "boot", json_integer((json_int_t)m->st.boot));
    if (json_object_set_new(j, "accel_notice",
                            vivi_state_has_vmm(m->st.state) ? accel_notice_json(m) : json_null()) <
        0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

json_t *vivi_result_with(const struct vivi_monitor *m, bool changed, const json_t *more)
{
    json_t *j = vivi_result(m, changed);

    if (j && more)
        (void)json_object_update(j, (json_t *)(uintptr_t)more); /* only read */
    return j;
}
