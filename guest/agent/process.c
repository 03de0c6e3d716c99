/*
 * process.c: streams that are processes: commands, and workers of this program.
 *
 * Pipes (or a pseudo-terminal) lead to the child, and a status socket comes back, with records:
 * u8 'S' or 'R' | u16 length | fields. 'S' are STARTED's fields, 'R' RESULT's. A command's status
 * socket is close-on-exec, so its end without a record means that the program runs. A worker is
 * told through it that its input is complete. A plain command (child.c) has none: when child_spawn
 * returns it runs, or cannot. Where a worker has a long run of a file to send it lends the file
 * (lent.h).
 *
 * A stream ends when the child was reaped, its status socket has ended, and what it had written
 * until then was sent. Not when the last writer closes the pipe: a daemon that a command left
 * behind may hold it for ever. How much there was is asked when the child is reaped; a terminal is
 * read until it is empty or hung up.
 *
 * Stopped (reset by the host, session lost, time over), the child's whole session gets a polite
 * signal, then SIGKILL; the stream lives on, off the wire, until it is reaped.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "plumbing.h"
#include "procs.h"

#define BURST_READS 4
#define SPLICE_MIN  8192u /* below, a copy is cheaper */
#define KILL_GRACE  2000
/* What a terminal still holds comes through a work queue of the kernel. */
#define TTY_GRACE_MS 100
#define VEOF_BYTE    4

enum end { RUNNING, ASKED_TO_END, KILLED };

struct process {
    struct stream s;             /* first: see struct stream */
    const struct worker *worker; /* NULL = a command */
    pid_t pid;                   /* 0 = reaped */
    int wait_status;
    size_t slot; /* of left.c */
    bool tty, started, timed_out, drain_over;
    enum end end;
    struct source in, out[2], status;
    struct lent lent; /* of a worker: goes out when out[0] is empty */
    int passed_fd;    /* owned; came with what stands in record; −1 = none */
    size_t left[2];   /* of the output, once reaped */
    char *held;       /* owned; input that the child has not taken yet */
    size_t held_at, held_len;
    bool in_ended;
    unsigned char *record; /* owned; RECORD_BYTES, with the status socket */
    size_t record_len;
    char *result; /* owned; record 'R' */
    size_t result_len;
    bool has_result;
};

#define RECORD_BYTES (3 + AGENT_RECORD_MAX)

static struct process *process_of(struct stream *s)
{
    return (struct process *)s;
}

/* ---- input --------------------------------------------------------------------------------- */

static void input_close(struct process *p)
{
    source_close(p->s.agent, &p->in);
    if (p->held_len > p->held_at)
        stream_consumed(&p->s, p->held_len - p->held_at);
    free(p->held);
    p->held = NULL;
    p->held_at = p->held_len = 0;
}

/* How much of it the child took; everything when it does not want any more. */
static size_t offer(struct process *p, const char *data, size_t len)
{
    size_t at = 0;

    while (at < len) {
        ssize_t n = write(p->in.fd, data + at, len - at);

        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno == EAGAIN)
            return at;
        else
            return len;
    }
    return at;
}

static void input_flush(struct process *p)
{
    size_t n;

    if (p->in.fd < 0)
        return;
    if (p->held_at < p->held_len) {
        n = offer(p, p->held + p->held_at, p->held_len - p->held_at);
        p->held_at += n;
        stream_consumed(&p->s, n);
    }
    if (p->held_at < p->held_len) {
        source_arm(p->s.agent, &p->in, EPOLLOUT);
        return;
    }
    source_arm(p->s.agent, &p->in, 0);
    free(p->held);
    p->held = NULL;
    p->held_at = p->held_len = 0;
    if (!p->in_ended)
        return;
    if (!p->tty) {
        /* To a worker the end of the pipe alone may also mean that this process was killed. */
        if (p->worker != NULL)
            (void)!write(p->status.fd, WORKER_COMPLETE, 1);
        input_close(p);
    } else if (offer(p, &(char){VEOF_BYTE}, 1) == 1) {
        p->in_ended = false;
    } else {
        source_arm(p->s.agent, &p->in, EPOLLOUT);
    }
}

static void input_ready(struct agent *a, struct source *s, uint32_t events)
{
    input_flush(s->owner);
}

/* Waits here until the child takes it, bounded by the window. False: out of memory. */
static bool hold(struct process *p, const char *data, size_t len)
{
    size_t waits = p->held_len - p->held_at;
    char *grown;

    if (waits > 0)
        memmove(p->held, p->held + p->held_at, waits);
    p->held_at = 0;
    p->held_len = waits;
    grown = realloc(p->held, waits + len);
    if (grown == NULL)
        return false;
    p->held = grown;
    memcpy(p->held + waits, data, len);
    p->held_len += len;
    return true;
}

static void on_data(struct stream *s, const struct vivi_aw_frame *f)
{
    struct process *p = process_of(s);
    size_t n = f->len;

    if (p->in.fd >= 0 && !p->in_ended && f->channel == VIVI_AW_STDIN) {
        n = p->held_len == p->held_at ? offer(p, f->payload, f->len) : 0;
        if (n < f->len && hold(p, f->payload + n, f->len - n)) {
            source_arm(s->agent, &p->in, EPOLLOUT);
        } else if (n < f->len) {
            input_close(p); /* the child sees an early end, which its own check will tell */
            n = f->len;
        }
    }
    stream_consumed(s, n);
}

static void on_eof(struct stream *s, unsigned channel)
{
    struct process *p = process_of(s);

    if (channel != VIVI_AW_STDIN)
        return;
    p->in_ended = true;
    input_flush(p);
}

/* ---- output -------------------------------------------------------------------------------- */

static size_t waiting_in(int fd)
{
    int n = 0;

    return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

static void finish(struct process *p);

static void output_end(struct process *p, unsigned i)
{
    source_close(p->s.agent, &p->out[i]);
    if (p->tty) /* the same terminal, by another descriptor */
        input_close(p);
}

/* May its output go out already? STARTED comes first. */
static bool may_speak(const struct process *p)
{
    return (p->worker != NULL && !p->worker->tells) || p->started || p->has_result;
}

/* How much may be sent now of so much that waits; 0: nothing for lack of credit. */
static size_t output_allowed(const struct process *p, uint64_t waiting)
{
    size_t n = p->s.credit.send < VIVI_AW_PAYLOAD_MAX ? p->s.credit.send : VIVI_AW_PAYLOAD_MAX;

    /* Nearly a window is on its way, so credit is too: then more of it goes at once. */
    if (!may_speak(p) || (n < SPLICE_MIN && waiting > n))
        return 0;
    return n;
}

/* Nothing was read: is it the end, or not yet? */
static void output_dry(struct process *p, unsigned i, ssize_t got)
{
    bool later = got < 0 && (errno == EAGAIN || errno == EINTR);

    if (later && !p->drain_over)
        source_arm(p->s.agent, &p->out[i], EPOLLIN);
    else
        output_end(p, i);
}

static void output_sent(struct process *p, unsigned i, size_t n)
{
    vivi_aw_credit_sent(&p->s.credit, n);
    if (p->pid == 0 && !p->tty)
        p->left[i] -= n;
}

static unsigned output_channel(unsigned i)
{
    return i == 0 ? VIVI_AW_STDOUT : VIVI_AW_STDERR;
}

/*
 * Much of it goes the short way: false when there is little, or it must not overtake anything, or
 * it comes from a worker: pages of a file, which a port does not take but copies, one by one.
 */
static bool output_moved(struct process *p, unsigned i, size_t n, size_t waiting)
{
    if (p->worker != NULL || p->tty || n < SPLICE_MIN || waiting < SPLICE_MIN)
        return false;
    n = channel_splice(p->s.agent, p->s.id, output_channel(i), p->out[i].fd, n);
    if (n > 0 && p->s.id != 0)
        output_sent(p, i, n);
    return n > 0;
}

/* One read, straight into a frame: false when there is no more for now. */
static bool output_copied(struct process *p, unsigned i, size_t n)
{
    struct agent *a = p->s.agent;
    char *to = n == 0 ? NULL : channel_begin(a, n, &n);
    ssize_t got;

    if (to == NULL) {
        source_arm(a, &p->out[i], 0);
        stream_starve(&p->s);
        return false;
    }
    got = read(p->out[i].fd, to, n);
    if (got <= 0) {
        output_dry(p, i, got);
        return false;
    }
    channel_commit(a, p->s.id, output_channel(i), (size_t)got);
    output_sent(p, i, (size_t)got);
    return true;
}

/* Of a file that a worker has lent, once the pipe is empty. False when there is no more for now. */
static bool output_lent(struct process *p)
{
    struct agent *a = p->s.agent;
    size_t n = output_allowed(p, lent_waiting(&p->lent));
    size_t room = n < VIVI_AW_DATA_BEST ? n : VIVI_AW_DATA_BEST;
    char *to = n == 0 ? NULL : channel_begin(a, room, &room);

    if (to == NULL) {
        stream_starve(&p->s);
        return false;
    }
    n = lent_read(&p->lent, to, room);
    if (n == 0) {
        lent_return(&p->lent, p->status.fd);
        source_arm(a, &p->out[0], EPOLLIN);
        return false;
    }
    channel_commit(a, p->s.id, VIVI_AW_STDOUT, n);
    if (p->s.id != 0)
        output_sent(p, 0, n);
    return true;
}

static bool output_once(struct process *p, unsigned i)
{
    bool bounded = p->pid == 0 && !p->tty;
    size_t waiting, n;

    if (bounded && p->left[i] == 0) {
        output_end(p, i);
        return false;
    }
    waiting = waiting_in(p->out[i].fd);
    if (i == 0 && p->lent.fd >= 0 && waiting == 0)
        return output_lent(p);
    n = output_allowed(p, waiting);
    if (bounded && p->left[i] < n)
        n = p->left[i];
    return output_moved(p, i, n, waiting) || (p->out[i].fd >= 0 && output_copied(p, i, n));
}

static void output_pump(struct process *p, unsigned i)
{
    if (p->out[i].fd < 0 || p->s.id == 0)
        return;
    for (int n = 0; n < BURST_READS; n++) {
        if (!output_once(p, i))
            return;
    }
    if (p->lent.fd >= 0 && waiting_in(p->out[0].fd) == 0)
        stream_starve(&p->s); /* a window is on its way, so there will be credit */
    source_arm(p->s.agent, &p->out[i], EPOLLIN); /* the others' turn */
}

static void output_ready(struct agent *a, struct source *s, uint32_t events)
{
    struct process *p = s->owner;

    output_pump(p, s == &p->out[0] ? 0 : 1);
    finish(p);
}

/* ---- status -------------------------------------------------------------------------------- */

static void tell_started(struct process *p, const char *fields, size_t len)
{
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_STARTED, .stream = p->s.id, .payload = fields, .len = len};

    if (p->s.id != 0 && !p->started)
        channel_send(p->s.agent, &f);
    p->started = true;
}

/* Without memory for it the RESULT has no fields. */
static void take_result(struct process *p, const char *fields, size_t len)
{
    free(p->result);
    p->result = malloc(len);
    p->result_len = p->result == NULL ? 0 : len;
    if (p->result_len > 0)
        memcpy(p->result, fields, len);
    p->has_result = true;
}

/* A worker that lends what cannot be lent is broken. */
static void take_lent(struct process *p, const char *offer, size_t len)
{
    if (!lent_take(&p->lent, take_fd(&p->passed_fd), offer, len) && p->pid != 0)
        procs_kill_session(p->pid, SIGKILL);
}

static void take_record(struct process *p)
{
    size_t len;

    while (p->record_len >= 3) {
        len = (size_t)p->record[1] | (size_t)p->record[2] << 8;
        if (len > AGENT_RECORD_MAX || p->record_len < 3 + len)
            return;
        if (p->record[0] == 'S') {
            tell_started(p, (const char *)p->record + 3, len);
        } else if (p->record[0] == LENT_RECORD) {
            take_lent(p, (const char *)p->record + 3, len);
        } else {
            take_result(p, (const char *)p->record + 3, len);
        }
        p->record_len -= 3 + len;
        memmove(p->record, p->record + 3 + len, p->record_len);
    }
}

static void tell_pid(struct process *p)
{
    char buf[32];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    vivi_aw_put_u64(&w, "pid", (uint64_t)p->pid);
    tell_started(p, buf, w.len);
}

static void status_end(struct process *p)
{
    source_close(p->s.agent, &p->status);
    if (p->worker == NULL && !p->has_result)
        tell_pid(p);
}

static void status_pump(struct process *p)
{
    while (p->status.fd >= 0) {
        size_t passed = 0, cap = p->passed_fd < 0 ? 1u : 0u;
        ssize_t n = vivi_recv_fds(p->status.fd, p->record + p->record_len,
                                  RECORD_BYTES - p->record_len, &p->passed_fd, cap, &passed, NULL);

        if (n > 0) {
            p->record_len += (size_t)n;
            take_record(p);
        } else if (n != -VIV_E_BUSY) {
            status_end(p);
        } else {
            return;
        }
    }
}

static void status_ready(struct agent *a, struct source *s, uint32_t events)
{
    struct process *p = s->owner;

    status_pump(p);
    if (p->s.starved || p->lent.fd >= 0)
        p->s.ops->resume(&p->s);
    finish(p);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void send_result(struct process *p)
{
    char buf[64];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);
    viv_error err = VIV_ERROR_INIT;

    if (p->has_result) {
        stream_result(&p->s, p->result, p->result_len);
        return;
    }
    if (p->worker != NULL) {
        (void)vivi_fail(&err, VIV_E_INTERNAL, "the agent's own process for it was killed");
        stream_fail(&p->s, &err);
        return;
    }
    if (WIFSIGNALED(p->wait_status))
        vivi_aw_put_u64(&w, "signal", (uint64_t)WTERMSIG(p->wait_status));
    else
        vivi_aw_put_u64(&w, "exit", (uint64_t)WEXITSTATUS(p->wait_status));
    if (p->timed_out)
        vivi_aw_put_u64(&w, "timeout", 1);
    stream_result(&p->s, buf, w.len);
}

/* Sends RESULT when all has come; frees when nobody is left. */
static void finish(struct process *p)
{
    if (p->pid != 0 || p->s.over)
        return;
    if (p->s.id != 0) {
        if (p->status.fd >= 0 || p->out[0].fd >= 0 || p->out[1].fd >= 0)
            return;
        if (!channel_has_room(p->s.agent, AGENT_REPLY_MAX)) {
            stream_starve(&p->s);
            return;
        }
        send_result(p);
    }
    p->s.over = true;
}

static void reaped(struct process *p, int status)
{
    status_pump(p);
    if (p->status.fd >= 0) /* somebody has inherited it: nothing more will come */
        status_end(p);
    left_remove(p->s.agent, p->slot);
    vivi_close(&p->lent.fd);
    p->pid = 0;
    p->wait_status = status;
    p->s.due_ms = AGENT_NEVER;
    if (p->tty)
        p->s.due_ms = loop_now_ms() + TTY_GRACE_MS;
    for (unsigned i = 0; i < 2; i++) {
        p->left[i] = waiting_in(p->out[i].fd);
        output_pump(p, i);
    }
    finish(p);
}

void process_reap(struct agent *a)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < a->n_streams; i++) {
            struct process *p = process_of(a->streams[i]);

            if (procs_is(a->streams[i]->ops) && p->pid == pid) {
                reaped(p, status);
                break;
            }
        }
    }
}

static void on_expire(struct stream *s, uint64_t now_ms)
{
    struct process *p = process_of(s);

    if (p->pid == 0) {
        p->drain_over = true;
        output_pump(p, 0);
        finish(p);
    } else if (p->end == RUNNING) {
        p->timed_out = true;
        p->end = ASKED_TO_END;
        s->due_ms = now_ms + KILL_GRACE;
        procs_kill_session(p->pid, SIGTERM);
    } else {
        p->end = KILLED;
        procs_kill_session(p->pid, SIGKILL);
    }
}

static void on_done(struct stream *s)
{
    struct process *p = process_of(s);

    input_close(p);
    source_close(s->agent, &p->out[0]);
    source_close(s->agent, &p->out[1]);
    source_close(s->agent, &p->status);
    vivi_close(&p->lent.fd);
    vivi_close(&p->passed_fd);
    free(p->record);
    free(p->result);
    p->record = NULL;
    p->result = NULL;
}

static void on_stop(struct stream *s)
{
    struct process *p = process_of(s);

    on_done(s);
    if (p->pid == 0) {
        s->over = true;
        return;
    }
    if (p->end == RUNNING) {
        /* A worker holds nothing that a signal could not clear up: it removes what is half done. */
        p->end = ASKED_TO_END;
        s->due_ms = loop_now_ms() + KILL_GRACE;
        procs_kill_session(p->pid, p->worker != NULL ? SIGTERM : SIGHUP);
        procs_kill_session(p->pid, SIGCONT);
    }
}

static void on_resume(struct stream *s)
{
    struct process *p = process_of(s);

    output_pump(p, 0);
    output_pump(p, 1);
    finish(p);
}

static void on_control(struct stream *s, const struct vivi_aw_frame *f)
{
    struct process *p = process_of(s);
    const char *name = vivi_aw_field(f->payload, f->len, "signal");
    uint64_t rows = 0, cols = 0;

    if (p->worker != NULL || p->pid == 0)
        return;
    (void)vivi_aw_field_u64(f, "rows", UINT16_MAX, &rows, NULL);
    (void)vivi_aw_field_u64(f, "cols", UINT16_MAX, &cols, NULL);
    if (p->tty && rows > 0 && cols > 0 && p->out[0].fd >= 0) {
        const struct winsize size = {.ws_row = (uint16_t)rows, .ws_col = (uint16_t)cols};

        (void)ioctl(p->out[0].fd, TIOCSWINSZ, &size);
    }
    if (name != NULL && procs_signal(name) > 0) {
        pid_t group = p->tty && p->out[0].fd >= 0 ? tcgetpgrp(p->out[0].fd) : p->pid;

        if (group > 1)
            (void)kill(-group, procs_signal(name));
    }
}

static const struct stream_ops process_ops = {.data = on_data,
                                              .eof = on_eof,
                                              .control = on_control,
                                              .resume = on_resume,
                                              .expire = on_expire,
                                              .stop = on_stop,
                                              .done = on_done};

bool procs_is(const struct stream_ops *ops)
{
    return ops == &process_ops;
}

/* ---- the beginning -------------------------------------------------------------------------- */

/* In the child: never returns. */
static _Noreturn void become(struct plumbing *t, const struct worker *w,
                             const struct vivi_aw_frame *f, const struct child_request *q)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    child_begin();
    for (int i = 0; i < 3; i++) {
        int fd = t->child[i] >= 0 ? t->child[i] : null;

        if (fd >= 0)
            (void)dup2(fd, i);
    }
    child_keep_only(t->status[1]);
    if (w != NULL)
        worker_main(w, f, CHILD_STATUS_FD);
    child_exec(q, CHILD_STATUS_FD);
}

static void adopt(struct process *p, struct plumbing *t)
{
    struct agent *a = p->s.agent;

    source_open(&p->in, take_fd(&t->ours[0]), p, input_ready);
    source_open(&p->out[0], take_fd(&t->ours[1]), p, output_ready);
    source_open(&p->out[1], take_fd(&t->ours[2]), p, output_ready);
    source_open(&p->status, take_fd(&t->status[0]), p, status_ready);
    source_arm(a, &p->out[0], EPOLLIN);
    source_arm(a, &p->out[1], EPOLLIN);
    source_arm(a, &p->status, EPOLLIN);
}

/* What a request is while it is being started. */
struct start {
    const struct worker *w;
    const struct vivi_aw_frame *f;
    struct child_request q;
    struct plumbing t;
    char failure[CHILD_FAILURE_MAX];
    size_t failure_len;
};

/* The process, or −code. */
static pid_t begin(struct start *s, struct process *p, viv_error *err)
{
    struct vivi_aw_writer failure = VIVI_AW_WRITER(s->failure);
    pid_t pid;

    if (s->t.status[0] < 0) {
        pid = child_spawn(&s->q, s->t.child, &failure, err);
        s->failure_len = failure.len;
        return pid;
    }
    p->record = malloc(RECORD_BYTES);
    if (p->record == NULL)
        return vivi_fail_oom(err);
    pid = fork();
    if (pid < 0)
        return vivi_fail_errno(err, errno, "cannot make a process");
    if (pid == 0)
        become(&s->t, s->w, s->f, &s->q);
    return pid;
}

static void begun(struct agent *a, struct start *s, struct process *p, pid_t pid)
{
    p->lent.fd = p->passed_fd = -1;
    p->pid = pid;
    p->worker = s->w;
    p->tty = s->q.tty;
    p->slot = left_add(a, pid);
    streams_add(a, &p->s, &process_ops, s->f->stream);
    adopt(p, &s->t);
    p->s.due_ms = s->q.timeout_ms == 0 ? AGENT_NEVER : loop_now_ms() + s->q.timeout_ms;
    if (s->w != NULL)
        worker_opened(a, s->w, s->f);
    if (s->failure_len > 0)
        take_result(p, s->failure, s->failure_len);
    else if (p->status.fd < 0)
        tell_pid(p);
}

int process_open(struct agent *a, const struct vivi_aw_frame *f, viv_error *err)
{
    struct start s = {
        .w = worker_find(vivi_aw_kind(f->payload, f->len)), .f = f, .t = PLUMBING_NONE};
    struct process *p = calloc(1, sizeof(*p));
    pid_t pid = -1;
    int r;

    if (p == NULL)
        return vivi_fail_oom(err);
    r = s.w == NULL ? request_parse(f, &s.q, err) : 0;
    if (r == 0)
        r = plumbing_lay(&s.t, s.w, &s.q, err);
    if (r == 0 && (pid = begin(&s, p, err)) < 0)
        r = (int)pid;
    if (r == 0) {
        begun(a, &s, p, pid);
    } else {
        free(p->record);
        free(p);
    }
    plumbing_done(&s.t);
    return r;
}

void process_thaw(struct agent *a)
{
    if (fork() != 0)
        return;
    child_begin();
    freeze_thaw_all();
    _exit(0);
}
