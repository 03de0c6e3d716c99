/* trees.c: the workers of tree-read and tree-write; the trees themselves are base/agent_tree.h's.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/agent_tree.h"
#include "paths.h"

#define COPY_BYTES (128u << 10)
/* With its head it fits the pages of the pipe that leads to the agent. */
#define PIPED_BYTES (60u << 10)
#define PIPED_MIN   (16u << 10)
#define PIPE_BYTES  (2 * PIPED_BYTES) /* also when the data does not begin with a page */

static void put_stats(struct vivi_aw_writer *w, const struct vivi_tree_stats *s)
{
    vivi_aw_put_u64(w, "entries", s->entries);
    vivi_aw_put_u64(w, "bytes", s->bytes);
    if (s->skipped > 0) {
        vivi_aw_put_u64(w, "skipped", s->skipped);
        vivi_aw_put(w, "first_skipped", s->first_skipped);
    }
}

static int write_out(const char *data, size_t len, viv_error *err)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(STDOUT_FILENO, data + at, len - at);

        if (worker_stopped())
            return vivi_fail(err, VIV_E_CANCELLED, "stopped");
        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot send");
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/*
 * Much data of a file goes page by page, without being copied: into a pipe of our own, behind its
 * head, and from there on as one. How much was gathered: 0 when there is little, or it must be
 * copied: a file that became shorter meanwhile, a file system without splice(2).
 */
static size_t gather_data(struct vivi_tree_send *t, int pipe_fd[2])
{
    struct vivi_tree_record r = {.kind = 'C'};
    unsigned char head[VIVI_TREE_HEAD];
    struct vivi_tree_data d;
    ssize_t n;

    if (pipe_fd[1] < 0 || !vivi_tree_send_data(t, PIPED_BYTES, &d) || d.len < PIPED_MIN)
        return 0;
    r.size = d.at;
    r.extra_len = (uint32_t)d.len;
    vivi_tree_encode(&r, head);
    n = write(pipe_fd[1], head, sizeof(head));
    for (size_t done = 0; n > 0 && done < d.len; done += n > 0 ? (size_t)n : 0) {
        loff_t at = (loff_t)(d.at + done);

        n = splice(d.fd, &at, pipe_fd[1], NULL, d.len - done, 0);
    }
    if (n <= 0) { /* with it goes what it holds: a part, under a head that promises the whole */
        vivi_close(&pipe_fd[0]);
        vivi_close(&pipe_fd[1]);
        return 0;
    }
    vivi_tree_send_passed(t, d.len);
    return VIVI_TREE_HEAD + d.len;
}

static int pass_on(int pipe_fd, size_t len, viv_error *err)
{
    while (len > 0) {
        ssize_t n = splice(pipe_fd, NULL, STDOUT_FILENO, NULL, len, 0);

        if (worker_stopped())
            return vivi_fail(err, VIV_E_CANCELLED, "stopped");
        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot send");
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Data that the agent reads by itself. */
static int lend_data(struct vivi_tree_send *t, viv_error *err)
{
    struct vivi_tree_data d;
    uint64_t sent;
    int r;

    if (!vivi_tree_send_data(t, SIZE_MAX, &d))
        return 0;
    r = worker_lend(d.fd, d.at, d.len, true, &sent, err);
    if (r == 0)
        vivi_tree_send_passed(t, (size_t)sent);
    return r;
}

static int send_tree(struct vivi_tree_send *t, int pipe_fd[2], viv_error *err)
{
    static char buf[COPY_BYTES];
    int r = 0;

    vivi_tree_send_apart(t);
    while (r == 0) {
        size_t gathered;
        ssize_t n;

        r = lend_data(t, err);
        if (r < 0)
            return r;
        gathered = gather_data(t, pipe_fd);
        if (gathered > 0) {
            r = pass_on(pipe_fd[0], gathered, err);
            continue;
        }
        n = vivi_tree_send_fill(t, buf, sizeof(buf), err);
        if (n <= 0)
            return (int)n;
        r = write_out(buf, (size_t)n, err);
    }
    return r;
}

int work_tree_read(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    const char *path = request_path(q, err);
    bool follow = vivi_aw_field(q->payload, q->len, "follow") != NULL;
    struct vivi_tree_send *t = NULL;
    int pipe_fd[2] = {-1, -1};
    int r = path == NULL ? -err->code : vivi_tree_send_new(AT_FDCWD, path, follow, &t, err);

    if (r == 0 && pipe2(pipe_fd, O_CLOEXEC) == 0)
        (void)fcntl(pipe_fd[1], F_SETPIPE_SZ, PIPE_BYTES);
    if (r == 0)
        r = send_tree(t, pipe_fd, err);
    if (r == 0)
        put_stats(ret, vivi_tree_send_stats(t));
    vivi_tree_send_free(t);
    vivi_close(&pipe_fd[0]);
    vivi_close(&pipe_fd[1]);
    return r;
}

/* Feeds the receiver with all of channel 0. */
static int take_tree(struct vivi_tree_receive *t, viv_error *err)
{
    static char buf[COPY_BYTES];
    ssize_t n;
    int r = 0;

    while (r == 0 && !worker_stopped() && (n = read(STDIN_FILENO, buf, sizeof(buf))) != 0) {
        if (n > 0)
            r = vivi_tree_receive_feed(t, buf, (size_t)n, err);
        else if (errno != EINTR)
            r = vivi_fail_errno(err, errno, "cannot receive");
    }
    if (r == 0 && !worker_input_complete())
        r = vivi_fail(err, VIV_E_CANCELLED, "stopped");
    return r == 0 ? vivi_tree_receive_end(t, err) : r;
}

int work_tree_write(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    unsigned flags = vivi_aw_field(q->payload, q->len, "owner") != NULL ? VIVI_TREE_OWNER : 0;
    struct vivi_tree_receive *t = NULL;
    char target[PATH_MAX], *slash;
    cleanup_close int fd = -1;
    int r = request_target(q, target, err);

    if (r < 0)
        return r;
    slash = strrchr(target, '/');
    if (slash[1] == '\0')
        return vivi_fail(err, VIV_E_INVALID, "the root directory cannot be a copy's target");
    *slash = '\0';
    fd = open(slash == target ? "/" : target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", target);
    r = vivi_tree_receive_new(fd, slash + 1, flags, &t, err);
    if (r == 0)
        r = take_tree(t, err);
    if (r == 0)
        put_stats(ret, vivi_tree_receive_stats(t));
    vivi_tree_receive_free(t);
    return r;
}
