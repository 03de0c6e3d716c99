#include "cli/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/fd.h"

/* Written by the handler, so they must be global. */
static int pipe_fds[2] = {-1, -1};
static viv *volatile to_wake;

static void on_signal(int sig)
{
    int saved = errno;
    unsigned char byte = (unsigned char)sig;
    viv *v = to_wake;

    if (write(pipe_fds[1], &byte, 1) < 0) {
        /* The pipe is full of signals: one more says nothing new. */
    }
    if (v)
        viv_wake(v);
    errno = saved;
}

int vivi_signals_catch(int *ret_fd, viv_error *err)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    int r;

    if (pipe_fds[0] < 0) {
        r = vivi_pipe(pipe_fds, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < 2; i++) {
            r = vivi_fd_nonblock(pipe_fds[i], true, err);
            if (r < 0)
                return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
            struct sigaction old, act;

            memset(&act, 0, sizeof(act)); /* without SA_RESTART: a blocked write is interrupted */
            act.sa_handler = on_signal;
            if (sigaction(caught[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
                (void)sigaction(caught[i], &act, NULL);
        }
    }
    *ret_fd = pipe_fds[0];
    return 0;
}

int vivi_signals_also(int sig, viv_error *err)
{
    struct sigaction act;

    memset(&act, 0, sizeof(act));
    act.sa_handler = on_signal;
    if (sigaction(sig, &act, NULL) < 0)
        return vivi_fail_errno(err, errno, "cannot catch signal %d", sig);
    return 0;
}

int vivi_signals_next(void)
{
    unsigned char byte;

    if (pipe_fds[0] < 0 || read(pipe_fds[0], &byte, 1) != 1)
        return 0;
    return byte;
}

void vivi_signals_wake(viv *v)
{
    to_wake = v;
}
