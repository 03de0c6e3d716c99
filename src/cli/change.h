/* Changing VMs: what apply, set, edit, device and resize share. */
#pragma once

#include "cli/ops.h"

struct vivi_changing {
    bool dry_run, next, live, async, force;
    int64_t timeout_ms; /* of what waits for the guest; 0: the default */
    /* A verb of the library that makes the configuration itself, and what it is to do; NULL: make
     * does. */
    vivi_begin *call;
    viv_opts *opts; /* borrowed */
    /* The configuration to hand to the library; asked again when somebody else was faster. */
    int (*make)(viv_vm *vm, const struct vivi_changing *how, viv_config **ret, viv_error *err);
    const void *ctx; /* of make */
};

/* --dry-run, --next, --live, --async, --force, --timeout of the command line. 0, or the exit code
 * of a usage error.
 */
int vivi_changing_flags(struct vivi_cli *c, struct vivi_changing *ret);
/* The same as options of the library. 0 or < 0. */
int vivi_changing_options(const struct vivi_changing *how, viv_opts *o, viv_error *err);
/* Changes vm and tells what came of it. Returns the exit code. */
int vivi_changing_run(struct vivi_cli *c, viv_vm *vm, const struct vivi_changing *how);
/* The same without the machinery of operations: blocks, prints nothing. 0 and *ret, or < 0. */
int vivi_changing_call(viv_vm *vm, const struct vivi_changing *how, viv_rec **ret, viv_error *err);
/* Tells what came of it; the record is a verb's result with "changes". The exit code. */
int vivi_changing_say(struct vivi_cli *c, const char *name, const json_t *result, bool dry_run);
/* Lines "  path: from → to (next start)" of a list of changes. */
void vivi_changes_print(const json_t *changes);
