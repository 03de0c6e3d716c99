#include "cli/making.h"

#include <string.h>

#define NAME_TRIES 16 /* four hex digits: somebody else's name is met rarely, twice hardly ever */

int vivi_making_document(struct vivi_cli *c, struct vivi_document *ret)
{
    viv_error err = VIV_ERROR_INIT;
    const char *word = c->args.n_words ? c->args.words[0] : NULL;

    if (c->args.n_words > 1)
        return vivi_cli_usage(c, "--name gives it a name", "takes one configuration or image");
    if (!word && c->args.n_given == 0)
        return vivi_cli_usage(c, "viv run demo",
                              "needs a configuration, an image, or --kernel FILE");
    if (vivi_document_make(c, word, ret, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return 0;
}

static void error_of(const viv_rec *problem, viv_error *ret)
{
    const char *code = viv_rec_str(problem, "code"), *hint = viv_rec_str(problem, "hint");
    const char *message = viv_rec_str(problem, "message"), *field = viv_rec_str(problem, "field");

    ret->code = VIV_E_INVALID;
    for (int i = VIV_E_INTERNAL; i <= VIV_E_VMM; i++) {
        if (code && !strcmp(viv_code_name(i), code))
            ret->code = i;
    }
    (void)snprintf(ret->field, sizeof(ret->field), "%s", field ? field : "");
    (void)snprintf(ret->message, sizeof(ret->message), "%s", message ? message : "");
    (void)snprintf(ret->hint, sizeof(ret->hint), "%s", hint ? hint : "");
}

int vivi_problems_print(struct vivi_cli *c, const char *vm, const viv_list *problems)
{
    int code = 0;

    for (size_t i = 0; i < viv_list_len(problems); i++) {
        viv_error err = VIV_ERROR_INIT;
        int one;

        error_of(viv_list_at(problems, i), &err);
        one = vivi_cli_fail(c, vm, &err);
        code = code ? code : one;
    }
    return code;
}

int vivi_making_refused(struct vivi_cli *c, struct vivi_document *d, const viv_error *err)
{
    cleanup_list viv_list *problems = NULL;
    cleanup_rec viv_rec *name = NULL;

    if (!err->field[0]) {
        const char *text = err->vm;

        if (!*text && d->named && viv_config_get(d->config, "name", &name, NULL) == 0)
            text = viv_rec_str(name, "");
        return vivi_cli_fail(c, text, err);
    }
    if (viv_config_check(c->v, d->config, &problems, NULL) == 0 && viv_list_len(problems) > 1)
        return vivi_problems_print(c, NULL, problems);
    return vivi_cli_fail(c, NULL, err);
}

int vivi_making_create(struct vivi_cli *c, struct vivi_document *d, viv_vm **ret, int *ret_changed)
{
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open(c, VIV_OPEN_CREATE), r;

    if (code)
        return code;
    for (int i = 0; i < NAME_TRIES; i++) {
        r = d->named ? 0 : vivi_document_name(d, &err);
        if (r >= 0)
            r = viv_create(c->v, d->config, 0, ret, ret_changed, &err);
        if (r >= 0 && (d->named || *ret_changed))
            return 0;
        if (d->named || (r < 0 && r != -VIV_E_EXISTS))
            return vivi_making_refused(c, d, &err);
        if (r >= 0)
            viv_vm_free(take_ptr(*ret)); /* there was one of that very name and configuration */
    }
    return vivi_making_refused(c, d, &err);
}

int vivi_plan_print(struct vivi_cli *c, const char *vm, const viv_config *config)
{
    cleanup_rec viv_rec *plan = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_config_plan(c->v, config, &plan, &err) < 0)
        return vivi_cli_fail(c, vm, &err);
    if (vivi_cli_structured(c))
        return vivi_cli_rec(c, plan);
    return vivi_cli_document(c, vivi_rec_to_json(plan));
}

int vivi_making_plan(struct vivi_cli *c, struct vivi_document *d)
{
    cleanup_list viv_list *problems = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code)
        return code;
    if ((!d->named && vivi_document_name(d, &err) < 0) ||
        viv_config_check(c->v, d->config, &problems, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_problems_print(c, NULL, problems);
    return code ? code : vivi_plan_print(c, NULL, d->config);
}
