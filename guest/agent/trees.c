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

int work_tree_read(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    static char buf[COPY_BYTES];
    const char *path = request_path(q, err);
    bool follow = vivi_aw_field(q->payload, q->len, "follow") != NULL;
    struct vivi_tree_send *t = NULL;
    ssize_t n = 0;
    int r = path == NULL ? -err->code : vivi_tree_send_new(AT_FDCWD, path, follow, &t, err);

    while (r == 0 && (n = vivi_tree_send_fill(t, buf, sizeof(buf), err)) > 0)
        r = write_out(buf, (size_t)n, err);
    if (r == 0 && n < 0)
        r = (int)n;
    if (r == 0)
        put_stats(ret, vivi_tree_send_stats(t));
    vivi_tree_send_free(t);
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
