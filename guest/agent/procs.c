/* procs.c: sessions and signals. */
#include "procs.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The session of a process, 0 if it is gone. */
static pid_t session_of(const char *pid)
{
    char path[64], text[512];
    const char *after;
    int session = 0;

    (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
    sys_read_text(path, text, sizeof(text));
    after = strrchr(text, ')'); /* the name before it may hold anything */
    if (after == NULL || sscanf(after, ") %*c %*d %*d %d", &session) != 1)
        return 0;
    return (pid_t)session;
}

bool procs_began(pid_t pid, uint64_t *ret_ms)
{
    unsigned long long ticks = 0;
    char path[64], text[512];
    const char *after;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    sys_read_text(path, text, sizeof(text));
    after = strrchr(text, ')');
    if (after == NULL || sscanf(after,
                                ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                                "%*d %*d %*d %llu",
                                &ticks) != 1)
        return false;
    *ret_ms = ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    return true;
}

void procs_kill_session(pid_t leader, int signal_number)
{
    cleanup_closedir DIR *d = NULL;

    (void)kill(-leader, signal_number);
    d = opendir("/proc");
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        long pid;

        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        pid = strtol(e->d_name, NULL, 10);
        if (session_of(e->d_name) == leader)
            (void)kill((pid_t)pid, signal_number);
    }
}

int procs_signal(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {
        {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ABRT", SIGABRT},
        {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},
        {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CONT", SIGCONT}, {"STOP", SIGSTOP},
        {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU}, {"WINCH", SIGWINCH},
    };
    char *end;
    long number;

    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (strcasecmp(name, signals[i].name) == 0)
            return signals[i].number;
    }
    number = strtol(name, &end, 10);
    return *name != '\0' && *end == '\0' && number > 0 && number < 65 ? (int)number : 0;
}
