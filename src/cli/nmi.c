/* viv nmi */
#include "cli/say.h"
#include "cli/select.h"

static void say_interrupted(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)c;
    (void)printf("%s: NMI injected\n", vivi_job_name(job));
}

int vivi_cmd_nmi(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_verb verb = {
        .doing = "interrupting", .states = "running", .begin = viv_vm_nmi, .say = say_interrupted};

    if (viv_opts_new(&o, &err) < 0 || vivi_verb_timeout(c, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
