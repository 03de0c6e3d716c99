/* UTF-8, and words between commas. */
#include "model/text.h"

#include <stdint.h>

/* How many bytes a character has that begins with c; 0: none begins so. */
static size_t length_by_first(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Length of the character that begins at p, 0 = none does. */
static size_t character(const unsigned char *p, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = length_by_first(p[0]);
    uint32_t c;

    if (n <= 1)
        return n;
    if (n > len)
        return 0;
    c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    return n;
}

bool vivi_utf8_valid(const char *text, size_t len, size_t *ret_bad)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t i = 0; i < len;) {
        size_t n = character(p + i, len - i);

        if (n == 0) {
            *ret_bad = i;
            return false;
        }
        i += n;
    }
    return true;
}

char *vivi_cut_word(char **rest)
{
    char *start = *rest, *out = start, *p = start;

    if (!start)
        return NULL;
    while (*p != '\0' && (*p != ',' || p[1] == ',')) {
        p += *p == ',';
        *out++ = *p++;
    }
    *rest = *p == ',' ? p + 1 : NULL;
    *out = '\0';
    return start;
}
