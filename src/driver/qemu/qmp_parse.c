/* One line of QMP to one message. Pure, fuzzed. */
#include <stdio.h>
#include <string.h>

#include "driver/qemu/qmp.h"

void qmp_message_done(struct qmp_message *m)
{
    json_decref(m->body);
    m->body = NULL;
}

static int read_id(const json_t *doc, uint64_t *ret, viv_error *err)
{
    const json_t *id = json_object_get(doc, "id");

    if (!id)
        return 0;
    if (!json_is_integer(id) || json_integer_value(id) <= 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: an id that is none of ours");
    *ret = (uint64_t)json_integer_value(id);
    return 0;
}

static int read_error(const json_t *error, struct qmp_message *m, viv_error *err)
{
    const char *desc = json_string_value(json_object_get(error, "desc"));

    if (!desc)
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: an error without words");
    (void)snprintf(m->desc, sizeof(m->desc), "%s", desc);
    m->kind = QMP_ERROR;
    return 0;
}

static int read_event(const json_t *doc, const json_t *event, struct qmp_message *m, viv_error *err)
{
    const char *name = json_string_value(event);
    json_t *data = json_object_get(doc, "data");

    if (!name || strlen(name) >= sizeof(m->event))
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: an event without a sensible name");
    if (data && !json_is_object(data))
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: event %s: its data is no object", name);
    (void)snprintf(m->event, sizeof(m->event), "%s", name);
    m->kind = QMP_EVENT;
    m->body = json_incref(data);
    return 0;
}

static int read_message(json_t *doc, struct qmp_message *m, viv_error *err)
{
    json_t *value = json_object_get(doc, "return");
    const json_t *error = json_object_get(doc, "error"), *event = json_object_get(doc, "event");
    const json_t *greeting = json_object_get(doc, "QMP");
    int kinds = (value != NULL) + (error != NULL) + (event != NULL) + (greeting != NULL);
    int r;

    if (kinds != 1)
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: a message of no known kind");
    if (greeting) {
        m->kind = QMP_GREETING;
        return 0;
    }
    if (event)
        return read_event(doc, event, m, err);
    r = read_id(doc, &m->id, err);
    if (r < 0)
        return r;
    if (error)
        return read_error(error, m, err);
    m->kind = QMP_RETURN;
    m->body = json_incref(value);
    return 0;
}

int qmp_parse(const char *line, size_t len, struct qmp_message *ret, viv_error *err)
{
    struct qmp_message m = {.id = 0};
    json_error_t why;
    json_t *doc = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    int r;

    if (!doc)
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: not JSON: %.120s", why.text);
    r = json_is_object(doc) ? read_message(doc, &m, err)
                            : vivi_fail(err, VIV_E_PROTOCOL, "qemu: a message that is no object");
    json_decref(doc);
    if (r == 0)
        *ret = m;
    return r;
}
