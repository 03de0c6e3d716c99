/* Plain data, no system calls: names of states, reasons, rungs, proofs; the transition table. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* One table (X-macro) makes the enum, the names and the tests. */
#define VIVI_STATES(X)                                                                             \
    X(CREATED, "created") X(STARTING, "starting") X(RUNNING, "running") X(PAUSED, "paused")        \
    X(SAVING, "saving") X(RESTORING, "restoring") X(INCOMING, "incoming")                          \
    X(OUTGOING, "outgoing") X(STOPPING, "stopping") X(STOPPED, "stopped") X(FAILED, "failed")      \
    X(BROKEN, "broken")

enum viv_state {
#define VIVI_X(e, s) VIV_ST_##e,
    VIVI_STATES(VIVI_X)
#undef VIVI_X
    VIV_ST_COUNT_
};

const char *vivi_state_name(enum viv_state s);
int vivi_state_parse(const char *s, enum viv_state *ret); /* 0 or −VIV_E_INVALID */
bool vivi_state_may(enum viv_state from, enum viv_state to); /* the transition table; from == to is false */
bool vivi_state_has_vmm(enum viv_state s); /* starting … stopping: a VMM process belongs to it */

/* Why a VM is stopped or failed. Codes are stable words; drivers add theirs as text. */
#define VIVI_REASONS(X)                                                                            \
    X(NONE, "none") X(GUEST_POWEROFF, "guest-poweroff") X(STOP, "stop") X(KILL, "kill")            \
    X(HOST_REBOOT, "host-reboot") X(GUEST_PANIC, "guest-panic") X(GUEST_REBOOT, "guest-reboot")    \
    X(VMM_EXIT, "vmm-exit") X(VMM_SIGNAL, "vmm-signal") X(SPAWN_FAILED, "spawn-failed")            \
    X(START_TIMEOUT, "start-timeout") X(UNOBSERVED, "unobserved")

enum vivi_reason {
#define VIVI_X(e, s) VIVI_REASON_##e,
    VIVI_REASONS(VIVI_X)
#undef VIVI_X
    VIVI_REASON_COUNT_
};
const char *vivi_reason_name(enum vivi_reason r);
int vivi_reason_parse(const char *s, enum vivi_reason *ret);
bool vivi_reason_is_failure(enum vivi_reason r); /* → state failed; otherwise stopped. Also what restart.policy on-failure looks at */

enum vivi_rung { VIVI_RUNG_NONE, VIVI_RUNG_AGENT, VIVI_RUNG_ACPI, VIVI_RUNG_VMM, VIVI_RUNG_SIGTERM, VIVI_RUNG_SIGKILL, VIVI_RUNG_COUNT_ };
const char *vivi_rung_name(enum vivi_rung r); /* "none" → NULL in JSON is the caller's business */
int vivi_rung_parse(const char *s, enum vivi_rung *ret);

/* Boot timeline steps, µs after requested. UINT64_MAX = not reached. */
#define VIVI_STEPS(X)                                                                              \
    X(REQUESTED, "requested_us") X(EXEC, "exec_us") X(API, "api_us") X(CREATED, "created_us")      \
    X(RUNNING, "running_us") X(FIRST_BYTE, "first_byte_us") X(MARKER, "marker_us")                 \
    X(READY, "ready_us")
enum vivi_step {
#define VIVI_X(e, s) VIVI_STEP_##e,
    VIVI_STEPS(VIVI_X)
#undef VIVI_X
    VIVI_STEP_COUNT_
};
const char *vivi_step_name(enum vivi_step s);
