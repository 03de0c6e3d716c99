/*
 * Theory of operation.
 *
 * vivi_spawn_detached must leave no trace in the program that calls it: no SIGCHLD, no child that
 * its own waitpid(-1) could see, no copy of its (perhaps huge) page tables. So the caller clones an
 * intermediate with exit signal 0, which only a wait with __WCLONE can see, and that one clones the
 * program's process and ends, which makes the program an orphan at once. Both clones share the
 * caller's memory and suspend their parent (CLONE_VM | CLONE_VFORK) until exec or exit: only one of
 * the three ever runs, results come back through memory, and a failing exec is known without a
 * pipe. The process takes its own identity before it execs.
 *
 * vivi_spawn_gated forks, because its child waits while the parent goes on.
 *
 * Between clone and exec nothing allocates, locks or prints.
 */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/proc_linux.h"

#define STACK_BYTES ((size_t)64 * 1024)
#define MAX_KEPT    2

/* What a child starts from. kept: descriptors for us between clone and exec, moved out of the map's
 * way. */
struct child {
    const struct vivi_spawn *s;
    char *const *envp;
    const int *close_fds;
    size_t n_close;
    int kept[MAX_KEPT];
    size_t n_kept;
};

/* By the system call: the C library refuses the two signals that it keeps for threads, and what its
 * posix_spawn(3) starts (by make, say) inherits them ignored. For the kernel zeros are SIG_DFL. */
static void default_signals(void)
{
    const unsigned long dfl[8] = {0};

    for (int sig = 1; sig < NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, dfl, NULL, (size_t)(NSIG - 1) / 8);
}

static void unblock_signals(void)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The caller's program may have opened descriptors without close-on-exec: none of them may pass. */
static void close_all_on_exec(void)
{
    struct rlimit lim;

    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur > 65536)
        lim.rlim_cur = 65536;
    for (int fd = 3; fd < (int)lim.rlim_cur; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* First number above all that the map wants. */
static int first_free(const struct vivi_spawn *s)
{
    int high = 3;

    for (size_t i = 0; i < s->n_map; i++)
        if (s->map[i].child_fd >= high)
            high = s->map[i].child_fd + 1;
    return high;
}

/* Standard descriptors that the map does not name. */
static int null_stdio(const struct vivi_spawn *s, int high)
{
    bool named[3] = {false, false, false};
    int fd, null;

    for (size_t i = 0; i < s->n_map; i++)
        if (s->map[i].child_fd < 3)
            named[s->map[i].child_fd] = true;
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    null = fcntl(fd, F_DUPFD_CLOEXEC, high);
    if (null < 0)
        return errno;
    for (int i = 0; i < 3; i++)
        if (!named[i] && dup2(null, i) < 0)
            return errno;
    return 0;
}

/* In the child: everything but the wait and the exec. 0 or an errno. */
static int set_up(struct child *c)
{
    const struct vivi_spawn *s = c->s;
    int staged[VIVI_SPAWN_MAX_MAP], high = first_free(s), r;

    (void)setsid(); /* fails only for a group leader, which a new process never is */
    default_signals();
    /* Two steps: a number may be one entry's source and another's target. */
    for (size_t i = 0; i < s->n_map; i++)
        if ((staged[i] = fcntl(s->map[i].fd, F_DUPFD_CLOEXEC, high)) < 0)
            return errno;
    for (size_t i = 0; i < c->n_kept; i++)
        if ((c->kept[i] = fcntl(c->kept[i], F_DUPFD_CLOEXEC, high)) < 0)
            return errno;
    for (size_t i = 0; i < c->n_close; i++)
        (void)close(c->close_fds[i]);
    close_all_on_exec();
    r = null_stdio(s, high);
    if (r != 0)
        return r;
    for (size_t i = 0; i < s->n_map; i++)
        if (dup2(staged[i], s->map[i].child_fd) < 0)
            return errno;
    return chdir(s->cwd == NULL ? "/" : s->cwd) < 0 ? errno : 0;
}

static int check(const struct vivi_spawn *s, viv_error *err)
{
    if (s->n_map > VIVI_SPAWN_MAX_MAP)
        return vivi_fail(err, VIV_E_INVALID, "%s: more than %d descriptors", s->path,
                         VIVI_SPAWN_MAX_MAP);
    for (size_t i = 0; i < s->n_map; i++) {
        if (s->map[i].fd < 0 || s->map[i].child_fd < 0 || s->map[i].child_fd > 1000)
            return vivi_fail(err, VIV_E_INVALID, "%s: descriptor %d out of range", s->path,
                             s->map[i].child_fd);
        for (size_t k = 0; k < i; k++)
            if (s->map[k].child_fd == s->map[i].child_fd)
                return vivi_fail(err, VIV_E_INVALID, "%s: descriptor %d is mapped twice", s->path,
                                 s->map[i].child_fd);
    }
    return 0;
}

/* ---- detached ---- */

struct detached {
    struct child child;
    char *stacks; /* two of STACK_BYTES */
    volatile int failure;
    volatile pid_t pid;
    volatile uint64_t start_time;
};

/* Its identity is taken before it runs: a program may be gone before anybody could look, and leaves
 * not even a zombie where the host ignores SIGCHLD. An exec changes neither number. */
static int run_program(void *arg)
{
    struct detached *d = arg;
    const struct vivi_spawn *s = d->child.s;
    struct vivi_proc_stat st;
    pid_t self = getpid();
    int r = vivi_proc_stat(self, &st);

    if (r < 0) {
        d->failure = -r;
        return 127;
    }
    d->pid = self;
    d->start_time = st.start_time;
    r = set_up(&d->child);
    if (r == 0) {
        unblock_signals();
        (void)execve(s->path, s->argv, d->child.envp);
        r = errno;
    }
    d->failure = r;
    return 127;
}

static int run_intermediate(void *arg)
{
    struct detached *d = arg;

    if (clone(run_program, d->stacks + 2 * STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, d) < 0) {
        d->failure = errno;
        return 1;
    }
    return 0;
}

/* Signals stay blocked around it: a handler of the host must not run in a process that shares its
 * memory. */
static int clone_and_wait(struct detached *d, viv_error *err)
{
    sigset_t all, before;
    int wstatus, e = 0;
    pid_t pid;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid = clone(run_intermediate, d->stacks + STACK_BYTES, CLONE_VM | CLONE_VFORK, d);
    if (pid < 0) {
        e = errno;
    } else {
        while (waitpid(pid, &wstatus, (int)__WCLONE) < 0 && errno == EINTR)
            continue;
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? vivi_fail_errno(err, e, "cannot start %s", d->child.s->path) : 0;
}

int vivi_spawn_detached(const struct vivi_spawn *s, struct vivi_proc_id *ret, viv_error *err)
{
    struct detached d = {.child = {.s = s, .envp = s->envp != NULL ? s->envp : environ}};
    int r = check(s, err);

    if (r < 0)
        return r;
    d.stacks = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (d.stacks == MAP_FAILED)
        return vivi_fail_errno(err, errno, "cannot start %s", s->path);
    r = clone_and_wait(&d, err);
    (void)munmap(d.stacks, 2 * STACK_BYTES);
    if (r < 0)
        return r;
    if (d.failure != 0)
        return vivi_fail_errno(err, d.failure, "cannot start %s", s->path);
    if (d.pid == 0)
        return vivi_fail(err, VIV_E_IO, "cannot start %s: killed on the way", s->path);
    *ret = (struct vivi_proc_id){.pid = d.pid, .start_time = d.start_time};
    return 0;
}

/* ---- gated ---- */

/* kept[0]: the gate's read end, kept[1]: the write end of the pipe that tells an errno. */
static int run_gated(struct child *c)
{
    int r = set_up(c);
    char byte;

    if (r == 0) {
        unblock_signals();
        if (read(c->kept[0], &byte, 1) != 1)
            return 127; /* the keeper died before it had recorded us: nobody must run */
        (void)execve(c->s->path, c->s->argv, c->envp);
        r = errno;
    }
    (void)!write(c->kept[1], &r, sizeof(r));
    return 127;
}

int vivi_spawn_gated(const struct vivi_spawn *s, const int *close_fds, size_t n_close,
                     struct vivi_gated *ret, viv_error *err)
{
    struct child c = {.s = s,
                      .envp = s->envp != NULL ? s->envp : environ,
                      .close_fds = close_fds,
                      .n_close = n_close,
                      .n_kept = 2};
    cleanup_close int gate_r = -1, gate_w = -1, exec_r = -1, exec_w = -1;
    int gate[2], exec_pipe[2], r = check(s, err), e;
    sigset_t all, before;
    pid_t pid;

    if (r < 0 || (r = vivi_pipe(gate, err)) < 0)
        return r;
    gate_r = gate[0];
    gate_w = gate[1];
    r = vivi_pipe(exec_pipe, err);
    if (r < 0)
        return r;
    exec_r = exec_pipe[0];
    exec_w = exec_pipe[1];
    c.kept[0] = gate_r;
    c.kept[1] = exec_w;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0) {
        /* Our own copy of the gate's write end would keep the gate from ever ending. */
        (void)close(gate_w);
        (void)close(exec_r);
        _exit(run_gated(&c));
    }
    e = errno;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return vivi_fail_errno(err, e, "cannot start %s", s->path);
    *ret =
        (struct vivi_gated){.pid = pid, .gate_fd = take_fd(&gate_w), .exec_fd = take_fd(&exec_r)};
    return 0;
}
