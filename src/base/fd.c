#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"

static int set_flag(int fd, int get, int put, int flag, bool on)
{
    int flags = fcntl(fd, get), wanted = on ? flags | flag : flags & ~flag;

    if (flags < 0)
        return -1;
    return flags == wanted || fcntl(fd, put, wanted) >= 0 ? 0 : -1;
}

int vivi_fd_nonblock(int fd, bool on, viv_error *err)
{
    if (set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on) < 0)
        return vivi_fail_errno(err, errno, "cannot change the mode of descriptor %d", fd);
    return 0;
}

int vivi_fd_cloexec(int fd, bool on, viv_error *err)
{
    if (set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on) < 0)
        return vivi_fail_errno(err, errno, "cannot change the flags of descriptor %d", fd);
    return 0;
}

int vivi_fd_above_stdio(int fd_consume, viv_error *err)
{
    cleanup_close int fd = fd_consume;
    int r;

    if (fd >= 3) {
        r = vivi_fd_cloexec(fd, true, err);
        return r < 0 ? r : take_fd(&fd);
    }
    r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return r < 0 ? vivi_fail_errno(err, errno, "cannot move descriptor %d", fd) : r;
}

/* What is left of a time-out that began at start_us; −1 stays −1. */
static int left_ms(int timeout_ms, uint64_t start_us)
{
    uint64_t spent_ms;

    if (timeout_ms < 0)
        return -1;
    spent_ms = (vivi_mono_us() - start_us) / 1000;
    return spent_ms >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int)spent_ms;
}

int vivi_wait_fd(int fd, short events, int timeout_ms, viv_error *err)
{
    uint64_t start_us = vivi_mono_us();
    struct pollfd p = {.fd = fd, .events = events};
    int left = timeout_ms, n;

    while ((n = poll(&p, 1, left)) < 0) {
        if (errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot wait for descriptor %d", fd);
        left = left_ms(timeout_ms, start_us);
    }
    return n > 0 ? 1 : 0;
}

/* After EAGAIN: 0 go on, else the error. */
static int wait_more(int fd, short events, int timeout_ms, uint64_t start_us, viv_error *err)
{
    int r = vivi_wait_fd(fd, events, left_ms(timeout_ms, start_us), err);

    if (r < 0)
        return r;
    return r == 0 ? vivi_fail(err, VIV_E_TIMEOUT, "timed out after %d ms", timeout_ms) : 0;
}

int vivi_read_full(int fd, void *buf, size_t len, int timeout_ms, viv_error *err)
{
    uint64_t start_us = vivi_mono_us();
    char *p = buf;
    ssize_t n;
    int r;

    while (len > 0) {
        n = read(fd, p, len);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n == 0) {
            return vivi_fail(err, VIV_E_IO, "unexpected end of file");
        } else if (errno == EAGAIN) {
            r = wait_more(fd, POLLIN, timeout_ms, start_us, err);
            if (r < 0)
                return r;
        } else if (errno != EINTR) {
            return vivi_fail_errno(err, errno, "cannot read");
        }
    }
    return 0;
}

int vivi_write_full(int fd, const void *buf, size_t len, int timeout_ms, viv_error *err)
{
    uint64_t start_us = vivi_mono_us();
    const char *p = buf;
    bool is_socket = true;

    while (len > 0) {
        viv_error e = VIV_ERROR_INIT;
        ssize_t n;

        /* A library must not raise SIGPIPE in its host; only sending on a socket can promise that.
         */
        if (is_socket)
            n = vivi_send_fds(fd, p, len, NULL, 0, &e);
        else if ((n = write(fd, p, len)) < 0)
            e.sys_errno = errno;

        if (n >= 0) {
            p += n;
            len -= (size_t)n;
        } else if (e.sys_errno == ENOTSOCK) {
            is_socket = false;
        } else if (e.sys_errno == EAGAIN) {
            int r = wait_more(fd, POLLOUT, timeout_ms, start_us, err);

            if (r < 0)
                return r;
        } else if (e.sys_errno != EINTR) {
            return vivi_fail_errno(err, e.sys_errno, "cannot write");
        }
    }
    return 0;
}

static int unix_address(const char *path, struct sockaddr_un *ret, viv_error *err)
{
    size_t len = strlen(path);

    if (len >= VIVI_SUN_PATH_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%s: socket path is longer than %d bytes", path,
                         VIVI_SUN_PATH_MAX - 1);
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    memcpy(ret->sun_path, path, len + 1);
    return 0;
}

static int unix_socket(int *ret_fd, viv_error *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), r;

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot make a socket");
    r = vivi_fd_above_stdio(fd, err);
    if (r < 0)
        return r;
    *ret_fd = r;
    return 0;
}

int vivi_unix_listen(const char *path, int backlog, int *ret_fd, viv_error *err)
{
    cleanup_close int fd = -1;
    struct sockaddr_un a;
    struct stat st;
    int r = unix_address(path, &a, err);

    if (r < 0)
        return r;
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return vivi_fail(err, VIV_E_EXISTS, "%s: exists and is no socket", path);
        if (unlink(path) < 0 && errno != ENOENT)
            return vivi_fail_errno(err, errno, "%s", path);
    }
    r = unix_socket(&fd, err);
    if (r < 0)
        return r;
    (void)fchmod(fd, 0600); /* Linux makes the file with this mode: never open to others */
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return vivi_fail_errno(err, errno, "%s", path);
    if (chmod(path, 0600) < 0 || listen(fd, backlog) < 0) {
        r = vivi_fail_errno(err, errno, "%s", path);
        (void)unlink(path);
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

/* "Refused" is a socket file without a listener: its owner died or is not up yet. */
static int connect_failed(const char *path, int sys_errno, viv_error *err)
{
    int r = vivi_fail_errno(err, sys_errno, "%s", path);

    if (sys_errno != ECONNREFUSED)
        return r;
    if (err != NULL) {
        err->code = VIV_E_BUSY;
        err->flags |= VIV_ERR_RETRY;
    }
    return -VIV_E_BUSY;
}

int vivi_unix_connect(const char *path, int *ret_fd, viv_error *err)
{
    cleanup_close int fd = -1;
    struct sockaddr_un a;
    int r = unix_address(path, &a, err);

    if (r < 0)
        return r;
    r = unix_socket(&fd, err);
    if (r < 0)
        return r;
    /* Non-blocking: a full backlog (a stopped monitor) must be an answer, not a hang. */
    r = vivi_fd_nonblock(fd, true, err);
    if (r < 0)
        return r;
    while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        if (errno != EINTR)
            return connect_failed(path, errno, err);
    r = vivi_fd_nonblock(fd, false, err);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}
