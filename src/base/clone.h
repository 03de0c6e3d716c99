/* Copies of files: sharing extents where the file system can, else piece by piece without filling
 * holes. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/*
 * Makes `to` (empty or not, open for writing) a copy of `from` that shares its extents: a matter of
 * milliseconds whatever the size. UNSUPPORTED where the two files cannot share: another or a simple
 * file system; `to` is untouched then. Errors: IO.
 */
int vivi_clone_fd(int from, int to, viv_error *err);

/*
 * Copies at most max_bytes of data from *at on to the same place of `to` and moves *at behind them;
 * holes are skipped and cost nothing. 1: there is more; 0: done, and `to` has the size of `from`.
 * Errors: IO. The file positions are not used.
 */
int vivi_copy_piece(int from, int to, uint64_t *at, uint64_t max_bytes, viv_error *err);
