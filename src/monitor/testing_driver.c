#include "monitor/testing.h"

#include <inttypes.h>

#include "driver/capset.h"

#define RIG_CAPS(X) \
    X(POWER_BUTTON) \
    X(KILL) X(STATE) X(RESET) X(PAUSE) X(ADOPT) X(AGENT) X(SNAPSHOT) X(UPGRADE) X(MIGRATE)
#define RIG_HOT_CAPS(X) \
    RIG_CAPS(X)         \
    X(DISK_HOTPLUG) X(NET_HOTPLUG) X(CPU_HOTPLUG) X(MEMORY_HOTPLUG) X(BALLOON) X(DISK_RESIZE)

struct rig_driver rig_driver;

static void emit(struct vivi_driver_event e)
{
    e.run = rig_driver.run;
    rig_driver.host->event(rig_driver.host->ctx, &e);
}

void rig_tell(enum vivi_event_kind kind, uint64_t value, const char *text)
{
    struct vivi_driver_event e = {.kind = kind, .text = text};

    if (kind == VIVI_EV_STATE)
        e.state = (enum viv_state)value;
    else if (kind == VIVI_EV_ENDING)
        e.reason = (enum vivi_reason)value;
    else
        e.offset = value;
    emit(e);
}

void rig_tell_reset(uint64_t stamp)
{
    emit((struct vivi_driver_event){
        .kind = VIVI_EV_RESET, .offset = VIVI_OFFSET_UNKNOWN, .stamp = stamp});
}

void rig_done_with(uint64_t op, const viv_error *err)
{
    emit((struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .err = err});
}

void rig_done(uint64_t op, const char *error)
{
    viv_error err = VIV_ERROR_INIT;

    if (error)
        (void)vivi_fail(&err, VIV_E_VMM, "%s", error);
    rig_done_with(op, error ? &err : NULL);
}

void rig_tell_device(enum vivi_device_kind kind, const char *id)
{
    emit((struct vivi_driver_event){.kind = VIVI_EV_DEVICE, .device_kind = kind, .id = id});
}

void rig_tell_progress(uint64_t op, uint64_t done, uint64_t total)
{
    emit((struct vivi_driver_event){.kind = VIVI_EV_PROGRESS,
                                    .op = op,
                                    .text = "the guest changes it",
                                    .done = done,
                                    .total = total});
}

/* ---- pure ---- */

static int probe(const char *cache_dir, const char *exe, enum vivi_accel wanted,
                 struct vivi_probe *ret, viv_error *err)
{
    (void)cache_dir;
    (void)wanted;
    (void)err;
    *ret = (struct vivi_probe){.usable = true, .accel = rig_driver.accel};
    (void)snprintf(ret->exe, sizeof(ret->exe), "%s", exe ? exe : "/bin/rig");
    (void)snprintf(ret->version, sizeof(ret->version), "%s",
                   rig_driver.version ? rig_driver.version : "");
    ret->caps = rig_driver.hot ? rig_hot_driver_table.caps : rig_driver_table.caps;
    if (rig_driver.accel == VIVI_ACCEL_TCG)
        (void)snprintf(ret->accel_reason, sizeof(ret->accel_reason), "no usable KVM (none)");
    return 0;
}

static int check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret)
{
    (void)c;
    (void)f;
    if (!rig_driver.problem)
        return 0;
    ret->items = calloc(2, sizeof(*ret->items));
    for (; ret->items && ret->n < 2; ret->n++) {
        ret->items[ret->n] = (viv_error)VIV_ERROR_INIT;
        (void)vivi_fail_field(&ret->items[ret->n], VIV_E_INVALID,
                              ret->n == 0 ? "boot.kernel" : "memory.size", "%s",
                              rig_driver.problem);
    }
    return ret->items ? 0 : -VIV_E_NO_MEMORY;
}

static int plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err)
{
    static char serial[] = "serial.out", events[] = "events.out", input[] = "serial.in";
    static char serial_log[] = "serial.log", events_log[] = "events-vmm.log";
    static char socket[] = "ctl";
    const struct vivi_port ports[] = {
        {VIVI_PORT_FIFO_OUT, serial, serial_log, 16u << 20, -1, -1, false},
        {VIVI_PORT_FIFO_OUT, events, events_log, 1u << 20, 4, 5, true},
        {VIVI_PORT_FIFO_IN, input, NULL, 0, -1, -1, false},
        {VIVI_PORT_LISTEN, socket, NULL, 0, 3, -1, false},
    };
    int r = vivi_plan_arg(ret, "rig");

    rig_driver.how = in->how;
    if (in->how == VIVI_HOW_INCOMING)
        ret->requests = json_pack("[{s:s, s:{s:s}}]", "verb", "receive", "body", "receiver_url",
                                  in->incoming_url);
    ret->exe = strdup(in->facts->probe.exe);
    if (r >= 0)
        r = vivi_plan_arg(ret, "nonce=%s", in->nonce);
    for (size_t i = 0; i < ARRAY_SIZE(ports) && r >= 0; i++)
        r = vivi_plan_port(ret, &ports[i]);
    if (r >= 0)
        r = vivi_plan_stderr(ret);
    return r < 0 || !ret->exe ? vivi_fail_oom(err) : 0;
}

static int may_move(const struct vivi_config *c, const char *version,
                    const struct vivi_migration *to, viv_error *err)
{
    (void)c;
    (void)version;
    (void)to;
    return rig_driver.cannot_move ? vivi_fail(err, VIV_E_UNSUPPORTED, "%s", rig_driver.cannot_move)
                                  : 0;
}

/* ---- effects ---- */

#define ANSWERS_MAX 8 /* that are under way at once */

struct machine {
    struct vivi_timer *answers[ANSWERS_MAX]; /* a ring: the oldest have been given long ago */
    size_t n;
};

struct answer {
    uint64_t op;
    enum rig_answer how;
    int fd; /* goes along with it; 0 = none */
};
static struct answer answers[64];
static size_t n_answers;

static void answer_now(void *arg)
{
    struct answer *a = arg;
    viv_error err = VIV_ERROR_INIT;

    if (a->op == rig_driver.adopt_op && a->how == RIG_AT_ONCE)
        rig_tell(VIVI_EV_STATE, rig_driver.adopt_state, NULL);
    if (a->how == RIG_HANG_UP)
        (void)vivi_fail(&err, VIV_E_IO, "connection closed");
    else if (a->how == RIG_FAIL)
        (void)vivi_fail(&err, VIV_E_VMM, "rig: no");
    emit((struct vivi_driver_event){
        .kind = VIVI_EV_DONE, .op = a->op, .fd = a->fd, .err = err.code ? &err : NULL});
}

/* The place of one more timer. */
static struct vivi_timer **answer_place(struct machine *m)
{
    struct vivi_timer **place = &m->answers[m->n++ % ANSWERS_MAX];

    rig_driver.loop->face.timer_stop(*place);
    *place = NULL;
    return place;
}

static int slot(struct machine *m, enum rig_answer how, uint64_t op, viv_error *err)
{
    struct answer *a = &answers[n_answers++ % ARRAY_SIZE(answers)];
    const struct vivi_loop *l = &rig_driver.loop->face;

    rig_driver.last_op = op;
    if (how == RIG_REFUSE)
        return vivi_fail(err, VIV_E_VMM, "rig: refused");
    if (how == RIG_NEVER)
        return 0;
    *a = (struct answer){op, how, 0};
    return l->timer(l->ctx, "rig-answer", 0, answer_now, a, answer_place(m), err);
}

static int fx_start(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    rig_driver.host = s->host;
    rig_driver.run = s->run;
    rig_driver.starts++;
    return slot(m, rig_driver.start, op, err);
}

static int fx_adopt(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    rig_driver.host = s->host;
    rig_driver.run = s->run;
    rig_driver.adopts++;
    rig_driver.adopt_op = op;
    return slot(m, rig_driver.adopt, op, err);
}

/* Whole lines; "end REASON" tells the ending. */
static size_t fx_input(void *m, const char *name, const char *data, size_t len)
{
    const char *end = memrchr(data, '\n', len);
    size_t used = end ? (size_t)(end - data) + 1 : 0;
    enum vivi_reason reason;
    char word[32];

    (void)m;
    (void)name;
    if (rig_driver.input_len + used < sizeof(rig_driver.input)) {
        memcpy(rig_driver.input + rig_driver.input_len, data, used);
        rig_driver.input_len += used;
    }
    if (used > 4 && memcmp(data, "end ", 4) == 0) {
        (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(data + 4, "\n"), data + 4);
        if (vivi_reason_parse(word, &reason) == 0)
            rig_tell(VIVI_EV_ENDING, reason, "so it says");
    }
    return used;
}

static void fx_drained(void *m, uint64_t token, uint64_t log_size)
{
    (void)m;
    rig_driver.drained_token = token;
    rig_driver.drained_size = log_size;
}

#define SLOT(name, counter)                                    \
    static int fx_##name(void *m, uint64_t op, viv_error *err) \
    {                                                          \
        rig_driver.counter++;                                  \
        return slot(m, rig_driver.name, op, err);              \
    }
SLOT(pause, pauses)
SLOT(resume, resumes)
SLOT(reset, resets)
SLOT(button, buttons)
SLOT(quit, quits)

static int fx_snapshot(void *m, const char *dir, uint64_t op, viv_error *err)
{
    rig_driver.snapshots++;
    (void)snprintf(rig_driver.saved_to, sizeof(rig_driver.saved_to), "%s", dir);
    return slot(m, rig_driver.snapshot, op, err);
}

static int fx_migrate_send(void *m, const struct vivi_migration *to, uint64_t op, viv_error *err)
{
    rig_driver.sends++;
    (void)snprintf(rig_driver.sent_to, sizeof(rig_driver.sent_to), "%s", to ? to->url : "again");
    return slot(m, rig_driver.send, op, err);
}

static int fx_receive_abort(void *m, viv_error *err)
{
    (void)m;
    rig_driver.aborts++;
    return rig_driver.abort_fails ? vivi_fail(err, VIV_E_NOT_FOUND, "rig: nobody listens") : 0;
}

static int fx_agent_connect(void *m, uint64_t op, viv_error *err)
{
    struct machine *machine = m;
    struct answer *a = &answers[n_answers++ % ARRAY_SIZE(answers)];
    const struct vivi_loop *l = &rig_driver.loop->face;
    int pair[2];

    if (!rig_driver.has_agent)
        return vivi_fail(err, VIV_E_NOT_FOUND, "rig: no channel");
    assert_int_equal(vivi_socketpair(pair, NULL), 0);
    rig_driver.agent_fd = pair[1];
    rig_driver.agents++;
    *a = (struct answer){op, RIG_AT_ONCE, pair[0]};
    return l->timer(l->ctx, "rig-agent", 0, answer_now, a, answer_place(machine), err);
}

static int changing(struct machine *m, enum rig_answer how, uint64_t op, viv_error *err)
{
    rig_driver.changes++;
    rig_driver.change_op = op;
    return slot(m, how, op, err);
}

static int fx_device_add(void *m, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    (void)snprintf(rig_driver.asked, sizeof(rig_driver.asked), "add %s %s",
                   vivi_device_kind_name(d->kind), d->id);
    return changing(m, rig_driver.add, op, err);
}

static int fx_device_remove(void *m, enum vivi_device_kind kind, const char *id, uint64_t op,
                            viv_error *err)
{
    (void)snprintf(rig_driver.asked, sizeof(rig_driver.asked), "remove %s %s",
                   vivi_device_kind_name(kind), id);
    return changing(m, rig_driver.remove, op, err);
}

static int fx_resize(void *m, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    (void)snprintf(rig_driver.asked, sizeof(rig_driver.asked), "resize %s%s%s %" PRIu64 "%s",
                   vivi_resize_kind_name(what->kind), what->id ? " " : "", what->id ? what->id : "",
                   what->to, what->cut ? " cut" : "");
    return changing(m, rig_driver.resize, op, err);
}

static int fx_query(void *m, uint64_t op, viv_error *err)
{
    return slot(m, RIG_AT_ONCE, op, err);
}

static void fx_done(void *priv)
{
    struct machine *m = priv;

    rig_driver.dones++;
    for (size_t i = 0; i < ANSWERS_MAX; i++)
        rig_driver.loop->face.timer_stop(m->answers[i]);
}

/* clang-format off */
#define RIG_SLOTS                                                                                  \
    .machine_size = sizeof(struct machine), \
    .start = fx_start, \
    .adopt = fx_adopt, \
    .input = fx_input, \
    .drained = fx_drained, \
    .query = fx_query, \
    .agent_fresh = true, \
    .agent_connect = fx_agent_connect, \
    .quit = fx_quit, \
    .power_button = fx_button, \
    .pause = fx_pause, \
    .resume = fx_resume, \
    .reset = fx_reset, \
    .snapshot = fx_snapshot, \
    .migrate_send = fx_migrate_send, \
    .receive_abort = fx_receive_abort, \
    .upgrades = true, \
    .done = fx_done
/* clang-format on */

static const struct vivi_driver_effects effects = {.name = "rig", RIG_SLOTS};

static const struct vivi_driver_effects hot_effects = {
    .name = "rig",
    RIG_SLOTS,
    .device_kinds = VIVI_DEVICE_BIT(VIVI_DEV_COUNT_) - 1,
    .device_add = fx_device_add,
    .device_remove = fx_device_remove,
    .resize_kinds = VIVI_RESIZE_BIT(VIVI_RESIZE_COUNT_) - 1,
    .resize = fx_resize,
};

const struct vivi_driver rig_driver_table = {
    .name = "rig",
    .kind = VIVI_DRIVER_FAKE,
    .machine = "rig",
    .caps = VIVI_CAPSET(RIG_CAPS),
    .probe = probe,
    .check = check,
    .plan = plan,
    .may_move = may_move,
    .effects = &effects,
};

const struct vivi_driver rig_hot_driver_table = {
    .name = "rig",
    .kind = VIVI_DRIVER_FAKE,
    .machine = "rig",
    .caps = VIVI_CAPSET(RIG_HOT_CAPS),
    .probe = probe,
    .check = check,
    .plan = plan,
    .may_move = may_move,
    .effects = &hot_effects,
};
