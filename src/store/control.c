/* Control protocol: see control.h. */
#include "store/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

#define HEAD_FDS 6 /* where a frame's head has the number of its descriptors */

int vivi_control_encode(struct vivi_buf *out, uint8_t protocol, enum vivi_control_op op,
                        const json_t *body)
{
    cleanup_free char *text = json_dumps(body, JSON_COMPACT);

    if (!text)
        return -VIV_E_NO_MEMORY;
    return vivi_frame_encode(out, protocol, (uint8_t)op, text, strlen(text));
}

int vivi_control_encode_fds(struct vivi_buf *out, uint8_t protocol, enum vivi_control_op op,
                            const json_t *body, size_t n_fds)
{
    size_t begin = out->len;
    int r = n_fds <= VIVI_MAX_FDS ? vivi_control_encode(out, protocol, op, body) : -VIV_E_PROTOCOL;

    if (r == 0)
        out->data[begin + HEAD_FDS] = (char)n_fds;
    return r;
}

int vivi_control_parse(const struct vivi_frame *f, json_t **ret, viv_error *err)
{
    cleanup_json json_t *j = NULL;
    json_error_t je;

    j = json_loadb(f->payload ? f->payload : "", f->len, JSON_REJECT_DUPLICATES, &je);
    if (!j && vivi_json_lacked_memory(&je))
        return vivi_fail_oom(err);
    if (!j)
        return vivi_fail(err, VIV_E_PROTOCOL, "a control message is no JSON: %s", je.text);
    if (!json_is_object(j))
        return vivi_fail(err, VIV_E_PROTOCOL, "a control message is not a JSON object");
    *ret = take_ptr(j);
    return 0;
}

int vivi_control_agree(unsigned mine, unsigned theirs, const char *who, unsigned *ret,
                       viv_error *err)
{
    unsigned apart = mine > theirs ? mine - theirs : theirs - mine;

    if (theirs == 0 || apart > 1)
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "this viv speaks control protocol %u, %s speaks %u", mine, who, theirs);
    *ret = mine < theirs ? mine : theirs;
    return 0;
}

int vivi_code_parse(const char *name)
{
    for (int code = VIV_E_INTERNAL; code <= VIV_E_VMM; code++)
        if (name && strcmp(viv_code_name(code), name) == 0)
            return code;
    return VIV_E_INTERNAL;
}

/* Numbers of errno are small on every system. */
static int errno_parse(const char *name)
{
    for (int e = 1; name && e < 256; e++)
        if (strcmp(vivi_errno_name(e), name) == 0)
            return e;
    return 0;
}

json_t *vivi_error_to_json(const viv_error *e)
{
    json_t *j = json_object();

    if (j && json_object_set_new(j, "code", json_string(viv_code_name(e->code))) == 0 &&
        json_object_set_new(j, "errno",
                            e->sys_errno ? vivi_json_str(vivi_errno_name(e->sys_errno))
                                         : json_null()) == 0 &&
        json_object_set_new(j, "vm", vivi_json_str_or_null(e->vm)) == 0 &&
        json_object_set_new(j, "field", vivi_json_str_or_null(e->field)) == 0 &&
        json_object_set_new(j, "message", vivi_json_str(e->message)) == 0 &&
        json_object_set_new(j, "hint", vivi_json_str_or_null(e->hint)) == 0 &&
        json_object_set_new(j, "retry", json_boolean(e->flags & VIV_ERR_RETRY)) == 0)
        return j;
    json_decref(j);
    return NULL;
}

/* Copies what fits, cut at a character. */
static void copy(char *to, size_t cap, const json_t *j)
{
    const char *s = json_string_value(j);
    size_t len = s ? strlen(s) : 0;

    if (len >= cap) {
        len = cap - 1;
        while (len > 0 && ((unsigned char)s[len] & 0xC0) == 0x80)
            len--;
    }
    if (len > 0)
        memcpy(to, s, len);
    to[len] = '\0';
}

void vivi_error_from_json(const json_t *j, viv_error *ret)
{
    vivi_error_clear(ret);
    ret->code = vivi_code_parse(json_string_value(json_object_get(j, "code")));
    ret->sys_errno = errno_parse(json_string_value(json_object_get(j, "errno")));
    copy(ret->vm, sizeof(ret->vm), json_object_get(j, "vm"));
    copy(ret->field, sizeof(ret->field), json_object_get(j, "field"));
    copy(ret->message, sizeof(ret->message), json_object_get(j, "message"));
    copy(ret->hint, sizeof(ret->hint), json_object_get(j, "hint"));
    if (json_is_true(json_object_get(j, "retry")))
        ret->flags |= VIV_ERR_RETRY;
    if (!ret->message[0])
        (void)snprintf(ret->message, sizeof(ret->message), "no reason was given");
}
