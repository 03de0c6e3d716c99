/*
 * Theory of operation: exits.log is what a later keeper, monitor or command knows of the processes
 * of this VM when all else is lost. A child's line is in it before the child can run, so nothing
 * that runs can be missing. It is not synced: it speaks of processes, which a power cut ends, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keeper/keeper.h"

#define READ_MAX_BYTES ((size_t)4 << 20)
#define TAIL_BYTES     ((size_t)64 * 1024)
#define MAX_WORDS      8

/* Words separated by single spaces; more than cap are none. */
static size_t split(char *line, char **words, size_t cap)
{
    size_t n = 0;

    for (char *p = line; p != NULL; n++) {
        if (n == cap)
            return 0;
        words[n] = p;
        p = strchr(p, ' ');
        if (p != NULL)
            *p++ = '\0';
    }
    return n;
}

static bool parse_head(char **w, struct vivi_exits_line *l)
{
    uint64_t pid;

    if (!vivi_keeper_name_ok(w[1]) || !vivi_keeper_number(w[2], UINT64_MAX, &l->run) ||
        !vivi_keeper_number(w[3], INT32_MAX, &pid) || pid == 0 ||
        !vivi_keeper_number(w[4], UINT64_MAX, &l->id.start_time))
        return false;
    (void)snprintf(l->role, sizeof(l->role), "%s", w[1]);
    l->id.pid = (pid_t)pid;
    return true;
}

bool vivi_exits_parse(const char *line, size_t len, struct vivi_exits_line *ret)
{
    struct vivi_exits_line l = {0};
    char text[256], *w[MAX_WORDS];
    uint64_t wall, status;
    size_t n;

    if (len >= sizeof(text) || memchr(line, '\0', len) != NULL)
        return false;
    memcpy(text, line, len);
    text[len] = '\0';
    n = split(text, w, ARRAY_SIZE(w));
    if (n < 7 || !parse_head(w, &l) || !vivi_keeper_number(w[n - 1], INT64_MAX, &wall))
        return false;
    l.wall_ms = (int64_t)wall;
    if (n == 8 && strcmp(w[0], "spawn") == 0) {
        l.is_spawn = true;
        if (strlen(w[5]) != VIVI_BOOT_ID_SIZE - 1 ||
            !vivi_keeper_number(w[6], UINT64_MAX, &l.pid_ns))
            return false;
        memcpy(l.boot_id, w[5], VIVI_BOOT_ID_SIZE);
    } else if (n == 7 && strcmp(w[0], "exit") == 0) {
        l.status_known = strcmp(w[5], "?") != 0;
        if (l.status_known && !vivi_keeper_number(w[5], INT32_MAX, &status))
            return false;
        l.wstatus = l.status_known ? (int)status : 0;
    } else {
        return false;
    }
    *ret = l;
    return true;
}

int vivi_exits_format(struct vivi_buf *b, const struct vivi_exits_line *l)
{
    (void)vivi_buf_printf(b, "%s %s %" PRIu64 " %d %" PRIu64, l->is_spawn ? "spawn" : "exit",
                          l->role, l->run, (int)l->id.pid, l->id.start_time);
    if (l->is_spawn)
        (void)vivi_buf_printf(b, " %s %" PRIu64, l->boot_id, l->pid_ns);
    else if (l->status_known)
        (void)vivi_buf_printf(b, " %d", l->wstatus);
    else
        (void)vivi_buf_str(b, " ?");
    return vivi_buf_printf(b, " %" PRId64 "\n", l->wall_ms);
}

int vivi_exits_read(const struct vivi_keeper *k, struct vivi_buf *ret, viv_error *err)
{
    int r;

    vivi_buf_init(ret, READ_MAX_BYTES);
    r = vivi_read_file_at(k->vm_fd, VIVI_EXITS_FILE, ret, err);
    return r == -VIV_E_NOT_FOUND ? 0 : r;
}

/* A line of the head is kept when it tells of a process that still lives. */
static bool is_needed(const struct vivi_keeper *k, const char *line, size_t len)
{
    struct vivi_exits_line l;

    if (!vivi_exits_parse(line, len, &l) || !l.is_spawn)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        const struct vivi_child *c = &k->children[i];

        if (c->phase != VIVI_CHILD_FREE && c->id.pid == l.id.pid &&
            c->id.start_time == l.id.start_time)
            return true;
    }
    return false;
}

/* Replaces the file by what is needed of its head, and its tail. */
static void shorten(struct vivi_keeper *k)
{
    cleanup_buf struct vivi_buf all = VIVI_BUF(READ_MAX_BYTES), kept = VIVI_BUF(READ_MAX_BYTES);
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_exits_read(k, &all, &err);

    for (size_t at = 0, len; r == 0 && at < all.len; at += len) {
        const char *line = all.data + at, *end = memchr(line, '\n', all.len - at);

        len = end == NULL ? all.len - at : (size_t)(end - line) + 1;
        if (end != NULL && (all.len - at <= TAIL_BYTES || is_needed(k, line, len - 1)))
            (void)vivi_buf_add(&kept, line, len);
    }
    if (r == 0)
        r = vivi_buf_check(&kept, &err);
    if (r == 0)
        r = vivi_write_file_at(k->vm_fd, VIVI_EXITS_FILE, kept.data, kept.len, VIVI_FAST, &err);
    if (r < 0)
        vivi_log(VIVI_LOG_WARN, "%s: cannot be kept short: %s", VIVI_EXITS_FILE, err.message);
}

static int add(struct vivi_keeper *k, const struct vivi_exits_line *l, viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(512);
    struct stat st;
    int r;

    /* An end after the file was removed: the VM is being removed, and nothing must appear there. */
    if (!l->is_spawn && faccessat(k->vm_fd, VIVI_EXITS_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
        errno == ENOENT)
        return 0;
    (void)vivi_exits_format(&b, l);
    r = vivi_buf_check(&b, err);
    if (r == 0)
        r = vivi_append_at(k->vm_fd, VIVI_EXITS_FILE, b.data, b.len, err);
    if (r == 0 && fstatat(k->vm_fd, VIVI_EXITS_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_size > (off_t)VIVI_KEEPER_EXITS_MAX)
        shorten(k);
    return r;
}

static struct vivi_exits_line line_of(const struct vivi_child *c)
{
    struct vivi_exits_line l = {.run = c->run, .id = c->id, .wall_ms = vivi_wall_ms()};

    memcpy(l.role, c->role, sizeof(l.role));
    return l;
}

int vivi_exits_add_spawn(struct vivi_keeper *k, const struct vivi_child *c, viv_error *err)
{
    struct vivi_exits_line l = line_of(c);

    l.is_spawn = true;
    memcpy(l.boot_id, k->boot_id, sizeof(l.boot_id));
    l.pid_ns = k->pid_ns;
    return add(k, &l, err);
}

int vivi_exits_add_exit(struct vivi_keeper *k, const struct vivi_child *c, viv_error *err)
{
    struct vivi_exits_line l = line_of(c);

    l.status_known = c->status_known;
    l.wstatus = c->wstatus;
    return add(k, &l, err);
}
