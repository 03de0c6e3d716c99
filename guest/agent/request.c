/* request.c: the parser of requests to run something. */
#include "agent.h"

#include <string.h>

#define TIMEOUT_MAX_MS ((uint64_t)1 << 40)

int request_parse(const struct vivi_aw_frame *f, struct child_request *ret, viv_error *err)
{
    const char *kind = vivi_aw_kind(f->payload, f->len);
    const char *p = f->payload;
    uint64_t rows = 0, cols = 0, timeout_ms = 0;
    int r = vivi_aw_field_u64(f, "rows", UINT16_MAX, &rows, err);

    if (r == 0)
        r = vivi_aw_field_u64(f, "cols", UINT16_MAX, &cols, err);
    if (r == 0)
        r = vivi_aw_field_u64(f, "timeout_ms", TIMEOUT_MAX_MS, &timeout_ms, err);
    if (r < 0)
        return r;
    *ret = (struct child_request){.fields = p,
                                  .len = f->len,
                                  .shell = strcmp(kind, "shell") == 0,
                                  .tty = vivi_aw_field(p, f->len, "tty") != NULL,
                                  .input = vivi_aw_field(p, f->len, "stdin") != NULL,
                                  .rows = (uint16_t)rows,
                                  .cols = (uint16_t)cols,
                                  .timeout_ms = timeout_ms,
                                  .cwd = vivi_aw_field(p, f->len, "cwd"),
                                  .user = vivi_aw_field(p, f->len, "user")};
    if (!ret->shell && strcmp(kind, "exec") != 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "this agent knows no request '%.32s'", kind);
    if (!ret->shell && vivi_aw_field(p, f->len, "arg") == NULL)
        return vivi_fail(err, VIV_E_INVALID, "no command is given");
    return 0;
}

/* Digits up to `end`: how many characters, 0 = no number. */
static size_t number(const char *text, char end, uint32_t *ret)
{
    uint64_t v = 0;
    size_t n = 0;

    for (; text[n] >= '0' && text[n] <= '9'; n++) {
        v = v * 10 + (uint64_t)(text[n] - '0');
        if (v >= UINT32_MAX) /* (uid_t)-1 means "no change" to the kernel */
            return 0;
    }
    if (n == 0 || text[n] != end)
        return 0;
    *ret = (uint32_t)v;
    return n;
}

bool request_ids(const char *user, uint32_t *ret_uid, uint32_t *ret_gid)
{
    uint32_t uid, gid;
    size_t n = number(user, '\0', &uid);

    if (n > 0) {
        *ret_uid = uid;
        return true;
    }
    n = number(user, ':', &uid);
    if (n == 0 || number(user + n + 1, '\0', &gid) == 0)
        return false;
    *ret_uid = uid;
    *ret_gid = gid;
    return true;
}
