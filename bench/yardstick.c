/*
 * The least that a start can cost here, by a program that does nothing else: what our share of a
 * start is measured against, because a busy machine slows both alike.
 *
 * Theory of operation. The shape is that of a start without its contents: a client starts a process
 * (the keeper's place), that one a second (the monitor's), that one a third (the VMM's), each by
 * fork and exec of this static program; client and monitor, monitor and keeper talk over socket
 * pairs; the names of a new run are made in a directory. The time from before the first fork until
 * the third process runs is printed in microseconds.
 *
 *     bench-yardstick DIR ROUNDS
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES     12 /* logs, records with their temporary names, FIFOs, sockets of a first start */
#define EXCHANGES 4  /* greeting, request; descriptors, spawn */
#define UP        3  /* the descriptor by which a process talks to who started it */

static long long now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

/* Starts role in a process of its own; ret_fd: our end of what joins us. */
static pid_t start(const char *role, const char *dir, int *ret_fd)
{
    int fds[2];
    pid_t pid;

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        if (fds[1] == UP)
            (void)fcntl(UP, F_SETFD, 0);
        else
            (void)dup2(fds[1], UP);
        (void)execl("/proc/self/exe", role, dir, (char *)NULL);
        _exit(127);
    }
    (void)close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static void ask(int fd)
{
    char byte = 'x';

    must(write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1, "the other end");
}

static void answer(int fd)
{
    char byte;

    must(read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1, "the other end");
}

/* The names of a run; those of the round before are replaced, as those of the run before are. */
static void make_files(const char *dir)
{
    char path[4096];

    for (int i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d", dir, i);
        (void)unlink(path);
        must(mknod(path, (i % 2 ? S_IFIFO : S_IFREG) | 0600, 0) == 0, path);
    }
}

static void wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static void exchange(void (*turn)(int), int fd)
{
    for (int i = 0; i < EXCHANGES; i++)
        turn(fd);
}

static int role(const char *name, const char *dir)
{
    int fd = -1;
    pid_t pid = -1;

    if (strcmp(name, "keeper") == 0) {
        pid = start("monitor", dir, &fd);
        exchange(ask, fd);
    } else if (strcmp(name, "monitor") == 0) {
        pid = start("vmm", dir, &fd);
        make_files(dir);
        exchange(answer, UP);
    }
    if (pid > 0)
        ask(fd); /* what is below runs */
    answer(UP);  /* so do we */
    if (pid > 0)
        wait_for(pid);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return role(argv[0], argv[1]);
    if (argc != 3) {
        (void)fprintf(stderr, "usage: bench-yardstick DIR ROUNDS\n");
        return 2;
    }
    for (long i = strtol(argv[2], NULL, 10); i > 0; i--) {
        long long began = now_us();
        int fd;
        pid_t pid = start("keeper", argv[1], &fd);

        ask(fd);
        (void)printf("%lld\n", now_us() - began);
        (void)close(fd);
        wait_for(pid);
    }
    return 0;
}
