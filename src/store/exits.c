/*
 * Theory of operation: exits.log is the keeper's diary, one line when a child was made and one when
 * it was reaped. It is searched from its end, within a bound, because a VM that restarts for months
 * makes it long and only the latest runs are ever asked for. A torn last line (the keeper was
 * killed while the disk was full) is no record.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXITS_FILE      "exits.log"
#define TAIL_MAX_BYTES  (1u << 20)
#define LINE_MAX_FIELDS 8

/* Reads the file's tail; 1 read, 0 no file. */
static int read_tail(int vm_fd, struct vivi_buf *buf, viv_error *err)
{
    cleanup_close int fd = openat(vm_fd, EXITS_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t size, from;
    int r;

    if (fd < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot open " EXITS_FILE);
    size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return vivi_fail_errno(err, errno, "cannot read " EXITS_FILE);
    from = size > TAIL_MAX_BYTES ? size - TAIL_MAX_BYTES : 0;
    r = vivi_buf_reserve(buf, (size_t)(size - from));
    if (r < 0)
        return vivi_fail_oom(err);
    while (buf->len < (size_t)(size - from)) {
        ssize_t n = pread(fd, buf->data + buf->len, (size_t)(size - from) - buf->len,
                          from + (off_t)buf->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot read " EXITS_FILE);
        if (n == 0)
            break;
        buf->len += (size_t)n;
    }
    return 1;
}

/* Splits at single spaces, in place. */
static size_t split(char *line, char *fields[LINE_MAX_FIELDS])
{
    size_t n = 0;
    char *p = line;

    while (n < LINE_MAX_FIELDS) {
        fields[n++] = p;
        p = strchr(p, ' ');
        if (!p)
            return n;
        *p++ = '\0';
    }
    return LINE_MAX_FIELDS + 1; /* more than any record has */
}

static bool number(const char *s, uint64_t most, uint64_t *ret)
{
    char *end;
    unsigned long long n;

    if (s[0] < '0' || s[0] > '9')
        return false;
    errno = 0;
    n = strtoull(s, &end, 10);
    if (errno || *end || n > most)
        return false;
    *ret = n;
    return true;
}

/* spawn <role> <run> <pid> <start_time> <host_boot_id> <pid_ns> <wall ms> */
static bool take_spawn(char *f[LINE_MAX_FIELDS], size_t n, struct vivi_exit_rec *ret)
{
    struct vivi_exit_rec rec = {0};
    uint64_t pid, wall;

    if (n != 8 || !number(f[2], UINT64_MAX, &rec.run) || !number(f[3], INT32_MAX, &pid) ||
        !number(f[4], UINT64_MAX, &rec.proc.start_time) || strlen(f[5]) >= VIVI_BOOT_ID_SIZE ||
        !number(f[6], UINT64_MAX, &rec.pid_ns) || !number(f[7], INT64_MAX, &wall))
        return false;
    rec.proc.pid = (pid_t)pid;
    rec.spawned_at_ms = (int64_t)wall;
    (void)snprintf(rec.host_boot_id, sizeof(rec.host_boot_id), "%s", f[5]);
    *ret = rec;
    return true;
}

/* exit <role> <run> <pid> <start_time> <wstatus|?> <wall ms>: of the spawn in rec? */
static void take_exit(char *f[LINE_MAX_FIELDS], size_t n, struct vivi_exit_rec *rec)
{
    uint64_t run, pid, start, status = 0, wall;
    bool known;

    if (n != 7 || !number(f[2], UINT64_MAX, &run) || !number(f[3], INT32_MAX, &pid) ||
        !number(f[4], UINT64_MAX, &start) || !number(f[6], INT64_MAX, &wall))
        return;
    known = number(f[5], INT32_MAX, &status);
    if (run != rec->run || (pid_t)pid != rec->proc.pid || start != rec->proc.start_time)
        return;
    rec->exited = true;
    rec->status_known = known;
    rec->wstatus = known ? (int)status : 0;
    rec->exited_at_ms = (int64_t)wall;
}

static void take_line(char *line, const char *role, const uint64_t *run, struct vivi_exit_rec *rec)
{
    char *f[LINE_MAX_FIELDS] = {NULL};
    size_t n = split(line, f);
    struct vivi_exit_rec spawn;

    if (n < 7 || n > LINE_MAX_FIELDS || strcmp(f[1], role) != 0)
        return;
    if (strcmp(f[0], "spawn") == 0 && take_spawn(f, n, &spawn) && (!run || spawn.run == *run))
        *rec = spawn;
    else if (strcmp(f[0], "exit") == 0 && rec->proc.pid != 0)
        take_exit(f, n, rec);
}

static int find(int vm_fd, const char *role, const uint64_t *run, struct vivi_exit_rec *ret,
                viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(TAIL_MAX_BYTES + 1);
    struct vivi_exit_rec rec = {0};
    char *p, *nl;
    int r = read_tail(vm_fd, &buf, err);

    if (r <= 0)
        return r;
    /* A first line whose head was cut off has no "spawn" or "exit" at its front and is no record.
     */
    for (p = buf.data; p && (nl = memchr(p, '\n', (size_t)(buf.data + buf.len - p))); p = nl + 1) {
        *nl = '\0';
        take_line(p, role, run, &rec);
    }
    if (rec.proc.pid == 0)
        return 0;
    *ret = rec;
    return 1;
}

int vivi_exits_find(int vm_fd, const char *role, uint64_t run, struct vivi_exit_rec *ret,
                    viv_error *err)
{
    return find(vm_fd, role, &run, ret, err);
}

int vivi_exits_last(int vm_fd, const char *role, struct vivi_exit_rec *ret, viv_error *err)
{
    return find(vm_fd, role, NULL, ret, err);
}
