/*
 * Changes of a running QEMU: devices (hot_devices.c), sizes and counters (hot_sizes.c), and single
 * calls (slots.c). Part of the effects; the machine hands over the answers and events that are
 * meant for here.
 */
#pragma once

#include "driver/driver.h"
#include "driver/hot.h"
#include "driver/qemu/qmp.h"

/* Tags of our commands: from QEMU_HOT_FIRST on, so that they are told from the machine's. */
enum qemu_hot_tag {
    QEMU_HOT_FIRST = 100,
    H_ADD_LOOK = QEMU_HOT_FIRST,
    H_ADD_BACK,
    H_ADD_DEVICE,
    H_ADD_UNDONE,
    H_REMOVE,
    H_GONE,
    H_CLEAN,
    H_LAST_OF_DEVICES = H_CLEAN,
    H_CPU_ACCEL,
    H_CPU_LIST,
    H_CPU_ACT,
    H_MEMORY_SUM,
    H_MEMORY_SET,
    H_MEMORY_LOOK,
    H_BALLOON_FIRST,
    H_BALLOON_SUM,
    H_BALLOON_SET,
    H_BALLOON_LOOK,
    H_DISK_LOOK,
    H_DISK_SET,
    H_COUNT_BLOCKS,
    H_COUNT_BALLOON,
    H_CALLS,
    H_RAW = H_CALLS,
    H_NMI,
    H_COREDUMP
};

#define QEMU_HOT_BACKS 2

/* The device that is being added; one at a time. */
struct qemu_hot_add {
    uint64_t op; /* 0 = none */
    enum vivi_device_kind kind;
    size_t at;
    json_t *back[QEMU_HOT_BACKS]; /* owned; arguments of what the device stands on */
    size_t n_back, made;
    json_t *device; /* owned */
    viv_error why;
};

struct qemu_hot {
    const struct vivi_driver_host *host;
    struct qmp *qmp;
    const struct vivi_config *config; /* of this run, as it is now */
    uint64_t run;
    struct vivi_hot_waits waits; /* "disk-3", "nic-0", "cpus", "memory", "balloon", "disk" */
    struct qemu_hot_add add;
    bool emulated;         /* known when the CPUs are being changed */
    uint64_t memory_asked; /* of the device; UINT64_MAX: not yet */
    uint64_t cpus_to, memory_to, balloon_to, disk_to;
    bool disk_cut; /* it may become smaller */
    char disk_node[24];
    uint64_t dump_op;  /* 0 = no core is being written */
    uint64_t count_op; /* 0 = nobody counts */
    json_t *counted;   /* owned */
};

/* Zeroed is not begun. All is borrowed for the machine's life. */
void qemu_hot_begin(struct qemu_hot *h, struct qmp *qmp, const struct vivi_machine_start *s);
void qemu_hot_done(struct qemu_hot *h);
/* The connection has ended: whatever waits is answered by err. */
void qemu_hot_end(struct qemu_hot *h, const viv_error *err);
void qemu_hot_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                    const viv_error *err);
/* An event of the stream; told here, too, when the VMM is gone. */
void qemu_hot_event(struct qemu_hot *h, const struct qmp_message *msg);

/* Before the guest runs for the first time: what is configured and has no place on the command
 * line.
 */
void qemu_hot_start(struct qemu_hot *h);

/* What the slots do. */
int qemu_hot_add(struct qemu_hot *h, const struct vivi_device *d, uint64_t op, viv_error *err);
int qemu_hot_remove(struct qemu_hot *h, enum vivi_device_kind kind, const char *id, uint64_t op,
                    viv_error *err);
int qemu_hot_resize(struct qemu_hot *h, const struct vivi_resize *what, uint64_t op,
                    viv_error *err);
int qemu_hot_counters(struct qemu_hot *h, uint64_t op, viv_error *err);

/* ---- slots.c ---- */

struct qemu_hot *qemu_hot_of(void *m); /* of a struct qemu_machine */
int qemu_device_add(void *m, const struct vivi_device *d, uint64_t op, viv_error *err);
int qemu_device_remove(void *m, enum vivi_device_kind kind, const char *id, uint64_t op,
                       viv_error *err);
int qemu_resize(void *m, const struct vivi_resize *what, uint64_t op, viv_error *err);
int qemu_counters(void *m, uint64_t op, viv_error *err);
int qemu_nmi(void *m, uint64_t op, viv_error *err);
int qemu_coredump(void *m, const char *path, uint64_t op, viv_error *err);
int qemu_raw(void *m, const struct vivi_raw *call, uint64_t op, viv_error *err);
int64_t qemu_raw_ms(const char *endpoint);
void qemu_raw_drop(void *m, uint64_t op);
/* Answers to what was sent here. */
void qemu_calls_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                      const viv_error *err);
void qemu_calls_event(struct qemu_hot *h, const struct qmp_message *msg);
void qemu_calls_end(struct qemu_hot *h, const viv_error *err);

/* ---- between the files ---- */

int qemu_hot_send(struct qemu_hot *h, const char *command, json_t *args_consume, int tag,
                  uint64_t op, viv_error *err);
void qemu_hot_tell(struct qemu_hot *h, uint64_t op, const viv_error *err, const json_t *value);
/* Ends everything that waits for key (NULL: all). */
void qemu_hot_finish(struct qemu_hot *h, const char *key, const viv_error *err);
void qemu_hot_sizes_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                          const viv_error *err);
void qemu_hot_sizes_event(struct qemu_hot *h, const struct qmp_message *msg);
void qemu_hot_sizes_end(struct qemu_hot *h, const viv_error *err);
/* The id of the disk or NIC in place at (0, 1, …) of this run; NULL: none is there. */
const char *qemu_hot_id(const struct qemu_hot *h, enum vivi_device_kind kind, size_t at);
