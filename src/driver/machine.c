/*
 * Checked dispatch: capability first (asking again would not help), then state. Nothing is called
 * when either says no.
 */
#include "driver/machine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BIT(s) (1u << (s))
#define HAS_VMM                                                                            \
    (STATE_BIT(VIV_ST_STARTING) | STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED) |   \
     STATE_BIT(VIV_ST_SAVING) | STATE_BIT(VIV_ST_RESTORING) | STATE_BIT(VIV_ST_INCOMING) | \
     STATE_BIT(VIV_ST_OUTGOING) | STATE_BIT(VIV_ST_STOPPING))

/* What each verb needs. */
struct rule {
    const char *verb;
    enum vivi_cap cap;
    unsigned states;  /* bits of the states it is allowed in */
    const char *only; /* "only a running VM can be paused": the state is added */
    const char *able; /* "driver fake cannot pause here" */
};

static const struct rule rules[] = {
    {"start", VIVI_CAP_STATE,
     STATE_BIT(VIV_ST_STARTING) | STATE_BIT(VIV_ST_RESTORING) | STATE_BIT(VIV_ST_INCOMING),
     "only a VM being started can be run", "start"},
    {"adopt", VIVI_CAP_ADOPT, HAS_VMM, "only a VM with a VMM can be adopted", "adopt"},
    {"pause", VIVI_CAP_PAUSE, STATE_BIT(VIV_ST_RUNNING), "only a running VM can be paused",
     "pause"},
    {"resume", VIVI_CAP_PAUSE, STATE_BIT(VIV_ST_PAUSED), "only a paused VM can be resumed",
     "resume"},
    {"reset", VIVI_CAP_RESET, STATE_BIT(VIV_ST_RUNNING), "only a running VM can be reset", "reset"},
    {"stop", VIVI_CAP_POWER_BUTTON, STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_STOPPING),
     "only a running VM has a power button", "press the power button"},
    {"kill", VIVI_CAP_KILL, HAS_VMM, "only a VM with a VMM can be ended", "end its VMM"},
    {"agent", VIVI_CAP_AGENT,
     STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED) | STATE_BIT(VIV_ST_STOPPING),
     "only a running VM has an agent", "reach an agent in the guest"},
    {"query", VIVI_CAP_STATE, HAS_VMM, "only a VM with a VMM can be asked", "tell its state"},
    {"counters", VIVI_CAP_COUNTERS, STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED),
     "only a running VM has counters", "count"},
    {"snapshot", VIVI_CAP_SNAPSHOT,
     STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED) | STATE_BIT(VIV_ST_SAVING),
     "only a running or paused VM can be saved", "take snapshots"},
    {"nmi", VIVI_CAP_NMI, STATE_BIT(VIV_ST_RUNNING), "only a running VM can be interrupted",
     "inject an NMI"},
    {"coredump", VIVI_CAP_COREDUMP, STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED),
     "only a running or paused VM can be dumped", "write a core"},
    {"upgrade", VIVI_CAP_UPGRADE, STATE_BIT(VIV_ST_RUNNING), "only a running VM can be upgraded",
     "go on under another VMM"},
    {"migrate", VIVI_CAP_MIGRATE,
     STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED) | STATE_BIT(VIV_ST_OUTGOING),
     "only a running or paused VM can be migrated", "migrate"},
    {"incoming", VIVI_CAP_MIGRATE, STATE_BIT(VIV_ST_INCOMING),
     "only a VM that is waited for can be given up", "migrate"},
};

#define ONLY_RUNNING STATE_BIT(VIV_ST_RUNNING), "only a running VM can be changed"
#define NO_ROW       VIVI_CAP_COUNT_ /* of kinds that are no row of their own */

static const struct rule device_rules[] = {
    [VIVI_DEV_DISK] = {"disk", VIVI_CAP_DISK_HOTPLUG, ONLY_RUNNING, "hot-plug disks"},
    [VIVI_DEV_NET] = {"net", VIVI_CAP_NET_HOTPLUG, ONLY_RUNNING, "hot-plug NICs"},
    [VIVI_DEV_SHARE] = {"share", NO_ROW, ONLY_RUNNING, "hot-plug shares"},
    [VIVI_DEV_VSOCK] = {"vsock", NO_ROW, ONLY_RUNNING, "hot-plug vsock devices"},
    [VIVI_DEV_PMEM] = {"pmem", NO_ROW, ONLY_RUNNING, "hot-plug persistent memory"},
    [VIVI_DEV_VDPA] = {"vdpa", NO_ROW, ONLY_RUNNING, "hot-plug vDPA devices"},
    [VIVI_DEV_VFIO] = {"vfio", NO_ROW, ONLY_RUNNING, "hot-plug VFIO devices"},
    [VIVI_DEV_USER] = {"user", NO_ROW, ONLY_RUNNING, "hot-plug vfio-user devices"},
    [VIVI_DEV_VHOST_USER] = {"vhost-user", NO_ROW, ONLY_RUNNING, "hot-plug vhost-user devices"},
};
_Static_assert(ARRAY_SIZE(device_rules) == VIVI_DEV_COUNT_, "a rule for every kind of device");

static const struct rule resize_rules[] = {
    [VIVI_RESIZE_CPUS] = {"cpus", VIVI_CAP_CPU_HOTPLUG, ONLY_RUNNING, "change CPUs"},
    [VIVI_RESIZE_MEMORY] = {"memory", VIVI_CAP_MEMORY_HOTPLUG, ONLY_RUNNING, "change memory"},
    [VIVI_RESIZE_BALLOON] = {"balloon", VIVI_CAP_BALLOON, ONLY_RUNNING, "set a balloon"},
    [VIVI_RESIZE_DISK] = {"disk", VIVI_CAP_DISK_RESIZE,
                          STATE_BIT(VIV_ST_RUNNING) | STATE_BIT(VIV_ST_PAUSED),
                          "only a running VM can be changed", "resize disks"},
    [VIVI_RESIZE_ZONE] = {"zone", NO_ROW, ONLY_RUNNING, "resize memory zones"},
};
_Static_assert(ARRAY_SIZE(resize_rules) == VIVI_RESIZE_COUNT_, "a rule for every kind of size");

static const struct rule api_rule = {"api", NO_ROW, HAS_VMM, "only a running VM has an API",
                                     "pass calls on to an API"};

/* What is wrong with a table whatever its rows are; NULL: nothing. */
static const char *incomplete(const struct vivi_driver_effects *fx)
{
    if (!fx->start || !fx->done || !fx->quit || !fx->query || !fx->adopt || fx->machine_size == 0 ||
        !fx->pause != !fx->resume)
        return "a mandatory slot";
    if (!fx->device_add != !fx->device_kinds || !fx->device_remove != !fx->device_kinds ||
        !fx->resize != !fx->resize_kinds)
        return "a slot without kinds";
    if (!fx->raw != !fx->raw_ms || !fx->raw != !fx->raw_drop)
        return "raw";
    if (!fx->migrate_send != !fx->receive_abort)
        return "one half of a migration";
    return NULL;
}

struct slot_row {
    enum vivi_cap cap;
    bool filled;
};

/* Every SLOT row that some driver fills. Returns how many. */
static size_t slot_rows(const struct vivi_driver_effects *fx, struct slot_row ret[VIVI_CAP_COUNT_])
{
    const struct slot_row rows[] = {
        {VIVI_CAP_POWER_BUTTON, fx->power_button != NULL},
        {VIVI_CAP_KILL, fx->quit != NULL},
        {VIVI_CAP_AGENT, fx->agent_connect != NULL},
        {VIVI_CAP_STATE, fx->query != NULL},
        {VIVI_CAP_RESET, fx->reset != NULL},
        {VIVI_CAP_PAUSE, fx->pause != NULL && fx->resume != NULL},
        {VIVI_CAP_ADOPT, fx->adopt != NULL},
        {VIVI_CAP_DISK_HOTPLUG, fx->device_kinds & VIVI_DEVICE_BIT(VIVI_DEV_DISK)},
        {VIVI_CAP_NET_HOTPLUG, fx->device_kinds & VIVI_DEVICE_BIT(VIVI_DEV_NET)},
        {VIVI_CAP_CPU_HOTPLUG, fx->resize_kinds & VIVI_RESIZE_BIT(VIVI_RESIZE_CPUS)},
        {VIVI_CAP_MEMORY_HOTPLUG, fx->resize_kinds & VIVI_RESIZE_BIT(VIVI_RESIZE_MEMORY)},
        {VIVI_CAP_BALLOON, fx->resize_kinds & VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON)},
        {VIVI_CAP_DISK_RESIZE, fx->resize_kinds & VIVI_RESIZE_BIT(VIVI_RESIZE_DISK)},
        {VIVI_CAP_COUNTERS, fx->counters != NULL},
        {VIVI_CAP_SNAPSHOT, fx->snapshot != NULL},
        {VIVI_CAP_NMI, fx->nmi != NULL},
        {VIVI_CAP_COREDUMP, fx->coredump != NULL},
        {VIVI_CAP_MIGRATE, fx->migrate_send != NULL},
        {VIVI_CAP_UPGRADE, fx->snapshot != NULL && fx->upgrades},
    };

    memcpy(ret, rows, sizeof(rows));
    return ARRAY_SIZE(rows);
}

static bool is_filled(const struct slot_row *rows, size_t n, enum vivi_cap cap)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].cap == cap)
            return rows[i].filled;
    return false;
}

const char *vivi_machine_mismatch(const struct vivi_caps *caps,
                                  const struct vivi_driver_effects *fx)
{
    struct slot_row rows[VIVI_CAP_COUNT_];
    size_t n = slot_rows(fx, rows);

    if (incomplete(fx))
        return incomplete(fx);
    for (int i = 0; i < VIVI_CAP_COUNT_; i++) {
        enum vivi_cap cap = (enum vivi_cap)i;

        if (vivi_cap_rows[cap].kind == VIVI_CAP_SLOT &&
            vivi_caps_has(caps, cap) != is_filled(rows, n, cap))
            return vivi_cap_rows[cap].word;
    }
    return NULL;
}

const struct vivi_driver_effects *vivi_effects_for(const struct vivi_driver_effects *fx,
                                                   const struct vivi_config *c)
{
    return fx && fx->of ? fx->of(c) : fx;
}

void vivi_machine_narrow(struct vivi_caps *caps, const struct vivi_driver_effects *fx)
{
    struct slot_row rows[VIVI_CAP_COUNT_];
    size_t n = slot_rows(fx, rows);

    for (size_t i = 0; i < n; i++)
        if (!rows[i].filled)
            vivi_caps_set(caps, rows[i].cap, false);
}

int vivi_machine_init(struct vivi_machine *m, const struct vivi_driver *d,
                      const struct vivi_driver_effects *fx, const struct vivi_caps *caps,
                      viv_error *err)
{
    void *priv;

    assert(d && fx && caps);
    assert(fx->lacks || vivi_machine_mismatch(&d->caps, fx) == NULL);
    priv = calloc(1, fx->machine_size);
    if (!priv)
        return vivi_fail_oom(err);
    *m = (struct vivi_machine){
        .driver = d, .fx = fx, .caps = *caps, .state = VIV_ST_CREATED, .priv = priv};
    vivi_machine_narrow(&m->caps, fx);
    return 0;
}

void vivi_machine_done(struct vivi_machine *m)
{
    if (!m || !m->priv)
        return;
    m->fx->done(m->priv);
    free(m->priv);
    memset(m, 0, sizeof(*m));
}

static const struct rule *find_rule(const char *verb)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (strcmp(rules[i].verb, verb) == 0)
            return &rules[i];
    return NULL;
}

/* Why a capability is not there: of the platform, of the driver, or of this host. */
static const char *missing_because(const struct vivi_machine *m, enum vivi_cap cap)
{
    const char *none = NULL;

    if (m->fx && m->fx->lacks && (cap == VIVI_CAP_COUNT_ || vivi_caps_has(&m->driver->caps, cap)))
        return m->fx->lacks;
    if (cap == VIVI_CAP_COUNT_)
        return "it has no such operation";
    if (m->driver->kind == VIVI_DRIVER_QEMU)
        none = vivi_cap_rows[cap].qemu_none;
    else if (m->driver->kind == VIVI_DRIVER_CLOUD_HYPERVISOR)
        none = vivi_cap_rows[cap].ch_none;
    else if (m->driver->kind == VIVI_DRIVER_VZ)
        none = vivi_cap_rows[cap].vz_none;
    if (none)
        return none;
    if (!vivi_caps_has(&m->driver->caps, cap))
        return "it has no such operation";
    none = m->driver->needs ? m->driver->needs(cap) : NULL;
    return none ? none : "this host does not allow it";
}

static int obey(const struct vivi_machine *m, const struct rule *rule, bool able, viv_error *err)
{
    if (!able)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s cannot %s here: %s", m->driver->name,
                         rule->able, missing_because(m, rule->cap));
    if (!(rule->states & STATE_BIT(m->state)))
        return vivi_fail(err, VIV_E_WRONG_STATE, "%s (it is %s)", rule->only,
                         vivi_state_name(m->state));
    return 0;
}

int vivi_machine_may(const struct vivi_machine *m, const char *verb, viv_error *err)
{
    const struct rule *rule = find_rule(verb);

    if (!rule)
        return vivi_fail(err, VIV_E_INTERNAL, "no rule for the verb %s", verb);
    return obey(m, rule, vivi_caps_has(&m->caps, rule->cap), err);
}

/* Of a kind: its bit in the driver's slot, and its row where it has one. */
static int may_kind(const struct vivi_machine *m, const struct rule *rule, unsigned kinds,
                    unsigned bit, viv_error *err)
{
    bool able = m->fx && (kinds & bit);

    if (rule->cap != NO_ROW && !vivi_caps_has(&m->caps, rule->cap))
        able = false;
    return obey(m, rule, able, err);
}

int vivi_machine_may_device(const struct vivi_machine *m, enum vivi_device_kind kind, bool adding,
                            viv_error *err)
{
    int r = may_kind(m, &device_rules[kind], m->fx ? m->fx->device_kinds : 0, VIVI_DEVICE_BIT(kind),
                     err);

    return r < 0 || !m->fx || !m->fx->may_device ? r
                                                 : m->fx->may_device(m->priv, kind, adding, err);
}

int vivi_machine_may_resize(const struct vivi_machine *m, const struct vivi_resize *what,
                            viv_error *err)
{
    int r = may_kind(m, &resize_rules[what->kind], m->fx ? m->fx->resize_kinds : 0,
                     VIVI_RESIZE_BIT(what->kind), err);

    return r < 0 || !m->fx || !m->fx->may_resize ? r : m->fx->may_resize(m->priv, what, err);
}

int vivi_machine_may_raw(const struct vivi_machine *m, viv_error *err)
{
    return obey(m, &api_rule, m->fx && m->fx->raw, err);
}

int vivi_machine_start(struct vivi_machine *m, const struct vivi_machine_start *s, uint64_t op,
                       viv_error *err)
{
    int r = vivi_machine_may(m, "start", err);

    return r < 0 ? r : m->fx->start(m->priv, s, op, err);
}

int vivi_machine_adopt(struct vivi_machine *m, const struct vivi_machine_start *s, uint64_t op,
                       viv_error *err)
{
    int r = vivi_machine_may(m, "adopt", err);

    return r < 0 ? r : m->fx->adopt(m->priv, s, op, err);
}

typedef int slot_fn(void *m, uint64_t op, viv_error *err);

static int dispatch(struct vivi_machine *m, const char *verb, slot_fn *slot, uint64_t op,
                    viv_error *err)
{
    int r = vivi_machine_may(m, verb, err);

    return r < 0 ? r : slot(m->priv, op, err);
}

int vivi_machine_pause(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "pause", m->fx->pause, op, err);
}

int vivi_machine_resume(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "resume", m->fx->resume, op, err);
}

int vivi_machine_reset(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "reset", m->fx->reset, op, err);
}

int vivi_machine_power_button(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "stop", m->fx->power_button, op, err);
}

int vivi_machine_quit(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "kill", m->fx->quit, op, err);
}

int vivi_machine_agent_connect(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "agent", m->fx->agent_connect, op, err);
}

int vivi_machine_query(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "query", m->fx->query, op, err);
}

int vivi_machine_device_add(struct vivi_machine *m, const struct vivi_device *d, uint64_t op,
                            viv_error *err)
{
    int r = vivi_machine_may_device(m, d->kind, true, err);

    return r < 0 ? r : m->fx->device_add(m->priv, d, op, err);
}

int vivi_machine_device_remove(struct vivi_machine *m, enum vivi_device_kind kind, const char *id,
                               uint64_t op, viv_error *err)
{
    int r = vivi_machine_may_device(m, kind, false, err);

    return r < 0 ? r : m->fx->device_remove(m->priv, kind, id, op, err);
}

int vivi_machine_resize(struct vivi_machine *m, const struct vivi_resize *what, uint64_t op,
                        viv_error *err)
{
    int r = vivi_machine_may_resize(m, what, err);

    return r < 0 ? r : m->fx->resize(m->priv, what, op, err);
}

int vivi_machine_counters(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "counters", m->fx->counters, op, err);
}

int vivi_machine_snapshot(struct vivi_machine *m, const char *dir, uint64_t op, viv_error *err)
{
    int r = vivi_machine_may(m, "snapshot", err);

    return r < 0 ? r : m->fx->snapshot(m->priv, dir, op, err);
}

int vivi_machine_nmi(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return dispatch(m, "nmi", m->fx->nmi, op, err);
}

int vivi_machine_coredump(struct vivi_machine *m, const char *path, uint64_t op, viv_error *err)
{
    int r = vivi_machine_may(m, "coredump", err);

    return r < 0 ? r : m->fx->coredump(m->priv, path, op, err);
}

int vivi_machine_raw(struct vivi_machine *m, const struct vivi_raw *call, uint64_t op,
                     viv_error *err)
{
    int r = vivi_machine_may_raw(m, err);

    return r < 0 ? r : m->fx->raw(m->priv, call, op, err);
}

int vivi_machine_migrate_send(struct vivi_machine *m, const struct vivi_migration *to, uint64_t op,
                              viv_error *err)
{
    int r = vivi_machine_may(m, "migrate", err);

    return r < 0 ? r : m->fx->migrate_send(m->priv, to, op, err);
}

int vivi_machine_receive_abort(struct vivi_machine *m, viv_error *err)
{
    int r = vivi_machine_may(m, "incoming", err);

    return r < 0 ? r : m->fx->receive_abort(m->priv, err);
}
