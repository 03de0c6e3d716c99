/* viv caps */
#include <string.h>

#include "cli/cli.h"
#include "cli/out.h"

static const char *const head[] = {"CAPABILITY", "DRIVER", "HERE", "WHAT IT IS, OR WHY NOT"};

static const char *color_of(size_t column, const char *text)
{
    if (column != 2)
        return NULL;
    return !strcmp(text, "yes") ? "32" : "33";
}

static int print_rows(struct vivi_cli *c, const viv_list *list)
{
    cleanup_table struct vivi_table t = {0};

    vivi_table_init(&t, head, ARRAY_SIZE(head));
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *reason = viv_rec_str(rec, "reason");
        int ok = 0;

        (void)viv_rec_bool(rec, "ok", &ok);
        vivi_table_cell(&t, viv_rec_str(rec, "capability"));
        vivi_table_cell(&t, viv_rec_str(rec, "driver"));
        vivi_table_cell(&t, ok ? "yes" : "no");
        vivi_table_cell(&t, !ok && reason ? reason : viv_rec_str(rec, "text"));
    }
    return vivi_table_print(c, &t, color_of);
}

int vivi_cmd_caps(struct vivi_cli *c)
{
    cleanup_list viv_list *list = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code;

    if (c->args.n_words > 1)
        return vivi_cli_usage(c, NULL, "takes one driver");
    code = vivi_cli_open(c, VIV_OPEN_READONLY);
    if (code)
        return code;
    if (viv_caps(c->v, c->args.n_words ? c->args.words[0] : NULL, &list, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return vivi_cli_structured(c) ? vivi_cli_list(c, list) : print_rows(c, list);
}
