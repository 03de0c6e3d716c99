#include "base/random.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

int vivi_random(void *buf, size_t len, viv_error *err)
{
    unsigned char *p = buf;
    size_t n;

    for (; len > 0; p += n, len -= n) {
        n = len < 256 ? len : 256; /* getentropy's most */
        if (getentropy(p, n) < 0)
            return vivi_fail_errno(err, errno, "no random bytes");
    }
    return 0;
}

static void to_hex(const unsigned char *bytes, size_t n_chars, char *ret)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < n_chars; i++)
        ret[i] = hex[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
}

int vivi_uuid_new(char ret[VIVI_UUID_SIZE], viv_error *err)
{
    static const size_t group[] = {8, 4, 4, 4, 12};
    unsigned char b[16] = {0};
    char hex[32];
    size_t at = 0;
    int r = vivi_random(b, sizeof(b), err);

    if (r < 0)
        return r;
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40); /* version 4 */
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80); /* RFC 4122 */
    to_hex(b, sizeof(hex), hex);
    for (size_t g = 0, from = 0; g < ARRAY_SIZE(group); from += group[g], g++) {
        if (g > 0)
            ret[at++] = '-';
        for (size_t i = 0; i < group[g]; i++)
            ret[at++] = hex[from + i];
    }
    ret[at] = '\0';
    return 0;
}

int vivi_random_hex(char *ret, size_t n_chars, viv_error *err)
{
    unsigned char b[64] = {0};
    int r;

    for (size_t at = 0, n; at < n_chars; at += n) {
        n = n_chars - at < 2 * sizeof(b) ? n_chars - at : 2 * sizeof(b);
        r = vivi_random(b, (n + 1) / 2, err);
        if (r < 0) {
            ret[0] = '\0';
            return r;
        }
        to_hex(b, n, ret + at);
    }
    ret[n_chars] = '\0';
    return 0;
}
