/* Nothing runs, nothing is planned, nobody is there: after a while keeper and monitor end. */
#include "monitor/monitor.h"

#include "base/log.h"

static void quit(struct vivi_monitor *m)
{
    if (m->quitting)
        return;
    m->quitting = true;
    vivi_log(VIVI_LOG_INFO, m->removed ? "removed: ending" : "nothing to do: ending");
    m->st.keeper = m->st.monitor = (struct vivi_proc_id){0};
    if (m->unended[0])
        vivi_record_op_end(m, m->unended, m->unended_code);
    vivi_record_state(m);
    (void)vivi_keeper_quit(&m->keeper, NULL); /* if it is gone, there is nothing to end */
    m->env->end(m);
}

static void on_idle(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->idle);
    quit(m);
}

void vivi_idle_check(struct vivi_monitor *m)
{
    bool busy = m->stage != VIVI_STAGE_NONE || m->restart || m->op.verb != VIVI_VERB_NONE ||
                vivi_serve_clients(m) > 0 || !m->serving;

    if (m->quitting)
        return;
    if (m->removed) {
        quit(m);
        return;
    }
    if (busy)
        vivi_disarm(m, &m->idle);
    else if (!m->idle)
        vivi_arm(m, &m->idle, &(struct vivi_arm){"idle", VIVI_IDLE_MS, on_idle});
}
