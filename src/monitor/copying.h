/* Copies of disks, made on the loop: at once where the file system shares data, else piece by
 * piece, so that clients are served meanwhile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct vivi_monitor;

struct vivi_copy {
    char *from, *to; /* owned; absolute */
};

/* From a caller: pairs are consumed, also on failure. */
struct vivi_copies {
    struct vivi_copy *items;
    size_t n;
    bool slow; /* copying takes as long as it takes; else only sharing will do: UNSUPPORTED */
};
void vivi_copies_done(struct vivi_copies *c);
/* 0 or −NO_MEMORY; strings are copied. */
int vivi_copies_add(struct vivi_copies *c, const char *from, const char *to, viv_error *err);

/*
 * Each `to` appears, or is replaced, when it is whole and on the disk. done(m, err) follows once,
 * from the loop; err NULL: all are there. At most one list at a time.
 */
int vivi_copying_begin(struct vivi_monitor *m, struct vivi_copies *list_consume,
                       void (*done)(struct vivi_monitor *m, const viv_error *err), viv_error *err);
/* Gives up without calling done; safe when there is none. */
void vivi_copying_stop(struct vivi_monitor *m);
