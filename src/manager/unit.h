/* The text of the systemd unit that starts one VM with its host. Pure: no system calls. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"

struct vivi_unit {
    const char *name, *uuid; /* of the VM */
    const char *root;        /* state root, absolute */
    const char *program;     /* viv, absolute */
    const char *run;         /* $VIV_RUN, absolute; NULL: not set */
    const char *libexec;     /* $VIV_LIBEXEC, absolute; NULL: not set */
    const json_t *config;    /* config.json: what is mounted before, how long a stop takes */
    bool system;             /* for the system's manager, not a user's */
};

/* "multi-user.target" or "default.target": what wants the unit. Static. */
const char *vivi_unit_target(bool system);

/*
 * "viv-web.service"; for a state root that is not its user's usual one "viv-web.<hash>.service",
 * since two roots may have VMs of one name and no name of a VM has a dot.
 */
void vivi_unit_name(const char *vm, const char *root, bool usual, char ret[128]);

/* INVALID: a path with a control character, which no unit can hold. */
int vivi_unit_text(const struct vivi_unit *u, struct vivi_buf *out, viv_error *err);
