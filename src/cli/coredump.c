/* viv coredump: the file is made here, by whoever asks, and is never another one's. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/say.h"
#include "model/parse.h"

struct target {
    const char *path;
    int fd;
    const viv_opts *opts;
};

static int begin_dump(struct vivi_job *job, const void *ctx)
{
    const struct target *t = ctx;

    return viv_vm_coredump(job->vm, t->fd, t->opts, &job->op, NULL, &job->err);
}

static int add_path(const struct vivi_job *job, json_t *record, const void *ctx)
{
    const struct target *t = ctx;

    (void)job;
    return json_object_set_new(record, "file", json_string(t->path));
}

static void say_dumped(struct vivi_cli *c, const struct vivi_job *job)
{
    int64_t bytes = 0;
    char size[24];

    (void)viv_rec_i64(job->result, "size_bytes", &bytes);
    vivi_format_size((uint64_t)bytes, size);
    (void)printf("%s: %s in %s\n", vivi_job_name(job), size, c->args.words[1]);
}

static int make_file(struct target *t, viv_error *err)
{
    t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (t->fd >= 0)
        return 0;
    return errno == EEXIST ? vivi_fail(err, VIV_E_EXISTS, "%s: exists already", t->path)
                           : vivi_fail_errno(err, errno, "%s", t->path);
}

int vivi_cmd_coredump(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code;
    struct target t = {.fd = -1};
    const struct vivi_verb verb = {.doing = "dumping",
                                   .begin_with = begin_dump,
                                   .extend = add_path,
                                   .say = say_dumped,
                                   .ctx = &t};

    if (c->args.n_words != 2)
        return vivi_cli_usage(c, "viv help coredump",
                              "needs a VM and a file: viv coredump web web.core");
    if (viv_opts_new(&o, &err) < 0 || vivi_verb_timeout(c, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    t.opts = o;
    t.path = c->args.words[1];
    if (make_file(&t, &err) < 0)
        return vivi_cli_fail(c, c->args.words[0], &err);
    code = vivi_verb_run_on(c, &verb, c->args.words, 1);
    if (code)
        (void)unlink(t.path);
    vivi_close(&t.fd);
    return code;
}
