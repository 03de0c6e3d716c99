/* viv start */
#include "cli/start.h"

#include <string.h>

#include "cli/making.h"
#include "cli/say.h"
#include "cli/select.h"

#define EMULATED_FACTOR 3

static int64_t ready_timeout(const struct vivi_start *s, viv_vm *vm)
{
    cleanup_rec viv_rec *info = NULL;
    const char *accel;
    int64_t ms;

    if (s->timeout_ms)
        return s->timeout_ms;
    if (viv_vm_info(vm, &info, NULL) < 0 || viv_rec_i64(info, "config.ready.timeout", &ms) < 0)
        return 120000;
    accel = viv_rec_str(info, "accel");
    return accel && !strcmp(accel, "tcg") ? ms * EMULATED_FACTOR : ms;
}

int vivi_start_await(const struct vivi_start *s, viv_vm *vm, viv_op **ret_op, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r >= 0)
        r = viv_opts_set_str(o, "until", "ready", err);
    if (r >= 0)
        r = viv_opts_set_i64(o, "timeout_ms", ready_timeout(s, vm), err);
    return r < 0 ? r : viv_vm_wait(vm, o, ret_op, NULL, err);
}

/* --unless-stopped found that it was. */
static bool stays_stopped(const struct vivi_job *job)
{
    const char *state = viv_rec_str(job->result, "state");
    int changed = 1;

    (void)viv_rec_bool(job->result, "changed", &changed);
    return !changed && state && vivi_select_state(VIVI_STATES_IDLE, state);
}

int vivi_start_next(struct vivi_cli *c, struct vivi_job *job, const void *ctx)
{
    const struct vivi_start *s = ctx;

    if (job->step == 1)
        vivi_say_accel(c, job->result);
    if (job->step > 1 || !s->wait || stays_stopped(job))
        return 0;
    return vivi_start_await(s, job->vm, &job->op, &job->err);
}

static void say_started(struct vivi_cli *c, const struct vivi_job *job)
{
    if (stays_stopped(job))
        (void)printf("%s: stays stopped, as it was asked to; viv start %s starts it\n",
                     vivi_job_name(job), vivi_job_name(job));
    else if (vivi_args_has(&c->args, "--wait"))
        vivi_say_ready(c, stdout, job);
    else
        vivi_say_state(c, job, "running");
}

/* --dry-run: the plan of what is recorded. */
static int print_plan(struct vivi_cli *c, const char *target)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_rec viv_rec *info = NULL;
    cleanup_json json_t *doc = NULL;
    cleanup_json json_t *shown = NULL;
    cleanup_free char *text = NULL;
    cleanup_doc viv_config *config = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_lookup(c->v, target, &vm, &err) < 0)
        return vivi_cli_fail(c, target, &err);
    if (viv_vm_info(vm, &info, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    doc = vivi_rec_to_json(info);
    /* Only the form that people write can be parsed again. */
    if (doc && vivi_config_present(json_object_get(doc, "config"), &shown, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    text = shown ? json_dumps(shown, JSON_COMPACT) : NULL;
    if (!text)
        return vivi_cli_oom(c);
    if (viv_config_parse(text, strlen(text), NULL, &config, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    return vivi_plan_print(c, viv_vm_name(vm), config);
}

static int dry_run(struct vivi_cli *c)
{
    cleanup_selection struct vivi_selection sel = {0};
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code == 0)
        code = vivi_select(c, c->args.words, c->args.n_words, VIVI_STATES_IDLE, &sel);
    if (code)
        return code;
    vivi_cli_records(c, sel.several);
    for (size_t i = 0; i < sel.n; i++)
        (void)vivi_cli_code(c, print_plan(c, sel.names[i]));
    (void)vivi_cli_records_end(c);
    return c->code;
}

int vivi_start_opts(viv_opts **ret, viv_error *err)
{
    int r = viv_opts_new(ret, err);

    return r < 0 ? r : viv_opts_set_bool(*ret, "own_fds", 1, err);
}

int vivi_cmd_start(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_start s = {.wait = vivi_args_has(&c->args, "--wait")};
    struct vivi_verb verb = {.doing = "starting",
                             .states = VIVI_STATES_IDLE,
                             .begin = viv_vm_start,
                             .next = vivi_start_next,
                             .say = say_started,
                             .explain = vivi_explain_wait,
                             .starts = true,
                             .ctx = &s};
    int64_t ms = 0;
    int given = vivi_args_duration(&c->args, "--timeout", &ms, &err);

    if (vivi_args_has(&c->args, "--dry-run"))
        return dry_run(c);
    if (given < 0 || vivi_start_opts(&o, &err) < 0 ||
        (given && !s.wait && viv_opts_set_i64(o, "timeout_ms", ms, &err) < 0) ||
        (vivi_args_has(&c->args, "--unless-stopped") &&
         viv_opts_set_bool(o, "unless_stopped", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    if (s.wait)
        s.timeout_ms = ms;
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
