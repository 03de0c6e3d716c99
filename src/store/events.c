/*
 * Theory of operation: every writer (monitors, managers) appends one line under events.lock, so the
 * sequence number is the last line's plus one and lines stand in its order. Readers need no lock: a
 * line counts once its newline is there. Each line begins with {"seq":N, so that a reader skips
 * without parsing JSON. The file only ever grows at its end; its head is punched out, so an offset
 * stays true, and a reader that finds itself in the hole sees the numbers jump and tells how many
 * are lost.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define EVENTS_FILE    "events.log"
#define EVENTS_LOCK    "events.lock"
#define LOCK_WAIT_MS   2000 /* a writer holds it for some microseconds */
#define QUICK_TRIES    50
#define PUNCH_EVERY    (1u << 20)
#define READ_BYTES     (64u << 10)
#define TAIL_MAX_BYTES (1u << 20)
#define READ_BUF_BYTES (256u << 10)
#define SEQ_PREFIX     "{\"seq\":"
#define NO_SEQ         0

json_t *vivi_event_new(const struct vivi_state *s, const char *type)
{
    json_t *j = json_object();

    if (j && json_object_set_new(j, "vm", vivi_json_str(s->name)) == 0 &&
        json_object_set_new(j, "uuid", vivi_json_str(s->uuid)) == 0 &&
        json_object_set_new(j, "run", json_integer((json_int_t)s->run)) == 0 &&
        json_object_set_new(j, "boot", json_integer((json_int_t)s->boot)) == 0 &&
        json_object_set_new(j, "type", vivi_json_str(type)) == 0)
        return j;
    json_decref(j);
    return NULL;
}

/* The number a line begins with, NO_SEQ if it is none of ours. */
static uint64_t seq_of(const char *line, size_t len)
{
    size_t n = sizeof(SEQ_PREFIX) - 1, i = n;
    uint64_t seq = 0;

    if (len <= n || memcmp(line, SEQ_PREFIX, n) != 0)
        return NO_SEQ;
    for (; i < len && line[i] >= '0' && line[i] <= '9' && i < n + 19; i++)
        seq = seq * 10 + (uint64_t)(line[i] - '0');
    return i > n && i < len && line[i] == ',' ? seq : NO_SEQ;
}

static ssize_t read_at(int fd, void *to, size_t len, uint64_t offset)
{
    ssize_t n;

    do
        n = pread(fd, to, len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Where the line that ends before end (a position after a newline, or 0) begins. */
static size_t line_before(const char *text, size_t end)
{
    size_t i = end > 0 ? end - 1 : 0;

    while (i > 0 && text[i - 1] != '\n')
        i--;
    return i;
}

/* The last number in text; *ret_torn: it does not end with a newline. */
static uint64_t last_seq_in(const char *text, size_t len, bool *ret_torn)
{
    size_t end = len;

    *ret_torn = len > 0 && text[len - 1] != '\n';
    while (end > 0 && text[end - 1] != '\n')
        end--;
    while (end > 0) {
        size_t begin = line_before(text, end);
        uint64_t seq = seq_of(text + begin, end - begin);

        if (seq != NO_SEQ)
            return seq;
        end = begin;
    }
    return NO_SEQ;
}

/* The last number in the file: its tail is read, twice as much while nothing was found. */
static int last_seq(int fd, uint64_t size, uint64_t *ret_seq, bool *ret_torn, viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(TAIL_MAX_BYTES);

    *ret_seq = NO_SEQ;
    *ret_torn = false;
    for (uint64_t want = 4096;; want *= 8) {
        uint64_t from = size > want ? size - want : 0;
        ssize_t n;

        vivi_buf_reset(&buf);
        if (vivi_buf_reserve(&buf, (size_t)(size - from)) < 0)
            return from ? 0 : vivi_fail_oom(err);
        n = read_at(fd, buf.data, (size_t)(size - from), from);
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot read " EVENTS_FILE);
        *ret_seq = last_seq_in(buf.data, (size_t)n, ret_torn);
        if (*ret_seq != NO_SEQ || from == 0 || want * 8 > TAIL_MAX_BYTES)
            return 0;
    }
}

/* The line: number and time first, then what the caller says. */
static int encode(const json_t *body, uint64_t seq, bool torn, struct vivi_buf *out, viv_error *err)
{
    char time[VIVI_TIME_SIZE];
    cleanup_json json_t *j = NULL;
    cleanup_free char *text = NULL;
    json_t *borrowed = json_incref((json_t *)(uintptr_t)body);

    vivi_time_format(vivi_wall_ms(), time);
    j = json_pack("{s:I,s:s}", "seq", (json_int_t)seq, "time", time);
    if (j && json_object_update_missing(j, borrowed) == 0)
        text = json_dumps(j, JSON_COMPACT);
    json_decref(borrowed);
    if (!text)
        return vivi_fail_oom(err);
    if (torn) /* ends the half line of a writer that met a full disk */
        (void)vivi_buf_str(out, "\n");
    (void)vivi_buf_str(out, text);
    (void)vivi_buf_str(out, "\n");
    return vivi_buf_check(out, err);
}

/* Appends all of it or, on a full disk, nothing. */
static int append(int fd, uint64_t size, const struct vivi_buf *line, viv_error *err)
{
    ssize_t n;

    do
        n = write(fd, line->data, line->len);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)line->len)
        return 0;
    if (n < 0)
        return vivi_fail_errno(err, errno, "cannot write " EVENTS_FILE);
    if (ftruncate(fd, (off_t)size) < 0)
        return vivi_fail_errno(err, errno, "cannot write " EVENTS_FILE);
    return vivi_fail_errno(err, ENOSPC, "cannot write " EVENTS_FILE);
}

static void punch(int fd, uint64_t before, uint64_t after)
{
    if (after > VIVI_EVENTS_KEPT_BYTES && before / PUNCH_EVERY != after / PUNCH_EVERY)
        (void)vivi_punch_head(fd, after - VIVI_EVENTS_KEPT_BYTES, NULL); /* or it grows */
}

static int append_locked(int fd, const json_t *body, uint64_t *ret_seq, viv_error *err)
{
    cleanup_buf struct vivi_buf line = VIVI_BUF(VIVI_EVENT_MAX_BYTES);
    struct stat st;
    uint64_t seq;
    bool torn;
    int r;

    if (fstat(fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot read " EVENTS_FILE);
    r = last_seq(fd, (uint64_t)st.st_size, &seq, &torn, err);
    if (r == 0)
        r = encode(body, seq + 1, torn, &line, err);
    if (r == 0)
        r = append(fd, (uint64_t)st.st_size, &line, err);
    if (r < 0)
        return r;
    punch(fd, (uint64_t)st.st_size, (uint64_t)st.st_size + line.len);
    if (ret_seq)
        *ret_seq = seq + 1;
    return 0;
}

/*
 * Waiting for a lock means naps of a millisecond, which the announcement of a ready VM must not
 * cost; so the first tries only give way to whoever is writing.
 */
static int lock_events(const struct vivi_root *r, int *ret_fd, viv_error *err)
{
    int code = -VIV_E_BUSY;

    for (int i = 0; i < QUICK_TRIES && code == -VIV_E_BUSY; i++) {
        if (i > 0)
            (void)sched_yield();
        code = vivi_lock_open(r->fd, EVENTS_LOCK, 0, ret_fd, NULL);
    }
    return code == 0 ? 0 : vivi_lock_open(r->fd, EVENTS_LOCK, LOCK_WAIT_MS, ret_fd, err);
}

int vivi_event_append(const struct vivi_root *r, json_t *body, uint64_t *ret_seq, viv_error *err)
{
    cleanup_close int lock = -1;
    cleanup_close int fd = -1;
    int code;

    if (r->fd < 0 || r->readonly)
        return vivi_fail(err, VIV_E_DENIED, "state root %s: opened for reading only", r->path);
    code = lock_events(r, &lock, err);
    if (code < 0)
        return code;
    fd = openat(r->fd, EVENTS_FILE, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open " EVENTS_FILE);
    return append_locked(fd, body, ret_seq, err);
}

/* ---- reading ---- */

/* 1 open, 0 there is none yet. A file that appears later is read from its start. */
static int open_log(struct vivi_events *e, viv_error *err)
{
    if (e->fd >= 0)
        return 1;
    if (e->root->fd < 0)
        return 0;
    e->fd = openat(e->root->fd, EVENTS_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (e->fd < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot open " EVENTS_FILE);
    if (e->fd < 3)
        e->fd = vivi_fd_above_stdio(e->fd, err);
    return e->fd < 0 ? e->fd : 1;
}

static int seek_to_end(struct vivi_events *e, viv_error *err)
{
    struct stat st;
    bool torn;

    if (fstat(e->fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot read " EVENTS_FILE);
    e->offset = (uint64_t)st.st_size;
    return last_seq(e->fd, e->offset, &e->last_seq, &torn, err);
}

int vivi_events_open(const struct vivi_root *r, uint64_t after_seq, struct vivi_events *ret,
                     viv_error *err)
{
    struct vivi_events e = {.root = r, .fd = -1};
    int code;

    vivi_buf_init(&e.buf, READ_BUF_BYTES);
    code = open_log(&e, err);
    if (after_seq != VIVI_EVENTS_NEW)
        e.last_seq = after_seq;
    else if (code > 0)
        code = seek_to_end(&e, err);
    if (code < 0) {
        vivi_events_done(&e);
        return code;
    }
    *ret = e;
    return 0;
}

void vivi_events_done(struct vivi_events *e)
{
    vivi_close(&e->fd);
    vivi_buf_done(&e->buf);
    json_decref(e->held);
    e->held = NULL;
}

/* The cursor is in the hole that punching left: goes to where data starts, which is inside a line.
 */
static void leave_hole(struct vivi_events *e)
{
    uint64_t start = e->offset;

    if (vivi_data_start(e->fd, 0, &start, NULL) == 0 && start > e->offset)
        e->offset = start;
    e->skip_line = true;
}

/* Reads more. 1 got some, 0 nothing there now. */
static int refill(struct vivi_events *e, viv_error *err)
{
    ssize_t n;
    size_t zeros = 0;

    if (vivi_buf_reserve(&e->buf, READ_BYTES) < 0) {
        vivi_buf_reset(&e->buf); /* no line of ours is that long */
        e->skip_line = true;
        if (vivi_buf_reserve(&e->buf, READ_BYTES) < 0)
            return vivi_fail_oom(err);
    }
    n = read_at(e->fd, e->buf.data + e->buf.len, READ_BYTES, e->offset);
    if (n < 0)
        return vivi_fail_errno(err, errno, "cannot read " EVENTS_FILE);
    if (n == 0)
        return 0;
    e->offset += (uint64_t)n;
    while (zeros < (size_t)n && e->buf.data[e->buf.len + zeros] == '\0')
        zeros++;
    if (zeros == 0) {
        e->buf.len += (size_t)n;
        return 1;
    }
    vivi_buf_reset(&e->buf);
    if (zeros == (size_t)n) {
        leave_hole(e);
    } else { /* the hole ends in this piece */
        e->offset -= (uint64_t)n - zeros;
        e->skip_line = true;
    }
    return 1;
}

/* Takes one whole line out of the buffer: 1 and *ret (without newline, borrowed), 0 none. */
static int take_line(struct vivi_events *e, const char **ret, size_t *ret_len, size_t *ret_used)
{
    const char *nl = e->buf.len ? memchr(e->buf.data, '\n', e->buf.len) : NULL;

    if (!nl)
        return 0;
    *ret = e->buf.data;
    *ret_len = (size_t)(nl - e->buf.data);
    *ret_used = *ret_len + 1;
    return 1;
}

static json_t *lost(uint64_t count)
{
    return json_pack("{s:s,s:I}", "type", "lost", "count", (json_int_t)count);
}

/* A line with a number beyond the last one: the event, or first what is missing before it. */
static int deliver(struct vivi_events *e, const char *line, size_t len, uint64_t seq, json_t **ret,
                   viv_error *err)
{
    cleanup_json json_t *j = json_loadb(line, len, 0, NULL);
    uint64_t missing = seq - e->last_seq - 1;

    if (!json_is_object(j))
        return 0; /* not JSON: it will be missing before the next one */
    if (missing > 0) {
        json_t *gap = lost(missing);

        if (!gap)
            return vivi_fail_oom(err);
        e->held = take_ptr(j);
        *ret = gap;
    } else {
        *ret = take_ptr(j);
    }
    e->last_seq = seq;
    return 1;
}

/* 1 an event, 0 look at the next line, and *ret_empty when there is none. */
static int next_line(struct vivi_events *e, json_t **ret, bool *ret_empty, viv_error *err)
{
    const char *line;
    size_t len, used;
    uint64_t seq;
    int r = 0;

    if (!take_line(e, &line, &len, &used)) {
        *ret_empty = true;
        return 0;
    }
    seq = e->skip_line ? NO_SEQ : seq_of(line, len);
    e->skip_line = false;
    if (seq > e->last_seq)
        r = deliver(e, line, len, seq, ret, err);
    vivi_buf_consume(&e->buf, used);
    return r;
}

int vivi_events_next(struct vivi_events *e, json_t **ret, viv_error *err)
{
    int r = open_log(e, err);

    if (e->held) {
        *ret = take_ptr(e->held);
        return 1;
    }
    while (r > 0) {
        bool empty = false;

        r = next_line(e, ret, &empty, err);
        if (r != 0)
            return r;
        r = empty ? refill(e, err) : 1;
    }
    return r;
}
