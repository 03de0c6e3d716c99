/*
 * viv-keeper: owns the processes, descriptors and logs of one VM, and decides nothing. protocol.h
 * says what it is asked and what it tells; keeper.h how it is divided.
 *
 * It begins in one of two ways. With --status a client started it: it takes the VM's lock, or says
 * that it cannot. With --adopt it was executed by a monitor whose keeper died, in that monitor's
 * process: lock, sockets and streams are inherited. Both then look into exits.log for processes
 * that still live, and both start a monitor: there is one path from there on.
 *
 * SIGINT, SIGHUP and SIGTERM are ignored: what it keeps must survive a log-out, and only the
 * monitor knows how to end a VM in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"
#include "keeper/keeper.h"

#define LOG_MAX_BYTES ((size_t)1 << 20)
#define BACKLOG       128
#define KILL_AFTER_US 5000000u
#define LOCK_WAIT_MS  1000
#define MAX_POLLED    (3 + VIVI_KEEPER_MAX_NAMES + 2 * VIVI_KEEPER_MAX_CHILDREN)

static struct vivi_keeper keeper;
static int wake_fd = -1; /* for the signal handler */

static void on_sigchld(int sig)
{
    int saved = errno;

    (void)sig;
    (void)!write(wake_fd, "", 1); /* full: a wake-up is on its way already */
    errno = saved;
}

static int set_signals(struct vivi_keeper *k, viv_error *err)
{
    static const int ignored[] = {SIGINT, SIGHUP, SIGTERM, SIGPIPE, SIGXFSZ};
    struct sigaction act = {.sa_handler = on_sigchld, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
    int r = vivi_pipe(k->wake_fds, err);
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* a monitor's mask, when it became us */
    for (int i = 0; i < 2 && r == 0; i++)
        r = vivi_fd_nonblock(k->wake_fds[i], true, err);
    if (r < 0)
        return r;
    wake_fd = k->wake_fds[1];
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    if (sigaction(SIGCHLD, &act, NULL) < 0)
        return vivi_fail_errno(err, errno, "cannot watch for the end of children");
    return 0;
}

/* ---- taking over ---- */

/* What the monitor left to us. Everything inherited becomes close-on-exec again. */
static void inherit(struct vivi_keeper *k, const char *text)
{
    struct vivi_fds_item item;

    while (vivi_fds_next(&text, &item)) {
        struct vivi_entry *e;

        if (item.fd < 3 || vivi_fd_cloexec(item.fd, true, NULL) < 0)
            continue;
        if (strcmp(item.name, "lock") == 0)
            k->lock_fd = item.fd;
        else if (strcmp(item.name, "listener") == 0)
            k->listener_fd = item.fd;
        else if (vivi_keeper_reserved(item.name))
            (void)close(item.fd); /* the old socket between keeper and monitor */
        else if (vivi_table_put(&k->table, item.name, item.fd, &e, NULL) == 0 &&
                 item.file[0] != '\0')
            (void)vivi_stream_set(&e->stream, k->vm_fd, item.file, item.limit_bytes);
    }
}

int vivi_keeper_directory_is_current(const struct vivi_keeper *k, viv_error *err)
{
    struct stat mine, there;

    if (fstat(k->vm_fd, &mine) < 0)
        return vivi_fail_errno(err, errno, "%s", k->vm_dir);
    if (stat(k->vm_dir, &there) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "%s", k->vm_dir);
    return mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

/* The lock first, then a look whether it still is the VM's: a removal renames the directory. */
static int take_lock(struct vivi_keeper *k, int timeout_ms, viv_error *err)
{
    int r;

    if (k->lock_fd >= 0) {
        r = vivi_lock_take(k->lock_fd, "lock", err); /* ours already, unless somebody lied */
    } else {
        if (faccessat(k->vm_fd, "lock", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return vivi_fail_errno(err, errno, "%s/lock", k->vm_dir);
        r = vivi_lock_open(k->vm_fd, "lock", timeout_ms, &k->lock_fd, err);
    }
    if (r == 0)
        r = vivi_keeper_directory_is_current(k, err);
    if (r > 0)
        r = vivi_lock_is_current(k->lock_fd, k->vm_fd, "lock", err);
    if (r == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "%s: is no longer the directory of the VM",
                         k->vm_dir);
    return r < 0 ? r : 0;
}

static int take_over(struct vivi_keeper *k, bool adopt, viv_error *err)
{
    const char *fds = getenv(VIVI_FDS_ENV);
    int r = vivi_open_dir(AT_FDCWD, k->vm_dir, &k->vm_fd, err);

    if (r == 0 && adopt && fds != NULL)
        inherit(k, fds);
    (void)unsetenv(VIVI_FDS_ENV);
    if (r == 0)
        r = take_lock(k, adopt ? LOCK_WAIT_MS : 0, err);
    if (r == 0)
        r = vivi_host_boot_id(k->boot_id, err);
    if (r == 0)
        r = vivi_pid_namespace(&k->pid_ns, err);
    if (r == 0)
        r = vivi_proc_exe(k->self_exe, sizeof(k->self_exe), err);
    if (r == 0)
        r = vivi_mkdir_path(k->run_dir, 0700, err);
    if (r == 0 && k->listener_fd < 0)
        r = vivi_unix_listen(k->socket_path, BACKLOG, &k->listener_fd, err);
    if (r == 0)
        r = set_signals(k, err);
    return r == 0 ? vivi_child_adopt_all(k, err) : r;
}

/* ---- the loop ---- */

struct polled {
    struct pollfd fds[MAX_POLLED];
    void *what[MAX_POLLED]; /* an entry or a child */
    void (*run[MAX_POLLED])(struct vivi_keeper *k, void *what, uint64_t now_us);
    size_t n;
};

static void watch(struct polled *p, int fd, short events,
                  void (*run)(struct vivi_keeper *, void *, uint64_t), void *what)
{
    p->fds[p->n] = (struct pollfd){.fd = fd, .events = events};
    p->run[p->n] = run;
    p->what[p->n++] = what;
}

static void on_exec(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    (void)now_us;
    vivi_child_exec_ready(k, what);
}

static void on_pidfd(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    struct vivi_child *c = what;

    if (vivi_child_is_adopted(c))
        vivi_child_pidfd_ready(k, c, now_us);
}

static void on_fifo(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    vivi_stream_move(what, k->vm_fd, now_us);
}

static void on_caller(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    (void)what;
    (void)now_us;
    vivi_log(VIVI_LOG_INFO, "the caller is gone");
    k->caller_gone = true;
    k->link.tell_caller_gone = true;
}

static void on_wake(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    char bytes[64];

    (void)what;
    (void)now_us;
    while (read(k->wake_fds[0], bytes, sizeof(bytes)) > 0)
        continue;
    vivi_child_reap(k);
}

static void on_link(struct vivi_keeper *k, void *what, uint64_t now_us)
{
    (void)what;
    if (k->link.fd >= 0 && k->link.out.len < VIVI_ANSWERS_MAX_BYTES)
        (void)vivi_serve(k, now_us);
}

/* In this order they run: what was written before a process ended is moved before its end is told,
 * and requests of the monitor come last. */
static void collect(struct vivi_keeper *k, struct polled *p, uint64_t now_us)
{
    bool room = k->link.out.len < VIVI_ANSWERS_MAX_BYTES;

    p->n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (k->children[i].phase != VIVI_CHILD_FREE && k->children[i].exec_fd >= 0)
            watch(p, k->children[i].exec_fd, POLLIN, on_exec, &k->children[i]);
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++) {
        struct vivi_entry *e = &k->table.entries[i];

        if (e->name[0] == '\0')
            continue;
        if (vivi_stream_due(&e->stream, now_us))
            watch(p, e->fd, POLLIN, on_fifo, e);
        else if (strcmp(e->name, "caller") == 0 && !k->caller_gone)
            watch(p, e->fd, 0, on_caller, e);
    }
    watch(p, k->wake_fds[0], POLLIN, on_wake, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (vivi_child_is_adopted(&k->children[i]) && k->children[i].ask_at_us == 0)
            watch(p, k->children[i].pidfd, POLLIN, on_pidfd, &k->children[i]);
    if (k->link.fd >= 0)
        watch(p, k->link.fd, (short)((room ? POLLIN : 0) | (k->link.out.len > 0 ? POLLOUT : 0)),
              on_link, NULL);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return b != 0 && b < a ? b : a;
}

/* The timers, all of them: pacing and back-off of streams, a status to be asked for again, a line
 * for exits.log, the next monitor, the end of waiting for the last one, the kill after a vanished
 * caller. */
static uint64_t next_deadline(const struct vivi_keeper *k)
{
    uint64_t at = VIVI_NEVER_US;

    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++)
        if (k->table.entries[i].name[0] != '\0')
            at = earlier(at, k->table.entries[i].stream.not_before_us);
    for (size_t i = 0; i < ARRAY_SIZE(k->children); i++)
        if (vivi_child_is_adopted(&k->children[i]))
            at = earlier(at, k->children[i].ask_at_us);
    at = earlier(at, k->exits_retry_us);
    at = earlier(at, k->quit_at_us);
    at = earlier(at, k->kill_at_us);
    return k->link.child == NULL ? earlier(at, k->link.restart_at_us) : at;
}

/* Nobody left who could end the VM in order: the one who wanted it is gone, and no monitor starts.
 */
static void end_orphans(struct vivi_keeper *k, uint64_t now_us)
{
    if (!k->caller_gone || !vivi_link_hopeless(&k->link, now_us)) {
        k->kill_at_us = 0;
        k->termed = false;
    } else if (vivi_child_alive(k) == 0) {
        k->done = true;
    } else if (!k->termed) {
        vivi_log(VIVI_LOG_ERROR, "the caller is gone and no monitor can be started: ending the VM");
        k->termed = true;
        k->kill_at_us = now_us + KILL_AFTER_US;
        vivi_child_signal_all(k, SIGTERM);
    } else if (k->kill_at_us != 0 && k->kill_at_us <= now_us) {
        k->kill_at_us = 0;
        vivi_child_signal_all(k, SIGKILL);
    }
}

static void run_timers(struct vivi_keeper *k, uint64_t now_us)
{
    for (size_t i = 0; i < ARRAY_SIZE(k->table.entries); i++)
        if (k->table.entries[i].name[0] != '\0' &&
            k->table.entries[i].stream.not_before_us <= now_us)
            k->table.entries[i].stream.not_before_us = 0;
    vivi_child_settle(k, now_us);
    end_orphans(k, now_us);
    if (k->quit_at_us != 0 && k->quit_at_us <= now_us)
        k->done = true;
    if (k->link.child == NULL && !k->quitting && !k->done && k->link.restart_at_us <= now_us)
        vivi_link_start(k, now_us);
}

static int poll_timeout_ms(uint64_t deadline_us)
{
    uint64_t now_us = vivi_mono_us();

    if (deadline_us == VIVI_NEVER_US)
        return -1;
    if (deadline_us <= now_us)
        return 0;
    return deadline_us - now_us > 60000000u ? 60000 : (int)((deadline_us - now_us + 999) / 1000);
}

static void run(struct vivi_keeper *k)
{
    static struct polled p;

    while (!k->done) {
        uint64_t now_us = vivi_mono_us();
        int n;

        run_timers(k, now_us);
        vivi_link_pump(k);
        if (k->done)
            break;
        collect(k, &p, now_us);
        n = poll(p.fds, (nfds_t)p.n, poll_timeout_ms(next_deadline(k)));
        if (n < 0 && errno != EINTR)
            vivi_log(VIVI_LOG_ERROR, "poll: %s", vivi_errno_name(errno));
        now_us = vivi_mono_us();
        for (size_t i = 0; i < p.n && n > 0; i++)
            if (p.fds[i].revents != 0)
                p.run[i](k, p.what[i], now_us);
    }
    vivi_keeper_drain_all(k, vivi_mono_us());
}

/* ---- command line ---- */

static bool is_absolute(const char *path)
{
    return path != NULL && path[0] == '/';
}

static bool parse_options(struct vivi_keeper *k, char **argv, bool *ret_adopt)
{
    uint64_t fd;

    for (char **a = argv + 1; *a != NULL; a++) {
        if (strcmp(*a, "--adopt") == 0) {
            *ret_adopt = true;
            continue;
        }
        if (a[1] == NULL)
            return false;
        if (strcmp(*a, "--vm-dir") == 0)
            k->vm_dir = a[1];
        else if (strcmp(*a, "--run-dir") == 0)
            k->run_dir = a[1];
        else if (strcmp(*a, "--monitor") == 0)
            k->monitor_exe = a[1];
        else if (strcmp(*a, "--status") == 0 && vivi_keeper_number(a[1], INT16_MAX, &fd))
            k->status_fd = (int)fd;
        else
            return false;
        a++;
    }
    return is_absolute(k->vm_dir) && is_absolute(k->run_dir) && is_absolute(k->monitor_exe) &&
           snprintf(k->socket_path, sizeof(k->socket_path), "%s/%s", k->run_dir,
                    VIVI_CONTROL_SOCKET) < (int)sizeof(k->socket_path);
}

/* The one line that a starting client waits for. */
static void say_failure(struct vivi_keeper *k, int code, const viv_error *err)
{
    char line[600] = "busy\n";

    if (code == -VIV_E_NOT_FOUND)
        (void)snprintf(line, sizeof(line), "gone\n");
    else if (code != -VIV_E_BUSY)
        (void)snprintf(line, sizeof(line), "error %d %s\n",
                       err->sys_errno == 0 ? EIO : err->sys_errno, err->message);
    if (code != -VIV_E_BUSY)
        vivi_log(VIVI_LOG_ERROR, "%s", err->message);
    if (k->status_fd >= 0)
        (void)vivi_write_full(k->status_fd, line, strlen(line), 0, NULL);
}

int main(int argc, char **argv)
{
    const char *level = getenv("VIV_LOG");
    struct vivi_keeper *k = &keeper;
    viv_error err = VIV_ERROR_INIT;
    bool adopt = false;
    int r;

    (void)argc;
    k->vm_fd = k->lock_fd = k->listener_fd = k->status_fd = k->link.fd = -1;
    k->link.restart_at_us = 0;
    if (!parse_options(k, argv, &adopt)) {
        (void)fprintf(stderr, "usage: viv-keeper --vm-dir DIR --run-dir DIR --monitor PROGRAM "
                              "(--status FD | --adopt)\n");
        return 2;
    }
    vivi_log_to(STDERR_FILENO, "keeper",
                level != NULL && strcmp(level, "debug") == 0 ? VIVI_LOG_DEBUG : VIVI_LOG_INFO,
                LOG_MAX_BYTES);
    (void)umask(077);
    if (k->status_fd >= 0)
        (void)vivi_fd_cloexec(k->status_fd, true, NULL);
    r = take_over(k, adopt, &err);
    if (r < 0) {
        say_failure(k, r, &err);
        return 1;
    }
    run(k);
    (void)unlink(k->socket_path); /* still under the lock */
    return 0;
}
