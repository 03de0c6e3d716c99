/*
 * libvivarium inside: what the files of this folder share. Nothing here is known to callers, who
 * hold opaque handles. One thread at a time per struct viv and everything made from it.
 *
 * Who calls whom: the API files (config_api, create, lookup, ls, info, logs, …) answer at once,
 * from files; verbs.c makes operations; op.c drives them over conn.c and keeper.c from
 * vivi_dispatch; pump.c turns an operation into a blocking call.
 */
#pragma once

#include <vivarium/vivarium.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "driver/driver.h"
#include "manager/given.h"
#include "manager/pollset.h"
#include "model/diff.h"
#include "store/control.h"
#include "store/store.h"

#define VIVI_NEVER           UINT64_MAX
#define VIVI_EVENT_PATHS_MAX 32 /* named in an event of changes */

struct vivi_filter {
    json_t *terms; /* [[key, value], …]; NULL: everything */
    bool labels;   /* asks for labels */
};

struct viv {
    struct vivi_root root;
    char *cache_dir; /* absolute; for probe results; NULL: none could be named */
    struct vivi_poll poll;
    struct viv_op *ops; /* in flight, and finished ones that are not freed yet */
    bool attention;     /* something finished outside of viv_dispatch: the fd must be readable */
    /* subscription */
    bool subscribed;
    struct vivi_events events;
    struct vivi_filter event_filter;
    json_t *event_labels; /* owned; uuid → labels, when the filter asks for them */
};

struct viv_vm {
    viv *v; /* borrowed */
    char name[64];
    char uuid[VIVI_UUID_SIZE]; /* "" for a broken VM whose uuid is lost */
    struct vivi_given given;   /* goes along with a start */
};

struct vivi_row;
struct vivi_job;

struct viv_rec {
    json_t *doc;          /* owned; NULL: still a row */
    struct vivi_row *row; /* owned; NULL: none */
    char *text;           /* of viv_rec_json, made on demand */
};

struct viv_list {
    viv_rec **items; /* owned */
    size_t n, cap;
};

struct viv_config {
    json_t *doc; /* canonical, only what was given */
    char *base_dir;
    char base[VIVI_DIGEST_SIZE]; /* of the VM's configuration that it was made from, or "" */
    bool of_run;                 /* of the one of its run */
    json_t *touched;             /* owned; paths set since; NULL: whatever waits is meant, too */
    struct vivi_given given;
};

/* ---- records (rec.c) ---- */

/* A record around doc, which is consumed also on failure (NULL doc: out of memory). */
int vivi_rec_new(json_t *doc_consume, viv_rec **ret, viv_error *err);
int vivi_list_new(viv_list **ret, viv_error *err);
int vivi_list_add(viv_list *l, json_t *doc_consume, viv_error *err);
int vivi_list_add_row(viv_list *l, struct vivi_row *row_consume, viv_error *err);
void vivi_list_free_ptr(viv_list **l);
#define cleanup_viv_list VIVI_CLEANUP(vivi_list_free_ptr)
/* Borrowed; NULL absent. "a.b.0": keys of objects, ids or positions in arrays; "" the whole. */
const json_t *vivi_json_at(const json_t *doc, const char *path);
/* Wall milliseconds as RFC 3339 text, 0 as null. */
json_t *vivi_time_json(int64_t wall_ms);

/* ---- ls.c: a listed VM before it is JSON ---- */

void vivi_row_free(struct vivi_row *r); /* NULL ok */
json_t *vivi_row_json(const struct vivi_row *r);
/* False: not one of the columns that a row knows by itself. *ret_code: as the public function's. */
bool vivi_row_str(const struct vivi_row *r, const char *path, const char **ret);
bool vivi_row_i64(const struct vivi_row *r, const char *path, int64_t *ret, int *ret_code);
bool vivi_row_bool(const struct vivi_row *r, const char *path, int *ret, int *ret_code);
bool vivi_row_null(const struct vivi_row *r, const char *path, int *ret);

/* ---- lookup.c ---- */

/* Opens the VM's directory and checks that it still is this VM: NOT_FOUND "no such VM" otherwise.
 */
int vivi_vm_dir(const viv_vm *m, struct vivi_vmdir *ret, viv_error *err);
int vivi_vm_new(viv *v, const struct vivi_vmdir *d, viv_vm **ret, viv_error *err);

/* ---- view.c: a VM as records show it ---- */

/* Paths that ls and info share: name, uuid, …, reason. Adds to doc. 0 or −1 (out of memory). */
int vivi_view_common(json_t *doc, const struct vivi_state *s);
json_t *vivi_view_proc(
    const struct vivi_proc_id *p); /* {pid,start_time}, or null when it is gone */

/* ---- filter.c: one language for VMs and events ---- */

enum vivi_filter_of { VIVI_FILTER_VMS, VIVI_FILTER_EVENTS };

/* "state=ready,labels.job=42": every term must hold; ",," is a comma of a value. INVALID names what
 * is no key, no state. */
int vivi_filter_parse(const char *text, enum vivi_filter_of of, struct vivi_filter *ret,
                      viv_error *err);
void vivi_filter_done(struct vivi_filter *f);
#define cleanup_filter VIVI_CLEANUP(vivi_filter_done)
bool vivi_filter_match(const struct vivi_filter *f, const struct vivi_state *s,
                       const json_t *labels);
/* labels: of the event's VM, NULL: not known. */
bool vivi_filter_match_event(const struct vivi_filter *f, const json_t *event,
                             const json_t *labels);
/* Whether it asks for VMs by name and name is none of them. */
bool vivi_filter_excludes(const struct vivi_filter *f, const char *name);

/* ---- resolve.c: from a configuration as given to one that can be created ---- */

struct vivi_resolved {
    json_t *doc;               /* completed; auto resolved as far as this host tells; owned */
    struct vivi_config config; /* decoded from it */
    const struct vivi_driver *driver;
    struct vivi_facts facts;
    struct vivi_problems problems; /* of check */
};
#define VIVI_RESOLVED_EMPTY {.doc = NULL}
void vivi_resolved_done(struct vivi_resolved *r);
#define cleanup_resolved VIVI_CLEANUP(vivi_resolved_done)
/*
 * Completes, resolves auto, gathers facts, checks. uuid: for MAC addresses. run: what the VM runs
 * with, whose share of the host counts as free for it; NULL: it does not run. Problems are no
 * failure; what cannot be completed at all (a device id used twice) is: INVALID.
 */
int vivi_resolve(viv *v, const json_t *doc, const char *uuid, const json_t *run,
                 struct vivi_resolved *ret, viv_error *err);
/* Fills what a completed document leaves to auto from the recorded one of an existing VM. */
int vivi_resolve_like(json_t *completed, const json_t *recorded, const char *uuid);

/* ---- create.c ---- */

/* The record of a VM that has not begun. 0 or −1 (out of memory). */
int vivi_first_state(const struct vivi_resolved *res, const char *uuid, struct vivi_state *s);

/* ---- apply.c ---- */

/* A configuration of a VM remembers what was set in it. */
void vivi_config_touch(viv_config *c, const char *path);

/* ---- helpers.c ---- */

/* Absolute path of one of our executables ("viv-keeper"). NOT_FOUND says where it was looked for.
 */
int vivi_helper_path(const char *name, char *ret, size_t size, viv_error *err);

/* ---- opts.c ---- */

/* LIST: set_str adds one more. */
enum vivi_opt_type { VIVI_OPT_STR, VIVI_OPT_I64, VIVI_OPT_BOOL, VIVI_OPT_LIST };
const char *vivi_opt_str(const viv_opts *o, const char *key, const char *def);
int64_t vivi_opt_i64(const viv_opts *o, const char *key, int64_t def);
bool vivi_opt_bool(const viv_opts *o, const char *key, bool def);
size_t vivi_opt_list_len(const viv_opts *o, const char *key);
const char *vivi_opt_list_at(const viv_opts *o, const char *key, size_t i); /* borrowed */
/* INVALID when o has a key that is not in allowed ("wait timeout_ms"). */
int vivi_opts_only(const viv_opts *o, const char *verb, const char *allowed, viv_error *err);

/* ---- op.c: a verb in flight ---- */

enum vivi_phase {
    VIVI_PH_CONNECT, /* about to, or waiting a moment before the next try */
    VIVI_PH_KEEPER,  /* a keeper was started, its status line is awaited */
    VIVI_PH_HELLO,   /* connected, the monitor's greeting is awaited */
    VIVI_PH_REPLY,   /* asked */
    VIVI_PH_DONE
};

/* What makes one verb different from another, for the machinery. */
struct vivi_request_of {
    const char *verb;
    json_t *args;         /* consumed also on failure */
    uint64_t timeout_us;  /* until TIMEOUT, from now; VIVI_NEVER: none */
    char late[160];       /* TIMEOUT's text */
    bool changes;         /* repairs the root first, and the record if need be */
    bool force;           /* kill: past whoever does not answer */
    bool gone_is_done;    /* remove: the VM vanished after we asked, so it worked */
    bool once;            /* a lost connection is its end: never asked a second time */
    struct vivi_job *job; /* consumed also on failure: goes on with the answer's descriptor; NULL */
    int send_fd;          /* goes with the request; −1: none; borrowed (duplicated) */
    struct vivi_given nics; /* go with it, too; consumed also on failure */
};

struct viv_op {
    struct viv_op *next;
    viv *v;
    char name[64], uuid[VIVI_UUID_SIZE], id[VIVI_UUID_SIZE];
    struct vivi_request_of what;
    int own_fd; /* our duplicate of send_fd */
    struct vivi_given nics;
    struct vivi_job *job; /* owned: what follows the monitor's answer; job.h */
    enum vivi_phase phase;
    bool asked;    /* the request was sent at least once */
    bool detached; /* freed by its owner: ends once the request is out */
    /* connection */
    int fd;
    struct vivi_source source;
    struct vivi_frames frames;
    struct vivi_buf out;
    bool request_queued; /* out holds the request: its first byte carries own_fd and nics */
    unsigned protocol;
    /* keeper */
    int status_fd;
    struct vivi_source status_source;
    char status[256];
    size_t status_len;
    unsigned keepers; /* started so far without a connection */
    /* times, monotonic µs; VIVI_NEVER: none */
    uint64_t begun_us, deadline_us, retry_us, force_us, pause_us;
    unsigned forced; /* how often */
    bool met;        /* a monitor has greeted */
    /* outcome */
    json_t *result;
    json_t *note; /* the last one */
    int result_fd;
    viv_error err;
};

/* Makes and begins an operation on m. */
int vivi_op_begin(const viv_vm *m, const struct vivi_request_of *what, viv_op **ret,
                  viv_error *err);
/* An operation that is over already. result is consumed. */
int vivi_op_finished(const viv_vm *m, json_t *result_consume, viv_op **ret, viv_error *err);
/* Does what is due. */
void vivi_op_due(struct viv_op *op, uint64_t now_us);
uint64_t vivi_op_next_us(const struct viv_op *op);
void vivi_op_end(struct viv_op *op, const viv_error *err); /* err NULL or code 0: result is set */
/* Closes everything and frees; the operation leaves v's list. */
void vivi_op_destroy(struct viv_op *op);
/* Frees what is over and belongs to nobody. */
void vivi_ops_sweep(viv *v);
/* v is closing: a detached operation is freed, any other one ends with CANCELLED. */
void vivi_op_orphan(struct viv_op *op);

/* ---- verbs.c ---- */

/* A time of config.json in ms; what cannot be read has its default. */
int64_t vivi_config_ms(const struct vivi_vmdir *d, const char *path, int64_t def);

/* ---- force.c ---- */

void vivi_op_force(struct viv_op *op); /* the next step of a forced kill */
void vivi_op_force_later(struct viv_op *op);

/* ---- conn.c ---- */

/* Opens the connection and greets. > 0 connected, 0 nobody listens (try again), < 0 hopeless. */
int vivi_conn_open(struct viv_op *op, const struct vivi_vmdir *d, viv_error *err);
void vivi_conn_close(struct viv_op *op);
/* A connection came to its end before the answer did. */
void vivi_op_lost(struct viv_op *op);
/* The monitor's answer. */
void vivi_op_replied(struct viv_op *op, json_t *result_consume, int fd_consume);

/* ---- keeper.c ---- */

#define VIVI_SCOPE_EXE    "viv-scope"
#define VIVI_SYSTEMD_RUNS "/run/systemd/system" /* is there exactly while systemd is process 1 */
/* Whether a detached VM gets a scope of its own here; ret: the helper's path. */
bool vivi_scope_wanted(char *ret, size_t size);
int vivi_keeper_start(struct viv_op *op, const struct vivi_vmdir *d, viv_error *err);
void vivi_keeper_forget(struct viv_op *op);
/* What a keeper said in its status line. */
enum vivi_keeper_word { VIVI_KEEPER_OK, VIVI_KEEPER_BUSY, VIVI_KEEPER_GONE, VIVI_KEEPER_FAILED };
void vivi_op_keeper_said(struct viv_op *op, enum vivi_keeper_word word, const viv_error *err);

/* ---- root.c, pump.c ---- */

/* Handles what is ready and due; 1 when viv_wake was called. */
int vivi_turn(viv *v, viv_error *err);

/* Turns the loop until op is done, deadline_us has passed (TIMEOUT) or viv_wake (CANCELLED). */
int vivi_pump(viv *v, const struct viv_op *op, uint64_t deadline_us, viv_error *err);
/* Arms the timer for the next thing that is due; also makes the fd readable for attention. */
void vivi_rearm(viv *v);
/* The same for a call that blocks itself: what is finished already need not wake it. */
void vivi_rearm_for(viv *v, uint64_t deadline_us);
/*
 * Ends a call that made op: hands it out (ret_op), or blocks and hands out its result and
 * descriptor. ret_op, ret_result, ret_fd may be NULL.
 */
int vivi_op_deliver(viv_op *op_consume, viv_op **ret_op, viv_rec **ret_result, int *ret_fd,
                    viv_error *err);
