/*
 * Readiness: reads the serial log from where this boot began and looks for the marker line. The
 * log's size is the only offset that counts, so reading again is harmless.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/parse.h"

/* The most that one call reads, so that a guest that floods its console does not keep the loop. */
#define VIVI_READY_SLICE_BYTES (1u << 20)

struct vivi_ready {
    struct vivi_marker marker;
    char nonce[VIVI_MARKER_NONCE_MAX + 1];
    bool found; /* in this boot: nothing more to look for */
};

/* A boot begins at offset of the log. nonce "" accepts any. */
void vivi_ready_begin(struct vivi_ready *r, const char *nonce, uint64_t offset);
/*
 * Reads fd from the matcher's position to at most size. 1: found, *ret_ip is its address; 0: not
 * yet; 2: not yet and there is more to read (a slice is done). < 0: −VIV_E_IO. A punched head is
 * skipped.
 */
int vivi_ready_scan(struct vivi_ready *r, int fd, uint64_t size, char ret_ip[46], viv_error *err);
/* Where a new monitor may begin to read. */
uint64_t vivi_ready_offset(const struct vivi_ready *r);
