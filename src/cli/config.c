/* viv config check | show | schema | docs */
#include <string.h>

#include "cli/change.h"
#include "cli/making.h"
#include "cli/out.h"

/* The layers of run and create, from the words behind the subcommand. */
static int document(struct vivi_cli *c, struct vivi_document *ret)
{
    viv_error err = VIV_ERROR_INIT;
    const char *word = c->args.n_words > 1 ? c->args.words[1] : NULL;

    if (c->args.n_words > 2)
        return vivi_cli_usage(c, NULL, "takes one configuration");
    if (!word && c->args.n_given == 0)
        return vivi_cli_usage(c, "viv config check FILE.yaml", "needs a configuration");
    return vivi_document_make(c, word, ret, &err) < 0 ? vivi_cli_fail(c, NULL, &err) : 0;
}

static int check(struct vivi_cli *c)
{
    cleanup_document struct vivi_document d = {0};
    cleanup_list viv_list *problems = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = document(c, &d);

    if (code == 0)
        code = vivi_cli_open(c, VIV_OPEN_READONLY);
    if (code)
        return code;
    /* run and create give it a name when it has none */
    if ((!d.named && vivi_document_name(&d, &err) < 0) ||
        viv_config_check(c->v, d.config, &problems, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_problems_print(c, NULL, problems);
    if (vivi_cli_structured(c)) {
        vivi_cli_records(c, true);
        for (size_t i = 0; i < viv_list_len(problems); i++)
            (void)vivi_cli_rec(c, viv_list_at(problems, i));
        (void)vivi_cli_records_end(c);
    } else if (code == 0 && !c->quiet) {
        (void)printf("ok\n");
    }
    return code;
}

/* As people write it, unless a machine asked. */
static int print_document(struct vivi_cli *c, json_t *doc)
{
    cleanup_json json_t *mine = doc;
    json_t *shown = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (!mine)
        return vivi_cli_oom(c);
    if (c->format == VIVI_FORMAT_JSON || c->template)
        return vivi_cli_record(c, json_incref(mine));
    if (vivi_config_present(mine, &shown, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return vivi_cli_document(c, shown);
}

static int show_vm(struct vivi_cli *c, viv_vm *vm)
{
    cleanup_rec viv_rec *info = NULL;
    cleanup_json json_t *doc = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_vm_info(vm, &info, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    doc = vivi_rec_to_json(info);
    return print_document(c, doc ? json_incref(json_object_get(doc, "config")) : NULL);
}

/* --pending: what of the configuration waits for the next start, one difference a line. */
static int show_pending(struct vivi_cli *c, const char *word)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_rec viv_rec *info = NULL;
    cleanup_json json_t *doc = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_lookup(c->v, word, &vm, &err) < 0)
        return vivi_cli_fail(c, word, &err);
    if (viv_vm_info(vm, &info, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    doc = vivi_rec_to_json(info);
    if (!doc)
        return vivi_cli_oom(c);
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s,s:O}", "name", viv_vm_name(vm), "pending",
                                            json_object_get(doc, "pending")));
    vivi_changes_print(json_object_get(doc, "pending"));
    if (json_is_null(json_object_get(doc, "pending")))
        vivi_cli_note(c, "%s: nothing waits for the next start", viv_vm_name(vm));
    return 0;
}

static bool has_layers(const struct vivi_cli *c)
{
    for (size_t i = 0; i < c->args.n_given; i++) {
        const struct vivi_flag *f = c->args.given[i].flag;

        if (!f || !strcmp(f->name, "--set") || !strcmp(f->name, "--file"))
            return true;
    }
    return false;
}

/* A VM of that name, else a file or an image. */
static int show(struct vivi_cli *c)
{
    cleanup_document struct vivi_document d = {0};
    cleanup_vm viv_vm *vm = NULL;
    cleanup_rec viv_rec *rec = NULL;
    viv_error err = VIV_ERROR_INIT;
    const char *word = c->args.n_words > 1 ? c->args.words[1] : NULL;
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code)
        return code;
    if (vivi_args_has(&c->args, "--pending"))
        return word ? show_pending(c, word)
                    : vivi_cli_usage(c, NULL, "--pending needs the name of a VM");
    if (word && !vivi_document_is_file(word) && viv_lookup(c->v, word, &vm, NULL) == 0)
        return has_layers(c) ? vivi_cli_usage(c, NULL, "%s is a VM: it takes no fields", word)
                             : show_vm(c, vm);
    code = document(c, &d);
    if (code)
        return code;
    if (viv_config_show(d.config, &rec, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return print_document(c, vivi_rec_to_json(rec));
}

static int schema(struct vivi_cli *c)
{
    if (!c->format_given)
        c->format = VIVI_FORMAT_JSON; /* that is what a schema is */
    return vivi_cli_document(c, vivi_config_schema());
}

static int docs(struct vivi_cli *c)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(VIVI_OUT_MAX);
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_config_docs(&out);
    if (vivi_buf_check(&out, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    (void)fwrite(out.data, 1, out.len, stdout);
    return 0;
}

int vivi_cmd_config(struct vivi_cli *c)
{
    static const char *const names[] = {"check", "show", "schema", "docs"};
    static int (*const run[])(struct vivi_cli *) = {check, show, schema, docs};
    const char *word = c->args.n_words ? c->args.words[0] : "", *near;
    char hint[64];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(word, names[i]))
            return i > 1 && c->args.n_words > 1
                       ? vivi_cli_usage(c, NULL, "%s: takes no words", word)
                       : run[i](c);
    }
    if (!*word)
        return vivi_cli_usage(c, "viv help config", "needs one of check, show, schema, docs");
    near = vivi_nearest(word, names, ARRAY_SIZE(names));
    (void)snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near ? near : "");
    return vivi_cli_usage(c, near ? hint : "viv help config",
                          "\"%s\" is none of check, show, schema, docs", word);
}
