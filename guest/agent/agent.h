/*
 * viv-agent: the program inside a guest that answers the host over base/agent_wire.h.
 *
 * One thread, one epoll loop, no timer while idle. What may block, take long or need memory runs in
 * a process of its own: commands, and "workers", which are functions of this program in a forked
 * child (info, files, trees, freezing, …). Both look the same from here: pipes, a status socket,
 * an end. So a slow disk never keeps a PING waiting, ending a request is always "kill and reap",
 * and this process stays as small as it began.
 *
 * Bounds: VIVI_AW_STREAMS_MAX streams, one window of held input each, one buffer in and one out for
 * all. Nothing is read from the channel while its answers would not fit; nothing is read from a
 * process without credit and room.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/agent_wire.h"
#include "lent.h"

#define AGENT_NEVER UINT64_MAX
/* Kept free in the output buffer for what is not DATA: RESULT, CREDIT, PONG, HELLO. */
#define AGENT_REPLY_MAX  4096u
#define AGENT_OUT_BYTES  (256u << 10)
#define AGENT_RECORD_MAX 2048u /* of a worker: fields of STARTED or RESULT */
#define AGENT_NONCE_MAX  128u

struct agent;

/* A descriptor in the loop. */
struct source {
    int fd;          /* owned; −1 = none */
    uint32_t events; /* what it is armed for; 0 = not in the epoll set */
    void (*ready)(struct agent *a, struct source *s, uint32_t events);
    void *owner; /* weak */
};

#define SOURCE_NONE {.fd = -1}

struct channel {
    struct source stream;   /* carries frames; edge-triggered */
    struct source listener; /* vsock, TCP or unix: the next connection replaces the one there */
    struct source uevents;  /* while there is nothing to open: tells of new devices */
    bool is_port;           /* a virtio-serial port: a host that went away may come again */
    bool linked;            /* somebody is at the other end, as far as can be seen */
    bool readable;          /* not yet read empty */
    struct vivi_aw aw;
    /* Data on its way without a copy: frames are put together in the second pipe. */
    int gather[2], frame[2];
    size_t framed;    /* bytes in there; they go before those in out */
    bool copies_only; /* this kind of stream cannot do it */
    size_t out_at, out_end;
    unsigned char in[2 * VIVI_AW_BUFFER_MIN];
    unsigned char out[AGENT_OUT_BYTES];
};

/* Where the channel is, as the command line says; all NULL and −1: found by itself. */
struct agent_options {
    const char *port; /* path of a virtio-serial port */
    const char *tcp;  /* ADDRESS:PORT to listen at */
    const char *unix_path;
    int64_t vsock; /* port to listen at, −1 = none given */
    int fd;        /* a connected socket, −1 = none */
    bool quiet;
    const char *state_dir; /* in memory, and of this agent alone */
};

struct stream;

struct stream_ops {
    void (*data)(struct stream *s, const struct vivi_aw_frame *f); /* credit is accounted for */
    void (*eof)(struct stream *s, unsigned channel);
    void (*control)(struct stream *s, const struct vivi_aw_frame *f);
    void (*resume)(struct stream *s);                  /* there is credit or room again */
    void (*expire)(struct stream *s, uint64_t now_ms); /* its deadline has come */
    /*
     * The host or the session is gone: end the work. The stream is off the wire already; it sets
     * `over` at once, or when it has ended.
     */
    void (*stop)(struct stream *s);
    void (*done)(struct stream *s); /* frees what hangs on it, not the stream itself */
};

/* First member of what malloc returned, so that free() is the same for all. */
struct stream {
    struct agent *agent;
    const struct stream_ops *ops;
    uint32_t id;     /* 0 = off the wire: nothing is sent any more */
    bool over;       /* freed at the end of this turn of the loop */
    bool starved;    /* wants resume */
    uint64_t due_ms; /* AGENT_NEVER = no deadline */
    struct vivi_aw_credit credit;
};

struct agent {
    int epoll_fd;
    struct source signals;
    struct source route; /* rtnetlink: addresses */
    struct source kmsg;  /* out-of-memory kills */
    struct channel channel;
    struct stream *streams[VIVI_AW_STREAMS_MAX];
    size_t n_streams;
    size_t turn; /* who is resumed first */
    bool starved;
    uint32_t last_id;
    uint64_t thaw_at_ms;
    int left_fd; /* left.c */
    bool left_used[VIVI_AW_STREAMS_MAX];
    /* The notice "ready" and what it said. */
    uint64_t ready_until_ms; /* without an address it is given then; AGENT_NEVER = given */
    bool ready_due, address_due;
    char address[64];
    char nonce[AGENT_NONCE_MAX + 1];
    char about[VIVI_AW_ABOUT_MAX];
    const struct agent_options *options;
    bool quit;
    int exit_code;
};

/* ---- loop.c ------------------------------------------------------------------------------- */

int loop_init(struct agent *a, viv_error *err);
void loop_run(struct agent *a);
void loop_done(struct agent *a);
uint64_t loop_now_ms(void);
/* events 0 takes it out of the set: nothing is reported, not even a hang-up. */
void source_arm(struct agent *a, struct source *s, uint32_t events);
void source_open(struct source *s, int fd_consume, void *owner,
                 void (*ready)(struct agent *, struct source *, uint32_t));
void source_close(struct agent *a, struct source *s);

/* ---- channel.c ---------------------------------------------------------------------------- */

void channel_init(struct agent *a);
int channel_open(struct agent *a, viv_error *err);
void channel_close(struct agent *a);
/* Reads what there is and acts upon it; bounded, so that others get their turn. */
void channel_read(struct agent *a);
void channel_flush(struct agent *a);
bool channel_has_room(const struct agent *a, size_t payload);
/*
 * For DATA that is read into place: where, and how much, at most want; NULL when there is no room.
 * Then commit with what came.
 */
char *channel_begin(struct agent *a, size_t want, size_t *ret_room);
void channel_commit(struct agent *a, uint32_t stream, unsigned channel, size_t len);
/*
 * What a pipe holds becomes one DATA frame without being copied: how much, at most want; 0 when it
 * is to be read into place instead, since nothing may be overtaken, or nothing was there.
 */
size_t channel_splice(struct agent *a, uint32_t stream, unsigned channel, int pipe_fd, size_t want);
/* Everything else. Dropped when no session is up; there is room by construction. */
void channel_send(struct agent *a, const struct vivi_aw_frame *f);
void channel_send_fields(struct agent *a, enum vivi_aw_type type, uint32_t stream,
                         const struct vivi_aw_writer *w);

/* ---- find.c ------------------------------------------------------------------------------- */

/* Opens what the options ask for, or what is there; 0 with neither stream nor listener: wait. */
int channel_find(struct agent *a, viv_error *err);
int channel_accept(int listener, int *ret_fd); /* 1 and a descriptor, 0 nobody to let in */

/* ---- streams.c ---------------------------------------------------------------------------- */

void streams_frame(struct agent *a, const struct vivi_aw_frame *f);
/* Takes over s on success. */
void streams_add(struct agent *a, struct stream *s, const struct stream_ops *ops, uint32_t id);
void streams_stop_all(struct agent *a); /* the session is gone */
void streams_resume(struct agent *a);
void streams_expire(struct agent *a, uint64_t now_ms);
uint64_t streams_next_ms(const struct agent *a);
void streams_sweep(struct agent *a);
void stream_consumed(struct stream *s, size_t n); /* gives credit back */
void stream_starve(struct stream *s);
/* RESULT, and off the wire. */
void stream_result(struct stream *s, const char *fields, size_t len);
void stream_fail(struct stream *s, const viv_error *err);

/* ---- process.c ---------------------------------------------------------------------------- */

/* Starts what a request asks for as a process; < 0 and nothing was started. */
int process_open(struct agent *a, const struct vivi_aw_frame *f, viv_error *err);
void process_reap(struct agent *a); /* SIGCHLD */
/* Thaws in a process of its own: for what the agent does by itself. */
void process_thaw(struct agent *a);

/* ---- request.c, child.c (in the forked child) -------------------------------------------------
 */

/* An exec or shell request. */
struct child_request {
    const char *fields; /* borrowed: arg=, env= */
    size_t len;
    bool shell, tty, input;
    uint16_t rows, cols;    /* 0 = not given */
    uint64_t timeout_ms;    /* 0 = none */
    const char *cwd, *user; /* borrowed; NULL = not given */
};

/* Reads a request; nothing of it is trusted but that its fields are well formed. */
int request_parse(const struct vivi_aw_frame *f, struct child_request *ret, viv_error *err);
/* "uid" or "uid:gid" in numbers; false for a name. *ret_gid is untouched where there is none. */
bool request_ids(const char *user, uint32_t *ret_uid, uint32_t *ret_gid);

/* The descriptors 0, 1 and 2 stand; status_fd takes a record 'R' when it cannot be run. */
_Noreturn void child_exec(const struct child_request *q, int status_fd);
#define CHILD_STATUS_FD   3
#define CHILD_FAILURE_MAX 1024u /* fields of a RESULT */

/* Neither terminal, nor user, nor directory: then child_spawn is the way. */
bool child_is_plain(const struct child_request *q);
/*
 * Starts it with these descriptors, −1 = /dev/null: the process, or −code and err. Fields in
 * ret_failure: it could not be run, and the process ends by itself.
 */
pid_t child_spawn(const struct child_request *q, const int fds[3],
                  struct vivi_aw_writer *ret_failure, viv_error *err);

/* Before anything else in a child: a session of its own, no signal or limit of the agent's. */
void child_begin(void);
/* status_fd becomes CHILD_STATUS_FD; of the others only 0, 1 and 2 stay open. */
void child_keep_only(int status_fd);
/* Once, at the beginning: signals as they are by default, no descriptor that a program inherits,
 * and room for the descriptors of all streams; children get the limit back that there was before.
 */
void child_prepare(void);
void child_record(int status_fd, char kind, const struct vivi_aw_writer *w);

/* ---- workers ------------------------------------------------------------------------------ */

struct worker {
    const char *kind;
    /*
     * Runs in a process of its own. Descriptor 0 is channel 0, 1 is channel 1. Success: 0 and the
     * RESULT's fields in ret; else −code and err.
     */
    int (*run)(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
    bool input, output; /* has channel 0, 1 */
    bool tells;         /* gives STARTED by worker_started before any output */
};

#define WORKER_COMPLETE "E" /* to its status socket: the input's end is the true one */

const struct worker *worker_find(const char *kind);
/* After the end of descriptor 0: was that all, or were we left (then: undo what is half done)? */
bool worker_input_complete(void);
/* The host gave up: undo what is half done and return. Reading and writing end with EINTR. */
bool worker_stopped(void);
void worker_started(const struct vivi_aw_writer *w);
/*
 * Data of a file that has a place in the output right here, when it is long enough: the agent sends
 * of it what it can. *ret_sent: so much; the rest, if only a bit, is the worker's to send.
 */
int worker_lend(int fd, uint64_t at, uint64_t len, bool tree, uint64_t *ret_sent, viv_error *err);
/* In the loop's process: what it has to remember of a worker that was started. */
void worker_opened(struct agent *a, const struct worker *w, const struct vivi_aw_frame *f);
_Noreturn void worker_main(const struct worker *w, const struct vivi_aw_frame *q, int status_fd);

int work_info(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_stat(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_read(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_write(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_tree_read(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_tree_write(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_port(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_clock(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_freeze(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_thaw(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_trim(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_renew(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_online_cpus(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_online_memory(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_shutdown(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);
int work_reboot(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err);

/* ---- left.c: what an agent before this one left behind
 * -------------------------------------------- */

/* Ends the sessions of an agent that was killed. */
void left_open(struct agent *a);
size_t left_add(struct agent *a, pid_t leader); /* returns the slot for left_remove */
void left_remove(struct agent *a, size_t slot);
bool left_frozen(const struct agent *a); /* file systems, by an agent that did not thaw them */
int left_set_frozen(const char *state_dir, bool frozen); /* 0 or −errno; of any process */

/* The state directory of the agent that this process was forked from. */
const char *agent_state_dir(void);
void freeze_thaw_all(void); /* freeze.c */

/* ---- events.c ----------------------------------------------------------------------------- */

void events_init(struct agent *a);
void events_done(struct agent *a);
void events_session(struct agent *a); /* a session stands: what is to be told anew */
void events_tell(struct agent *a);    /* what is due and has room */
uint64_t events_next_ms(const struct agent *a);
int watch_open(struct agent *a, const struct vivi_aw_frame *f, viv_error *err);

/* ---- sys.c: small readings of the system ------------------------------------------------------
 */

/* Whole small file as text without white space at its end; "" when it cannot be read. */
void sys_read_text(const char *path, char *buf, size_t size);
int sys_write_text(const char *path, const char *text, viv_error *err);
/* The value of key=… on the kernel command line. */
bool sys_cmdline(const char *key, char *ret, size_t size);
/* The guest's own address: the first global one of an interface that is up, IPv4 first; "" none. */
void sys_address(char ret[64]);
bool sys_has_nic(void);
/* The next mount of a real file system (a device stands behind it): its directory. */
struct sys_mounts {
    void *file;
    char *line;
    size_t cap;
};
bool sys_mounts_next(struct sys_mounts *m, bool real_only, const char **ret_source,
                     const char **ret_dir, const char **ret_type);
void sys_mounts_done(struct sys_mounts *m);

/* One line to standard error (loop.c). */
void agent_say(const struct agent *a, const char *fmt, ...) VIVI_PRINTF(2, 3);
