/* Single calls to the VMM: one request, one answer, nothing to finish after a monitor's death. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "driver/driver.h"
#include "monitor/request.h"

#define VIVI_CALLS_MAX   4
#define VIVI_CALL_NMI_MS 10000

struct vivi_frame;

struct vivi_monitor;
struct vivi_client;

struct vivi_called {
    struct vivi_monitor *m;
    uint64_t op; /* the driver's; 0 = free */
    struct vivi_client *client;
    uint64_t id;
    enum vivi_verb verb;
    char what[48]; /* for the message of a deadline: "vm.boot" */
    int64_t timeout_ms;
    struct vivi_timer *deadline;
};

/* The core that is being written, or copied to where it is wanted; one at a time. */
struct vivi_core {
    struct vivi_called *call; /* borrowed; NULL = none */
    int from, to;             /* owned; from −1: the VMM still writes it */
    uint64_t at;
    uint64_t late; /* the operation of one that nobody waits for any more; 0 = none */
    struct vivi_timer *turn;
};

struct vivi_calls {
    struct vivi_called items[VIVI_CALLS_MAX];
    struct vivi_core core;
};

/* 0: the answer follows; < 0: refused. f: the request's frame, for its descriptors. */
int vivi_call_begin(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                    struct vivi_frame *f, viv_error *err);
/* Answers and takes it off the list; err NULL: it worked. */
void vivi_call_end(struct vivi_called *k, json_t *result_consume, const viv_error *err);
/* DONE of one of these: true. */
bool vivi_call_done(struct vivi_monitor *m, const struct vivi_driver_event *e);
void vivi_calls_forget(struct vivi_monitor *m, const struct vivi_client *c);
/* The VMM has ended: what it answered before counts. */
void vivi_calls_hear(struct vivi_monitor *m);
/* The run is over: nothing more will be heard. */
void vivi_calls_end(struct vivi_monitor *m);

/* ---- core.c ---- */

/* to_consume: an empty file. The VMM is asked; the file follows when it is whole. */
int vivi_core_begin(struct vivi_called *k, int to_consume, viv_error *err);
/* The VMM has written it. */
void vivi_core_written(struct vivi_called *k);
/* Nobody wants it any more: what there is of it goes. */
void vivi_core_drop(struct vivi_monitor *m);
/* DONE of a call that is not on the list: what it wrote is nobody's. */
void vivi_core_late(struct vivi_monitor *m, uint64_t op);
/* What a former monitor, or a run, may have left. */
void vivi_core_clean(const struct vivi_monitor *m);
