/*
 * The small loop interface that drivers (and the keeper's client) stand on: the monitor gives one
 * over libuv, tests give one over poll(2). Thread: the loop's only. Callbacks never run inside the
 * call that registered them.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define VIVI_READ  1u
#define VIVI_WRITE 2u

struct vivi_watch;
struct vivi_timer;

struct vivi_loop {
    void *ctx;
    /* fd stays the caller's and must be closed only after unwatch. cb gets VIVI_READ/VIVI_WRITE;
     * hang-up and errors are told as VIVI_READ. Level-triggered. */
    int (*watch)(void *ctx, int fd, unsigned events, void (*cb)(void *arg, unsigned events),
                 void *arg, struct vivi_watch **ret, viv_error *err);
    void (*rewatch)(struct vivi_watch *w, unsigned events); /* 0 = sleep */
    void (*unwatch)(struct vivi_watch *w);                  /* NULL ok; no callback afterwards */
    /* One-shot. name says what the timer is for (nothing polls: idle wake-ups must be explainable).
     */
    int (*timer)(void *ctx, const char *name, uint64_t after_ms, void (*cb)(void *arg), void *arg,
                 struct vivi_timer **ret, viv_error *err);
    void (*timer_stop)(
        struct vivi_timer *t); /* NULL ok; frees it; after it fired it must still be stopped */
    uint64_t (*now_ms)(void *ctx);
};
