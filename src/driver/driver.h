/*
 * The driver contract: for people who write a driver. Users of drivers include driver/machine.h.
 *
 * A driver is two tables. The pure one (check, plan, probe) is linked by libvivarium and by the
 * monitor; the effects one by the monitor only. Pure files make no system calls but in probe;
 * effects run on the monitor's loop thread and never block.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/proc.h"
#include "driver/loop.h"
#include "driver/plan.h"
#include "model/caps.h"
#include "model/config.h"
#include "model/device.h"
#include "model/model.h"

/* ---- facts: what check and plan may know about this host; gathered by vivi_facts_gather
 * (facts_linux.c) ---- */

#define VIVI_FACT_HEAD_MAX  4096
#define VIVI_FACT_NOTES_MAX 4096

struct vivi_path_fact {
    char *path;          /* owned */
    bool writable;       /* the access that was asked for: read-write, else read */
    int stat_errno;      /* 0 = it is there */
    int open_errno;      /* of the access asked for; 0 also where it was not tried (not a file) */
    uint32_t mode;       /* st_mode */
    uint64_t size_bytes; /* of a file or a block device */
    uint8_t head[VIVI_FACT_HEAD_MAX];
    size_t head_len;
    uint8_t *notes; /* owned; an ELF file's PT_NOTE segments, one after the other; or NULL */
    size_t notes_len;
};

struct vivi_probe {
    bool usable;            /* the driver can run a VM on this host */
    char reason[200];       /* why not: "cloud-hypervisor: not found on PATH" */
    char hint[200];         /* what to do about it, or "" */
    char exe[256];          /* absolute path of the VMM */
    char version[64];       /* "7.2.22" */
    bool sandbox;           /* the VMM can lock itself in (QEMU: built with seccomp; Cloud
                               Hypervisor: the kernel has Landlock) */
    uint32_t features;      /* what the binary was built with: bits of the driver's own */
    enum vivi_accel accel;  /* what wanted resolves to; never AUTO */
    char accel_reason[200]; /* "no usable KVM (/dev/kvm: permission denied)"; "" = accelerated */
    char accel_fix[200];    /* what to do about it, without "Fix: "; or "" */
    struct vivi_caps caps;  /* what this host allows, subset of the driver's */
};

struct vivi_facts {
    uint64_t host_memory_bytes;
    uint64_t huge_2m_bytes, huge_1g_bytes; /* free in the pools of huge pages */
    uint32_t host_cpus;
    uint32_t lowest_port; /* the lowest TCP or UDP port that this user may bind */
    struct vivi_path_fact *paths;
    size_t n_paths;
    struct vivi_probe probe; /* of the configured (resolved) driver */
};

/* Calls cb with each path that a configuration names, and whether it is to be written; stops at the
 * first that does not return 0, and returns that. A path may come twice. */
int vivi_config_each_path(const struct vivi_config *c,
                          int (*cb)(void *arg, const char *path, bool writable), void *arg);

const struct vivi_path_fact *vivi_fact_of(const struct vivi_facts *f,
                                          const char *path); /* NULL = not gathered */
void vivi_facts_done(struct vivi_facts *f);
#define cleanup_facts VIVI_CLEANUP(vivi_facts_done)

/* The one line about emulation: "no usable KVM (…): emulating, much slower. Fix: …"; "" when
 * accelerated. ret may hold size bytes. */
void vivi_accel_notice(const char *accel_reason, const char *accel_fix, char *ret, size_t size);

/* ---- problems: check lists all of them ---- */

#define VIVI_PROBLEMS_MAX 64
struct vivi_problems {
    viv_error *items; /* owned; field, message, code, hint set; vm empty */
    size_t n;
};
/* field NULL: about the host, not a field; hint may be NULL. More than the maximum are dropped. 0
 * or −NO_MEMORY. */
int vivi_problem(struct vivi_problems *p, int code, const char *field, const char *hint,
                 const char *fmt, ...) VIVI_PRINTF(5, 6);
void vivi_problems_done(struct vivi_problems *p);
#define cleanup_problems VIVI_CLEANUP(vivi_problems_done)

/* ---- plan input ---- */

enum vivi_how { VIVI_HOW_BOOT, VIVI_HOW_RESTORE, VIVI_HOW_INCOMING };

struct vivi_plan_input {
    const struct vivi_config *config;
    const struct vivi_facts *facts;
    const char *uuid;    /* SMBIOS identity, MAC derivation */
    const char *nonce;   /* appended to the command line as vmrs.nonce=… */
    const char *run_dir; /* absolute: sockets and FIFOs */
    const char *vm_dir;  /* absolute: logs */
    enum vivi_how how;
    const char *restore_dir;  /* absolute; RESTORE: what the snapshot slot of this driver wrote */
    bool restore_on_demand;   /* RESTORE: the guest runs before its memory is read; a driver that
                                 finds that it cannot reads it first */
    const char *incoming_url; /* INCOMING: where the VMM waits for the machine, in the driver's own
                                 form: "unix:/path", "tcp:host:port" */
    const char *incoming_tls; /* INCOMING: absolute, a directory with keys; NULL: none */
};

/* ---- migration ---- */

struct vivi_migration {
    const char *url;     /* where the other VMM waits: "unix:/path", "tcp:host:port" */
    const char *tls_dir; /* absolute, a directory with keys; NULL: none */
    bool local;          /* on this host the memory may change hands as it is */
    int64_t downtime_ms; /* how long the guest may stand still; −1: the VMM's own */
    int64_t timeout_s;   /* until the VMM gives up; −1: the VMM's own */
    int64_t connections; /* −1: the VMM's own */
};

/* ---- the pure table ---- */

struct vivi_driver {
    const char *name; /* as the user types it */
    enum vivi_driver_kind kind;
    const char *machine;   /* what machine: auto is recorded as at creation: "q35" */
    struct vivi_caps caps; /* at best; probe narrows it. A SLOT row is set exactly when the slot
                              below is filled (asserted at registration). */

    /*
     * What this host allows. Mandatory. May make system calls; must not take longer than a few ms,
     * so results of running the VMM binary are cached by (device, inode, size, mtime) in cache_dir
     * (absolute, may be NULL = no cache). exe: the VMM's program (absolute), NULL: the one that
     * this host has. A program that is not there leaves ret->exe empty. Never fails for "cannot":
     * that is usable=false + reason. Errors: NO_MEMORY. Thread: any.
     */
    int (*probe)(const char *cache_dir, const char *exe, enum vivi_accel wanted,
                 struct vivi_probe *ret, viv_error *err);

    /* Lists ALL problems of a configuration on this host, field by field. Mandatory, pure. Returns
     * 0 also when there are problems; −NO_MEMORY. */
    int (*check)(const struct vivi_config *c, const struct vivi_facts *f,
                 struct vivi_problems *ret);

    /* Optional, pure: what a row needs of a VMM that this host's lacks: "needs Cloud Hypervisor 50
     * or later". NULL: nothing to be named. */
    const char *(*needs)(enum vivi_cap cap);

    /* The launch plan. Mandatory, pure, deterministic: same input, same plan. Only called when
     * check found nothing. */
    int (*plan)(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err);

    /* optional: takes away the rows that a VM of that configuration cannot have. Pure. */
    void (*narrow)(const struct vivi_config *c, struct vivi_caps *caps);

    /*
     * Whether a machine of that configuration can be sent that way by a VMM of that version, and
     * survives it. Pure; NULL where there is no migration. to NULL: only the machine is looked at.
     * 0, or −UNSUPPORTED with the field that is in the way.
     */
    int (*may_move)(const struct vivi_config *c, const char *version,
                    const struct vivi_migration *to, viv_error *err);

    const struct vivi_driver_effects
        *effects; /* NULL in the library (the monitor fills its own copy of the registry) */
};

/* ---- changes of a running machine ---- */

/* One device of a configuration. All is borrowed for the call. */
struct vivi_device {
    enum vivi_device_kind kind;
    const char *id;
    const struct vivi_config *config; /* with the device in it */
    size_t index;                     /* of the device in its list */
    const char *uuid;                 /* of the VM: MAC derivation, as in the plan */
    const int *fds;                   /* what a service has opened for it */
    size_t n_fds;
};

struct vivi_resize {
    enum vivi_resize_kind kind;
    const char *id; /* of the disk or zone; NULL else; borrowed for the call */
    uint64_t to; /* CPUS: how many; MEMORY, ZONE, DISK: bytes; BALLOON: bytes *left* to the guest */
    bool cut;    /* DISK: the image may become smaller; else the caller has seen that it does not */
    const struct vivi_config *config; /* as it is now; borrowed for the call */
};

#define VIVI_DEVICE_BIT(k) (1u << (k))
#define VIVI_RESIZE_BIT(k) (1u << (k))

/* One call of the VMM's own API, as somebody else says it. All is borrowed for the call. */
struct vivi_raw {
    bool get;             /* it reads; else PUT */
    const char *endpoint; /* "vm.info", "query-status" */
    const json_t *body;   /* NULL = none */
};
#define VIVI_RAW_NO_LIMIT (-1) /* what takes as long as it takes */

/* ---- the effects table ---- */

enum vivi_event_kind {
    VIVI_EV_DONE,  /* operation op has completed: err->code 0 or the failure. Exactly once per
                      accepted slot call. */
    VIVI_EV_STATE, /* the VMM says its vCPUs run / stand still, without or besides an operation:
                      state RUNNING or PAUSED */
    VIVI_EV_RESET, /* the guest rebooted inside this run: boot +1; offset = size of serial.log where
                      the new boot begins */
    VIVI_EV_ENDING,  /* why the process is about to end (or has just ended): reason (+ text). The
                        monitor keeps the first one of a run; but vmm-exit, the VMM's own
                        failure, takes the place of guest-poweroff, and of itself when there is
                        more to say. */
    VIVI_EV_AGENT,   /* the guest has opened or closed its end of the agent's channel: open */
    VIVI_EV_API,     /* the VMM's API answered for the first time (timeline step api) */
    VIVI_EV_CREATED, /* the machine is made, its vCPUs do not run yet (timeline step created); start
                        only */
    VIVI_EV_PROGRESS,  /* operation op goes on: text, done of total (bytes or CPUs; total 0 =
                          unknown) */
    VIVI_EV_DEVICE,    /* a device has left the machine: device_kind, id. Told once for each, before
                          the DONE of the removal that asked for it; also when that had timed out or
                          nobody had asked. */
    VIVI_EV_LISTENING, /* INCOMING: the other side may send now */
    VIVI_EV_HANDED_OVER, /* of a migration: all of the machine is about to be given away; from here
                            on it may run there */
    VIVI_EV_PORTS /* the forwards of this run as they are, before the DONE of start or adopt, if any
                     was asked for without a host port: value is a list of {net, protocol, host_ip,
                     host_port or null, guest_port} */
};

struct vivi_driver_event {
    enum vivi_event_kind kind;
    uint64_t run;         /* late events of an older run are dropped by it */
    uint64_t op;          /* DONE */
    const viv_error *err; /* DONE; borrowed for the call; NULL or code 0 = success */
    const json_t
        *value; /* PORTS, DONE of a slot that answers; borrowed for the call; NULL = none */
    int fd; /* DONE of a slot that opens something: the receiver's from now on; 0 (and −1) = none,
               as all descriptors of ours are above 2 */
    enum viv_state state;    /* STATE */
    bool open;               /* AGENT */
    enum vivi_reason reason; /* ENDING */
    const char *text;        /* ENDING: the VMM's words; PROGRESS: what goes on; RESET: its cause,
                                where that is known ("watchdog"); or NULL */
    uint64_t offset;         /* RESET; or VIVI_OFFSET_UNKNOWN */
    uint64_t stamp;          /* RESET of a VMM that does not stop for it: which one of this run it
                                is, growing from one to the next; 0 = told apart by offset */
    uint64_t done, total;    /* PROGRESS */
    enum vivi_device_kind device_kind; /* DEVICE */
    const char *id;                    /* DEVICE; borrowed for the call */
};

/* The VMM does not stop at a reset, and its events share no order with serial: the new boot begins
 * somewhere behind the last marker that was consumed. */
#define VIVI_OFFSET_UNKNOWN UINT64_MAX

/*
 * What the monitor offers a driver. Lives longer than the machine.
 *
 * event: called from callbacks of the loop and from input() and drained(), never from inside start
 * … reset. It may call slots, but neither done() nor input() nor drained(). RESET must be recorded
 * before it returns: the driver lets the guest go on right after it. A RESET whose offset is that
 * of the boot that is recorded already is the same one, told again after an adoption: it counts
 * once. So does one whose stamp is not greater than that of the last one recorded.
 *
 * drain: asks the keeper to move everything now in the FIFO called name ("serial.out") into its
 * log; completes by the drained slot with the log's size. Of a to_driver stream, all bytes up to
 * that size are offered to input before drained is called. Never calls drained from inside the
 * call.
 *
 * fd: a descriptor that came from outside (VIVI_NIC_FD and an id); borrowed, −1: it is not here.
 */
struct vivi_driver_host {
    void *ctx;
    const struct vivi_loop *loop;
    void (*event)(void *ctx, const struct vivi_driver_event *e);
    int (*drain)(void *ctx, const char *name, uint64_t token, viv_error *err);
    int (*fd)(void *ctx, const char *name);
};

struct vivi_machine_start {
    const struct vivi_driver_host *host;
    const struct vivi_config *config; /* borrowed for the machine's life */
    const struct vivi_plan *plan;     /* as spawned; after adoption: NULL */
    const json_t *requests;           /* of the plan, after an adoption as well, or NULL; borrowed
                                         for the machine's life */
    const char *run_dir;              /* borrowed for the machine's life */
    uint64_t run;
    struct vivi_proc_id vmm;
    bool incoming; /* adoption: the machine had not arrived yet */
};

struct vivi_driver_effects {
    const char *name;
    /* Each stream of agent_connect reaches the agent as a new one (a socket, vsock); else what one
     * monitor has left half written may stand before the next one's first byte (a serial port). */
    bool agent_fresh;
    /* A NIC whose TAP is down when the guest sends is dead from then on: up from the start. */
    bool taps_up;
    /* optional: the table of a VM with that configuration, where it may be another one than this.
     */
    const struct vivi_driver_effects *(*of)(const struct vivi_config *c);
    /* Such a table has fewer slots than the driver's capabilities promise, because of this: "it
     * needs API mode". NULL: it has them all. */
    const char *lacks;
    /* With snapshot: a later release of the VMM goes on from what an earlier one wrote. */
    bool upgrades;
    size_t machine_size; /* bytes of private state m; the caller allocates it, zeroed */

    /*
     * The process was spawned as planned: make the machine run. Mandatory. DONE(op) when vCPUs run
     * (or with the VMM's own error). Must also cope with a VMM that is already further (the monitor
     * died between the spawn and here): start and adopt may share their code. Errors: refused → no
     * DONE follows. Ownership: s is copied as needed; config, run_dir, host are borrowed for the
     * machine's life.
     */
    int (*start)(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err);

    /*
     * Takes over a VMM that a former monitor started. Mandatory (capability). DONE(op) once the
     * state is known and told by STATE; then finishes what was half done (a start, a gated reset, a
     * pending end). Refused (NOT_FOUND, BUSY with RETRY: nobody listens) when the VMM is gone:
     * input may still be offered then, and tells ENDING by what the VMM wrote last; no other slot
     * but done is called.
     */
    int (*adopt)(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err);

    /*
     * Bytes of a to_driver stream, in order, from the start of this run or from the last offset
     * persisted. Only after start or adopt was called. Returns the bytes consumed (≤ len): the rest
     * (half a message; a message whose handling is not finished and must be seen by the next
     * monitor if this one dies) is offered again, from its first byte, together with what comes
     * next. The offset to persist is that of the bytes consumed. Bytes repeat only if the monitor
     * died between handling and recording. NULL = no such stream.
     */
    size_t (*input)(void *m, const char *name, const char *data, size_t len);
    /* Answer to host->drain. NULL if drain is never used. */
    void (*drained)(void *m, uint64_t token, uint64_t log_size);

    int (*query)(void *m, uint64_t op, viv_error *err); /* Mandatory. STATE, then DONE. */
    int (*quit)(void *m, uint64_t op,
                viv_error *err); /* Mandatory: the VMM's own hard stop (rung vmm). End of the
                                    process after that is success. */
    int (*power_button)(void *m, uint64_t op,
                        viv_error *err); /* optional: asks the guest; DONE = injected. A paused
                                            machine is resumed by the monitor first. */
    int (*pause)(void *m, uint64_t op, viv_error *err);  /* optional; DONE when vCPUs stand still */
    int (*resume)(void *m, uint64_t op, viv_error *err); /* optional, together with pause */
    int (*reset)(void *m, uint64_t op,
                 viv_error *err); /* optional: hard reset inside the run; RESET, then DONE */

    /*
     * optional: opens the one byte stream to the guest's agent. DONE carries fd: a connected,
     * non-blocking stream socket. That somebody answers there is not promised: a VMM's port accepts
     * before its guest has opened the other end, and an agent that dies is not seen on it; the
     * handshake decides. A second call while the first stream is open may be refused by the VMM
     * (BUSY) or wait behind it: the caller closes its stream first. Refused with NOT_FOUND when
     * this run was started without such a channel.
     */
    int (*agent_connect)(void *m, uint64_t op, viv_error *err);

    /*
     * optional, both together: kinds are bits of device_kinds (VIVI_DEVICE_BIT), and no other kind
     * is ever asked for. Only of a running machine.
     *
     * device_add: DONE when the VMM has the device; the guest finds it in its own time. It gets the
     * place that the plan would give it, so that a later start shows it at the same address. On
     * failure nothing is left of it in the VMM, also of what a former monitor had half added.
     * Errors: EXISTS a device of this kind and id is there; VMM with its words; WRONG_STATE no free
     * place.
     *
     * device_remove: asks the guest to let go of it; DEVICE, then DONE when it has left the VMM and
     * nothing of it is open there. A guest that does not let go leaves the operation open: there is
     * no time limit here. Asked again meanwhile, the guest is asked again and both operations end
     * together. Errors: NOT_FOUND no such device; VMM the guest refused.
     *
     * may_device: optional, where not every kind comes and goes in every run: asked before anything
     * is changed. Errors: UNSUPPORTED with the reason: then it waits for the next start.
     */
    unsigned device_kinds;
    int (*may_device)(void *m, enum vivi_device_kind kind, bool adding, viv_error *err);
    int (*device_add)(void *m, const struct vivi_device *d, uint64_t op, viv_error *err);
    int (*device_remove)(void *m, enum vivi_device_kind kind, const char *id, uint64_t op,
                         viv_error *err);

    /*
     * optional; kinds are bits of resize_kinds (VIVI_RESIZE_BIT). DONE when the guest has it: CPUS
     * and MEMORY when it has taken or given back all, BALLOON when the balloon has its size, DISK
     * when the image has the size and the device says so. PROGRESS with done of total before that.
     * Asking for what is there already is success, so an operation that was cut short can be done
     * again. No time limit here; a later call of the same kind takes an unfinished one over: both
     * end together. Errors: INVALID beyond what this run was started with; VMM.
     *
     * may_resize: optional, where this run's limits are the driver's own: whether resize would take
     * it, asked before anything is changed. Errors: INVALID, UNSUPPORTED with what the limit is:
     * then it waits for the next start.
     */
    unsigned resize_kinds;
    int (*may_resize)(void *m, const struct vivi_resize *what, viv_error *err);
    int (*resize)(void *m, const struct vivi_resize *what, uint64_t op, viv_error *err);

    /*
     * optional. DONE with value {"disks": {ID: {"read_bytes", "written_bytes", "reads", "writes",
     * "flushes"}}, "nets": {ID: {"rx_bytes", "tx_bytes", "rx_packets", "tx_packets"}},
     * "balloon_bytes"}: integers since the start of this run; what the VMM does not count is null.
     * balloon_bytes is what is left to the guest.
     */
    int (*counters)(void *m, uint64_t op, viv_error *err);

    /*
     * optional: writes the state of a machine whose vCPUs stand still into dir, an absolute path of
     * an empty directory below snapshots/ of the VM. DONE when all of it is there; the machine
     * still stands still then. On failure the directory's contents are of no use and the caller
     * removes them. A plan made with RESTORE and a directory that holds the same files goes on from
     * there: it runs when start is done, and prints nothing of a boot. Disks are not part of it. No
     * time limit here: it takes as long as writing the memory.
     */
    int (*snapshot)(void *m, const char *dir, uint64_t op, viv_error *err);

    /*
     * optional: a non-maskable interrupt for the guest. DONE when the VMM has injected it; what the
     * guest makes of it stands in its own log.
     */
    int (*nmi)(void *m, uint64_t op, viv_error *err);

    /*
     * optional: writes the guest's memory and registers as an ELF core to path, an absolute path
     * below snapshots/ of the VM where nothing is. DONE when the file is whole. The machine stands
     * still meanwhile and goes on as it was; a VMM may tell that by STATE. On failure what is there
     * is of no use, and the caller removes it. No time limit here. Errors: BUSY one is being
     * written; VMM.
     */
    int (*coredump)(void *m, const char *path, uint64_t op, viv_error *err);

    /*
     * optional, all three together: passes one call on to the VMM's own API. Whatever it does there
     * is between the caller and the VMM: this side learns of it as of anything else that the VMM
     * tells. It must not keep other slots waiting longer than the VMM itself does.
     *
     * raw: DONE with value {"status": the VMM's number or null, "body": its words as they came or
     * null}. Errors: those of the VMM with its words: INVALID, WRONG_STATE, UNSUPPORTED (no such
     * endpoint), NOT_FOUND, EXISTS, BUSY (also: too many at once), else VMM; IO, PROTOCOL.
     * raw_ms: how long an answer of that endpoint may take at most, or VIVI_RAW_NO_LIMIT. Pure.
     * raw_drop: nobody waits for op any more: no DONE follows. The VMM goes on with it. op 0: the
     * VMM has ended; answers that are here already are told before it returns.
     */
    int (*raw)(void *m, const struct vivi_raw *call, uint64_t op, viv_error *err);
    int64_t (*raw_ms)(const char *endpoint);
    void (*raw_drop)(void *m, uint64_t op);

    /*
     * optional, both together, with may_move of the pure table.
     *
     * migrate_send: of a machine that runs or stands still. The VMM sends it and ends; its end is
     * the success: ENDING with MIGRATED comes before, and no DONE. PROGRESS meanwhile, and
     * HANDED_OVER once. DONE with an error when the machine is here as it was, after STATE told how
     * that is; but when it had been HANDED_OVER it may run there, and is made to stand still here.
     * to NULL: a former monitor has asked for it; what comes of that is told in the same way.
     *
     * A plan made with INCOMING makes start wait for the machine: LISTENING, then DONE when it is
     * here and is as it was there (STATE tells), or with the error. STATE running before that: it
     * has run here, whatever follows. receive_abort: nobody will come; a machine that is on its way
     * arrives all the same. start is then done with an error.
     */
    int (*migrate_send)(void *m, const struct vivi_migration *to, uint64_t op, viv_error *err);
    int (*receive_abort)(void *m, viv_error *err);

    /* Teardown: no callback afterwards, all descriptors closed, safe after a failed start and on
     * zeroed state. Mandatory. Does not touch the VMM. */
    void (*done)(void *m);
};

/* ---- registry: an explicit array ---- */
const struct vivi_driver *vivi_driver_get(enum vivi_driver_kind k); /* NULL: not built here */
const struct vivi_driver *vivi_driver_find(const char *name);
const struct vivi_driver *const *vivi_drivers(size_t *ret_n);
const struct vivi_driver_effects *vivi_effects_get(
    enum vivi_driver_kind k); /* in the effects library only */

/* auto → the driver for this host, with the reason ("cloud-hypervisor: not found on PATH"). */
int vivi_driver_resolve(enum vivi_driver_kind wanted, const char *cache_dir,
                        enum vivi_driver_kind *ret, char ret_reason[200], viv_error *err);
/* Stats the files a configuration names, host memory, and the probe. */
int vivi_facts_gather(const struct vivi_config *c, const struct vivi_driver *d,
                      const char *cache_dir, struct vivi_facts *ret, viv_error *err);
