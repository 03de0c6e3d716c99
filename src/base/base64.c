#include "base/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void vivi_base64_encode(const void *data, size_t len, char *ret)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < len ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < len ? (unsigned)p[i + 2] : 0);

        *ret++ = digits[v >> 18];
        *ret++ = digits[v >> 12 & 63];
        *ret++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *ret++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *ret = '\0';
}

/* One group; < 0: it is none. */
static int decode_four(const char *text, unsigned n, unsigned char *ret)
{
    unsigned v = 0;

    for (unsigned i = 0; i < 4; i++) {
        const char *at = i < n ? memchr(digits, text[i], sizeof(digits) - 1) : digits;

        if (!at)
            return -1;
        v = v << 6 | (unsigned)(at - digits);
    }
    for (unsigned i = 0; i + 1 < n; i++)
        ret[i] = (unsigned char)(v >> (16 - 8 * i));
    return n < 4 && (v & ((1u << (8 * (4 - n))) - 1)) ? -1 : (int)n - 1;
}

ssize_t vivi_base64_decode(const char *text, size_t len, void *ret)
{
    unsigned char *to = ret;

    if (len % 4)
        return -1;
    for (size_t i = 0; i < len; i += 4) {
        unsigned n = 4;
        int got;

        while (i + 4 == len && n > 2 && text[i + n - 1] == '=')
            n--;
        got = decode_four(text + i, n, to);
        if (got < 0)
            return -1;
        to += got;
    }
    return to - (unsigned char *)ret;
}
