#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "image.h"

/* File systems without RENAME_EXCHANGE: a moment without the old one, the next build repairs a
 * kill. */
static int exchange_in_steps(int dir_fd, const char *from, const char *to, viv_error *err)
{
    char aside[300];

    (void)snprintf(aside, sizeof(aside), "%s.old", from);
    if (renameat(dir_fd, to, dir_fd, aside) < 0 || renameat(dir_fd, from, dir_fd, to) < 0 ||
        renameat(dir_fd, aside, dir_fd, from) < 0)
        return vivi_fail_errno(err, errno, "cannot replace %s", to);
    return 0;
}

int vivi_image_exchange(int dir_fd, const char *from, const char *to, viv_error *err)
{
    if (faccessat(dir_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (renameat(dir_fd, from, dir_fd, to) < 0)
            return vivi_fail_errno(err, errno, "cannot rename %s", from);
        return 0;
    }
    if (renameat2(dir_fd, from, dir_fd, to, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS)
        return exchange_in_steps(dir_fd, from, to, err);
    return vivi_fail_errno(err, errno, "cannot replace %s", to);
}

bool vivi_self_path(char ret_path[4096])
{
    ssize_t len = readlink("/proc/self/exe", ret_path, 4095);

    if (len <= 0 || len == 4095)
        return false;
    ret_path[len] = '\0';
    return true;
}
