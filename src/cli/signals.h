/* Interrupts as a readable descriptor: SIGINT, SIGTERM and SIGHUP while something is waited for. */
#pragma once

#include "base/error.h"

/* Catches them from now on (one that the caller ignores stays ignored). The descriptor, borrowed,
 * becomes readable when one came. Calling it again is harmless. */
int vivi_signals_catch(int *ret_fd, viv_error *err);
/* One more than those. */
int vivi_signals_also(int sig, viv_error *err);
/* The oldest signal that came since the last call; 0 = none. */
int vivi_signals_next(void);
/* Whether blocking calls of v end with CANCELLED when a signal comes; NULL = no longer. */
void vivi_signals_wake(viv *v);
