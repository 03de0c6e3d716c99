#include "cli/progress.h"

#include <stdio.h>

#include "base/clock.h"

#define FIRST_MS   150
#define SPINNER_MS 1000
#define TURN_MS    125

void vivi_progress_begin(struct vivi_progress *p, bool on)
{
    *p = (struct vivi_progress){.on = on, .begun_us = vivi_mono_us()};
}

static int64_t elapsed_ms(const struct vivi_progress *p)
{
    return (int64_t)(vivi_mono_us() - p->begun_us) / 1000;
}

int vivi_progress_wait_ms(const struct vivi_progress *p)
{
    int64_t ms = elapsed_ms(p);

    if (!p->on)
        return -1;
    if (!p->shown)
        return ms < FIRST_MS ? (int)(FIRST_MS - ms) : 0;
    return ms < SPINNER_MS ? (int)(SPINNER_MS - ms) : TURN_MS;
}

void vivi_progress_show(struct vivi_progress *p, const char *text)
{
    int64_t ms = elapsed_ms(p);

    if (!p->on || ms < FIRST_MS)
        return;
    if (ms < SPINNER_MS)
        (void)fprintf(stderr, "\r\033[K%s…", text);
    else
        (void)fprintf(stderr, "\r\033[K%c %s… %d s", "|/-\\"[p->turn++ % 4], text,
                      (int)(ms / 1000));
    (void)fflush(stderr);
    p->shown = true;
}

void vivi_progress_clear(struct vivi_progress *p)
{
    if (!p->shown)
        return;
    (void)fputs("\r\033[K", stderr);
    (void)fflush(stderr);
    p->shown = false;
}
