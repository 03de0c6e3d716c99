#include "base/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"

static int open_master(int *ret, viv_error *err)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot make a pseudo-terminal");
    *ret = vivi_fd_above_stdio(fd, err);
    return *ret < 0 ? *ret : 0;
}

static int open_slave(int master, int *ret, viv_error *err)
{
    char path[128];
    int fd, error = grantpt(master) < 0 || unlockpt(master) < 0 ? errno : 0;

    if (error == 0)
        error = ptsname_r(master, path, sizeof(path));
    if (error != 0)
        return vivi_fail_errno(err, error, "cannot unlock a pseudo-terminal");
    fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    *ret = vivi_fd_above_stdio(fd, err);
    return *ret < 0 ? *ret : 0;
}

static int make_raw(int slave, viv_error *err)
{
    struct termios t;

    if (tcgetattr(slave, &t) < 0)
        return vivi_fail_errno(err, errno, "cannot read the mode of a pseudo-terminal");
    cfmakeraw(&t);
    if (tcsetattr(slave, TCSANOW, &t) < 0)
        return vivi_fail_errno(err, errno, "cannot make a pseudo-terminal raw");
    return 0;
}

int vivi_pty_open(int *ret_master, int *ret_slave, viv_error *err)
{
    cleanup_close int master = -1, slave = -1;
    int r = open_master(&master, err);

    if (r == 0)
        r = open_slave(master, &slave, err);
    if (r == 0)
        r = make_raw(slave, err);
    if (r == 0)
        r = vivi_fd_nonblock(master, true, err);
    if (r < 0)
        return r;
    *ret_master = take_fd(&master);
    *ret_slave = take_fd(&slave);
    return 0;
}
