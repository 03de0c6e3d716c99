/*
 * Capability rows: every row of docs/CAPABILITIES.md as data. A driver sets the rows it can; which
 * test proves a row is known to the tests (tests/), and a row without one is "planned".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/caps_rows.h"

enum vivi_cap_kind {
    VIVI_CAP_SLOT,   /* set exactly when the driver fills that slot of its table */
    VIVI_CAP_FIELD,  /* decided by the driver's check */
    VIVI_CAP_SERVICE /* decided by the host and our own services */
};

/* clang-format off */
enum vivi_cap {
#define VIVI_X(e, word, kind, text) VIVI_CAP_##e,
    VIVI_CAPS(VIVI_X)
#undef VIVI_X
    VIVI_CAP_COUNT_
};
/* clang-format on */

struct vivi_cap_row {
    const char *word; /* "pause", "boot-kernel": stable name, in JSON */
    enum vivi_cap_kind kind;
    const char *text; /* "pause / resume" */
    /* Per platform: NULL = there or planned, else why the platform can never have it. */
    const char *ch_none, *vz_none, *qemu_none;
};
extern const struct vivi_cap_row vivi_cap_rows[VIVI_CAP_COUNT_];

#define VIVI_CAPS_WORDS 2
struct vivi_caps { /* a set of rows */
    uint64_t bits[VIVI_CAPS_WORDS];
};
bool vivi_caps_has(const struct vivi_caps *c, enum vivi_cap cap);
void vivi_caps_set(struct vivi_caps *c, enum vivi_cap cap, bool on);
/* A row by its word. 0, or −VIV_E_INVALID with *ret untouched. */
int vivi_cap_parse(const char *word, enum vivi_cap *ret);
