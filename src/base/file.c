#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/random.h"

#define NAME_BYTES 4096
#define MAX_DEPTH  64

int vivi_read_fd(int fd, struct vivi_buf *buf, viv_error *err)
{
    char probe;
    ssize_t n;

    for (;;) {
        size_t room = buf->max_bytes - buf->len;
        bool full = room == 0;

        /* At the ceiling one byte elsewhere tells a file that just fits from one that does not. */
        room = room < 16384 ? room : 16384;
        if (vivi_buf_reserve(buf, room) < 0)
            return vivi_buf_check(buf, err);
        n = full ? read(fd, &probe, 1) : read(fd, buf->data + buf->len, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot read");
        if (n > 0 && full)
            return vivi_fail(err, VIV_E_PROTOCOL, "larger than %zu bytes", buf->max_bytes);
        buf->len += (size_t)n;
        buf->data[buf->len] = '\0';
        if (n == 0)
            return 0;
    }
}

int vivi_read_file_at(int dir_fd, const char *name, struct vivi_buf *buf, viv_error *err)
{
    /* Non-blocking: a FIFO in the place of a record must be an error, not a hang. */
    cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t before = buf->len;
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    if (S_ISDIR(st.st_mode))
        return vivi_fail_errno(err, EISDIR, "%s", name);
    if (!S_ISREG(st.st_mode))
        return vivi_fail(err, VIV_E_INVALID, "%s: not a regular file", name);
    r = vivi_read_fd(fd, buf, err);
    if (r < 0) {
        buf->len = before;
        if (buf->data != NULL)
            buf->data[before] = '\0';
        return vivi_wrap(err, r, "%s", name);
    }
    return 0;
}

/* The directory that name stands in, for fsync. */
static int open_parent(int dir_fd, const char *name, int *ret_fd, viv_error *err)
{
    const char *slash = strrchr(name, '/');
    char parent[NAME_BYTES] = ".";
    size_t len;

    if (slash != NULL) {
        len = slash == name ? 1 : (size_t)(slash - name);
        if (len >= sizeof(parent))
            return vivi_fail_errno(err, ENAMETOOLONG, "%s", name);
        memcpy(parent, name, len);
        parent[len] = '\0';
    }
    return vivi_open_dir(dir_fd, parent, ret_fd, err);
}

/*
 * The temporary of name. Its own name is fixed, so that what a killed writer left behind is used up
 * by the next one; a lock tells such a leftover from the file of a writer at work, beside which a
 * random name is taken. 1: *ret_fd is ours and empty; 0: somebody else's now, try again or another
 * name.
 */
static int open_temporary(int dir_fd, const char *temporary, int *ret_fd, viv_error *err)
{
    cleanup_close int fd = -1;
    struct stat mine, there;
    int r = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (r < 0)
        return vivi_fail_errno(err, errno, "%s", temporary);
    r = vivi_fd_above_stdio(r, err);
    if (r < 0)
        return r;
    fd = r;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 0 : vivi_fail_errno(err, errno, "%s", temporary);
    if (fstat(fd, &mine) < 0)
        return vivi_fail_errno(err, errno, "%s", temporary);
    if (fstatat(dir_fd, temporary, &there, AT_SYMLINK_NOFOLLOW) < 0 || mine.st_ino != there.st_ino)
        return 0; /* became the file itself between our open and our lock */
    if (mine.st_size > 0 && ftruncate(fd, 0) < 0)
        return vivi_fail_errno(err, errno, "%s", temporary);
    *ret_fd = take_fd(&fd);
    return 1;
}

static int choose_temporary(int dir_fd, const char *name, char *temporary, int *ret_fd,
                            viv_error *err)
{
    char salt[9] = "";
    int r = 0;

    for (int i = 0; i < 8 && r == 0; i++) {
        if (i > 0 && (r = vivi_random_hex(salt, 8, err)) < 0)
            return r;
        if (snprintf(temporary, NAME_BYTES, "%s.tmp%s", name, salt) >= NAME_BYTES)
            return vivi_fail_errno(err, ENAMETOOLONG, "%s", name);
        r = open_temporary(dir_fd, temporary, ret_fd, err);
    }
    return r != 0 ? r : vivi_fail_errno(err, EBUSY, "%s", temporary);
}

static int sync_parent(int dir_fd, const char *name, viv_error *err)
{
    cleanup_close int parent = -1;
    int r = open_parent(dir_fd, name, &parent, err);

    if (r < 0)
        return r;
    if (fsync(parent) < 0)
        return vivi_fail_errno(err, errno, "%s: cannot sync its directory", name);
    return 0;
}

int vivi_write_file_at(int dir_fd, const char *name, const void *data, size_t len,
                       enum vivi_durability how, viv_error *err)
{
    cleanup_close int fd = -1;
    char temporary[NAME_BYTES];
    int r = choose_temporary(dir_fd, name, temporary, &fd, err);

    if (r < 0)
        return r;
    r = vivi_write_full(fd, data, len, -1, err);
    if (r < 0)
        (void)vivi_wrap(err, r, "%s", name);
    else if (how == VIVI_DURABLE && fsync(fd) < 0)
        r = vivi_fail_errno(err, errno, "%s: cannot sync", name);
    if (r == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
        r = vivi_fail_errno(err, errno, "%s", name);
    if (r < 0) {
        (void)unlinkat(dir_fd, temporary,
                       0); /* best effort; the error above is the one to report */
        return r;
    }
    return how == VIVI_DURABLE ? sync_parent(dir_fd, name, err) : 0;
}

int vivi_append_at(int dir_fd, const char *name, const void *data, size_t len, viv_error *err)
{
    cleanup_close int fd =
        openat(dir_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n;
    off_t end;

    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    do
        n = write(fd, data, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    if ((size_t)n == len)
        return 0;
    /* A part of a record would spoil the next one, too. The caller's lock keeps other appenders
     * away. */
    end = lseek(fd, 0, SEEK_CUR);
    if (end >= n)
        (void)!ftruncate(fd, end - n);
    return vivi_fail_errno(err, ENOSPC, "%s", name);
}

int vivi_mkdir_path(const char *path, mode_t mode, viv_error *err)
{
    char part[NAME_BYTES];
    size_t len = strlen(path);
    struct stat st;

    if (len == 0 || len >= sizeof(part))
        return vivi_fail_errno(err, len == 0 ? ENOENT : ENAMETOOLONG, "%s", path);
    memcpy(part, path, len + 1);
    for (char *p = part + 1; p <= part + len; p++) {
        char kept = *p;

        if (kept != '/' && kept != '\0')
            continue;
        *p = '\0';
        if (mkdir(part, mode) < 0) {
            int e = errno;

            /* It may be there where nothing can be made: a read-only file system, another owner. */
            if (e != EEXIST && stat(part, &st) < 0)
                return vivi_fail_errno(err, e, "%s", part);
        }
        *p = kept;
    }
    if (stat(path, &st) < 0)
        return vivi_fail_errno(err, errno, "%s", path);
    return S_ISDIR(st.st_mode) ? 0 : vivi_fail_errno(err, ENOTDIR, "%s", path);
}

int vivi_open_dir(int dir_fd, const char *name, int *ret_fd, viv_error *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    fd = vivi_fd_above_stdio(fd, err);
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

static int remove_below(int dir_fd, const char *name, int depth, viv_error *err);

/* Empties the directory that fd_consume is open on. */
static int empty_dir(int fd_consume, const char *name, int depth, viv_error *err)
{
    cleanup_closedir DIR *d = fdopendir(fd_consume);
    int r;

    if (d == NULL) {
        r = vivi_fail_errno(err, errno, "%s", name);
        (void)close(fd_consume);
        return r;
    }
    for (;;) {
        const struct dirent *e;

        errno = 0;
        e = readdir(d);
        if (e == NULL)
            return errno == 0 ? 0 : vivi_fail_errno(err, errno, "%s", name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        r = remove_below(dirfd(d), e->d_name, depth + 1, err);
        if (r < 0)
            return vivi_wrap(err, r, "%s", name);
    }
}

static int remove_below(int dir_fd, const char *name, int depth, viv_error *err)
{
    int fd, r;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM) /* EPERM: what POSIX (and macOS) says of a directory */
        return vivi_fail_errno(err, errno, "%s", name);
    if (depth > MAX_DEPTH)
        return vivi_fail_errno(err, ELOOP, "%s", name);
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", name);
    r = empty_dir(fd, name, depth, err);
    if (r < 0)
        return r;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return vivi_fail_errno(err, errno, "%s", name);
    return 0;
}

int vivi_remove_tree_at(int dir_fd, const char *name, viv_error *err)
{
    return remove_below(dir_fd, name, 0, err);
}
