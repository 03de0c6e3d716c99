/* Plain data, no system calls: names of states, reasons, rungs, steps; the transition table. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Each list below makes an enum, its names and its tests. */
/* clang-format off */
#define VIVI_STATES(X)             \
    X(CREATED, "created")          \
    X(STARTING, "starting")        \
    X(RUNNING, "running")          \
    X(PAUSED, "paused")            \
    X(SAVING, "saving")            \
    X(RESTORING, "restoring")      \
    X(INCOMING, "incoming")        \
    X(OUTGOING, "outgoing")        \
    X(STOPPING, "stopping")        \
    X(STOPPED, "stopped")          \
    X(FAILED, "failed")            \
    X(BROKEN, "broken")

/* Why a VM is stopped or failed. The words are stable; drivers add theirs as text. */
#define VIVI_REASONS(X)                  \
    X(NONE, "none")                      \
    X(GUEST_POWEROFF, "guest-poweroff")  \
    X(STOP, "stop")                      \
    X(KILL, "kill")                      \
    X(HOST_REBOOT, "host-reboot")        \
    X(GUEST_PANIC, "guest-panic")        \
    X(GUEST_REBOOT, "guest-reboot")      \
    X(VMM_EXIT, "vmm-exit")              \
    X(VMM_SIGNAL, "vmm-signal")          \
    X(SPAWN_FAILED, "spawn-failed")      \
    X(START_TIMEOUT, "start-timeout")    \
    X(UNOBSERVED, "unobserved")          \
    X(MIGRATED, "migrated")              \
    X(IN_DOUBT, "in-doubt")

/* What ended a VM that was told to stop, gentlest first. */
#define VIVI_RUNGS(X)         \
    X(NONE, "none")           \
    X(AGENT, "agent")         \
    X(ACPI, "acpi")           \
    X(VMM, "vmm")             \
    X(SIGTERM, "sigterm")     \
    X(SIGKILL, "sigkill")

/* Steps of the boot timeline, in µs after requested. UINT64_MAX = not reached. */
#define VIVI_STEPS(X)                 \
    X(REQUESTED, "requested_us")      \
    X(EXEC, "exec_us")                \
    X(API, "api_us")                  \
    X(CREATED, "created_us")          \
    X(RUNNING, "running_us")          \
    X(FIRST_BYTE, "first_byte_us")    \
    X(MARKER, "marker_us")            \
    X(READY, "ready_us")

enum viv_state {
#define VIVI_X(e, s) VIV_ST_##e,
    VIVI_STATES(VIVI_X)
#undef VIVI_X
    VIV_ST_COUNT_
};

enum vivi_reason {
#define VIVI_X(e, s) VIVI_REASON_##e,
    VIVI_REASONS(VIVI_X)
#undef VIVI_X
    VIVI_REASON_COUNT_
};

enum vivi_rung {
#define VIVI_X(e, s) VIVI_RUNG_##e,
    VIVI_RUNGS(VIVI_X)
#undef VIVI_X
    VIVI_RUNG_COUNT_
};

enum vivi_step {
#define VIVI_X(e, s) VIVI_STEP_##e,
    VIVI_STEPS(VIVI_X)
#undef VIVI_X
    VIVI_STEP_COUNT_
};
/* clang-format on */

/*
 * Names are static and never NULL ("unknown" for a number that is none). Parsing takes exactly
 * these names: 0, or −VIV_E_INVALID with *ret untouched.
 */
const char *vivi_state_name(enum viv_state s);
int vivi_state_parse(const char *s, enum viv_state *ret);
const char *vivi_reason_name(enum vivi_reason r);
int vivi_reason_parse(const char *s, enum vivi_reason *ret);
const char *vivi_rung_name(
    enum vivi_rung r); /* that NONE is null in JSON is the caller's business */
int vivi_rung_parse(const char *s, enum vivi_rung *ret);
const char *vivi_step_name(enum vivi_step s);

/* The transition table; staying where one is is none. */
bool vivi_state_may(enum viv_state from, enum viv_state to);
/* starting … stopping: a VMM process belongs to it. */
bool vivi_state_has_vmm(enum viv_state s);
/* → state failed, else stopped; also what restart.policy on-failure looks at. */
bool vivi_reason_is_failure(enum vivi_reason r);
