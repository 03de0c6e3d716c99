/* Commands that read the info of VMs: the loop over targets that they share. */
#pragma once

#include "cli/cli.h"

/* Prints one VM; returns 0 or an exit code whose error is printed already. */
typedef int vivi_look_one(struct vivi_cli *c, const char *name, const viv_rec *info);

/* What the guest's agent says of its guest, as JSON; NULL: nobody answers at once, or nobody is
 * there to ask. Starts nothing. */
json_t *vivi_look_guest(struct vivi_cli *c, const char *name, const viv_rec *info);

/* Of one VM, by name or uuid. */
int vivi_look_at(struct vivi_cli *c, const char *target, vivi_look_one *one);
/* Over the selected VMs: one result each, exit = first failing code. */
int vivi_look(struct vivi_cli *c, vivi_look_one *one);
