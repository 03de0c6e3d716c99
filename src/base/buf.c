#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void vivi_buf_init(struct vivi_buf *b, size_t max_bytes)
{
    *b = (struct vivi_buf)VIVI_BUF(max_bytes);
}

void vivi_buf_done(struct vivi_buf *b)
{
    free(b->data);
    *b = (struct vivi_buf)VIVI_BUF(b->max_bytes);
}

static int mark_failed(struct vivi_buf *b, int code)
{
    b->failed = true;
    b->failure = code;
    return -code;
}

int vivi_buf_reserve(struct vivi_buf *b, size_t n)
{
    size_t cap;
    char *data;

    if (b->failed)
        return -b->failure;
    if (n > b->max_bytes || b->len > b->max_bytes - n)
        return mark_failed(b, VIV_E_PROTOCOL);
    if (b->data != NULL && b->len + n < b->cap)
        return 0;

    cap = b->cap < 64 ? 64 : b->cap;
    while (cap <= b->len + n)
        cap = cap > SIZE_MAX / 2 ? b->len + n + 1 : cap * 2;
    if (cap > b->max_bytes + 1 && b->max_bytes < SIZE_MAX)
        cap = b->max_bytes + 1; /* still more than len + n, by the test above */
    data = realloc(b->data, cap);
    if (data == NULL)
        return mark_failed(b, VIV_E_NO_MEMORY);
    b->data = data;
    b->cap = cap;
    b->data[b->len] = '\0';
    return 0;
}

int vivi_buf_add(struct vivi_buf *b, const void *data, size_t len)
{
    int r = vivi_buf_reserve(b, len);

    if (r < 0)
        return r;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int vivi_buf_str(struct vivi_buf *b, const char *s)
{
    return vivi_buf_add(b, s, strlen(s));
}

int vivi_buf_vprintf(struct vivi_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n, r;

    if (b->failed)
        return -b->failure;
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return mark_failed(b, errno == ENOMEM ? VIV_E_NO_MEMORY : VIV_E_PROTOCOL);
    r = vivi_buf_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    n = vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    if (n < 0) {
        b->data[b->len] = '\0';
        return mark_failed(b, VIV_E_NO_MEMORY);
    }
    b->len += (size_t)n;
    return 0;
}

int vivi_buf_printf(struct vivi_buf *b, const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = vivi_buf_vprintf(b, fmt, ap);
    va_end(ap);
    return r;
}

/* Length of the well-formed UTF-8 character at s (1-4), or 0: overlong, surrogate, cut or stray. */
static size_t utf8_len(const unsigned char *s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n;
    uint32_t c;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    c = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3Fu);
    }
    return c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? 0 : n;
}

static int add_json_char(struct vivi_buf *b, const unsigned char *s, size_t n)
{
    if (n == 0)
        return vivi_buf_str(b, "\\ufffd"); /* a name from a guest or a disk may be any bytes */
    switch (s[0]) {
    case '"': return vivi_buf_str(b, "\\\"");
    case '\\': return vivi_buf_str(b, "\\\\");
    case '\n': return vivi_buf_str(b, "\\n");
    case '\r': return vivi_buf_str(b, "\\r");
    case '\t': return vivi_buf_str(b, "\\t");
    default:
        if (s[0] < 0x20 || s[0] == 0x7F)
            return vivi_buf_printf(b, "\\u%04x", s[0]);
        return vivi_buf_add(b, s, n);
    }
}

int vivi_buf_json_str(struct vivi_buf *b, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t before = b->len, n;
    int r = vivi_buf_str(b, "\"");

    while (r == 0 && *p != '\0') {
        n = utf8_len(p);
        r = add_json_char(b, p, n);
        p += n == 0 ? 1 : n;
    }
    if (r == 0)
        r = vivi_buf_str(b, "\"");
    if (r < 0 && b->len > before) {
        b->len = before;
        b->data[before] = '\0';
    }
    return r;
}

void vivi_buf_consume(struct vivi_buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

void vivi_buf_reset(struct vivi_buf *b)
{
    b->len = 0;
    b->failed = false;
    b->failure = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

int vivi_buf_check(const struct vivi_buf *b, viv_error *err)
{
    if (!b->failed)
        return 0;
    if (b->failure == VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    return vivi_fail(err, b->failure, "larger than %zu bytes", b->max_bytes);
}

char *vivi_buf_take(struct vivi_buf *b)
{
    char *r = NULL;

    if (vivi_buf_reserve(b, 0) == 0)
        r = take_ptr(b->data);
    vivi_buf_done(b);
    return r;
}
