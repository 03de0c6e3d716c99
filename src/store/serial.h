/*
 * The serial log of a VM that came by a migration: what the guest said before is in front of what
 * it says here, so there is one log with one kind of offset.
 *
 * serial.log of a VM that is to come begins with a hole of "base" bytes, and its size, base, is
 * where the keeper goes on. The part of before is put into the hole once the machine is here: its
 * last byte just before base. serial.json says where the log begins ("head"): at base until all of
 * that part is in place, which is told by one rename, and for good when it never comes. So whoever
 * is killed on the way, a reader sees the whole of it or none; putting a byte a second time changes
 * nothing; and neither the keeper nor the monitor takes part.
 */
#pragma once

#include "store/store.h"

#define VIVI_SERIAL_FILE   "serial.log"
#define VIVI_SERIAL_RECORD "serial.json"
#define VIVI_SERIAL_BOOTS  64 /* of before, at most: the last ones */

/* Of the other end's log: the bytes [start, size), and [{"boot", "offset"}] of the guest's boots.
 */
struct vivi_serial_part {
    uint64_t start, size;
    const json_t *boots; /* borrowed; NULL: not known */
};
/* From {"start", "size", "boots"}, borrowing. INVALID. */
int vivi_serial_part_parse(const json_t *j, struct vivi_serial_part *ret, viv_error *err);

/* In the directory of a VM that has not been there: room for that many bytes. */
int vivi_serial_reserve(int vm_fd, uint64_t bytes, viv_error *err);
/* The first byte that is kept of the log that log_fd is open on; moves its position. */
uint64_t vivi_serial_start(int vm_fd, int log_fd);
/* Bytes that can be put; 0: they are there already; −1: none are waited for. */
int64_t vivi_serial_room(int vm_fd);

struct vivi_serial_piece {
    uint64_t at; /* in the other end's log */
    const void *data;
    size_t len;
};
/* Bytes that are too early for the room there is are left out. WRONG_STATE: none are waited for. */
int vivi_serial_put(int vm_fd, const struct vivi_serial_part *of, const struct vivi_serial_piece *p,
                    viv_error *err);
/*
 * All were put: from now on the log begins there. *ret_bytes: how many that are. WRONG_STATE: none
 * are waited for; or the log of here has passed its limit already, and lost its own beginning.
 */
int vivi_serial_take(int vm_fd, const struct vivi_serial_part *of, int64_t *ret_bytes,
                     viv_error *err);

/*
 * The boots of running.json, with those of before in front, by offsets in the log here: new
 * reference, NULL: no memory. The boot that came is one, and its number here counts.
 * *ret_joined: there are such.
 */
json_t *vivi_serial_boots(int vm_fd, const json_t *running, bool *ret_joined);
