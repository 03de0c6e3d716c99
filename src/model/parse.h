/* Leaf parsers: text → value. Pure, bounded, fuzzed. Messages are the fixed ones of the user surface, without the field path. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* "512MiB", "2G" (= GiB), "1024" (bytes), "1.5GiB". INVALID: "\"1 cow\" is not a size (examples: 512MiB, 2GiB)". */
int vivi_parse_size(const char *s, uint64_t *ret_bytes, viv_error *err);
void vivi_format_size(uint64_t bytes, char ret[24]); /* "512MiB", "1GiB", "1.5GiB", "1000B": parses back to the same number */
/* "10s", "500ms", "2m", "1h", "90" (seconds). */
int vivi_parse_duration(const char *s, int64_t *ret_ms, viv_error *err);
void vivi_format_duration(int64_t ms, char ret[24]);
/* DNS label: "\"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)". */
int vivi_parse_name(const char *s, viv_error *err);
int vivi_parse_mac(const char *s, uint8_t ret[6], viv_error *err); /* unicast only */
void vivi_format_mac(const uint8_t mac[6], char ret[18]);
/* Locally administered, unicast, stable for (uuid, nic id). */
void vivi_mac_derive(const char *uuid, const char *nic_id, uint8_t ret[6]);
/* "0-3,8": ascending, each < 8192. ret_bits has 8192 bits. */
int vivi_parse_cpu_list(const char *s, uint64_t ret_bits[128], viv_error *err);
/* An IPv4 or IPv6 address (no zone, no port), canonical text returned (≤ 45 characters). */
int vivi_parse_ip(const char *s, char ret[46], viv_error *err);
bool vivi_parse_bool(const char *s, bool *ret);
int vivi_parse_u64(const char *s, uint64_t *ret, viv_error *err);

/* "8080:80", "127.0.0.1:8080:80/tcp", "[::1]:53:53/udp"; host port 0 or empty = any. */
struct vivi_forward {
    bool udp;
    char host_ip[46]; /* "127.0.0.1" unless told otherwise */
    uint16_t host_port, guest_port;
};
int vivi_parse_forward(const char *s, struct vivi_forward *ret, viv_error *err);
void vivi_format_forward(const struct vivi_forward *f, char ret[80]);

/* The nearest of n candidates at Damerau-Levenshtein distance ≤ 2, or NULL. Used for 'did you mean "…"?'. */
const char *vivi_nearest(const char *word, const char *const *candidates, size_t n);

/*
 * The readiness marker: a complete line (LF-terminated, optional CR) that contains "VMRS_READY <ip>[ <nonce>]" up to its end.
 * The matcher takes bytes in any pieces; memory is bounded (a longer line than VIVI_MARKER_LINE_MAX keeps only what may still match).
 */
#define VIVI_MARKER           "VMRS_READY"
#define VIVI_MARKER_NONCE_MAX 64
#define VIVI_MARKER_TAIL_MAX  192
struct vivi_marker {
    char nonce[VIVI_MARKER_NONCE_MAX + 1]; /* expected; "" = any */
    /* the rest is the matcher's own */
    uint32_t matched;                      /* bytes of VIVI_MARKER seen */
    uint32_t tail_len;
    bool in_tail, overflow;
    char tail[VIVI_MARKER_TAIL_MAX];       /* what follows the marker word in this line */
    uint64_t offset;                       /* of the next byte that will be fed */
    uint64_t line_offset;                  /* of the start of the current line: where a rescan may begin */
};
void vivi_marker_init(struct vivi_marker *m, const char *nonce, uint64_t offset);
/* Feeds bytes. Returns the number consumed: len when nothing was found; otherwise up to and including the LF of a valid marker line, and *ret_ip is set (else ""). */
size_t vivi_marker_feed(struct vivi_marker *m, const char *data, size_t len, char ret_ip[46]);
