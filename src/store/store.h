/*
 * What monitor and manager share on disk: the state root, records, the events log, the journal.
 *
 * Records are versioned JSON. Unknown fields are kept. A record of a newer schema can be read as
 * far as it is understood and is never written: −VIV_E_UNSUPPORTED "state.json: schema 2 is newer
 * than this viv understands (1)". On disk every record has "schema"; documents in memory do not.
 *
 * Thread: nothing is shared between calls; one thread per root and what is made from it.
 */
#pragma once

#include <dirent.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/lock.h"
#include "base/proc.h"
#include "base/random.h"
#include "model/model.h"

#define VIVI_SCHEMA             1
#define VIVI_STATE_MAX_BYTES    1024u      /* of state.json, without unknown fields */
#define VIVI_DOCUMENT_MAX_BYTES (4u << 20) /* of config.json and running.json */
#define VIVI_LOCK_FILE          "lock"     /* its content is the VM's uuid */
#define VIVI_STATE_FILE         "state.json"
#define VIVI_CONFIG_FILE        "config.json"
#define VIVI_HOTPLUG_DIR        "hotplug" /* what lies here, a locked-in VMM may open later */
#define VIVI_RUNNING_FILE       "running.json"
#define VIVI_CHANGE_FILE        "change.json" /* the last change asked of a monitor, see apply.c */

void vivi_json_decref_ptr(json_t **j);
#define cleanup_json VIVI_CLEANUP(vivi_json_decref_ptr)

/* A JSON string of s, bytes that are not UTF-8 replaced by '?'; NULL s → null. NULL: no memory. */
json_t *vivi_json_str(const char *s);
/* As above, "" → null too. */
json_t *vivi_json_str_or_null(const char *s);

/* The string at key of an object, borrowed; "" without one. */
const char *vivi_json_text(const json_t *j, const char *key);

/* Whether a text could not be parsed for want of memory. */
bool vivi_json_lacked_memory(const json_error_t *e);

/* ---- root ---- */

struct vivi_root {
    char *path; /* absolute */
    char *run;  /* absolute: where run/<uuid8>/ directories are ($VIV_RUN or path/run) */
    int fd;     /* directory; −1: the root is missing (readonly) */
    int vms_fd; /* vms/; −1: missing (readonly) */
    bool readonly;
};

/* $VIV_HOME, else the usual one of this user; see viv_open. The caller frees. */
int vivi_root_default(char **ret_path, viv_error *err);
int vivi_root_usual(char **ret_path, viv_error *err);
/*
 * Where results of running VMM binaries and images are kept: not in a root, which a reader may not
 * write. The caller frees; NULL: none can be named, or out of memory.
 */
char *vivi_cache_dir(void);

/*
 * create: makes it (0700). readonly: nothing is made, and a missing root is an empty one.
 * Errors: DENIED another owner, or not writable; INVALID socket paths below it would not fit;
 * NOT_FOUND missing; IO.
 */
int vivi_root_open(const char *path, bool create, bool readonly, struct vivi_root *ret,
                   viv_error *err);
void vivi_root_done(struct vivi_root *r);
#define VIVI_ROOT_EMPTY {.fd = -1, .vms_fd = -1}
#define cleanup_root    VIVI_CLEANUP(vivi_root_done)

/* ---- one VM's directory ---- */

struct vivi_vmdir {
    const struct vivi_root *root; /* borrowed */
    char name[64];
    char uuid[VIVI_UUID_SIZE];
    int fd;        /* vms/<name>/ */
    char *path;    /* absolute */
    char *run_dir; /* absolute run/<first 8 of uuid>; NULL while uuid is "" */
};
#define VIVI_VMDIR_EMPTY {.fd = -1}
void vivi_vmdir_done(struct vivi_vmdir *d);
#define cleanup_vmdir VIVI_CLEANUP(vivi_vmdir_done)

/*
 * NOT_FOUND "no such VM" + hint with the nearest name. Does not need readable records: the uuid
 * comes from state.json, else from the lock file's content, else it is "".
 */
int vivi_vmdir_open(const struct vivi_root *r, const char *name, struct vivi_vmdir *ret,
                    viv_error *err);
/* 1 while vms/<name> still is the directory that was opened, 0 after rm (and create) of that name.
 */
int vivi_vmdir_is_current(const struct vivi_vmdir *d, viv_error *err);
/*
 * Makes run_dir (0700) and claims it: a directory of another VM whose uuid begins alike is EXISTS.
 * INVALID when the socket's path would not fit.
 */
int vivi_vmdir_ensure_run(const struct vivi_vmdir *d, viv_error *err);
/* vms/ at a position of its own; the caller closes it. */
int vivi_vms_open(const struct vivi_root *r, DIR **ret, viv_error *err);
/* Names in vms/, sorted, without temporaries. */
int vivi_vm_names(const struct vivi_root *r, char ***ret_names, size_t *ret_n, viv_error *err);
void vivi_names_free(char **names, size_t n);
/* uuid of a VM's directory as above, "" unknown. Never fails. */
void vivi_vm_uuid_of(int vm_fd, char ret_uuid[VIVI_UUID_SIZE]);

struct vivi_state;
/*
 * Creates atomically (temporary directory + rename without replace); durable. config: completed
 * document. EXISTS when the name is taken. The event "created" is appended.
 */
int vivi_vm_create(const struct vivi_root *r, const json_t *config, const struct vivi_state *first,
                   viv_error *err);
/* The same of a VM that is to come by a migration: see moving.h. log_room: bytes for what it said
 * before, see serial.h; 0: none. */
int vivi_vm_create_coming(const struct vivi_root *r, const json_t *config,
                          const struct vivi_state *first, uint64_t log_room, viv_error *err);
/*
 * Removes a VM that has no VMM. The caller holds its lock (lock_fd, borrowed). Order: vms/<name> is
 * renamed to vms/.rm-<uuid>, event "removed", tree, run directory. From the rename on the VM is
 * gone; what a SIGKILL leaves is finished by vivi_root_repair. NOT_FOUND: it is gone already.
 */
int vivi_vm_remove(struct vivi_vmdir *d, int lock_fd, viv_error *err);
/*
 * Finishes interrupted creates and removes (.new-*, .rm-*); called by every verb that changes
 * something. Touches no VM.
 */
int vivi_root_repair(const struct vivi_root *r, viv_error *err);
/* Finishes the interrupted removal of the VM whose lock we were handed by its remover's keeper. */
int vivi_vm_remove_rest(const struct vivi_root *r, int lock_fd, viv_error *err);

/* ---- state.json: every column of ps; written by the monitor while there is one, else under the
 * lock */

#define VIVI_DESIRED_RUNNING "running"
#define VIVI_DESIRED_STOPPED "stopped"

struct vivi_state {
    char name[64], uuid[VIVI_UUID_SIZE];
    enum viv_state state;
    bool ready;
    char ready_proof[16];   /* "marker", "agent", "tcp", "inherited" or "" */
    int64_t ready_at_ms;    /* wall; 0 = not */
    int64_t ready_after_ms; /* requested → ready; ps column READY */
    char ip[46];
    bool ip_reachable;     /* from this host; false for QEMU user networks */
    char reason[32];       /* vivi_reason_name or a driver's own word; "" = none */
    char reason_text[160]; /* cut when state.json would grow beyond its limit */
    char rung[16];         /* how the last stop ended, or "" */
    char desired[8];       /* VIVI_DESIRED_…: what was asked for last; "" = nothing yet */
    uint64_t run, boot;
    char driver[24], accel[8];
    uint32_t cpus;
    uint64_t memory_bytes;
    int64_t created_at_ms, started_at_ms, ended_at_ms, next_start_at_ms; /* wall, 0 = never */
    uint32_t restarts;
    bool remove_when_ended;
    char host_boot_id[VIVI_BOOT_ID_SIZE];
    uint64_t pid_ns;
    struct vivi_proc_id keeper, monitor, vmm; /* pid 0 = none */
    uint64_t boot_offset;                     /* size of serial.log where the current boot begins */
    uint64_t scan_offset;                     /* the matcher's position; rescanning is harmless */
    uint64_t events_offset;                   /* driver event stream consumed so far */
    uint64_t reset_stamp;     /* of the run's last reset, where a driver tells one */
    int64_t backoff_ms;       /* the next restart's delay */
    char monitor_version[16]; /* filled when a monitor writes its own record */
    char config_stamp[48];    /* vivi_config_stamp of a config.json known to be good, or "" */
    uint32_t schema;          /* as read; > VIVI_SCHEMA: read-only */
    json_t *extra;            /* unknown fields, kept; owned; NULL = none */
};
void vivi_state_init(struct vivi_state *s);
void vivi_state_done(struct vivi_state *s);
#define cleanup_state VIVI_CLEANUP(vivi_state_done)

/* Errors: NOT_FOUND missing; PROTOCOL "state.json: line 1: …" or "state.json: boot: not a number".
 */
int vivi_state_read(int vm_fd, struct vivi_state *ret, viv_error *err);

/* For listing many: the text of a state.json that was read the quick way. */
struct vivi_state_text {
    char data[2048]; /* followed by no NUL; len is smaller than the array */
    size_t len;
    bool has_labels; /* among the unknown fields */
};
/*
 * Reads path (relative to dir_fd) if it is a state.json as this program writes it: 1 and *ret
 * without extra (unknown fields are in text). 0: vivi_state_read has to look at it.
 */
int vivi_state_read_quick(int dir_fd, const char *path, struct vivi_state_text *text,
                          struct vivi_state *ret);

/* UNSUPPORTED: the record that was read is of a newer schema. */
int vivi_state_write(int vm_fd, const struct vivi_state *s, enum vivi_durability how,
                     viv_error *err);
/* 0, or the UNSUPPORTED that vivi_state_write would answer. */
int vivi_state_writable(const struct vivi_state *s, viv_error *err);
json_t *vivi_state_to_json(const struct vivi_state *s); /* new reference, without "schema" */
/* A deep copy; ret need not be initialised. */
int vivi_state_copy(const struct vivi_state *s, struct vivi_state *ret, viv_error *err);

/* What derived truth needs to know about this host; gathered once for many VMs. */
struct vivi_host_now {
    char boot_id[VIVI_BOOT_ID_SIZE];
    uint64_t pid_ns;
};
int vivi_host_now(struct vivi_host_now *ret, viv_error *err);

/*
 * What is true now, without writing or adopting: a recorded VMM of another host boot →
 * stopped(host-reboot); a VMM that is gone while nobody holds the lock → what exits.log tells, else
 * failed(unobserved). *ret_derived (may be NULL) says that the result differs from the file.
 */
int vivi_state_read_truth(const struct vivi_vmdir *d, struct vivi_state *ret, bool *ret_derived,
                          viv_error *err);
/* The same for a state that was read already; vm_fd is its directory. 1 derived, 0 as recorded. */
int vivi_state_derive(int vm_fd, const struct vivi_host_now *now, struct vivi_state *s,
                      viv_error *err);

/*
 * For verbs that change something, the lock held: a state.json that cannot be read is renamed to
 * state.json.broken-<n> and a new one is made from config.json, the lock file and exits.log, so
 * that a VMM that still runs is found. 1 done, 0 state.json is fine.
 */
int vivi_state_repair(const struct vivi_vmdir *d, viv_error *err);

/*
 * Records what is desired (VIVI_DESIRED_…) of a VM that nobody runs; durable. Waits up to wait_ms
 * for whoever still holds its lock. Errors: BUSY it is held; NOT_FOUND removed meanwhile; those of
 * vivi_state_read and vivi_state_write.
 */
int vivi_vm_desire(const struct vivi_vmdir *d, const char *what, int wait_ms, viv_error *err);

/* ---- autostart.json: the unit by which the service manager starts this VM ---- */

#define VIVI_AUTOSTART_FILE "autostart.json"

struct vivi_autostart {
    char unit[1024]; /* absolute path of the unit's file */
    char link[1024]; /* of the symbolic link to it that enables it */
};
/* 1 and *ret; 0: there is none. PROTOCOL when the record is broken. */
int vivi_autostart_read(int vm_fd, struct vivi_autostart *ret, viv_error *err);
int vivi_autostart_write(int vm_fd, const struct vivi_autostart *a, viv_error *err);
/* Unit, link and record; 1, or 0 when there was no record. A unit that is not of this VM (any more)
 * stays. */
int vivi_autostart_remove(int vm_fd, const char *uuid, viv_error *err);
/* 1: the file carries the line UUID=uuid, 0: not. NOT_FOUND: no such file. */
int vivi_unit_is_of(const char *path, const char *uuid, viv_error *err);
/* Whether unit and link still are there. */
bool vivi_autostart_is_on(const struct vivi_autostart *a);

/* ---- running.json and config.json ---- */

/*
 * Errors: NOT_FOUND "config.json: missing"; PROTOCOL "config.json: line 1: …"; UNSUPPORTED a newer
 * schema. "schema" is taken out of the result.
 */
int vivi_json_read(int vm_fd, const char *name, size_t max_bytes, json_t **ret, viv_error *err);
/* As above, also of a newer schema: *ret_schema tells. For verbs that only read. */
int vivi_json_read_any(int vm_fd, const char *name, size_t max_bytes, json_t **ret,
                       unsigned *ret_schema, viv_error *err);
/* "schema" is added. */
int vivi_json_write(int vm_fd, const char *name, const json_t *doc, enum vivi_durability how,
                    viv_error *err);
/*
 * Size and time of a configuration (path relative to dir_fd) as text: equal stamps, equal file. ""
 * when it cannot be told.
 */
void vivi_config_stamp(int dir_fd, const char *path, char ret[48]);

/* Labels that are few stand in state.json, too, so that listing needs no second file. 0 or −1. */
int vivi_state_labels(struct vivi_state *s, const json_t *config);
/*
 * Replaces config.json, durably, and brings up to date what s repeats of it (labels, stamp); the
 * caller, who holds the VM's lock, writes s. On failure the old one is there as it was.
 */
int vivi_config_store(int vm_fd, const json_t *config, struct vivi_state *s, viv_error *err);

/* ---- exits.log (written by the keeper alone) ---- */

struct vivi_exit_rec {
    bool exited;       /* false: spawned, no exit recorded */
    int wstatus;       /* as waitpid's, when exited */
    bool status_known; /* false: the keeper was not its parent ("exit … ?") */
    struct vivi_proc_id proc;
    uint64_t run;
    char host_boot_id[VIVI_BOOT_ID_SIZE]; /* of the spawn */
    uint64_t pid_ns;
    int64_t spawned_at_ms, exited_at_ms; /* wall; 0 = not */
};
/* The last record of role in run ("vmm", 7). 1 found, 0 none. */
int vivi_exits_find(int vm_fd, const char *role, uint64_t run, struct vivi_exit_rec *ret,
                    viv_error *err);
/* The last record of role in any run. 1 found, 0 none. */
int vivi_exits_last(int vm_fd, const char *role, struct vivi_exit_rec *ret, viv_error *err);

/* ---- ops.log: the journal of multi-step verbs ---- */

/* op and verb: no spaces, at most 39 and 23 characters. Before the first effect of the verb. */
int vivi_journal_begin(int vm_fd, const char *op, const char *verb, enum vivi_durability how,
                       viv_error *err);
int vivi_journal_step(int vm_fd, const char *op, const char *step, viv_error *err);
/* code: 0, or a viv_code. */
int vivi_journal_end(int vm_fd, const char *op, int code, viv_error *err);

struct vivi_journal_open {
    char op[40], verb[24], step[40]; /* step "": none yet */
};
/* The last operation that began and did not end. 1 found, 0 none. */
int vivi_journal_unfinished(int vm_fd, struct vivi_journal_open *ret, viv_error *err);

struct vivi_journal_found {
    struct vivi_journal_open what;
    bool ended;
    int code; /* when ended */
};
/* What is recorded of op: for a client that lost its connection and asks again. 1 found, 0 none. */
int vivi_journal_find(int vm_fd, const char *op, struct vivi_journal_found *ret, viv_error *err);

/* ---- events.log at the root: one JSON object per line, one root-wide sequence ---- */

#define VIVI_EVENTS_KEPT_BYTES (8u << 20)
#define VIVI_EVENT_MAX_BYTES   (16u << 10)

/*
 * Appends under events.lock: gives it seq and time, writes with one write(2). body (borrowed): an
 * object with at least vm, uuid, run, boot, type. The head is punched so that about
 * VIVI_EVENTS_KEPT_BYTES stay; offsets stay true. ret_seq may be NULL.
 */
int vivi_event_append(const struct vivi_root *r, json_t *body, uint64_t *ret_seq, viv_error *err);
/* vm, uuid, run, boot, type filled; NULL: no memory. */
json_t *vivi_event_new(const struct vivi_state *s, const char *type);

#define VIVI_EVENTS_NEW UINT64_MAX /* after_seq: only events appended from now on */

/* A cursor over the file, which may be missing at first. */
struct vivi_events {
    const struct vivi_root *root; /* borrowed */
    int fd;                       /* −1: no events.log yet */
    uint64_t offset, last_seq;
    bool skip_line; /* the cursor stands inside a line whose head is gone */
    struct vivi_buf buf;
    json_t *held; /* an event that comes after the "lost" that was just told */
};
int vivi_events_open(const struct vivi_root *r, uint64_t after_seq, struct vivi_events *ret,
                     viv_error *err);
/* 1, 0 none now; a gap in seq yields one {"type":"lost","count":n} first. */
int vivi_events_next(struct vivi_events *e, json_t **ret, viv_error *err);
void vivi_events_done(struct vivi_events *e);
/* The last kept event of one VM and type: 1 and *ret (a new reference), 0 none. */
int vivi_event_last(const struct vivi_root *r, const char *uuid, const char *type, json_t **ret,
                    viv_error *err);
