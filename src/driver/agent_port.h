/*
 * agent_connect for drivers whose VMM listens on a unix socket in the run directory: connects at
 * once, tells it from the loop. Thread: the loop's.
 */
#pragma once

#include "driver/driver.h"

/* Zeroed is idle. */
struct vivi_agent_port {
    const struct vivi_driver_host *host; /* borrowed */
    struct vivi_timer *tell;
    uint64_t run, op;
    int fd; /* with tell: owned, to be handed out */
};

struct vivi_agent_ask {
    const struct vivi_driver_host *host;
    const char *run_dir, *name; /* the socket is run_dir/name */
    uint64_t run, op;
};

/* DONE(op) with the descriptor follows. Errors: NOT_FOUND no such socket (this run has no channel
 * to an agent), BUSY one is being opened, IO as vivi_unix_connect. */
int vivi_agent_port_open(struct vivi_agent_port *p, const struct vivi_agent_ask *ask,
                         viv_error *err);
void vivi_agent_port_done(struct vivi_agent_port *p); /* nothing is told afterwards */
