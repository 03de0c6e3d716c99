/* viv pause */
#include "cli/say.h"
#include "cli/select.h"

static void say_paused(struct vivi_cli *c, const struct vivi_job *job)
{
    vivi_say_state(c, job, "paused");
}

int vivi_cmd_pause(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_verb verb = {
        .doing = "pausing", .states = "running", .begin = viv_vm_pause, .say = say_paused};

    if (viv_opts_new(&o, &err) < 0 || vivi_verb_async(c, o, &err) < 0 ||
        vivi_verb_timeout(c, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
