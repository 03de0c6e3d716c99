/* Starting in two steps: running, then (if wanted) ready; between them emulation is said. */
#pragma once

#include "cli/ops.h"

struct vivi_start {
    bool wait;          /* go on until ready */
    int64_t timeout_ms; /* for ready; 0 = by the configuration, three times that when emulated */
};

/* For vivi_verb.next; ctx is a struct vivi_start. */
int vivi_start_next(struct vivi_cli *c, struct vivi_job *job, const void *ctx);
/* Begins waiting for ready. */
int vivi_start_await(const struct vivi_start *s, viv_vm *vm, viv_op **ret_op, viv_error *err);
/* Options of a start by this command: descriptors that the configuration numbers are ours. */
int vivi_start_opts(viv_opts **ret, viv_error *err);
