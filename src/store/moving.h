/*
 * moving.json: a VM that leaves for another state root, has left, or is waited for. While it is
 * there nothing else may make the VM run: its machine may run elsewhere.
 */
#pragma once

#include "store/store.h"

#define VIVI_MOVING_FILE "moving.json"

enum vivi_moving_phase {
    VIVI_MOVING_SENDING, /* begun; nobody knows the outcome */
    VIVI_MOVING_GONE,    /* it runs there */
    VIVI_MOVING_COMING,  /* this is the other end: it has not arrived */
    VIVI_MOVING_HANDED   /* all of it was given away: from here on it may run there */
};

struct vivi_moving {
    enum vivi_moving_phase phase;
    char to[512]; /* as the user named it: "ssh://host"; "" of one that comes */
    bool paused;  /* it stood still before it left */
    bool frozen;  /* its VMM was stopped by a signal, on its way */
};

const char *vivi_moving_phase_name(enum vivi_moving_phase p);

/* 1 and *ret; 0: it does not move. PROTOCOL: the record is broken. */
int vivi_moving_read(int vm_fd, struct vivi_moving *ret, viv_error *err);
/* Durable. */
int vivi_moving_write(int vm_fd, const struct vivi_moving *m, viv_error *err);
/* Durable; nothing to remove is fine. */
int vivi_moving_remove(int vm_fd, viv_error *err);
/* 0, or WRONG_STATE why the VM of that name may not run here. */
int vivi_moving_allows(int vm_fd, const char *name, viv_error *err);
