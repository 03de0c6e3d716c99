/*
 * Theory of operation: the log's size is the only offset there is. One process moves, at an
 * explicit offset, so nothing needs to be recorded and any later keeper goes on from the size it
 * finds.
 *
 * Each move is told at once (a ready line must not wait), but a guest that writes byte by byte
 * would wake us for each of them: after a burst of CREDITS small moves they are paced to one in
 * PACE_US.
 *
 * A disk that is full only means that the FIFO stays full: moving is tried again with a back-off.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "keeper/keeper.h"

#define MOVE_BYTES     ((size_t)1 << 20) /* at most; a FIFO holds 64 KiB */
#define SMALL_BYTES    4096
#define CREDITS        16
#define PACE_US        1000
#define FIRST_RETRY_MS 50
#define LAST_RETRY_MS  2000

/* 0 or an errno. */
static int open_file(struct vivi_stream *s, int vm_fd)
{
    cleanup_close int fd =
        openat(vm_fd, s->file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EINVAL;
    s->size = s->looked = (uint64_t)st.st_size;
    if (vivi_data_start(fd, 0, &s->start, NULL) < 0)
        s->start = 0;
    s->fd = take_fd(&fd);
    return 0;
}

void vivi_stream_done(struct vivi_stream *s)
{
    vivi_close(&s->fd);
    memset(s, 0, sizeof(*s));
    s->fd = -1;
}

bool vivi_stream_due(const struct vivi_stream *s, uint64_t now_us)
{
    return s->file[0] != '\0' && s->not_before_us <= now_us;
}

static void failed(struct vivi_stream *s, int sys_errno, uint64_t now_us)
{
    if (s->failure == 0) {
        vivi_log(VIVI_LOG_WARN, "%s: cannot be written (%s), trying again", s->file,
                 vivi_errno_name(sys_errno));
        s->failure = sys_errno;
    }
    s->backoff_ms = s->backoff_ms == 0                   ? FIRST_RETRY_MS
                    : s->backoff_ms * 2 <= LAST_RETRY_MS ? s->backoff_ms * 2
                                                         : LAST_RETRY_MS;
    s->not_before_us = now_us + s->backoff_ms * (uint64_t)1000;
}

static void worked(struct vivi_stream *s)
{
    if (s->failure != 0)
        vivi_log(VIVI_LOG_INFO, "%s: can be written again", s->file);
    s->failure = 0;
    s->backoff_ms = 0;
    s->not_before_us = 0;
}

int vivi_stream_set(struct vivi_stream *s, int vm_fd, const char *file, uint64_t limit_bytes)
{
    int e;

    vivi_stream_done(s);
    (void)snprintf(s->file, sizeof(s->file), "%s", file);
    s->limit_bytes = limit_bytes;
    s->credits = CREDITS;
    e = open_file(s, vm_fd);
    if (e != 0)
        failed(s, e, 0);
    s->not_before_us = 0;
    s->grew = true; /* whoever asked learns the size */
    return -e;
}

/* slack: how far the log may pass its limit before a hole is worth its system call. */
static void bound_size(struct vivi_stream *s, uint64_t slack)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t end;

    if (s->limit_bytes == 0 || s->no_holes)
        return;
    if (s->size - s->looked > slack) { /* what was said elsewhere may be in front of it by now */
        (void)vivi_data_start(s->fd, 0, &s->start, NULL);
        s->looked = s->size;
    }
    if (s->size - s->start <= s->limit_bytes + slack)
        return;
    end = s->size - s->limit_bytes;
    if (vivi_punch_head(s->fd, end, &err) < 0) {
        vivi_log(VIVI_LOG_WARN, "%s: cannot be kept short: %s", s->file, err.message);
        s->no_holes = true;
        return;
    }
    s->start = end / 4096 * 4096;
}

/* A small move costs a credit; one credit comes back in each PACE_US. */
static void pace(struct vivi_stream *s, uint64_t now_us)
{
    uint64_t back = (now_us - s->credited_us) / PACE_US;

    if (back > 0) {
        s->credits = back < CREDITS - s->credits ? s->credits + (unsigned)back : CREDITS;
        s->credited_us = now_us;
    }
    if (s->credits > 0)
        s->credits--;
    else
        s->not_before_us = now_us + PACE_US;
}

/* Bytes moved, 0: the FIFO is empty or the log cannot be written. */
static size_t move(struct vivi_entry *e, int vm_fd, size_t most, uint64_t now_us)
{
    struct vivi_stream *s = &e->stream;
    ssize_t n;

    if (s->fd < 0) {
        int open_errno = open_file(s, vm_fd);

        if (open_errno != 0) {
            failed(s, open_errno, now_us);
            return 0;
        }
    }
    n = vivi_splice(e->fd, s->fd, s->size, most);
    if (n == -EAGAIN || n == -EINTR || n == 0)
        return 0;
    if (n < 0) {
        bound_size(s, 0);
        failed(s, (int)-n, now_us);
        return 0;
    }
    worked(s);
    s->size += (uint64_t)n;
    s->grew = true;
    bound_size(s, s->limit_bytes / 4 < 65536 ? 65536 : s->limit_bytes / 4);
    return (size_t)n;
}

void vivi_stream_move(struct vivi_entry *e, int vm_fd, uint64_t now_us)
{
    size_t n = move(e, vm_fd, MOVE_BYTES, now_us);

    if (n > 0 && n < SMALL_BYTES)
        pace(&e->stream, now_us);
}

void vivi_stream_drain(struct vivi_entry *e, int vm_fd, uint64_t now_us)
{
    int left = 0;

    if (e->stream.file[0] == '\0' || ioctl(e->fd, FIONREAD, &left) < 0)
        return;
    while (left > 0) {
        size_t n = move(e, vm_fd, (size_t)left, now_us);

        if (n == 0)
            return;
        left -= (int)n;
    }
}

void vivi_keeper_drain_all(struct vivi_keeper *k, uint64_t now_us)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++)
        if (k->table.entries[i].name[0] != '\0')
            vivi_stream_drain(&k->table.entries[i], k->vm_fd, now_us);
}
