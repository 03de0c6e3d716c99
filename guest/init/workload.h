/*
 * workload.h: what the guest prints when a test asks for output: numbered lines or a flood.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "options.h"

enum guest_wish { GUEST_WISH_NONE, GUEST_WISH_REBOOT, GUEST_WISH_POWER_OFF };

struct guest_workload {
    bool running;
    uint64_t started_ms;
    uint64_t lines; /* of this boot */
};

void guest_workload_start(struct guest_workload *w, uint64_t now_ms);

/*
 * Feeds the primary console if it has room, never more than it takes: no line is lost or cut here.
 * Returns what should happen because a line number was reached.
 */
enum guest_wish guest_workload_run(struct guest_workload *w, struct guest_consoles *c,
                                   const struct guest_options *o, uint64_t now_ms);

/* When to call run() again, besides when the console has room; UINT64_MAX = never. */
uint64_t guest_workload_next_ms(const struct guest_workload *w, const struct guest_options *o);

/* Lines that ought to have been printed elapsed_ms after the start. */
uint64_t guest_workload_due(const struct guest_options *o, uint64_t elapsed_ms);
