#include "monitor/streams.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "store/serial.h"

#define FIRST_WINDOW 16384u
#define TAIL_BYTES   4096

void vivi_streams_init(struct vivi_streams *s)
{
    *s = (struct vivi_streams){.n = 0, .times = VIVI_LOG_TIMES_NONE};
    for (size_t i = 0; i < VIVI_STREAMS_MAX; i++)
        s->items[i].fd = -1;
}

void vivi_streams_done(struct vivi_streams *s)
{
    for (size_t i = 0; i < s->n; i++)
        vivi_close(&s->items[i].fd);
    s->n = 0;
    vivi_log_times_done(&s->times);
}

struct vivi_stream *vivi_stream_find(struct vivi_streams *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    }
    return NULL;
}

struct vivi_stream *vivi_stream_of_log(struct vivi_streams *s, const char *log)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->items[i].log, log) == 0)
            return &s->items[i];
    }
    return NULL;
}

struct vivi_stream *vivi_stream_serial(struct vivi_streams *s)
{
    return vivi_stream_of_log(s, VIVI_SERIAL_FILE);
}

struct vivi_stream *vivi_stream_add(struct vivi_streams *s, const char *name, const char *log)
{
    struct vivi_stream *e;

    if (s->n == VIVI_STREAMS_MAX || strlen(name) >= sizeof(e->name) ||
        strlen(log) >= sizeof(e->log) || strchr(log, '/'))
        return NULL;
    e = &s->items[s->n++];
    *e = (struct vivi_stream){.fd = -1};
    (void)snprintf(e->name, sizeof(e->name), "%s", name);
    (void)snprintf(e->log, sizeof(e->log), "%s", log);
    return e;
}

uint64_t vivi_log_size(int vm_fd, const char *log)
{
    struct stat st;

    if (fstatat(vm_fd, log, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size < 0)
        return 0;
    return (uint64_t)st.st_size;
}

int vivi_stream_open(struct vivi_stream *s, int vm_fd, viv_error *err)
{
    int mode = s->to_driver ? O_RDWR : O_RDONLY;
    int fd = openat(vm_fd, s->log, mode | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", s->log);
    vivi_close(&s->fd);
    s->fd = fd;
    vivi_stream_refresh(s);
    return 0;
}

int vivi_stream_reserve(struct vivi_stream *s, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int r;

    if (!s->to_driver || s->fd < 0 || s->reserved >= s->size + VIVI_RESERVE_BYTES / 2)
        return 0;
    r = vivi_reserve(s->fd, s->size, VIVI_RESERVE_BYTES, &why);
    if (r < 0 && why.sys_errno == ENOSPC && vivi_punch_head(s->fd, s->taken, NULL) == 0)
        r = vivi_reserve(s->fd, s->size, VIVI_RESERVE_BYTES, &why);
    if (r < 0 && why.sys_errno != EOPNOTSUPP && why.sys_errno != ENOSYS) {
        if (err)
            *err = why;
        return vivi_wrap(err, r, "%s", s->log);
    }
    s->reserved = s->size + VIVI_RESERVE_BYTES;
    return 0;
}

void vivi_stream_refresh(struct vivi_stream *s)
{
    struct stat st;

    if (s->fd >= 0 && fstat(s->fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size > s->size)
        s->size = (uint64_t)st.st_size;
}

void vivi_streams_time(struct vivi_streams *s, int vm_fd, uint64_t size)
{
    const struct vivi_log_time then = {size, vivi_wall_ms()};
    viv_error err = VIV_ERROR_INIT;

    vivi_log_times_done(&s->times);
    if (vivi_log_times_open(&s->times, vm_fd, VIVI_SERIAL_TIMES, &then, &err) < 0)
        vivi_log(VIVI_LOG_WARN, "the console's lines will have no times: %s", err.message);
}

void vivi_streams_note_time(struct vivi_streams *s)
{
    const struct vivi_stream *serial = vivi_stream_serial(s);

    if (serial)
        vivi_log_times_note(&s->times, &(struct vivi_log_time){serial->size, vivi_wall_ms()},
                            serial->fd);
}

/* Up to want bytes at offset; short only at the end of the file. */
static ssize_t read_at(int fd, char *to, size_t want, uint64_t offset)
{
    size_t got = 0;

    while (got < want) {
        ssize_t n = pread(fd, to + got, want - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* A buffer that grows when a message needs it. */
struct window {
    char *buf;
    size_t cap, want;
};

/* Offers what the window shows. The bytes consumed, < 0 failed; *ret_seen: how many were there. */
static ssize_t offer(const struct vivi_stream *s, struct window *w,
                     const struct vivi_stream_sink *sink, size_t *ret_seen)
{
    uint64_t left = s->size - s->taken;
    size_t want = left < w->want ? (size_t)left : w->want, used;
    ssize_t n;

    if (w->cap < want) {
        free(w->buf);
        w->buf = malloc(want);
        w->cap = w->buf ? want : 0;
        if (!w->buf)
            return -VIV_E_NO_MEMORY;
    }
    n = read_at(s->fd, w->buf, want, s->taken);
    if (n < 0)
        return -VIV_E_IO;
    *ret_seen = (size_t)n;
    used = n > 0 ? sink->input(sink->ctx, s->name, w->buf, (size_t)n) : 0;
    return used > (size_t)n ? n : (ssize_t)used;
}

/*
 * The driver consumes whole messages, so a window that it leaves untouched is doubled until the
 * message fits, or until it is longer than any message may be.
 */
int vivi_stream_pump(struct vivi_stream *s, const struct vivi_stream_sink *sink, bool *ret_skipped,
                     viv_error *err)
{
    struct window w = {.want = FIRST_WINDOW};
    ssize_t used = 0;

    *ret_skipped = false;
    while (s->fd >= 0 && s->taken < s->size) {
        size_t seen = 0;

        used = offer(s, &w, sink, &seen);
        if (used < 0)
            break;
        s->taken += (uint64_t)used;
        if (used > 0)
            continue;
        if (seen < w.want) /* that was all there is */
            break;
        if (w.want < VIVI_INPUT_MAX) {
            w.want *= 2;
        } else {
            s->taken += seen;
            *ret_skipped = true;
        }
    }
    free(w.buf);
    if (used == -VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    return used < 0 ? vivi_fail_errno(err, errno, "cannot read %s", s->log) : 0;
}

/* The end of the file, after the last line feed that is followed by nothing: len without it. */
static size_t read_tail(const struct vivi_tail *t, char buf[TAIL_BYTES])
{
    struct stat st;
    uint64_t size, from;
    ssize_t n;

    if (t->fd < 0 || fstat(t->fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size <= t->from)
        return 0;
    size = (uint64_t)st.st_size;
    from = size - t->from > TAIL_BYTES ? size - TAIL_BYTES : t->from;
    n = read_at(t->fd, buf, (size_t)(size - from), from);
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r' || buf[n - 1] == ' '))
        n--;
    return n > 0 ? (size_t)n : 0;
}

void vivi_tail_line(const struct vivi_tail *t, char *ret, size_t size)
{
    char buf[TAIL_BYTES];
    size_t len = read_tail(t, buf), from = len, out = 0;

    while (from > 0 && buf[from - 1] != '\n')
        from--;
    for (; from < len && out + 1 < size; from++)
        ret[out++] = isprint((unsigned char)buf[from]) ? buf[from] : '?';
    ret[out] = '\0';
}

void vivi_tail_lines(const struct vivi_tail *t, unsigned n, char *ret, size_t size)
{
    char buf[TAIL_BYTES];
    size_t len = read_tail(t, buf), from = len, out = 0;

    while (from > 0 && n > 0) {
        while (from > 0 && buf[from - 1] != '\n')
            from--;
        if (--n > 0 && from > 0)
            from--;
    }
    for (; from < len && out + 1 < size; from++) {
        if (buf[from] != '\r')
            ret[out++] = buf[from];
    }
    ret[out] = '\0';
}
