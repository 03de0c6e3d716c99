/*
 * Trees of files as a stream of bytes: what `tree-read` and `tree-write` of base/agent_wire.h
 * carry, and what a copy between host and guest is at both ends.
 *
 * RECORDS, little endian
 *
 *   u8 kind | u8 0 | u16 name length | u32 mode | u32 uid | u32 gid | i64 mtime s | u32 mtime ns |
 *   u32 extra length | u64 size | name | extra
 *
 *   V  first; size = version (1)
 *   D  directory: entered, all up to its U is inside
 *   U  leaves it
 *   F  file of size bytes: C …, E
 *   C  extra bytes of it at offset size; what no C covers is a hole
 *   E  its end
 *   L  symbolic link to extra
 *   H  hard link to extra: the path, from the tree's root, of a file sent before
 *   P  FIFO
 *   X  left out (socket, device, unreadable): extra says why
 *   Z  last; size = number of entries (D, F, L, H, P)
 *
 * The first entry is the tree's root; the receiver gives it the name it likes. A name is one
 * component. So a tree cannot say "..", an absolute path or "through this link" at all: nesting is
 * in the records, and the receiver walks with descriptors, component by component, never following
 * a link, neither one that the tree made nor one that was there. What it replaces it replaces by
 * rename(2), so nobody sees half a file, and a stream that ends early leaves no temporary.
 *
 * Both sides are state machines without threads and without waiting: the sender fills buffers, the
 * receiver is fed. Files are read and written at once (disks are not waited for by poll).
 *
 * Bounds: depth VIVI_TREE_DEPTH, a name 255 bytes, a link 4,095, a C 1 MiB. Memory is constant, but
 * for 65,536 remembered hard links of the sender (more are sent as files of their own).
 *
 * Thread: any, one at a time per object.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define VIVI_TREE_VERSION   1u
#define VIVI_TREE_DEPTH     128u
#define VIVI_TREE_NAME_MAX  255u
#define VIVI_TREE_LINK_MAX  4095u
#define VIVI_TREE_CHUNK_MAX (1u << 20)
#define VIVI_TREE_HEAD      40u
/* The least room for vivi_tree_send_fill: any record but a C fits. */
#define VIVI_TREE_ROOM_MIN (VIVI_TREE_HEAD + VIVI_TREE_NAME_MAX + VIVI_TREE_LINK_MAX)

struct vivi_tree_stats {
    uint64_t entries, bytes; /* bytes of file data, holes left out */
    uint64_t skipped;
    char first_skipped[300]; /* "name: why" of the first that was left out */
};

/* ---- sender ------------------------------------------------------------------------------- */

struct vivi_tree_send;

/*
 * The tree at path (relative to dir_fd, AT_FDCWD allowed): a directory, a file, or a link as it
 * stands; with follow, what the link means. NOT_FOUND, DENIED, UNSUPPORTED (a device, a socket).
 */
int vivi_tree_send_new(int dir_fd, const char *path, bool follow, struct vivi_tree_send **ret,
                       viv_error *err);
/*
 * Fills buf (room ≥ VIVI_TREE_ROOM_MIN) with the next bytes of the stream: their number, 0 at its
 * end, < 0 on failure (a file that cannot be read in the midst of it; IO).
 */
ssize_t vivi_tree_send_fill(struct vivi_tree_send *t, void *buf, size_t room, viv_error *err);

/* Data of the open file, which its sender may also send by itself: a C record and these bytes. */
struct vivi_tree_data {
    int fd; /* borrowed, until the next call */
    uint64_t at;
    size_t len;
};

/*
 * For who has a shorter way for data than a buffer: once this was called, vivi_tree_send_fill ends
 * where vivi_tree_send_data has something to say.
 */
void vivi_tree_send_apart(struct vivi_tree_send *t);
/* Is the next record a C? Then at most max bytes of it, else false. */
bool vivi_tree_send_data(struct vivi_tree_send *t, size_t max, struct vivi_tree_data *ret);
/* len bytes of it were sent, and are not sent again. */
void vivi_tree_send_passed(struct vivi_tree_send *t, size_t len);
const struct vivi_tree_stats *vivi_tree_send_stats(const struct vivi_tree_send *t);
void vivi_tree_send_free(struct vivi_tree_send *t); /* NULL ok */

/* ---- receiver ----------------------------------------------------------------------------- */

struct vivi_tree_receive;

#define VIVI_TREE_OWNER 1u /* keep uid and gid, and with them set-id bits */

/*
 * Into the directory dir_fd (kept as a copy) under name, one component. What is there is merged
 * with: directories stay, other things are replaced; a directory is never replaced by anything else
 * and nothing but a directory becomes one.
 */
int vivi_tree_receive_new(int dir_fd, const char *name, unsigned flags,
                          struct vivi_tree_receive **ret, viv_error *err);
/*
 * Takes all of it. PROTOCOL for what is no tree; NOT_FOUND, DENIED, EXISTS, IO from the file
 * system, with the path in the message. After a failure every call fails with PROTOCOL.
 */
int vivi_tree_receive_feed(struct vivi_tree_receive *t, const void *data, size_t len,
                           viv_error *err);
/* The stream is over: 0 when the tree is whole, else PROTOCOL "the tree ends early". */
int vivi_tree_receive_end(const struct vivi_tree_receive *t, viv_error *err);
const struct vivi_tree_stats *vivi_tree_receive_stats(const struct vivi_tree_receive *t);
void vivi_tree_receive_free(struct vivi_tree_receive *t); /* NULL ok; removes a half-made file */

/* ---- records ------------------------------------------------------------------------------ */

struct vivi_tree_record {
    char kind;
    uint16_t name_len;
    uint32_t mode, uid, gid;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t extra_len;
    uint64_t size;
};

void vivi_tree_encode(const struct vivi_tree_record *r, unsigned char ret[VIVI_TREE_HEAD]);
/* 0, or −VIV_E_PROTOCOL for an unknown kind or a length above its limit. */
int vivi_tree_decode(const unsigned char head[VIVI_TREE_HEAD], struct vivi_tree_record *ret);
/* One component, not "", "." or "..", no NUL, at most VIVI_TREE_NAME_MAX bytes. */
bool vivi_tree_name_ok(const char *name, size_t len);
