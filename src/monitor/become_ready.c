/* The guest is ready: by its marker, its agent, a port, or because it was before it came here. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "monitor/monitor.h"

void vivi_life_become_ready(struct vivi_monitor *m, const char *ip, const char *proof)
{
    uint64_t now = vivi_mono_us();
    json_t *more = json_object();

    m->st.ready = true;
    (void)snprintf(m->st.ready_proof, sizeof(m->st.ready_proof), "%s", proof);
    (void)snprintf(m->st.ip, sizeof(m->st.ip), "%s", ip);
    /* An address behind a user-mode network is the guest's own and leads nowhere from here. */
    m->st.ip_reachable = m->config.driver != VIVI_DRIVER_QEMU;
    m->st.ready_at_ms = vivi_wall_ms();
    m->st.ready_after_ms = now > m->boot_began_us ? (int64_t)((now - m->boot_began_us) / 1000) : 0;
    (void)json_object_set_new(more, "ip", vivi_json_str(ip));
    (void)json_object_set_new(more, "proof", json_string(proof));
    (void)json_object_set_new(more, "after_ms", json_integer(m->st.ready_after_ms));
    vivi_record_event(m, "ready", more);
    vivi_timeline_mark(&m->timeline, VIVI_STEP_READY, vivi_mono_us()); /* it is told */
    vivi_record_state(m);
    vivi_record_running(m); /* who is answered may look at the records at once */
    vivi_waits_check(m);
    vivi_log(VIVI_LOG_INFO, "ready: %s after %lld ms", ip, (long long)m->st.ready_after_ms);
}

static bool may_become_ready(const struct vivi_monitor *m)
{
    return !m->st.ready && m->stage == VIVI_STAGE_UP &&
           (m->st.state == VIV_ST_RUNNING || m->st.state == VIV_ST_STOPPING);
}

void vivi_life_agent_ready(struct vivi_monitor *m, const char *ip)
{
    bool counts = m->config.ready_by == VIVI_READY_AUTO || m->config.ready_by == VIVI_READY_AGENT;
    char canonical[46];

    if (vivi_parse_ip(ip, canonical, NULL) < 0)
        canonical[0] = '\0';
    if (m->config.ready_by == VIVI_READY_TCP && !m->st.ready)
        vivi_ready_port_begin(m, canonical);
    else if (counts && may_become_ready(m))
        vivi_life_become_ready(m, canonical, "agent");
    else
        vivi_life_agent_address(m, ip);
}

void vivi_life_port_ready(struct vivi_monitor *m, const char *ip)
{
    if (may_become_ready(m))
        vivi_life_become_ready(m, ip, "tcp");
}

void vivi_life_agent_address(struct vivi_monitor *m, const char *ip)
{
    char canonical[46];
    json_t *more;

    if (!m->st.ready || vivi_parse_ip(ip, canonical, NULL) < 0 || strcmp(m->st.ip, canonical) == 0)
        return;
    (void)snprintf(m->st.ip, sizeof(m->st.ip), "%s", canonical);
    more = json_object();
    (void)json_object_set_new(more, "ip", vivi_json_str(canonical));
    vivi_record_event(m, "address", more);
    vivi_record_state(m);
}
