/*
 * The keeper's objects. One thread, one loop (main.c); nothing in here waits.
 *
 *   table.c     name -> descriptor, and streams: FIFOs that are moved into log files
 *   stream.c    moving, punching, backing off
 *   child.c     processes: gate, exec, end
 *   exits.c     exits.log
 *   link.c      the monitor: its socket, what it is to be told, its restarts
 *   serve.c     what it asks
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/frame.h"
#include "base/proc.h"
#include "base/spawn.h"
#include "keeper/protocol.h"
#include "keeper/request.h"

#define VIVI_KEEPER_MAX_CHILDREN 64
#define VIVI_NEVER_US            UINT64_MAX
#define VIVI_ANSWERS_MAX_BYTES   16384u /* more unread ones stop us from reading requests */
#define VIVI_FIELD_END           '\x1f' /* in vivi_link_reply's text; no name or number holds it */

/* ---- streams and the table ---- */

struct vivi_stream {
    char file[VIVI_KEEPER_FILE_MAX];   /* "" = the entry is no stream */
    int fd;                            /* owned; −1: could not be opened yet */
    uint64_t limit_bytes, size, start; /* start: first byte that was not punched out */
    uint64_t looked;                   /* the size when start was looked for */
    uint64_t not_before_us;            /* back-off or pacing; 0 = now */
    unsigned backoff_ms;
    unsigned credits; /* small moves that are left before pacing begins */
    uint64_t credited_us;
    int failure, told_failure; /* errno of the episode; what the monitor knows of it */
    bool grew, no_holes;
};

struct vivi_entry {
    char name[VIVI_KEEPER_NAME_MAX]; /* "" = free */
    int fd;                          /* owned */
    struct vivi_stream stream;
};

struct vivi_table {
    struct vivi_entry entries[VIVI_KEEPER_MAX_NAMES];
};

struct vivi_entry *vivi_table_find(struct vivi_table *t, const char *name); /* NULL: none */
/* Adds or replaces; fd_consume. EXISTS when full. */
int vivi_table_put(struct vivi_table *t, const char *name, int fd_consume, struct vivi_entry **ret,
                   viv_error *err);
void vivi_table_drop(struct vivi_entry *e);
/* Calls take for each "name[@file@limit]=fd" of VIV_FDS; a part that is malformed is passed over.
 */
struct vivi_fds_item {
    char name[VIVI_KEEPER_NAME_MAX], file[VIVI_KEEPER_FILE_MAX]; /* file "" = no stream */
    uint64_t limit_bytes;
    int fd;
};
bool vivi_fds_next(const char **text, struct vivi_fds_item *ret); /* false: end */
int vivi_fds_add(struct vivi_buf *b, const struct vivi_entry *e, int number);

int vivi_stream_set(struct vivi_stream *s, int vm_fd, const char *file, uint64_t limit_bytes);
void vivi_stream_done(struct vivi_stream *s);
bool vivi_stream_due(const struct vivi_stream *s, uint64_t now_us);
/* Moves what one splice takes. */
void vivi_stream_move(struct vivi_entry *e, int vm_fd, uint64_t now_us);
/* Moves all that is in the FIFO now, whatever the pacing says. */
void vivi_stream_drain(struct vivi_entry *e, int vm_fd, uint64_t now_us);
struct vivi_keeper;
void vivi_keeper_drain_all(struct vivi_keeper *k, uint64_t now_us); /* every stream */
/* splice(2): bytes moved, or −errno. */
ssize_t vivi_splice(int fifo, int file, uint64_t offset, size_t most);

/* main.c. Is the VM's directory that we opened still the one of that path? 1 yes, 0 no. */
int vivi_keeper_directory_is_current(const struct vivi_keeper *k, viv_error *err);

/* ---- children ---- */

enum vivi_child_phase { VIVI_CHILD_FREE, VIVI_CHILD_EXECS, VIVI_CHILD_RUNS, VIVI_CHILD_ENDED };

struct vivi_child {
    enum vivi_child_phase phase;
    char role[VIVI_KEEPER_NAME_MAX];
    uint64_t run;
    struct vivi_proc_id id;
    /* All below means something only while phase is not FREE: records that were never used cost no
     * memory. */
    int exec_fd; /* own, until the exec is known to have worked or not; else −1 */
    int pidfd;   /* of an adopted one; −1 = our own child */
    int exec_errno;
    bool status_known;
    int wstatus;
    uint64_t ask_until_us, ask_at_us; /* adopted and ended: the status may still become known */
    uint64_t req;
    bool orphaned;                       /* whoever asked for it is gone: no answer */
    bool answer_due, exit_due, unlogged; /* what the monitor and exits.log are still to be told */
};

#define VIVI_ROLE_MONITOR "monitor"

/* ---- the monitor ---- */

struct vivi_link {
    int fd; /* our end; −1: none */
    struct vivi_frames in;
    struct vivi_buf out;
    struct vivi_child *child; /* NULL: none runs */
    uint64_t started_us, restart_at_us;
    unsigned delay_ms, failed_starts, short_lives;
    bool tell_caller_gone;
};

/* ---- all of it ---- */

struct vivi_keeper {
    const char *vm_dir, *run_dir, *monitor_exe;
    char self_exe[4096], socket_path[256];
    char boot_id[VIVI_BOOT_ID_SIZE];
    uint64_t pid_ns;
    int vm_fd, lock_fd, listener_fd, status_fd, wake_fds[2];
    struct vivi_table table;
    struct vivi_child children[VIVI_KEEPER_MAX_CHILDREN];
    struct vivi_link link;
    bool caller_gone, quitting, giving_up, done;
    uint64_t quit_at_us, kill_at_us, exits_retry_us;
    bool termed;
};

/* child.c */
struct vivi_child_spec {
    const char *role;
    uint64_t run, req;
    const struct vivi_spawn *spawn;
};
int vivi_child_spawn(struct vivi_keeper *k, const struct vivi_child_spec *spec,
                     struct vivi_child **ret, viv_error *err);
int vivi_child_adopt_all(struct vivi_keeper *k, viv_error *err); /* from exits.log */
void vivi_child_exec_ready(struct vivi_keeper *k, struct vivi_child *c);
void vivi_child_reap(struct vivi_keeper *k);
void vivi_child_pidfd_ready(struct vivi_keeper *k, struct vivi_child *c, uint64_t now_us);
void vivi_child_settle(struct vivi_keeper *k, uint64_t now_us); /* retries, frees records */
unsigned vivi_child_alive(const struct vivi_keeper *k);         /* without monitors */
void vivi_child_signal_all(struct vivi_keeper *k, int sig);     /* likewise */
bool vivi_child_is_monitor(const struct vivi_child *c);
bool vivi_child_is_adopted(const struct vivi_child *c); /* not ours: has a pidfd */

/* exits.c */
#define VIVI_EXITS_FILE "exits.log"
struct vivi_exits_line {
    bool is_spawn;
    char role[VIVI_KEEPER_NAME_MAX];
    uint64_t run;
    struct vivi_proc_id id;
    char boot_id[VIVI_BOOT_ID_SIZE]; /* spawn, as pid_ns */
    uint64_t pid_ns;
    bool status_known; /* exit, as wstatus */
    int wstatus;
    int64_t wall_ms;
};
bool vivi_exits_parse(const char *line, size_t len, struct vivi_exits_line *ret);
int vivi_exits_format(struct vivi_buf *b, const struct vivi_exits_line *l);
int vivi_exits_add_spawn(struct vivi_keeper *k, const struct vivi_child *c, viv_error *err);
int vivi_exits_add_exit(struct vivi_keeper *k, const struct vivi_child *c, viv_error *err);
int vivi_exits_read(const struct vivi_keeper *k, struct vivi_buf *ret, viv_error *err);

/* link.c */
void vivi_link_start(struct vivi_keeper *k, uint64_t now_us);
void vivi_link_exec_known(struct vivi_keeper *k, const struct vivi_child *c);
void vivi_link_ended(struct vivi_keeper *k, const struct vivi_child *c, uint64_t now_us);
void vivi_link_lose(struct vivi_keeper *k, const char *why); /* what is left of it is killed */
void vivi_link_reply(struct vivi_keeper *k, uint8_t op, const char *fmt, ...) VIVI_PRINTF(3, 4);
void vivi_link_pump(struct vivi_keeper *k); /* sends what is due, as far as the socket takes it */
void vivi_link_quit(struct vivi_keeper *k, uint64_t now_us);
bool vivi_link_hopeless(const struct vivi_link *l, uint64_t now_us); /* no monitor can be started */

/* serve.c */
/* The monitor's socket is readable: one read. Whether it was worth one. */
bool vivi_serve(struct vivi_keeper *k, uint64_t now_us);
