/*
 * A connection to a VMM that speaks in lines: connect by path, a bounded queue out, bounded lines
 * in. Both control protocols of this floor (QMP, the fake's) stand on it.
 * Thread: the loop's. Callbacks run from the loop only, never from inside open or send.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "driver/loop.h"

#define VIVI_LINE_MAX_BYTES  (1u << 20) /* longest line that is accepted */
#define VIVI_LINES_OUT_BYTES (1u << 18) /* most that may wait to be sent */

struct vivi_lines_handler {
    void *arg; /* borrowed */
    /* One line without its LF and CR; NUL-terminated, may contain NULs; lent for the call. May
     * send and close. */
    void (*line)(void *arg, char *line, size_t len);
    /* The connection is over and closed; err says why ("end of file", "line too long"). Once. Not
     * called after vivi_lines_close. */
    void (*end)(void *arg, const viv_error *err);
};

/* Zeroed is closed. */
struct vivi_lines {
    bool open;
    int fd;
    const struct vivi_loop *loop; /* borrowed */
    struct vivi_lines_handler on;
    struct vivi_watch *watch;
    struct vivi_timer *late_end; /* tells a failed send from the loop */
    viv_error late_error;
    struct vivi_buf in, out;
    size_t scanned; /* bytes of in that hold no LF */
};

/* Errors: as vivi_unix_connect. l is zeroed or closed. */
int vivi_lines_open(struct vivi_lines *l, const struct vivi_loop *loop, const char *path,
                    const struct vivi_lines_handler *on, viv_error *err);
/* Sends at once what the socket takes and queues the rest. text ends with LF already. IO: closed;
 * BUSY: the queue is full. */
int vivi_lines_send(struct vivi_lines *l, const char *text, size_t len, viv_error *err);
/* Takes what is there already. From outside of its callbacks only. */
void vivi_lines_look(struct vivi_lines *l);
void vivi_lines_close(struct vivi_lines *l); /* repeatable; safe inside callbacks */
