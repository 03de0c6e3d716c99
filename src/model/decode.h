/* How each field of the table reaches the typed form; seen by the test that compares the two. */
#pragma once

#include "model/config.h"

enum vivi_decode_how {
    VIVI_DECODE_NOTHING, /* has one value only, or is read from the document */
    VIVI_DECODE_STRING,
    VIVI_DECODE_WORD,  /* an enum that counts in the order of words */
    VIVI_DECODE_READY, /* ready.by */
    VIVI_DECODE_U32,
    VIVI_DECODE_U32_1, /* stored as one more: 0 is a value, and not given is 0 */
    VIVI_DECODE_I64,   /* int64_t, or uint64_t that never is larger */
    VIVI_DECODE_BOOL,
    VIVI_DECODE_MAC,
    VIVI_DECODE_FORWARDS,
    VIVI_DECODE_DISKS,
    VIVI_DECODE_NETS,
    VIVI_DECODE_STRINGS,
    VIVI_DECODE_LIST /* of mappings with an id: pointer at offset, number at shape.count */
};

struct vivi_list_shape {
    size_t count; /* offset of the number of elements */
    size_t size;  /* of an element */
};

struct vivi_decode_row {
    const char *path;
    enum vivi_decode_how how;
    size_t offset; /* in struct vivi_config, or in the element's struct */
    const char *const *words;
    size_t n_words;
    struct vivi_list_shape shape; /* LIST */
};

extern const struct vivi_decode_row vivi_decode_rows[];
extern const size_t vivi_decode_rows_count;
