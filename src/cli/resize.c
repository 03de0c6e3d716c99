/* viv resize */
#include <string.h>

#include "cli/change.h"

static int read_sizes(struct vivi_cli *c, viv_opts *o, viv_error *err)
{
    static const struct {
        const char *flag, *key;
    } sizes[] = {
        {"--memory", "memory"}, {"--balloon", "balloon"}, {"--disk", "disk"}, {"--zone", "zone"}};
    int64_t cpus;
    int r = vivi_args_number(&c->args, "--cpus", &cpus, err);

    if (r > 0)
        r = viv_opts_set_i64(o, "cpus", cpus, err);

    for (size_t i = 0; r >= 0 && i < c->args.n_given; i++) {
        const struct vivi_given *g = &c->args.given[i];

        for (size_t k = 0; r >= 0 && g->flag && k < ARRAY_SIZE(sizes); k++)
            if (!strcmp(g->flag->name, sizes[k].flag))
                r = viv_opts_set_str(o, sizes[k].key, g->value, err);
    }
    return r;
}

int vivi_cmd_resize(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_changing how = {.call = viv_vm_resize};
    int code = vivi_changing_flags(c, &how);

    if (code)
        return code;
    if (c->args.n_words != 1)
        return vivi_cli_usage(c, "viv resize web --memory 2GiB", "needs one VM");
    if (viv_opts_new(&o, &err) < 0 || vivi_changing_options(&how, o, &err) < 0 ||
        read_sizes(c, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    how.opts = o;
    code = vivi_cli_open_vm(c, c->args.words[0], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    return vivi_changing_run(c, vm, &how);
}
