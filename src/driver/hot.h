/*
 * Operations that wait for what a guest does: which operation waits for which key ("disk data",
 * "cpus"). Several may wait for one key and end together. Plain data: drivers do the telling.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define VIVI_HOT_WAITS     16
#define VIVI_HOT_KEY_BYTES 96

struct vivi_hot_wait {
    uint64_t op; /* 0 = free */
    char key[VIVI_HOT_KEY_BYTES];
};

/* Zeroed is empty. */
struct vivi_hot_waits {
    struct vivi_hot_wait items[VIVI_HOT_WAITS];
};

/* Errors: BUSY too many wait; INVALID a key that is too long. */
int vivi_hot_wait(struct vivi_hot_waits *w, const char *key, uint64_t op, viv_error *err);
bool vivi_hot_waits_for(const struct vivi_hot_waits *w, const char *key);
/* Takes one operation that waits for key (NULL: any) out; 0 = none is left. */
uint64_t vivi_hot_take(struct vivi_hot_waits *w, const char *key);
/* Takes this operation out; false: it does not wait. */
bool vivi_hot_drop(struct vivi_hot_waits *w, uint64_t op);
