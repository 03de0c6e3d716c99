/*
 * Leaf parsers: text → value. Pure, bounded, fuzzed. Text is NUL-terminated and may hold anything.
 * On failure: −VIV_E_INVALID, the output untouched, and the fixed message of the user surface
 * without the field's path.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * "512MiB", "2G" (= GiB), "1024" (bytes), "1.5GiB"; units in any case, at most INT64_MAX bytes.
 * "\"1 cow\" is not a size (examples: 512MiB, 2GiB)".
 */
int vivi_parse_size(const char *s, uint64_t *ret_bytes, viv_error *err);
/* "512MiB", "1GiB", "1.5GiB", "1000B": parses back to the same number (up to INT64_MAX). */
void vivi_format_size(uint64_t bytes, char ret[24]);

/* "10s", "500ms", "2m", "1h", "90" (seconds), "1.5s". */
int vivi_parse_duration(const char *s, int64_t *ret_ms, viv_error *err);
void vivi_format_duration(int64_t ms, char ret[24]); /* "2m", "90s": parses back; < 0 is 0ms */

/* A DNS label: "\"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)". */
int vivi_parse_name(const char *s, viv_error *err);

int vivi_parse_mac(const char *s, uint8_t ret[6], viv_error *err); /* unicast, not all zeros */
void vivi_format_mac(const uint8_t mac[6], char ret[18]);
/* Locally administered, unicast, the same for ever for the same (uuid, nic_id). */
void vivi_mac_derive(const char *uuid, const char *nic_id, uint8_t ret[6]);

/* "0-3,8": ascending, each < 8192. ret_bits has 8192 bits. */
int vivi_parse_cpu_list(const char *s, uint64_t ret_bits[128], viv_error *err);

/* An IPv4 or IPv6 address (no zone, no port); ret is its canonical text, ≤ 45 characters. */
int vivi_parse_ip(const char *s, char ret[46], viv_error *err);

/* true, false, yes, no, on, off in any case; anything else: false, and *ret untouched. */
bool vivi_parse_bool(const char *s, bool *ret);
/* Decimal, no sign, no leading zeros: "\"x\" is not a whole number". */
int vivi_parse_u64(const char *s, uint64_t *ret, viv_error *err);

/* 1 to 65535 in plain digits. */
bool vivi_parse_port(const char *s, uint16_t *ret);
/* "8080:80", "127.0.0.1:8080:80/tcp", "[::1]:53:53/udp"; host port 0 or empty = any free one. */
struct vivi_forward {
    bool udp;
    char host_ip[46]; /* canonical; "127.0.0.1" unless told otherwise */
    uint16_t host_port, guest_port;
};
int vivi_parse_forward(const char *s, struct vivi_forward *ret, viv_error *err);
void vivi_format_forward(const struct vivi_forward *f, char ret[80]); /* all of it, parses back */

/* A value as messages show it: quoted, control characters as ?, cut after 60 bytes. Returns ret. */
#define VIVI_SHOWN_SIZE 72
const char *vivi_show(const char *s, char ret[VIVI_SHOWN_SIZE]);

/*
 * The nearest of n candidates at edit distance ≤ 2 (swapped neighbours count once), or NULL; the
 * first one of several. For 'did you mean "…"?'.
 */
const char *vivi_nearest(const char *word, const char *const *candidates, size_t n);

/*
 * The readiness marker: an LF-terminated line (optional CR) that ends in
 * "VMRS_READY <ip>[ <nonce>]". Anything may stand before the word; the last word of a line decides.
 * The matcher takes bytes in any pieces and needs no more memory than this struct, whatever the
 * guest prints.
 */
#define VIVI_MARKER           "VMRS_READY"
#define VIVI_MARKER_NONCE_MAX 64
#define VIVI_MARKER_TAIL_MAX  192

struct vivi_marker {
    char nonce[VIVI_MARKER_NONCE_MAX + 1]; /* expected; "" = any */
    uint64_t offset;                       /* of the next byte that will be fed */
    uint64_t line_offset; /* of the start of the current line: where a rescan may begin */
    /* the rest is the matcher's own */
    uint32_t matched; /* bytes of VIVI_MARKER seen */
    uint32_t tail_len;
    bool in_tail;
    char tail[VIVI_MARKER_TAIL_MAX]; /* what follows the marker word in this line */
};

/*
 * nonce: NULL or "" accepts any; a line without one is always accepted, one with another never.
 * offset: of the first byte that will be fed.
 */
void vivi_marker_init(struct vivi_marker *m, const char *nonce, uint64_t offset);
/*
 * Returns how many bytes were taken: len when nothing was found (*ret_ip is ""), otherwise up to
 * and including the LF of a valid marker line, and ret_ip is its address.
 */
size_t vivi_marker_feed(struct vivi_marker *m, const char *data, size_t len, char ret_ip[46]);
