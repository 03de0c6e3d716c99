/*
 * Vivarium: the whole life of virtual machines.   SPDX-License-Identifier: Apache-2.0
 *
 * One header, opaque handles, no callbacks, no varargs, no structs by value. C11 and C++17.
 *
 * Results are 0 (or a count ≥ 0), or a negated viv_code, the same number on every system.
 * Parameters come in this order: inputs, ret_ (untouched on failure), err (NULL is allowed).
 * Strings are UTF-8. Descriptors are close-on-exec.
 *
 * Threads: one thread at a time per viv and everything made from it; separate vivs are independent.
 * The library makes no threads, installs no signal handler, prints nothing, never exits, and its
 * children are never waitable by the caller. After fork() the child may only call the _close and
 * _free functions; nothing survives exec.
 *
 * Handles made from a viv must be freed before viv_close, but for operations, records, lists,
 * configurations and options, which may be freed at any time.
 */
#ifndef VIVARIUM_H
#define VIVARIUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VIV_API __attribute__((visibility("default")))
#else
#define VIV_API
#endif

/* One state root. */
typedef struct viv viv;
/* A machine, pinned to a uuid: after rm and create of the same name it answers NOT_FOUND. */
typedef struct viv_vm viv_vm;
/* A configuration: mutable; setting does no I/O; every error carries the field's path. */
typedef struct viv_config viv_config;
/* Options of one verb. */
typedef struct viv_opts viv_opts;
/* A verb in flight; finishes exactly once. */
typedef struct viv_op viv_op;
/* Immutable: VM, event, capability row, problem, result; the same paths as -o json. */
typedef struct viv_rec viv_rec;
/* Of viv_rec, taken at one instant. */
typedef struct viv_list viv_list;

/* Only grows; a code you do not know means INTERNAL. */
typedef enum {
    VIV_OK = 0,
    VIV_E_INTERNAL = 1,
    VIV_E_INVALID,
    VIV_E_NOT_FOUND,
    VIV_E_WRONG_STATE,
    VIV_E_UNSUPPORTED,
    VIV_E_TIMEOUT,
    VIV_E_DENIED,
    VIV_E_EXISTS,
    VIV_E_BUSY,
    VIV_E_CANCELLED,
    VIV_E_NO_MEMORY,
    VIV_E_IO,
    VIV_E_PROTOCOL,
    VIV_E_VMM
} viv_code;

#define VIV_ERR_RETRY     1u /* the same call may succeed later without any change */
#define VIV_ERR_TRUNCATED 2u /* message was longer than the field */

/*
 * The caller's; fixed size for the life of soname 1; no allocation. Set size to sizeof(viv_error),
 * the rest to 0 (VIV_ERROR_INIT). After a success its contents mean nothing.
 */
typedef struct viv_error {
    uint32_t size;
    int32_t code;      /* viv_code, 0 = none */
    int32_t sys_errno; /* 0 = none */
    uint32_t flags;    /* VIV_ERR_… */
    char vm[64];
    char field[128]; /* "disks.data.path" */
    char message[512];
    char hint[200]; /* the next thing to try */
    uint8_t reserved[104];
} viv_error;

#define VIV_ERROR_INIT {sizeof(viv_error), 0, 0, 0, {0}, {0}, {0}, {0}, {0}}

VIV_API const char *viv_version(void);       /* "0.1.0" */
VIV_API const char *viv_code_name(int code); /* "NOT_FOUND"; sign ignored; unknown → "INTERNAL" */
VIV_API int viv_code_exit(int code);         /* the exit status the command line uses for it */

/* ---- a state root ------------------------------------------------------------------------ */

#define VIV_OPEN_CREATE   1u /* make the root if it is missing */
#define VIV_OPEN_READONLY 2u /* a missing root is an empty one; what changes a VM is DENIED */

/*
 * root NULL: $VIV_HOME, else $XDG_STATE_HOME/vivarium or ~/.local/state/vivarium (root:
 * /var/lib/vivarium). Errors: DENIED (owner is not the effective user, or not writable), NOT_FOUND
 * (it is missing and neither flag is given), INVALID (socket paths below it would not fit), IO.
 */
VIV_API int viv_open(const char *root_or_null, uint64_t flags, viv **ret, viv_error *err);
VIV_API void viv_close(viv *v); /* NULL ok; ends its operations and subscriptions; stops no VM */
VIV_API const char *viv_root(const viv *v); /* absolute path; borrowed */

/*
 * Any thread, signal-safe: the blocking call of v that is going on, else the next one, returns
 * CANCELLED; what it waited for goes on. viv_dispatch takes a wake-up that no blocking call met.
 */
VIV_API void viv_wake(viv *v);
/*
 * The same descriptor for the life of v, for poll(2): readable → viv_dispatch, then look at
 * operations (viv_op_done) and events (viv_next until it returns 0). Deadlines make it readable
 * too, so the time-out below is only needed by loops that cannot wait for a descriptor.
 */
VIV_API int viv_fd(viv *v);
VIV_API int64_t viv_timeout_ms(viv *v); /* until viv_dispatch wants to be called; −1 = no limit */
VIV_API int viv_dispatch(viv *v, viv_error *err); /* never blocks */

#define VIV_EVENTS_ALL UINT64_MAX /* viv_subscribe: every event that is still kept */
/*
 * Events. filter: NULL or "vm=web,type=state" (keys vm, uuid, type, state: what a "state" event
 * tells, or ready, labels.KEY: of the VM as it is labelled now, VMs to come included; all must
 * hold;
 * ",," is a comma of a value); after_seq: 0 = from now on, else every event with a greater number
 * that is still kept (VIV_EVENTS_ALL: all of those). One subscription per viv; a second call
 * replaces it. Records have seq, time, vm, uuid, run, boot, type and what the type adds. A reader
 * that is too slow gets one event of type "lost" with the count, its other keys null.
 */
VIV_API int viv_subscribe(viv *v, const char *filter, uint64_t after_seq, viv_error *err);
VIV_API int viv_next(viv *v, viv_rec **ret_event, viv_error *err); /* 1 an event, 0 none now */

/* ---- configurations ---------------------------------------------------------------------- */

VIV_API int viv_config_new(viv_config **ret, viv_error *err);
/*
 * YAML or JSON. origin (a file name) appears in messages, and paths are relative to its directory
 * (NULL: to the working directory).
 */
VIV_API int viv_config_parse(const char *buf, size_t len, const char *origin, viv_config **ret,
                             viv_error *err);
/* "nets.n0.mac"; "disks.+data.path" adds; "disks.data-" with NULL removes. */
VIV_API int viv_config_set(viv_config *c, const char *path, const char *value, viv_error *err);
/*
 * The NIC at path ("nets.n0.fd"; "nets.+n0.fd" adds it) is of type fd: a TAP device, opened with
 * IFF_NO_PI and IFF_VNET_HDR. fd is duplicated. viv_create and viv_vm_apply hand it to their
 * viv_vm, whose viv_vm_start hands it to the VM's keeper; that holds it as long as it lives, over
 * reboots and restarts. A later start needs it anew: its configuration does not know where it came
 * from. Errors: INVALID path is not of a NIC's descriptor; fd is not open.
 */
VIV_API int viv_config_set_fd(viv_config *c, const char *path, int fd, viv_error *err);
/* The value as it was given; path "" of the record is the whole. NOT_FOUND: not given. */
VIV_API int viv_config_get(const viv_config *c, const char *path, viv_rec **ret, viv_error *err);
/* Fills what is not set from a lower layer (a profile, an image's partial configuration). */
VIV_API int viv_config_merge_under(viv_config *c, const viv_config *lower, viv_error *err);
VIV_API int viv_config_show(const viv_config *c, viv_rec **ret, viv_error *err);
/*
 * All problems at once, as records {field, message, code, hint}; an empty list means that a create
 * would be accepted.
 */
VIV_API int viv_config_check(viv *v, const viv_config *c, viv_list **ret_problems, viv_error *err);
/*
 * What a start would do: {driver, accel, accel_reason, accel_fix, problems, plan, config}. plan:
 * argv, files, descriptors, request bodies; null when there are problems.
 */
VIV_API int viv_config_plan(viv *v, const viv_config *c, viv_rec **ret, viv_error *err);
VIV_API void viv_config_free(viv_config *c);

#define VIV_CONFIG_RUNNING 1u /* viv_vm_config: of this run, not of the next start */
/*
 * The configuration of m, whole, to look at, or to change (viv_config_set) and to hand to
 * viv_vm_apply. It knows what it was made from: if somebody else changes the VM first, applying it
 * is refused (BUSY with VIV_ERR_RETRY). Errors: NOT_FOUND; WRONG_STATE (VIV_CONFIG_RUNNING: it does
 * not run); PROTOCOL (broken record).
 */
VIV_API int viv_vm_config(viv_vm *m, uint64_t flags, viv_config **ret, viv_error *err);
/* c (parsed from a text, say) is to take the place of what base is, and of nothing newer. INVALID:
 * base is not from viv_vm_config. */
VIV_API int viv_config_set_base(viv_config *c, const viv_config *base, viv_error *err);

/* ---- machines ---------------------------------------------------------------------------- */

/*
 * A VM of that name and the same configuration is success; another configuration is EXISTS; the
 * first problem of the configuration is the error. flags: 0. ret and ret_changed (1 made now, 0 was
 * there) may be NULL.
 */
VIV_API int viv_create(viv *v, const viv_config *c, uint64_t flags, viv_vm **ret, int *ret_changed,
                       viv_error *err);
/* A name, or ≥ 8 leading characters of a uuid. INVALID: of more than one VM's uuid. */
VIV_API int viv_lookup(viv *v, const char *name_or_uuid, viv_vm **ret, viv_error *err);
VIV_API void viv_vm_free(viv_vm *m);
VIV_API const char *viv_vm_name(const viv_vm *m); /* borrowed */
VIV_API const char *viv_vm_uuid(const viv_vm *m);

/*
 * filter: NULL, or "state=ready,labels.job=42" (keys name, uuid, state, driver, labels.KEY; all
 * must hold; "ready" is a running VM that is ready; ",," is a comma of a value). Records, sorted by
 * name: name, uuid, state, ready{proof,at,after_ms}, ip, ip_reachable, reason{code,text}, cpus,
 * memory_bytes, driver, accel, labels, run, boot, restarts, created_at, started_at, next_start_at,
 * vmm{pid,start_time,version,path}; what is absent is null. Broken ones are in it, with state
 * "broken" and the reason.
 */
VIV_API int viv_ls(viv *v, const char *filter, viv_list **ret, viv_error *err);
/* Rows {driver, capability, kind, text, ok, reason}. */
VIV_API int viv_caps(viv *v, const char *driver_or_null, viv_list **ret, viv_error *err);
/* Rows {check, ok, required, message, hint}: VMs run without what is not required, only not as
 * well. */
VIV_API int viv_doctor(viv *v, viv_list **ret, viv_error *err);
/* What `viv inspect -o json` prints ("pending": what of the configuration waits for the next start,
 * as in viv_vm_apply's "changes", or null); from files, so it works while nobody keeps the VM. */
VIV_API int viv_vm_info(viv_vm *m, viv_rec **ret, viv_error *err);

/*
 * Verbs. ret_op NULL: blocks until done or the deadline. Otherwise returns at once, *ret_op is in
 * flight and its end makes viv_fd readable. Either ret may be NULL. A refused verb makes no
 * operation. Results are records: {"changed":…, "state":…, "ready":…, "ip":…, "reason":…, "rung":…,
 * …}.
 *
 * Options (viv_opts), times in milliseconds, −1 = none:
 *
 *   start: wait ("running" default, "ready"); timeout_ms until it runs (30000); ready_timeout_ms
 *     (the configuration's, three times as much when emulated); remove_when_ended; foreground_fd,
 *     the read end of a pipe, duplicated: when its other end is closed, the VM is stopped;
 *     unless_stopped: leaves a VM alone that was ended by stop or kill (as autostart does);
 *     own_fds: nets.*.fd of the configuration are numbers of descriptors that the caller was
 *     started with (those that are not close-on-exec)
 *   stop: timeout_ms (the configuration's; 0 = kill); kill (default 1; 0 = give up with TIMEOUT);
 *     for_now: it is wanted all the same, so autostart starts it with the host's next boot
 *   kill: timeout_ms (5000); force
 *   pause, resume: timeout_ms (10000)
 *   reboot: hard; timeout_ms
 *   remove: force, also a running one
 *   apply: see below
 *   snapshot: name (a DNS label); allow_long_pause: the guest may stand still while its disks are
 *     copied where the file system cannot share data; no time limit. Of a running or paused VM:
 *     memory, devices and disks of one moment, and it goes on as it was. Errors: EXISTS, INVALID
 *     the name, UNSUPPORTED, WRONG_STATE
 *   restore: name; on_demand: the guest runs before its memory is read, where the host and the VMM
 *     can do that. Of a stopped VM: its disks are what they were and the guest goes on. Errors:
 * NOT_FOUND, UNSUPPORTED another driver or version of the VMM made it, INVALID a disk has changed,
 * WRONG_STATE wait: until ("ready" default, "exit", or a state); timeout_ms (none)
 *
 * stop, pause, resume, reboot, snapshot, restore and the changes below also take async: the verb is
 * over as soon as the VM's monitor has accepted it. The result then has "op", an id; how it ended
 * is told by the event of type "op" that has the same id and a code ("OK", "TIMEOUT", …).
 *
 * TIMEOUT ends the waiting only; the message says what goes on.
 */
VIV_API int viv_vm_start(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                         viv_error *err);
VIV_API int viv_vm_stop(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                        viv_error *err);
VIV_API int viv_vm_kill(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                        viv_error *err);
VIV_API int viv_vm_reboot(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                          viv_error *err);
VIV_API int viv_vm_pause(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                         viv_error *err);
VIV_API int viv_vm_resume(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                          viv_error *err);
VIV_API int viv_vm_snapshot(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                            viv_error *err);
VIV_API int viv_vm_restore(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                           viv_error *err);
/*
 * Live migration: the three calls are for both ends of a channel that the caller has between two
 * state roots; viv(1) does it over ssh. What must never be is two that run: from "send" on the VM
 * is not started again here unless it is known that it did not arrive there.
 *
 * viv_vm_migrate, step:
 *   offer: answers at once with "offer", an object for viv_create_incoming and viv_vm_receive, or
 *     refuses with what is in the way. With the options of send.
 *   send: url, where the other VMM waits; to, how the destination is called in messages; tls_dir,
 *     absolute, with keys; local, the memory changes hands on this host; downtime_ms, timeout_s,
 *     connections, or the VMM's own. Over when the VM runs there (its state here is stopped) or
 *     goes on here (an error). A note at least every second: doing, elapsed_ms.
 *   settle: arrived, what the other end says about a VM of which this end cannot know.
 *   log: once it runs there: answers at once with "part", an object for viv_vm_receive: start and
 *     size of the serial log (see viv_vm_log_open), and its boots. With lost, a number of bytes
 *     that did not get there: an event tells it.
 * viv_create_incoming: offer, as JSON text. A VM that nothing but viv_vm_receive makes run. Errors:
 *   EXISTS the name or the uuid is in use; UNSUPPORTED the VMM, or the CPU, is not one that could
 *   take it; as viv_create what the configuration names and is not here.
 * viv_vm_receive: offer; listen, "unix" or "tcp:HOST:PORT"; tls_dir; wait_ms for somebody to come
 *   (60 s). Over when it runs here. A note says where it listens: listening, the url. With abort
 *   only: nobody will come; ends like the receive that is in flight. With log, the serial log of
 *   there comes in front of the one here; answers at once with "bytes": room, how many it takes, 0
 *   it has them already, negative it takes none; put, with part (JSON text), at, an offset in the
 *   log there, and data, base64 of at most 1 MiB; take, with part, when all was put: only now they
 *   are shown, and how many that are.
 */
VIV_API int viv_vm_migrate(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                           viv_error *err);
VIV_API int viv_create_incoming(viv *v, const char *offer, viv_vm **ret, viv_error *err);
VIV_API int viv_vm_receive(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                           viv_error *err);
/*
 * Another VMM for a running VM, in place: its machine stands still, is written to the disk, and
 * goes on under the VMM that is installed now, or vmm (an absolute path; for this run only). When
 * that one does not take it the old one goes on (VMM). Errors: UNSUPPORTED an older VMM, or a
 * device that stays where it is; WRONG_STATE.
 */
VIV_API int viv_vm_upgrade(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                           viv_error *err);
/* Records, oldest first: name, created_at, size_bytes on the disk, memory_bytes, driver,
 * vmm_version, disks (how many); or name and error. From files; needs nobody. */
VIV_API int viv_vm_snapshots(viv_vm *m, viv_list **ret, viv_error *err);
/* Errors: NOT_FOUND no such snapshot. */
VIV_API int viv_vm_snapshot_remove(viv_vm *m, const char *name, viv_error *err);
/*
 * A non-maskable interrupt for the guest: what it makes of it stands in its own log. Option
 * timeout_ms (10000). Errors: UNSUPPORTED, WRONG_STATE, VMM.
 */
VIV_API int viv_vm_nmi(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                       viv_error *err);
/*
 * The guest's memory and registers as an ELF core, written to fd: an empty regular file, open for
 * writing, duplicated; not whole after a failure. The guest stands still while the VMM writes it,
 * and the state root's file system holds a second copy for as long unless the two can share data.
 * Option timeout_ms (−1: none). Result as of every verb, and "size_bytes". Errors: UNSUPPORTED,
 * WRONG_STATE, BUSY one is being written, INVALID the file, VMM, IO.
 */
VIV_API int viv_vm_coredump(viv_vm *m, int fd, const viv_opts *o, viv_op **ret_op,
                            viv_rec **ret_result, viv_error *err);
/*
 * One call of the VMM's own API, passed on as it is: method "GET" or "PUT"; endpoint as the VMM
 * names it, without a path ("vm.info"; QEMU: a QMP command, GET and PUT are the same); body is
 * JSON, or NULL for none. Several may wait at a time, beside any verb. Nothing is recorded: what
 * the call changes in the machine is seen where the VMM tells it, and is not part of the
 * configuration. It is never asked twice: when the VM's monitor goes away before the answer, what
 * became of it is not known (IO).
 *
 * Result: {"status": the VMM's number or null, "body": its answer as it came, or null for none}.
 * Option: timeout_ms (−1 default: as long as that endpoint should take; none for those that move
 * the guest's memory).
 *
 * Errors: the VMM's own, with its words: INVALID, WRONG_STATE, NOT_FOUND, EXISTS, BUSY, else VMM;
 * UNSUPPORTED no such endpoint, or a driver without an API; INVALID also a body that is no JSON.
 * Thread: that of the viv.
 */
VIV_API int viv_vm_api(viv_vm *m, const char *method, const char *endpoint,
                       const char *body_or_null, const viv_opts *o, viv_op **ret_op,
                       viv_rec **ret_result, viv_error *err);
VIV_API int viv_vm_remove(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                          viv_error *err);
VIV_API int viv_vm_wait(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                        viv_error *err);
/*
 * What the VM has used and moved since the start of this run. Options: timeout_ms (5000). Record:
 * {"state", "run", "boot", "uptime_ms", "cpus", "memory_bytes", "cpu_ms" and "rss_bytes" of the
 * VMM's process on this host, "balloon_bytes" (left to the guest), "disks": {ID: {"read_bytes",
 * "written_bytes", "reads", "writes", "flushes"}}, "nets": {ID: {"rx_bytes", "tx_bytes",
 * "rx_packets", "tx_packets"}}}: what is not counted is null; rx is what the guest received.
 * WRONG_STATE: it does not run.
 */
VIV_API int viv_vm_stats(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                         viv_error *err);
/*
 * Whether the VM starts with its host: writes (on, default 1) or removes a systemd unit and the
 * link that enables it; no running systemd is needed, and none is told. Options: on; program, the
 * absolute path of viv for the unit; unit_dir, absolute (default: where the administrator's units
 * are for root, the user's own for others). The VM that was stopped by hand is wanted again. The
 * operation is over when the call returns; result {"changed":…, "on":…, "unit":…}. Errors:
 * UNSUPPORTED no systemd on this host; EXISTS a file of that name that is not of this VM; DENIED;
 * BUSY.
 */
VIV_API int viv_vm_autostart(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                             viv_error *err);

/*
 * Changes m's configuration to c, a whole one: what c leaves out has its default, and what it
 * leaves to us (driver, machine, MAC addresses) stays. It is stored whole or not at all, for the
 * next start; what differs from the run that goes on is changed in it as far as the driver can, and
 * waits for the next start otherwise. With c from viv_vm_config only what was set in it is changed
 * in this run, else whatever waits.
 *
 * Options: dry_run: says what would be, and does nothing; next: leaves this run alone; live:
 * changes only this run (c from viv_vm_config with VIV_CONFIG_RUNNING); strict: is UNSUPPORTED, or
 * fails, and stores nothing when something cannot be changed in this run (what the guest has only
 * not done in time is TIMEOUT and stored: it waits, and can be asked for again); timeout_ms (60000)
 * for each change that waits for the guest; async.
 *
 * Result: as of the verbs above, and "changes": [{path, op ("add", "remove", "change"), from, to,
 * when ("fixed", "next-start", "live"), applied ("now", "next-start", "refused"), reason}]. path is
 * "cpus.count", "labels.job", or a device: "disks.data". "refused" is only seen in a dry run.
 *
 * Errors: INVALID (a field that is fixed at creation; a problem that is new: all of them by
 * viv_config_check), BUSY (changed by somebody else, RETRY; another verb is in progress),
 * WRONG_STATE (live: it does not run), UNSUPPORTED (live, strict), IO (nothing was changed).
 */
VIV_API int viv_vm_apply(viv_vm *m, const viv_config *c, const viv_opts *o, viv_op **ret_op,
                         viv_rec **ret_result, viv_error *err);

/*
 * Devices that come and go, and sizes: viv_vm_apply, strictly (unless live or next is given), of
 * what is named here. Options, result and errors are those of viv_vm_apply but for strict, and:
 *
 *   device_add: kind ("disk", "net", "share", …); id (the next free one: "d1"); set, "KEY=VALUE" of
 *     the device's fields, as often as it is set ("path=/d.img"). INVALID "disks.data: id is used
 *     twice"; UNSUPPORTED a kind that this driver cannot add while the VM runs
 *     (a vsock needs no id: a VM has one)
 *   device_remove: kind; id; force. The guest is asked to let go of it. NOT_FOUND; UNSUPPORTED the
 *     disk with the guest's root; BUSY the guest uses the disk, as its agent tells (with force it
 *     goes, and what the guest has not written is lost); TIMEOUT the guest keeps it: it can be
 *     asked again
 *   resize: cpus, a number; memory and balloon (what is left to the guest; "all"), as text
 *     ("2GiB"); disk and zone (memory of a NUMA node), "ID=SIZE", as often as they are set; force.
 *     INVALID "disks.data.size: 4MiB is less than the image has (8MiB)": with force a raw image is
 *     cut at once, and what lies behind is lost for good. UNSUPPORTED beyond cpus.max, memory.max
 * of this run; TIMEOUT the guest has not taken or given it yet: it can be asked again
 */
VIV_API int viv_vm_device_add(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                              viv_error *err);
VIV_API int viv_vm_device_remove(viv_vm *m, const viv_opts *o, viv_op **ret_op,
                                 viv_rec **ret_result, viv_error *err);
VIV_API int viv_vm_resize(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                          viv_error *err);
/*
 * Records, by kind: kind, id, what (its file, type or address, or null), live (this run has it),
 * next (the next start has it), pending ("add", "remove", "change": what waits for the next start;
 * null), place (disks and NICs: 1, 2, …; else null), config. A vsock's id is "vsock". From files;
 * needs nobody.
 */
VIV_API int viv_vm_devices(viv_vm *m, viv_list **ret, viv_error *err);

/* ---- inside the guest -------------------------------------------------------------------- */

/*
 * Runs a program in the guest, by viv-agent. argv: program and arguments, ended by NULL; NULL or
 * empty: the user's login shell. The program is sought in the guest's PATH.
 *
 * Options: stdin_fd, stdout_fd, stderr_fd, descriptors of the caller (duplicated; none: /dev/null,
 * and output is dropped); env, "KEY=VALUE", as often as it is set; cwd; user, a name or uid[:gid];
 * tty, then all output comes on stdout_fd; rows, cols of the terminal; timeout_ms for all of it
 * (none); connect_ms, how long to wait for an agent (10000).
 *
 * The streams are moved by viv_dispatch (or the blocking call): viv_fd is readable when there is
 * something to do. Descriptors may block; pipes are written in pieces that do not. At most 64 KiB
 * of each direction wait in between, so a reader that stops holds the program up.
 *
 * Result: {"exit": 0…255 or null, "signal": N or null, "text": …}; exit 127: no such program, 126:
 * it cannot be run, both with the guest's words in text.
 *
 * Errors: NOT_FOUND no agent answers; UNSUPPORTED this VM has no channel, or its agent is too old;
 * WRONG_STATE it does not run, or is paused; TIMEOUT; IO the guest rebooted, the VM ended, the
 * agent or the monitor ended in the middle (message says which), the output has no reader (EPIPE).
 * Whatever ends the operation, viv_op_cancel and viv_op_free too, kills what still runs in the
 * guest.
 */
VIV_API int viv_vm_exec(viv_vm *m, const char *const *argv, const viv_opts *o, viv_op **ret_op,
                        viv_rec **ret_result, viv_error *err);
/* To the program's process group. sig: the number on Linux. WRONG_STATE: it has not begun, or has
 * ended; INVALID. */
VIV_API int viv_exec_signal(viv_op *op, int sig, viv_error *err);
/* The terminal has another size. Errors as above. */
VIV_API int viv_exec_resize(viv_op *op, int rows, int cols, viv_error *err);
/*
 * What the guest says of itself: {os, hostname, addresses, uptime_ms, cpus, …} as its agent knows
 * it. Options: timeout_ms, connect_ms. Errors as viv_vm_exec.
 */
VIV_API int viv_vm_guest_info(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                              viv_error *err);

/*
 * Copies a file or a tree of this host into the guest: modes, times, holes, links. Where to is a
 * directory it gets the name it has here, else it becomes to. Links are copied as links; a device
 * or socket is left out. What is replaced is replaced at once, so nobody there sees half a file.
 *
 * Options: fd, a descriptor that is read to its end instead of from (NULL then): to is a file;
 * mkdir, makes missing parents of to; follow, copies what a link from means; timeout_ms,
 * connect_ms.
 *
 * Result: {"entries", "bytes", "skipped", "first_skipped"}. Errors: as viv_vm_exec; NOT_FOUND,
 * DENIED, EXISTS, IO from the file system of either side, with the path.
 */
VIV_API int viv_vm_copy_to(viv_vm *m, const char *from, const char *to, const viv_opts *o,
                           viv_op **ret_op, viv_rec **ret_result, viv_error *err);
/*
 * The same out of the guest. What the guest sends stays below to, whatever it says: no name of it
 * is a path, and no link is followed. Options: fd, a descriptor that is written instead of to (NULL
 * then), from is a file; timeout_ms, connect_ms.
 */
VIV_API int viv_vm_copy_from(viv_vm *m, const char *from, const char *to, const viv_opts *o,
                             viv_op **ret_op, viv_rec **ret_result, viv_error *err);

/* ---- console and logs -------------------------------------------------------------------- */

#define VIV_CONSOLE_STEAL    1u /* take the writer's place */
#define VIV_CONSOLE_READONLY 2u
/*
 * A stream socket: reads are the guest's output from now on, writes go to the guest. End of file
 * when the VM ends or the monitor is replaced: call again. ret_writer (may be NULL): 1 this is the
 * writer, 0 read-only, because another one writes.
 */
VIV_API int viv_vm_console(viv_vm *m, uint64_t flags, int *ret_fd, int *ret_writer, viv_error *err);

/*
 * Logs. which: "serial", "vmm", "monitor", "times". A read-only descriptor of the log file (offsets
 * are true for ever; a bounded log has a hole at its head), and the offset where kept data starts
 * (may be NULL).
 *
 * "times" tells when the serial log grew, in records of 16 bytes, little endian: u64 size, i64 ms
 * since 1970 UTC. Sizes rise; the first record with a size above an offset tells when the byte
 * there was seen (0: not known). While no monitor lives nobody looks: that part counts as seen by
 * the next one. NOT_FOUND: nothing is known.
 */
VIV_API int viv_vm_log_open(viv_vm *m, const char *which, int *ret_fd, uint64_t *ret_start,
                            viv_error *err);
/*
 * Where boot begins and ends in the serial log. boot: 0 = the first of this run, −1 = the last, −2
 * the one before …, else its number. *ret_to is UINT64_MAX for the last one.
 */
VIV_API int viv_vm_log_boot(viv_vm *m, int64_t boot, uint64_t *ret_from, uint64_t *ret_to,
                            viv_error *err);
/*
 * Blocks until the serial log is longer than offset (1), the VM has ended and nothing more will
 * come (0), or timeout (−VIV_E_TIMEOUT; −1 = none).
 */
VIV_API int viv_vm_log_wait(viv_vm *m, uint64_t offset, int64_t timeout_ms, viv_error *err);

/* ---- operations -------------------------------------------------------------------------- */

VIV_API int viv_op_done(const viv_op *op); /* 1 finished */
/*
 * Blocks until it is finished (−1: without limit) and tells its outcome, as often as it is asked.
 * TIMEOUT, CANCELLED (viv_wake): the operation goes on; viv_op_done tells such a TIMEOUT from the
 * operation's own.
 */
VIV_API int viv_op_wait(viv_op *op, int64_t timeout_ms, viv_rec **ret_result, viv_error *err);
/* NOT_FOUND: it tells none. */
VIV_API int viv_op_progress(viv_op *op, uint64_t *ret_done, uint64_t *ret_total);
/*
 * The last thing that was told besides the outcome: at a ready TIMEOUT
 * {"serial_tail":[…],"step":…}. NOT_FOUND: nothing.
 */
VIV_API int viv_op_note(const viv_op *op, viv_rec **ret, viv_error *err);
/* Ends the waiting, not what the monitor does: the operation is finished with CANCELLED. */
VIV_API int viv_op_cancel(viv_op *op, viv_error *err);
VIV_API void viv_op_free(viv_op *op); /* NULL ok; an operation in flight goes on unobserved */

/* An unknown key or another type is INVALID here; a key that a verb does not have, there. */
VIV_API int viv_opts_new(viv_opts **ret, viv_error *err);
VIV_API int viv_opts_set_str(viv_opts *o, const char *key, const char *value, viv_error *err);
VIV_API int viv_opts_set_i64(viv_opts *o, const char *key, int64_t value, viv_error *err);
VIV_API int viv_opts_set_bool(viv_opts *o, const char *key, int value, viv_error *err);
VIV_API void viv_opts_free(viv_opts *o);

/* ---- records ----------------------------------------------------------------------------- */

/*
 * By path: "ready.proof", "config.nets.n0.mac" (elements of lists by id or position); "" is the
 * whole. Strings are borrowed until viv_rec_free; NULL = absent or not a string.
 */
VIV_API const char *viv_rec_str(const viv_rec *r, const char *path);
/* Booleans are 0 and 1; NOT_FOUND, INVALID (other type). */
VIV_API int viv_rec_i64(const viv_rec *r, const char *path, int64_t *ret);
VIV_API int viv_rec_bool(const viv_rec *r, const char *path, int *ret);
VIV_API int viv_rec_is_null(const viv_rec *r, const char *path); /* 1: null or absent */
/* Compact JSON text; borrowed; NULL: out of memory. */
VIV_API const char *viv_rec_json(const viv_rec *r);
VIV_API void viv_rec_free(viv_rec *r);

VIV_API size_t viv_list_len(const viv_list *l);
VIV_API const viv_rec *viv_list_at(const viv_list *l, size_t i); /* borrowed; NULL past the end */
VIV_API void viv_list_free(viv_list *l);

#ifdef __cplusplus
}
#endif
#endif
