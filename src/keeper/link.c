/*
 * Theory of operation: what a monitor must be told is state, not a queue. Flags on streams and
 * children say what it does not know yet; pump() turns them into frames only while the socket takes
 * them. So a monitor that is stopped for hours costs neither memory nor a byte of serial output,
 * and one that is new learns the whole state by the same flags. Only answers are queued, and
 * requests are not read while answers wait.
 *
 * A monitor that lived for a second is replaced at once, others with a back-off, for ever: there is
 * nobody else who could. One that ended by itself with status 0 while no process is left has
 * nothing to keep, and neither have we.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/keeper.h"

#define OUT_MAX_BYTES   65536u
#define BATCH_BYTES     4096u
#define LONG_LIFE_US    1000000u
#define FIRST_DELAY_MS  50u
#define LAST_DELAY_MS   5000u
#define QUIT_WAIT_US    2000000u
#define HOPELESS_STARTS 3u
#define HOPELESS_LIVES  8u
#define FIRST_FD        3

/* ---- starting ---- */

static void start_later(struct vivi_keeper *k, uint64_t now_us)
{
    struct vivi_link *l = &k->link;

    l->delay_ms = l->delay_ms == 0 ? FIRST_DELAY_MS : l->delay_ms * 2;
    if (l->delay_ms > LAST_DELAY_MS)
        l->delay_ms = LAST_DELAY_MS;
    l->restart_at_us = now_us + l->delay_ms * (uint64_t)1000;
}

/* Everything the monitor inherits, and the text that names it. */
static int build_map(struct vivi_keeper *k, int their_end, struct vivi_fd_map *map, size_t *ret_n,
                     struct vivi_buf *names)
{
    const int fixed[] = {k->lock_fd, k->listener_fd, their_end};
    size_t n = 0;

    map[n++] = (struct vivi_fd_map){.fd = 2, .child_fd = 2};
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++, n++)
        map[n] = (struct vivi_fd_map){.fd = fixed[i], .child_fd = FIRST_FD + (int)i};
    (void)vivi_buf_printf(names, "lock=%d,listener=%d,keeper=%d", FIRST_FD, FIRST_FD + 1,
                          FIRST_FD + 2);
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++) {
        const struct vivi_entry *e = &k->table.entries[i];

        if (e->name[0] == '\0')
            continue;
        map[n] = (struct vivi_fd_map){.fd = e->fd, .child_fd = FIRST_FD - 1 + (int)n};
        (void)vivi_fds_add(names, e, map[n].child_fd);
        n++;
    }
    *ret_n = n;
    return vivi_buf_check(names, NULL);
}

static int spawn_monitor(struct vivi_keeper *k, int their_end, viv_error *err)
{
    cleanup_buf struct vivi_buf names = VIVI_BUF(OUT_MAX_BYTES);
    struct vivi_fd_map map[4 + VIVI_KEEPER_MAX_NAMES];
    const char *argv[] = {k->monitor_exe, "--vm-dir", k->vm_dir,   "--run-dir",
                          k->run_dir,     "--keeper", k->self_exe, NULL};
    /* exec wants no const, and changes nothing. */
    struct vivi_spawn s = {.path = k->monitor_exe, .argv = (char *const *)(uintptr_t)argv};
    const struct vivi_child_spec spec = {.role = VIVI_ROLE_MONITOR, .spawn = &s};
    int r = build_map(k, their_end, map, &s.n_map, &names);

    if (r < 0)
        return vivi_fail_oom(err);
    s.map = map;
    if (setenv(VIVI_FDS_ENV, names.data, 1) < 0)
        return vivi_fail_oom(err);
    r = vivi_child_spawn(k, &spec, &k->link.child, err);
    (void)unsetenv(VIVI_FDS_ENV); /* not for other children */
    return r;
}

/* A new monitor knows nothing: all state is news again. What an old one asked for is nobody's now.
 */
static void forget_what_was_told(struct vivi_keeper *k)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++) {
        if (k->table.entries[i].name[0] == '\0')
            continue;
        k->table.entries[i].stream.grew = true;
        k->table.entries[i].stream.told_failure = 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        if (k->children[i].phase == VIVI_CHILD_FREE)
            continue;
        k->children[i].answer_due = false;
        k->children[i].orphaned = true;
    }
    k->link.tell_caller_gone = k->caller_gone;
}

static void start_failed(struct vivi_keeper *k, int sys_errno, const char *text)
{
    char line[600];
    int n;

    k->link.failed_starts++;
    vivi_log(VIVI_LOG_ERROR, "no monitor: %s", text);
    /* Its monitor died after the VM's directory was removed: nothing can be recorded any more. */
    if (vivi_child_alive(k) == 0 && vivi_keeper_directory_is_current(k, NULL) == 0)
        k->done = true;
    if (k->status_fd < 0)
        return;
    n = snprintf(line, sizeof(line), "error %d %s\n", sys_errno, text);
    if (n > 0 && (size_t)n < sizeof(line))
        (void)vivi_write_full(k->status_fd, line, (size_t)n, 0, NULL);
    vivi_close(&k->status_fd);
    if (vivi_child_alive(k) > 0)
        return;
    k->giving_up = true; /* nothing to keep, and the one who asked knows */
    k->done = k->link.child == NULL;
}

void vivi_link_start(struct vivi_keeper *k, uint64_t now_us)
{
    struct vivi_link *l = &k->link;
    viv_error err = VIV_ERROR_INIT;
    cleanup_close int theirs = -1;
    int ends[2], r;

    l->restart_at_us = VIVI_NEVER_US;
    l->started_us = now_us;
    r = vivi_socketpair(ends, &err);
    if (r == 0) {
        l->fd = ends[0];
        theirs = ends[1];
        r = vivi_fd_nonblock(l->fd, true, &err);
    }
    if (r == 0)
        r = spawn_monitor(k, theirs, &err);
    if (r < 0) {
        vivi_close(&l->fd);
        start_failed(k, err.sys_errno, err.message);
        start_later(k, now_us);
        return;
    }
    vivi_frames_init(&l->in);
    vivi_buf_init(&l->out, OUT_MAX_BYTES);
    forget_what_was_told(k);
}

static void say_ok(struct vivi_keeper *k)
{
    struct vivi_proc_id self;
    char line[64];
    int n;

    vivi_proc_self(&self);
    n = snprintf(line, sizeof(line), "ok %d %" PRIu64 "\n", (int)self.pid, self.start_time);
    (void)vivi_write_full(k->status_fd, line, (size_t)n, 0, NULL);
    vivi_close(&k->status_fd);
}

void vivi_link_exec_known(struct vivi_keeper *k, const struct vivi_child *c)
{
    char text[600];

    if (c->exec_errno != 0) {
        viv_error err = VIV_ERROR_INIT;

        (void)vivi_fail_errno(&err, c->exec_errno, "cannot start %s", k->monitor_exe);
        (void)snprintf(text, sizeof(text), "%s", err.message);
        start_failed(k, c->exec_errno, text);
        return;
    }
    k->link.failed_starts = 0;
    if (k->status_fd >= 0)
        say_ok(k);
}

/* ---- ending ---- */

static void close_link(struct vivi_link *l)
{
    vivi_close(&l->fd);
    vivi_frames_done(&l->in);
    vivi_buf_done(&l->out);
}

void vivi_link_lose(struct vivi_keeper *k, const char *why)
{
    if (k->link.fd < 0)
        return;
    /* Without its socket it is of no use, and it must not live beside the next one. Killed before
     * the socket is closed: it would take us for dead and become a second keeper. If it is on its
     * way out anyway, its status is decided already. */
    if (k->link.child != NULL && !k->quitting) {
        if (why != NULL)
            vivi_log(VIVI_LOG_ERROR, "monitor %d: %s", (int)k->link.child->id.pid, why);
        (void)kill(k->link.child->id.pid, SIGKILL);
    }
    close_link(&k->link);
}

static void log_end(const struct vivi_child *c)
{
    if (WIFSIGNALED(c->wstatus))
        vivi_log(VIVI_LOG_WARN, "monitor %d ended by signal %d", (int)c->id.pid,
                 WTERMSIG(c->wstatus));
    else
        vivi_log(c->wstatus == 0 ? VIVI_LOG_INFO : VIVI_LOG_WARN, "monitor %d ended with status %d",
                 (int)c->id.pid, WEXITSTATUS(c->wstatus));
}

void vivi_link_ended(struct vivi_keeper *k, const struct vivi_child *c, uint64_t now_us)
{
    struct vivi_link *l = &k->link;

    if (c != l->child)
        return;
    l->child = NULL;
    while (l->fd >= 0 && vivi_serve(k, now_us))
        continue; /* what it asked before it ended counts */
    close_link(l);
    if (c->exec_errno == 0)
        log_end(c);
    if (k->quitting || k->giving_up || (c->wstatus == 0 && vivi_child_alive(k) == 0)) {
        k->done = true;
        return;
    }
    if (c->exec_errno == 0 && now_us - l->started_us >= LONG_LIFE_US) {
        l->delay_ms = 0;
        l->short_lives = 0;
        l->restart_at_us = now_us;
        return;
    }
    if (c->exec_errno == 0)
        l->short_lives++;
    start_later(k, now_us);
}

bool vivi_link_hopeless(const struct vivi_link *l, uint64_t now_us)
{
    if (l->child != NULL && now_us - l->started_us >= LONG_LIFE_US)
        return false;
    return l->failed_starts >= HOPELESS_STARTS || l->short_lives >= HOPELESS_LIVES;
}

void vivi_link_quit(struct vivi_keeper *k, uint64_t now_us)
{
    k->quitting = true;
    k->quit_at_us = now_us + QUIT_WAIT_US;
    (void)unlink(k->socket_path); /* a client that comes now starts a keeper of its own */
    vivi_close(&k->listener_fd);
}

/* ---- telling ---- */

/* Encodes a frame from formatted text in which VIVI_FIELD_END stands between the fields. */
static void VIVI_PRINTF(3, 0) queue(struct vivi_keeper *k, uint8_t op, const char *fmt, va_list ap)
{
    char text[700];
    int n = vsnprintf(text, sizeof(text), fmt, ap);

    if (k->link.fd < 0 || n < 0 || (size_t)n >= sizeof(text))
        return;
    for (int i = 0; i < n; i++)
        if (text[i] == VIVI_FIELD_END)
            text[i] = '\0';
    if (vivi_frame_encode(&k->link.out, VIVI_KEEPER_VERSION, op, text, n == 0 ? 0 : (size_t)n + 1) <
        0)
        vivi_link_lose(k, "does not read");
}

void vivi_link_reply(struct vivi_keeper *k, uint8_t op, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    queue(k, op, fmt, ap);
    va_end(ap);
}

static bool tell_answer(struct vivi_keeper *k, struct vivi_child *c)
{
    if (!c->answer_due)
        return false;
    c->answer_due = false;
    if (c->exec_errno == 0) {
        vivi_link_reply(k, VIVI_KO_SPAWNED, "%" PRIu64 "\x1f%d\x1f%" PRIu64, c->req, (int)c->id.pid,
                        c->id.start_time);
    } else {
        viv_error err = VIV_ERROR_INIT;

        (void)vivi_fail_errno(&err, c->exec_errno, "cannot start %s", c->role);
        vivi_link_reply(k, VIVI_KO_SPAWN_FAILED, "%" PRIu64 "\x1f%d\x1f%s", c->req, c->exec_errno,
                        err.message);
    }
    return true;
}

static bool tell_stream(struct vivi_keeper *k, struct vivi_entry *e)
{
    struct vivi_stream *s = &e->stream;

    if (e->name[0] == '\0' || s->file[0] == '\0')
        return false;
    if (s->grew) {
        s->grew = false;
        vivi_link_reply(k, VIVI_KO_GREW, "%s\x1f%" PRIu64, e->name, s->size);
        return true;
    }
    if (s->failure != s->told_failure) {
        s->told_failure = s->failure;
        vivi_link_reply(k, VIVI_KO_LOST, "%s\x1f%d", e->name, s->failure);
        return true;
    }
    return false;
}

static bool tell_exit(struct vivi_keeper *k, struct vivi_child *c)
{
    char status[16] = "?";

    if (!c->exit_due)
        return false;
    c->exit_due = false;
    if (c->status_known)
        (void)snprintf(status, sizeof(status), "%d", c->wstatus);
    vivi_link_reply(k, VIVI_KO_EXIT, "%s\x1f%" PRIu64 "\x1f%d\x1f%" PRIu64 "\x1f%s", c->role,
                    c->run, (int)c->id.pid, c->id.start_time, status);
    return true;
}

/* One piece of news into the queue; in this order an end comes after all that was written before.
 */
static bool tell_next(struct vivi_keeper *k)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (tell_answer(k, &k->children[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++)
        if (tell_stream(k, &k->table.entries[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (tell_exit(k, &k->children[i]))
            return true;
    if (!k->link.tell_caller_gone)
        return false;
    k->link.tell_caller_gone = false;
    vivi_link_reply(k, VIVI_KO_CALLER_GONE, "%s", "");
    return true;
}

/* Whether the queue is empty now. */
static bool flush(struct vivi_keeper *k)
{
    struct vivi_link *l = &k->link;

    while (l->fd >= 0 && l->out.len > 0) {
        ssize_t n = vivi_send_fds(l->fd, l->out.data, l->out.len, NULL, 0, NULL);

        if (n == -VIV_E_BUSY)
            return false;
        if (n < 0) {
            vivi_link_lose(k, NULL);
            return false;
        }
        vivi_buf_consume(&l->out, (size_t)n);
    }
    return l->fd >= 0;
}

void vivi_link_pump(struct vivi_keeper *k)
{
    while (flush(k)) {
        bool any = false;

        while (k->link.fd >= 0 && k->link.out.len < BATCH_BYTES && tell_next(k))
            any = true;
        if (!any)
            return;
    }
}
