/*
 * Locks of open file descriptions (F_OFD_SETLK): held while any duplicate of the descriptor lives,
 * in whichever process. "Held" is therefore the liveness test of a VM's keeper and monitor.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/*
 * Opens (0600, created) and locks name exclusively. −VIV_E_BUSY when another description holds it
 * until the end of timeout_ms (0 = try once, −1 = wait for ever).
 */
int vivi_lock_open(int dir_fd, const char *name, int timeout_ms, int *ret_fd, viv_error *err);
/* Locks the description of an open file; 0 also when it holds the lock already, else BUSY. */
int vivi_lock_take(int fd, const char *name, viv_error *err);
/* Whether somebody holds it: 1 held, 0 free (also when the file is missing). Takes nothing. */
int vivi_lock_test(int dir_fd, const char *name, viv_error *err);
/* 1: fd still is the file called name in dir_fd; 0: that was removed or replaced. */
int vivi_lock_is_current(int fd, int dir_fd, const char *name, viv_error *err);
