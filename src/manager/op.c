/*
 * Theory of operation: an operation is a request to a VM's monitor that must survive the monitor.
 * It connects; when nobody listens it starts a keeper (lock free) or tries again a moment later
 * (lock held: somebody is coming or going); it greets, asks, and waits for the answer. Whatever
 * breaks on the way leads back to connecting, and the request is asked again under the same id,
 * which the monitor joins to what is in flight already. It ends exactly once: with the answer, with
 * an error that trying again cannot heal, at its deadline, or because its owner does not want to
 * wait any longer. Ending here never ends what the monitor does.
 *
 * Waiting for a lock or a listener has no event to wait for, so there is a pause that doubles; it
 * runs only while somebody waits for an answer.
 */
#include "manager/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"

#define FIRST_PAUSE_US 1000
#define MOST_PAUSE_US  50000
#define MOST_KEEPERS   3 /* that end without a word, in a row */
#define OUT_MAX_BYTES  (2u * VIVI_FRAME_MAX)

static void unlink_op(struct viv_op *op)
{
    if (!op->v)
        return;
    for (struct viv_op **p = &op->v->ops; *p; p = &(*p)->next) {
        if (*p == op) {
            *p = op->next;
            break;
        }
    }
    op->v = NULL;
}

/* Closes what belongs to a try, whichever phase it is in. */
static void disconnect(struct viv_op *op)
{
    vivi_conn_close(op);
    vivi_keeper_forget(op);
}

void vivi_op_destroy(struct viv_op *op)
{
    disconnect(op);
    vivi_job_free(op->job);
    unlink_op(op);
    vivi_close(&op->own_fd);
    vivi_given_done(&op->nics);
    vivi_close(&op->result_fd);
    vivi_frames_done(&op->frames);
    vivi_buf_done(&op->out);
    json_decref(op->what.args);
    json_decref(op->result);
    json_decref(op->note);
    free(op);
}

void vivi_op_end(struct viv_op *op, const viv_error *err)
{
    if (op->phase == VIVI_PH_DONE)
        return;
    disconnect(op);
    if (op->job)
        vivi_job_close(op->job);
    vivi_close(&op->own_fd);
    vivi_given_done(&op->nics);
    op->phase = VIVI_PH_DONE;
    op->deadline_us = op->retry_us = op->force_us = VIVI_NEVER;
    if (err && err->code) {
        op->err = *err;
        vivi_error_vm(&op->err, op->name);
    }
    /* Never freed here: callers up the stack still hold it. A detached one is swept up later. */
    if (op->v) {
        op->v->attention = true;
        vivi_rearm(op->v);
    }
}

void vivi_ops_sweep(viv *v)
{
    struct viv_op *next;

    for (struct viv_op *op = v->ops; op; op = next) {
        next = op->next;
        if (op->detached && op->phase == VIVI_PH_DONE)
            vivi_op_destroy(op);
    }
}

void vivi_op_orphan(struct viv_op *op)
{
    viv_error err = VIV_ERROR_INIT;

    if (op->job) /* while its poll set is still named */
        vivi_job_close(op->job);
    op->v = NULL;
    if (op->detached) {
        vivi_op_destroy(op);
        return;
    }
    (void)vivi_fail(&err, VIV_E_CANCELLED, "its viv was closed");
    vivi_op_end(op, &err);
}

/* ---- trying ---- */

static void again_later(struct viv_op *op)
{
    uint64_t pause = op->pause_us;

    op->phase = VIVI_PH_CONNECT;
    op->retry_us = vivi_mono_us() + pause;
    op->pause_us = pause == 0                  ? FIRST_PAUSE_US
                   : pause * 2 < MOST_PAUSE_US ? pause * 2
                                               : MOST_PAUSE_US;
    vivi_rearm(op->v);
}

/* The VM is not there (any more). */
static void gone(struct viv_op *op, const viv_error *err)
{
    if (op->what.gone_is_done && op->asked) {
        vivi_op_replied(op, json_pack("{s:b,s:n}", "changed", 1, "state"), -1);
        return;
    }
    vivi_op_end(op, err);
}

/* 0: on its way, or to be tried again; < 0: hopeless. */
static int try_once(struct viv_op *op, const struct vivi_vmdir *d, viv_error *err)
{
    int r = vivi_conn_open(op, d, err);

    if (r != 0)
        return r < 0 ? r : 0;
    r = vivi_lock_test(d->fd, VIVI_LOCK_FILE, err);
    if (r < 0)
        return r;
    if (r > 0) {
        again_later(op);
        return 0;
    }
    return vivi_keeper_start(op, d, err);
}

static void advance(struct viv_op *op)
{
    struct viv_vm vm = {.v = op->v};
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    int r;

    memcpy(vm.name, op->name, sizeof(vm.name));
    memcpy(vm.uuid, op->uuid, sizeof(vm.uuid));
    op->retry_us = VIVI_NEVER;
    op->phase = VIVI_PH_CONNECT;
    r = vivi_vm_dir(&vm, &d, &err);
    if (r == -VIV_E_NOT_FOUND) {
        gone(op, &err);
        return;
    }
    if (r == 0)
        r = try_once(op, &d, &err);
    if (r < 0)
        vivi_op_end(op, &err);
    else
        vivi_rearm(op->v);
}

void vivi_op_lost(struct viv_op *op)
{
    viv_error err = VIV_ERROR_INIT;

    disconnect(op);
    if (op->what.once && op->asked) {
        (void)vivi_fail(&err, VIV_E_IO,
                        "its monitor went away before the answer: what the VMM did is not known");
        vivi_op_end(op, &err);
        return;
    }
    again_later(op);
}

void vivi_op_keeper_said(struct viv_op *op, enum vivi_keeper_word word, const viv_error *err)
{
    vivi_keeper_forget(op);
    switch (word) {
    case VIVI_KEEPER_OK:
        op->keepers = 0;
        advance(op);
        return;
    case VIVI_KEEPER_BUSY:
    case VIVI_KEEPER_GONE: /* the next try finds out what that means */ again_later(op); return;
    case VIVI_KEEPER_FAILED:
        /* A keeper that was killed is worth another one; one that says why it cannot is not. */
        if (err->code == VIV_E_INTERNAL && ++op->keepers < MOST_KEEPERS)
            again_later(op);
        else
            vivi_op_end(op, err);
        return;
    }
}

void vivi_op_replied(struct viv_op *op, json_t *result_consume, int fd_consume)
{
    viv_error err = VIV_ERROR_INIT;

    if (!result_consume) {
        vivi_close(&fd_consume);
        (void)vivi_fail_oom(&err);
        vivi_op_end(op, &err);
        return;
    }
    if (op->job && !op->job->result) { /* this was only the channel */
        json_decref(result_consume);
        vivi_conn_close(op);
        vivi_job_begin(op->job, fd_consume);
        return;
    }
    op->result = result_consume;
    op->result_fd = fd_consume;
    vivi_op_end(op, NULL);
}

/* ---- time ---- */

uint64_t vivi_op_next_us(const struct viv_op *op)
{
    uint64_t next = op->deadline_us < op->retry_us ? op->deadline_us : op->retry_us;

    return op->force_us < next ? op->force_us : next;
}

void vivi_op_due(struct viv_op *op, uint64_t now_us)
{
    viv_error err = VIV_ERROR_INIT;

    if (op->deadline_us <= now_us) {
        (void)vivi_fail(&err, VIV_E_TIMEOUT, "%s", op->what.late);
        if (!op->met)
            vivi_hint(&err, "its monitor does not answer; viv kill --force %s", op->name);
        vivi_op_end(op, &err);
    } else if (op->force_us <= now_us) {
        vivi_op_force(op);
    } else if (op->retry_us <= now_us) {
        advance(op);
    }
}

/* ---- beginning ---- */

static int make(const viv_vm *m, const struct vivi_request_of *what, viv_op **ret, viv_error *err)
{
    struct viv_op *op = calloc(1, sizeof(*op));
    struct vivi_given nics = what->nics;
    int r = 0;

    if (!op) {
        vivi_given_done(&nics);
        json_decref(what->args);
        vivi_job_free(what->job);
        return vivi_fail_oom(err);
    }
    memcpy(op->name, m->name, sizeof(op->name));
    memcpy(op->uuid, m->uuid, sizeof(op->uuid));
    op->what = *what;
    op->nics = nics;
    op->what.nics.n = 0;
    op->job = what->job;
    if (op->job)
        op->job->op = op;
    op->own_fd = op->fd = op->status_fd = op->result_fd = -1;
    op->deadline_us = op->retry_us = op->force_us = VIVI_NEVER;
    op->begun_us = vivi_mono_us();
    op->err = (viv_error)VIV_ERROR_INIT;
    vivi_frames_init(&op->frames);
    vivi_buf_init(&op->out, OUT_MAX_BYTES);
    r = vivi_uuid_new(op->id, err);
    if (r == 0 && what->send_fd >= 0) {
        op->own_fd = fcntl(what->send_fd, F_DUPFD_CLOEXEC, 3);
        if (op->own_fd < 0)
            r = vivi_fail_errno(err, errno, "descriptor %d", what->send_fd);
    }
    if (r < 0) {
        vivi_op_destroy(op);
        return r;
    }
    op->v = m->v;
    op->next = m->v->ops;
    m->v->ops = op;
    *ret = op;
    return 0;
}

int vivi_op_begin(const viv_vm *m, const struct vivi_request_of *what, viv_op **ret, viv_error *err)
{
    struct viv_op *op = NULL;
    int r = make(m, what, &op, err);

    if (r < 0)
        return r;
    if (what->timeout_us != VIVI_NEVER)
        op->deadline_us = op->begun_us + what->timeout_us;
    if (what->force)
        vivi_op_force_later(op);
    advance(op);
    if (op->phase == VIVI_PH_DONE && op->err.code) { /* refused: there is no operation */
        if (err)
            *err = op->err;
        r = -op->err.code;
        vivi_op_destroy(op);
        return r;
    }
    *ret = op;
    return 0;
}

int vivi_op_finished(const viv_vm *m, json_t *result_consume, viv_op **ret, viv_error *err)
{
    const struct vivi_request_of nothing = {.verb = "", .send_fd = -1};
    struct viv_op *op = NULL;
    int r;

    if (!result_consume)
        return vivi_fail_oom(err);
    r = make(m, &nothing, &op, err);
    if (r < 0) {
        json_decref(result_consume);
        return r;
    }
    vivi_op_replied(op, result_consume, -1);
    *ret = op;
    return 0;
}

/* ---- what its owner may do ---- */

int viv_op_done(const viv_op *op)
{
    return op->phase == VIVI_PH_DONE;
}

int viv_op_progress(viv_op *op, uint64_t *ret_done, uint64_t *ret_total)
{
    json_int_t done = json_integer_value(json_object_get(op->note, "done"));
    json_int_t total = json_integer_value(json_object_get(op->note, "total"));

    if (total <= 0 || done < 0)
        return -VIV_E_NOT_FOUND;
    if (ret_done)
        *ret_done = (uint64_t)done;
    if (ret_total)
        *ret_total = (uint64_t)total;
    return 0;
}

int viv_op_note(const viv_op *op, viv_rec **ret, viv_error *err)
{
    if (!op->note)
        return vivi_fail(err, VIV_E_NOT_FOUND, "nothing was told so far");
    return vivi_rec_new(json_deep_copy(op->note), ret, err);
}

int viv_op_cancel(viv_op *op, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    (void)err;
    (void)vivi_fail(&why, VIV_E_CANCELLED, "no longer waited for; it %s",
                    op->job ? "was ended" : "goes on");
    vivi_op_end(op, &why);
    return 0;
}

void viv_op_free(viv_op *op)
{
    if (!op)
        return;
    /* A request that is not out yet still has to go out; the rest is the monitor's. */
    if (op->phase == VIVI_PH_DONE || !op->v || op->job ||
        (op->phase == VIVI_PH_REPLY && op->out.len == 0)) {
        vivi_op_destroy(op);
        return;
    }
    op->detached = true;
}
