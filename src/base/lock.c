#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"

#define LONGEST_NAP_MS 20

static struct flock whole_file(short type)
{
    struct flock l;

    memset(&l, 0, sizeof(l)); /* l_pid must be 0 for locks of open file descriptions */
    l.l_type = type;
    l.l_whence = SEEK_SET;
    return l;
}

static int busy(viv_error *err, const char *name)
{
    int r = vivi_fail(err, VIV_E_BUSY, "%s: is held by another process", name);

    if (err != NULL)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

static bool is_held_error(int e)
{
    return e == EAGAIN || e == EACCES;
}

/* The system offers no wait with a deadline for file locks, so this alone naps and asks again. */
static int lock_until(int fd, const char *name, int timeout_ms, viv_error *err)
{
    uint64_t deadline_us = vivi_mono_us() + (uint64_t)timeout_ms * 1000u;
    long nap_ms = 1;

    for (;;) {
        struct flock l = whole_file(F_WRLCK);
        struct timespec nap = {.tv_nsec = nap_ms * 1000000L};

        if (fcntl(fd, F_OFD_SETLK, &l) == 0)
            return 0;
        if (!is_held_error(errno) && errno != EINTR)
            return vivi_fail_errno(err, errno, "%s: cannot lock", name);
        if (vivi_mono_us() >= deadline_us)
            return busy(err, name);
        (void)nanosleep(&nap, NULL);
        nap_ms = nap_ms * 2 < LONGEST_NAP_MS ? nap_ms * 2 : LONGEST_NAP_MS;
    }
}

static int lock_forever(int fd, const char *name, viv_error *err)
{
    struct flock l = whole_file(F_WRLCK);

    while (fcntl(fd, F_OFD_SETLKW, &l) < 0)
        if (errno != EINTR)
            return vivi_fail_errno(err, errno, "%s: cannot lock", name);
    return 0;
}

int vivi_lock_open(int dir_fd, const char *name, int timeout_ms, int *ret_fd, viv_error *err)
{
    cleanup_close int fd = -1;
    int r;

    r = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    r = vivi_fd_above_stdio(r, err);
    if (r < 0)
        return r;
    fd = r;
    r = timeout_ms < 0 ? lock_forever(fd, name, err) : lock_until(fd, name, timeout_ms, err);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

int vivi_lock_take(int fd, const char *name, viv_error *err)
{
    return lock_until(fd, name, 0, err);
}

int vivi_lock_test(int dir_fd, const char *name, viv_error *err)
{
    cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct flock l = whole_file(F_WRLCK);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    if (fcntl(fd, F_OFD_GETLK, &l) < 0)
        return vivi_fail_errno(err, errno, "%s: cannot test the lock", name);
    return l.l_type == F_UNLCK ? 0 : 1;
}

int vivi_lock_is_current(int fd, int dir_fd, const char *name, viv_error *err)
{
    struct stat mine, there;

    if (fstat(fd, &mine) < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    if (fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "%s", name);
    return mine.st_dev == there.st_dev && mine.st_ino == there.st_ino ? 1 : 0;
}
