/*
 * child.c: from fork to exec: user, directory, environment, terminal.
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

struct user {
    uid_t uid;
    gid_t gid;
    char name[64], home[256], shell[256];
    bool known; /* has a line in the user database */
};

static struct rlimit files_before; /* 0: not raised */

void child_raise_limits(void)
{
    struct rlimit more;

    if (getrlimit(RLIMIT_NOFILE, &files_before) < 0)
        return;
    more = files_before;
    more.rlim_cur = more.rlim_max < AGENT_FILES ? more.rlim_max : AGENT_FILES;
    if (more.rlim_cur <= files_before.rlim_cur || setrlimit(RLIMIT_NOFILE, &more) < 0)
        files_before.rlim_max = 0;
}

void child_begin(void)
{
    const unsigned long dfl[8] = {0};
    sigset_t none;

    (void)setsid();
    /* An agent that is killed leaves nothing running. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* By the system call: the C library refuses the two signals that it keeps for threads, which
     * may have come ignored. For the kernel zeros are SIG_DFL. */
    for (int s = 1; s < NSIG; s++)
        (void)syscall(SYS_rt_sigaction, s, dfl, NULL, (size_t)(NSIG - 1) / 8);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)umask(022);
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

static _Noreturn void cannot(int status_fd, int code, const char *what, const char *why)
{
    char buf[1024], text[600];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    (void)snprintf(text, sizeof(text), "%.400s: %s", what, why);
    vivi_aw_put_u64(&w, "exit", (uint64_t)code);
    vivi_aw_put(&w, "text", text);
    child_record(status_fd, 'R', &w);
    _exit(code);
}

static _Noreturn void refuse(int status_fd, const viv_error *err)
{
    char buf[1024];
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

/* All values of a key, after `first` words of the caller's; NULL-terminated; NULL: out of memory.
 */
static char **words(const struct child_request *q, const char *key, size_t first)
{
    size_t n = first, at = 0;
    const char *v;
    char **list;

    while (vivi_aw_field_next(q->fields, q->len, key, &at) != NULL && n < MAX_WORDS)
        n++;
    list = calloc(n + 1, sizeof(*list));
    n = first;
    at = 0;
    while (list != NULL && (v = vivi_aw_field_next(q->fields, q->len, key, &at)) != NULL &&
           n < MAX_WORDS)
        list[n++] = strdup(v);
    return list;
}

static void make_environment(const struct child_request *q, const struct user *u)
{
    size_t at = 0;
    const char *v;

    (void)clearenv();
    (void)setenv("PATH", DEFAULT_PATH, 1);
    (void)setenv("HOME", u->home, 1);
    (void)setenv("SHELL", u->shell, 1);
    if (u->known) {
        (void)setenv("USER", u->name, 1);
        (void)setenv("LOGNAME", u->name, 1);
    }
    if (q->tty)
        (void)setenv("TERM", "xterm", 1);
    while ((v = vivi_aw_field_next(q->fields, q->len, "env", &at)) != NULL) {
        char *pair = strdup(v); /* stays: it becomes part of the environment */

        if (pair != NULL && strchr(pair, '=') > pair)
            (void)putenv(pair);
    }
}

static _Noreturn void run(const struct child_request *q, const struct user *u, int status_fd)
{
    char **argv = words(q, "arg", q->shell ? 1 : 0);
    char login[260];
    const char *program, *base;
    int e;

    if (argv == NULL)
        cannot(status_fd, NOT_TO_BE_RUN, "the command", "out of memory");
    program = q->shell ? u->shell : argv[0];
    if (q->shell) {
        base = strrchr(program, '/');
        (void)snprintf(login, sizeof(login), "-%s", base != NULL ? base + 1 : program);
        argv[0] = login;
    }
    (void)execvp(program, argv);
    e = errno;
    if (e == ENOENT && strchr(program, '/') == NULL)
        cannot(status_fd, NOT_FOUND, program, "not found in the guest");
    cannot(status_fd, e == ENOENT || e == ENOTDIR ? NOT_FOUND : NOT_TO_BE_RUN, program,
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
        cannot(status_fd, NOT_TO_BE_RUN, "the command", vivi_errno_text(errno));
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
    viv_error err = VIV_ERROR_INIT;
    struct user u = {0};

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
    make_environment(q, &u);
    run(q, &u, status_fd);
}
