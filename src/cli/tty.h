/* The terminal in raw mode, and back on every way out. */
#pragma once

#include <stdbool.h>

/*
 * 1 raw now, 0 stdin is no terminal. output: nothing is done to what is printed either, for a guest
 * that has a terminal of its own. Undone by vivi_tty_restore, and at exit in any case.
 */
int vivi_tty_raw(bool output);
/* The size of the terminal on stdin; false: it is none, or does not know. */
bool vivi_tty_size(int *ret_rows, int *ret_cols);
void vivi_tty_restore(void);
