/*
 * The qemu driver's effects.
 *
 * Theory of operation. Two QMP connections: commands go over run_dir/qmp (a socket: a new monitor
 * just connects), events come through a FIFO and the keeper's log (input slot), so none is lost
 * while no monitor lives. Resets, shutdowns and panics stop the machine (-action) until we act:
 *
 *   guest-reset      the gate: drain serial, tell RESET{size}, set-action reboot=reset,
 *                    system_reset, wait for its RESET, set-action reboot=shutdown, cont
 *   guest-shutdown   tell ENDING, quit
 *   guest panic      tell ENDING, quit
 *
 * A SHUTDOWN event stays unconsumed ("held") until the RESUME that follows the gate: a monitor that
 * dies in the middle leaves it to the next one. That one asks for the status, drains the events,
 * and knows: "running" = the gate was passed, "shutdown" = it is to be done, "prelaunch" = only
 * the last step is missing. RESET events of the event stream mean nothing: one guest reboot gives
 * two or three. A hard reset takes the same way, because with reboot=shutdown QEMU turns
 * system_reset into a shutdown of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/agent_port.h"
#include "driver/qemu/hot.h"
#include "driver/qemu/qemu.h"
#include "driver/qemu/qmp.h"

#define INPUT_MAX_BYTES  (256u << 10) /* held events and what follows; more is no event stream */
#define MAX_DEFERRED     4
#define NEGOTIATE_EVENTS "{\"execute\":\"qmp_capabilities\"}\n"

enum tag {
    T_START,
    T_ADOPT_ACTION,
    T_ADOPT_STATUS,
    T_ADOPT_CONT,
    T_QUERY,
    T_CHECK,
    T_PORTS,
    T_PAUSE,
    T_RESUME,
    T_BUTTON,
    T_RESET,
    T_QUIT,
    T_GATE_ACTION,
    T_GATE_RESET,
    T_GATE_CLOSE,
    T_GATE_CONT,
    T_GATE_STOP
};

enum phase { NOT_BEGUN, OPENING, RUNNING, GONE };
enum gate { GATE_OPEN, GATE_DRAINS, GATE_RESETS, GATE_CONTINUES };
enum cause { CAUSE_NONE, CAUSE_RESET, CAUSE_POWEROFF, CAUSE_PANIC };

struct deferred {
    enum tag tag;
    uint64_t op; /* 0 = free */
};

struct qemu_machine {
    const struct vivi_driver_host *host;
    const struct vivi_config *config;
    const char *run_dir;
    uint64_t run;
    struct qmp qmp;
    struct qemu_hot hot;
    enum phase phase;
    bool adopting;     /* else starting */
    uint64_t begin_op; /* start or adopt, until it is done */
    bool paused;       /* what the vCPUs did last by our doing or as told */
    bool pause_wanted; /* paused while the gate was shut */
    bool ending, quitting;
    enum gate gate;
    uint64_t token, drain_serial, drain_events; /* 0 = not under way */
    char status[24];                            /* adoption: what query-status said */
    enum cause cause; /* not acted on yet: seen while adopting or while the gate was shut */
    bool held;        /* input begins with an event to be seen again */
    size_t seen;      /* bytes of the next input handled already */
    uint64_t reset_op;
    struct deferred deferred[MAX_DEFERRED];
    bool boot_known;
    uint64_t boot_offset; /* of the last RESET told */
    struct vivi_agent_port agent;
};

/* ---- telling the monitor ---- */

static void emit(struct qemu_machine *m, struct vivi_driver_event e)
{
    e.run = m->run;
    m->host->event(m->host->ctx, &e);
}

static void tell_done(struct qemu_machine *m, uint64_t op, const viv_error *err)
{
    if (op)
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .err = err});
}

static void tell_state(struct qemu_machine *m, enum viv_state state)
{
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_STATE, .state = state});
}

static void tell_ending(struct qemu_machine *m, enum vivi_reason reason, const char *text)
{
    if (m->ending)
        return;
    m->ending = true;
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_ENDING, .reason = reason, .text = text});
}

static int send_op(struct qemu_machine *m, const char *command, json_t *args_consume, enum tag tag,
                   uint64_t op, viv_error *err)
{
    return qmp_send(&m->qmp, command, args_consume, (int)tag, op, err);
}

/* Our own steps: if they cannot be sent the connection is ending, which is told once. */
static void send_own(struct qemu_machine *m, const char *command, json_t *args_consume,
                     enum tag tag)
{
    (void)send_op(m, command, args_consume, tag, 0, NULL);
}

static json_t *reboot_action(const char *action)
{
    return json_pack("{s:s}", "reboot", action);
}

/* The machine will not run again: say why, then end the process. */
static void finish(struct qemu_machine *m, enum vivi_reason reason, const char *text)
{
    tell_ending(m, reason, text);
    if (!m->quitting && m->phase == RUNNING) {
        m->quitting = true;
        send_own(m, "quit", NULL, T_QUIT);
    }
}

/* ---- the reset gate ---- */

static void gate_begin(struct qemu_machine *m)
{
    if (m->gate != GATE_OPEN || m->ending)
        return;
    m->gate = GATE_DRAINS;
    m->drain_serial = ++m->token;
    /* Refused: the keeper is gone and so will be this monitor; the next one does the gate. */
    (void)m->host->drain(m->host->ctx, "serial.out", m->drain_serial, NULL);
}

static void gate_drained(struct qemu_machine *m, uint64_t log_size)
{
    if (!m->boot_known || m->boot_offset != log_size) {
        m->boot_known = true;
        m->boot_offset = log_size;
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_RESET, .offset = log_size});
    }
    m->gate = GATE_RESETS;
    send_own(m, "set-action", reboot_action("reset"), T_GATE_ACTION);
    send_own(m, "system_reset", NULL, T_GATE_RESET);
}

/* The control connection told RESET: devices are reset, the machine stands in "prelaunch". */
static void gate_was_reset(struct qemu_machine *m)
{
    m->gate = GATE_CONTINUES;
    send_own(m, "set-action", reboot_action("shutdown"), T_GATE_CLOSE);
    send_own(m, "cont", NULL, T_GATE_CONT);
}

/* tag: T_PAUSE or T_RESUME. */
static int slot_command(struct qemu_machine *m, enum tag tag, uint64_t op, viv_error *err)
{
    return send_op(m, tag == T_PAUSE ? "stop" : "cont", NULL, tag, op, err);
}

static void run_deferred(struct qemu_machine *m)
{
    for (size_t i = 0; i < MAX_DEFERRED; i++) {
        struct deferred d = m->deferred[i];
        viv_error why = VIV_ERROR_INIT;

        m->deferred[i].op = 0;
        if (d.op && slot_command(m, d.tag, d.op, &why) < 0)
            tell_done(m, d.op, &why);
    }
}

static void act_on(struct qemu_machine *m, enum cause cause)
{
    switch (cause) {
    case CAUSE_RESET: gate_begin(m); return;
    case CAUSE_POWEROFF: finish(m, VIVI_REASON_GUEST_POWEROFF, NULL); return;
    case CAUSE_PANIC: finish(m, VIVI_REASON_GUEST_PANIC, NULL); return;
    case CAUSE_NONE: return;
    }
}

static void gate_passed(struct qemu_machine *m)
{
    enum cause cause = m->cause;
    uint64_t op = m->reset_op;

    m->gate = GATE_OPEN;
    m->cause = CAUSE_NONE;
    m->reset_op = 0;
    m->paused = m->pause_wanted;
    if (m->pause_wanted)
        send_own(m, "stop", NULL, T_GATE_STOP);
    m->pause_wanted = false;
    tell_done(m, op, NULL);
    run_deferred(m);
    act_on(m, cause);
}

/* QEMU refused a step: the guest stands still for good. */
static void gate_failed(struct qemu_machine *m, const viv_error *why)
{
    uint64_t op = m->reset_op;

    if (why->code != VIV_E_VMM) /* the connection has ended, which is told by itself */
        return;
    m->reset_op = 0;
    tell_done(m, op, why);
    finish(m, VIVI_REASON_VMM_EXIT, why->message);
}

/* ---- adoption ---- */

/* What query-status says, as the monitor sees it. At the gate and after its end a guest counts as
 * running; RESET and ENDING tell the rest. */
static enum viv_state state_of(const char *status)
{
    static const char *const run[] = {"running", "shutdown", "guest-panicked", "suspended"};

    for (size_t i = 0; i < ARRAY_SIZE(run); i++)
        if (strcmp(status, run[i]) == 0)
            return VIV_ST_RUNNING;
    if (strcmp(status, "prelaunch") == 0 || strcmp(status, "preconfig") == 0)
        return VIV_ST_STARTING;
    return VIV_ST_PAUSED;
}

static void begin_done(struct qemu_machine *m, const viv_error *err)
{
    uint64_t op = m->begin_op;

    m->begin_op = 0;
    tell_done(m, op, err);
}

/* Status known, all events up to it seen. */
static void settle(struct qemu_machine *m)
{
    enum viv_state state = state_of(m->status);
    enum cause cause = m->cause;

    if (state == VIV_ST_STARTING) { /* a start or a gate without its last step */
        m->cause = CAUSE_NONE;
        if (send_op(m, "cont", NULL, T_ADOPT_CONT, 0, NULL) < 0)
            begin_done(m, NULL);
        return;
    }
    m->phase = RUNNING;
    m->cause = CAUSE_NONE;
    m->paused = state == VIV_ST_PAUSED;
    tell_state(m, state);
    begin_done(m, NULL);
    if (strcmp(m->status, "guest-panicked") == 0)
        cause = CAUSE_PANIC;
    if (cause == CAUSE_NONE && strcmp(m->status, "shutdown") == 0)
        finish(m, VIVI_REASON_UNOBSERVED, "the guest had shut down or rebooted, unseen");
    else
        act_on(m, cause);
}

static void now_running(struct qemu_machine *m)
{
    enum cause cause = m->cause;

    m->phase = RUNNING;
    m->cause = CAUSE_NONE;
    m->paused = false;
    tell_state(m, VIV_ST_RUNNING);
    begin_done(m, NULL);
    act_on(m, cause); /* it may have rebooted or ended since */
}

static void have_status(struct qemu_machine *m, const json_t *value)
{
    const char *status = json_string_value(json_object_get(value, "status"));

    (void)snprintf(m->status, sizeof(m->status), "%s", status ? status : "");
    m->drain_events = ++m->token;
    if (m->host->drain(m->host->ctx, "events.out", m->drain_events, NULL) < 0) {
        m->drain_events = 0;
        settle(m);
    }
}

/* ---- answers ---- */

/* After a STOP or RESUME that was not ours: what is true now. */
static void have_check(struct qemu_machine *m, const json_t *value)
{
    const char *status = json_string_value(json_object_get(value, "status"));
    bool paused;

    if (!status || m->gate != GATE_OPEN || m->ending || strcmp(status, "shutdown") == 0 ||
        strcmp(status, "guest-panicked") == 0)
        return;
    paused = state_of(status) != VIV_ST_RUNNING;
    if (paused == m->paused)
        return;
    m->paused = paused;
    tell_state(m, paused ? VIV_ST_PAUSED : VIV_ST_RUNNING);
}

static void have_ports(struct qemu_machine *m, const json_t *value)
{
    const char *text = json_string_value(value);
    json_t *ports = text ? qemu_ports(m->config, text) : NULL;

    if (ports)
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_PORTS, .value = ports});
    json_decref(ports);
}

static void begin_reply(struct qemu_machine *m, enum tag tag, const json_t *value,
                        const viv_error *err)
{
    if (err && tag == T_START && err->code == VIV_E_VMM && !m->adopting) {
        m->adopting = true; /* further than we thought: look */
        send_own(m, "query-status", NULL, T_ADOPT_STATUS);
        return;
    }
    if (err) {
        begin_done(m, err);
        return;
    }
    if (tag == T_ADOPT_ACTION)
        send_own(m, "query-status", NULL, T_ADOPT_STATUS);
    else if (tag == T_ADOPT_STATUS)
        have_status(m, value);
    else
        now_running(m);
}

static void gate_reply(struct qemu_machine *m, enum tag tag, const viv_error *err)
{
    if (err)
        gate_failed(m, err);
    else if (tag == T_GATE_CONT)
        gate_passed(m);
}

static void pause_reply(struct qemu_machine *m, enum tag tag, uint64_t op, const viv_error *err)
{
    if (!err && m->gate != GATE_OPEN)
        m->pause_wanted = tag == T_PAUSE;
    else if (!err)
        m->paused = tag == T_PAUSE;
    tell_done(m, op, err);
}

static void query_reply(struct qemu_machine *m, uint64_t op, const json_t *value,
                        const viv_error *err)
{
    const char *status = json_string_value(json_object_get(value, "status"));
    viv_error why = VIV_ERROR_INIT;

    if (!err && !status) {
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "qemu: query-status: an answer without status");
        err = &why;
    }
    if (!err)
        tell_state(m, m->gate != GATE_OPEN ? VIV_ST_RUNNING : state_of(status));
    tell_done(m, op, err);
}

static void on_reply(void *arg, int tag, uint64_t op, const json_t *value, const viv_error *err)
{
    struct qemu_machine *m = arg;

    if (tag >= QEMU_HOT_FIRST) {
        qemu_hot_reply(&m->hot, tag, op, value, err);
        return;
    }
    switch ((enum tag)tag) {
    case T_START:
    case T_ADOPT_ACTION:
    case T_ADOPT_STATUS:
    case T_ADOPT_CONT: begin_reply(m, (enum tag)tag, value, err); return;
    case T_QUERY: query_reply(m, op, value, err); return;
    case T_CHECK:
        if (!err)
            have_check(m, value);
        return;
    case T_PORTS:
        if (!err)
            have_ports(m, value);
        return;
    case T_PAUSE:
    case T_RESUME: pause_reply(m, (enum tag)tag, op, err); return;
    case T_RESET:
        if (err)
            tell_done(m, op, err);
        else
            m->reset_op = op;
        return;
    case T_QUIT:
        /* A closed connection is what quit is for. */
        tell_done(m, op, err && err->code == VIV_E_VMM ? err : NULL);
        return;
    case T_BUTTON: tell_done(m, op, err); return;
    case T_GATE_ACTION:
    case T_GATE_RESET:
    case T_GATE_CLOSE:
    case T_GATE_CONT: gate_reply(m, (enum tag)tag, err); return;
    case T_GATE_STOP: return;
    }
}

/* ---- the connection ---- */

/* Opens the event stream: without this handshake QEMU tells nothing there. A second one, after an
 * adoption, is answered by an error that nobody minds. */
static int negotiate_events(const struct qemu_machine *m, viv_error *err)
{
    cleanup_close int fd = -1;
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/events.in", m->run_dir);
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    if (write(fd, NEGOTIATE_EVENTS, strlen(NEGOTIATE_EVENTS)) != (ssize_t)strlen(NEGOTIATE_EVENTS))
        return vivi_fail_errno(err, errno, "cannot write to %s", path);
    return 0;
}

static void on_greeted(void *arg)
{
    struct qemu_machine *m = arg;
    viv_error why = VIV_ERROR_INIT;

    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_API});
    if (negotiate_events(m, &why) == 0)
        return;
    qmp_close(&m->qmp);
    m->phase = GONE;
    begin_done(m, &why);
}

static void on_ready(void *arg)
{
    struct qemu_machine *m = arg;
    viv_error why = VIV_ERROR_INIT;
    int r;

    if (qemu_wants_ports(m->config))
        send_own(m, "human-monitor-command", json_pack("{s:s}", "command-line", "info usernet"),
                 T_PORTS);
    if (m->adopting) {
        r = send_op(m, "set-action", reboot_action("shutdown"), T_ADOPT_ACTION, 0, &why);
    } else {
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
        qemu_hot_start(&m->hot);
        r = send_op(m, "cont", NULL, T_START, 0, &why);
    }
    if (r < 0)
        begin_done(m, &why);
}

/* The guest has opened or closed a port of its virtio-serial device: there is one. */
static void port_changed(struct qemu_machine *m, const json_t *data)
{
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_AGENT,
                                       .open = json_is_true(json_object_get(data, "open"))});
}

/* What only matters while somebody listens is taken from the control connection, not from the log.
 */
static void on_control_event(void *arg, const struct qmp_message *msg)
{
    struct qemu_machine *m = arg;

    if (strcmp(msg->event, "VSERPORT_CHANGE") == 0)
        port_changed(m, msg->body);
    if (m->gate == GATE_RESETS && strcmp(msg->event, "RESET") == 0)
        gate_was_reset(m);
}

static void on_end(void *arg, const viv_error *err)
{
    struct qemu_machine *m = arg;
    uint64_t op = m->reset_op;

    m->phase = GONE;
    m->reset_op = 0;
    begin_done(m, err);
    tell_done(m, op, err);
    for (size_t i = 0; i < MAX_DEFERRED; i++) {
        op = m->deferred[i].op;
        m->deferred[i].op = 0;
        tell_done(m, op, err);
    }
    qemu_hot_end(&m->hot, err);
}

/* ---- the event stream ---- */

static enum cause cause_of(const struct qmp_message *msg)
{
    const char *reason = json_string_value(json_object_get(msg->body, "reason"));

    if (strcmp(msg->event, "GUEST_PANICKED") == 0)
        return CAUSE_PANIC;
    if (strcmp(msg->event, "SHUTDOWN") != 0 || !reason)
        return CAUSE_NONE;
    if (strcmp(reason, "guest-reset") == 0 || strcmp(reason, "host-qmp-system-reset") == 0)
        return CAUSE_RESET;
    if (strcmp(reason, "guest-shutdown") == 0)
        return CAUSE_POWEROFF;
    return strcmp(reason, "guest-panic") == 0 ? CAUSE_PANIC : CAUSE_NONE; /* host-…: our doing */
}

/* The VMM is gone: only why matters. */
static void late_cause(struct qemu_machine *m, enum cause cause)
{
    if (cause == CAUSE_POWEROFF)
        tell_ending(m, VIVI_REASON_GUEST_POWEROFF, NULL);
    else if (cause == CAUSE_PANIC)
        tell_ending(m, VIVI_REASON_GUEST_PANIC, NULL);
}

static void stopped_or_resumed(struct qemu_machine *m, bool stopped)
{
    if (!stopped) {
        m->held = false;
        m->cause = CAUSE_NONE;
    }
    if (m->phase == RUNNING && m->gate == GATE_OPEN && !m->ending && m->paused != stopped)
        send_own(m, "query-status", NULL, T_CHECK);
}

static void on_stream_event(struct qemu_machine *m, const struct qmp_message *msg)
{
    enum cause cause = cause_of(msg);

    qemu_hot_event(&m->hot, msg);
    if (strcmp(msg->event, "RESUME") == 0 || strcmp(msg->event, "STOP") == 0) {
        stopped_or_resumed(m, msg->event[0] == 'S');
        return;
    }
    if (cause == CAUSE_NONE)
        return;
    if (m->phase == GONE) {
        late_cause(m, cause);
        return;
    }
    if (m->phase == RUNNING && m->gate == GATE_OPEN) {
        m->held = true;
        act_on(m, cause);
    } else if (m->phase == OPENING || !m->held) { /* else: told twice, before the RESUME */
        m->held = true;
        m->cause = cause;
    }
}

static void on_stream_line(struct qemu_machine *m, const char *line, size_t len)
{
    struct qmp_message msg;

    /* Half a line from a QEMU that was killed, or noise: skipped, the next line counts again. */
    if (qmp_parse(line, len, &msg, NULL) < 0)
        return;
    if (msg.kind == QMP_EVENT)
        on_stream_event(m, &msg);
    qmp_message_done(&msg);
}

static size_t qemu_input(void *priv, const char *name, const char *data, size_t len)
{
    struct qemu_machine *m = priv;
    size_t at = m->seen, consumed = 0;

    if (m->phase == NOT_BEGUN || strcmp(name, "events.out") != 0)
        return len;
    if (at > len) /* a smaller piece than before: nothing new */
        return 0;
    for (;;) {
        const char *lf = memchr(data + at, '\n', len - at);
        size_t start = at;
        bool was_held = m->held;

        if (!lf)
            break;
        at = (size_t)(lf - data) + 1;
        on_stream_line(m, data + start, at - 1 - start);
        if (m->held && !was_held)
            consumed = start;
        else if (!m->held)
            consumed = at;
    }
    if (len - consumed >= INPUT_MAX_BYTES) {
        m->held = false;
        at = consumed = len;
    }
    m->seen = at - consumed;
    return consumed;
}

static void qemu_drained(void *priv, uint64_t token, uint64_t log_size)
{
    struct qemu_machine *m = priv;

    if (token != 0 && token == m->drain_serial) {
        m->drain_serial = 0;
        gate_drained(m, log_size);
    } else if (token != 0 && token == m->drain_events) {
        m->drain_events = 0;
        settle(m);
    }
}

/* ---- slots ---- */

static int begin(void *priv, const struct vivi_machine_start *s, bool adopting, uint64_t op,
                 viv_error *err)
{
    struct qemu_machine *m = priv;
    const struct qmp_handler on = {.arg = m,
                                   .greeted = on_greeted,
                                   .ready = on_ready,
                                   .reply = on_reply,
                                   .event = on_control_event,
                                   .end = on_end};
    char path[512];
    int r;

    m->host = s->host;
    m->config = s->config;
    m->run_dir = s->run_dir;
    m->run = s->run;
    m->adopting = adopting;
    m->phase = GONE;
    qemu_hot_begin(&m->hot, &m->qmp, s);
    (void)snprintf(path, sizeof(path), "%s/qmp", s->run_dir);
    r = qmp_open(&m->qmp, s->host->loop, path, &on, err);
    if (r < 0)
        return vivi_wrap(err, r, "qemu");
    m->phase = OPENING;
    m->begin_op = op;
    return 0;
}

static int qemu_start(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(m, s, false, op, err);
}

static int qemu_adopt(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(m, s, true, op, err);
}

static int qemu_query(void *m, uint64_t op, viv_error *err)
{
    return send_op(m, "query-status", NULL, T_QUERY, op, err);
}

static int qemu_quit(void *priv, uint64_t op, viv_error *err)
{
    struct qemu_machine *m = priv;

    m->quitting = true;
    return send_op(m, "quit", NULL, T_QUIT, op, err);
}

static int qemu_power_button(void *m, uint64_t op, viv_error *err)
{
    return send_op(m, "system_powerdown", NULL, T_BUTTON, op, err);
}

/* While the gate is shut the machine stands still for our sake: what is asked of it waits. */
static int now_or_after_gate(struct qemu_machine *m, enum tag tag, uint64_t op, viv_error *err)
{
    if (m->gate == GATE_OPEN)
        return slot_command(m, tag, op, err);
    for (size_t i = 0; i < MAX_DEFERRED; i++) {
        if (m->deferred[i].op)
            continue;
        m->deferred[i] = (struct deferred){tag, op};
        return 0;
    }
    return vivi_fail(err, VIV_E_BUSY, "qemu: the guest is rebooting");
}

static int qemu_pause(void *m, uint64_t op, viv_error *err)
{
    return now_or_after_gate(m, T_PAUSE, op, err);
}

static int qemu_resume(void *m, uint64_t op, viv_error *err)
{
    return now_or_after_gate(m, T_RESUME, op, err);
}

static int qemu_reset(void *priv, uint64_t op, viv_error *err)
{
    struct qemu_machine *m = priv;

    if (m->reset_op)
        return vivi_fail(err, VIV_E_BUSY, "qemu: a reset is under way");
    if (m->gate != GATE_OPEN) { /* the guest is being reset this very moment */
        m->reset_op = op;
        return 0;
    }
    return send_op(m, "system_reset", NULL, T_RESET, op, err);
}

static int qemu_agent_connect(void *priv, uint64_t op, viv_error *err)
{
    struct qemu_machine *m = priv;

    return vivi_agent_port_open(&m->agent,
                                &(struct vivi_agent_ask){.host = m->host,
                                                         .run_dir = m->run_dir,
                                                         .name = QEMU_AGENT_SOCKET,
                                                         .run = m->run,
                                                         .op = op},
                                err);
}

struct qemu_hot *qemu_hot_of(void *m)
{
    return &((struct qemu_machine *)m)->hot;
}

static void qemu_done(void *priv)
{
    struct qemu_machine *m = priv;

    vivi_agent_port_done(&m->agent);
    qmp_close(&m->qmp);
    qemu_hot_done(&m->hot);
    memset(m, 0, sizeof(*m));
}

const struct vivi_driver_effects vivi_effects_qemu = {
    .name = "qemu",
    .machine_size = sizeof(struct qemu_machine),
    .start = qemu_start,
    .adopt = qemu_adopt,
    .input = qemu_input,
    .drained = qemu_drained,
    .query = qemu_query,
    .quit = qemu_quit,
    .power_button = qemu_power_button,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .reset = qemu_reset,
    .agent_connect = qemu_agent_connect,
    .device_kinds = VIVI_DEVICE_BIT(VIVI_DEV_DISK) | VIVI_DEVICE_BIT(VIVI_DEV_NET),
    .device_add = qemu_device_add,
    .device_remove = qemu_device_remove,
    .resize_kinds = VIVI_RESIZE_BIT(VIVI_RESIZE_CPUS) | VIVI_RESIZE_BIT(VIVI_RESIZE_MEMORY) |
                    VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON) | VIVI_RESIZE_BIT(VIVI_RESIZE_DISK),
    .resize = qemu_resize,
    .counters = qemu_counters,
    .nmi = qemu_nmi,
    .coredump = qemu_coredump,
    .raw = qemu_raw,
    .raw_ms = qemu_raw_ms,
    .raw_drop = qemu_raw_drop,
    .done = qemu_done,
};
