/* The guest's wall clock after the guest stood still: agent.sync_clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vivi_monitor;
struct vivi_agent_call;

struct vivi_clock_sync {
    bool due;                     /* the guest stood still; in running.json */
    struct vivi_agent_call *call; /* the agent was asked; NULL: not */
    uint64_t asked_ms;            /* loop clock */
    unsigned tries;               /* since the guest went on */
};

/* The guest goes on and is not booting: recorded before its state is, so that whoever takes over
 * knows of one of both. */
void vivi_clock_sync_owe(struct vivi_monitor *m);
/* Does it if that is due, the guest runs and its agent is in session. */
void vivi_clock_sync(struct vivi_monitor *m);
/* A boot has begun or a run has ended: a clock is read anew. The caller writes running.json. */
void vivi_clock_sync_forget(struct vivi_monitor *m);
