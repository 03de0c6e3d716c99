/*
 * system.c: the parts of process 1 that talk to the kernel about something else than consoles and
 * NICs.
 *
 * Nothing here ends the process: an init that returns is a kernel panic, and a guest with a missing
 * driver is more useful than none.
 */
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define NOT_STARTED  127 /* exit statuses as a shell gives them */
#define SIGNALLED    128

void guest_mount_basics(void)
{
    (void)mkdir("/dev", 0755);
    (void)mkdir("/proc", 0555);
    (void)mkdir("/sys", 0555);
    (void)mkdir("/run", 0755);
    (void)mkdir("/tmp", 01777);
    (void)mkdir("/root", 0700);
    (void)mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    (void)mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    (void)mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    (void)mkdir("/dev/pts", 0755);
    (void)mkdir("/dev/shm", 01777);
    (void)mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
    (void)mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    (void)mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
    (void)symlink("/proc/self/fd", "/dev/fd");
    (void)symlink("/proc/self/fd/0", "/dev/stdin");
    (void)symlink("/proc/self/fd/1", "/dev/stdout");
    (void)symlink("/proc/self/fd/2", "/dev/stderr");
}

static void make_path(const char *path)
{
    char part[256];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(part))
        return;
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        (void)mkdir(part, 0755);
    }
}

int guest_mount(struct guest_consoles *c, const char *source, const char *target, const char *type,
                unsigned long flags, const char *data)
{
    make_path(target);
    if (mount(source, target, type, flags, data) == 0)
        return 0;
    guest_log(c, "cannot mount %s (%s) on %s: %s", source, type != NULL ? type : "-", target,
              strerror(errno));
    return -1;
}

void guest_read_text(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd >= 0) {
        n = read(fd, buf, size - 1);
        (void)close(fd);
    }
    if (n < 0)
        n = 0;
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
        n--;
    buf[n] = '\0';
}

void guest_write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ssize_t n;

    if (fd < 0)
        return;
    n = write(fd, text, strlen(text));
    (void)n; /* best effort: sysfs may refuse, and nothing better can be done */
    (void)close(fd);
}

static void load_module(struct guest_consoles *c, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    long r = -1;

    if (fd >= 0)
        r = syscall(SYS_finit_module, fd, "", 0);
    if (r < 0 && errno != EEXIST && errno != ENODEV)
        guest_log(c, "cannot load %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
}

void guest_load_modules(struct guest_consoles *c, const char *list)
{
    FILE *f = fopen(list, "re");
    char path[256];

    if (f == NULL)
        return;
    while (fgets(path, sizeof(path), f) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        if (path[0] == '/')
            load_module(c, path);
    }
    (void)fclose(f);
}

/* Whether name is one of the words in names, '-' and '_' being the same. */
static bool is_named(const char *names, const char *name)
{
    size_t len = strlen(name);

    while (*names != '\0') {
        size_t word = strcspn(names, ",");
        size_t i = 0;

        while (i < len && i < word &&
               (names[i] == name[i] || (strchr("-_", names[i]) && strchr("-_", name[i]))))
            i++;
        if (i == len && word == len)
            return true;
        names += word + (names[word] == ',');
    }
    return false;
}

void guest_load_by_name(struct guest_consoles *c, const char *index, const char *names)
{
    FILE *f = fopen(index, "re");
    char line[4096];

    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL) {
        char *save = NULL;
        const char *name = strtok_r(line, " \n", &save);
        const char *path;

        if (name == NULL || !is_named(names, name))
            continue;
        while ((path = strtok_r(NULL, " \n", &save)) != NULL)
            load_module(c, path);
    }
    (void)fclose(f);
}

static bool has_power_key(int fd)
{
    unsigned char keys[KEY_MAX / 8 + 1] = {0};

    if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) < 0)
        return false;
    return (keys[KEY_POWER / 8] >> (KEY_POWER % 8) & 1) != 0;
}

size_t guest_buttons_open(int fds[GUEST_MAX_BUTTONS])
{
    DIR *dir = opendir("/dev/input");
    struct dirent *entry;
    size_t n = 0;

    if (dir == NULL)
        return 0;
    while (n < GUEST_MAX_BUTTONS && (entry = readdir(dir)) != NULL) {
        int fd;

        if (strncmp(entry->d_name, "event", 5) != 0)
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && has_power_key(fd))
            fds[n++] = fd;
        else if (fd >= 0)
            (void)close(fd);
    }
    (void)closedir(dir);
    return n;
}

bool guest_button_pressed(int fd)
{
    struct input_event event;
    bool pressed = false;

    while (read(fd, &event, sizeof(event)) == (ssize_t)sizeof(event)) {
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
            pressed = true;
    }
    return pressed;
}

void guest_log_disks(struct guest_consoles *c)
{
    for (int letter = 'a'; letter <= 'z'; letter++) {
        char path[64];
        char sectors[32];
        char serial[64];

        (void)snprintf(path, sizeof(path), "/sys/block/vd%c/size", letter);
        guest_read_text(path, sectors, sizeof(sectors));
        if (sectors[0] == '\0')
            continue;
        (void)snprintf(path, sizeof(path), "/sys/block/vd%c/serial", letter);
        guest_read_text(path, serial, sizeof(serial));
        guest_log(c, "disk vd%c %llu bytes serial %s", letter,
                  strtoull(sectors, NULL, 10) * SECTOR_BYTES, serial[0] != '\0' ? serial : "-");
    }
}

void guest_disk_test(struct guest_consoles *c, const char *device)
{
    char sector[SECTOR_BYTES] = {0};
    unsigned long count = 0;
    int fd = open(device, O_RDWR | O_CLOEXEC | O_SYNC);

    if (fd < 0 || pread(fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector)) {
        guest_log(c, "disk test %s: cannot read: %s", device, strerror(errno));
    } else {
        sector[20] = '\0'; /* a number and no more, whatever the disk held before */
        count = strtoul(sector, NULL, 10) + 1;
        memset(sector, 0, sizeof(sector));
        (void)snprintf(sector, sizeof(sector), "%lu\n", count);
        if (pwrite(fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector) || fsync(fd) < 0)
            guest_log(c, "disk test %s: cannot write: %s", device, strerror(errno));
        else
            guest_log(c, "disk test %s: count %lu", device, count);
    }
    if (fd >= 0)
        (void)close(fd);
}

/* exec's lists are not const though it changes nothing: the pointers are copied, not cast. */
static void copy_list(const char *const from[], char *to[GUEST_MAX_ARGS + 1])
{
    size_t n = 0;

    while (n < GUEST_MAX_ARGS && from[n] != NULL)
        n++;
    memcpy(to, from, n * sizeof(to[0]));
    to[n] = NULL;
}

static void exec_program(const char *const argv[], const char *const env[])
{
    char *args[GUEST_MAX_ARGS + 1];
    char *vars[GUEST_MAX_ARGS + 1];

    copy_list(argv, args);
    copy_list(env, vars);
    if (args[0] != NULL)
        (void)execve(args[0], args, vars);
    _exit(NOT_STARTED);
}

static void become_stdio(int fd)
{
    if (fd < 0)
        return;
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
}

static void unblock_signals(void)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t guest_spawn(const char *const argv[])
{
    static const char *const env[] = {"PATH=/sbin:/bin:/usr/sbin:/usr/bin", NULL};
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    (void)setsid();
    unblock_signals();
    become_stdio(open("/dev/null", O_RDWR));
    exec_program(argv, env);
    _exit(NOT_STARTED);
}

static const int terminal_signals[] = {SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};

static void set_terminal_signals(void (*handler)(int))
{
    for (size_t i = 0; i < sizeof(terminal_signals) / sizeof(terminal_signals[0]); i++)
        (void)signal(terminal_signals[i], handler);
}

/* Runs the program once in the foreground of the leader's terminal; returns its status. */
static int run_in_session(const struct guest_session *s)
{
    pid_t pid = fork();
    int status = 0;

    if (pid < 0)
        return NOT_STARTED;
    if (pid == 0) {
        (void)setpgid(0, 0);
        (void)tcsetpgrp(STDIN_FILENO, getpid());
        set_terminal_signals(SIG_DFL);
        exec_program(s->argv, s->env);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    (void)tcsetpgrp(STDIN_FILENO, getpgrp());
    return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
}

static void lead_session(const struct guest_session *s)
{
    int fd = open(s->tty, O_RDWR | O_NOCTTY);
    int status;

    (void)setsid();
    unblock_signals();
    set_terminal_signals(SIG_IGN);
    if (fd >= 0)
        (void)ioctl(fd, TIOCSCTTY, 1);
    become_stdio(fd);
    if (chroot(s->root) < 0 || chdir("/") < 0)
        _exit(NOT_STARTED);
    status = run_in_session(s);
    (void)tcdrain(STDOUT_FILENO);
    _exit(status);
}

pid_t guest_session_start(const struct guest_session *s)
{
    pid_t pid = fork();

    if (pid == 0)
        lead_session(s);
    return pid;
}

void guest_power_off(void)
{
    (void)reboot(RB_POWER_OFF);
    (void)reboot((int)RB_HALT_SYSTEM);
}

void guest_restart(void)
{
    (void)reboot(RB_AUTOBOOT);
}

void guest_crash(void)
{
    guest_write_text("/proc/sysrq-trigger", "c");
}
