/* viv doctor */
#include <string.h>

#include "cli/cli.h"
#include "cli/out.h"

static const char *const head[] = {"CHECK", "OK", "WHAT"};

static const char *color_of(size_t column, const char *text)
{
    if (column != 1)
        return NULL;
    return !strcmp(text, "yes") ? "32" : !strcmp(text, "warn") ? "33" : "31";
}

static int print_rows(struct vivi_cli *c, const viv_list *list)
{
    cleanup_table struct vivi_table t = {0};

    vivi_table_init(&t, head, ARRAY_SIZE(head));
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *message = viv_rec_str(rec, "message"), *hint = viv_rec_str(rec, "hint");
        char what[400];
        int ok = 0, required = 1;

        (void)viv_rec_bool(rec, "ok", &ok);
        (void)viv_rec_bool(rec, "required", &required);
        (void)snprintf(what, sizeof(what), "%s%s%s", message ? message : "", hint ? "; hint: " : "",
                       hint ? hint : "");
        vivi_table_cell(&t, viv_rec_str(rec, "check"));
        vivi_table_cell(&t, ok ? "yes" : required ? "no" : "warn");
        vivi_table_cell(&t, what);
    }
    return vivi_table_print(c, &t, color_of);
}

int vivi_cmd_doctor(struct vivi_cli *c)
{
    cleanup_list viv_list *list = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = 0;

    if (c->args.n_words)
        return vivi_cli_usage(c, NULL, "takes no words");
    code = vivi_cli_open(c, VIV_OPEN_READONLY);
    if (code)
        return code;
    if (viv_doctor(c->v, &list, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_cli_structured(c) ? vivi_cli_list(c, list) : print_rows(c, list);
    for (size_t i = 0; code == 0 && i < viv_list_len(list); i++) {
        int ok = 1, required = 1;

        (void)viv_rec_bool(viv_list_at(list, i), "ok", &ok);
        (void)viv_rec_bool(viv_list_at(list, i), "required", &required);
        if (!ok && required)
            code = 1;
    }
    return code;
}
