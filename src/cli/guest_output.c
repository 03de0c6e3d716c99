#include "cli/guest_output.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"

#define CHUNK 65536

void vivi_guest_output_init(struct vivi_guest_output *o, struct vivi_cli *c, int fd_consume,
                            uint64_t offset)
{
    *o = (struct vivi_guest_output){.c = c,
                                    .fd = fd_consume,
                                    .times_fd = -1,
                                    .offset = offset,
                                    .end = UINT64_MAX,
                                    .filter = c->out_tty && !c->raw,
                                    .at_line_start = true};
}

/* Negative: about then. Offsets come in order, so the record found last serves until its end. */
static int64_t time_of(struct vivi_guest_output *o, uint64_t offset)
{
    if (offset >= o->time.size &&
        (o->times_fd < 0 || vivi_log_times_find(o->times_fd, offset, &o->time, NULL) <= 0))
        return o->times_fd < 0 ? -o->about_ms : o->newest_ms;
    return o->time.wall_ms ? o->time.wall_ms : -o->about_ms;
}

static void put_stamp(struct vivi_guest_output *o, uint64_t offset, struct vivi_buf *out)
{
    int64_t ms = time_of(o, offset);
    char time[VIVI_TIME_SIZE];

    vivi_time_format(ms < 0 ? -ms : ms, time);
    (void)vivi_buf_printf(out, "%s%s ", ms < 0 ? "~" : "", time);
}

static void put_text(struct vivi_guest_output *o, const char *data, size_t len,
                     struct vivi_buf *out)
{
    if (o->filter)
        vivi_escape_feed(&o->escape, data, len, out);
    else
        (void)vivi_buf_add(out, data, len);
    o->at_line_start = data[len - 1] == '\n';
}

/* What was read at o->offset. */
static void put_chunk(struct vivi_guest_output *o, const char *data, size_t len,
                      struct vivi_buf *out)
{
    const char *begin = data;

    while (len && o->stamps) {
        const char *nl = memchr(data, '\n', len);
        size_t n = nl ? (size_t)(nl - data) + 1 : len;

        if (o->at_line_start)
            put_stamp(o, o->offset + (uint64_t)(data - begin), out);
        put_text(o, data, n, out);
        data += n;
        len -= n;
    }
    if (len)
        put_text(o, data, len, out);
}

/* All of it, unless a signal came: then the rest is given up only if the reader is stuck. */
static int write_out(const struct vivi_buf *out, viv_error *err)
{
    (void)fflush(stdout);
    return vivi_write_full(STDOUT_FILENO, out->data, out->len, -1, err);
}

int vivi_guest_output_pump(struct vivi_guest_output *o, viv_error *err)
{
    cleanup_buf struct vivi_buf out =
        VIVI_BUF((size_t)CHUNK * (VIVI_ESCAPE_GROWTH + VIVI_TIME_SIZE + 4));
    char data[CHUNK];
    bool any = false;

    while (o->fd >= 0 && o->offset < o->end) {
        size_t want = o->end - o->offset < CHUNK ? (size_t)(o->end - o->offset) : CHUNK;
        ssize_t n = pread(o->fd, data, want, (off_t)o->offset);
        int r;

        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot read the log");
        if (n == 0)
            break;
        vivi_buf_reset(&out);
        put_chunk(o, data, (size_t)n, &out);
        o->offset += (uint64_t)n;
        r = vivi_buf_check(&out, err);
        if (r >= 0 && out.len)
            r = write_out(&out, err);
        if (r < 0)
            return r;
        any = true;
    }
    return any;
}

void vivi_guest_output_break(struct vivi_guest_output *o)
{
    if (!o->at_line_start && o->c->out_tty && o->c->err_tty)
        (void)fputs("\n", stderr);
}

void vivi_guest_output_done(struct vivi_guest_output *o)
{
    vivi_close(&o->fd);
    vivi_close(&o->times_fd);
}
