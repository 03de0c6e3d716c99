/* Names of states, reasons, rungs and timeline steps; the table of allowed transitions. */
#include "model/model.h"

#include <string.h>

static int find_word(const char *const *words, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], s) == 0)
            return (int)i;
    return -VIV_E_INVALID;
}

static const char *const state_names[VIV_ST_COUNT_] = {
#define VIVI_X(e, s) [VIV_ST_##e] = (s),
    VIVI_STATES(VIVI_X)
#undef VIVI_X
};

const char *vivi_state_name(enum viv_state s)
{
    return (unsigned)s < VIV_ST_COUNT_ ? state_names[s] : "unknown";
}

int vivi_state_parse(const char *s, enum viv_state *ret)
{
    int i = find_word(state_names, VIV_ST_COUNT_, s);

    if (i < 0)
        return i;
    *ret = (enum viv_state)i;
    return 0;
}

#define TO(e) (1u << VIV_ST_##e)

/* Where a VM that has ended, or was never started, can be taken from: a boot or another's memory.
 */
#define BEGIN (TO(STARTING) | TO(RESTORING) | TO(INCOMING))
/* Whatever owns a VMM can be told to stop, can see it end well, and can see it fail. */
#define END (TO(STOPPING) | TO(STOPPED) | TO(FAILED))

/*
 * Every row may also become broken (its record turned out unreadable); a broken one is repaired
 * into stopped or failed, since nobody knows any more how it ended.
 */
static const unsigned transitions[VIV_ST_COUNT_] = {
    [VIV_ST_CREATED] = BEGIN | TO(BROKEN),
    [VIV_ST_STARTING] = TO(RUNNING) | END | TO(BROKEN),
    [VIV_ST_RUNNING] = TO(PAUSED) | TO(SAVING) | TO(OUTGOING) | END | TO(BROKEN),
    [VIV_ST_PAUSED] = TO(RUNNING) | TO(SAVING) | TO(OUTGOING) | END | TO(BROKEN),
    [VIV_ST_SAVING] = TO(RUNNING) | TO(PAUSED) | END | TO(BROKEN),
    [VIV_ST_RESTORING] = TO(RUNNING) | TO(PAUSED) | END | TO(BROKEN),
    [VIV_ST_INCOMING] = TO(RUNNING) | TO(PAUSED) | END | TO(BROKEN),
    /* A migration that failed leaves its source as it was. */
    [VIV_ST_OUTGOING] = TO(RUNNING) | TO(PAUSED) | END | TO(BROKEN),
    /* A stop that may not escalate gives up, and the guest goes on. */
    [VIV_ST_STOPPING] = TO(RUNNING) | TO(STOPPED) | TO(FAILED) | TO(BROKEN),
    [VIV_ST_STOPPED] = BEGIN | TO(BROKEN),
    [VIV_ST_FAILED] = BEGIN | TO(BROKEN),
    [VIV_ST_BROKEN] = TO(STOPPED) | TO(FAILED),
};

bool vivi_state_may(enum viv_state from, enum viv_state to)
{
    if ((unsigned)from >= VIV_ST_COUNT_ || (unsigned)to >= VIV_ST_COUNT_)
        return false;
    return (transitions[from] >> (unsigned)to & 1u) != 0;
}

bool vivi_state_has_vmm(enum viv_state s)
{
    const unsigned with = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(SAVING) | TO(RESTORING) |
                          TO(INCOMING) | TO(OUTGOING) | TO(STOPPING);

    return (unsigned)s < VIV_ST_COUNT_ && (with >> (unsigned)s & 1u) != 0;
}

static const char *const reason_names[VIVI_REASON_COUNT_] = {
#define VIVI_X(e, s) [VIVI_REASON_##e] = (s),
    VIVI_REASONS(VIVI_X)
#undef VIVI_X
};

const char *vivi_reason_name(enum vivi_reason r)
{
    return (unsigned)r < VIVI_REASON_COUNT_ ? reason_names[r] : "unknown";
}

int vivi_reason_parse(const char *s, enum vivi_reason *ret)
{
    int i = find_word(reason_names, VIVI_REASON_COUNT_, s);

    if (i < 0)
        return i;
    *ret = (enum vivi_reason)i;
    return 0;
}

bool vivi_reason_is_failure(enum vivi_reason r)
{
    switch (r) {
    case VIVI_REASON_GUEST_PANIC:
    case VIVI_REASON_VMM_EXIT:
    case VIVI_REASON_VMM_SIGNAL:
    case VIVI_REASON_SPAWN_FAILED:
    case VIVI_REASON_START_TIMEOUT:
    case VIVI_REASON_UNOBSERVED: return true;
    case VIVI_REASON_NONE:
    case VIVI_REASON_GUEST_POWEROFF:
    case VIVI_REASON_STOP:
    case VIVI_REASON_KILL:
    case VIVI_REASON_HOST_REBOOT:
    case VIVI_REASON_GUEST_REBOOT:
    case VIVI_REASON_MIGRATED:
    case VIVI_REASON_IN_DOUBT:
    case VIVI_REASON_COUNT_: break;
    }
    return false;
}

static const char *const rung_names[VIVI_RUNG_COUNT_] = {
#define VIVI_X(e, s) [VIVI_RUNG_##e] = (s),
    VIVI_RUNGS(VIVI_X)
#undef VIVI_X
};

const char *vivi_rung_name(enum vivi_rung r)
{
    return (unsigned)r < VIVI_RUNG_COUNT_ ? rung_names[r] : "unknown";
}

int vivi_rung_parse(const char *s, enum vivi_rung *ret)
{
    int i = find_word(rung_names, VIVI_RUNG_COUNT_, s);

    if (i < 0)
        return i;
    *ret = (enum vivi_rung)i;
    return 0;
}

static const char *const step_names[VIVI_STEP_COUNT_] = {
#define VIVI_X(e, s) [VIVI_STEP_##e] = (s),
    VIVI_STEPS(VIVI_X)
#undef VIVI_X
};

const char *vivi_step_name(enum vivi_step s)
{
    return (unsigned)s < VIVI_STEP_COUNT_ ? step_names[s] : "unknown";
}
