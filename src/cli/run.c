/* viv run */
#include <string.h>

#include "cli/foreground.h"
#include "cli/guest.h"
#include "cli/making.h"
#include "cli/say.h"
#include "cli/signals.h"
#include "cli/start.h"

static void say_name(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)c;
    (void)printf("%s\n", vivi_job_name(job));
}

static int detach(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_start s = {.wait = true, .timeout_ms = how->timeout_ms};
    struct vivi_verb verb = {.doing = "starting",
                             .begin = viv_vm_start,
                             .next = vivi_start_next,
                             .say = say_name,
                             .explain = vivi_explain_wait,
                             .starts = true,
                             .ctx = &s};
    int code;

    if (vivi_start_opts(&o, &err) < 0 ||
        (how->remove && viv_opts_set_bool(o, "remove_when_ended", 1, &err) < 0))
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    verb.opts = o;
    code = vivi_verb_run_vm(c, &verb, vm, true);
    if (code == 1 && how->remove)
        (void)viv_vm_remove(vm, NULL, NULL, NULL, NULL); /* refused if it runs after all */
    return code;
}

/* One command in the foreground of a VM that runs already would end it with itself. */
static int refuse_running(struct vivi_cli *c, viv_vm *vm)
{
    cleanup_rec viv_rec *info = NULL;
    viv_error err = VIV_ERROR_INIT;
    const char *name = viv_vm_name(vm);

    if (viv_vm_info(vm, &info, &err) < 0)
        return vivi_cli_fail(c, name, &err);
    if (viv_rec_is_null(info, "vmm"))
        return 0;
    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it runs already");
    vivi_hint(&err, "viv logs -f %s, or viv console %s", name, name);
    return vivi_cli_fail(c, name, &err);
}

static int attend(struct vivi_cli *c, viv_vm *vm, bool changed, const struct vivi_foreground *how)
{
    int code = changed ? 0 : refuse_running(c, vm), signal_fd;
    viv_error err = VIV_ERROR_INIT;

    if (code)
        return code;
    if (vivi_signals_catch(&signal_fd, &err) < 0) /* whoever reads "created" may interrupt */
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    if (changed && !c->quiet)
        vivi_cli_note(c, "%s: created", viv_vm_name(vm));
    return c->args.rest ? vivi_run_command(c, vm, how) : vivi_foreground_run(c, vm, how);
}

/* A command runs by the guest's agent: without a channel to it nothing is made or booted. */
static int refuse_without_agent(struct vivi_cli *c, const struct vivi_document *d)
{
    cleanup_rec viv_rec *agent = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (!c->args.rest || viv_config_get(d->config, "agent.enabled", &agent, NULL) < 0 ||
        strcmp(viv_rec_str(agent, "") ? viv_rec_str(agent, "") : "", "off") != 0)
        return 0;
    (void)vivi_fail_field(&err, VIV_E_UNSUPPORTED, "agent.enabled",
                          "off: a command needs the guest's agent");
    vivi_hint(&err, "agent.enabled: auto, or no command");
    (void)vivi_cli_fail(c, NULL, &err);
    return VIVI_EXIT_OWN;
}

int vivi_cmd_run(struct vivi_cli *c)
{
    cleanup_document struct vivi_document d = {0};
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_foreground how = {.remove = vivi_args_has(&c->args, "--rm")};
    bool detached = vivi_args_has(&c->args, "--detach");
    int changed = 1, code;

    if (c->args.rest && (detached || c->args.n_rest == 0))
        return vivi_cli_usage(c, "viv exec runs commands in a VM that runs already",
                              detached ? "-d and a command exclude each other"
                                       : "-- needs a command behind it");
    if (vivi_args_duration(&c->args, "--timeout", &how.timeout_ms, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_making_document(c, &d);
    if (code == 0)
        code = refuse_without_agent(c, &d);
    if (code)
        return code;
    if (vivi_args_has(&c->args, "--dry-run"))
        return vivi_making_plan(c, &d);
    code = vivi_cli_open(c, VIV_OPEN_CREATE);
    if (code)
        return code;
    if (!detached && !c->args.rest && viv_subscribe(c->v, NULL, 0, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_making_create(c, &d, &vm, &changed);
    if (code)
        return code;
    return detached ? detach(c, vm, &how) : attend(c, vm, changed, &how);
}
