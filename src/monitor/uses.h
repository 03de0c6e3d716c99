/* Whether the guest uses a disk: asked before one is taken away. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct vivi_monitor;
struct vivi_agent_call;

/* err NULL: it may go, as far as anybody knows. */
typedef void vivi_uses_done(struct vivi_monitor *m, const viv_error *err);

/* A question to the agent; zeroed: none. */
struct vivi_uses {
    struct vivi_agent_call *call;
    char id[72];
    vivi_uses_done *done;
};

/* Asks the guest's agent; done follows from the loop. False: nobody answers there. */
bool vivi_uses_ask(struct vivi_monitor *m, const char *id, vivi_uses_done *done);
void vivi_uses_forget(struct vivi_monitor *m); /* done does not follow */
