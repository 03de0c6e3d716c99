/* viv inspect */
#include "cli/look.h"

static int print_info(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    json_t *doc;

    if (c->quiet) {
        (void)printf("%s\n", name);
        return 0;
    }
    doc = vivi_rec_to_json(info);
    if (doc) {
        json_t *guest = vivi_look_guest(c, name, info);

        (void)json_object_set_new(doc, "guest", guest ? guest : json_null());
    }
    return vivi_cli_record(c, doc);
}

int vivi_cmd_inspect(struct vivi_cli *c)
{
    /* Text for people is YAML: everything is shown, nothing has to fit a column. */
    if (c->format == VIVI_FORMAT_TABLE && !c->template)
        c->format = VIVI_FORMAT_YAML;
    return vivi_look(c, print_info);
}
