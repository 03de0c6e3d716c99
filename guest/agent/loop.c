/* loop.c: the epoll loop and its sources. */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>

#define TURN_EVENTS 32

uint64_t loop_now_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void agent_say(const struct agent *a, const char *fmt, ...)
{
    char line[400];
    va_list ap;
    int n;

    if (a->options->quiet)
        return;
    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n > 0)
        (void)fprintf(stderr, "viv-agent: %s\n", line);
}

void source_open(struct source *s, int fd_consume, void *owner,
                 void (*ready)(struct agent *, struct source *, uint32_t))
{
    *s = (struct source){.fd = fd_consume, .ready = ready, .owner = owner};
}

void source_arm(struct agent *a, struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    int op = events == 0 ? EPOLL_CTL_DEL : s->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (s->fd < 0 || s->events == events)
        return;
    if (epoll_ctl(a->epoll_fd, op, s->fd, &e) == 0)
        s->events = events;
}

/* Taken out by hand: a child between fork and exec still holds the file, which would be reported.
 */
void source_close(struct agent *a, struct source *s)
{
    source_arm(a, s, 0);
    vivi_close(&s->fd);
}

static void signalled(struct agent *a, struct source *s, uint32_t events)
{
    struct signalfd_siginfo info[3]; /* each signal stands there once; told again what is left */
    ssize_t n = read(s->fd, info, sizeof(info));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(info[0]); i++) {
        if (info[i].ssi_signo != SIGCHLD)
            a->quit = true;
    }
    process_reap(a);
}

static int open_signals(struct agent *a, viv_error *err)
{
    sigset_t set;
    int fd;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "signalfd");
    source_open(&a->signals, fd, a, signalled);
    source_arm(a, &a->signals, EPOLLIN);
    return 0;
}

int loop_init(struct agent *a, viv_error *err)
{
    a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (a->epoll_fd < 0)
        return vivi_fail_errno(err, errno, "epoll");
    return open_signals(a, err);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int timeout_ms(const struct agent *a)
{
    uint64_t now_ms = loop_now_ms();
    uint64_t next_ms = earlier(earlier(streams_next_ms(a), events_next_ms(a)), a->thaw_at_ms);

    if (a->channel.readable && a->channel.stream.fd >= 0 && channel_has_room(a, AGENT_REPLY_MAX))
        return 0;
    if (next_ms == AGENT_NEVER)
        return -1;
    if (next_ms <= now_ms)
        return 0;
    return next_ms - now_ms > 3600000 ? 3600000 : (int)(next_ms - now_ms);
}

static void deadlines(struct agent *a)
{
    uint64_t now_ms = loop_now_ms();

    streams_expire(a, now_ms);
    if (now_ms >= a->thaw_at_ms) {
        a->thaw_at_ms = AGENT_NEVER;
        agent_say(a, "file systems stayed frozen for too long: thawing them");
        process_thaw(a);
    }
}

void loop_run(struct agent *a)
{
    struct epoll_event events[TURN_EVENTS];

    while (!a->quit) {
        int n = epoll_wait(a->epoll_fd, events, TURN_EVENTS, timeout_ms(a));

        for (int i = 0; i < n; i++) {
            struct source *s = events[i].data.ptr;

            if (s->fd >= 0 && s->events != 0) /* else closed or disarmed in this very turn */
                s->ready(a, s, events[i].events);
        }
        channel_read(a);
        deadlines(a);
        events_tell(a);
        streams_resume(a);
        channel_flush(a);
        streams_sweep(a);
    }
}

void loop_done(struct agent *a)
{
    source_close(a, &a->signals);
    vivi_close(&a->epoll_fd);
}
