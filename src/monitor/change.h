/*
 * One change of the machine that runs: a device comes or goes, a size changes. Asked for by apply,
 * carried out by the driver together with the guest.
 */
#pragma once

#include "model/config.h"
#include "model/diff.h"

#define VIVI_ADD_DEADLINE_MS    30000
#define VIVI_CHANGE_DEADLINE_MS 60000 /* removals and sizes: the guest has to do its part */
#define VIVI_ONLINE_MS          25000 /* for the guest to take new CPUs into use */
#define VIVI_CHANGES_LATE       4

struct vivi_monitor;
struct vivi_timer;
struct vivi_driver_event;

/* Exactly once for each change that was begun; err NULL: it is made. */
typedef void vivi_change_done(struct vivi_monitor *m, const viv_error *err);

/* One that was begun. Zeroed: none. */
struct vivi_change_flight {
    uint64_t dop; /* the driver's operation; 0 = none */
    enum vivi_change_op op;
    char path[VIVI_PATH_SIZE];
    json_t *to;             /* owned; of the change */
    bool is_device;         /* rather than a size */
    uint64_t seen, total;   /* what the driver told last; total 0: nothing */
    vivi_change_done *done; /* NULL: its deadline has passed, nobody waits any more */
};

struct vivi_changes {
    struct vivi_change_flight now;
    struct vivi_change_flight late[VIVI_CHANGES_LATE]; /* the guest may still do its part */
    unsigned next_late;
    uint64_t onlining;         /* the operation whose new CPUs the agent takes into use */
    struct vivi_config config; /* with the change made; borrowed by the driver's call */
    struct vivi_timer *deadline;
    int64_t timeout_ms;
};

/* Whether it can be made while the VM runs; else why not, for people ("" = no more to say). */
bool vivi_change_can(const struct vivi_monitor *m, const struct vivi_change *c, char why[160]);

struct vivi_change_how {
    const json_t *doc;  /* the configuration of this run with the change made */
    int64_t timeout_ms; /* < 0: the usual one */
    bool force;         /* a disk that the guest uses goes; an image may be cut */
    vivi_change_done *done;
};

/*
 * Begins it. 0: done follows, possibly before this returns; < 0: refused, and nothing follows. A
 * change whose deadline passes ends with TIMEOUT, which says what is pending; if the guest does its
 * part later, the run's record still learns of it.
 */
int vivi_change_begin(struct vivi_monitor *m, const struct vivi_change *c,
                      const struct vivi_change_how *how, viv_error *err);

/* DONE, PROGRESS and DEVICE of the driver; false: it is about something else. */
bool vivi_change_event(struct vivi_monitor *m, const struct vivi_driver_event *e);
/* The run is over, or apply has given it up: nobody waits any more, done is not called. */
void vivi_change_forget(struct vivi_monitor *m);
