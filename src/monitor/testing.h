/*
 * For tests of this folder: a monitor without processes around it. The loop's clock is the test's,
 * the keeper is played over a socket pair, the driver is a table of scripted effects, clients talk
 * over the real control socket. Only the VMM is a real process (it sleeps), because identity and
 * signals are the kernel's.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/fd.h"
#include "monitor/monitor.h"

#define RIG_UUID "11111111-2222-4333-8444-555555555555"

/* ---- a loop with a clock of its own ---- */

struct rig_loop {
    struct vivi_loop face;
    uint64_t now_ms;
    struct vivi_watch *watches;
    struct vivi_timer *timers;
    unsigned calls; /* callbacks run so far */
};
void rig_loop_init(struct rig_loop *l);
void rig_loop_done(struct rig_loop *l); /* fails the test when something is still registered */
/* Runs what is ready and due until nothing is. */
void rig_loop_settle(struct rig_loop *l);
/* Moves the clock, stopping at each timer on the way. */
void rig_loop_advance(struct rig_loop *l, uint64_t ms);
/* ms until the timer of that name, or −1. */
int64_t rig_loop_timer(const struct rig_loop *l, const char *name);
size_t rig_loop_timers(const struct rig_loop *l);

/* ---- a driver whose answers the test gives ---- */

enum rig_answer { RIG_AT_ONCE, RIG_NEVER, RIG_FAIL, RIG_REFUSE, RIG_HANG_UP };

struct rig_driver {
    const struct vivi_driver_host *host; /* of the machine that was begun last */
    uint64_t run;
    struct rig_loop *loop;
    enum rig_answer start, adopt, pause, resume, reset, button, quit, snapshot;
    unsigned starts, adopts, pauses, resumes, resets, buttons, quits, dones, snapshots;
    char saved_to[256];  /* by the last snapshot */
    enum vivi_how how;   /* of the last plan */
    const char *version; /* of its program, NULL: "" */
    uint64_t last_op;
    enum viv_state adopt_state; /* what adopt tells */
    uint64_t adopt_op;
    char input[4096]; /* what came by the events stream */
    size_t input_len;
    bool has_agent;  /* agent_connect gives a channel */
    int agent_fd;    /* the guest's end of the last one; the test's */
    unsigned agents; /* channels given */
    bool hot;        /* every kind of device and size can change while it runs */
    enum rig_answer add, remove, resize;
    unsigned changes; /* asked for */
    char asked[80];   /* the last: "add disk data", "resize cpus 4", "resize disk data 4096 cut" */
    uint64_t change_op; /* its operation */
    uint64_t drained_token, drained_size;
    enum rig_answer send; /* RIG_AT_ONCE makes no sense: its success is the VMM's end */
    unsigned sends, aborts;
    char sent_to[80];        /* the last: its url; "again": a former monitor has said it */
    bool abort_fails;        /* receive_abort finds nobody */
    const char *cannot_move; /* may_move says this, NULL: it may */
    const char *problem;     /* check finds this, NULL: nothing */
    enum vivi_accel accel;
};
extern const struct vivi_driver rig_driver_table;
extern const struct vivi_driver rig_hot_driver_table; /* of rig_driver.hot */
extern struct rig_driver rig_driver;                  /* one at a time; rig_open makes it anew */
void rig_tell(enum vivi_event_kind kind, uint64_t value, const char *text);
/* A reset of a VMM that does not stop for it. */
void rig_tell_reset(uint64_t stamp);
void rig_done(uint64_t op, const char *error);
void rig_done_with(uint64_t op, const viv_error *err);
/* A device has left the machine; how far a change is. */
void rig_tell_device(enum vivi_device_kind kind, const char *id);
void rig_tell_progress(uint64_t op, uint64_t done, uint64_t total);

/* ---- all of it ---- */

struct rig_client {
    int fd;
    struct vivi_frames in;
    uint64_t next_id;
    json_t *note; /* the last NOTE */
    int got_fd;   /* of the last reply */
};

struct rig {
    char dir[64], vm_dir[128], run_dir[160];
    struct vivi_root root;
    struct rig_loop loop;
    struct vivi_monitor *m; /* NULL: killed */
    /* the keeper */
    int keeper_fd, lock_fd, listener_fd;
    struct vivi_frames keeper_in;
    struct vivi_fd_table table;   /* what it holds */
    bool spawn_fails, hold_spawn; /* hold: SPAWN is granted by rig_spawned */
    uint64_t spawn_req, spawn_run;
    unsigned spawns, quits;
    char last_log[64]; /* file of the last LOG */
    /* the VMM */
    pid_t vmm; /* our child; 0: none */
    struct vivi_proc_id vmm_id;
    uint64_t vmm_run;
    bool ignores_term;
    bool exit_lost; /* nobody sees how it ends */
    bool took_over, ended;
    struct rig_client client;
    struct vivi_events events;
};

/* config: YAML lines after name and driver, or "". */
int rig_open(struct rig *r, const char *config);
/* With a machine of which everything can change. */
int rig_open_hot(struct rig *r, const char *config);
void rig_close(struct rig *r);
/* For the setup and the teardown of a test: the one rig there is becomes its state. */
int rig_open_as(void **state, const char *config);
int rig_open_plain(void **state);
int rig_close_state(void **state);
/* A new monitor on what is there, as a keeper would start it. */
void rig_boot(struct rig *r);
/* The monitor is gone as by SIGKILL: nothing of it is written any more. */
void rig_kill_monitor(struct rig *r);
/* The monitor is killed, and a new one goes on with what it left; the first client comes again. */
void rig_take_over(struct rig *r);
/* Everything that can happen now happens. */
void rig_settle(struct rig *r);
void rig_advance(struct rig *r, uint64_t ms);
/* Grants a held SPAWN. */
void rig_spawned(struct rig *r);
/* The VMM ends by itself; status as waitpid's is told by the keeper. */
void rig_vmm_exits(struct rig *r, int wstatus);
void rig_serial(struct rig *r, const char *text);
void rig_log(struct rig *r, const char *file, const char *text, const char *name);

void rig_connect(struct rig *r, struct rig_client *c);
void rig_disconnect(struct rig *r, struct rig_client *c);
/* Sends a request; args JSON text or NULL; op NULL: none. Returns its id. */
uint64_t rig_ask(struct rig *r, struct rig_client *c, const char *verb, const char *op,
                 const char *args);
/* The answer to id, new reference; NULL: none yet. {"error":…} or {"result":…}. */
json_t *rig_answer(struct rig *r, struct rig_client *c, uint64_t id);
/* Asks, settles and compares: "ok", or the error's code and message "BUSY: …". */
void rig_expect(struct rig *r, struct rig_client *c, uint64_t id, const char *want);
/* As above, for a result's member as text. */
void rig_expect_result(struct rig *r, struct rig_client *c, uint64_t id, const char *key,
                       const char *want);
bool rig_is_answered(struct rig *r, struct rig_client *c, uint64_t id);

/* "starting running ready" … of all events of these types since the last call. */
const char *rig_events(struct rig *r);
struct vivi_state rig_state(struct rig *r); /* state.json; extra is dropped */
/* By the rig's first client, up to the answer and what it says of the state. */
void rig_start(struct rig *r);
void rig_stop(struct rig *r);
