/* plumbing.c: see plumbing.h. */
#include "plumbing.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

void plumbing_done(struct plumbing *t)
{
    for (int i = 0; i < 3; i++) {
        vivi_close(&t->child[i]);
        vivi_close(&t->ours[i]);
    }
    vivi_close(&t->status[0]);
    vivi_close(&t->status[1]);
}

/* Only our end does not block. */
static int one_pipe(int *ret_child, int *ret_ours, bool to_child, viv_error *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return vivi_fail_errno(err, errno, "cannot make a pipe");
    *ret_child = fds[to_child ? 0 : 1];
    *ret_ours = fds[to_child ? 1 : 0];
    (void)fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
    return 0;
}

static int open_terminal(struct plumbing *t, const struct child_request *q, viv_error *err)
{
    const struct winsize size = {.ws_row = q->rows, .ws_col = q->cols};

    if (openpty(&t->ours[1], &t->child[0], NULL, NULL, q->rows > 0 ? &size : NULL) < 0)
        return vivi_fail_errno(err, errno, "cannot open a terminal");
    (void)fcntl(t->ours[1], F_SETFD, FD_CLOEXEC);
    (void)fcntl(t->child[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(t->ours[1], F_SETFL, O_NONBLOCK);
    t->ours[0] = fcntl(t->ours[1], F_DUPFD_CLOEXEC, 3);
    t->child[1] = fcntl(t->child[0], F_DUPFD_CLOEXEC, 3);
    t->child[2] = fcntl(t->child[0], F_DUPFD_CLOEXEC, 3);
    if (t->ours[0] < 0 || t->child[1] < 0 || t->child[2] < 0)
        return vivi_fail_errno(err, errno, "cannot open a terminal");
    return 0;
}

int plumbing_lay(struct plumbing *t, const struct worker *w, const struct child_request *q,
                 viv_error *err)
{
    bool input = w != NULL ? w->input : q->input;
    bool plain = w == NULL && child_is_plain(q);
    int r = 0;

    if (!plain && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->status) < 0)
        return vivi_fail_errno(err, errno, "cannot make a socket pair");
    if (!plain)
        (void)fcntl(t->status[0], F_SETFL, O_NONBLOCK);
    if (w == NULL && q->tty)
        return open_terminal(t, q, err);
    if (r == 0 && input)
        r = one_pipe(&t->child[0], &t->ours[0], true, err);
    if (r == 0 && (w == NULL || w->output))
        r = one_pipe(&t->child[1], &t->ours[1], false, err);
    if (r == 0 && w == NULL)
        r = one_pipe(&t->child[2], &t->ours[2], false, err);
    return r;
}
