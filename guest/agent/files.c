/*
 * files.c: stat, read and write of single files. Paths are the guest's own and are followed as any
 * program of the guest would follow them; what comes from elsewhere, the trees, is in tree.c.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"

#define COPY_BYTES 65536

static const char *type_name(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "dir";
    return S_ISLNK(mode) ? "link" : "other";
}

static void put_stat(struct vivi_aw_writer *w, const struct stat *st)
{
    vivi_aw_put_u64(w, "size", (uint64_t)st->st_size);
    vivi_aw_put_u64(w, "mode", st->st_mode & 07777);
    vivi_aw_put_u64(w, "mtime_ns",
                    (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec);
}

int work_stat(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    const char *path = request_path(q, err);
    char target[PATH_MAX];
    struct stat st;
    ssize_t n;

    if (path == NULL)
        return -err->code;
    if (lstat(path, &st) < 0)
        return vivi_fail_errno(err, errno, "%s", path);
    vivi_aw_put(ret, "type", type_name(st.st_mode));
    put_stat(ret, &st);
    vivi_aw_put_u64(ret, "uid", st.st_uid);
    vivi_aw_put_u64(ret, "gid", st.st_gid);
    if (S_ISLNK(st.st_mode) && (n = readlink(path, target, sizeof(target) - 1)) > 0) {
        target[n] = '\0';
        vivi_aw_put(ret, "target", target);
        if (stat(path, &st) == 0)
            vivi_aw_put(ret, "leads_to", type_name(st.st_mode));
    }
    return 0;
}

/* As much as was asked for, or up to the end. */
static int send_file(int fd, const char *path, uint64_t left, viv_error *err)
{
    static char buf[COPY_BYTES];

    while (left > 0) {
        ssize_t n = read(fd, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf));
        size_t at = 0;

        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot read %s", path);
        if (worker_stopped())
            return vivi_fail(err, VIV_E_CANCELLED, "stopped");
        if (n == 0)
            return 0;
        while (n > 0 && at < (size_t)n) {
            ssize_t m = write(STDOUT_FILENO, buf + at, (size_t)n - at);

            if (m < 0 && errno != EINTR)
                return vivi_fail_errno(err, errno, "cannot send");
            if (worker_stopped())
                return vivi_fail(err, VIV_E_CANCELLED, "stopped");
            at += m > 0 ? (size_t)m : 0;
        }
        left -= n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

/* What is there of it by now, as far as the agent can send it by itself. */
static int lend_file(int fd, uint64_t size, uint64_t offset, uint64_t *length, viv_error *err)
{
    uint64_t there = offset < size ? size - offset : 0, sent;
    int r = worker_lend(fd, offset, there < *length ? there : *length, false, &sent, err);

    if (r == 0 && sent > 0 && lseek(fd, (off_t)(offset + sent), SEEK_SET) < 0)
        r = vivi_fail_errno(err, errno, "cannot seek");
    *length -= r == 0 ? sent : 0;
    return r;
}

int work_read(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    const char *path = request_path(q, err);
    uint64_t offset = 0, length = UINT64_MAX;
    cleanup_close int fd = -1;
    char buf[200];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);
    struct stat st;
    int r;

    if (path == NULL)
        return -err->code;
    r = vivi_aw_field_u64(q, "offset", INT64_MAX, &offset, err);
    if (r == 0)
        r = vivi_aw_field_u64(q, "length", UINT64_MAX, &length, err);
    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    if (S_ISDIR(st.st_mode))
        return vivi_fail(err, VIV_E_INVALID, "%s is a directory", path);
    if (offset > 0 && lseek(fd, (off_t)offset, SEEK_SET) < 0)
        return vivi_fail_errno(err, errno, "cannot seek in %s", path);
    put_stat(&w, &st);
    worker_started(&w);
    if (S_ISREG(st.st_mode))
        r = lend_file(fd, (uint64_t)st.st_size, offset, &length, err);
    return r < 0 ? r : send_file(fd, path, length, err);
}

/* All of channel 0 into fd. */
static int take_input(int fd, const char *path, uint64_t *ret_bytes, viv_error *err)
{
    static char buf[COPY_BYTES];
    ssize_t n;

    while ((n = read(STDIN_FILENO, buf, sizeof(buf))) != 0) {
        size_t at = 0;

        if (worker_stopped())
            break;
        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot receive");
        while (n > 0 && at < (size_t)n) {
            ssize_t m = write(fd, buf + at, (size_t)n - at);

            if (m < 0 && errno != EINTR)
                return vivi_fail_errno(err, errno, "cannot write %s", path);
            at += m > 0 ? (size_t)m : 0;
        }
        *ret_bytes += n > 0 ? (uint64_t)n : 0;
    }
    return worker_input_complete() ? 0 : vivi_fail(err, VIV_E_CANCELLED, "stopped");
}

struct target {
    char path[PATH_MAX];
    bool is_new, in_place; /* in place: appended to, a device, a FIFO */
    struct stat st;        /* of the one that is there */
};

static int find_target(const struct vivi_aw_frame *q, struct target *t, viv_error *err)
{
    const char *append = vivi_aw_field(q->payload, q->len, "append");
    int r = request_target(q, t->path, err);

    if (r < 0)
        return r;
    if (stat(t->path, &t->st) < 0) {
        t->is_new = true;
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : vivi_fail_errno(err, errno, "cannot write %s", t->path);
    }
    if (S_ISDIR(t->st.st_mode))
        return vivi_fail(err, VIV_E_EXISTS, "%s is a directory", t->path);
    if (vivi_aw_field(q->payload, q->len, "excl") != NULL)
        return vivi_fail(err, VIV_E_EXISTS, "%s exists", t->path);
    t->in_place = append != NULL || !S_ISREG(t->st.st_mode);
    return 0;
}

/* Into the file itself: what came stays, whatever happens. */
static int write_in_place(const struct target *t, uint64_t *ret_bytes, viv_error *err)
{
    cleanup_close int fd = open(t->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot write %s", t->path);
    return take_input(fd, t->path, ret_bytes, err);
}

/* Beside it, and over it when all has come. */
static int write_anew(const struct target *t, mode_t mode, uint64_t *ret_bytes, viv_error *err)
{
    char temp[PATH_MAX + 16];
    cleanup_close int fd = -1;
    int r;

    (void)snprintf(temp, sizeof(temp), "%s.viv-%d", t->path, (int)getpid());
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot write %s", t->path);
    r = take_input(fd, t->path, ret_bytes, err);
    if (r == 0 && !t->is_new && fchown(fd, t->st.st_uid, t->st.st_gid) < 0 && errno != EPERM)
        r = vivi_fail_errno(err, errno, "cannot give %s its owner", t->path);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = vivi_fail_errno(err, errno, "cannot give %s its mode", t->path);
    if (r == 0 && rename(temp, t->path) < 0)
        r = vivi_fail_errno(err, errno, "cannot write %s", t->path);
    if (r < 0)
        (void)unlink(temp);
    return r;
}

int work_write(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    struct target t = {.st.st_mode = 0644};
    uint64_t mode = 0, bytes = 0;
    int r = find_target(q, &t, err);

    mode = t.st.st_mode & 07777;
    if (r == 0)
        r = vivi_aw_field_u64(q, "mode", 07777, &mode, err);
    if (r == 0)
        r = t.in_place ? write_in_place(&t, &bytes, err)
                       : write_anew(&t, (mode_t)mode, &bytes, err);
    if (r == 0)
        vivi_aw_put_u64(ret, "bytes", bytes);
    return r;
}
