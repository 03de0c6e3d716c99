/* viv stop */
#include "cli/say.h"
#include "cli/select.h"

static void say_stopped(struct vivi_cli *c, const struct vivi_job *job)
{
    const char *rung = viv_rec_str(job->result, "rung");
    int changed = 1;

    (void)viv_rec_bool(job->result, "changed", &changed);
    if (changed && rung)
        (void)printf("%s: stopped (%s)\n", vivi_job_name(job), rung);
    else
        vivi_say_ended(c, job, "stopped");
}

int vivi_cmd_stop(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_verb verb = {
        .doing = "stopping", .states = VIVI_STATES_ALIVE, .begin = viv_vm_stop, .say = say_stopped};

    if (viv_opts_new(&o, &err) < 0 || vivi_verb_async(c, o, &err) < 0 ||
        vivi_verb_timeout(c, o, &err) < 0 ||
        (vivi_args_has(&c->args, "--no-kill") && viv_opts_set_bool(o, "kill", 0, &err) < 0) ||
        (vivi_args_has(&c->args, "--for-now") && viv_opts_set_bool(o, "for_now", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
