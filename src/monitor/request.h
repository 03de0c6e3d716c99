/* A client's request as a checked value: what a client sends is hostile until it is this struct. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "model/model.h"

#define VIVI_OP_ID_SIZE     40
#define VIVI_NO_TIMEOUT     (-1)
#define VIVI_TIMEOUT_MAX_MS (INT64_C(366) * 24 * 3600 * 1000)

enum vivi_verb {
    VIVI_VERB_NONE,
    VIVI_VERB_START,
    VIVI_VERB_STOP,
    VIVI_VERB_KILL,
    VIVI_VERB_REBOOT,
    VIVI_VERB_PAUSE,
    VIVI_VERB_RESUME,
    VIVI_VERB_REMOVE,
    VIVI_VERB_APPLY,
    VIVI_VERB_SNAPSHOT,
    VIVI_VERB_RESTORE,
    VIVI_VERB_MIGRATE,
    VIVI_VERB_INCOMING,
    VIVI_VERB_UPGRADE,
    VIVI_VERB_WAIT,
    VIVI_VERB_LOG_WAIT,
    VIVI_VERB_CONSOLE,
    VIVI_VERB_INFO,
    VIVI_VERB_AGENT,
    VIVI_VERB_STATS,
    VIVI_VERB_API,
    VIVI_VERB_NMI,
    VIVI_VERB_COREDUMP,
    VIVI_VERB_COUNT_
};
const char *vivi_verb_name(enum vivi_verb v);
int vivi_verb_parse(const char *s, enum vivi_verb *ret); /* −VIV_E_INVALID: unknown */
bool vivi_verb_calls(enum vivi_verb v);   /* a single call to the VMM: api, nmi, coredump */
bool vivi_verb_changes(enum vivi_verb v); /* one of those of which only one runs at a time */

enum vivi_until { VIVI_UNTIL_STATE, VIVI_UNTIL_READY, VIVI_UNTIL_EXIT };

struct vivi_request {
    uint64_t id;
    enum vivi_verb verb;
    char op[VIVI_OP_ID_SIZE]; /* "" when the client gave none */
    int64_t timeout_ms;       /* VIVI_NO_TIMEOUT: the verb's own */

    bool async; /* of what changes something: answered as soon as it is accepted */

    json_t *args; /* of verbs with a body of their own (apply), else NULL; a reference */

    /* start */
    bool wait_ready, remove_when_ended, foreground;
    int64_t ready_timeout_ms; /* VIVI_NO_TIMEOUT: the configuration's */
    uint64_t requested_us;    /* CLOCK_MONOTONIC at the client; 0: not told */
    /* stop */
    bool may_kill;
    bool for_now; /* "desired" stays as it is */
    /* reboot, remove */
    bool hard, force;
    /* wait */
    enum vivi_until until;
    enum viv_state state;
    /* snapshot, restore */
    char snapshot[64];
    bool allow_long_pause, on_demand;
    /* log_wait */
    uint64_t offset;
    /* console */
    bool steal, readonly;
    /* agent */
    uint64_t wait_ms;
};

/*
 * body: a REQUEST's object. ret->id is set as soon as it is known, so that an error can name the
 * request. Errors: PROTOCOL no id or no verb; UNSUPPORTED "unknown verb \"x\""; INVALID
 * "args.timeout_ms: not a number of milliseconds".
 */
int vivi_request_parse(const json_t *body, struct vivi_request *ret, viv_error *err);
void vivi_request_done(struct vivi_request *q); /* also after a failed parse */
#define cleanup_request VIVI_CLEANUP(vivi_request_done)
