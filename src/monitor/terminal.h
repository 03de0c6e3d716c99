/*
 * The pseudo-terminal of a VMM that reads its console input from one (VIVI_PORT_PTY): the keeper
 * holds its master for the whole run, we write to it.
 */
#pragma once

#include "monitor/monitor.h"

/* What running.json says of the plan's terminal: {"name", "fd"}; a new reference, JSON null: none.
 */
json_t *vivi_terminal_json(const struct vivi_plan *p);
/* Of this run; borrowed, NULL = none. */
const char *vivi_terminal_name(const struct vivi_monitor *m);
/* Console input goes to the master from here on; nothing happens where there is none. */
void vivi_terminal_use(struct vivi_monitor *m);
/*
 * After an adoption. When keeper and monitor both died, the VMM's own duplicate of the master is
 * the last one: it is taken from there, where the kernel allows that; else input is lost, and
 * output goes on.
 */
void vivi_terminal_recover(struct vivi_monitor *m);
/* The run is over. */
void vivi_terminal_drop(struct vivi_monitor *m);
