/*
 * A connection to Cloud Hypervisor's API socket: one request at a time, in order, as the VMM itself
 * takes them. Thread: the loop's; callbacks run from the loop only.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"
#include "driver/cloud_hypervisor/answer.h"
#include "driver/loop.h"

#define CH_MAX_CALLS    32
#define CH_MAX_FDS      16
#define CH_VERB_BYTES   40
#define CH_BODY_OUT_MAX 51200u /* what the VMM takes, until 53 */

struct ch_call {
    int tag;
    uint64_t op;
    char verb[CH_VERB_BYTES];
    char *text; /* owned: head and body */
    size_t len;
    int fds[CH_MAX_FDS]; /* owned duplicates */
    size_t n_fds;
};

struct ch_handler {
    void *arg;
    /* The answer to that request: a, lent, any status; or NULL and why there is none (IO,
     * PROTOCOL). Exactly once per request. May send and close. */
    void (*reply)(void *arg, const struct ch_call *c, const struct ch_answer *a,
                  const viv_error *why);
    /* The connection has ended by itself, after all that waited was answered by why. */
    void (*end)(void *arg, const viv_error *why);
};

/* Zeroed is closed. */
struct ch_http {
    const struct vivi_loop *loop; /* borrowed */
    char path[512];
    struct ch_handler on;
    bool open;
    int fd;
    struct vivi_watch *watch;
    struct vivi_timer *late; /* tells a failed connection from the loop */
    viv_error late_why;
    struct vivi_buf in;
    size_t sent; /* bytes of the first call */
    struct ch_call calls[CH_MAX_CALLS];
    size_t n_calls;
};

/* Connects. Errors: as vivi_unix_connect. */
int ch_http_open(struct ch_http *h, const struct vivi_loop *loop, const char *path,
                 const struct ch_handler *on, viv_error *err);

struct ch_request {
    const char *verb;   /* "vm.info" */
    bool get;           /* GET, else PUT */
    const json_t *body; /* borrowed; NULL: none */
    const int *fds;     /* borrowed: passed along, duplicated for as long as it takes */
    size_t n_fds;
    int tag;
    uint64_t op;
};
/*
 * Sends it when all before it are answered. A connection that has ended is opened anew. Errors: IO
 * (nobody listens), BUSY (too many wait), INVALID (a body that is too large, a bad verb),
 * NO_MEMORY.
 */
int ch_http_send(struct ch_http *h, const struct ch_request *r, viv_error *err);
/* Takes what is there already. From outside of a callback of its own only. */
void ch_http_look(struct ch_http *h);
void ch_http_close(struct ch_http *h); /* no callback afterwards; repeatable */
