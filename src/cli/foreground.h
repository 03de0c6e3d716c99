/* viv run in the foreground: a VM that lives as long as this command. */
#pragma once

#include "cli/cli.h"

struct vivi_foreground {
    bool remove;        /* --rm */
    int64_t timeout_ms; /* for ready; 0 = by the configuration */
};

/* Starts vm and stays until it has ended. Returns the exit code. */
int vivi_foreground_run(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how);
/* For one command in the guest (what stands behind --), then stopped: its exit code, or 125. */
int vivi_run_command(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how);
/* Of such a start: the VM is stopped when the pipe's other end is closed. The caller frees. */
int vivi_foreground_opts(const struct vivi_foreground *how, int pipe_read, viv_opts **ret,
                         viv_error *err);
