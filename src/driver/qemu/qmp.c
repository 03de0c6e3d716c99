/*
 * A QMP connection.
 *
 * Theory of operation: greeting → qmp_capabilities → ready. Each command has an id of its own, and
 * its answer is handed to the owner with the tag and operation it was sent for, exactly once: when
 * the connection ends, whatever waits is answered by that failure first. A message that breaks the
 * protocol ends the connection: nothing after it could be trusted. But what QEMU had left to say to
 * the connection before this one comes first here, even the end of a cut line; it is skipped until
 * the greeting. An answer to the one before may also come later: ids begin at the time of opening,
 * so it is never taken for one of ours.
 */
#include "driver/qemu/qmp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define TAG_CAPABILITIES (-1)
#define STALE_MAX        256 /* lines for the connection before this one */

static void fail_calls(struct qmp *q, const viv_error *why)
{
    for (size_t i = 0; i < QMP_MAX_CALLS; i++) {
        struct qmp_call c = q->calls[i];

        q->calls[i].id = 0;
        if (c.id != 0 && c.tag != TAG_CAPABILITIES)
            q->on.reply(q->on.arg, c.tag, c.op, NULL, why);
    }
}

static void on_end(void *arg, const viv_error *err)
{
    struct qmp *q = arg;

    fail_calls(q, err);
    q->on.end(q->on.arg, err);
}

static void give_up(struct qmp *q, const viv_error *why)
{
    vivi_lines_close(&q->lines);
    on_end(q, why);
}

static int send_call(struct qmp *q, const char *command, json_t *args, struct qmp_call *c,
                     viv_error *err)
{
    json_t *doc = json_pack("{s:s, s:O*, s:I}", "execute", command, "arguments", args, "id",
                            (json_int_t)q->next_id + 1);
    cleanup_free char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    size_t len;
    int r;

    json_decref(doc);
    if (!text)
        return vivi_fail_oom(err);
    len = strlen(text);
    text[len] = '\n'; /* in the place of the NUL: the length is given */
    r = vivi_lines_send(&q->lines, text, len + 1, err);
    if (r < 0)
        return vivi_wrap(err, r, "qemu: %s", command);
    c->id = ++q->next_id;
    (void)snprintf(c->name, sizeof(c->name), "%s", command);
    return 0;
}

static int send_command(struct qmp *q, const char *command, json_t *args_consume, int tag,
                        uint64_t op, viv_error *err)
{
    int r = vivi_fail(err, VIV_E_BUSY, "qemu: %s: too many commands wait for an answer", command);

    for (size_t i = 0; i < QMP_MAX_CALLS; i++) {
        if (q->calls[i].id != 0)
            continue;
        q->calls[i].tag = tag;
        q->calls[i].op = op;
        if (err)
            vivi_error_clear(err);
        r = send_call(q, command, args_consume, &q->calls[i], err);
        break;
    }
    json_decref(args_consume);
    return r;
}

int qmp_send(struct qmp *q, const char *command, json_t *args_consume, int tag, uint64_t op,
             viv_error *err)
{
    if (q->phase != QMP_READY || !q->lines.open) {
        json_decref(args_consume);
        return vivi_fail(err, VIV_E_IO, "qemu: %s: its control socket is closed", command);
    }
    return send_command(q, command, args_consume, tag, op, err);
}

/* ---- what comes in ---- */

static void on_answer(struct qmp *q, const struct qmp_message *m)
{
    viv_error why = VIV_ERROR_INIT;

    for (size_t i = 0; i < QMP_MAX_CALLS; i++) {
        struct qmp_call c = q->calls[i];

        if (c.id == 0 || c.id != m->id)
            continue;
        q->calls[i].id = 0;
        if (m->kind == QMP_ERROR)
            (void)vivi_fail(&why, VIV_E_VMM, "qemu: %s: %s", c.name, m->desc);
        if (c.tag != TAG_CAPABILITIES) {
            q->on.reply(q->on.arg, c.tag, c.op, m->body, m->kind == QMP_ERROR ? &why : NULL);
        } else if (m->kind == QMP_ERROR) {
            give_up(q, &why);
        } else {
            q->phase = QMP_READY;
            q->on.ready(q->on.arg);
        }
        return;
    }
    /* An answer to nobody: an error without id is QEMU's view of a line that it could not read. */
}

static void on_greeting(struct qmp *q)
{
    viv_error why = VIV_ERROR_INIT;

    q->phase = QMP_NEGOTIATES;
    q->on.greeted(q->on.arg);
    if (q->lines.open && send_command(q, "qmp_capabilities", NULL, TAG_CAPABILITIES, 0, &why) < 0)
        give_up(q, &why);
}

static void on_message(struct qmp *q, const struct qmp_message *m)
{
    switch (m->kind) {
    case QMP_GREETING:
        if (q->phase == QMP_WAITS_GREETING)
            on_greeting(q);
        return;
    case QMP_EVENT: q->on.event(q->on.arg, m); return;
    case QMP_RETURN:
    case QMP_ERROR: on_answer(q, m); return;
    }
}

static void on_line(void *arg, char *line, size_t len)
{
    struct qmp *q = arg;
    struct qmp_message m;
    viv_error why = VIV_ERROR_INIT;

    if (len == 0)
        return;
    if (qmp_parse(line, len, &m, &why) < 0) {
        if (q->phase != QMP_WAITS_GREETING || ++q->n_stale > STALE_MAX)
            give_up(q, &why);
        return;
    }
    if (q->phase == QMP_WAITS_GREETING && m.kind != QMP_GREETING) {
        if (++q->n_stale > STALE_MAX) {
            (void)vivi_fail(&why, VIV_E_PROTOCOL, "qemu does not greet as QMP does");
            give_up(q, &why);
        }
    } else {
        on_message(q, &m);
    }
    qmp_message_done(&m);
}

int qmp_open(struct qmp *q, const struct vivi_loop *loop, const char *path,
             const struct qmp_handler *on, viv_error *err)
{
    const struct vivi_lines_handler lines_on = {.arg = q, .line = on_line, .end = on_end};

    memset(q, 0, sizeof(*q));
    q->on = *on;
    q->next_id = vivi_mono_us();
    return vivi_lines_open(&q->lines, loop, path, &lines_on, err);
}

void qmp_close(struct qmp *q)
{
    vivi_lines_close(&q->lines);
    memset(q->calls, 0, sizeof(q->calls));
}
