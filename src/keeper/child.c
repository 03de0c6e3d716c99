/*
 * Theory of operation: no process runs that exits.log does not name. The child waits at a gate
 * until its line is written; a keeper that dies before that closes the gate, and the child ends
 * without exec. Our own children are reaped, so their status is exact. Those of a keeper before us
 * are watched by pidfd; who reaped them is not known, and their status only where the system still
 * tells it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "keeper/keeper.h"

#define ASK_FOR_US   100000u /* how long the status of an adopted process is waited for */
#define ASK_EVERY_US 10000u
#define STALE_END_MS 1000

bool vivi_child_is_monitor(const struct vivi_child *c)
{
    return strcmp(c->role, VIVI_ROLE_MONITOR) == 0;
}

bool vivi_child_is_adopted(const struct vivi_child *c)
{
    return c->phase != VIVI_CHILD_FREE && c->pidfd >= 0;
}

static struct vivi_child *free_record(struct vivi_keeper *k)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        struct vivi_child *c = &k->children[i];

        if (c->phase == VIVI_CHILD_FREE) {
            memset(c, 0, sizeof(*c));
            c->exec_fd = -1;
            c->pidfd = -1;
            return c;
        }
    }
    return NULL;
}

static void release(struct vivi_child *c)
{
    vivi_close(&c->exec_fd);
    vivi_close(&c->pidfd);
    c->phase = VIVI_CHILD_FREE;
    c->answer_due = c->exit_due = false;
}

/* ---- starting ---- */

/* What a waiting child must not hold: it would look like a keeper, or like a client's connection.
 */
static size_t list_ours(const struct vivi_keeper *k, int *fds)
{
    size_t n = 0;

    fds[n++] = k->lock_fd;
    fds[n++] = k->listener_fd;
    fds[n++] = k->status_fd;
    fds[n++] = k->link.fd;
    fds[n++] = k->wake_fds[0];
    fds[n++] = k->wake_fds[1];
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++) {
        if (k->table.entries[i].name[0] == '\0')
            continue;
        fds[n++] = k->table.entries[i].fd;
        fds[n++] = k->table.entries[i].stream.fd;
    }
    return n;
}

/* A failure leaves a child that sees its gate close and ends; the reaper takes it. */
static int record_and_open(struct vivi_keeper *k, struct vivi_child *c, int gate_fd, viv_error *err)
{
    int r = vivi_proc_identify(c->id.pid, &c->id, err);

    if (!vivi_child_is_monitor(c))
        vivi_proc_goes_first(c->id.pid); /* a guest's memory, rather than who could tell of it */
    if (r == 0)
        r = vivi_exits_add_spawn(k, c, err);
    if (r == 0)
        (void)!write(gate_fd, "g",
                     1); /* in vain when it was killed meanwhile: an end like others */
    return r;
}

int vivi_child_spawn(struct vivi_keeper *k, const struct vivi_child_spec *spec,
                     struct vivi_child **ret, viv_error *err)
{
    int ours[6 + 2 * VIVI_KEEPER_MAX_NAMES], r;
    struct vivi_child *c = free_record(k);
    cleanup_close int gate = -1;
    struct vivi_gated g;

    if (c == NULL)
        return vivi_fail_errno(err, EAGAIN, "more than %d processes", VIVI_KEEPER_MAX_CHILDREN);
    r = vivi_spawn_gated(spec->spawn, ours, list_ours(k, ours), &g, err);
    if (r < 0)
        return r;
    gate = g.gate_fd;
    c->exec_fd = g.exec_fd;
    c->id.pid = g.pid;
    c->run = spec->run;
    c->req = spec->req;
    (void)snprintf(c->role, sizeof(c->role), "%s", spec->role);
    r = record_and_open(k, c, gate, err);
    if (r < 0) {
        release(c);
        return r;
    }
    c->phase = VIVI_CHILD_EXECS;
    *ret = c;
    return 0;
}

void vivi_child_exec_ready(struct vivi_keeper *k, struct vivi_child *c)
{
    int e = 0;

    if (c->exec_fd < 0)
        return;
    /* End of file: the exec closed the pipe, or the child was killed on its way there. */
    if (vivi_read_full(c->exec_fd, &e, sizeof(e), 0, NULL) < 0)
        e = 0;
    vivi_close(&c->exec_fd);
    c->exec_errno = e;
    if (c->phase == VIVI_CHILD_EXECS)
        c->phase = VIVI_CHILD_RUNS;
    if (vivi_child_is_monitor(c))
        vivi_link_exec_known(k, c);
    else
        c->answer_due = !c->orphaned;
}

/* ---- ending ---- */

static void ended(struct vivi_keeper *k, struct vivi_child *c, uint64_t now_us)
{
    viv_error err = VIV_ERROR_INIT;

    c->phase = VIVI_CHILD_ENDED;
    vivi_close(&c->pidfd);
    vivi_keeper_drain_all(k, now_us);
    c->unlogged = vivi_exits_add_exit(k, c, &err) < 0;
    if (c->unlogged) {
        vivi_log(VIVI_LOG_WARN, "the end of %s is not recorded yet: %s", c->role, err.message);
        k->exits_retry_us = now_us + 1000000;
    }
    c->exit_due = !vivi_child_is_monitor(c) && c->exec_errno == 0;
    if (vivi_child_is_monitor(c))
        vivi_link_ended(k, c, now_us);
}

void vivi_child_reap(struct vivi_keeper *k)
{
    uint64_t now_us = vivi_mono_us();
    int wstatus;
    pid_t pid;

    while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
        for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
            struct vivi_child *c = &k->children[i];

            if (c->id.pid != pid || vivi_child_is_adopted(c) ||
                (c->phase != VIVI_CHILD_EXECS && c->phase != VIVI_CHILD_RUNS))
                continue;
            vivi_child_exec_ready(k, c);
            c->status_known = true;
            c->wstatus = wstatus;
            ended(k, c, now_us);
        }
    }
}

void vivi_child_pidfd_ready(struct vivi_keeper *k, struct vivi_child *c, uint64_t now_us)
{
    int r = vivi_proc_exit_status(c->pidfd, &c->wstatus);

    c->status_known = r == 1;
    if (c->ask_until_us == 0)
        c->ask_until_us = now_us + ASK_FOR_US;
    if (r == 0 && now_us < c->ask_until_us) {
        c->ask_at_us = now_us + ASK_EVERY_US; /* its parent has not reaped it yet */
        return;
    }
    c->ask_at_us = 0;
    ended(k, c, now_us);
}

void vivi_child_settle(struct vivi_keeper *k, uint64_t now_us)
{
    bool retry = k->exits_retry_us != 0 && k->exits_retry_us <= now_us;

    if (retry)
        k->exits_retry_us = 0;
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        struct vivi_child *c = &k->children[i];

        if (vivi_child_is_adopted(c) && c->ask_at_us != 0 && c->ask_at_us <= now_us)
            vivi_child_pidfd_ready(k, c, now_us);
        if (c->phase != VIVI_CHILD_ENDED)
            continue;
        if (c->unlogged && retry) {
            c->unlogged = vivi_exits_add_exit(k, c, NULL) < 0;
            if (c->unlogged)
                k->exits_retry_us = now_us + 1000000;
        }
        if (!c->unlogged && !c->exit_due && !c->answer_due)
            release(c);
    }
}

unsigned vivi_child_alive(const struct vivi_keeper *k)
{
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        const struct vivi_child *c = &k->children[i];

        if ((c->phase == VIVI_CHILD_EXECS || c->phase == VIVI_CHILD_RUNS) &&
            !vivi_child_is_monitor(c))
            n++;
    }
    return n;
}

void vivi_child_signal_all(struct vivi_keeper *k, int sig)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        const struct vivi_child *c = &k->children[i];

        if ((c->phase != VIVI_CHILD_EXECS && c->phase != VIVI_CHILD_RUNS) ||
            vivi_child_is_monitor(c))
            continue;
        if (c->pidfd >= 0)
            (void)vivi_proc_signal(c->pidfd, sig, NULL);
        else
            (void)kill(c->id.pid, sig); /* ours and not reaped: the number cannot be another's */
    }
}

/* ---- adopting ---- */

static struct vivi_child *find_record(struct vivi_keeper *k, const struct vivi_proc_id *id)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++) {
        struct vivi_child *c = &k->children[i];

        if (c->phase != VIVI_CHILD_FREE && c->id.pid == id->pid &&
            c->id.start_time == id->start_time)
            return c;
    }
    return NULL;
}

/* Records that nothing answers for any more make room. */
static struct vivi_child *make_room(struct vivi_keeper *k)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (k->children[i].phase != VIVI_CHILD_FREE && !vivi_proc_alive(&k->children[i].id))
            release(&k->children[i]);
    return free_record(k);
}

/* A line of the log, in its order: a spawn opens a record, its exit closes it. */
static void replay(struct vivi_keeper *k, const struct vivi_exits_line *l)
{
    struct vivi_child *c = find_record(k, &l->id);

    if (!l->is_spawn || c != NULL) {
        if (!l->is_spawn && c != NULL)
            release(c);
        return;
    }
    if (strcmp(l->boot_id, k->boot_id) != 0 || l->pid_ns != k->pid_ns)
        return;
    c = free_record(k);
    if (c == NULL)
        c = make_room(k);
    if (c == NULL) {
        vivi_log(VIVI_LOG_ERROR, "more than %d live processes are recorded: %s %d is not adopted",
                 VIVI_KEEPER_MAX_CHILDREN, l->role, (int)l->id.pid);
        return;
    }
    c->phase = VIVI_CHILD_RUNS;
    memcpy(c->role, l->role, sizeof(c->role));
    c->run = l->run;
    c->id = l->id;
}

/* A monitor of a keeper before us would drive the same VM as ours; in place, it is ourselves. */
static void end_stale_monitor(struct vivi_child *c)
{
    vivi_log(VIVI_LOG_INFO, "ends monitor %d of an earlier keeper", (int)c->id.pid);
    (void)vivi_proc_signal(c->pidfd, SIGKILL, NULL);
    (void)vivi_wait_fd(c->pidfd, POLLIN, STALE_END_MS, NULL);
}

static void adopt(struct vivi_keeper *k, struct vivi_child *c, uint64_t now_us)
{
    bool ourselves = c->id.pid == getpid();

    if (!ourselves && vivi_proc_open(&c->id, &c->pidfd, NULL) == 0) {
        if (!vivi_child_is_monitor(c)) {
            vivi_log(VIVI_LOG_INFO, "adopts %s %d", c->role, (int)c->id.pid);
            return;
        }
        end_stale_monitor(c);
    }
    /* Nobody saw its end; the line says so and closes the record. */
    c->phase = VIVI_CHILD_ENDED;
    vivi_close(&c->pidfd);
    c->unlogged = vivi_exits_add_exit(k, c, NULL) < 0;
    if (c->unlogged)
        k->exits_retry_us = now_us + 1000000;
}

int vivi_child_adopt_all(struct vivi_keeper *k, viv_error *err)
{
    cleanup_buf struct vivi_buf all = VIVI_BUF(0);
    uint64_t now_us = vivi_mono_us();
    int r = vivi_exits_read(k, &all, err);

    if (r < 0)
        return r;
    if (all.len > 0 && all.data[all.len - 1] != '\n')
        (void)vivi_append_at(k->vm_fd, VIVI_EXITS_FILE, "\n", 1, NULL); /* torn by a power cut */
    for (size_t at = 0; at < all.len;) {
        const char *line = all.data + at, *end = memchr(line, '\n', all.len - at);
        struct vivi_exits_line l;

        if (end == NULL)
            break;
        if (vivi_exits_parse(line, (size_t)(end - line), &l))
            replay(k, &l);
        at += (size_t)(end - line) + 1;
    }
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (k->children[i].phase != VIVI_CHILD_FREE)
            adopt(k, &k->children[i], now_us);
    return 0;
}
