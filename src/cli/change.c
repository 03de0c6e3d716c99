/* How changes are asked for and told: apply, set, edit, device, resize. */
#include "cli/change.h"

#include <string.h>

#include "base/buf.h"
#include "cli/escape.h"
#include "model/diff.h"

#define TRIES 64 /* somebody else changes it all the time; each time one of us gets through */

int vivi_changing_flags(struct vivi_cli *c, struct vivi_changing *ret)
{
    viv_error err = VIV_ERROR_INIT;

    ret->dry_run = vivi_args_has(&c->args, "--dry-run");
    ret->next = vivi_args_has(&c->args, "--next");
    ret->live = vivi_args_has(&c->args, "--live");
    ret->async = vivi_args_has(&c->args, "--async");
    ret->force = vivi_args_has(&c->args, "--force");
    if (ret->next && ret->live)
        return vivi_cli_usage(c, "without both it changes what it can now, and the next start",
                              "--next and --live exclude each other");
    if (vivi_args_duration(&c->args, "--timeout", &ret->timeout_ms, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return 0;
}

/* ---- asking ---- */

int vivi_changing_options(const struct vivi_changing *how, viv_opts *o, viv_error *err)
{
    int r = viv_opts_set_bool(o, "dry_run", how->dry_run, err);

    if (r >= 0)
        r = viv_opts_set_bool(o, "next", how->next, err);
    if (r >= 0)
        r = viv_opts_set_bool(o, "live", how->live, err);
    if (r >= 0)
        r = viv_opts_set_bool(o, "async", how->async, err);
    if (r >= 0 && how->force)
        r = viv_opts_set_bool(o, "force", 1, err);
    if (r >= 0 && how->timeout_ms > 0)
        r = viv_opts_set_i64(o, "timeout_ms", how->timeout_ms, err);
    return r;
}

static int options(const struct vivi_changing *how, viv_opts **ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r >= 0)
        r = vivi_changing_options(how, o, err);
    if (r < 0)
        return r;
    *ret = take_ptr(o);
    return 0;
}

static bool is_overtaken(int r, const viv_error *err)
{
    return r == -VIV_E_BUSY && (err->flags & VIV_ERR_RETRY);
}

static int begin_once(viv_vm *vm, const struct vivi_changing *how, viv_op **ret, viv_error *err)
{
    cleanup_doc viv_config *config = NULL;
    cleanup_opts viv_opts *o = NULL;
    int r;

    if (how->call)
        return how->call(vm, how->opts, ret, NULL, err);
    r = how->make(vm, how, &config, err);
    if (r >= 0)
        r = options(how, &o, err);
    return r < 0 ? r : viv_vm_apply(vm, config, o, ret, NULL, err);
}

static int begin(struct vivi_job *job, const void *ctx)
{
    int r;

    do {
        vivi_error_clear(&job->err);
        r = begin_once(job->vm, ctx, &job->op, &job->err);
    } while (is_overtaken(r, &job->err) && ++job->tries < TRIES);
    return r;
}

/* The answer that somebody was faster may also come from the monitor. */
static bool again(struct vivi_job *job, const void *ctx)
{
    return is_overtaken(-job->err.code, &job->err) && ++job->tries < TRIES && begin(job, ctx) >= 0;
}

int vivi_changing_call(viv_vm *vm, const struct vivi_changing *how, viv_rec **ret, viv_error *err)
{
    cleanup_doc viv_config *config = NULL;
    cleanup_opts viv_opts *o = NULL;
    int r = how->make(vm, how, &config, err);

    if (r >= 0)
        r = options(how, &o, err);
    return r < 0 ? r : viv_vm_apply(vm, config, o, NULL, ret, err);
}

/* ---- telling ---- */

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

/* The reason without the path that the line begins with. */
static const char *reason_of(const json_t *change)
{
    const char *path = text_of(change, "path"), *reason = text_of(change, "reason");
    size_t n = strlen(path);

    return n > 0 && strncmp(reason, path, n) == 0 && strncmp(reason + n, ": ", 2) == 0
               ? reason + n + 2
               : reason;
}

void vivi_changes_print(const json_t *changes)
{
    for (size_t i = 0; i < json_array_size(changes); i++) {
        const json_t *e = json_array_get(changes, i);
        cleanup_buf struct vivi_buf line = VIVI_BUF(1 << 20);
        const char *applied = text_of(e, "applied"), *reason = reason_of(e);
        char shown[4096];

        (void)vivi_change_json_text(e, &line);
        if (!strcmp(applied, "next-start"))
            (void)vivi_buf_str(&line, " (next start");
        else if (!strcmp(applied, "refused"))
            (void)vivi_buf_str(&line, " (refused");
        if (strcmp(applied, "now") != 0 && *applied)
            (void)vivi_buf_printf(&line, "%s%s)", *reason ? ": " : "", reason);
        vivi_escape_line(line.data ? line.data : "?", shown, sizeof(shown));
        (void)printf("  %s\n", shown);
    }
}

static size_t count(const json_t *changes, const char *applied)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(changes); i++)
        n += !strcmp(text_of(json_array_get(changes, i), "applied"), applied);
    return n;
}

int vivi_changing_say(struct vivi_cli *c, const char *name, const json_t *result, bool dry_run)
{
    const json_t *changes = json_object_get(result, "changes");
    size_t waits = count(changes, "next-start");

    if (json_array_size(changes) == 0) {
        (void)printf("%s: unchanged\n", name);
        return 0;
    }
    (void)printf("%s: %s\n", name, dry_run ? "would be changed" : "changed");
    vivi_changes_print(changes);
    if (waits > 0 && !dry_run)
        vivi_cli_note(c,
                      "hint: what waits for the next start: viv config show --pending %s; now: "
                      "viv reboot %s",
                      name, name);
    return 0;
}

static void say(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)vivi_changing_say(c, vivi_job_name(job), job->merged,
                            vivi_args_has(&c->args, "--dry-run"));
}

/* A dry run of what would be refused fails as the run would. */
static int outcome(struct vivi_cli *c, struct vivi_job *job, const void *ctx)
{
    const struct vivi_changing *how = ctx;
    const json_t *changes = json_object_get(job->merged, "changes");

    if (how->dry_run && count(changes, "refused") > 0)
        (void)vivi_cli_code(c, viv_code_exit(VIV_E_INVALID));
    return 0;
}

static int extend(const struct vivi_job *job, json_t *record, const void *ctx)
{
    const struct vivi_changing *how = ctx;
    int bad = json_object_set_new(record, "created", json_false()) |
              json_object_set_new(record, "dry_run", json_boolean(how->dry_run));

    (void)job;
    if (!json_object_get(record, "changes")) /* accepted: nothing is known yet */
        bad |= json_object_set_new(record, "changes", json_array());
    return bad;
}

int vivi_changing_run(struct vivi_cli *c, viv_vm *vm, const struct vivi_changing *how)
{
    const struct vivi_verb verb = {.doing = "changing",
                                   .begin_with = begin,
                                   .again = again,
                                   .next = outcome,
                                   .say = say,
                                   .extend = extend,
                                   .ctx = how};

    return vivi_verb_run_vm(c, &verb, vm, true);
}
