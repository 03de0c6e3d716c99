/*
 * Slots that are one step on the control socket: those of changes, which their own files carry out,
 * and single calls.
 *
 * A raw call is a QMP command. It shares our connection, since QEMU listens to one at a time; a
 * command that takes long holds up QEMU's main loop whatever connection it comes by.
 */
#include <string.h>

#include "driver/qemu/hot.h"

#define RAW_MS          10000
#define COMMAND_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
#define COMMAND_MAX     64

int qemu_device_add(void *m, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    return qemu_hot_add(qemu_hot_of(m), d, op, err);
}

int qemu_device_remove(void *m, enum vivi_device_kind kind, const char *id, uint64_t op,
                       viv_error *err)
{
    return qemu_hot_remove(qemu_hot_of(m), kind, id, op, err);
}

int qemu_resize(void *m, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    return qemu_hot_resize(qemu_hot_of(m), what, op, err);
}

int qemu_counters(void *m, uint64_t op, viv_error *err)
{
    return qemu_hot_counters(qemu_hot_of(m), op, err);
}

/* ---- raw ---- */

int qemu_raw(void *m, const struct vivi_raw *call, uint64_t op, viv_error *err)
{
    size_t n = strspn(call->endpoint, COMMAND_LETTERS);

    if (n == 0 || n > COMMAND_MAX || call->endpoint[n])
        return vivi_fail(err, VIV_E_INVALID, "qemu: \"%.64s\" is no QMP command", call->endpoint);
    if (call->body && !json_is_object(call->body))
        return vivi_fail(err, VIV_E_INVALID, "qemu: %s: its arguments are an object",
                         call->endpoint);
    return qemu_hot_send(qemu_hot_of(m), call->endpoint, json_deep_copy(call->body), H_RAW, op,
                         err);
}

int64_t qemu_raw_ms(const char *endpoint)
{
    (void)endpoint;
    return RAW_MS;
}

void qemu_raw_drop(void *m, uint64_t op)
{
    struct qmp *q = qemu_hot_of(m)->qmp;

    if (q && op == 0)
        vivi_lines_look(&q->lines);
    for (size_t i = 0; q && i < QMP_MAX_CALLS; i++)
        if (q->calls[i].id != 0 && q->calls[i].tag == H_RAW && op != 0 && q->calls[i].op == op)
            q->calls[i].tag = H_CLEAN; /* its answer is nobody's */
}

static void raw_reply(struct qemu_hot *h, uint64_t op, const json_t *value, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    cleanup_free char *text = NULL;
    json_t *answer = NULL;

    if (err) {
        why = *err;
        if (strstr(why.message, "has not been found"))
            why.code = VIV_E_UNSUPPORTED;
    } else {
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        answer = text ? json_pack("{s:n, s:s}", "status", "body", text) : NULL;
        if (!answer)
            (void)vivi_fail_oom(&why);
    }
    qemu_hot_tell(h, op, why.code ? &why : NULL, answer);
    json_decref(answer);
}

/* ---- nmi, coredump ---- */

int qemu_nmi(void *m, uint64_t op, viv_error *err)
{
    return qemu_hot_send(qemu_hot_of(m), "inject-nmi", NULL, H_NMI, op, err);
}

/* In the background: QEMU goes on answering, and an event tells the end. */
int qemu_coredump(void *m, const char *path, uint64_t op, viv_error *err)
{
    struct qemu_hot *h = qemu_hot_of(m);
    json_t *args = json_pack("{s:b, s:o?, s:b, s:s}", "paging", 0, "protocol",
                             json_sprintf("file:%s", path), "detach", 1, "format", "elf");
    int r;

    if (h->dump_op) {
        json_decref(args);
        return vivi_fail(err, VIV_E_BUSY, "qemu: a core is being written");
    }
    if (!args)
        return vivi_fail_oom(err);
    r = qemu_hot_send(h, "dump-guest-memory", args, H_COREDUMP, op, err);
    if (r == 0)
        h->dump_op = op;
    return r;
}

static void dump_over(struct qemu_hot *h, const viv_error *err)
{
    uint64_t op = h->dump_op;

    h->dump_op = 0;
    qemu_hot_tell(h, op, err, NULL);
}

void qemu_calls_event(struct qemu_hot *h, const struct qmp_message *msg)
{
    const char *status =
        json_string_value(json_object_get(json_object_get(msg->body, "result"), "status"));
    const char *why = json_string_value(json_object_get(msg->body, "error"));
    viv_error err = VIV_ERROR_INIT;

    if (strcmp(msg->event, "DUMP_COMPLETED") != 0)
        return;
    if (!status || strcmp(status, "completed") != 0)
        (void)vivi_fail(&err, VIV_E_VMM, "qemu: dump-guest-memory: %.300s", why ? why : "failed");
    dump_over(h, err.code ? &err : NULL);
}

void qemu_calls_end(struct qemu_hot *h, const viv_error *err)
{
    if (h->dump_op)
        dump_over(h, err);
}

void qemu_calls_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                      const viv_error *err)
{
    if (tag == H_RAW)
        raw_reply(h, op, value, err);
    else if (tag == H_NMI)
        qemu_hot_tell(h, op, err, NULL);
    else if (err && h->dump_op == op)
        dump_over(h, err);
}
