/* How struct vivi_state and state.json correspond: for the two readers and the writer of it. */
#pragma once

#include "store/store.h"

enum vivi_state_type {
    VIVI_SF_STR,
    VIVI_SF_STATE,
    VIVI_SF_BOOL,
    VIVI_SF_U32,
    VIVI_SF_U64,
    VIVI_SF_I64,
    VIVI_SF_PROC /* [pid, start time] */
};

struct vivi_state_field {
    const char *key;
    enum vivi_state_type type;
    size_t offset, size;
};

extern const struct vivi_state_field vivi_state_fields[]; /* in the order of the file */
extern const size_t vivi_state_fields_count;

/* The quick way for a text of len bytes; false: the long way has to look. *ret_labels: has labels.
 */
bool vivi_state_scan(const char *data, size_t len, struct vivi_state *ret, bool *ret_labels);
