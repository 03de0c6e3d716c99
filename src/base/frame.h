/*
 * Framed messages over a SOCK_STREAM unix socket, with descriptors.
 *
 *   u32 length of the payload, little endian | u8 version | u8 op | u8 number of descriptors |
 *   u8 0 | payload
 *
 * Descriptors travel with the first byte of their frame. Payload is NUL-separated fields (keeper)
 * or JSON (control). A frame longer than VIVI_FRAME_MAX or with more than VIVI_MAX_FDS descriptors
 * is a PROTOCOL error and ends the connection.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fd.h"

#define VIVI_FRAME_MAX (1u << 20)

struct vivi_frame {
    uint8_t version, op;
    /* Borrowed until the next vivi_frames_* call; followed by a NUL that does not count. */
    const char *payload;
    size_t len;
    /* Owned by the frame: take_fd() what is kept, vivi_frame_done closes the rest. */
    int fds[VIVI_MAX_FDS];
    size_t n_fds;
};

void vivi_frame_done(struct vivi_frame *f);
#define cleanup_frame VIVI_CLEANUP(vivi_frame_done)

/* Receiving side: incremental, bounded. */
struct vivi_frames {
    struct vivi_buf buf;
    size_t taken; /* bytes of buf of the frame handed out last, dropped at the next call */
    char behind;  /* the byte behind that frame, which holds the NUL meanwhile */
    /* Received, not yet handed out: of the frame that is coming in and of the one behind it. */
    int fds[2 * VIVI_MAX_FDS];
    size_t n_fds;
};

void vivi_frames_init(struct vivi_frames *r);
void vivi_frames_done(struct vivi_frames *r);

/*
 * Reads once. 1 something came, 0 end of file, −VIV_E_BUSY nothing to read now (non-blocking). Take
 * all frames (next until 0) before the next read.
 */
int vivi_frames_read(struct vivi_frames *r, int fd, viv_error *err);
/* Next whole frame: 1 and *ret, 0 none yet, −VIV_E_PROTOCOL. */
int vivi_frames_next(struct vivi_frames *r, struct vivi_frame *ret, viv_error *err);
/* Bytes that did not come from a socket (tests). */
int vivi_frames_feed(struct vivi_frames *r, const void *data, size_t len);

/*
 * Appends an encoded frame to out (for queues), or sends it at once with descriptors, which stay
 * the caller's, waiting up to timeout_ms for room.
 */
int vivi_frame_encode(struct vivi_buf *out, uint8_t version, uint8_t op, const void *payload,
                      size_t len);
/* Says in the frame that begins at out's byte at how many descriptors will be sent with it. */
void vivi_frame_announce(struct vivi_buf *out, size_t at, uint8_t n_fds);
int vivi_frame_send(int fd, const struct vivi_frame *f, int timeout_ms, viv_error *err);

/*
 * Fields: "a\0b\0c\0". Returns how many were found, at most cap; more is −VIV_E_PROTOCOL, as is a
 * payload not ending in NUL.
 */
int vivi_fields_split(const char *payload, size_t len, const char **ret, size_t cap,
                      viv_error *err);
