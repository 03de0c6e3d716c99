/*
 * The one descriptor behind viv_fd: sockets, a timer, a wake-up and the watch of events.log in one.
 * poll_linux.c makes it of epoll(7); another system has its own file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define VIVI_POLL_READ  1u
#define VIVI_POLL_WRITE 2u

struct vivi_source {
    void (*ready)(void *arg, unsigned events); /* hang-up and errors are told as VIVI_POLL_READ */
    void *arg;
};

struct vivi_poll {
    int fd;       /* readable: something is ready */
    int wake_fd;  /* vivi_poll_wake */
    int timer_fd; /* vivi_poll_timer */
    int watch_fd; /* vivi_poll_watch; −1: none */
    bool changed; /* the watched directory's files were written to */
};
#define VIVI_POLL_EMPTY {.fd = -1, .wake_fd = -1, .timer_fd = -1, .watch_fd = -1}

int vivi_poll_open(struct vivi_poll *ret, viv_error *err);
void vivi_poll_close(struct vivi_poll *p); /* also in a forked child: touches nothing shared */

/* s stays the caller's until vivi_poll_del; level-triggered. */
int vivi_poll_add(struct vivi_poll *p, int fd, unsigned events, struct vivi_source *s,
                  viv_error *err);
int vivi_poll_mod(struct vivi_poll *p, int fd, unsigned events, struct vivi_source *s,
                  viv_error *err);
void vivi_poll_del(struct vivi_poll *p, int fd);

/* Calls what is ready, never blocks. 1 when vivi_poll_wake was called since, else 0. */
int vivi_poll_run(struct vivi_poll *p, viv_error *err);
/* Blocks until fd is readable, at most until until_us (monotonic; UINT64_MAX: for ever). */
int vivi_poll_block(const struct vivi_poll *p, uint64_t until_us, viv_error *err);

/* Any thread, signal-safe. */
void vivi_poll_wake(struct vivi_poll *p);
/* Makes fd readable at this monotonic time; UINT64_MAX: never. */
void vivi_poll_timer(struct vivi_poll *p, uint64_t at_us);
/* From now on p->changed is set when a file in dir is written or appears. */
int vivi_poll_watch(struct vivi_poll *p, const char *dir, viv_error *err);
