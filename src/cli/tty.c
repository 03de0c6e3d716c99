#include "cli/tty.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* What to go back to at exit, so it must be global. */
static struct termios saved;
static int is_raw;

int vivi_tty_raw(bool output)
{
    struct termios t;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return 0;
    t = saved;
    cfmakeraw(&t);
    /* Guests send CR LF themselves, our own lines do not: only input is raw, NL still means CR NL.
     */
    if (!output)
        t.c_oflag = saved.c_oflag;
    (void)atexit(vivi_tty_restore);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &t) < 0)
        return 0;
    is_raw = 1;
    return 1;
}

bool vivi_tty_size(int *ret_rows, int *ret_cols)
{
    struct winsize w;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_row == 0 || w.ws_col == 0)
        return false;
    *ret_rows = w.ws_row;
    *ret_cols = w.ws_col;
    return true;
}

void vivi_tty_restore(void)
{
    if (is_raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    is_raw = 0;
}
