/* viv set VM PATH=VALUE… */
#include <string.h>

#include "cli/change.h"
#include "cli/document.h"

/* The configuration as it is, with the settings made. */
static int with_settings(viv_vm *vm, const struct vivi_changing *how, viv_config **ret,
                         viv_error *err)
{
    const struct vivi_args *args = how->ctx;
    cleanup_doc viv_config *config = NULL;
    int r = viv_vm_config(vm, how->live ? VIV_CONFIG_RUNNING : 0, &config, err);

    for (size_t i = 1; r >= 0 && i < args->n_words; i++)
        r = vivi_setting_add(config, args->words[i], err);
    if (r < 0)
        return r;
    *ret = take_ptr(config);
    return 0;
}

int vivi_cmd_set(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    struct vivi_changing how = {.make = with_settings, .ctx = &c->args};
    int code = vivi_changing_flags(c, &how);

    if (code)
        return code;
    if (c->args.n_words < 2)
        return vivi_cli_usage(c, "viv set web cpus=4", "needs a VM and PATH=VALUE");
    code = vivi_cli_open_vm(c, c->args.words[0], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    return vivi_changing_run(c, vm, &how);
}
