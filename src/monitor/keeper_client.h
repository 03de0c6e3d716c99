/*
 * The monitor's side of the socket to its keeper (keeper/protocol.h). Requests are written at once:
 * frames are small, the keeper never waits for anything, and a keeper that has not read for a
 * second counts as gone. What comes back is told by callbacks from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/frame.h"
#include "base/proc.h"
#include "driver/loop.h"
#include "keeper/protocol.h"

struct vivi_keeper_exit {
    const char *role; /* borrowed for the call */
    uint64_t run;
    struct vivi_proc_id proc;
    bool status_known;
    int wstatus;
};

/* All mandatory. The last one is told once, after which nothing else comes. */
struct vivi_keeper_events {
    void (*spawned)(void *ctx, uint64_t req, const struct vivi_proc_id *proc);
    void (*spawn_failed)(void *ctx, uint64_t req, int sys_errno, const char *text);
    void (*exited)(void *ctx, const struct vivi_keeper_exit *e);
    void (*grew)(void *ctx, const char *name, uint64_t size);
    void (*drained)(void *ctx, const char *name, uint64_t token, uint64_t size);
    void (*lost)(void *ctx, const char *name, int sys_errno);
    void (*caller_gone)(void *ctx);
    void (*gone)(void *ctx);
};

struct vivi_keeper_client {
    const struct vivi_loop *loop;
    const struct vivi_keeper_events *events;
    void *ctx;
    int fd; /* borrowed */
    struct vivi_watch *watch;
    struct vivi_timer *told; /* tells gone from the loop, never from inside a request */
    struct vivi_frames in;
    bool dead;
};

int vivi_keeper_open(struct vivi_keeper_client *k, const struct vivi_loop *loop, int fd,
                     const struct vivi_keeper_events *events, void *ctx, viv_error *err);
void vivi_keeper_close(struct vivi_keeper_client *k); /* NULL-safe fields; no callback afterwards */

/* Each: 0, or −VIV_E_IO once the keeper is gone (events->gone follows from the loop). fd borrowed.
 */
int vivi_keeper_hold(struct vivi_keeper_client *k, const char *name, int fd, viv_error *err);
int vivi_keeper_drop(struct vivi_keeper_client *k, const char *name, viv_error *err);
struct vivi_keeper_log {
    const char *name, *file;
    uint64_t limit_bytes;
    int fd;
};
int vivi_keeper_log(struct vivi_keeper_client *k, const struct vivi_keeper_log *l, viv_error *err);
int vivi_keeper_drain(struct vivi_keeper_client *k, const char *name, uint64_t token,
                      viv_error *err);
int vivi_keeper_quit(struct vivi_keeper_client *k, viv_error *err);

struct vivi_keeper_map {
    int child_fd;
    const char *name;
};
struct vivi_keeper_spawn {
    uint64_t req, run;
    const char *role, *exe;
    char *const *argv;
    size_t n_argv;
    const struct vivi_keeper_map *map;
    size_t n_map;
};
int vivi_keeper_spawn(struct vivi_keeper_client *k, const struct vivi_keeper_spawn *s,
                      viv_error *err);
