/* One running Cloud Hypervisor, as the files of its effects share it. */
#pragma once

#include "driver/cloud_hypervisor/ch.h"
#include "driver/cloud_hypervisor/event.h"
#include "driver/cloud_hypervisor/http.h"

#define CH_AGENTS_MAX   4
#define CH_REMOVALS_MAX 32
#define CH_QUERIES_MAX  8
#define CH_RAWS_MAX     4 /* of the ten connections that the VMM takes */

enum ch_tag {
    CH_T_PING,
    CH_T_INFO,
    CH_T_CREATE,
    CH_T_NIC,
    CH_T_BOOT,
    CH_T_RESTORE,
    CH_T_SNAPSHOT,
    CH_T_NMI,
    CH_T_COREDUMP,
    CH_T_QUERY,
    CH_T_CHECK,
    CH_T_PAUSE,
    CH_T_RESUME,
    CH_T_BUTTON,
    CH_T_RESET,
    CH_T_QUIT,
    CH_T_ADD,
    CH_T_REMOVE,
    CH_T_REMOVE_INFO,
    CH_T_RESIZE,
    CH_T_RESIZE_INFO,
    CH_T_COUNTERS,
    CH_T_COUNTERS_INFO,
    CH_T_RECEIVE,
    CH_T_SEND,
    CH_T_MOVE_PROBE,
    CH_T_MOVE_INFO
};

enum ch_phase { CH_NOT_BEGUN, CH_OPENING, CH_RUNNING, CH_GONE };
enum ch_cause { CH_CAUSE_NONE, CH_CAUSE_OFF, CH_CAUSE_PANIC, CH_CAUSE_MOVED };

/* A stream to the guest's agent that is being opened. */
struct ch_agent {
    struct ch_machine *m;
    uint64_t op; /* 0 = free */
    int fd;
    struct vivi_watch *watch;
    char line[32];
    size_t len;
};

/* A device that somebody wants to leave. */
struct ch_removal {
    uint64_t op; /* 0 = free */
    char name[CH_ID_BYTES];
};

/* A change of one kind of size. */
struct ch_resize {
    struct ch_machine *m;
    enum vivi_resize_kind kind;
    uint64_t op, joined; /* 0 = none; joined: the one that it took over */
    uint64_t to, total;  /* total: all the memory there is, of a balloon, or shall be, of a zone */
    uint64_t left;       /* of memory: what a balloon shall leave of it; 0: there is none */
    uint64_t first;      /* of CPUs: what was asked for before and is seen to its end; 0 = none */
    uint64_t seen;       /* what the guest had when looked at last */
    char name[CH_ID_BYTES];
    bool asked; /* the VMM has it; the guest is waited for */
    struct vivi_timer *look;
    uint64_t pause_ms;
};

/* Somebody else's call, on a connection of its own. */
struct ch_raw {
    struct ch_machine *m;
    uint64_t op; /* 0 = free */
    char verb[CH_VERB_BYTES];
    struct ch_http http;
};

/* A machine that is sent, or waited for. */
struct ch_move {
    uint64_t op;              /* of a send; 0 = none */
    json_t *body;             /* owned; of a send that may have to be repeated */
    bool failed;              /* it has been told so */
    bool handed;              /* its state is on the way, or was */
    uint64_t drain;           /* the last events before a failure is told; 0 = not under way */
    unsigned tries;           /* refused so far, because nobody listens yet */
    bool incoming, listening; /* one is waited for; that was told */
    bool broke, whole;        /* the receiving failed; all of it is here */
    struct vivi_timer *look;
    char text[200]; /* what the VMM's log says about it */
};

struct ch_machine {
    const struct vivi_driver_host *host;
    const char *run_dir;
    uint64_t run;
    const json_t *requests; /* borrowed: what makes the machine */
    struct ch_http http;
    struct ch_version version; /* as vmm.ping says */
    enum ch_phase phase;
    bool cli;                         /* without an API: what is known comes from the events */
    struct vivi_proc_id vmm;          /* of cli */
    struct vivi_timer *later;         /* of cli: answers that need nobody */
    uint64_t queries[CH_QUERIES_MAX]; /* of cli */
    size_t n_queries;
    bool adopting;       /* else starting */
    uint64_t begin_op;   /* start or adopt, until it is done */
    enum viv_state told; /* adoption: what vm.info said; STOPPED: no VM */
    bool paused;
    bool ending, quitting;
    uint64_t token, drain_adopt, drain_reset; /* 0 = not under way */

    /* the event stream */
    bool booting, booted; /* a boot was begun; and succeeded */
    enum ch_cause cause;  /* not acted on yet: seen before the machine ran for us */
    bool held;            /* an event to be seen again stands at hold_at */
    size_t seen, hold_at; /* of the next input: handled already; first byte of the held event */
    uint64_t last_stamp;  /* of the last RESET told */
    char failure[400];    /* what the VMM itself complained about, which its exit code hides */
    bool last_words;      /* of its end follow in the log */
    bool told_off;        /* the end was told as a power-off of the guest */
    bool watchdog;        /* the next reset is the watchdog's */
    uint64_t reset_stamp, drain_log; /* a reset to be told when the log was read; 0 = none */
    char cut[CH_VERB_BYTES];         /* the raw call that ends the machine; "" = none was made */
    struct vivi_timer *settle;

    uint64_t reset_op;
    bool reset_answered, reset_seen;
    struct ch_agent agents[CH_AGENTS_MAX];
    struct ch_removal removals[CH_REMOVALS_MAX];
    struct ch_resize resizes[VIVI_RESIZE_COUNT_];
    struct ch_raw raws[CH_RAWS_MAX];
    struct ch_move move;
    size_t nics;      /* planned ones that the machine has already */
    bool reads_first; /* a restore on demand was refused: memory is read before it runs */
    uint64_t counters_op;
    json_t *counters; /* owned; half of the answer */
};

/* ---- telling the monitor ---- */
void ch_emit(struct ch_machine *m, struct vivi_driver_event e);
void ch_tell_done(struct ch_machine *m, uint64_t op, const viv_error *err);
/* What every way to begin borrows for the machine's life. */
void ch_attach(struct ch_machine *m, const struct vivi_machine_start *s);
void ch_tell_state(struct ch_machine *m, enum viv_state state);

/* ---- ch_effects.c ---- */
/* PUT verb without a body, answered by tag and op. */
int ch_ask(struct ch_machine *m, const char *verb, enum ch_tag tag, uint64_t op, viv_error *err);
/* vCPUs run, or stand still: start or adopt is done. */
void ch_runs_now(struct ch_machine *m, enum viv_state state);
void ch_drained(void *priv, uint64_t token, uint64_t log_size);
void ch_done(void *priv);
int ch_get(struct ch_machine *m, const char *verb, enum ch_tag tag, uint64_t op, viv_error *err);

/* ---- stream.c: events and complaints ---- */
size_t ch_input(void *priv, const char *name, const char *data, size_t len);
/* The machine runs for us: act on what was seen before. */
void ch_act_on_cause(struct ch_machine *m);
/* It runs elsewhere now. */
void ch_moved(struct ch_machine *m);
/* It will not run again: says why, then ends the process. */
void ch_finish(struct ch_machine *m, enum vivi_reason reason, const char *text);
/* The reset that was asked for has been answered; DONE follows once its event was seen. */
void ch_reset_answered(struct ch_machine *m);
void ch_reset_drained(struct ch_machine *m);
void ch_reset_logged(struct ch_machine *m);
void ch_stream_done(struct ch_machine *m);

/* What a line of the VMM's log says about an end or a reset to come. Pure. */
enum ch_complaint {
    CH_COMPLAINT_NONE,
    CH_COMPLAINT_FAILURE,
    CH_COMPLAINT_WATCHDOG,
    CH_COMPLAINT_MOVE /* why a migration failed */
};
/* ret_text: the message without time, thread and place; points into line. */
enum ch_complaint ch_complaint(const char *line, size_t len, const char **ret_text,
                               size_t *ret_text_len);

/* The body of vm.create that made the machine; NULL: it was restored. */
const json_t *ch_boot_body(const struct ch_machine *m);

/* ---- hot.c: devices and counters of a running machine ---- */
/* The VMM's id of a device of ours. */
void ch_device_name(enum vivi_device_kind kind, const char *id, char ret[CH_ID_BYTES]);
int ch_may_device(void *priv, enum vivi_device_kind kind, bool adding, viv_error *err);
int ch_device_add(void *priv, const struct vivi_device *d, uint64_t op, viv_error *err);
int ch_device_remove(void *priv, enum vivi_device_kind kind, const char *id, uint64_t op,
                     viv_error *err);
int ch_counters(void *priv, uint64_t op, viv_error *err);
void ch_add_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                  const viv_error *err);
void ch_remove_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                     const viv_error *err);
void ch_remove_info(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err);
void ch_counters_reply(struct ch_machine *m, const struct ch_answer *a, const viv_error *err);
void ch_counters_info(struct ch_machine *m, const struct ch_answer *a, const viv_error *err);
/* The event of that device; and of a reset, which makes the machine anew. */
void ch_device_left(struct ch_machine *m, const char *name);
void ch_hot_rebooted(struct ch_machine *m);
/* Nothing more will be heard of what is under way. */
void ch_hot_ended(struct ch_machine *m, const viv_error *why);
void ch_hot_done(struct ch_machine *m);

/* ---- sizes.c ---- */
int ch_may_resize(void *priv, const struct vivi_resize *what, viv_error *err);
int ch_resize_slot(void *priv, const struct vivi_resize *what, uint64_t op, viv_error *err);
void ch_resize_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                     const viv_error *err);
void ch_resize_info(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err);
/* How much memory the guest has, out of vm.info; 0: it does not say. */
uint64_t ch_actual_memory(const struct ch_answer *a);
void ch_sizes_ended(struct ch_machine *m, const viv_error *why);
void ch_sizes_done(struct ch_machine *m);

/* ---- cli.c: without an API ---- */
/* The events tell that it runs. */
void ch_cli_booted(struct ch_machine *m);
/* All events so far were seen. */
void ch_cli_drained(struct ch_machine *m);
/* A guest that has ended leaves its process; the process has to be told. */
void ch_cli_end(const struct ch_machine *m);

/* ---- move.c: migration ---- */
int ch_migrate_send(void *priv, const struct vivi_migration *to, uint64_t op, viv_error *err);
int ch_receive_abort(void *priv, viv_error *err);
/* The VMM was asked to wait for a machine. */
void ch_receiving(struct ch_machine *m);
void ch_send_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                   const viv_error *err);
void ch_move_probed(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err);
/* state: what vm.info says; VIV_ST_COUNT_: nothing. */
void ch_move_settled(struct ch_machine *m, uint64_t op, enum viv_state state);
/* name: of an event that begins with "migration-". */
void ch_move_event(struct ch_machine *m, const char *name, const char *id);
/* The events "snapshotted", and "resuming" of a machine that is received. */
void ch_move_handed(struct ch_machine *m);
void ch_move_runs_here(struct ch_machine *m);
/* All events up to the failure were seen. */
void ch_move_drained(struct ch_machine *m);
void ch_listening(struct ch_machine *m);
void ch_move_done(struct ch_machine *m);

/* ---- agent.c ---- */
int ch_agent_connect(void *priv, uint64_t op, viv_error *err);
void ch_agents_done(struct ch_machine *m);

/* ---- raw.c ---- */
int ch_raw(void *priv, const struct vivi_raw *call, uint64_t op, viv_error *err);
int64_t ch_raw_ms(const char *endpoint);
void ch_raw_drop(void *priv, uint64_t op);
void ch_raws_done(struct ch_machine *m);
