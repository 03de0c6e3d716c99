#include "monitor/restart.h"

bool vivi_restart_wanted(enum vivi_restart policy, enum vivi_reason reason)
{
    if (reason == VIVI_REASON_STOP || reason == VIVI_REASON_KILL ||
        reason == VIVI_REASON_HOST_REBOOT || reason == VIVI_REASON_MIGRATED)
        return false;
    switch (policy) {
    case VIVI_RESTART_NEVER: return false;
    case VIVI_RESTART_ON_FAILURE: return vivi_reason_is_failure(reason);
    case VIVI_RESTART_ALWAYS: return true;
    }
    return false;
}

uint64_t vivi_restart_delay(int64_t first_ms, uint64_t ran_ms, int64_t *backoff_ms)
{
    int64_t first = first_ms < 1 ? 1 : first_ms;
    int64_t delay = *backoff_ms;

    if (delay <= 0 || ran_ms >= VIVI_BACKOFF_RESET_MS)
        delay = first;
    if (delay > VIVI_BACKOFF_MAX_MS)
        delay = VIVI_BACKOFF_MAX_MS;
    *backoff_ms = delay > VIVI_BACKOFF_MAX_MS / 2 ? VIVI_BACKOFF_MAX_MS : delay * 2;
    return (uint64_t)delay;
}
