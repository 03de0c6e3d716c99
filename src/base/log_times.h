/*
 * When a log grew: a side index of a log that is bytes of somebody else and nothing more.
 *
 * FILE: records of 16 bytes, little endian: u64 size | i64 wall clock, ms since 1970. A record says
 * that the log was that long by that time, and no longer before: sizes rise from record to record,
 * so the first record with a size above an offset tells when the byte there was seen. Time 0: not
 * known when. A clock that was set back makes times fall; sizes never do. Old records are punched
 * out at the head, as the log's own bytes are (zeros: no record), so a record's place stays true.
 *
 * One writer, any readers: a record is written by one pwrite(2) of 16 bytes at its place.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define VIVI_LOG_TIME_BYTES 16
#define VIVI_LOG_TIMES_KEPT                                                            \
    (256u * 1024)              /* records, and up to as many again until the next trim \
                                */
#define VIVI_LOG_TIMES_GRAIN 5 /* ms: growth within that long shares a record */

struct vivi_log_time {
    uint64_t size;
    int64_t wall_ms;
};

struct vivi_log_times {
    int fd;     /* owned; −1: none, and nothing is noted */
    uint64_t n; /* records, those punched out included */
    struct vivi_log_time last;
};
#define VIVI_LOG_TIMES_NONE ((struct vivi_log_times){.fd = -1})

/*
 * Goes on with name, made when it is missing, beside a log of log_size bytes at now. What the log
 * grew by while nobody noted counts as seen now; what was there before the first record has no
 * time.
 */
int vivi_log_times_open(struct vivi_log_times *t, int dir_fd, const char *name,
                        const struct vivi_log_time *now, viv_error *err);
void vivi_log_times_done(struct vivi_log_times *t);
/*
 * The log is now.size long. A record that cannot be written (the disk is full) is left out: the
 * next one covers it. log_fd: the log, whose kept head decides from time to time what is freed; −1:
 * none.
 */
void vivi_log_times_note(struct vivi_log_times *t, const struct vivi_log_time *now, int log_fd);

/* The record of the byte at offset. 1 found (wall_ms 0: not known when), 0 none: it is newer than
 * all, −IO. */
int vivi_log_times_find(int fd, uint64_t offset, struct vivi_log_time *ret, viv_error *err);
/*
 * The last record older than since_ms: what the log got after ret->size was seen at that time or
 * later. 0: none is older.
 */
int vivi_log_times_before(int fd, int64_t since_ms, struct vivi_log_time *ret, viv_error *err);
