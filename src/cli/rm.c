/* viv rm */
#include "cli/say.h"
#include "cli/select.h"

static void say_removed(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)c;
    (void)printf("%s: removed\n", vivi_job_name(job));
}

int vivi_cmd_rm(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_verb verb = {.doing = "removing",
                             .states = VIVI_STATES_IDLE "|broken|" VIVI_STATES_ALIVE,
                             .begin = viv_vm_remove,
                             .say = say_removed,
                             .ignore_missing = vivi_args_has(&c->args, "--ignore-missing")};

    if (viv_opts_new(&o, &err) < 0 ||
        (vivi_args_has(&c->args, "--force") && viv_opts_set_bool(o, "force", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
