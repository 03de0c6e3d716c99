#include "base/log_times.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define TRIM_EVERY 1024u /* records: 16 KiB */
#define BATCH      256u  /* records read at once when all are looked at */

static void put_u64(unsigned char *to, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(n >> (8 * i));
}

static uint64_t get_u64(const unsigned char *from)
{
    uint64_t n = 0;

    for (int i = 7; i >= 0; i--)
        n = n << 8 | from[i];
    return n;
}

static struct vivi_log_time decode(const unsigned char *record)
{
    uint64_t ms = get_u64(record + 8);

    return (struct vivi_log_time){get_u64(record), ms <= INT64_MAX ? (int64_t)ms : 0};
}

static int cannot_read(viv_error *err)
{
    return vivi_fail_errno(err, errno, "cannot read the times of a log");
}

/* Up to n records from place on. How many, −IO. */
static int read_records(int fd, uint64_t place, struct vivi_log_time *ret, size_t n, viv_error *err)
{
    unsigned char data[BATCH * VIVI_LOG_TIME_BYTES];
    ssize_t got;

    if (n > BATCH)
        n = BATCH;
    do {
        got = pread(fd, data, n * VIVI_LOG_TIME_BYTES, (off_t)(place * VIVI_LOG_TIME_BYTES));
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return cannot_read(err);
    n = (size_t)got / VIVI_LOG_TIME_BYTES;
    for (size_t i = 0; i < n; i++)
        ret[i] = decode(data + i * VIVI_LOG_TIME_BYTES);
    return (int)n;
}

static int count(int fd, uint64_t *ret, viv_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return cannot_read(err);
    *ret = st.st_size > 0 ? (uint64_t)st.st_size / VIVI_LOG_TIME_BYTES : 0;
    return 0;
}

/* The place of the first of n records that goes beyond offset; n: none does. */
static int first_beyond(int fd, uint64_t n, uint64_t offset, uint64_t *ret, viv_error *err)
{
    uint64_t low = 0, high = n;

    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        struct vivi_log_time one = {0, 0};
        int r = read_records(fd, mid, &one, 1, err);

        if (r < 0)
            return r;
        if (r == 1 && one.size > offset)
            high = mid;
        else
            low = mid + 1;
    }
    *ret = low;
    return 0;
}

/* ---- writing ---- */

static bool write_record(const struct vivi_log_times *t, uint64_t place,
                         const struct vivi_log_time *r)
{
    unsigned char data[VIVI_LOG_TIME_BYTES];

    put_u64(data, r->size);
    put_u64(data + 8, (uint64_t)r->wall_ms);
    return pwrite(t->fd, data, sizeof(data), (off_t)(place * VIVI_LOG_TIME_BYTES)) ==
           (ssize_t)sizeof(data);
}

/* Frees what tells of bytes that the log itself has no more, and what is too much. */
static void trim(const struct vivi_log_times *t, int log_fd)
{
    uint64_t end = t->n > VIVI_LOG_TIMES_KEPT ? t->n - VIVI_LOG_TIMES_KEPT : 0;
    uint64_t start = 0, told = 0; /* the first kept byte, and who tells of it */

    if (log_fd >= 0)
        (void)vivi_data_start(log_fd, 0, &start, NULL);
    if (first_beyond(t->fd, t->n, start, &told, NULL) < 0)
        return;
    if (told > end)
        end = told;
    /* One more stays: it says where the first kept one begins. */
    if (end > 1)
        (void)vivi_punch_head(t->fd, (end - 1) * VIVI_LOG_TIME_BYTES, NULL);
}

static void append(struct vivi_log_times *t, const struct vivi_log_time *r, int log_fd)
{
    if (!write_record(t, t->n, r))
        return;
    t->last = *r;
    t->n++;
    if (t->n % TRIM_EVERY == 0)
        trim(t, log_fd);
}

void vivi_log_times_note(struct vivi_log_times *t, const struct vivi_log_time *now, int log_fd)
{
    struct vivi_log_time longer = {now->size, t->last.wall_ms};

    if (t->fd < 0 || now->size <= t->last.size)
        return;
    if (t->n == 0 || t->last.wall_ms == 0 || now->wall_ms < t->last.wall_ms ||
        now->wall_ms - t->last.wall_ms >= VIVI_LOG_TIMES_GRAIN)
        append(t, now, log_fd);
    else if (write_record(t, t->n - 1, &longer))
        t->last = longer;
}

int vivi_log_times_open(struct vivi_log_times *t, int dir_fd, const char *name,
                        const struct vivi_log_time *now, viv_error *err)
{
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), r;

    *t = VIVI_LOG_TIMES_NONE;
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", name);
    t->fd = vivi_fd_above_stdio(fd, err);
    if (t->fd < 0)
        return t->fd;
    r = count(t->fd, &t->n, err);
    if (r >= 0 && t->n > 0)
        r = read_records(t->fd, t->n - 1, &t->last, 1, err);
    /* Not this log's: records that go further than it does would hide all to come. */
    if (r >= 0 && t->last.size > now->size) {
        r = ftruncate(t->fd, 0) < 0 ? vivi_fail_errno(err, errno, "cannot cut %s", name) : 0;
        t->n = 0;
        t->last = (struct vivi_log_time){0, 0};
    }
    if (r < 0) {
        vivi_log_times_done(t);
        return r;
    }
    if (now->size > t->last.size)
        append(t, &(struct vivi_log_time){now->size, t->n > 0 ? now->wall_ms : 0}, -1);
    return 0;
}

void vivi_log_times_done(struct vivi_log_times *t)
{
    vivi_close(&t->fd);
}

/* ---- reading ---- */

int vivi_log_times_find(int fd, uint64_t offset, struct vivi_log_time *ret, viv_error *err)
{
    struct vivi_log_time pair[2];
    uint64_t low = 0, n = 0;
    int r = count(fd, &n, err);

    if (r == 0)
        r = first_beyond(fd, n, offset, &low, err);
    if (r < 0)
        return r;
    if (low == n)
        return 0;
    r = read_records(fd, low > 0 ? low - 1 : 0, pair, 2, err);
    if (r < 0)
        return r;
    *ret = pair[low > 0 ? 1 : 0];
    /* Behind records that are no more: by then, but since when nobody knows. */
    if (low > 0 && pair[0].size == 0)
        ret->wall_ms = 0;
    return 1;
}

int vivi_log_times_before(int fd, int64_t since_ms, struct vivi_log_time *ret, viv_error *err)
{
    struct vivi_log_time batch[BATCH];
    uint64_t n = 0;
    int r = count(fd, &n, err);

    /* From the end: a clock that was set back leaves times that are not in order. */
    while (r >= 0 && n > 0) {
        uint64_t from = n > BATCH ? n - BATCH : 0;

        r = read_records(fd, from, batch, (size_t)(n - from), err);
        for (int i = r; i-- > 0;) {
            if (batch[i].size == 0)
                return 0; /* punched out: all that is kept is newer */
            if (batch[i].wall_ms < since_ms) {
                *ret = batch[i];
                return 1;
            }
        }
        n = from;
    }
    return r < 0 ? r : 0;
}
