/* viv inspect */
#include "cli/look.h"

static int print_info(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    if (c->quiet) {
        (void)printf("%s\n", name);
        return 0;
    }
    return vivi_cli_rec(c, info);
}

int vivi_cmd_inspect(struct vivi_cli *c)
{
    /* Text for people is YAML: everything is shown, nothing has to fit a column. */
    if (c->format == VIVI_FORMAT_TABLE && !c->template)
        c->format = VIVI_FORMAT_YAML;
    return vivi_look(c, print_info);
}
