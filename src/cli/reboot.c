/* viv reboot */
#include "cli/say.h"
#include "cli/select.h"

static void say_rebooted(struct vivi_cli *c, const struct vivi_job *job)
{
    vivi_say_accel(c, job->result);
    (void)printf("%s: rebooted\n", vivi_job_name(job));
}

int vivi_cmd_reboot(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_verb verb = {.doing = "rebooting",
                             .states = VIVI_STATES_ALIVE,
                             .begin = viv_vm_reboot,
                             .say = say_rebooted,
                             .starts = true};

    if (viv_opts_new(&o, &err) < 0 || vivi_verb_async(c, o, &err) < 0 ||
        vivi_verb_timeout(c, o, &err) < 0 ||
        (vivi_args_has(&c->args, "--hard") && viv_opts_set_bool(o, "hard", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
