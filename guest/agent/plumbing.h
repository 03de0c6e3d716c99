/* plumbing.h: the pipes, terminal and status socket between the agent and a child. */
#pragma once

#include "agent.h"

/* Descriptors for the child (child's side, 0 to 2, −1 = /dev/null) and for us. */
struct plumbing {
    int child[3], ours[3];
    int status[2];
};

#define PLUMBING_NONE {.child = {-1, -1, -1}, .ours = {-1, -1, -1}, .status = {-1, -1}}

/* What a worker, or else the request q, needs; on failure plumbing_done clears up. */
int plumbing_lay(struct plumbing *t, const struct worker *w, const struct child_request *q,
                 viv_error *err);
void plumbing_done(struct plumbing *t); /* closes what was not taken out */
