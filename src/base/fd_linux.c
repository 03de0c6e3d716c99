/* Descriptors that are close-on-exec from birth: pipe2, accept4, MSG_CMSG_CLOEXEC. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Both ends at 3 or above; both closed on failure. */
static int keep_pair(const int fds[2], int ret_fds[2], viv_error *err)
{
    cleanup_close int a = fds[0], b = fds[1];
    int r;

    r = vivi_fd_above_stdio(take_fd(&a), err);
    if (r < 0)
        return r;
    a = r;
    r = vivi_fd_above_stdio(take_fd(&b), err);
    if (r < 0)
        return r;
    ret_fds[0] = take_fd(&a);
    ret_fds[1] = r;
    return 0;
}

int vivi_pipe(int ret_fds[2], viv_error *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return vivi_fail_errno(err, errno, "cannot make a pipe");
    return keep_pair(fds, ret_fds, err);
}

int vivi_socketpair(int ret_fds[2], viv_error *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return vivi_fail_errno(err, errno, "cannot make a socket pair");
    return keep_pair(fds, ret_fds, err);
}

int vivi_accept(int fd, int *ret_fd, viv_error *err)
{
    int c, r;

    do
        c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    while (c < 0 && errno == EINTR);
    if (c < 0 && (errno == EAGAIN || errno == ECONNABORTED))
        return 0;
    if (c < 0)
        return vivi_fail_errno(err, errno, "cannot accept a connection");
    r = vivi_fd_above_stdio(c, err);
    if (r < 0)
        return r;
    *ret_fd = r;
    return 1;
}

int vivi_peer_uid(int fd, uid_t *ret_uid, viv_error *err)
{
    struct ucred c;
    socklen_t len = sizeof(c);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
        return vivi_fail_errno(err, errno, "cannot tell who is connected");
    *ret_uid = c.uid;
    return 0;
}

int vivi_peer_pid(int fd, pid_t *ret_pid, viv_error *err)
{
    struct ucred c;
    socklen_t len = sizeof(c);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
        return vivi_fail_errno(err, errno, "cannot tell who is connected");
    *ret_pid = c.pid;
    return 0;
}

/* Room for one more than a message may carry: an excess is seen, not silently cut. */
union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * (VIVI_MAX_FDS + 1))];
};

ssize_t vivi_send_fds(int fd, const void *buf, size_t len, const int *fds, size_t n_fds,
                      viv_error *err)
{
    union control control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (n_fds > VIVI_MAX_FDS)
        return vivi_fail(err, VIV_E_PROTOCOL, "more than %d descriptors", VIVI_MAX_FDS);
    if (n_fds > 0) {
        memset(&control, 0, sizeof(control));
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
    }
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? vivi_fail_errno(err, errno, "cannot send") : n;
}

struct received {
    int fds[VIVI_MAX_FDS + 2];
    size_t n;
};

static void received_done(struct received *r)
{
    for (size_t i = 0; i < r->n; i++)
        vivi_close(&r->fds[i]);
}

static void collect(struct msghdr *m, struct received *ret)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (ret->n < ARRAY_SIZE(ret->fds))
                ret->fds[ret->n++] = fd;
            else
                (void)close(fd);
        }
    }
}

ssize_t vivi_recv_fds(int fd, void *buf, size_t len, int *fds, size_t cap_fds, size_t *ret_n_fds,
                      viv_error *err)
{
    VIVI_CLEANUP(received_done) struct received got = {.n = 0};
    union control control;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t n;

    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return vivi_fail_errno(err, errno, "cannot receive");

    collect(&m, &got);
    if (got.n > cap_fds || (m.msg_flags & MSG_CTRUNC) != 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "more than %zu descriptors in a message", cap_fds);
    for (size_t i = 0; i < got.n; i++) {
        int r = vivi_fd_above_stdio(take_fd(&got.fds[i]), err);

        if (r < 0)
            return r;
        got.fds[i] = r;
    }
    memcpy(fds, got.fds, sizeof(int) * got.n);
    *ret_n_fds = got.n;
    got.n = 0;
    return n;
}

int vivi_fd_count(void)
{
    cleanup_closedir DIR *d = opendir("/proc/self/fd");
    int n = -1; /* the directory's own */

    if (d == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            n++;
    return n;
}
