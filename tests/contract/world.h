/*
 * One VM for the contract suite: a real process started by its plan, with a stand-in for the keeper
 * (FIFO → log, drain, parent of the process) and one for the monitor (records what the driver
 * tells, keeps what a monitor would record). The monitor's part can die and be replaced at any
 * step.
 */
#pragma once

#include <stdio.h>

#include "driver/machine.h"
#include "poll_loop.h"

#define WORLD_MAX_DONE    64
#define WORLD_MAX_STREAMS 6
#define WORLD_WAIT_MS     120000 /* only a hang lasts that long */

struct done_record {
    uint64_t op;
    int code; /* 0 = success */
    int fd;   /* owned; −1 = none */
    unsigned times;
    char message[512];
};

struct stream {
    struct world *w;
    char name[32];
    int fifo_fd, log_fd;
    uint64_t size;     /* of the log */
    uint64_t consumed; /* what the driver has consumed: what a monitor persists */
    uint64_t offered;  /* size at the last offer */
    uint64_t typed_at; /* size when the last key was typed */
    bool to_driver;
    struct vivi_watch *watch;
};

struct drain {
    struct world *w;
    struct stream *stream;
    uint64_t token;
    struct vivi_timer *timer;
};

struct world {
    char failure[512]; /* "" = none so far */
    char dir[64], vm_dir[96], run_dir[96];
    const struct vivi_driver *driver;
    struct poll_loop loop;
    struct vivi_config config;
    struct vivi_facts facts;
    struct vivi_plan plan;
    struct vivi_machine machine;
    bool has_machine;
    struct vivi_driver_host host;
    struct vivi_machine_start begun;
    struct vivi_proc_id vmm;
    int pidfd;
    struct vivi_watch *vmm_watch;
    bool exited;
    int wstatus;
    struct stream streams[WORLD_MAX_STREAMS];
    size_t n_streams;
    int input_fd; /* serial.in */
    struct drain drains[4];
    uint64_t next_op;

    /* what the driver told */
    struct done_record done[WORLD_MAX_DONE];
    size_t n_done;
    unsigned n_api, n_created, n_reset, n_ending, n_events, n_progress, n_device;
    enum vivi_device_kind device_kind; /* that left last */
    char device_id[64];
    enum viv_state state; /* last told; VIV_ST_COUNT_ = none */
    enum vivi_reason reason;
    json_t *value; /* owned; of the last DONE that had one */
    bool obeys;    /* the guest obeys keys */
    bool wrong_run, inside_slot;
    /* what a monitor would have recorded */
    uint64_t boot, boot_offset, reset_stamp;
    bool gated; /* the VMM stopped for the last reset */
};

/* script: the fake's; QEMU runs the tiny guest. NULL: the default of each. */
void world_init(struct world *w, const struct vivi_driver *d, const char *script);
/* The tiny guest is what the VMM has as its firmware. */
void world_init_firmware(struct world *w, const struct vivi_driver *d);
/* A Linux guest of the demo image in dir instead of the tiny one: two CPUs, 256 MiB, two disks
 * ("root" 8 MiB, "data" 4 MiB read-only), under QEMU one NIC. cmdline: more words for the guest. */
void world_init_linux(struct world *w, const struct vivi_driver *d, const char *dir,
                      const char *cmdline);
void world_done(struct world *w); /* kills what lives and removes the directory */

void world_spawn(struct world *w);     /* ports and process, as planned */
uint64_t world_begin(struct world *w); /* start slot; returns the operation, 0 = refused */
void world_start(struct world *w);     /* spawn, begin, wait for success */
void world_monitor_dies(
    struct world *w); /* the driver is torn down; nothing it did not record is kept */
uint64_t world_adopt(struct world *w, viv_error *err); /* a new one takes over; 0 = refused */
void world_adopted(struct world *w);                   /* dies, adopts, waits for success */

/* Calls a slot through the checked dispatch; the operation, 0 = refused. */
typedef int world_verb(struct vivi_machine *m, uint64_t op, viv_error *err);
uint64_t world_call(struct world *w, world_verb *verb, viv_error *err);
void world_do(struct world *w, world_verb *verb); /* and waits for success */

/* The same for changes: the operation, 0 = refused. A disk that is added gets an image of bytes. */
uint64_t world_disk_add(struct world *w, const char *id, uint64_t bytes, viv_error *err);
uint64_t world_disk_remove(struct world *w, const char *id, viv_error *err);
uint64_t world_resize(struct world *w, const struct vivi_resize *what, viv_error *err);

void world_type(struct world *w, const char *keys);
/* Whether the serial log holds text at or after offset. */
bool world_logged(struct world *w, const char *text, uint64_t offset);
const struct done_record *world_result(const struct world *w, uint64_t op); /* NULL: not yet */
uint64_t world_serial_size(struct world *w);
/* Whether the current boot began when the log had that size; where the VMM does not stop for a
 * reset, that it did not begin later. */
bool world_boot_began_at(const struct world *w, uint64_t size);
void world_kill(struct world *w, int sig);

/* Runs the loop until cond or the deadline; records a failure with what. */
bool world_wait(struct world *w, bool (*cond)(struct world *w), const char *what);
const struct done_record *world_wait_result(struct world *w, uint64_t op); /* never NULL */
bool world_wait_done(struct world *w, uint64_t op);                        /* and it succeeded */
bool world_wait_logged(struct world *w, const char *text, uint64_t offset);
bool world_wait_exit(struct world *w);

void world_fail(struct world *w, const char *file, int line, const char *what);
void world_fail_text(struct world *w, const char *what, const char *why);
struct stream *world_serial(struct world *w); /* NULL: there is none */
#define EXPECT(w, cond)                               \
    do {                                              \
        if (!(cond)) {                                \
            world_fail(w, __FILE__, __LINE__, #cond); \
            return;                                   \
        }                                             \
    } while (0)
