/*
 * QMP, the QEMU Machine Protocol (qapi/ and docs/interop/qmp-spec of QEMU): JSON objects, one a
 * line. What QEMU says is hostile input: bounded, strict, unknown keys ignored.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver/lines.h"

#define QMP_EVENT_NAME_BYTES 48
#define QMP_MAX_CALLS        32

enum qmp_kind { QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT };

struct qmp_message {
    enum qmp_kind kind;
    uint64_t id;                      /* RETURN, ERROR; 0 = none */
    char event[QMP_EVENT_NAME_BYTES]; /* EVENT */
    char desc[400];                   /* ERROR: QEMU's own words */
    json_t *body;                     /* owned; RETURN: the value; EVENT: data or NULL */
};

/* One line (no LF). PROTOCOL: no JSON object, none of the four kinds, a member of the wrong type.
 */
int qmp_parse(const char *line, size_t len, struct qmp_message *ret, viv_error *err);
void qmp_message_done(struct qmp_message *m);

/* ---- a connection ---- */

struct qmp_handler {
    void *arg;
    /* QEMU has greeted: its chardevs exist. Negotiation goes on by itself. */
    void (*greeted)(void *arg);
    /* Commands may be sent now. */
    void (*ready)(void *arg);
    /* The answer to the command sent with tag and op: err NULL and the value (lent), or the failure
     * ("cont: …" with QEMU's words). Exactly once per command. */
    void (*reply)(void *arg, int tag, uint64_t op, const json_t *value, const viv_error *err);
    void (*event)(void *arg, const struct qmp_message *m);
    /* The connection is over, once; every command was answered by the failure before. */
    void (*end)(void *arg, const viv_error *err);
};

struct qmp_call {
    uint64_t id; /* 0 = free */
    int tag;
    uint64_t op;
    char name[40];
};

/* Zeroed is closed. */
struct qmp {
    struct vivi_lines lines;
    struct qmp_handler on;
    enum { QMP_WAITS_GREETING, QMP_NEGOTIATES, QMP_READY } phase;
    uint64_t next_id;
    unsigned n_stale; /* lines skipped before the greeting */
    struct qmp_call calls[QMP_MAX_CALLS];
};

int qmp_open(struct qmp *q, const struct vivi_loop *loop, const char *path,
             const struct qmp_handler *on, viv_error *err);
/* args_consume: NULL = none. The reply comes with tag and op. Only when ready. Errors: IO closed,
 * BUSY too many wait, NO_MEMORY. */
int qmp_send(struct qmp *q, const char *command, json_t *args_consume, int tag, uint64_t op,
             viv_error *err);
void qmp_close(struct qmp *q);
