/* viv upgrade */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/ops.h"

static void say(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)c;
    (void)printf("%s: goes on under the new VMM\n", vivi_job_name(job));
}

int vivi_cmd_upgrade(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    struct vivi_verb verb = {
        .doing = "upgrading", .states = "running", .begin = viv_vm_upgrade, .say = say};
    const char *vmm = vivi_args_str(&c->args, "--vmm");
    viv_error err = VIV_ERROR_INIT;
    char path[PATH_MAX];

    if (viv_opts_new(&o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    if (vmm && !realpath(vmm, path)) {
        (void)vivi_fail_errno(&err, errno, "--vmm: \"%.200s\"", vmm);
        err.code = VIV_E_INVALID;
        return vivi_cli_fail(c, NULL, &err);
    }
    if (vmm && viv_opts_set_str(o, "vmm", path, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run(c, &verb);
}
