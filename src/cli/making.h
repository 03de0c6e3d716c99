/* What run and create share: the configuration, its problems, the plan, the new VM. */
#pragma once

#include "cli/document.h"

/* From the command line; an error is printed. 0 or the exit code. */
int vivi_making_document(struct vivi_cli *c, struct vivi_document *ret);
/* Makes the VM, with a new name if none was given. 0 or the exit code. */
int vivi_making_create(struct vivi_cli *c, struct vivi_document *d, viv_vm **ret, int *ret_changed);
/* --dry-run: checks, then prints what a start would do. */
int vivi_making_plan(struct vivi_cli *c, struct vivi_document *d);
/* Prints the plan of a checked configuration; vm NULL for a configuration. */
int vivi_plan_print(struct vivi_cli *c, const char *vm, const viv_config *config);
/* Prints one line per problem as an error; returns the first one's exit code, 0 without any. */
int vivi_problems_print(struct vivi_cli *c, const char *vm, const viv_list *problems);
/*
 * A configuration that was refused: all that is wrong with it is told at once. Errors of a
 * configuration carry no VM name; what is wrong with the VM does. Returns the exit code.
 */
int vivi_making_refused(struct vivi_cli *c, struct vivi_document *d, const viv_error *err);
