/*
 * The serial log of a VM that was migrated goes after it, over the channel of the migration: log
 * {part}, piece {at, data}…, end; the answer is logged {bytes} or no {error}. By then the VM runs
 * where it went to. All of it can be said again by viv migrate --resolve, whoever died meanwhile.
 */
#pragma once

#include "cli/cli.h"
#include "cli/peer.h"

#define VIVI_LOG_NOT_TAKEN (-1)
#define VIVI_LOG_NOT_ASKED (-2)

/* What the other end has room for, of its "arrived": bytes; 0: it has the log; NOT_TAKEN. */
int64_t vivi_log_room(const json_t *arrived);
/* Sends what there is, and says what had to stay: that is nobody's failure. dest, for messages. */
void vivi_log_give(struct vivi_cli *c, viv_vm *vm, struct vivi_peer *p, int64_t room,
                   const char *dest);

struct vivi_log_coming {
    char *part; /* owned; JSON text; NULL: nothing has begun */
    int64_t next, size;
    viv_error err; /* the first one; what comes after it is passed over */
};
/* Bytes as of vivi_log_room, of a VM that is here. */
int64_t vivi_log_wanted(viv_vm *vm);
/* A word of it. 1: that was the last one, and *ret_bytes are here or g->err says why not; 0: more
 * is to come; −PROTOCOL: it is none. */
int vivi_log_word(struct vivi_log_coming *g, viv_vm *vm, const json_t *j, int64_t *ret_bytes);
void vivi_log_coming_done(struct vivi_log_coming *g);
