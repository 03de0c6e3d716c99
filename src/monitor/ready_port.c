/*
 * Readiness by a TCP port of the guest: ready.by: tcp:PORT.
 *
 * The guest's agent is asked whether a program listens there, as soon as it says that it is ready
 * itself, and again by the timer "ready-port" with growing pauses. A forward on this host proves
 * nothing: QEMU's user network accepts there before it asks the guest. Neither does the guest's own
 * address, which this host may not reach.
 */
#include "monitor/ready_port.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "monitor/agent.h"
#include "monitor/monitor.h"

#define PAUSE_FIRST_MS 20
#define PAUSE_MOST_MS  1000
#define ANSWER_MS      10000

static void ask(struct vivi_monitor *m);

static void again(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->ready_port.again);
    ask(m);
}

/* Without a session nothing is armed: the next agent says that it is ready, and all begins anew. */
static void later(struct vivi_monitor *m)
{
    uint64_t ms = m->ready_port.pause_ms;

    if (!vivi_agent_up(m))
        return;
    m->ready_port.pause_ms = ms * 2 < PAUSE_MOST_MS ? ms * 2 : PAUSE_MOST_MS;
    vivi_arm(m, &m->ready_port.again, &(struct vivi_arm){"ready-port", ms, again});
}

static void answered(void *ctx, const struct vivi_agent_reply *reply)
{
    struct vivi_monitor *m = ctx;
    const char *where;

    m->ready_port.asked = false;
    if (reply->err && reply->err->code == VIV_E_UNSUPPORTED) {
        vivi_log(VIVI_LOG_WARN, "ready.by: the agent in the guest is too old to look at ports");
        return;
    }
    where = reply->err ? NULL : vivi_aw_field(reply->fields, reply->fields_len, "listening");
    if (where && strcmp(where, "any") == 0)
        vivi_life_port_ready(m, m->ready_port.ip);
    else
        later(m);
}

static void ask(struct vivi_monitor *m)
{
    char text[32];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);
    struct vivi_agent_ask port = {
        .request = text, .timeout_ms = ANSWER_MS, .done = answered, .ctx = m};

    if (m->st.ready || m->ready_port.asked)
        return;
    vivi_aw_put(&w, NULL, "port");
    vivi_aw_put_u64(&w, "port", m->config.ready_port);
    port.len = w.len;
    m->ready_port.asked = vivi_agent_request(m, &port, NULL, NULL) == 0;
    if (!m->ready_port.asked)
        later(m);
}

void vivi_ready_port_begin(struct vivi_monitor *m, const char *ip)
{
    (void)snprintf(m->ready_port.ip, sizeof(m->ready_port.ip), "%s", ip);
    m->ready_port.pause_ms = PAUSE_FIRST_MS;
    vivi_disarm(m, &m->ready_port.again);
    ask(m);
}
