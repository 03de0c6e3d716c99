/*
 * The readiness marker in a stream of bytes that a guest controls.
 *
 * Theory of operation. A line is a marker when it ends in
 *
 *     VMRS_READY <ip>[ <nonce>][CR] LF
 *
 * and anything may stand before. The word cannot overlap itself (its V occurs once), so a mismatch
 * only ever restarts at the current byte, and the last word of a line decides: whatever follows an
 * earlier one contains the later one, which no address or nonce does. Bytes after the word are kept
 * in a tail of fixed size; a longer tail can be no marker and is forgotten, so a line of any length
 * costs no memory. Nothing is decided before the LF: half a line never counts.
 */
#include "model/parse.h"

#include <string.h>

#define WORD_LEN (sizeof(VIVI_MARKER) - 1)

void vivi_marker_init(struct vivi_marker *m, const char *nonce, uint64_t offset)
{
    *m = (struct vivi_marker){.offset = offset, .line_offset = offset};
    if (nonce) {
        size_t n = strnlen(nonce, VIVI_MARKER_NONCE_MAX);

        memcpy(m->nonce, nonce, n);
    }
}

/* A nonce is what was on the command line: visible ASCII. */
static bool nonce_fits(const struct vivi_marker *m, const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > VIVI_MARKER_NONCE_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return m->nonce[0] == '\0' || strcmp(m->nonce, s) == 0;
}

static bool tail_is_valid(struct vivi_marker *m, char ret_ip[46])
{
    char ip[46], *space;
    uint32_t n = m->tail_len;

    if (n > 0 && m->tail[n - 1] == '\r')
        n--;
    if (n < 2 || n >= sizeof(m->tail) || m->tail[0] != ' ' || memchr(m->tail, '\0', n))
        return false;
    m->tail[n] = '\0';
    space = strchr(m->tail + 1, ' ');
    if (space)
        *space = '\0';
    if (vivi_parse_ip(m->tail + 1, ip, NULL) < 0)
        return false;
    /* "No address yet" is what a guest prints whose DHCP failed: not an address of anything. */
    if (strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0)
        return false;
    if (space && !nonce_fits(m, space + 1))
        return false;
    memcpy(ret_ip, ip, sizeof(ip));
    return true;
}

/* Bytes from p that can neither begin a marker nor end one: up to the next 'V'. */
static size_t skip(struct vivi_marker *m, const char *p, size_t len)
{
    const char *v = memchr(p, VIVI_MARKER[0], len);
    size_t n = v ? (size_t)(v - p) : len;

    for (size_t i = n; i > 0; i--)
        if (p[i - 1] == '\n') {
            m->line_offset = m->offset + i;
            break;
        }
    return n;
}

static void take_byte(struct vivi_marker *m, char c)
{
    if (m->in_tail) {
        if (m->tail_len < sizeof(m->tail) - 1)
            m->tail[m->tail_len++] = c;
        else
            m->in_tail = false;
    }
    if (c == VIVI_MARKER[m->matched])
        m->matched++;
    else
        m->matched = c == VIVI_MARKER[0] ? 1 : 0;
    if (m->matched == WORD_LEN) {
        m->matched = 0;
        m->tail_len = 0;
        m->in_tail = true;
    }
}

size_t vivi_marker_feed(struct vivi_marker *m, const char *data, size_t len, char ret_ip[46])
{
    size_t i = 0;

    ret_ip[0] = '\0';
    while (i < len) {
        if (!m->in_tail && m->matched == 0) {
            size_t n = skip(m, data + i, len - i);

            i += n;
            m->offset += n;
            if (i == len)
                break;
        }
        m->offset++;
        if (data[i] != '\n') {
            take_byte(m, data[i++]);
            continue;
        }
        bool found = m->in_tail && tail_is_valid(m, ret_ip);

        i++;
        m->line_offset = m->offset;
        m->in_tail = false;
        m->matched = m->tail_len = 0;
        if (found)
            return i;
    }
    return len;
}
