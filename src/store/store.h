/*
 * What monitor and manager share on disk: the state root, records, the events log, the journal. Versioned JSON; unknown fields are kept; a record of a newer
 * schema is read-only (−VIV_E_UNSUPPORTED "state.json: schema 2 is newer than this viv understands (1)").
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/lock.h"
#include "base/proc.h"
#include "base/random.h"
#include "model/model.h"

#define VIVI_SCHEMA 1

/* ---- root ---- */

struct vivi_root {
    char *path;    /* absolute */
    char *run;     /* absolute: where run/<uuid8>/ directories are ($VIV_RUN or path/run) */
    int fd;        /* directory */
    int vms_fd;    /* vms/ */
    bool readonly;
};
/* Default root by environment; see viv_open. */
int vivi_root_default(char **ret_path, viv_error *err);
/* create: makes it. Errors as viv_open. A missing root with readonly: fds are −1 and everything is empty. */
int vivi_root_open(const char *path, bool create, bool readonly, struct vivi_root *ret, viv_error *err);
void vivi_root_done(struct vivi_root *r);

/* ---- one VM's directory ---- */

struct vivi_vmdir {
    const struct vivi_root *root; /* borrowed */
    char name[64];
    char uuid[VIVI_UUID_SIZE];
    int fd;        /* vms/<name>/ */
    char *path;    /* absolute */
    char *run_dir; /* absolute run/<first 8 of uuid> */
};
void vivi_vmdir_done(struct vivi_vmdir *d);
/* NOT_FOUND "no such VM" + hint with the nearest name. Does not need readable records except state.json for the uuid (broken: uuid is ""). */
int vivi_vmdir_open(const struct vivi_root *r, const char *name, struct vivi_vmdir *ret, viv_error *err);
int vivi_vmdir_ensure_run(const struct vivi_vmdir *d, viv_error *err); /* mkdir run_dir 0700; path length checked */
/* Names in vms/, sorted, without temporaries. */
int vivi_vm_names(const struct vivi_root *r, char ***ret_names, size_t *ret_n, viv_error *err);
void vivi_names_free(char **names, size_t n);

struct vivi_state;
/* Creates atomically (temporary directory + rename without replace). config: completed document. EXISTS when the name is taken. */
int vivi_vm_create(const struct vivi_root *r, const json_t *config, const struct vivi_state *first, viv_error *err);
/*
 * Removes a VM that has no VMM. The caller holds its lock (lock_fd). Order: journal by renaming vms/<name> → vms/.rm-<uuid>, event "removed", tree, run directory.
 * A removal that was interrupted is finished by vivi_root_repair.
 */
int vivi_vm_remove(struct vivi_vmdir *d, int lock_fd, viv_error *err);
/* Finishes interrupted creates and removes (.new-*, .rm-*); called by every verb that changes something. Touches no VM. */
int vivi_root_repair(const struct vivi_root *r, viv_error *err);

/* ---- state.json: every column of ps, ≤ 1 KiB; written by the monitor while there is one, else under the lock ---- */

struct vivi_state {
    char name[64], uuid[VIVI_UUID_SIZE];
    enum viv_state state;
    bool ready;
    char ready_proof[16]; /* "marker", "agent", "tcp", "inherited" or "" */
    int64_t ready_at_ms;  /* wall; 0 = not */
    int64_t ready_after_ms; /* requested → ready; ps column READY */
    char ip[46];
    bool ip_reachable;    /* from this host; false for QEMU user networks */
    char reason[32];      /* vivi_reason_name or a driver's own word; "" = none */
    char reason_text[160];
    char rung[16];        /* how the last stop ended, or "" */
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
    uint64_t boot_offset;   /* size of serial.log where the current boot begins */
    uint64_t scan_offset;   /* the matcher's position; rescanning is harmless */
    uint64_t events_offset; /* driver event stream consumed so far */
    int64_t backoff_ms;     /* the next restart's delay */
    json_t *extra;          /* unknown fields, kept; owned; NULL = none */
};
void vivi_state_init(struct vivi_state *s);
void vivi_state_done(struct vivi_state *s);
int vivi_state_read(int vm_fd, struct vivi_state *ret, viv_error *err);
int vivi_state_write(int vm_fd, const struct vivi_state *s, enum vivi_durability how, viv_error *err);
json_t *vivi_state_to_json(const struct vivi_state *s); /* new reference */
/*
 * What is true now, without writing or adopting: a recorded VMM of another host boot → stopped(host-reboot); a VMM that is gone and nobody holds the lock →
 * failed(unobserved), or what exits.log tells. *ret_derived says that the result differs from the file.
 */
int vivi_state_read_truth(const struct vivi_vmdir *d, struct vivi_state *ret, bool *ret_derived, viv_error *err);

/* ---- running.json and config.json ---- */
int vivi_json_read(int vm_fd, const char *name, size_t max_bytes, json_t **ret, viv_error *err); /* PROTOCOL "config.json: line 1: …" */
int vivi_json_write(int vm_fd, const char *name, const json_t *doc, enum vivi_durability how, viv_error *err);

/* ---- exits.log (written by the keeper alone) ---- */
struct vivi_exit_rec {
    bool exited;          /* false: spawned, no exit recorded */
    int wstatus;          /* as waitpid's, when exited */
    bool status_known;    /* false: the keeper was not its parent ("exit … ?") */
    struct vivi_proc_id proc;
};
/* The last record of role in run ("vmm", 7). 1 found, 0 none. */
int vivi_exits_find(int vm_fd, const char *role, uint64_t run, struct vivi_exit_rec *ret, viv_error *err);

/* ---- ops.log: the journal of multi-step verbs ---- */
int vivi_journal_begin(int vm_fd, const char *op, const char *verb, enum vivi_durability how, viv_error *err);
int vivi_journal_step(int vm_fd, const char *op, const char *step, viv_error *err);
int vivi_journal_end(int vm_fd, const char *op, int code, viv_error *err);
struct vivi_journal_open { char op[40], verb[24], step[40]; };
int vivi_journal_unfinished(int vm_fd, struct vivi_journal_open *ret, viv_error *err); /* 1 found, 0 none */

/* ---- events.log at the root: one JSON object per line, one root-wide sequence ---- */
/* Appends under events.lock: gives it seq and time, writes with one write(2). body: an object with at least vm, uuid, run, boot, type; consumed? no: borrowed. Bounded to 8 MiB by punching. */
int vivi_event_append(const struct vivi_root *r, json_t *body, uint64_t *ret_seq, viv_error *err);
json_t *vivi_event_new(const struct vivi_state *s, const char *type); /* vm, uuid, run, boot, type filled */
/* Reading: a cursor over the file. */
struct vivi_events {
    int fd;
    uint64_t offset, last_seq;
    struct vivi_buf buf;
};
int vivi_events_open(const struct vivi_root *r, uint64_t after_seq /* UINT64_MAX = only new ones */, struct vivi_events *ret, viv_error *err);
int vivi_events_next(struct vivi_events *e, json_t **ret, viv_error *err); /* 1, 0 none now; a gap in seq yields one {"type":"lost","count":n} first */
void vivi_events_done(struct vivi_events *e);
