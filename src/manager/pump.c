/*
 * Blocking calls: the caller lends its thread, and the same loop that viv_dispatch turns is turned
 * here until one operation is done. Everything else in flight goes on meanwhile.
 */
#include "manager/manager.h"

#include "base/clock.h"

int vivi_pump(viv *v, const struct viv_op *op, uint64_t deadline_us, viv_error *err)
{
    for (;;) {
        int woken = vivi_turn(v, err);

        if (woken < 0)
            return woken;
        if (op->phase == VIVI_PH_DONE)
            return 0;
        if (woken)
            return vivi_fail(err, VIV_E_CANCELLED, "interrupted; it goes on");
        if (vivi_mono_us() >= deadline_us)
            return vivi_fail(err, VIV_E_TIMEOUT, "not done yet; it goes on");
        vivi_rearm_for(v, deadline_us);
        woken = vivi_poll_block(&v->poll, deadline_us, err);
        if (woken < 0)
            return woken;
    }
}

/* Result or error of an operation that is done. */
static int outcome(viv_op *op, viv_rec **ret_result, int *ret_fd, viv_error *err)
{
    int r = 0;

    if (op->err.code) {
        if (err)
            *err = op->err;
        return -op->err.code;
    }
    if (ret_result)
        r = vivi_rec_new(json_incref(op->result), ret_result, err);
    if (r == 0 && ret_fd)
        *ret_fd = take_fd(&op->result_fd);
    return r;
}

int viv_op_wait(viv_op *op, int64_t timeout_ms, viv_rec **ret_result, viv_error *err)
{
    uint64_t deadline = VIVI_NEVER;
    int r = 0;

    if (timeout_ms >= 0)
        deadline = vivi_mono_us() + (uint64_t)timeout_ms * 1000;
    if (op->phase != VIVI_PH_DONE)
        r = vivi_pump(op->v, op, deadline, err);
    if (op->v)
        vivi_rearm(op->v);
    if (r < 0) {
        vivi_error_vm(err, op->name);
        return r;
    }
    return outcome(op, ret_result, NULL, err);
}

int vivi_op_deliver(viv_op *op_consume, viv_op **ret_op, viv_rec **ret_result, int *ret_fd,
                    viv_error *err)
{
    viv_op *op = op_consume;
    viv *v = op->v;
    int r;

    if (ret_op) {
        *ret_op = op;
        return 0;
    }
    r = op->phase == VIVI_PH_DONE ? 0 : vivi_pump(v, op, VIVI_NEVER, err);
    if (r < 0)
        vivi_error_vm(err, op->name);
    else
        r = outcome(op, ret_result, ret_fd, err);
    viv_op_free(op);
    vivi_rearm(v);
    return r;
}
