/* Capability rows: every row of docs/CAPABILITIES.md as data. A driver fills the rows it can; a row without a test is "planned". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vivi_cap_kind { VIVI_CAP_SLOT /* a driver slot */, VIVI_CAP_FIELD /* driver.check */, VIVI_CAP_SERVICE /* the host */ };

/* Ids of rows that code asks for; the table has all. Generated from the same list: VIVI_CAPS(X) X(id, "word", kind, "what it is") in caps_rows.h. */
#include "model/caps_rows.h"

enum vivi_cap {
#define VIVI_X(e, word, kind, text) VIVI_CAP_##e,
    VIVI_CAPS(VIVI_X)
#undef VIVI_X
    VIVI_CAP_COUNT_
};

struct vivi_cap_row {
    const char *word;  /* "pause", "boot-kernel": stable name, in JSON */
    enum vivi_cap_kind kind;
    const char *text;  /* "pause / resume" */
    /* Per platform column: "•" must work, "–" the platform has none with reason text. */
    const char *ch_none, *vz_none, *qemu_none; /* NULL = planned or there; else why the platform can never have it */
};
extern const struct vivi_cap_row vivi_cap_rows[VIVI_CAP_COUNT_];

#define VIVI_CAPS_WORDS 2
struct vivi_caps { /* a set of rows */
    uint64_t bits[VIVI_CAPS_WORDS];
};
bool vivi_caps_has(const struct vivi_caps *c, enum vivi_cap cap);
void vivi_caps_set(struct vivi_caps *c, enum vivi_cap cap, bool on);
int vivi_cap_parse(const char *word, enum vivi_cap *ret);
