/*
 * lent.h: a file that a worker has opened and the agent reads.
 *
 * A worker's output goes through a pipe, which costs two copies, and a change of process for each
 * window: in an emulated guest most of what a copy costs. So of a long run of data the worker lends
 * the file: the agent reads it to where the frame is put together, and says how far it came. It
 * never waits for a disk: what the page cache does not hold (RWF_NOWAIT) is the worker's to read,
 * which then lends what follows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define LENT_RECORD 'L'          /* a worker's record, with the descriptor: struct lent_offer */
#define LENT_MIN    (128u << 10) /* less is not worth two messages */

struct lent_offer {
    uint64_t at, len;
    uint8_t tree;      /* it goes into a tree: each part is a record of its own */
    uint8_t in_memory; /* its file system has no disk to wait for */
};

/* How far the agent came; never: asking again is of no use. */
struct lent_answer {
    uint64_t at;
    uint8_t never;
};

struct lent {
    int fd; /* owned; −1 = none */
    struct lent_offer offer;
    bool never;
};

/* False: it makes no sense. The descriptor is closed then. */
bool lent_take(struct lent *l, int fd_consume, const char *record, size_t len);
/* The next part, of room bytes at most (more than a tree's head): 0 = the worker is to go on. */
size_t lent_read(struct lent *l, char *to, size_t room);
/* How many bytes of output it still is; at least, when it is of a tree. */
uint64_t lent_waiting(const struct lent *l);
/* Gives it back. */
void lent_return(struct lent *l, int status_fd);

/* The worker's side: the agent sends what it can. CANCELLED: the agent has left the stream. */
int lent_offer(int status_fd, int fd, uint64_t at, uint64_t len, bool tree, struct lent_answer *ret,
               viv_error *err);
