#include "driver/agent_port.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/fd.h"

static void tell(void *arg)
{
    struct vivi_agent_port *p = arg;
    struct vivi_driver_event e = {
        .kind = VIVI_EV_DONE, .run = p->run, .op = p->op, .fd = take_fd(&p->fd)};

    p->host->loop->timer_stop(p->tell);
    p->tell = NULL;
    p->host->event(p->host->ctx, &e);
}

int vivi_agent_port_open(struct vivi_agent_port *p, const struct vivi_agent_ask *ask,
                         viv_error *err)
{
    cleanup_close int fd = -1;
    char path[512];
    int r;

    if (p->tell)
        return vivi_fail(err, VIV_E_BUSY, "the agent's channel is being opened");
    (void)snprintf(path, sizeof(path), "%s/%s", ask->run_dir, ask->name);
    r = vivi_unix_connect(path, &fd, err);
    if (r < 0)
        return r;
    r = vivi_fd_nonblock(fd, true, err);
    if (r < 0)
        return r;
    p->host = ask->host;
    p->run = ask->run;
    p->op = ask->op;
    r = p->host->loop->timer(p->host->loop->ctx, "agent-connected", 0, tell, p, &p->tell, err);
    if (r < 0)
        return r;
    p->fd = take_fd(&fd);
    return 0;
}

void vivi_agent_port_done(struct vivi_agent_port *p)
{
    if (!p->tell)
        return;
    p->host->loop->timer_stop(p->tell);
    p->tell = NULL;
    vivi_close(&p->fd);
}
