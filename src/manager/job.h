/*
 * A request to the guest's agent, as the part of an operation that follows the monitor's answer.
 *
 * Theory of operation. The monitor's answer to verb "agent" is one end of a socket pair on which
 * the agent's protocol is spoken (base/agent_wire.h); one job is one session with one stream. Bytes
 * go between that stream and where the job takes them from and puts them: descriptors of the
 * caller, or functions. All of it is driven by the viv's poll set. Credit is given back only for
 * what was handed on, so no more than a window waits in either direction. The RESULT ends the
 * operation when all output before it was handed on; the end of the operation, for whatever reason,
 * closes the socket, and the agent then ends what still runs.
 *
 * Descriptors of the caller are duplicated, but their mode is the caller's: they may block. So they
 * are only read when something is there, and pipes and terminals are written in pieces of PIPE_BUF
 * bytes when they take some. Files, which are always ready, are read and written at once.
 */
#pragma once

#include "base/agent_wire.h"
#include "manager/manager.h"

#define VIVI_JOB_IN_BYTES (2 * VIVI_AW_BUFFER_MIN)

struct vivi_job;

struct vivi_job_kind {
    /* Makes the operation's result of the RESULT's fields (checked, no error in them). NULL: err
     * says why it is none. Mandatory. */
    json_t *(*result)(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err);
    /* STARTED came; may be NULL. */
    int (*started)(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err);
    /* Bytes of channel 1 when it goes to no descriptor; NULL: they are dropped. */
    int (*take)(struct vivi_job *j, const char *data, size_t len, viv_error *err);
    /* Fills buf with what is to be sent on channel 0 when that comes from no descriptor: bytes, 0
     * at the end, or < 0. NULL: nothing is sent. */
    ssize_t (*give)(struct vivi_job *j, char *buf, size_t room, viv_error *err);
    void (*done)(void *ctx); /* frees ctx; NULL ok */
};

struct vivi_job_end {
    struct vivi_job *job;
    int fd; /* owned; −1: none */
    struct vivi_source source;
    bool watched;
    bool pollable;       /* else always ready */
    bool eof;            /* input: no more of it */
    struct vivi_buf buf; /* output: came and not written yet */
};

enum { VIVI_JOB_STDIN, VIVI_JOB_STDOUT, VIVI_JOB_STDERR, VIVI_JOB_ENDS };

struct vivi_job {
    const struct vivi_job_kind *kind;
    void *ctx; /* owned: kind->done */
    struct viv_op *op;
    struct vivi_buf request; /* the OPEN's payload */
    int fd;
    struct vivi_source source;
    unsigned char *in;
    struct vivi_aw wire;
    struct vivi_buf out;
    struct vivi_aw_credit credit;
    bool opened, sends; /* sends: channel 0 is used */
    struct vivi_job_end ends[VIVI_JOB_ENDS];
    json_t *result;                   /* RESULT came: told when the output is written */
    uint64_t done_bytes, total_bytes; /* handed on so far; 0 = unknown */
};

int vivi_job_new(const struct vivi_job_kind *kind, void *ctx_consume, struct vivi_job **ret,
                 viv_error *err);
void vivi_job_free(struct vivi_job *j); /* NULL ok */
void vivi_job_free_ptr(struct vivi_job **j);
#define cleanup_job VIVI_CLEANUP(vivi_job_free_ptr)
/* One field of the request; the first is the kind (key NULL). Failure is told by begin. */
void vivi_job_put(struct vivi_job *j, const char *key, const char *value);
void vivi_job_put_i64(struct vivi_job *j, const char *key, int64_t value);
/* Duplicates fd (−1: none). */
int vivi_job_end_set(struct vivi_job *j, int which, int fd, viv_error *err);
/* Makes the operation and hands it out, or blocks for its result. Options timeout_ms, connect_ms.
 */
int vivi_job_submit(viv_vm *m, struct vivi_job *job_consume, const viv_opts *o, viv_op **ret_op,
                    viv_rec **ret_result, viv_error *err);
/* The monitor has answered: fd is the channel, consumed. Failures end the operation. */
void vivi_job_begin(struct vivi_job *j, int fd_consume);
/* Closes everything; the operation is over. */
void vivi_job_close(struct vivi_job *j);
/* CONTROL with these fields. WRONG_STATE: not running (any more). */
int vivi_job_control(struct vivi_job *j, const struct vivi_aw_writer *fields, viv_error *err);

/* ---- job_io.c: the caller's descriptors ---- */

/* Hands on what waits, watches what has to be waited for, gives back credit, ends the operation
 * when everything is done. False: the operation is over. */
bool vivi_job_move(struct vivi_job *j);
void vivi_job_ends_close(struct vivi_job *j);
/* n bytes of the agent were handed on. */
void vivi_job_give_credit(struct vivi_job *j, size_t n);
/* Puts a frame into the queue and sends what the socket takes. */
bool vivi_job_send(struct vivi_job *j, const struct vivi_aw_frame *f);
void vivi_job_fail(struct vivi_job *j, const viv_error *err);
