/* Another VMM for a machine that goes on: verb "upgrade", args vmm (a path, or absent). */
#pragma once

#include "monitor/monitor.h"

/* All that can be refused. */
int vivi_upgrade_prepare(struct vivi_monitor *m, const char *vmm, viv_error *err);
/* Begins, for the operation in flight; its end is the end of the operation. */
void vivi_upgrade_now(struct vivi_monitor *m);
/* The driver's answers; err NULL: it worked. */
void vivi_upgrade_paused(struct vivi_monitor *m, const viv_error *err);
void vivi_upgrade_saved(struct vivi_monitor *m, const viv_error *err);
void vivi_upgrade_resumed(struct vivi_monitor *m, const viv_error *err);
/* It runs: under the new VMM, or again under the old one. Ends the operation. */
void vivi_upgrade_runs(struct vivi_monitor *m);
/* The run has ended: the old VMM's, as it was told to, or one that could not go on. */
void vivi_upgrade_ended(struct vivi_monitor *m, const char *text);
/* A former monitor died meanwhile; the VM is adopted, if it has a VMM. */
void vivi_upgrade_resume(struct vivi_monitor *m);
void vivi_upgrade_drop(struct vivi_monitor *m);
