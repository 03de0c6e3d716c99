/*
 * The stop ladder: agent → power button → grace → the VMM's own hard stop → SIGTERM → SIGKILL. It
 * knows times and order, nothing else: what a rung does is the caller's, by the table below, so
 * tests drive it with a clock of their own.
 *
 * Theory of operation. Each rung starts something and arms one timer, "stop-rung". The end of the
 * VMM (vivi_ladder_ended) ends the ladder at the rung that is then current: that rung is the
 * answer. A rung that cannot be tried (refused, failed) gives way to the next at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "driver/loop.h"
#include "model/model.h"

#define VIVI_STOP_AGENT_MS 3000 /* an agent that has not answered by then is left alone */
#define VIVI_STOP_QUIT_MS  5000 /* the VMM's own stop has this long */
#define VIVI_STOP_TERM_MS  5000
#define VIVI_STOP_KILL_MS  5000 /* a process that SIGKILL does not end: the operation gives up */

enum vivi_ladder_phase {
    VIVI_LADDER_OFF,
    VIVI_LADDER_RESUME, /* a paused guest hears no button */
    VIVI_LADDER_AGENT,  /* asked; waiting for its answer, then for the guest */
    VIVI_LADDER_BUTTON, /* pressed; waiting for the guest */
    VIVI_LADDER_QUIT,
    VIVI_LADDER_TERM,
    VIVI_LADDER_KILL,
    VIVI_LADDER_PHASE_COUNT_
};
const char *vivi_ladder_phase_name(enum vivi_ladder_phase p); /* "button", … */
int vivi_ladder_phase_parse(const char *s, enum vivi_ladder_phase *ret);

struct vivi_ladder_ops {
    /* Each begins its rung. 0: begun, vivi_ladder_answer tells how it went; < 0: not possible. */
    int (*resume)(void *ctx);
    int (*agent)(void *ctx); /* NULL: there is none */
    int (*button)(void *ctx);
    int (*quit)(void *ctx);
    int (*signal)(void *ctx, int sig); /* no answer follows */
    void (*climbed)(void *ctx);        /* a new phase has begun (to be recorded) */
    /* The ladder has ended without an end of the VMM: the grace is over and it may not kill, or
     * SIGKILL did not help. The ladder is off. */
    void (*gave_up)(void *ctx, enum vivi_ladder_phase at);
};

struct vivi_ladder {
    const struct vivi_loop *loop;
    const struct vivi_ladder_ops *ops;
    void *ctx;
    /* the rest is the ladder's own; readable */
    enum vivi_ladder_phase phase;
    struct vivi_timer *timer;
    uint64_t deadline_ms; /* on the loop's clock: when the guest's grace is over */
    bool may_kill;
};

struct vivi_ladder_begin {
    enum vivi_ladder_phase from; /* where to start: RESUME, AGENT, BUTTON, QUIT, TERM or KILL */
    uint64_t grace_ms;           /* for RESUME, AGENT and BUTTON together */
    bool may_kill;               /* false: after the grace, give up */
};
void vivi_ladder_begin(struct vivi_ladder *l, const struct vivi_ladder_begin *b);
/* The answer to the current resume, agent, button or quit: 0, or < 0 failed. Late answers are
 * ignored by the phase they belong to. */
void vivi_ladder_answer(struct vivi_ladder *l, enum vivi_ladder_phase phase, int result);
/* The guest shows that it only now is up: a button pressed before is lost to it. Nothing on other
 * rungs. */
void vivi_ladder_press_again(struct vivi_ladder *l);
/* Climbs to the last rung now. */
void vivi_ladder_kill(struct vivi_ladder *l);
/* The VMM is gone. Returns the rung that did it and turns the ladder off. */
enum vivi_rung vivi_ladder_ended(struct vivi_ladder *l);
