/*
 * child.c: from fork to exec: user, directory, environment, terminal.
 *
 * A plain command (no terminal, and neither a user nor a directory asked for) is started by vfork:
 * no page table is copied and nothing has to be copied on write afterwards, which in an emulated
 * guest is most of what a start costs. The loop stands still until the program was opened, as with
 * posix_spawn. All else, which may well wait for a database of users or for a directory on the
 * network, is forked. Until exec the child of a vfork shares this process's memory: it allocates
 * nothing and writes to nothing but its stack and the place for its failure.
 *
 * With a terminal there is one more process: the session's leader, which starts the program in a
 * process group of its own and waits for it. When a leader ends, the kernel hangs its terminal up
 * and throws away what the reader has not got yet. This one gives the terminal up first, which
 * loses nothing, and then ends as its program did.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/errno_text.h"

#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define NOT_FOUND     127
#define NOT_TO_BE_RUN 126
#define MAX_WORDS     16384
#define AGENT_FILES   4096

#define USER_DATABASE  "/etc/passwd"
#define BASE_VARIABLES 6

struct user {
    uid_t uid;
    gid_t gid;
    char name[64], home[256], shell[256];
    bool known; /* has a line in the user database */
};

/* What a program is started with. Words of the request are borrowed from it. */
struct words {
    char **argv, **envp; /* owned lists */
    const char *program, *path;
    char base[BASE_VARIABLES][300], login[260];
};

static struct rlimit files_before; /* 0: not raised */

static void all_close_on_exec(void)
{
    if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = 3; fd < AGENT_FILES; fd++) /* before Linux 5.11 */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Kept open. */
static int null_device(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return fd;
}

void child_prepare(void)
{
    const unsigned long dfl[8] = {0};
    struct rlimit more;

    /* By the system call: the C library refuses the two signals that it keeps for threads, which
     * may have come ignored. For the kernel zeros are SIG_DFL. */
    for (int s = 1; s < NSIG; s++)
        (void)syscall(SYS_rt_sigaction, s, dfl, NULL, (size_t)(NSIG - 1) / 8);
    (void)umask(022);
    all_close_on_exec();
    (void)null_device();
    if (getrlimit(RLIMIT_NOFILE, &files_before) < 0)
        return;
    more = files_before;
    more.rlim_cur = more.rlim_max < AGENT_FILES ? more.rlim_max : AGENT_FILES;
    if (more.rlim_cur <= files_before.rlim_cur || setrlimit(RLIMIT_NOFILE, &more) < 0)
        files_before.rlim_max = 0;
}

void child_begin(void)
{
    sigset_t none;

    (void)setsid();
    /* An agent that is killed leaves nothing running. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_DFL); /* what loop.c ignores */
    (void)signal(SIGHUP, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (files_before.rlim_max > 0)
        (void)setrlimit(RLIMIT_NOFILE, &files_before);
}

void child_keep_only(int status_fd)
{
    (void)dup2(status_fd, CHILD_STATUS_FD);
    (void)fcntl(CHILD_STATUS_FD, F_SETFD, FD_CLOEXEC);
    if (syscall(SYS_close_range, CHILD_STATUS_FD + 1, ~0u, 0) == 0)
        return;
    for (int fd = CHILD_STATUS_FD + 1; fd < AGENT_FILES; fd++) /* before Linux 5.9 */
        (void)close(fd);
}

void child_record(int status_fd, char kind, const struct vivi_aw_writer *w)
{
    unsigned char record[3 + AGENT_RECORD_MAX];
    size_t at = 0, len = w->len < AGENT_RECORD_MAX ? w->len : AGENT_RECORD_MAX;

    record[0] = (unsigned char)kind;
    record[1] = (unsigned char)len;
    record[2] = (unsigned char)(len >> 8);
    memcpy(record + 3, w->data, len);
    while (at < len + 3) {
        ssize_t n = write(status_fd, record + at, len + 3 - at);

        if (n <= 0 && errno != EINTR)
            return;
        at += n > 0 ? (size_t)n : 0;
    }
}

static int cannot(struct vivi_aw_writer *failure, int code, const char *what, const char *why)
{
    char text[600];

    (void)snprintf(text, sizeof(text), "%.400s: %s", what, why);
    vivi_aw_put_u64(failure, "exit", (uint64_t)code);
    vivi_aw_put(failure, "text", text);
    return code;
}

static _Noreturn void refuse(int status_fd, const viv_error *err)
{
    char buf[CHILD_FAILURE_MAX];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    vivi_aw_put_error(&w, err);
    child_record(status_fd, 'R', &w);
    _exit(NOT_TO_BE_RUN);
}

static void set_text(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text != NULL ? text : "");
}

/* "name", "uid" or "uid:gid"; NULL: whoever the agent is. */
static int find_user(const char *spec, struct user *ret, viv_error *err)
{
    uint32_t uid = getuid(), gid = UINT32_MAX;
    bool by_number = spec == NULL || request_ids(spec, &uid, &gid);
    bool both = gid != UINT32_MAX;
    const struct passwd *p = by_number ? getpwuid((uid_t)uid) : getpwnam(spec);

    if (p == NULL && !by_number)
        return vivi_fail(err, VIV_E_NOT_FOUND, "there is no user '%s' in the guest", spec);
    if (!both)
        gid = getgid();
    ret->known = p != NULL;
    ret->uid = p != NULL ? p->pw_uid : (uid_t)uid;
    ret->gid = p != NULL && !both ? p->pw_gid : (gid_t)gid;
    set_text(ret->name, sizeof(ret->name), p != NULL ? p->pw_name : NULL);
    set_text(ret->home, sizeof(ret->home), p != NULL && *p->pw_dir != '\0' ? p->pw_dir : "/");
    set_text(ret->shell, sizeof(ret->shell),
             p != NULL && *p->pw_shell != '\0' ? p->pw_shell : "/bin/sh");
    return 0;
}

static int become_user(const struct user *u, viv_error *err)
{
    if (u->uid == getuid() && u->gid == getgid())
        return 0;
    if ((u->known ? initgroups(u->name, u->gid) : setgroups(0, NULL)) < 0 || setgid(u->gid) < 0 ||
        setuid(u->uid) < 0)
        return vivi_fail_errno(err, errno, "cannot become user %s", u->name);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* another user clears it */
    return 0;
}

/* The list of a request's values of a key goes behind what stands there: how many there are. */
static size_t add_values(const struct child_request *q, const char *key, char **list, size_t n)
{
    size_t at = 0;
    const char *v;

    while ((v = vivi_aw_field_next(q->fields, q->len, key, &at)) != NULL && n < MAX_WORDS)
        list[n++] = (char *)(uintptr_t)v;
    return n;
}

static size_t count_values(const struct child_request *q, const char *key)
{
    size_t n = 0, at = 0;

    while (vivi_aw_field_next(q->fields, q->len, key, &at) != NULL && n < MAX_WORDS)
        n++;
    return n;
}

static bool same_variable(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* A later one of the same name replaces it; what names no variable is left out. */
static size_t settle_variables(char **envp, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        if (strchr(envp[i], '=') == NULL || *envp[i] == '=')
            continue;
        while (k < kept && !same_variable(envp[k], envp[i]))
            k++;
        envp[k] = envp[i];
        kept = k == kept ? kept + 1 : kept;
    }
    envp[kept] = NULL;
    return kept;
}

static size_t base_variables(const struct child_request *q, const struct user *u, struct words *w)
{
    const char *const rows[][2] = {{"PATH", DEFAULT_PATH},
                                   {"HOME", u->home},
                                   {"SHELL", u->shell},
                                   {"USER", u->known ? u->name : NULL},
                                   {"LOGNAME", u->known ? u->name : NULL},
                                   {"TERM", q->tty ? "xterm" : NULL}};
    size_t n = 0;

    _Static_assert(ARRAY_SIZE(rows) == BASE_VARIABLES, "room for each");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i][1] == NULL)
            continue;
        (void)snprintf(w->base[n], sizeof(w->base[n]), "%s=%s", rows[i][0], rows[i][1]);
        w->envp[n] = w->base[n];
        n++;
    }
    return n;
}

static void words_done(struct words *w)
{
    free(w->argv);
    free(w->envp);
}

/* False: out of memory. */
static bool words_make(const struct child_request *q, const struct user *u, struct words *w)
{
    size_t first = q->shell ? 1 : 0, n;
    const char *base;

    w->argv = calloc(first + count_values(q, "arg") + 1, sizeof(char *));
    w->envp = calloc(BASE_VARIABLES + count_values(q, "env") + 1, sizeof(char *));
    if (w->argv == NULL || w->envp == NULL)
        return false;
    (void)add_values(q, "arg", w->argv, first);
    n = settle_variables(w->envp, add_values(q, "env", w->envp, base_variables(q, u, w)));
    for (size_t i = 0; i < n; i++) {
        if (same_variable("PATH=", w->envp[i]))
            w->path = w->envp[i] + strlen("PATH=");
    }
    w->program = q->shell ? u->shell : w->argv[0];
    if (q->shell) {
        base = strrchr(w->program, '/');
        (void)snprintf(w->login, sizeof(w->login), "-%s", base != NULL ? base + 1 : w->program);
        w->argv[0] = w->login;
    }
    return true;
}

/* Tries a program in each directory of the path; looking first is cheaper than a failing exec. */
static int exec_by_path(const struct words *w)
{
    char file[PATH_MAX];
    int e = ENOENT;

    for (const char *dir = w->path; dir != NULL; dir = *dir == ':' ? dir + 1 : NULL) {
        size_t len = strcspn(dir, ":");
        int n =
            snprintf(file, sizeof(file), "%.*s%s%s", (int)len, dir, len > 0 ? "/" : "", w->program);

        dir += len;
        if (n < 0 || n >= (int)sizeof(file) || access(file, F_OK) < 0)
            continue;
        (void)execve(file, w->argv, w->envp);
        if (errno != EACCES && errno != ENOENT && errno != ENOTDIR)
            return errno;
        e = errno == EACCES ? EACCES : e;
    }
    return e;
}

/* Returns when it cannot be run: the exit code, and the words for it in failure. */
static int run(const struct words *w, struct vivi_aw_writer *failure)
{
    bool plain = strchr(w->program, '/') == NULL;
    int e = *w->program == '\0' ? ENOENT : 0;

    if (e == 0 && plain) {
        e = exec_by_path(w);
    } else if (e == 0) {
        (void)execve(w->program, w->argv, w->envp);
        e = errno;
    }
    if (e == ENOENT && plain)
        return cannot(failure, NOT_FOUND, w->program, "not found in the guest");
    return cannot(failure, e == ENOENT || e == ENOTDIR ? NOT_FOUND : NOT_TO_BE_RUN, w->program,
                  vivi_errno_text(e));
}

/* Ends as the program did: the parent sees the same status as without this process. */
static _Noreturn void end_as(int status)
{
    const struct rlimit none = {0};

    if (WIFSIGNALED(status)) {
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(WTERMSIG(status), SIG_DFL);
        (void)raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : NOT_TO_BE_RUN);
}

static _Noreturn void fail(int status_fd, int code, const char *what, const char *why)
{
    char buf[CHILD_FAILURE_MAX];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    (void)cannot(&w, code, what, why);
    child_record(status_fd, 'R', &w);
    _exit(code);
}

static void lead(int status_fd)
{
    pid_t pid;
    int status = 0;

    (void)ioctl(0, TIOCSCTTY, 0);
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpgid(0, 0);
        (void)signal(SIGTTOU, SIG_IGN);
        (void)tcsetpgrp(0, getpid());
        (void)signal(SIGTTOU, SIG_DFL);
        return;
    }
    if (pid < 0)
        fail(status_fd, NOT_TO_BE_RUN, "the command", vivi_errno_text(errno));
    (void)close(status_fd);
    (void)signal(SIGHUP, SIG_IGN); /* it ends when its program does */
    (void)signal(SIGTERM, SIG_IGN);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    (void)ioctl(0, TIOCNOTTY);
    end_as(status);
}

_Noreturn void child_exec(const struct child_request *q, int status_fd)
{
    char buf[CHILD_FAILURE_MAX];
    struct vivi_aw_writer failure = VIVI_AW_WRITER(buf);
    viv_error err = VIV_ERROR_INIT;
    struct words w = {.argv = NULL};
    struct user u = {0};
    int code;

    if (find_user(q->user, &u, &err) < 0)
        refuse(status_fd, &err);
    if (q->tty) {
        (void)fchown(0, u.uid, (gid_t)-1);
        lead(status_fd);
    }
    if (become_user(&u, &err) < 0)
        refuse(status_fd, &err);
    if (chdir(q->cwd != NULL ? q->cwd : u.home) < 0) {
        if (q->cwd != NULL) {
            (void)vivi_fail_errno(&err, errno, "cannot change to %s", q->cwd);
            refuse(status_fd, &err);
        }
        (void)!chdir("/");
    }
    if (!words_make(q, &u, &w))
        fail(status_fd, NOT_TO_BE_RUN, "the command", "out of memory");
    code = run(&w, &failure);
    child_record(status_fd, 'R', &failure);
    _exit(code);
}

/* ---- by vfork ------------------------------------------------------------------------------ */

/* Who the agent is; read anew when the database changes. */
static const struct user *self(void)
{
    static struct user u;
    static struct stat seen;
    struct stat now = {0};

    (void)stat(USER_DATABASE, &now);
    if (!u.known || now.st_ino != seen.st_ino || now.st_size != seen.st_size ||
        now.st_mtim.tv_sec != seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec) {
        seen = now;
        (void)find_user(NULL, &u, NULL);
    }
    return &u;
}

bool child_is_plain(const struct child_request *q)
{
    return !q->tty && !q->shell && q->cwd == NULL && q->user == NULL;
}

static _Noreturn void plain_child(const struct words *w, const struct user *u, const int fds[3],
                                  int null, struct vivi_aw_writer *ret_failure)
{
    child_begin();
    for (int i = 0; i < 3; i++) {
        int fd = fds[i] >= 0 ? fds[i] : null;

        if (fd >= 0)
            (void)dup2(fd, i);
    }
    if (chdir(u->home) < 0)
        (void)!chdir("/");
    _exit(run(w, ret_failure));
}

pid_t child_spawn(const struct child_request *q, const int fds[3],
                  struct vivi_aw_writer *ret_failure, viv_error *err)
{
    const struct user *u = self();
    int null = null_device();
    struct words w = {.argv = NULL};
    pid_t pid;

    if (!words_make(q, u, &w)) {
        words_done(&w);
        return vivi_fail_oom(err);
    }
    pid = vfork();
    if (pid == 0)
        plain_child(&w, u, fds, null, ret_failure);
    if (pid < 0)
        pid = vivi_fail_errno(err, errno, "cannot make a process");
    words_done(&w);
    return pid;
}
