/*
 * The brain of one VM: what all files of this folder share. One thread, one loop; everything hangs
 * on struct vivi_monitor, which lives as long as the process.
 *
 * Who calls whom: keeper_client and serve call in from the loop; life.c knows the VMM's life and
 * calls ops.c when something that was asked for has come true; ops.c and verbs.c begin things;
 * waits.c answers clients; record.c writes. Nothing below calls main.c but by env.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/proc.h"
#include "driver/driver.h"
#include "driver/loop.h"
#include "driver/machine.h"
#include "model/config.h"
#include "model/model.h"
#include "monitor/agent.h"
#include "monitor/apply.h"
#include "monitor/calls.h"
#include "monitor/change.h"
#include "monitor/clock_sync.h"
#include "monitor/console.h"
#include "monitor/fdtable.h"
#include "monitor/keeper_client.h"
#include "monitor/nics.h"
#include "monitor/ready.h"
#include "monitor/ready_port.h"
#include "monitor/uses.h"
#include "monitor/reason.h"
#include "monitor/request.h"
#include "monitor/stop.h"
#include "monitor/streams.h"
#include "monitor/timeline.h"
#include "store/store.h"

#define VIVI_START_DEADLINE_MS 30000
#define VIVI_VERB_DEADLINE_MS  10000 /* pause, resume, hard reboot */
#define VIVI_ADOPT_DEADLINE_MS 10000 /* a silent VMM is busy: adopted as recorded after this */
#define VIVI_ADOPT_SERVE_MS    30    /* reading clients wait no longer for an adoption */
#define VIVI_START_SETTLE_MS   250   /* a VMM that hung up may still tell its exit code */
#define VIVI_START_LATE_MS     20    /* after the deadline, for the VMM's end to be in the answer */
#define VIVI_IDLE_MS           2000
#define VIVI_SOON_MS           5
#define VIVI_URL_SIZE          200
#define VIVI_OPS_KEPT          16
#define VIVI_BOOTS_KEPT        64
#define VIVI_EMULATED_FACTOR   3 /* ready deadlines of emulated guests */

struct vivi_monitor;
struct vivi_client;
struct vivi_waiter;
struct vivi_server;
struct vivi_agent;

/* What surrounds a monitor; tests give their own. */
struct vivi_monitor_env {
    const struct vivi_driver *(*driver)(enum vivi_driver_kind k);
    const struct vivi_driver_effects *(*effects)(enum vivi_driver_kind k);
    int (*facts)(const struct vivi_config *c, const struct vivi_driver *d, const char *cache_dir,
                 struct vivi_facts *ret, viv_error *err);
    /* The keeper is gone: does not return if it can be executed in place. */
    void (*take_over)(struct vivi_monitor *m);
    /* The loop is to end. */
    void (*end)(struct vivi_monitor *m);
    /* Memory that is free is given back to the system (after a start). */
    void (*trim)(void);
};

/* Where the VMM of this run stands, finer than the state that people see. */
enum vivi_stage {
    VIVI_STAGE_NONE,     /* no VMM */
    VIVI_STAGE_SPAWNING, /* the keeper was asked */
    VIVI_STAGE_STARTING, /* it lives; the driver makes it run */
    VIVI_STAGE_ADOPTING, /* it lives; the driver finds out how it is */
    VIVI_STAGE_UP
};

/* Driver operations in flight, one of each kind; the number in dop[] is the driver's op id. */
enum vivi_dop {
    VIVI_DOP_START,
    VIVI_DOP_ADOPT,
    VIVI_DOP_PAUSE,
    VIVI_DOP_RESUME,
    VIVI_DOP_RESET,
    VIVI_DOP_BUTTON,
    VIVI_DOP_QUIT,
    VIVI_DOP_LADDER_RESUME,
    VIVI_DOP_AGENT,
    VIVI_DOP_SNAPSHOT,
    VIVI_DOP_COUNTERS,
    VIVI_DOP_MIGRATE,
    VIVI_DOP_COUNT_
};

/* The verb in flight that changes something: at most one. */
struct vivi_op {
    enum vivi_verb verb; /* NONE: nothing in flight */
    char id[VIVI_OP_ID_SIZE];
    bool journalled;
    bool starting_again; /* a reboot's second half, or a start that a former monitor had begun */
    bool hard;
    char step[40]; /* taken from the journal: how far a former monitor got */
    struct vivi_timer *deadline;
    int64_t timeout_ms; /* of the deadline, for the message */
    json_t *more;       /* owned; what the answer says beyond vivi_result, NULL: nothing */
};

/* What became of an operation, kept so that asking again gets the same answer. */
struct vivi_op_result {
    char id[VIVI_OP_ID_SIZE];
    enum vivi_verb verb;
    bool changed;
    json_t *error; /* owned; NULL: it worked */
    json_t *more;  /* owned; beyond vivi_result, or NULL */
};

/* One start about to be made: everything that can be refused is known. */
struct vivi_launch {
    struct vivi_config config;
    json_t *doc;
    const struct vivi_driver *driver;
    const struct vivi_driver_effects *fx;
    struct vivi_probe probe;
    struct vivi_plan plan;
    char nonce[17];
    char snapshot[64]; /* a restore: of this snapshot; "" = a boot */
    char ip[46];       /* a restore: the guest was ready with this address; "" = it was not */
};
void vivi_launch_done(struct vivi_launch *l);
#define cleanup_launch VIVI_CLEANUP(vivi_launch_done)

/* A snapshot that is being made. */
struct vivi_saving {
    char name[64]; /* "" = none */
    bool was_running, slow;
    viv_error err; /* why there will be none */
};

enum vivi_upgrade_phase {
    VIVI_UPGRADE_NONE,
    VIVI_UPGRADE_SAVE,
    VIVI_UPGRADE_SAVED,
    VIVI_UPGRADE_START,
    VIVI_UPGRADE_BACK
};

struct vivi_restoring;
struct vivi_copying;

struct vivi_monitor {
    const struct vivi_loop *loop;
    const struct vivi_monitor_env *env;
    void *env_ctx;
    struct vivi_root root;
    struct vivi_vmdir dir;
    char *cache_dir;
    struct vivi_fd_table fds; /* what the keeper holds, with our duplicates */
    struct vivi_keeper_client keeper;
    struct vivi_server *server;
    struct vivi_host_now now; /* host boot id and pid namespace of this process */

    /* records */
    struct vivi_state st;
    json_t *running;               /* running.json of the last run, or NULL */
    bool state_dirty;              /* the last write failed */
    bool state_durable;            /* the next write must survive a power loss */
    char unended[VIVI_OP_ID_SIZE]; /* an operation whose end could not be journalled, "" = none */
    int unended_code;
    struct vivi_timer *record_retry, *record_soon;
    uint64_t record_retry_ms;
    unsigned state_writes; /* a counter */

    /* this run; zeroed between runs where it matters */
    enum vivi_stage stage;
    struct vivi_config config; /* of this run, or of the last one */
    bool config_valid;
    json_t *doc;              /* config.json as this run uses it */
    struct vivi_probe *probe; /* of this run's start; NULL after an adoption */
    char nonce[17];
    struct vivi_plan plan;       /* as spawned by this monitor; exe NULL after an adoption */
    struct vivi_machine machine; /* driver, fx and caps are set also between runs */
    struct vivi_driver_host host;
    int pidfd;
    struct vivi_timeline timeline;
    uint64_t boot_began_us;    /* monotonic: the request, or the last reset */
    uint64_t running_since_us; /* monotonic; 0: not yet */
    uint64_t spawn_req;
    enum vivi_cause cause;
    enum vivi_reason ending;
    char ending_text[VIVI_END_TEXT_MAX];
    viv_error start_error;
    struct vivi_timer *start_deadline, *settle, *adopt_deadline, *unobserved, *scan_more;
    uint64_t dop[VIVI_DOP_COUNT_], next_dop;
    struct vivi_ladder ladder;
    struct vivi_ladder_begin stop_after_spawn; /* a stop came while the keeper was spawning */
    enum viv_state vcpus;                      /* RUNNING or PAUSED, as the VMM said last */
    bool ran, had_vmm; /* the run that ended last: its vCPUs ran, it had a process */
    uint64_t ran_ms;   /* and how long it was running */
    struct vivi_streams streams;
    struct vivi_ready ready;
    struct vivi_ready_port ready_port;
    struct vivi_clock_sync clock_sync;
    struct vivi_uses uses;
    char ready_pending[46]; /* the marker came before the driver said "running" */
    struct vivi_consoles consoles;
    struct vivi_agent *agent; /* from the first run on */
    char *input_path;         /* owned; the FIFO for console input, NULL: none */
    bool foreground;
    bool spawn_known; /* adoption: a former monitor had heard that this run's VMM was spawned */
    bool restarted;   /* this run was started by the restart policy */

    /* what is asked for */
    struct vivi_op op;
    struct vivi_changes changes;
    struct vivi_calls calls;
    struct vivi_apply apply;
    struct vivi_op_result results[VIVI_OPS_KEPT];
    unsigned next_result;
    struct vivi_waiter *waiters;
    struct vivi_saving saving;
    struct vivi_restoring *restoring; /* owned; disks come before the start */
    struct vivi_copying *copying;     /* owned */
    enum vivi_upgrade_phase upgrade;
    viv_error upgrade_error;         /* why the old VMM goes on */
    struct vivi_timer *migrate_tell; /* the next note about a machine on its way */
    struct vivi_timer *migrate_late; /* it was handed over, and nothing more is heard */
    uint64_t migrate_since_ms;
    char migrate_doing[80];
    struct vivi_timer *incoming_wait; /* for somebody to come */
    bool incoming_listens;
    bool incoming_ran;     /* it has run here, whatever follows */
    char inherited_ip[46]; /* this run goes on from a ready guest */
    struct vivi_timer *restart;
    struct vivi_timer *idle, *serve_early;
    uint64_t adopted_since_us; /* when this process began: for adopted{gap_ms} */
    bool readonly;             /* a record of a newer schema: nothing is written or changed */
    bool serving;              /* adoption is over */
    bool removed;              /* the VM is gone: answer and end */
    bool quitting;
};

/* ---- life.c ---- */

/* For struct vivi_driver_host; ctx is the monitor. */
void vivi_life_event(void *ctx, const struct vivi_driver_event *e);
int vivi_life_drain(void *ctx, const char *name, uint64_t token, viv_error *err);
extern const struct vivi_keeper_events vivi_life_keeper;
/* Gives the machine to the driver again after a monitor's death; vivi_adopt_done follows. */
void vivi_life_adopt(struct vivi_monitor *m);
void vivi_life_adopted(struct vivi_monitor *m);
/* The VMM is gone: the driver only reads what it wrote last, which may say why. */
void vivi_life_hear(struct vivi_monitor *m);
/* The run has ended; status as the keeper told it. */
struct vivi_end_status {
    bool known;
    int wstatus;
};
void vivi_life_ended(struct vivi_monitor *m, const struct vivi_end_status *s);
/* A start that never got a VMM: state failed(spawn-failed) with err's text. */
void vivi_life_no_spawn(struct vivi_monitor *m, const viv_error *err);
void vivi_life_set_state(struct vivi_monitor *m, enum viv_state to, const char *reason);
/* proof: "marker", "agent", "inherited". */
void vivi_life_become_ready(struct vivi_monitor *m, const char *ip, const char *proof);
/* What the guest's agent says: it is ready; its address is another one. */
void vivi_life_agent_ready(struct vivi_monitor *m, const char *ip);
void vivi_life_agent_address(struct vivi_monitor *m, const char *ip);
void vivi_life_port_ready(struct vivi_monitor *m, const char *ip); /* ready_port.c */
uint64_t vivi_life_dop(struct vivi_monitor *m, enum vivi_dop kind);
void vivi_life_start_deadline(struct vivi_monitor *m, uint64_t after_ms);

/* ---- ladder.c ---- */

extern const struct vivi_ladder_ops vivi_ladder_rungs;
int vivi_life_signal(struct vivi_monitor *m, int sig); /* to the VMM; 0 also when it is gone */
struct vivi_stop_how {
    enum vivi_cause cause; /* STOP or KILL */
    uint64_t grace_ms;     /* 0 with may_kill: kill at once */
    bool may_kill;
};
/* Begins the ladder; one that is in flight goes on, or is shortened to its last rung. */
void vivi_life_stop(struct vivi_monitor *m, const struct vivi_stop_how *how);

/* ---- start.c, launch.c ---- */

/* All that can be refused: configuration, probe, check, plan. *ret_problems (may be NULL): all
 * problems as JSON when check found some. Nothing is changed. */
int vivi_start_prepare(struct vivi_monitor *m, struct vivi_launch *ret, json_t **ret_problems,
                       viv_error *err);
/* What a start begins with other than config.json. */
struct vivi_launch_from {
    const json_t *doc;
    const char *snapshot;     /* whose state is gone on with; NULL: that of one who comes */
    bool on_demand;           /* of a snapshot: as of struct vivi_plan_input */
    const char *incoming_url; /* where it is waited for; NULL: nobody comes */
    const char *incoming_tls; /* as of struct vivi_plan_input */
    const char *nonce;        /* of the guest that is in it */
    const char *vmm;          /* its program; NULL: as doc says */
};
int vivi_start_prepare_from(struct vivi_monitor *m, const struct vivi_launch_from *from,
                            struct vivi_launch *ret, json_t **ret_problems, viv_error *err);
struct vivi_start_how {
    uint64_t requested_us; /* CLOCK_MONOTONIC; 0: now */
    bool remove_when_ended, foreground, restarted;
    enum vivi_how how;
    int64_t timeout_ms; /* VIVI_NO_TIMEOUT: the default */
};
/* The configuration, driver and plan of the run that is about to begin become the monitor's. */
void vivi_start_install(struct vivi_monitor *m, struct vivi_launch *l_consume);
/* From here on it happens: state, records, ports, spawn. Failures become failed(spawn-failed). */
void vivi_start_commit(struct vivi_monitor *m, const struct vivi_start_how *how);
/* Without a client: the restart policy (restarted), the second half of a reboot, a start that a
 * former monitor had begun. The operation is there already. */
void vivi_start_again(struct vivi_monitor *m, bool restarted);
/* Makes the ports of the plan and asks the keeper to spawn. On failure nothing is spawned. */
int vivi_launch_apply(struct vivi_monitor *m, viv_error *err);
/* Entries for the logs of the plan, with their sizes now. */
int vivi_launch_streams(struct vivi_monitor *m, viv_error *err);
/* Gives up the descriptors that only the child needed. */
void vivi_launch_spawned(struct vivi_monitor *m);
void vivi_launch_times(struct vivi_monitor *m);
/* Removes what a run leaves in the run directory and in the keeper's table. */
void vivi_launch_clean(struct vivi_monitor *m);

/* ---- record.c ---- */

void vivi_record_state(struct vivi_monitor *m); /* state.json; failure is kept, told, retried */
/* The same within VIVI_SOON_MS, unless it is recorded for another reason before. */
void vivi_record_state_soon(struct vivi_monitor *m);
void vivi_record_op_end(struct vivi_monitor *m, const char *op, int code); /* as state.json */
void vivi_record_running(struct vivi_monitor *m); /* running.json with the current timeline */
void vivi_record_role(struct vivi_monitor *m);    /* the same, if the VMM has another role now */
void vivi_record_event(struct vivi_monitor *m, const char *type, json_t *more_consume);
void vivi_record_lost(struct vivi_monitor *m, const char *what, int sys_errno);
int vivi_record_running_new(struct vivi_monitor *m, viv_error *err);
const json_t *vivi_record_vmm(const struct vivi_monitor *m);         /* of running.json; borrowed */
void vivi_record_ports(struct vivi_monitor *m, const json_t *ports); /* forwards, as they are */
void vivi_record_boot(struct vivi_monitor *m); /* adds the current boot to running.json */
bool vivi_emulated(const struct vivi_monitor *m);
json_t *vivi_result(const struct vivi_monitor *m,
                    bool changed); /* of every verb; NULL: no memory */
/* The same with the members of more (may be NULL) on top. */
json_t *vivi_result_with(const struct vivi_monitor *m, bool changed, const json_t *more);

/* ---- ops.c ---- */

/*
 * A verb that changes something. > 0: answered or waiting, < 0: refused. fds: of the request,
 * taken from it when used.
 */
int vivi_op_submit(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                   struct vivi_frame *f, viv_error *err);
void vivi_op_begin(struct vivi_monitor *m, enum vivi_verb verb, const char *id);
void vivi_op_step(struct vivi_monitor *m, const char *step);
/* err NULL or code 0: it worked. Answers everybody who waits for it. */
void vivi_op_end(struct vivi_monitor *m, const viv_error *err);
void vivi_op_stop_gave_up(struct vivi_monitor *m, enum vivi_ladder_phase at);
void vivi_op_reset_now(struct vivi_monitor *m);
void vivi_op_pause_now(struct vivi_monitor *m);

/* The operation in flight makes a VMM run: start, restore, the second half of a reboot. */
bool vivi_op_starts(const struct vivi_monitor *m);

/* How long a guest may take to shut down, by the configuration, in ms. */
int64_t vivi_stop_grace(const struct vivi_monitor *m);

/* ---- desired.c ---- */

/* SIGURG: ignored by default, also by VMMs, and no terminal sends it. */
#define VIVI_HOST_STOPS_SIGNAL SIGURG

/* what: VIVI_DESIRED_…; the next write of state.json is a durable one if that is news. */
void vivi_desire(struct vivi_monitor *m, const char *what);
void vivi_desire_now(struct vivi_monitor *m, const char *what); /* and writes it */
/* The host is going down: the guest is stopped in order, and is still desired. */
void vivi_op_host_stops(struct vivi_monitor *m);

/* ---- follow.c: what follows from what has happened ---- */

/* The run has ended: what that means for the operation in flight. cause: what we did to it. */
void vivi_op_run_ended(struct vivi_monitor *m, enum vivi_cause cause, const char *text);
/* The start in flight has missed its deadline: TIMEOUT. */
void vivi_op_start_late(struct vivi_monitor *m);
/* Takes the operation that a former monitor left unfinished as the one in flight. */
void vivi_op_load_journal(struct vivi_monitor *m);
/* Goes on with it, once it is known how the VM is. */
void vivi_op_resume(struct vivi_monitor *m);
void vivi_op_caller_gone(struct vivi_monitor *m);
void vivi_op_restart_schedule(struct vivi_monitor *m, enum vivi_reason reason);
void vivi_op_restart_arm(struct vivi_monitor *m, uint64_t delay_ms);
bool vivi_op_restart_cancel(struct vivi_monitor *m); /* true: one was planned */
void vivi_op_remove_now(struct vivi_monitor *m);
/* Everybody has been told of the end: --rm, the foreground's pipe. */
void vivi_op_after_end(struct vivi_monitor *m);

/* ---- waits.c ---- */

struct vivi_wait {
    struct vivi_client *client;
    uint64_t id;
    enum {
        VIVI_WAIT_OP,
        VIVI_WAIT_READY,
        VIVI_WAIT_EXIT,
        VIVI_WAIT_STATE,
        VIVI_WAIT_LOG,
        VIVI_WAIT_STATS
    } kind;
    bool changed;       /* what the answer will say */
    bool then_ready;    /* OP of a start: go on to READY */
    int64_t timeout_ms; /* VIVI_NO_TIMEOUT: none */
    uint64_t began_ms;  /* loop clock: when the request came */
    enum viv_state state;
    uint64_t offset;
};
int vivi_wait_add(struct vivi_monitor *m, const struct vivi_wait *w, viv_error *err);
/* Answers whoever waits for what is true now. */
void vivi_waits_check(struct vivi_monitor *m);
void vivi_waits_log(struct vivi_monitor *m);
/* The operation is over; err NULL: it worked, and more (or NULL) is added to the answer. */
void vivi_waits_op(struct vivi_monitor *m, const json_t *more, const viv_error *err);
/* A note for everybody who waits for the operation in flight. */
void vivi_waits_note(struct vivi_monitor *m, json_t *note_consume);
/* Answers everybody who waits for counters: by result (borrowed), else by err. */
void vivi_waits_stats(struct vivi_monitor *m, json_t *result, const viv_error *err);
void vivi_waits_forget(struct vivi_monitor *m, const struct vivi_client *c);
size_t vivi_waits_of(const struct vivi_monitor *m, const struct vivi_client *c);
/* wait_ready's deadline for this VM: the request's, else the configuration's. */
int64_t vivi_ready_timeout(const struct vivi_monitor *m, const struct vivi_request *q);

/* ---- serve.c ---- */

int vivi_serve_open(struct vivi_monitor *m, int listener_fd, viv_error *err);
void vivi_serve_close(struct vivi_monitor *m);
/* Adoption has got far enough: clients are read. */
void vivi_serve_begin(struct vivi_monitor *m);
/* Adoption is over: requests that had to wait for it go on. */
void vivi_serve_adopted(struct vivi_monitor *m);
size_t vivi_serve_clients(const struct vivi_monitor *m);
/* Result, error or note of request id. result is consumed; NULL counts as out of memory. None of
 * these ever frees the client: a broken one is collected from the loop. */
void vivi_serve_result(struct vivi_client *c, uint64_t id, json_t *result_consume);
void vivi_serve_result_fd(struct vivi_client *c, uint64_t id, json_t *result_consume,
                          int fd_consume);
void vivi_serve_error(struct vivi_client *c, uint64_t id, const viv_error *err);
/* As above with "problems" beside the error. */
void vivi_serve_problems(struct vivi_client *c, uint64_t id, const viv_error *err,
                         json_t *problems_consume);
void vivi_serve_note(struct vivi_client *c, uint64_t id, json_t *note_consume);

/* ---- verbs.c ---- */

/* 0 answered or waiting; < 0: err is the answer. f: the request's frame, for its descriptors. */
int vivi_verb_run(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                  struct vivi_frame *f, viv_error *err);
/* True: this request has to wait until adoption is over. */
bool vivi_verb_must_wait(const struct vivi_monitor *m, const struct vivi_request *q);

/* ---- stats.c ---- */

/* Everybody who asks while the VMM counts gets the same answer. As vivi_verb_run. */
int vivi_stats_ask(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                   viv_error *err);
/* The driver has counted (value as of its slot), or could not. */
void vivi_stats_counted(struct vivi_monitor *m, const json_t *value, const viv_error *err);

/* ---- adopt.c ---- */

/* Reads the records and decides what this monitor is for; vivi_adopt_done follows, at once or from
 * the loop. < 0: nothing can be decided. */
int vivi_adopt(struct vivi_monitor *m, viv_error *err);
void vivi_adopt_done(struct vivi_monitor *m); /* the driver has answered, or the deadline passed */

/* ---- idle.c ---- */

/* Nothing to do, nobody there: starts or stops the clock after which this process ends. */
void vivi_idle_check(struct vivi_monitor *m);

/* ---- monitor.c ---- */

struct vivi_monitor_setup {
    const struct vivi_loop *loop;
    const struct vivi_monitor_env *env;
    void *env_ctx;
    const char *vm_dir, *run_dir; /* absolute */
    const char *cache_dir;        /* absolute, or NULL */
    struct vivi_fd_table fds;     /* consumed, also on failure */
};
/* NOT_FOUND: the VM is gone (its removal is finished); the keeper was told to end. */
int vivi_monitor_open(struct vivi_monitor *m, const struct vivi_monitor_setup *s, viv_error *err);
void vivi_monitor_close(struct vivi_monitor *m);

/* ---- helpers ---- */

/* Arms a one-shot timer in a field; one that was armed is replaced. */
struct vivi_arm {
    const char *name;
    uint64_t after_ms;
    void (*cb)(void *m);
};
void vivi_arm(struct vivi_monitor *m, struct vivi_timer **field, const struct vivi_arm *a);
void vivi_disarm(struct vivi_monitor *m, struct vivi_timer **field);
/* "120", "0.5": milliseconds as seconds for messages. */
const char *vivi_seconds(int64_t ms, char ret[24]);
