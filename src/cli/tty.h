/* The terminal in raw mode, and back on every way out. */
#pragma once

/* 1 raw now, 0 stdin is no terminal. Undone by vivi_tty_restore, and at exit in any case. */
int vivi_tty_raw(void);
void vivi_tty_restore(void);
