/*
 * Bytes of a guest for a terminal: control characters and malformed UTF-8 are made visible, so that
 * no guest can move the cursor, retitle the window or hide text. Newline, tab and CR LF pass.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"

struct vivi_escape {
    bool
        console; /* backspace, bell and a bare CR pass too: an interactive line editor needs them */
    unsigned char held[4]; /* the start of a UTF-8 sequence, or a CR whose successor is unknown */
    size_t n_held;
};

/* The most bytes that one byte of input can become. */
#define VIVI_ESCAPE_GROWTH 4

/* Appends the visible form of data to out; an incomplete end is held for the next call. */
void vivi_escape_feed(struct vivi_escape *e, const void *data, size_t len, struct vivi_buf *out);
/* What is still held, visibly. */
void vivi_escape_end(struct vivi_escape *e, struct vivi_buf *out);
/* One string, whole, with newlines made visible too: for messages. Never longer than size. */
void vivi_escape_line(const char *text, char *ret, size_t size);
