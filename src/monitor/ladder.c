/* What the rungs of the stop ladder do to this VM. The ladder itself is stop.c. */
#include "monitor/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

/* The checked dispatch looks at the state of the virtual CPUs, not at "stopping". */
static int with_vcpus(struct vivi_monitor *m, enum vivi_dop kind,
                      int (*slot)(struct vivi_machine *m, uint64_t op, viv_error *err))
{
    viv_error err = VIV_ERROR_INIT;
    enum viv_state was = m->machine.state;
    int r;

    if (!m->machine.priv)
        return -VIV_E_WRONG_STATE;
    m->machine.state = m->vcpus;
    r = slot(&m->machine, vivi_life_dop(m, kind), &err);
    m->machine.state = was;
    if (r < 0) {
        m->dop[kind] = 0;
        vivi_log(VIVI_LOG_INFO, "stop: %s", err.message);
    }
    return r;
}

static int rung_resume(void *ctx)
{
    return with_vcpus(ctx, VIVI_DOP_LADDER_RESUME, vivi_machine_resume);
}

static void agent_answered(void *ctx, const struct vivi_agent_reply *reply)
{
    struct vivi_monitor *m = ctx;

    vivi_ladder_answer(&m->ladder, VIVI_LADDER_AGENT, reply->err ? -reply->err->code : 0);
}

static int rung_agent(void *ctx)
{
    static const char request[] = "shutdown";

    return vivi_agent_request(ctx,
                              &(struct vivi_agent_ask){.request = request,
                                                       .len = sizeof(request),
                                                       .timeout_ms = VIVI_STOP_AGENT_MS,
                                                       .done = agent_answered,
                                                       .ctx = ctx},
                              NULL, NULL);
}

static int rung_button(void *ctx)
{
    return with_vcpus(ctx, VIVI_DOP_BUTTON, vivi_machine_power_button);
}

static int rung_quit(void *ctx)
{
    return with_vcpus(ctx, VIVI_DOP_QUIT, vivi_machine_quit);
}

int vivi_life_signal(struct vivi_monitor *m, int sig)
{
    viv_error err = VIV_ERROR_INIT;
    int r;

    if (m->pidfd < 0) {
        r = vivi_proc_open(&m->st.vmm, &m->pidfd, &err);
        if (r < 0)
            return r == -VIV_E_NOT_FOUND ? 0 : r; /* it is gone; the keeper will say how */
    }
    r = vivi_proc_signal(m->pidfd, sig, &err);
    if (r < 0)
        vivi_log(VIVI_LOG_WARN, "cannot signal the VMM: %s", err.message);
    return r;
}

static int rung_signal(void *ctx, int sig)
{
    return vivi_life_signal(ctx, sig);
}

/* The step carries what a later monitor needs to go on: phase, end of the grace, may it kill. */
static void climbed(void *ctx)
{
    struct vivi_monitor *m = ctx;
    char step[40];

    (void)snprintf(step, sizeof(step), "%s:%" PRIu64 ":%d", vivi_ladder_phase_name(m->ladder.phase),
                   m->ladder.deadline_ms, m->ladder.may_kill);
    vivi_log(VIVI_LOG_INFO, "stop: %s", step);
    vivi_op_step(m, step);
}

static void gave_up(void *ctx, enum vivi_ladder_phase at)
{
    vivi_op_stop_gave_up(ctx, at);
}

const struct vivi_ladder_ops vivi_ladder_rungs = {
    .resume = rung_resume,
    .agent = rung_agent,
    .button = rung_button,
    .quit = rung_quit,
    .signal = rung_signal,
    .climbed = climbed,
    .gave_up = gave_up,
};

/* Where a graceful stop begins: a guest that does not run hears no button. */
static enum vivi_ladder_phase first_rung(const struct vivi_monitor *m)
{
    if (vivi_migrate_in_doubt(m)) /* it must not move again */
        return VIVI_LADDER_KILL;
    if (m->stage != VIVI_STAGE_UP)
        return VIVI_LADDER_TERM;
    if (m->vcpus != VIV_ST_PAUSED && vivi_agent_up(m))
        return VIVI_LADDER_AGENT;
    if (!m->machine.fx->power_button)
        return VIVI_LADDER_QUIT;
    return m->vcpus == VIV_ST_PAUSED ? VIVI_LADDER_RESUME : VIVI_LADDER_BUTTON;
}

void vivi_life_stop(struct vivi_monitor *m, const struct vivi_stop_how *how)
{
    struct vivi_ladder_begin b = {.grace_ms = how->grace_ms, .may_kill = how->may_kill};
    bool kill = how->cause == VIVI_CAUSE_KILL || (how->grace_ms == 0 && how->may_kill);

    b.from = kill ? VIVI_LADDER_KILL : first_rung(m);
    if (m->cause != VIVI_CAUSE_KILL)
        m->cause = how->cause;
    vivi_disarm(m, &m->start_deadline);
    vivi_disarm(m, &m->settle);
    if (m->stage == VIVI_STAGE_SPAWNING) {
        m->stop_after_spawn = b;
        vivi_life_set_state(m, VIV_ST_STOPPING, NULL);
        return;
    }
    if (m->ladder.phase != VIVI_LADDER_OFF) {
        if (kill)
            vivi_ladder_kill(&m->ladder);
        return;
    }
    vivi_life_set_state(m, VIV_ST_STOPPING, NULL);
    vivi_ladder_begin(&m->ladder, &b);
}
