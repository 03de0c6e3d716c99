/*
 * What of a configuration this monitor alone carries out, so that it can change at any moment:
 * labels, restart policy, time-outs, how much of the serial log is kept.
 */
#pragma once

#include "model/diff.h"

struct vivi_monitor;

/* Whether the change is one of those. */
bool vivi_policy_has(const struct vivi_change *c);
/* m->config has changed: what is not simply read from it follows. Can be done again. */
void vivi_policy_take(struct vivi_monitor *m);
