/*
 * NICs of type fd: a TAP device that whoever starts the VM has opened. It comes with the start,
 * the keeper holds it under VIVI_NIC_FD and the NIC's id until the VM has ended and does not start
 * again by itself: a reboot and the restart policy need nobody who gives it again.
 */
#pragma once

#include "base/frame.h"
#include "model/config.h"

struct vivi_monitor;

/*
 * Takes the descriptors of a request, from fds[first] on, for the NICs that args.nics names in the
 * same order. Errors: INVALID, with the field.
 */
int vivi_nics_take(struct vivi_monitor *m, const json_t *args, struct vivi_frame *f, size_t first,
                   viv_error *err);
/* Those that no NIC of c has (any more; NULL: all) are given up: a TAP device that is held stays
 * busy. */
void vivi_nics_drop_others(struct vivi_monitor *m, const struct vivi_config *c);
/* Nothing runs: all of them, unless it starts again by itself. */
void vivi_nics_let_go(struct vivi_monitor *m);
/* Every NIC of type fd has one, which is up where the VMM needs that. INVALID. */
int vivi_nics_check(const struct vivi_monitor *m, const struct vivi_config *c, bool up,
                    viv_error *err);
/* Whether it can be saved and restored. UNSUPPORTED, with the field. */
int vivi_nics_may_save(const struct vivi_config *c, viv_error *err);
/* Whether the element at "nets.ID", of this run or in a change, came with a start. */
bool vivi_nics_is_given(const struct vivi_config *now, const char *id, const json_t *change);
/* For struct vivi_driver_host; ctx is the monitor. */
int vivi_nics_fd(void *ctx, const char *name);
