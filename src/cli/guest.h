/* Programs in the guest from the command line: exec, shell, run -- CMD. */
#pragma once

#include "cli/cli.h"

#define VIVI_EXIT_OWN 125 /* what failed was ours, not the guest's program */

struct vivi_guest_run {
    viv_vm *vm;              /* borrowed */
    const char *const *argv; /* ended by NULL; NULL = the login shell */
    bool input, tty;
    int64_t connect_ms;           /* how long to wait for an agent; −1: the library's default */
    const struct vivi_args *args; /* for --env, --workdir, --user, --timeout; NULL = none */
};

/* Runs it with our own standard streams. The exit code: the guest's, 128 + signal, or 125 after a
 * message. Signals that come meanwhile go to the guest; a second one ends it. */
int vivi_guest_run(struct vivi_cli *c, const struct vivi_guest_run *g);
