/* The caller's descriptors of a job: see job.h for what may be assumed of them. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/job.h"

#define STREAM     1u
#define OUT_ENOUGH VIVI_AW_WINDOW /* so much may wait for the monitor before more is read */

/*
 * Writing to a pipe that nobody reads raises SIGPIPE, which would end a caller that does not know
 * of it. It is held back for this thread during the write, and taken away if it came of it.
 */
static ssize_t write_quietly(int fd, const void *data, size_t len)
{
    const struct timespec now = {0, 0};
    sigset_t pipe_only, before, pending;
    bool was_pending, blocked;
    ssize_t n;
    int saved;

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    blocked = pthread_sigmask(SIG_BLOCK, &pipe_only, &before) == 0;
    n = write(fd, data, len);
    saved = errno;
    if (n < 0 && saved == EPIPE && blocked && !was_pending)
        while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR)
            ;
    if (blocked)
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return n;
}

/* ---- watching ---- */

static void unwatch(struct vivi_job_end *e)
{
    if (e->watched && e->job->op->v)
        vivi_poll_del(&e->job->op->v->poll, e->fd);
    e->watched = false;
}

/* Level-triggered, and hang-ups are told whatever is asked for: so only what is wanted is in the
 * set at all. False: it cannot be waited for, it is always ready. */
static bool watch(struct vivi_job_end *e, unsigned events)
{
    if (e->watched)
        return true;
    e->watched = vivi_poll_add(&e->job->op->v->poll, e->fd, events, &e->source, NULL) == 0;
    return e->watched;
}

static bool is_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) > 0;
}

static void on_end(void *arg, unsigned events)
{
    struct vivi_job_end *e = arg;

    (void)events;
    unwatch(e);
    (void)vivi_job_move(e->job);
}

void vivi_job_ends_close(struct vivi_job *j)
{
    for (int i = 0; i < VIVI_JOB_ENDS; i++) {
        unwatch(&j->ends[i]);
        vivi_close(&j->ends[i].fd);
    }
}

/* ---- output ---- */

void vivi_job_give_credit(struct vivi_job *j, size_t n)
{
    unsigned char value[4];
    uint32_t back = vivi_aw_credit_consumed(&j->credit, n);
    struct vivi_aw_frame f;

    if (back == 0 || j->result)
        return;
    f = vivi_aw_credit_frame(STREAM, back, value);
    (void)vivi_job_send(j, &f);
}

/* 1 written, 0 it takes nothing now, < 0 nobody reads it. */
static int write_some(struct vivi_job_end *e)
{
    size_t n = e->buf.len;
    ssize_t done;

    if (!is_ready(e->fd, POLLOUT))
        return 0;
    if (n > PIPE_BUF && lseek(e->fd, 0, SEEK_CUR) < 0)
        n = PIPE_BUF; /* no file: more could block */
    done = write_quietly(e->fd, e->buf.data, n);
    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (done < 0)
        return -errno;
    vivi_buf_consume(&e->buf, (size_t)done);
    e->job->done_bytes += (uint64_t)done;
    vivi_job_give_credit(e->job, (size_t)done);
    return 1;
}

static int write_all(struct vivi_job *j, viv_error *err)
{
    for (int i = VIVI_JOB_STDOUT; i <= VIVI_JOB_STDERR; i++) {
        struct vivi_job_end *e = &j->ends[i];
        int r = 1;

        while (e->fd >= 0 && e->buf.len > 0 && r > 0)
            r = write_some(e);
        if (r < 0)
            return vivi_fail_errno(err, -r, "cannot write the output");
        e->source = (struct vivi_source){on_end, e};
        if (e->fd >= 0 && e->buf.len > 0)
            (void)watch(e, VIVI_POLL_WRITE);
        else
            unwatch(e);
    }
    return 0;
}

static bool drained(const struct vivi_job *j)
{
    return j->ends[VIVI_JOB_STDOUT].buf.len == 0 && j->ends[VIVI_JOB_STDERR].buf.len == 0;
}

/* ---- input ---- */

static void end_input(struct vivi_job *j)
{
    j->ends[VIVI_JOB_STDIN].eof = true;
    unwatch(&j->ends[VIVI_JOB_STDIN]);
    (void)vivi_job_send(j, &(struct vivi_aw_frame){
                               .type = VIVI_AW_EOF, .channel = VIVI_AW_STDIN, .stream = STREAM});
}

static ssize_t next_piece(struct vivi_job *j, char *buf, size_t room, viv_error *err)
{
    struct vivi_job_end *e = &j->ends[VIVI_JOB_STDIN];
    ssize_t n;

    if (e->fd < 0)
        return j->kind->give(j, buf, room, err);
    if (!is_ready(e->fd, POLLIN))
        return -VIV_E_BUSY;
    n = read(e->fd, buf, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -VIV_E_BUSY;
    if (n < 0 && errno == EIO) /* a terminal that is gone */
        return 0;
    return n < 0 ? vivi_fail_errno(err, errno, "cannot read the input") : n;
}

static int read_input(struct vivi_job *j, viv_error *err)
{
    struct vivi_job_end *e = &j->ends[VIVI_JOB_STDIN];
    char piece[VIVI_AW_DATA_BEST];
    ssize_t n = 0;

    e->source = (struct vivi_source){on_end, e};
    while (j->opened && j->sends && !e->eof && j->credit.send > 0 && j->out.len < OUT_ENOUGH) {
        n = next_piece(j, piece, j->credit.send < sizeof(piece) ? j->credit.send : sizeof(piece),
                       err);
        if (n == 0)
            end_input(j);
        if (n <= 0)
            break;
        if (e->fd < 0)
            j->done_bytes += (uint64_t)n;
        vivi_aw_credit_sent(&j->credit, (size_t)n);
        if (!vivi_job_send(j, &(struct vivi_aw_frame){.type = VIVI_AW_DATA,
                                                      .channel = VIVI_AW_STDIN,
                                                      .stream = STREAM,
                                                      .payload = piece,
                                                      .len = (size_t)n}))
            return vivi_fail_oom(err);
    }
    if (n == -VIV_E_BUSY)
        (void)watch(e, VIVI_POLL_READ);
    else
        unwatch(e);
    return n < 0 && n != -VIV_E_BUSY ? (int)n : 0;
}

bool vivi_job_move(struct vivi_job *j)
{
    viv_error err = VIV_ERROR_INIT;
    int r = write_all(j, &err);

    if (r == 0 && !j->result)
        r = read_input(j, &err);
    if (r < 0) {
        vivi_job_fail(j, &err);
        return false;
    }
    if (!j->result || !drained(j))
        return true;
    vivi_op_replied(j->op, json_incref(j->result), -1);
    return false;
}
