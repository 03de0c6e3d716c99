/*
 * A log on its way to stdout: what is new in the file, filtered for a terminal. Offsets are the
 * log's own; a hole at its head (what was cut off) is not printed.
 */
#pragma once

#include "base/log_times.h"
#include "cli/cli.h"
#include "cli/escape.h"

struct vivi_guest_output {
    struct vivi_cli *c;
    int fd; /* of the log; owned; −1 = none yet */
    uint64_t offset;
    uint64_t end; /* stop here; UINT64_MAX = none */
    bool filter;
    bool stamps;       /* each line begins with the time when it was seen */
    int times_fd;      /* the log's times (base/log_times.h); owned; −1 = none are known */
    int64_t newest_ms; /* what is told of what is newer than all of them; negative: about then */
    int64_t about_ms;  /* what is told of bytes whose time nobody knows */
    struct vivi_log_time time; /* of the bytes up to time.size, as found last */
    struct vivi_escape escape;
    bool at_line_start; /* nothing but whole lines was printed */
};

/* fd is taken over. raw and the kind of stdout decide about filtering. */
void vivi_guest_output_init(struct vivi_guest_output *o, struct vivi_cli *c, int fd_consume,
                            uint64_t offset);
/* Prints what is there now. 1 something, 0 nothing, −code with err. */
int vivi_guest_output_pump(struct vivi_guest_output *o, viv_error *err);
/* Ends a line of the guest, so that what we print stands on one of its own. */
void vivi_guest_output_break(struct vivi_guest_output *o);
void vivi_guest_output_done(struct vivi_guest_output *o);
#define cleanup_guest_output VIVI_CLEANUP(vivi_guest_output_done)
