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
    {"start", VIVI_CAP_STATE, STATE_BIT(VIV_ST_STARTING), "only a VM being started can be run",
     "start"},
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
};

const char *vivi_machine_mismatch(const struct vivi_caps *caps,
                                  const struct vivi_driver_effects *fx)
{
    const struct {
        enum vivi_cap cap;
        bool filled;
    } slots[] = {
        {VIVI_CAP_POWER_BUTTON, fx->power_button != NULL},
        {VIVI_CAP_KILL, fx->quit != NULL},
        {VIVI_CAP_AGENT, fx->agent_connect != NULL},
        {VIVI_CAP_STATE, fx->query != NULL},
        {VIVI_CAP_RESET, fx->reset != NULL},
        {VIVI_CAP_PAUSE, fx->pause != NULL && fx->resume != NULL},
        {VIVI_CAP_ADOPT, fx->adopt != NULL},
    };

    if (!fx->start || !fx->done || !fx->quit || !fx->query || !fx->adopt || fx->machine_size == 0 ||
        !fx->pause != !fx->resume)
        return "a mandatory slot";
    for (int cap = 0; cap < VIVI_CAP_COUNT_; cap++) {
        bool filled = false;

        if (vivi_cap_rows[cap].kind != VIVI_CAP_SLOT)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
            if ((int)slots[i].cap == cap)
                filled = slots[i].filled;
        if (vivi_caps_has(caps, (enum vivi_cap)cap) != filled)
            return vivi_cap_rows[cap].word;
    }
    return NULL;
}

int vivi_machine_init(struct vivi_machine *m, const struct vivi_driver *d,
                      const struct vivi_driver_effects *fx, const struct vivi_caps *caps,
                      viv_error *err)
{
    void *priv;

    assert(d && fx && caps);
    assert(vivi_machine_mismatch(&d->caps, fx) == NULL);
    priv = calloc(1, fx->machine_size);
    if (!priv)
        return vivi_fail_oom(err);
    *m = (struct vivi_machine){
        .driver = d, .fx = fx, .caps = *caps, .state = VIV_ST_CREATED, .priv = priv};
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
    return "this host does not allow it";
}

int vivi_machine_may(const struct vivi_machine *m, const char *verb, viv_error *err)
{
    const struct rule *rule = find_rule(verb);

    if (!rule)
        return vivi_fail(err, VIV_E_INTERNAL, "no rule for the verb %s", verb);
    if (!vivi_caps_has(&m->caps, rule->cap))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s cannot %s here: %s", m->driver->name,
                         rule->able, missing_because(m, rule->cap));
    if (!(rule->states & STATE_BIT(m->state)))
        return vivi_fail(err, VIV_E_WRONG_STATE, "%s (it is %s)", rule->only,
                         vivi_state_name(m->state));
    return 0;
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
