/*
 * workload.c: output on demand.
 *
 * Lines are queued only while the console is idle, a few at a time: a reader that stops reading
 * slows the guest down and loses nothing, which is what the tests of serial logs rely on. A reboot
 * is wished for after an exact line, so each boot's log ends with a known number.
 */
#include "workload.h"

#include <stdio.h>
#include <string.h>

#define BATCH_LINES      64
#define FLOOD_LINE_BYTES 1024

void guest_workload_start(struct guest_workload *w, uint64_t now_ms)
{
    *w = (struct guest_workload){.running = true, .started_ms = now_ms};
}

uint64_t guest_workload_due(const struct guest_options *o, uint64_t elapsed_ms)
{
    return o->count_rate == 0 ? UINT64_MAX : elapsed_ms * o->count_rate / 1000;
}

static enum guest_wish wish_at(const struct guest_workload *w, const struct guest_options *o)
{
    if (o->reboot_every != 0 && w->lines >= o->reboot_every)
        return GUEST_WISH_REBOOT;
    if (o->poweroff_after != 0 && w->lines >= o->poweroff_after)
        return GUEST_WISH_POWER_OFF;
    return GUEST_WISH_NONE;
}

static enum guest_wish count(struct guest_workload *w, struct guest_consoles *c,
                             const struct guest_options *o, uint64_t now_ms)
{
    uint64_t due = guest_workload_due(o, now_ms - w->started_ms);
    enum guest_wish wish = GUEST_WISH_NONE;

    for (int i = 0; i < BATCH_LINES && w->lines < due && wish == GUEST_WISH_NONE; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "line %08llu\n", (unsigned long long)w->lines + 1);

        if (!guest_consoles_feed(c, line, (size_t)len))
            break;
        w->lines++;
        wish = wish_at(w, o);
    }
    return wish;
}

static void flood(struct guest_workload *w, struct guest_consoles *c, enum guest_flood kind)
{
    char line[FLOOD_LINE_BYTES];
    int len = 0;

    memset(line, 'x', sizeof(line));
    if (kind == GUEST_FLOOD_LINES) {
        len = snprintf(line, sizeof(line), "flood %08llu ", (unsigned long long)w->lines + 1);
        line[len] = 'x';
        line[sizeof(line) - 1] = '\n';
    }
    if (guest_consoles_feed(c, line, sizeof(line)))
        w->lines++;
}

enum guest_wish guest_workload_run(struct guest_workload *w, struct guest_consoles *c,
                                   const struct guest_options *o, uint64_t now_ms)
{
    if (!w->running || guest_consoles_busy(c))
        return GUEST_WISH_NONE;
    if (o->flood != GUEST_FLOOD_NONE) {
        flood(w, c, o->flood);
        return GUEST_WISH_NONE;
    }
    return o->count ? count(w, c, o, now_ms) : GUEST_WISH_NONE;
}

uint64_t guest_workload_next_ms(const struct guest_workload *w, const struct guest_options *o)
{
    if (!w->running)
        return UINT64_MAX;
    if (o->flood != GUEST_FLOOD_NONE || (o->count && o->count_rate == 0))
        return 0;
    /* The first millisecond at which one more line is due. */
    return o->count ? w->started_ms + (w->lines + 1) * 1000 / o->count_rate + 1 : UINT64_MAX;
}
