/*
 * The channel between the two ends of a migration: JSON objects, one a line, over a pair of
 * descriptors. Each has "do", the word of what it is.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

#define VIVI_PEER_LINE_MAX (4u << 20)

struct vivi_peer {
    int in, out; /* owned */
    pid_t pid;   /* of what is at the other end; 0: not ours */
    bool ssh;    /* it is one */
    bool late;   /* it did not answer in time */
    FILE *said;  /* owned; what it writes to its stderr, or NULL */
    struct vivi_buf buf;
};
#define VIVI_PEER_EMPTY {.in = -1, .out = -1, .buf = VIVI_BUF(VIVI_PEER_LINE_MAX)}

/* Whether dest has such a form. Errors: INVALID. */
int vivi_peer_check(const char *dest, viv_error *err);
/* "host[:port]" of an ssh:// destination, borrowed from it; NULL: it is another one. */
const char *vivi_peer_host(const char *dest);
/*
 * Runs what dest names: "ssh://[user@]host[:port]", "exec:COMMAND", "root:DIR" (a state root of
 * this host). Errors: as vivi_peer_check; IO.
 */
int vivi_peer_open(struct vivi_peer *p, const char *dest, viv_error *err);
/* Closes, and waits for the child's end; one that did not answer is ended. */
void vivi_peer_close(struct vivi_peer *p);
/* {"do": word, …more}; more (consumed) may be NULL. IO: nobody listens; of a child it says how that
 * ended, and its last words. TIMEOUT: it does not read. */
int vivi_peer_say(struct vivi_peer *p, const char *word, json_t *more_consume, viv_error *err);
/* 1 and *ret (new reference), 0 nothing yet (call again when in is readable), −IO the other end is
 * gone, −PROTOCOL. Does not block when in was readable. */
int vivi_peer_read(struct vivi_peer *p, json_t **ret, viv_error *err);
/* A line that is there already, without reading. */
int vivi_peer_next(struct vivi_peer *p, json_t **ret, viv_error *err);
/* The next one, however long that takes up to ms. TIMEOUT. */
int vivi_peer_wait(struct vivi_peer *p, int ms, json_t **ret, viv_error *err);
const char *vivi_peer_word(const json_t *j); /* "" = none */
/* An error as the other end tells it. */
json_t *vivi_peer_error(const viv_error *e);
int vivi_peer_take_error(const json_t *j, viv_error *ret); /* −code */
