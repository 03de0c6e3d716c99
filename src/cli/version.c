/* viv version */
#include "cli/cli.h"

int vivi_cmd_version(struct vivi_cli *c)
{
    if (c->args.n_words)
        return vivi_cli_usage(c, NULL, "takes no words");
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s}", "version", viv_version()));
    (void)printf("viv %s\n", viv_version());
    return 0;
}
