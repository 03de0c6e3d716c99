#include "cli/ops.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "cli/select.h"
#include "cli/signals.h"

#define INTERRUPTED 130

struct flight {
    struct vivi_cli *c;
    const struct vivi_verb *verb;
    struct vivi_job *jobs;
    size_t n, told; /* jobs, and how many of them were reported */
    struct vivi_progress progress;
    bool print;
};

int vivi_verb_timeout(struct vivi_cli *c, viv_opts *o, viv_error *err)
{
    int64_t ms;
    int r = vivi_args_duration(&c->args, "--timeout", &ms, err);

    return r > 0 ? viv_opts_set_i64(o, "timeout_ms", ms, err) : r;
}

int vivi_verb_async(struct vivi_cli *c, viv_opts *o, viv_error *err)
{
    return vivi_args_has(&c->args, "--async") ? viv_opts_set_bool(o, "async", 1, err) : 0;
}

const char *vivi_job_name(const struct vivi_job *job)
{
    return job->vm ? viv_vm_name(job->vm) : job->target;
}

static void job_done(struct vivi_job *job)
{
    viv_op_free(job->op);
    viv_rec_free(job->result);
    json_decref(job->merged);
    viv_vm_free(job->vm);
}

/* ---- beginning and finishing one ---- */

static void job_fail(struct vivi_job *job)
{
    job->finished = job->failed = true;
}

static void job_begin(struct flight *f, struct vivi_job *job)
{
    if (!job->vm && viv_lookup(f->c->v, job->target, &job->vm, &job->err) < 0) {
        job_fail(job);
        return;
    }
    job->step = 1;
    if ((f->verb->begin_with
             ? f->verb->begin_with(job, f->verb->ctx)
             : f->verb->begin(job->vm, f->verb->opts, &job->op, NULL, &job->err)) < 0)
        job_fail(job);
}

static void merge_result(struct vivi_job *job)
{
    json_t *rec = vivi_rec_to_json(job->result);

    if (rec && job->merged) {
        (void)json_object_del(rec, "changed");
        (void)json_object_update(job->merged, rec);
        json_decref(rec);
    } else if (rec) {
        job->merged = rec;
    }
}

static void job_collect(struct flight *f, struct vivi_job *job)
{
    int r;

    viv_rec_free(job->result);
    job->result = NULL;
    r = viv_op_wait(job->op, 0, &job->result, &job->err);
    viv_op_free(take_ptr(job->op));
    if (r < 0) {
        if (!f->verb->again || !f->verb->again(job, f->verb->ctx))
            job_fail(job);
        return;
    }
    merge_result(job);
    if (f->verb->next && f->verb->next(f->c, job, f->verb->ctx) < 0)
        job_fail(job);
    else if (!job->op)
        job->finished = true;
    job->step++;
}

/* Whatever answered, every key is there. */
static json_t *result_record(const struct vivi_verb *verb, const struct vivi_job *job)
{
    static const char *const keys[] = {"state", "ready", "ip",           "reason", "rung",
                                       "run",   "boot",  "accel_notice", "op"};
    json_t *rec = json_pack("{s:s, s:s?, s:b}", "name", vivi_job_name(job), "uuid",
                            job->vm ? viv_vm_uuid(job->vm) : NULL, "changed", 0);
    int bad = !rec;

    if (rec && job->merged)
        bad |= json_object_update(rec, job->merged);
    for (size_t i = 0; i < ARRAY_SIZE(keys) && !bad; i++) {
        if (!json_object_get(rec, keys[i]))
            bad |= json_object_set_new(rec, keys[i], json_null());
    }
    if (!bad && verb->extend)
        bad |= verb->extend(job, rec, verb->ctx);
    if (!bad)
        return rec;
    json_decref(rec);
    return NULL;
}

/* --async: it goes on in the monitor. */
static const char *accepted(const struct vivi_job *job)
{
    return json_string_value(json_object_get(job->merged, "op"));
}

static void tell(struct flight *f, struct vivi_job *job)
{
    struct vivi_cli *c = f->c;

    vivi_progress_clear(&f->progress);
    if (job->failed && f->verb->ignore_missing && job->err.code == VIV_E_NOT_FOUND) {
        if (vivi_cli_structured(c) && !c->quiet)
            (void)vivi_cli_record(c, result_record(f->verb, job));
        return;
    }
    if (job->failed) {
        (void)vivi_cli_fail(c, vivi_job_name(job), &job->err);
        if (f->verb->explain && c->format != VIVI_FORMAT_JSON)
            f->verb->explain(c, job);
        return;
    }
    if (!f->print)
        return;
    if (c->quiet) {
        (void)printf("%s\n", vivi_job_name(job));
    } else if (vivi_cli_structured(c) && !f->verb->own_form) {
        (void)vivi_cli_record(c, result_record(f->verb, job));
    } else if (accepted(job)) {
        (void)printf("%s: %s (op %s)\n", vivi_job_name(job), f->verb->doing, accepted(job));
    } else if (f->verb->say) {
        f->verb->say(c, job);
    }
    (void)fflush(stdout);
}

static void tell_finished(struct flight *f)
{
    while (f->told < f->n && f->jobs[f->told].finished)
        tell(f, &f->jobs[f->told++]);
}

/* ---- waiting ---- */

static int interrupted(struct flight *f)
{
    vivi_progress_clear(&f->progress);
    for (size_t i = f->told; i < f->n; i++) {
        const char *name = vivi_job_name(&f->jobs[i]);

        if (f->jobs[i].finished)
            tell(f, &f->jobs[i]);
        else if (f->verb->starts)
            vivi_cli_note(f->c, "%s goes on; stop it: viv stop %s", name, name);
        else
            vivi_cli_note(f->c, "%s: %s goes on", name, f->verb->doing);
    }
    return INTERRUPTED;
}

/* "changing web: memory.size 40 %": what is being done, and how far it got. */
static void describe_one(const struct flight *f, char *ret, size_t size)
{
    const struct vivi_job *job = &f->jobs[0];
    cleanup_rec viv_rec *note = NULL;
    const char *path = NULL;
    uint64_t done, total;
    int n = snprintf(ret, size, "%s %s", f->verb->doing, vivi_job_name(job));

    if (!job->op || n < 0 || (size_t)n >= size || viv_op_note(job->op, &note, NULL) < 0)
        return;
    path = viv_rec_str(note, "path");
    if (path && viv_op_progress(job->op, &done, &total) >= 0)
        (void)snprintf(ret + n, size - (size_t)n, ": %.60s %d %%", path,
                       (int)(done >= total ? 100 : (double)done * 100 / (double)total));
    else if (path)
        (void)snprintf(ret + n, size - (size_t)n, ": %.60s", path);
}

static void show_progress(struct flight *f)
{
    size_t open = f->n - f->told;
    char text[128];

    if (open == 0)
        return;
    if (f->n == 1)
        describe_one(f, text, sizeof(text));
    else
        (void)snprintf(text, sizeof(text), "%s %zu of %zu", f->verb->doing, open, f->n);
    vivi_progress_show(&f->progress, text);
}

static int sooner(int a, int64_t b)
{
    if (b < 0 || (a >= 0 && a < b))
        return a;
    return b > INT_MAX ? INT_MAX : (int)b;
}

static int turn(struct flight *f, int signal_fd, viv_error *err)
{
    viv *v = f->c->v;
    struct pollfd fds[2] = {{.fd = viv_fd(v), .events = POLLIN},
                            {.fd = signal_fd, .events = POLLIN}};
    int timeout = sooner(vivi_progress_wait_ms(&f->progress), viv_timeout_ms(v));
    int r;

    if (poll(fds, 2, timeout) < 0 && errno != EINTR)
        return vivi_fail_errno(err, errno, "poll");
    if (vivi_signals_next())
        return -VIV_E_CANCELLED;
    r = viv_dispatch(v, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < f->n; i++) {
        if (f->jobs[i].op && viv_op_done(f->jobs[i].op))
            job_collect(f, &f->jobs[i]);
    }
    tell_finished(f);
    show_progress(f);
    return 0;
}

static int fly(struct flight *f)
{
    viv_error err = VIV_ERROR_INIT;
    int signal_fd, r = vivi_signals_catch(&signal_fd, &err);

    if (r < 0)
        return vivi_cli_fail(f->c, NULL, &err);
    vivi_progress_begin(&f->progress, f->c->err_tty && f->c->format != VIVI_FORMAT_JSON);
    for (size_t i = 0; i < f->n; i++)
        job_begin(f, &f->jobs[i]);
    tell_finished(f);
    while (f->told < f->n) {
        r = turn(f, signal_fd, &err);
        if (r == -VIV_E_CANCELLED)
            return interrupted(f);
        if (r < 0)
            return vivi_cli_fail(f->c, NULL, &err);
    }
    return f->c->code;
}

int vivi_verb_run_on(struct vivi_cli *c, const struct vivi_verb *verb, const char *const *words,
                     size_t n_words)
{
    cleanup_selection struct vivi_selection sel = {0};
    struct flight f = {.c = c, .verb = verb, .print = true};
    int code = vivi_cli_open(c, VIV_OPEN_CREATE);

    if (code == 0)
        code = vivi_select(c, words, n_words, verb->states, &sel);
    if (code)
        return code;
    f.jobs = calloc(sel.n + 1, sizeof(*f.jobs));
    if (!f.jobs)
        return vivi_cli_oom(c);
    f.n = sel.n;
    for (size_t i = 0; i < f.n; i++) {
        f.jobs[i].target = sel.names[i];
        f.jobs[i].err.size = sizeof(viv_error);
    }
    vivi_cli_records(c, sel.several);
    code = fly(&f);
    for (size_t i = 0; i < f.n; i++)
        job_done(&f.jobs[i]);
    free(f.jobs);
    if (code != INTERRUPTED)
        (void)vivi_cli_records_end(c);
    return code ? code : c->code;
}

int vivi_verb_run(struct vivi_cli *c, const struct vivi_verb *verb)
{
    return vivi_verb_run_on(c, verb, c->args.words, c->args.n_words);
}

int vivi_verb_run_vm(struct vivi_cli *c, const struct vivi_verb *verb, viv_vm *vm, bool print)
{
    struct vivi_job job = {.target = viv_vm_name(vm), .vm = vm, .err = VIV_ERROR_INIT};
    struct flight f = {.c = c, .verb = verb, .jobs = &job, .n = 1, .print = print};
    int code = fly(&f);

    job.vm = NULL; /* the caller's */
    job_done(&job);
    return code;
}
