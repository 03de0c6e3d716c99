/* Which other VM has what this one was refused. */
#pragma once

#include "base/error.h"

struct vivi_monitor;

/*
 * Gives err a hint when another VM of the state root, one that runs, has a disk or a TAP device of
 * this one's configuration. Reads the records of all VMs: for failures only.
 */
void vivi_rivals_hint(const struct vivi_monitor *m, viv_error *err);
