/*
 * A growable byte buffer with a ceiling: nothing that a guest, a VMM or a file sends can make it
 * grow beyond max_bytes. Contents are always followed by a NUL that does not count.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdarg.h>

#include "base/error.h"

struct vivi_buf {
    char *data;       /* owned; NULL while empty and never grown */
    size_t len;       /* bytes in use */
    size_t cap;       /* bytes allocated */
    size_t max_bytes; /* ceiling for len */
    bool failed;      /* an append failed: sticky, checked once at the end by vivi_buf_check */
    int failure;      /* the viv_code of it */
};

#define VIVI_BUF(max) {.max_bytes = (max)}
#define cleanup_buf   VIVI_CLEANUP(vivi_buf_done)

void vivi_buf_init(struct vivi_buf *b, size_t max_bytes);
void vivi_buf_done(struct vivi_buf *b);

/* 0, or −VIV_E_NO_MEMORY / −VIV_E_PROTOCOL (ceiling): then contents are untouched, failed is set.
 */
int vivi_buf_add(struct vivi_buf *b, const void *data, size_t len);
int vivi_buf_str(struct vivi_buf *b, const char *s);
int vivi_buf_printf(struct vivi_buf *b, const char *fmt, ...) VIVI_PRINTF(2, 3);
int vivi_buf_vprintf(struct vivi_buf *b, const char *fmt, va_list ap) VIVI_PRINTF(2, 0);
int vivi_buf_json_str(struct vivi_buf *b, const char *s); /* a quoted, escaped JSON string */

/* Room for at least n more bytes at data+len; the caller then adds to len what it wrote. */
int vivi_buf_reserve(struct vivi_buf *b, size_t n);
void vivi_buf_consume(struct vivi_buf *b, size_t n); /* drops the first n bytes; n ≤ len */
void vivi_buf_reset(struct vivi_buf *b);             /* len = 0, failed = false, memory kept */
int vivi_buf_check(const struct vivi_buf *b, viv_error *err); /* failed → the error, else 0 */
/* The NUL-terminated contents, which the caller frees; NULL if failed or out of memory. */
char *vivi_buf_take(struct vivi_buf *b);
