/* Saving a running machine, and going on from what was saved. */
#pragma once

#include "monitor/monitor.h"

/* All that can be refused; the temporary directory is there afterwards. Errors: WRONG_STATE,
 * UNSUPPORTED, INVALID a bad name, EXISTS, IO. */
int vivi_snapshot_prepare(struct vivi_monitor *m, const char *name, bool slow, viv_error *err);
/* Begins, for the operation in flight; its end is the end of the operation. */
void vivi_snapshot_now(struct vivi_monitor *m);
/* The driver's answers; err NULL: it worked. */
void vivi_snapshot_paused(struct vivi_monitor *m, const viv_error *err);
void vivi_snapshot_saved(struct vivi_monitor *m, const viv_error *err);
void vivi_snapshot_resumed(struct vivi_monitor *m, const viv_error *err);
/* The run has ended, or this monitor does: nothing half is left. */
void vivi_snapshot_drop(struct vivi_monitor *m);
/* A former monitor died in the middle; the VM is adopted. */
void vivi_snapshot_interrupted(struct vivi_monitor *m);

/*
 * All that can be refused of a restore: no such snapshot, made by another driver or another version
 * of its VMM, disks that have changed, a configuration that cannot start here. What the guest goes
 * on with is in *ret.
 */
int vivi_restore_prepare(struct vivi_monitor *m, const char *name, bool on_demand,
                         struct vivi_launch *ret, viv_error *err);
/* Begins, for the operation in flight: disks, then the start. l is consumed. */
void vivi_restore_now(struct vivi_monitor *m, struct vivi_launch *l_consume, uint64_t requested_us);
void vivi_restore_drop(struct vivi_monitor *m);
