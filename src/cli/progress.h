/*
 * What a person at a terminal sees while a command waits: a line on stderr after 150 ms, with a
 * turning mark and the seconds once it has taken 1 s. Nothing at all where stderr is no terminal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vivi_progress {
    bool on; /* stderr is a terminal, and text is wanted */
    uint64_t begun_us;
    unsigned turn;
    bool shown;
};

void vivi_progress_begin(struct vivi_progress *p, bool on);
/* Milliseconds until the next change; −1 = none. */
int vivi_progress_wait_ms(const struct vivi_progress *p);
/* Shows "text…" if it is time. */
void vivi_progress_show(struct vivi_progress *p, const char *text);
/* Takes the line away, before anything else is printed and at the end. */
void vivi_progress_clear(struct vivi_progress *p);
