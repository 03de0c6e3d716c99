/*
 * What is wanted of the VM beyond this host's boot.
 *
 * Theory of operation. "desired" in state.json is what somebody asked for last: start sets running,
 * stop and kill set stopped. Nothing else does: not a guest that powers off, a crash, a restart or
 * the host's own shutdown. So after the host's next boot autostart knows what to start. It is the
 * one part of the record of a running VM that must survive a power loss, and is therefore synced,
 * but only when it changes, and before the one who asked has an answer: a start's is synced while
 * the VMM sets itself up (start.c).
 *
 * When the host goes down, the service manager tells the processes of the VM's scope by a signal
 * that means nothing to VMMs (VIVI_HOST_STOPS_SIGNAL): the guest is then shut down in order, as by
 * a stop, but what is desired stays.
 */
#include "monitor/monitor.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

void vivi_desire(struct vivi_monitor *m, const char *what)
{
    if (strcmp(m->st.desired, what) == 0)
        return;
    (void)snprintf(m->st.desired, sizeof(m->st.desired), "%s", what);
    m->state_durable = true;
}

void vivi_desire_now(struct vivi_monitor *m, const char *what)
{
    vivi_desire(m, what);
    if (m->state_durable)
        vivi_record_state(m);
}

void vivi_op_host_stops(struct vivi_monitor *m)
{
    viv_error why = VIV_ERROR_INIT;

    vivi_log(VIVI_LOG_INFO, "the host is going down: stopping");
    if (!vivi_state_has_vmm(m->st.state)) {
        if (vivi_op_restart_cancel(m))
            vivi_record_state(m);
        vivi_waits_check(m);
        vivi_idle_check(m);
        return;
    }
    if (m->op.verb == VIVI_VERB_STOP || m->op.verb == VIVI_VERB_KILL ||
        m->op.verb == VIVI_VERB_REMOVE)
        return; /* it is ending already */
    (void)vivi_fail(&why, VIV_E_CANCELLED, "%s of %s was cancelled: the host is going down",
                    vivi_verb_name(m->op.verb), m->dir.name);
    vivi_op_end(m, &why);
    vivi_op_begin(m, VIVI_VERB_STOP, "");
    m->op.timeout_ms = vivi_stop_grace(m);
    vivi_life_stop(m, &(struct vivi_stop_how){.cause = VIVI_CAUSE_STOP,
                                              .grace_ms = (uint64_t)m->op.timeout_ms,
                                              .may_kill = true});
}
