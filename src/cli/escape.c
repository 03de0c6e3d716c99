#include "cli/escape.h"

#include <string.h>

/* Length of the UTF-8 sequence that begins with c; 0 = c cannot begin one. */
static size_t sequence_length(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef)
        return 3;
    if (c >= 0xf0 && c <= 0xf4)
        return 4;
    return 0;
}

/* Is c a legal byte number at (≥ 1) of the sequence that s begins? */
static bool continues(const unsigned char *s, size_t at, unsigned char c)
{
    if (at == 1) {
        if (s[0] == 0xe0)
            return c >= 0xa0 && c <= 0xbf; /* no overlong forms */
        if (s[0] == 0xed)
            return c >= 0x80 && c <= 0x9f; /* no surrogates */
        if (s[0] == 0xf0)
            return c >= 0x90 && c <= 0xbf;
        if (s[0] == 0xf4)
            return c >= 0x80 && c <= 0x8f;
    }
    return c >= 0x80 && c <= 0xbf;
}

static void put_hex(unsigned char c, struct vivi_buf *out)
{
    (void)vivi_buf_printf(out, "\\x%02x", c);
}

static void put_control(const struct vivi_escape *e, unsigned char c, struct vivi_buf *out)
{
    char shown[2] = {'^', c == 0x7f ? '?' : (char)(c + '@')};

    if (c == '\n' || c == '\t' || (e->console && (c == '\b' || c == '\a' || c == '\r')))
        (void)vivi_buf_add(out, &c, 1);
    else
        (void)vivi_buf_add(out, shown, 2);
}

/* A complete sequence of two bytes or more: C1 controls and the characters that turn the reading
 * direction around are dangerous, all others pass. */
static void put_sequence(const unsigned char *s, size_t n, struct vivi_buf *out)
{
    bool c1 = n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
    bool bidi = n == 3 && s[0] == 0xe2 &&
                ((s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) ||
                 (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));

    if (!c1 && !bidi) {
        (void)vivi_buf_add(out, s, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        put_hex(s[i], out);
}

static void flush_held(struct vivi_escape *e, struct vivi_buf *out)
{
    for (size_t i = 0; i < e->n_held; i++) {
        if (e->held[i] < 0x80)
            put_control(e, e->held[i], out);
        else
            put_hex(e->held[i], out);
    }
    e->n_held = 0;
}

static void put_byte(struct vivi_escape *e, unsigned char c, struct vivi_buf *out)
{
    size_t n;

    if (e->n_held && e->held[0] == '\r') {
        if (c == '\n') {
            e->n_held = 0;
            (void)vivi_buf_str(out, "\r\n");
            return;
        }
        if (c == '\r')
            return; /* "\r\r\n" is what a terminal line discipline in the guest makes of CR LF */
        flush_held(e, out);
    } else if (e->n_held) {
        if (continues(e->held, e->n_held, c)) {
            e->held[e->n_held++] = c;
            if (e->n_held == sequence_length(e->held[0])) {
                put_sequence(e->held, e->n_held, out);
                e->n_held = 0;
            }
            return;
        }
        flush_held(e, out);
    }
    n = sequence_length(c);
    if (n == 0)
        put_hex(c, out);
    else if (n > 1 || (c == '\r' && !e->console))
        e->held[e->n_held++] = c;
    else if (c < 0x20 || c == 0x7f)
        put_control(e, c, out);
    else
        (void)vivi_buf_add(out, &c, 1);
}

void vivi_escape_feed(struct vivi_escape *e, const void *data, size_t len, struct vivi_buf *out)
{
    const unsigned char *p = data;
    size_t plain = 0;

    for (size_t i = 0; i < len; i++) {
        /* Runs of printable ASCII go in one piece: that is nearly everything. */
        if (!e->n_held && ((p[i] >= 0x20 && p[i] < 0x7f) || p[i] == '\n')) {
            plain++;
            continue;
        }
        (void)vivi_buf_add(out, p + i - plain, plain);
        plain = 0;
        put_byte(e, p[i], out);
    }
    (void)vivi_buf_add(out, p + len - plain, plain);
}

void vivi_escape_end(struct vivi_escape *e, struct vivi_buf *out)
{
    flush_held(e, out);
}

void vivi_escape_line(const char *text, char *ret, size_t size)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(size * VIVI_ESCAPE_GROWTH + 16);
    struct vivi_escape e = {0};
    size_t n;

    for (const char *p = text; *p && out.len < size; p++) {
        if (*p == '\n' || *p == '\t')
            (void)vivi_buf_str(&out, *p == '\n' ? "^J" : "^I");
        else
            put_byte(&e, (unsigned char)*p, &out);
    }
    vivi_escape_end(&e, &out);
    n = out.len < size ? out.len : size - 1;
    if (n)
        memcpy(ret, out.data, n);
    ret[n] = '\0';
}
