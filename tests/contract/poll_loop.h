/* The loop interface of drivers over poll(2), for tests: one callback per step, so that a test can
 * stop between any two of them. */
#pragma once

#include <stdbool.h>

#include "driver/loop.h"

#define POLL_LOOP_MAX 64

struct vivi_watch {
    struct poll_loop *loop;
    int fd;
    unsigned events;
    bool used;
    void (*cb)(void *arg, unsigned events);
    void *arg;
};

struct vivi_timer {
    struct poll_loop *loop;
    uint64_t due_ms;
    bool used, fired;
    void (*cb)(void *arg);
    void *arg;
};

struct poll_loop {
    struct vivi_loop iface; /* what drivers get */
    struct vivi_watch watches[POLL_LOOP_MAX];
    struct vivi_timer timers[POLL_LOOP_MAX];
    unsigned turn; /* where looking for the next ready one begins, so that all get theirs */
};

void poll_loop_init(struct poll_loop *l);
/* Runs at most one callback. 1 one ran, 0 none within timeout_ms. */
int poll_loop_step(struct poll_loop *l, int timeout_ms);
/* Watches and timers that nobody gave back. */
unsigned poll_loop_leftovers(const struct poll_loop *l);
