/* Files between host and guest; see vivarium.h. Trees travel as base/agent_tree.h says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/agent_tree.h"
#include "base/fd.h"
#include "manager/job.h"

#define PIECE_BYTES 65536u

_Static_assert(PIECE_BYTES >= VIVI_TREE_ROOM_MIN, "a piece holds any record");

struct copy {
    struct vivi_tree_send *send;
    struct vivi_tree_receive *receive;
    char piece[PIECE_BYTES]; /* of the sender, handed out from at on */
    size_t at, len;
};

static void copy_done(void *ctx)
{
    struct copy *c = ctx;

    vivi_tree_send_free(c->send);
    vivi_tree_receive_free(c->receive);
    free(c);
}

/* The last component of a path, without slashes at its end; "" for one that has no name. */
static void last_name(const char *path, char ret[VIVI_TREE_NAME_MAX + 1])
{
    size_t end = strlen(path), begin;

    ret[0] = '\0';
    while (end > 0 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';)
        begin--;
    if (end - begin <= VIVI_TREE_NAME_MAX && vivi_tree_name_ok(path + begin, end - begin))
        (void)snprintf(ret, VIVI_TREE_NAME_MAX + 1, "%.*s", (int)(end - begin), path + begin);
}

static json_t *stats_json(const struct vivi_tree_stats *s)
{
    return json_pack("{s:I,s:I,s:I,s:o}", "entries", (json_int_t)s->entries, "bytes",
                     (json_int_t)s->bytes, "skipped", (json_int_t)s->skipped, "first_skipped",
                     vivi_json_str_or_null(s->first_skipped));
}

static json_t *one_file(uint64_t bytes)
{
    const struct vivi_tree_stats s = {.entries = 1, .bytes = bytes};

    return stats_json(&s);
}

/* ---- to the guest ---- */

static ssize_t tree_give(struct vivi_job *j, char *buf, size_t room, viv_error *err)
{
    struct copy *c = j->ctx;
    size_t n;

    if (c->at == c->len) {
        ssize_t got = vivi_tree_send_fill(c->send, c->piece, sizeof(c->piece), err);

        if (got <= 0)
            return got;
        c->at = 0;
        c->len = (size_t)got;
    }
    n = c->len - c->at < room ? c->len - c->at : room;
    memcpy(buf, c->piece + c->at, n);
    c->at += n;
    return (ssize_t)n;
}

static json_t *to_result(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err)
{
    struct copy *c = j->ctx;
    uint64_t bytes = j->done_bytes;
    json_t *doc;

    (void)vivi_aw_field_u64(f, "bytes", INT64_MAX, &bytes, NULL);
    doc = c->send ? stats_json(vivi_tree_send_stats(c->send)) : one_file(bytes);
    if (!doc)
        (void)vivi_fail_oom(err);
    return doc;
}

static const struct vivi_job_kind tree_to = {
    .result = to_result, .give = tree_give, .done = copy_done};
static const struct vivi_job_kind file_to = {.result = to_result, .done = copy_done};

static void put_mode(struct vivi_job *j, int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        vivi_job_put_i64(j, "mode", st.st_mode & 0777);
}

/* A job's context, which belongs to the job; NULL: out of memory. */
static struct copy *job_of(const struct vivi_job_kind *kind, struct vivi_job **ret, viv_error *err)
{
    struct copy *c = calloc(1, sizeof(*c));

    if (!c)
        (void)vivi_fail_oom(err);
    return c && vivi_job_new(kind, c, ret, err) == 0 ? c : NULL;
}

static int file_to_request(const char *to, int fd, const viv_opts *o, struct vivi_job **ret,
                           viv_error *err)
{
    int r = job_of(&file_to, ret, err) ? 0 : -VIV_E_NO_MEMORY;

    if (r == 0)
        r = vivi_job_end_set(*ret, VIVI_JOB_STDIN, fd, err);
    if (r < 0)
        return r;
    vivi_job_put(*ret, NULL, "write");
    vivi_job_put(*ret, "path", to);
    put_mode(*ret, fd);
    if (vivi_opt_bool(o, "mkdir", false))
        vivi_job_put(*ret, "mkdir", "1");
    return 0;
}

static int tree_to_request(const char *from, const char *to, const viv_opts *o,
                           struct vivi_job **ret, viv_error *err)
{
    char name[VIVI_TREE_NAME_MAX + 1];
    struct copy *c = job_of(&tree_to, ret, err);
    int r;

    if (!c)
        return -VIV_E_NO_MEMORY;
    r = vivi_tree_send_new(AT_FDCWD, from, vivi_opt_bool(o, "follow", false), &c->send, err);
    if (r < 0)
        return r;
    (*ret)->sends = true;
    last_name(from, name);
    vivi_job_put(*ret, NULL, "tree-write");
    vivi_job_put(*ret, "path", to);
    if (*name)
        vivi_job_put(*ret, "name", name);
    if (vivi_opt_bool(o, "mkdir", false))
        vivi_job_put(*ret, "mkdir", "1");
    return 0;
}

int viv_vm_copy_to(viv_vm *m, const char *from, const char *to, const viv_opts *o, viv_op **ret_op,
                   viv_rec **ret_result, viv_error *err)
{
    int fd = (int)vivi_opt_i64(o, "fd", -1);
    struct vivi_job *j = NULL;
    int r = vivi_opts_only(o, "copy", "fd mkdir follow timeout_ms connect_ms", err);

    if (r == 0 && (!from == (fd < 0)))
        r = vivi_fail(err, VIV_E_INVALID, "a path or a descriptor is copied, one of them");
    if (r == 0)
        r = from ? tree_to_request(from, to, o, &j, err) : file_to_request(to, fd, o, &j, err);
    if (r < 0) {
        vivi_job_free(j);
        return r;
    }
    return vivi_job_submit(m, j, o, ret_op, ret_result, err);
}

/* ---- from the guest ---- */

static int tree_take(struct vivi_job *j, const char *data, size_t len, viv_error *err)
{
    struct copy *c = j->ctx;

    return vivi_tree_receive_feed(c->receive, data, len, err);
}

static json_t *from_result(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err)
{
    struct copy *c = j->ctx;
    json_t *doc;

    (void)f;
    if (c->receive && vivi_tree_receive_end(c->receive, err) < 0)
        return NULL;
    doc = c->receive ? stats_json(vivi_tree_receive_stats(c->receive)) : one_file(j->done_bytes);
    if (!doc)
        (void)vivi_fail_oom(err);
    return doc;
}

static const struct vivi_job_kind tree_from = {
    .result = from_result, .take = tree_take, .done = copy_done};
static const struct vivi_job_kind file_from = {.result = from_result, .done = copy_done};

/* Where the tree goes: into an existing directory under its own name, else as what to names. */
static int open_target(const char *from, const char *to, struct copy *c, viv_error *err)
{
    cleanup_free char *parent = strdup(to);
    char name[VIVI_TREE_NAME_MAX + 1];
    cleanup_close int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t n;

    if (!parent)
        return vivi_fail_oom(err);
    if (fd >= 0) {
        last_name(from, name);
        if (!*name)
            return vivi_fail(err, VIV_E_INVALID, "%s has no name of its own: say what it becomes",
                             from);
        return vivi_tree_receive_new(fd, name, 0, &c->receive, err);
    }
    last_name(to, name);
    if (!*name)
        return vivi_fail(err, VIV_E_NOT_FOUND, "%s: no such directory", to);
    for (n = strlen(parent); n > 0 && parent[n - 1] == '/';)
        n--;
    while (n > 0 && parent[n - 1] != '/')
        n--;
    parent[n] = '\0';
    fd = open(*parent ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", *parent ? parent : ".");
    return vivi_tree_receive_new(fd, name, 0, &c->receive, err);
}

static int from_request(const char *from, const char *to, int fd, struct vivi_job **ret,
                        viv_error *err)
{
    struct copy *c = job_of(to ? &tree_from : &file_from, ret, err);
    int r;

    if (!c)
        return -VIV_E_NO_MEMORY;
    r = to ? open_target(from, to, c, err) : vivi_job_end_set(*ret, VIVI_JOB_STDOUT, fd, err);
    if (r < 0)
        return r;
    vivi_job_put(*ret, NULL, to ? "tree-read" : "read");
    vivi_job_put(*ret, "path", from);
    return 0;
}

int viv_vm_copy_from(viv_vm *m, const char *from, const char *to, const viv_opts *o,
                     viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    int fd = (int)vivi_opt_i64(o, "fd", -1);
    struct vivi_job *j = NULL;
    int r = vivi_opts_only(o, "copy", "fd timeout_ms connect_ms", err);

    if (r == 0 && (!to == (fd < 0)))
        r = vivi_fail(err, VIV_E_INVALID, "it goes to a path or a descriptor, one of them");
    if (r == 0)
        r = from_request(from, to, fd, &j, err);
    if (r < 0) {
        vivi_job_free(j);
        return r;
    }
    return vivi_job_submit(m, j, o, ret_op, ret_result, err);
}
