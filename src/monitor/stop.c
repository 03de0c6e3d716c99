#include "monitor/stop.h"

#include <signal.h>
#include <string.h>

static void climb(struct vivi_ladder *l, enum vivi_ladder_phase to);

static const char *const phase_names[VIVI_LADDER_PHASE_COUNT_] = {
    [VIVI_LADDER_OFF] = "off",     [VIVI_LADDER_RESUME] = "resume", [VIVI_LADDER_BUTTON] = "button",
    [VIVI_LADDER_AGENT] = "agent", [VIVI_LADDER_QUIT] = "quit",     [VIVI_LADDER_TERM] = "term",
    [VIVI_LADDER_KILL] = "kill",
};

const char *vivi_ladder_phase_name(enum vivi_ladder_phase p)
{
    return phase_names[p];
}

int vivi_ladder_phase_parse(const char *s, enum vivi_ladder_phase *ret)
{
    for (unsigned i = 0; i < VIVI_LADDER_PHASE_COUNT_; i++) {
        if (strcmp(s, phase_names[i]) == 0) {
            *ret = (enum vivi_ladder_phase)i;
            return 0;
        }
    }
    return -VIV_E_INVALID;
}

static void disarm(struct vivi_ladder *l)
{
    l->loop->timer_stop(l->timer);
    l->timer = NULL;
}

static void give_up(struct vivi_ladder *l)
{
    enum vivi_ladder_phase at = l->phase;

    disarm(l);
    l->phase = VIVI_LADDER_OFF;
    l->ops->gave_up(l->ctx, at);
}

static void next(struct vivi_ladder *l)
{
    switch (l->phase) {
    case VIVI_LADDER_RESUME: climb(l, VIVI_LADDER_AGENT); return;
    case VIVI_LADDER_AGENT: climb(l, VIVI_LADDER_BUTTON); return;
    case VIVI_LADDER_BUTTON:
        if (!l->may_kill) {
            give_up(l);
            return;
        }
        climb(l, VIVI_LADDER_QUIT);
        return;
    case VIVI_LADDER_QUIT: climb(l, VIVI_LADDER_TERM); return;
    case VIVI_LADDER_TERM: climb(l, VIVI_LADDER_KILL); return;
    case VIVI_LADDER_KILL: give_up(l); return;
    case VIVI_LADDER_OFF:
    case VIVI_LADDER_PHASE_COUNT_: return;
    }
}

static void on_timer(void *arg)
{
    struct vivi_ladder *l = arg;

    disarm(l);
    /* The grace covers resume and button together: when it is over, both are. */
    if (l->phase == VIVI_LADDER_RESUME)
        l->phase = VIVI_LADDER_BUTTON;
    next(l);
}

static uint64_t grace_left_ms(const struct vivi_ladder *l)
{
    uint64_t now = l->loop->now_ms(l->loop->ctx);

    return l->deadline_ms > now ? l->deadline_ms - now : 0;
}

static uint64_t phase_ms(const struct vivi_ladder *l)
{
    uint64_t left = grace_left_ms(l);

    switch (l->phase) {
    case VIVI_LADDER_AGENT: return left < VIVI_STOP_AGENT_MS ? left : VIVI_STOP_AGENT_MS;
    case VIVI_LADDER_RESUME:
    case VIVI_LADDER_BUTTON: return left;
    case VIVI_LADDER_QUIT: return VIVI_STOP_QUIT_MS;
    case VIVI_LADDER_TERM: return VIVI_STOP_TERM_MS;
    case VIVI_LADDER_KILL: return VIVI_STOP_KILL_MS;
    case VIVI_LADDER_OFF:
    case VIVI_LADDER_PHASE_COUNT_: return 0;
    }
    return 0;
}

static int act(struct vivi_ladder *l)
{
    switch (l->phase) {
    case VIVI_LADDER_RESUME: return l->ops->resume(l->ctx);
    case VIVI_LADDER_AGENT: return l->ops->agent ? l->ops->agent(l->ctx) : -VIV_E_UNSUPPORTED;
    case VIVI_LADDER_BUTTON: return l->ops->button(l->ctx);
    case VIVI_LADDER_QUIT: return l->ops->quit(l->ctx);
    case VIVI_LADDER_TERM: return l->ops->signal(l->ctx, SIGTERM);
    case VIVI_LADDER_KILL: return l->ops->signal(l->ctx, SIGKILL);
    case VIVI_LADDER_OFF:
    case VIVI_LADDER_PHASE_COUNT_: return 0;
    }
    return 0;
}

static void climb(struct vivi_ladder *l, enum vivi_ladder_phase to)
{
    int r;

    disarm(l);
    l->phase = to;
    l->ops->climbed(l->ctx);
    /* A timer that cannot be had leaves this rung without an end: then do not wait on it. */
    r = l->loop->timer(l->loop->ctx, "stop-rung", phase_ms(l), on_timer, l, &l->timer, NULL);
    if (act(l) < 0 || (r < 0 && to != VIVI_LADDER_KILL))
        next(l);
}

void vivi_ladder_begin(struct vivi_ladder *l, const struct vivi_ladder_begin *b)
{
    l->deadline_ms = l->loop->now_ms(l->loop->ctx) + b->grace_ms;
    l->may_kill = b->may_kill;
    climb(l, b->from);
}

void vivi_ladder_answer(struct vivi_ladder *l, enum vivi_ladder_phase phase, int result)
{
    if (l->phase != phase)
        return;
    if (phase == VIVI_LADDER_AGENT && result >= 0) { /* it goes down; the button has the rest */
        disarm(l);
        (void)l->loop->timer(l->loop->ctx, "stop-rung", grace_left_ms(l) / 2, on_timer, l,
                             &l->timer, NULL);
        return;
    }
    if (phase == VIVI_LADDER_RESUME || result < 0)
        next(l);
}

void vivi_ladder_press_again(struct vivi_ladder *l)
{
    if (l->phase == VIVI_LADDER_BUTTON)
        (void)l->ops->button(l->ctx); /* a failure comes as the rung's answer */
}

void vivi_ladder_kill(struct vivi_ladder *l)
{
    l->may_kill = true;
    climb(l, VIVI_LADDER_KILL);
}

enum vivi_rung vivi_ladder_ended(struct vivi_ladder *l)
{
    static const enum vivi_rung rungs[VIVI_LADDER_PHASE_COUNT_] = {
        [VIVI_LADDER_OFF] = VIVI_RUNG_NONE,     [VIVI_LADDER_RESUME] = VIVI_RUNG_ACPI,
        [VIVI_LADDER_AGENT] = VIVI_RUNG_AGENT,  [VIVI_LADDER_BUTTON] = VIVI_RUNG_ACPI,
        [VIVI_LADDER_QUIT] = VIVI_RUNG_VMM,     [VIVI_LADDER_TERM] = VIVI_RUNG_SIGTERM,
        [VIVI_LADDER_KILL] = VIVI_RUNG_SIGKILL,
    };
    enum vivi_rung rung = rungs[l->phase];

    if (l->loop)
        disarm(l);
    l->phase = VIVI_LADDER_OFF;
    return rung;
}
