/*
 * The descriptors that the keeper keeps for this VM, as the monitor knows them: name → descriptor.
 * It comes in by VIV_FDS and goes out by it when the monitor executes the keeper in place. The
 * grammar stands in keeper/protocol.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "keeper/protocol.h"

#define VIVI_FD_FILE_MAX 64

struct vivi_fd_entry {
    char name[VIVI_KEEPER_NAME_MAX];
    char file[VIVI_FD_FILE_MAX]; /* a LOG entry: the log's file name; "" for others */
    uint64_t limit_bytes;        /* a LOG entry: what is kept of it */
    int fd;                      /* owned */
};

struct vivi_fd_table {
    struct vivi_fd_entry *items; /* owned */
    size_t n;
};

void vivi_fds_done(struct vivi_fd_table *t);
#define cleanup_fds VIVI_CLEANUP(vivi_fds_done)

/*
 * text: the value of VIV_FDS, NULL or "" is an empty table. Descriptors become close-on-exec.
 * Errors: PROTOCOL (grammar, a name twice, not an open descriptor), NO_MEMORY; none is closed then.
 */
int vivi_fds_parse(const char *text, struct vivi_fd_table *ret, viv_error *err);

int vivi_fds_get(const struct vivi_fd_table *t, const char *name); /* borrowed, −1: none */
/* Adds or replaces; fd_consume is closed on failure too. file NULL: no log. NO_MEMORY, INVALID. */
int vivi_fds_put(struct vivi_fd_table *t, const struct vivi_fd_entry *e_consume, viv_error *err);
void vivi_fds_drop(struct vivi_fd_table *t, const char *name); /* closes it; missing is fine */

/* The table as VIV_FDS wants it, without the entry called except (the socket to a dead keeper). */
int vivi_fds_format(const struct vivi_fd_table *t, const char *except, struct vivi_buf *out);
/* Clears close-on-exec of all, right before an exec. */
int vivi_fds_inherit(const struct vivi_fd_table *t, viv_error *err);
