#include "cli/select.h"

#include <string.h>

bool vivi_select_state(const char *states, const char *state)
{
    return states ? vivi_choice_has(states, state) : strcmp(state, "broken") != 0;
}

/* "KEY=VALUE" as a term of the filter; a comma is doubled there. */
static int add_label(struct vivi_cli *c, const char *label, struct vivi_buf *out)
{
    const char *equals = strchr(label, '=');

    if (!equals || equals == label)
        return vivi_cli_usage(c, "--label job=42", "--label: \"%s\" is not KEY=VALUE", label);
    (void)vivi_buf_str(out, "labels.");
    for (const char *p = label; *p; p++) {
        (void)vivi_buf_add(out, p, 1);
        if (*p == ',')
            (void)vivi_buf_add(out, p, 1);
    }
    return 0;
}

int vivi_select_filter(struct vivi_cli *c, struct vivi_buf *out, const char **ret)
{
    viv_error err = VIV_ERROR_INIT;
    int code = 0;

    for (size_t i = 0; i < c->args.n_given && code == 0; i++) {
        const struct vivi_given *g = &c->args.given[i];
        bool label = g->flag && !strcmp(g->flag->name, "--label");

        if (!label && !(g->flag && !strcmp(g->flag->name, "--filter")))
            continue;
        if (out->len > 0)
            (void)vivi_buf_str(out, ",");
        if (label)
            code = add_label(c, g->value, out);
        else
            (void)vivi_buf_str(out, g->value);
    }
    if (code == 0 && vivi_buf_check(out, &err) < 0)
        code = vivi_cli_fail(c, NULL, &err);
    *ret = out->len > 0 ? out->data : NULL;
    return code;
}

static int add_name(struct vivi_cli *c, struct vivi_selection *s, const char *name)
{
    viv_error err = VIV_ERROR_INIT;

    s->names[s->n] = strdup(name);
    if (s->names[s->n]) {
        s->n++;
        return 0;
    }
    (void)vivi_fail_oom(&err);
    return vivi_cli_fail(c, NULL, &err);
}

static int room_for(struct vivi_cli *c, struct vivi_selection *s, size_t n)
{
    viv_error err = VIV_ERROR_INIT;

    s->names = calloc(n + 1, sizeof(*s->names));
    if (s->names)
        return 0;
    (void)vivi_fail_oom(&err);
    return vivi_cli_fail(c, NULL, &err);
}

static int select_listed(struct vivi_cli *c, const char *states, struct vivi_selection *s)
{
    cleanup_list viv_list *list = NULL;
    cleanup_buf struct vivi_buf text = VIVI_BUF(VIVI_FILTER_TEXT_MAX);
    viv_error err = VIV_ERROR_INIT;
    const char *filter;
    int code = vivi_select_filter(c, &text, &filter);

    if (code)
        return code;
    if (viv_ls(c->v, filter, &list, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = room_for(c, s, viv_list_len(list));
    for (size_t i = 0; i < viv_list_len(list) && code == 0; i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *name = viv_rec_str(rec, "name"), *state = viv_rec_str(rec, "state");

        if (name && state && vivi_select_state(states, state))
            code = add_name(c, s, name);
    }
    return code;
}

int vivi_select(struct vivi_cli *c, const char *const *words, size_t n_words, const char *states,
                struct vivi_selection *ret)
{
    bool listed = vivi_args_has(&c->args, "--all") || vivi_args_has(&c->args, "--filter") ||
                  vivi_args_has(&c->args, "--label");
    cleanup_selection struct vivi_selection s = {.several = listed || n_words > 1};
    int code = 0;

    if (listed && n_words)
        return vivi_cli_usage(c, NULL, "names exclude --all, --filter and --label");
    if (!listed && !n_words)
        return vivi_cli_usage(c, "viv ps lists them", "needs the name of a VM, or --all");
    if (listed) {
        code = select_listed(c, states, &s);
    } else {
        code = room_for(c, &s, n_words);
        for (size_t i = 0; i < n_words && code == 0; i++)
            code = add_name(c, &s, words[i]);
    }
    if (code)
        return code;
    *ret = s;
    s = (struct vivi_selection){0};
    return 0;
}

void vivi_selection_done(struct vivi_selection *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    *s = (struct vivi_selection){0};
}
