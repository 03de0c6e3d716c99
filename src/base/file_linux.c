/* What POSIX lacks: renameat2, fallocate's holes, SEEK_DATA. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>

/*
 * File systems without RENAME_NOREPLACE (some network and FUSE ones): link(2) refuses an existing
 * target itself; a directory cannot be linked, but rename(2) replaces only an empty one, and nobody
 * makes empty ones in that place.
 */
static int rename_carefully(int old_dir, const char *old_name, int new_dir, const char *new_name)
{
    struct stat st;

    if (fstatat(old_dir, old_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode)) {
        if (linkat(old_dir, old_name, new_dir, new_name, 0) < 0)
            return -1;
        return unlinkat(old_dir, old_name, 0);
    }
    if (fstatat(new_dir, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(old_dir, old_name, new_dir, new_name);
}

int vivi_rename_noreplace(int old_dir, const char *old_name, int new_dir, const char *new_name,
                          viv_error *err)
{
    int e;

    if (syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, RENAME_NOREPLACE) == 0)
        return 0;
    e = errno;
    if (e == EINVAL || e == ENOSYS) {
        if (rename_carefully(old_dir, old_name, new_dir, new_name) == 0)
            return 0;
        e = errno;
    }
    if (e == ENOTEMPTY)
        e = EEXIST;
    return vivi_fail_errno(err, e, "%s", e == ENOENT ? old_name : new_name);
}

int vivi_punch_head(int fd, uint64_t end_bytes, viv_error *err)
{
    uint64_t len = end_bytes / 4096 * 4096;

    if (len == 0)
        return 0;
    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)len) < 0)
        if (errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot free the head of the file");
    return 0;
}

int vivi_reserve(int fd, uint64_t from, uint64_t bytes, viv_error *err)
{
    while (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) < 0)
        if (errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot reserve disk space");
    return 0;
}

int vivi_data_start(int fd, uint64_t from, uint64_t *ret_offset, viv_error *err)
{
    off_t at = lseek(fd, (off_t)from, SEEK_DATA);

    if (at < 0 && errno == ENXIO)
        at = lseek(fd, 0, SEEK_END);
    if (at < 0)
        return vivi_fail_errno(err, errno, "cannot find the start of the data");
    *ret_offset = (uint64_t)at;
    return 0;
}
