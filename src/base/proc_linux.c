/*
 * Theory of operation: a pid alone names nobody for long. Pid and start time name one process of
 * this host boot and pid namespace; a pidfd opened between two looks at that pair stays with it.
 * Nothing here allocates: the identity of a child is also taken in a process that shares its
 * parent's memory (spawn_linux.c).
 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ioctl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc_linux.h"

#define OOM_MORE 100 /* a tenth of all memory, in the kernel's reckoning */
#define OOM_MOST 1000

/* linux/pidfd.h of 6.15 and later, which build machines need not have. */
struct pidfd_info_64 {
    uint64_t mask, cgroupid;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
#define PIDFD_GET_INFO_64 _IOWR(0xFF, 11, struct pidfd_info_64)
#define PIDFD_INFO_EXIT_  (UINT64_C(1) << 3)

/* At most cap - 1 bytes of a small file of /proc, NUL-terminated; 0 or -errno. */
static int read_small(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    do
        n = read(fd, buf, cap - 1);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        int e = errno;

        (void)close(fd);
        return -e;
    }
    (void)close(fd);
    buf[n] = '\0';
    return 0;
}

/* "/proc/<pid>/stat" without printf. */
static void stat_path(pid_t pid, char ret[32])
{
    char digits[12];
    size_t n = 0, at;
    unsigned v = (unsigned)pid;

    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    memcpy(ret, "/proc/", 6);
    for (at = 6; n > 0;)
        ret[at++] = digits[--n];
    memcpy(ret + at, "/stat", 6);
}

static bool parse_stat(const char *text, struct vivi_proc_stat *ret)
{
    /* The name in parentheses may hold anything, also parentheses: the last one ends it. */
    const char *p = strrchr(text, ')');
    uint64_t v = 0;

    if (p == NULL || p[1] != ' ' || p[2] == '\0')
        return false;
    ret->state = p[2];
    p += 2;
    for (int field = 3; field < 22; field++) {
        p = strchr(p, ' ');
        if (p == NULL)
            return false;
        p++;
    }
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    ret->start_time = v;
    return true;
}

int vivi_proc_stat(pid_t pid, struct vivi_proc_stat *ret)
{
    char path[32], text[1024];
    int r;

    stat_path(pid, path);
    r = read_small(path, text, sizeof(text));
    if (r < 0)
        return r;
    return parse_stat(text, ret) ? 0 : -EIO;
}

int vivi_proc_identify(pid_t pid, struct vivi_proc_id *ret, viv_error *err)
{
    struct vivi_proc_stat st;
    int r = pid > 0 ? vivi_proc_stat(pid, &st) : -ENOENT;

    if (r == -ENOENT || r == -ESRCH || (r == 0 && (st.state == 'Z' || st.state == 'X')))
        return vivi_fail(err, VIV_E_NOT_FOUND, "process %d: no such process", (int)pid);
    if (r < 0)
        return vivi_fail_errno(err, -r, "process %d", (int)pid);
    *ret = (struct vivi_proc_id){.pid = pid, .start_time = st.start_time};
    return 0;
}

void vivi_proc_self(struct vivi_proc_id *ret)
{
    pid_t pid = getpid();

    if (vivi_proc_identify(pid, ret, NULL) < 0)
        *ret = (struct vivi_proc_id){.pid = pid}; /* no /proc: matches nothing */
}

bool vivi_proc_alive(const struct vivi_proc_id *id)
{
    struct vivi_proc_id now = {0};

    return id->pid > 0 && vivi_proc_identify(id->pid, &now, NULL) == 0 &&
           now.start_time == id->start_time;
}

int vivi_proc_open(const struct vivi_proc_id *id, int *ret_pidfd, viv_error *err)
{
    cleanup_close int fd = -1;
    int r = id->pid > 0 ? (int)syscall(SYS_pidfd_open, id->pid, 0) : -1;

    if (id->pid <= 0 || (r < 0 && (errno == ESRCH || errno == EINVAL)))
        return vivi_fail(err, VIV_E_NOT_FOUND, "process %d: no such process", (int)id->pid);
    if (r < 0)
        return vivi_fail_errno(err, errno, "process %d", (int)id->pid);
    r = vivi_fd_above_stdio(r, err);
    if (r < 0)
        return r;
    fd = r;
    /* Looked at with the descriptor in hand: if it is the one we mean now, it is the one we hold.
     */
    if (!vivi_proc_alive(id))
        return vivi_fail(err, VIV_E_NOT_FOUND, "process %d: no such process", (int)id->pid);
    *ret_pidfd = take_fd(&fd);
    return 0;
}

int vivi_proc_signal(int pidfd, int sig, viv_error *err)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
        return vivi_fail_errno(err, errno, "cannot send signal %d", sig);
    return 0;
}

int vivi_proc_take_fd(int pidfd, int number, int *ret_fd, viv_error *err)
{
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0); /* sets close-on-exec */

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot take descriptor %d of another process", number);
    fd = vivi_fd_above_stdio(fd, err);
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

int vivi_proc_exit_status(int pidfd, int *ret_wstatus)
{
    struct pidfd_info_64 info = {.mask = PIDFD_INFO_EXIT_};

    if (ioctl(pidfd, PIDFD_GET_INFO_64, &info) < 0)
        return errno == ESRCH ? 0 : -VIV_E_UNSUPPORTED;
    if ((info.mask & PIDFD_INFO_EXIT_) == 0)
        return 0;
    *ret_wstatus = info.exit_code;
    return 1;
}

void vivi_proc_goes_first(pid_t pid)
{
    char path[48], text[32];
    long ours = 0;
    int fd;

    if (read_small("/proc/self/oom_score_adj", text, sizeof(text)) == 0)
        ours = strtol(text, NULL, 10);
    (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)dprintf(fd, "%ld", ours + OOM_MORE > OOM_MOST ? OOM_MOST : ours + OOM_MORE);
    (void)close(fd);
}

int vivi_proc_exe(char *ret, size_t cap, viv_error *err)
{
    static const char deleted[] = " (deleted)";
    ssize_t n = readlink("/proc/self/exe", ret, cap - 1);
    size_t len = n < 0 ? 0 : (size_t)n, tail = sizeof(deleted) - 1;

    if (n < 0 || len >= cap - 1) {
        ret[0] = '\0';
        return vivi_fail_errno(err, n < 0 ? errno : ENAMETOOLONG, "cannot tell our own path");
    }
    if (len > tail && memcmp(ret + len - tail, deleted, tail) == 0)
        len -= tail;
    ret[len] = '\0';
    return 0;
}

/* "0::/path" (version 2), or the line "1:name=systemd:/path" of a host with the older kind. */
int vivi_proc_cgroup(pid_t pid, char *ret, size_t size, viv_error *err)
{
    char name[64], text[4096];
    int r;

    (void)snprintf(name, sizeof(name), "/proc/%ld/cgroup", (long)pid);
    r = read_small(name, text, sizeof(text));
    if (r < 0)
        return vivi_fail_errno(err, -r, "%s", name);
    for (char *line = text, *next; line && *line; line = next) {
        char *path = strstr(line, ":/");

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!path || path > line + strlen(line) ||
            (strncmp(line, "0::", 3) != 0 && !strstr(line, ":name=systemd:")))
            continue;
        if (strlen(path + 1) >= size)
            return vivi_fail(err, VIV_E_PROTOCOL, "%s: too long a path", name);
        (void)snprintf(ret, size, "%s", path + 1);
        return 0;
    }
    return vivi_fail(err, VIV_E_UNSUPPORTED, "no control groups on this host");
}

int vivi_host_boot_id(char ret[VIVI_BOOT_ID_SIZE], viv_error *err)
{
    char text[64];
    int r = read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text));

    if (r < 0)
        return vivi_fail_errno(err, -r, "cannot read the host's boot id");
    if (strcspn(text, "\n") != VIVI_BOOT_ID_SIZE - 1)
        return vivi_fail(err, VIV_E_IO, "cannot read the host's boot id: unexpected form");
    memcpy(ret, text, VIVI_BOOT_ID_SIZE - 1);
    ret[VIVI_BOOT_ID_SIZE - 1] = '\0';
    return 0;
}

int vivi_pid_namespace(uint64_t *ret, viv_error *err)
{
    struct stat st;

    if (stat("/proc/self/ns/pid", &st) < 0)
        return vivi_fail_errno(err, errno, "cannot tell the pid namespace");
    *ret = st.st_ino;
    return 0;
}

/* The number behind "\nName:" of a text like /proc/…/smaps_rollup; 0 when it is not there. */
static uint64_t number_after(const char *text, const char *name)
{
    const char *p = strstr(text, name);

    return p == NULL ? 0 : strtoull(p + strlen(name), NULL, 10);
}

int vivi_proc_usage(pid_t pid, struct vivi_proc_usage *ret, viv_error *err)
{
    char path[32], text[1024];
    uint64_t user, kernel, pages, tick = (uint64_t)sysconf(_SC_CLK_TCK);
    const char *p;
    int r;

    stat_path(pid, path);
    r = read_small(path, text, sizeof(text));
    if (r < 0)
        return vivi_fail_errno(err, -r, "process %d", (int)pid);
    p = strrchr(text, ')'); /* fields 14, 15 and 24 of proc(5) */
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                     " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                     &user, &kernel, &pages) != 3)
        return vivi_fail(err, VIV_E_IO, "process %d: its state cannot be read", (int)pid);
    ret->cpu_ms = (user + kernel) * 1000 / tick;
    ret->rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

int vivi_proc_private_kib(pid_t pid, uint64_t *ret, viv_error *err)
{
    char path[48], text[2048];
    int r;

    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    r = read_small(path, text, sizeof(text));
    if (r == -ESRCH || r == -ENOENT)
        return vivi_fail(err, VIV_E_NOT_FOUND, "process %d: no such process", (int)pid);
    if (r < 0)
        return vivi_fail_errno(err, -r, "process %d", (int)pid);
    *ret = number_after(text, "\nPrivate_Clean:") + number_after(text, "\nPrivate_Dirty:");
    return 0;
}
