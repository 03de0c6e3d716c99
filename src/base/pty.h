/* Pseudo-terminals. */
#pragma once

#include "base/error.h"

/*
 * A raw pseudo-terminal: what is written to the master can be read from the slave byte for byte,
 * and nothing is echoed. Both descriptors are close-on-exec, at 3 or above, and no controlling
 * terminal of anybody; the master does not block. Errors: IO, NO_MEMORY.
 */
int vivi_pty_open(int *ret_master, int *ret_slave, viv_error *err);
