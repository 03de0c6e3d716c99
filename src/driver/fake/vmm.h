/*
 * Inside viv-fake: the pretended machine. guest.c plays the script, fake_main.c talks to the
 * controller. One thread, one poll loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "driver/fake/fake_agent.h"
#include "driver/fake/script.h"

#define FAKE_SERIAL_PENDING_BYTES (1u << 20)
#define FAKE_EVENTS_PENDING_BYTES (1u << 16)
#define FAKE_CONTROL_BYTES        (1u << 16)
#define FAKE_MAX_DELAYED          16
#define FAKE_MAX_DEVICES          64
#define FAKE_MAX_SIZES            24
#define FAKE_ARGS_BYTES           4096 /* a path */
#define FAKE_DEVICES_TEXT         4096

enum fake_state { FAKE_NEW, FAKE_RUNNING, FAKE_PAUSED, FAKE_RESETTING, FAKE_ENDED };

struct fake_beat_state {
    bool done;
    uint64_t emitted; /* lines, pieces or bytes so far, in this boot */
};

struct fake_delayed {
    uint64_t due_us; /* of the host's monotonic clock; 0 = free */
    uint64_t id;
    enum fake_verb verb;
    char args[FAKE_ARGS_BYTES];
};

struct fake_device {
    char kind[16], id[72]; /* kind "": free */
    uint64_t leaves_us;    /* of the guest's clock; UINT64_MAX = it stays */
};

struct fake_size {
    char what[96];             /* "cpus", "disk data"; "": free */
    uint64_t is, to;           /* as the guest has it, as it was asked for */
    uint64_t began_us, due_us; /* of the guest's clock; due UINT64_MAX: nothing is under way */
    bool half_told;
};

struct fake_hot {
    struct fake_device devices[FAKE_MAX_DEVICES];
    struct fake_size sizes[FAKE_MAX_SIZES];
    uint64_t asked; /* removals that a busy guest has not looked at */
    uint64_t looks; /* at the counters */
};

/* A FIFO that we write: what it does not take now waits here. */
struct fake_out {
    int fd;
    struct vivi_buf pending;
};

struct fake_vmm {
    const struct fake_script *script; /* borrowed */
    const char *nonce;                /* borrowed */
    enum fake_state state;
    uint64_t boot;
    uint64_t lines;           /* numbered lines so far, in all boots */
    bool pause_wanted;        /* paused while resetting: the new boot begins paused */
    uint64_t clock_base_us;   /* running: host time at which the guest's clock was 0 */
    uint64_t clock_frozen_us; /* not running: the guest's clock */
    uint64_t button_due_us;   /* of the guest's clock; UINT64_MAX = not pressed */
    char end[300];            /* ENDED: "guest-poweroff" or "guest-panic <text>" */
    struct fake_beat_state beats[FAKE_MAX_BEATS];
    struct fake_out serial, events;
    struct fake_agent agent;
    bool button_ignored; /* by script or by key */
    bool api_hung, quit;
    int exit_code;
    struct fake_delayed delayed[FAKE_MAX_DELAYED];
    struct fake_hot hot;
};

/* ---- guest.c ---- */
int fake_out_write(struct fake_out *o, const void *data, size_t len); /* 0 or −code: no room */
void fake_out_flush(struct fake_out *o);

void fake_guest_boot(struct fake_vmm *v); /* a new boot begins, running or paused */
void fake_guest_pause(struct fake_vmm *v);
void fake_guest_resume(struct fake_vmm *v);
void fake_guest_reset(struct fake_vmm *v); /* stops at the gate and says so */
void fake_guest_button(struct fake_vmm *v);
void fake_guest_input(struct fake_vmm *v, const char *data, size_t len); /* typed on the console */
void fake_guest_nmi(struct fake_vmm *v); /* says so on the console */
/* An ELF core without any memory in it; NULL, or why not. */
const char *fake_guest_core(const char *path);
uint64_t fake_guest_now_us(const struct fake_vmm *v); /* the guest's clock */
/* Plays what is due. Returns host µs until the next beat, UINT64_MAX = none. */
uint64_t fake_guest_play(struct fake_vmm *v);

/* ---- hot.c ---- */
void fake_hot_init(struct fake_vmm *v, const char *list);
/* NULL: done, or accepted; else why not: "exists: …", "not-found: …". */
const char *fake_hot_add(struct fake_vmm *v, const char *kind, const char *id);
const char *fake_hot_remove(struct fake_vmm *v, const char *kind, const char *id);
const char *fake_hot_resize(struct fake_vmm *v, const char *what, uint64_t to);
void fake_hot_counters(struct fake_vmm *v, struct vivi_buf *out); /* as JSON, on one line */
void fake_hot_boot(
    struct fake_vmm *v); /* the guest's clock begins anew: what waited for it is due */
uint64_t fake_hot_play(struct fake_vmm *v); /* as fake_guest_play */
