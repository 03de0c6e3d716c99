/* The logs of one run, as the monitor reads them: the keeper writes, we follow. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log_times.h"
#include "keeper/protocol.h"

#define VIVI_STREAMS_MAX   6
#define VIVI_SERIAL_TIMES  "serial.times"
#define VIVI_RESERVE_BYTES (64u << 10) /* as much as a FIFO holds */
#define VIVI_INPUT_MAX     (1u << 20)  /* the longest message of a driver's event stream */

struct vivi_stream {
    char name[VIVI_KEEPER_NAME_MAX]; /* of the FIFO */
    char log[64];                    /* file name in the VM's directory */
    uint64_t limit_bytes;
    bool to_driver;
    uint64_t start;    /* size of the log when this run began */
    uint64_t size;     /* as last told */
    uint64_t taken;    /* to_driver: bytes given to the driver and consumed, as an offset */
    uint64_t reserved; /* to_driver: disk space is ours up to this offset */
    int fd;            /* owned, to be read (and reserved for); −1: not open yet */
};

struct vivi_streams {
    struct vivi_stream items[VIVI_STREAMS_MAX];
    size_t n;
    struct vivi_log_times times; /* of the serial log */
};

void vivi_streams_init(struct vivi_streams *s);
void vivi_streams_done(struct vivi_streams *s);
struct vivi_stream *vivi_stream_find(struct vivi_streams *s, const char *name);
struct vivi_stream *vivi_stream_of_log(struct vivi_streams *s, const char *log);
struct vivi_stream *vivi_stream_serial(struct vivi_streams *s); /* the one that fills serial.log */
/* New, empty entry with fd −1; NULL: too many. */
struct vivi_stream *vivi_stream_add(struct vivi_streams *s, const char *name, const char *log);
/* The log's size now, 0 when it is missing. */
uint64_t vivi_log_size(int vm_fd, const char *log);
/* Opens the log for reading (created empty when missing) and takes its size. */
int vivi_stream_open(struct vivi_stream *s, int vm_fd, viv_error *err);
/*
 * Keeps VIVI_RESERVE_BYTES of disk space ahead of a driver's events, giving up what the driver has
 * taken if need be: the end of a VM must be heard also when its host's disk is full. A file system
 * that cannot reserve is success.
 */
int vivi_stream_reserve(struct vivi_stream *s, viv_error *err);
/*
 * From here on it is noted when the serial log grows; it was size bytes long when nobody did.
 * Without the file the log has no times, and that is all: it is told in monitor.log.
 */
void vivi_streams_time(struct vivi_streams *s, int vm_fd, uint64_t size);
void vivi_streams_note_time(struct vivi_streams *s);
/* Takes the size from the file itself. */
void vivi_stream_refresh(struct vivi_stream *s);

/*
 * Offers what is new to input(ctx, name, data, len), which returns the bytes it consumed, until it
 * consumes nothing more. A message longer than VIVI_INPUT_MAX is skipped: *ret_skipped.
 */
struct vivi_stream_sink {
    size_t (*input)(void *ctx, const char *name, const char *data, size_t len);
    void *ctx;
};
int vivi_stream_pump(struct vivi_stream *s, const struct vivi_stream_sink *sink, bool *ret_skipped,
                     viv_error *err);

/* The last non-empty line of [from, size) of fd: printable, at most size bytes with NUL; "" = none.
 */
struct vivi_tail {
    int fd;
    uint64_t from;
};
void vivi_tail_line(const struct vivi_tail *t, char *ret, size_t size);
/* The last n lines as they are (joined by LF, no more than size − 1 bytes, not cut inside a line
 * unless one alone is longer). */
void vivi_tail_lines(const struct vivi_tail *t, unsigned n, char *ret, size_t size);
