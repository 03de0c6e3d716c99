/*
 * Theory of operation: viv_error is a value of fixed size, so making one works when memory is gone.
 * Every function formats into a scratch text first; only then is the value touched, so an argument
 * may point into the very error that is being replaced or wrapped.
 */
#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/errno_text.h"

/* Copies text into a field of cap bytes; what does not fit is cut at a character, never inside. */
static void copy_text(viv_error *err, char *to, size_t cap, const char *text)
{
    size_t len = strlen(text);

    if (len >= cap) {
        len = cap - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
            len--;
        err->flags |= VIV_ERR_TRUNCATED;
    }
    memmove(to, text, len);
    to[len] = '\0';
}

/* One byte more than a message holds, so that copy_text sees that something is missing. */
struct scratch {
    char text[sizeof(((viv_error *)NULL)->message) + 1];
};

static void VIVI_PRINTF(2, 0) format(struct scratch *s, const char *fmt, va_list ap)
{
    if (vsnprintf(s->text, sizeof(s->text), fmt, ap) < 0)
        s->text[0] = '\0';
}

void vivi_error_clear(viv_error *err)
{
    uint32_t size;

    if (err == NULL)
        return;
    size = err->size;
    memset(err, 0, sizeof(*err));
    err->size = size;
}

static int set(viv_error *err, int code, int sys_errno, const char *text)
{
    if (code <= VIV_OK)
        code = VIV_E_INTERNAL;
    if (err != NULL) {
        vivi_error_clear(err);
        err->code = code;
        err->sys_errno = sys_errno;
        copy_text(err, err->message, sizeof(err->message), text);
    }
    return -code;
}

int vivi_fail(viv_error *err, int code, const char *fmt, ...)
{
    struct scratch s;
    va_list ap;

    va_start(ap, fmt);
    format(&s, fmt, ap);
    va_end(ap);
    return set(err, code, 0, s.text);
}

int vivi_fail_field(viv_error *err, int code, const char *field, const char *fmt, ...)
{
    struct scratch text, whole;
    va_list ap;
    char kept[sizeof(err->field) + 1];
    int r;

    va_start(ap, fmt);
    format(&text, fmt, ap);
    va_end(ap);
    (void)snprintf(kept, sizeof(kept), "%s", field);
    if (snprintf(whole.text, sizeof(whole.text), "%s: %s", field, text.text) < 0)
        whole.text[0] = '\0';
    r = set(err, code, 0, whole.text);
    if (err != NULL)
        copy_text(err, err->field, sizeof(err->field), kept);
    return r;
}

int vivi_fail_errno(viv_error *err, int sys_errno, const char *fmt, ...)
{
    struct scratch text, whole;
    int code = vivi_code_of_errno(sys_errno), r;
    va_list ap;

    va_start(ap, fmt);
    format(&text, fmt, ap);
    va_end(ap);
    if (snprintf(whole.text, sizeof(whole.text), "%s: %s", text.text, vivi_errno_text(sys_errno)) <
        0)
        whole.text[0] = '\0';
    r = set(err, code, sys_errno, whole.text);
    if (err != NULL && code == VIV_E_BUSY)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

int vivi_fail_oom(viv_error *err)
{
    return set(err, VIV_E_NO_MEMORY, ENOMEM, "out of memory");
}

int vivi_wrap(viv_error *err, int r, const char *fmt, ...)
{
    struct scratch text, whole;
    va_list ap;
    int n;

    if (err == NULL)
        return r;
    va_start(ap, fmt);
    format(&text, fmt, ap);
    va_end(ap);
    n = snprintf(whole.text, sizeof(whole.text), "%s: %s", text.text, err->message);
    if (n < 0 || (size_t)n >= sizeof(err->message))
        err->flags |= VIV_ERR_TRUNCATED; /* the cause is worth more than where it happened */
    else
        copy_text(err, err->message, sizeof(err->message), whole.text);
    return r;
}

void vivi_hint(viv_error *err, const char *fmt, ...)
{
    struct scratch s;
    va_list ap;

    if (err == NULL)
        return;
    va_start(ap, fmt);
    format(&s, fmt, ap);
    va_end(ap);
    copy_text(err, err->hint, sizeof(err->hint), s.text);
}

void vivi_error_vm(viv_error *err, const char *vm)
{
    if (err != NULL && err->vm[0] == '\0')
        copy_text(err, err->vm, sizeof(err->vm), vm);
}

int vivi_code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT: return VIV_E_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS: return VIV_E_DENIED;
    case EEXIST: return VIV_E_EXISTS;
    case EBUSY:
    case EAGAIN: return VIV_E_BUSY;
    case ENOMEM: return VIV_E_NO_MEMORY;
    case ETIMEDOUT: return VIV_E_TIMEOUT;
    case EINVAL: return VIV_E_INVALID;
    case ENOSYS:
    case EOPNOTSUPP: return VIV_E_UNSUPPORTED;
    case ECANCELED: return VIV_E_CANCELLED;
    default: return VIV_E_IO;
    }
}
