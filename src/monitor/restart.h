/* Restart policy as arithmetic: who is started again, and when. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/config.h"
#include "model/model.h"

#define VIVI_BACKOFF_MAX_MS   60000 /* the longest delay between two starts */
#define VIVI_BACKOFF_RESET_MS 60000 /* a run that lasted this long starts the row again */

/* Whether a VM that ended for this reason is to be started again. stop, kill and a reboot of the
 * host never are: somebody wanted it down, or autostart decides. */
bool vivi_restart_wanted(enum vivi_restart policy, enum vivi_reason reason);

/*
 * The delay before the next start, and what comes after it in *backoff_ms (0 = the row has not
 * begun). first_ms: restart.backoff. ran_ms: how long this run was running, 0 = never got there.
 */
uint64_t vivi_restart_delay(int64_t first_ms, uint64_t ran_ms, int64_t *backoff_ms);
