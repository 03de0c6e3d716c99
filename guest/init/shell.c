/*
 * shell.c: a shell behind a pseudo-terminal.
 *
 * The shell does not get the console itself. Its end would hang the console up and throw away what
 * the UART has not sent yet, lines of others included. And busybox asks the terminal for its cursor
 * after every prompt ("ESC [ 6 n"): in a log that is noise, and a terminal that shows the log later
 * would answer it into the wrong program. So one process relays between console and
 * pseudo-terminal, leaves that question out, and starts the next shell when one ends.
 */
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define BLOCK_BYTES 512
#define RESPAWN_MS  1000

static const char query[] = "\x1b[6n";

size_t guest_filter_run(struct guest_filter *f, const char *in, size_t len, char *out)
{
    const size_t query_len = sizeof(query) - 1;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (in[i] != query[f->matched] && f->matched > 0) {
            memcpy(out + n, query, f->matched); /* it was something else that began alike */
            n += f->matched;
            f->matched = 0;
        }
        if (in[i] == query[f->matched])
            f->matched = f->matched + 1 == query_len ? 0 : f->matched + 1;
        else
            out[n++] = in[i];
    }
    return n;
}

/* Keys go to the shell's own terminal as they are; what is printed gets its carriage returns here.
 */
static void make_raw(int console)
{
    struct termios t;

    if (tcgetattr(console, &t) < 0)
        return;
    t.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | IXON | ISTRIP | BRKINT);
    t.c_oflag |= OPOST | ONLCR;
    t.c_lflag &= ~(tcflag_t)(ISIG | ICANON | ECHO | IEXTEN);
    (void)tcsetattr(console, TCSANOW, &t);
}

static void become_shell(const char *slave)
{
    static char program[] = "/bin/busybox";
    static char name[] = "sh";
    static char login[] = "-l";
    static char path[] = "PATH=/sbin:/bin:/usr/sbin:/usr/bin";
    static char home[] = "HOME=/root";
    static char term[] = "TERM=vt102";
    char *const argv[] = {program, name, login, NULL};
    char *const env[] = {path, home, term, NULL};
    const struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct termios t;
    int fd;

    (void)setsid();
    fd = open(slave, O_RDWR); /* the first terminal of a session leader is its controlling one */
    if (fd < 0 || chdir("/root") < 0)
        _exit(127);
    (void)ioctl(fd, TIOCSWINSZ, &size);
    if (tcgetattr(fd, &t) == 0) {
        t.c_oflag &= ~(tcflag_t)OPOST;
        (void)tcsetattr(fd, TCSANOW, &t);
    }
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
    (void)execve(argv[0], argv, env);
    _exit(127);
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* One direction, one block; false when it is over. */
static bool relay(int from, int to, struct guest_filter *filter)
{
    char in[BLOCK_BYTES];
    char out[BLOCK_BYTES + sizeof(query)];
    ssize_t n = read(from, in, sizeof(in));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n <= 0)
        return false;
    if (filter == NULL)
        return write_all(to, in, (size_t)n);
    return write_all(to, out, guest_filter_run(filter, in, (size_t)n, out));
}

/* Until the shell has ended or the console is gone. */
static void relay_both(int console, int master)
{
    struct guest_filter filter = {0};
    bool go_on = true;

    while (go_on) {
        struct pollfd fds[] = {{.fd = console, .events = POLLIN}, {.fd = master, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[1].revents != 0)
            go_on = relay(master, console, &filter);
        if (go_on && fds[0].revents != 0)
            go_on = relay(console, master, NULL);
    }
}

static void run_shell(int console)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char slave[64];
    pid_t pid = -1;

    make_raw(console);
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
        ptsname_r(master, slave, sizeof(slave)) == 0)
        pid = fork();
    if (pid == 0)
        become_shell(slave);
    if (pid > 0) {
        relay_both(console, master);
        (void)kill(pid, SIGHUP);
    }
    if (master >= 0)
        (void)close(master);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

pid_t guest_shell_start(const char *tty)
{
    pid_t pid = fork();
    sigset_t none;
    int console;

    if (pid != 0)
        return pid;
    (void)setsid();
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    console = open(tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (console < 0)
        _exit(127);
    for (;;) {
        run_shell(console);
        (void)poll(NULL, 0, RESPAWN_MS);
    }
}
