/* The fields of requests, results and events of base/agent_wire.h. */
#include "base/agent_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool vivi_aw_fields_ok(const char *payload, size_t len)
{
    if (len == 0)
        return true;
    if (payload[0] == '\0' || payload[len - 1] != '\0')
        return false;
    for (size_t i = 1; i < len; i++)
        if (payload[i] == '\0' && payload[i - 1] == '\0')
            return false;
    return true;
}

const char *vivi_aw_kind(const char *payload, size_t len)
{
    return len == 0 ? "" : payload;
}

const char *vivi_aw_field_next(const char *payload, size_t len, const char *key, size_t *at)
{
    size_t key_len = strlen(key);

    while (*at < len) {
        const char *field = payload + *at;

        *at += strlen(field) + 1;
        if (strncmp(field, key, key_len) == 0 && field[key_len] == '=')
            return field + key_len + 1;
    }
    return NULL;
}

const char *vivi_aw_field(const char *payload, size_t len, const char *key)
{
    size_t at = 0;

    return vivi_aw_field_next(payload, len, key, &at);
}

int vivi_aw_field_u64(const struct vivi_aw_frame *f, const char *key, uint64_t max, uint64_t *ret,
                      viv_error *err)
{
    const char *text = vivi_aw_field(f->payload, f->len, key);
    uint64_t v = 0;

    if (text == NULL)
        return 0;
    for (const char *p = text; *p != '\0' || p == text; p++) {
        unsigned digit = (unsigned)(*p - '0');

        if (digit > 9)
            return vivi_fail(err, VIV_E_INVALID, "%s: not a number", key);
        if (v > (max - digit) / 10 || digit > max)
            return vivi_fail(err, VIV_E_INVALID, "%s: more than %" PRIu64, key, max);
        v = v * 10 + digit;
    }
    *ret = v;
    return 0;
}

void vivi_aw_put(struct vivi_aw_writer *w, const char *key_or_null, const char *value)
{
    size_t key_len = key_or_null == NULL ? 0 : strlen(key_or_null) + 1;
    size_t value_len = strlen(value);

    if (key_len + value_len + 1 > w->size - w->len) {
        w->full = true;
        return;
    }
    if (key_or_null != NULL) {
        memcpy(w->data + w->len, key_or_null, key_len - 1);
        w->data[w->len + key_len - 1] = '=';
    }
    memcpy(w->data + w->len + key_len, value, value_len + 1);
    w->len += key_len + value_len + 1;
}

void vivi_aw_put_u64(struct vivi_aw_writer *w, const char *key, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    vivi_aw_put(w, key, text);
}

void vivi_aw_put_error(struct vivi_aw_writer *w, const viv_error *err)
{
    vivi_aw_put(w, "error", viv_code_name(err->code));
    if (err->sys_errno != 0)
        vivi_aw_put(w, "errno", vivi_errno_name(err->sys_errno));
    vivi_aw_put(w, "text", err->message);
}

/* The code that a word names; a word of a later version is INTERNAL. */
static int code_named(const char *word)
{
    for (int code = VIV_E_INTERNAL; code <= VIV_E_VMM; code++)
        if (strcmp(viv_code_name(code), word) == 0)
            return code;
    return VIV_E_INTERNAL;
}

int vivi_aw_get_error(const char *payload, size_t len, viv_error *err)
{
    const char *word = vivi_aw_field(payload, len, "error");
    const char *text = vivi_aw_field(payload, len, "text");

    if (word == NULL)
        return 0;
    return vivi_fail(err, code_named(word), "%s", text == NULL ? "the guest gave no reason" : text);
}
