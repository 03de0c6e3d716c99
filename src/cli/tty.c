#include "cli/tty.h"

#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* What to go back to at exit, so it must be global. */
static struct termios saved;
static int is_raw;

int vivi_tty_raw(void)
{
    struct termios t;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return 0;
    t = saved;
    cfmakeraw(&t);
    /* Guests send CR LF themselves, our own lines do not: only input is raw, NL still means CR NL.
     */
    t.c_oflag = saved.c_oflag;
    (void)atexit(vivi_tty_restore);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &t) < 0)
        return 0;
    is_raw = 1;
    return 1;
}

void vivi_tty_restore(void)
{
    if (is_raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    is_raw = 0;
}
