/* Why a run ended, from what is known of it: a pure function, so that every case can be tested. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"

/* What we did to it ourselves. */
enum vivi_cause {
    VIVI_CAUSE_NONE,
    VIVI_CAUSE_STOP,
    VIVI_CAUSE_KILL,
    VIVI_CAUSE_START_TIMEOUT,
    VIVI_CAUSE_START_FAILED
};

struct vivi_end_facts {
    const char *vmm; /* "qemu": how messages call it */
    bool ran;        /* its vCPUs ran once */
    bool status_known;
    int wstatus; /* as waitpid's */
    enum vivi_cause cause;
    enum vivi_rung rung;     /* of the stop in flight */
    enum vivi_reason ending; /* the driver's first word about it, NONE: nothing was said */
    const char *ending_text; /* the VMM's words, "" = none */
    const char *start_error; /* START_FAILED: what the driver said */
    const char *last_line;   /* of the VMM's stderr in this run, "" = none */
};

#define VIVI_END_TEXT_MAX 400

void vivi_end_reason(const struct vivi_end_facts *f, enum vivi_reason *ret,
                     char ret_text[VIVI_END_TEXT_MAX]);

/* Whether what a driver tells of an end takes the place of what it told before: the first one
 * stays, but the VMM's own failure says more than a power-off, and later ones of it more still. */
bool vivi_ending_counts(enum vivi_reason told, enum vivi_reason now);
