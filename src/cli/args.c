#include "cli/args.h"

#include <errno.h>
#include <string.h>

#include "model/parse.h"

#define FLAGS_MAX 256 /* given on one command line */

const struct vivi_flag *vivi_flag_at(const struct vivi_flags *flags, size_t i)
{
    for (size_t s = 0; s < VIVI_FLAG_SETS; s++) {
        const struct vivi_flag *set = flags->sets[s];

        for (size_t k = 0; set && set[k].name; k++) {
            if (i-- == 0)
                return &set[k];
        }
    }
    return NULL;
}

const struct vivi_flag *vivi_flag_find(const struct vivi_flags *flags, const char *name)
{
    const struct vivi_flag *f;

    for (size_t i = 0; (f = vivi_flag_at(flags, i)); i++) {
        if (!strcmp(f->name, name))
            return f;
    }
    return NULL;
}

const struct vivi_flag *vivi_flag_short(const struct vivi_flags *flags, char c)
{
    const struct vivi_flag *f;

    for (size_t i = 0; (f = vivi_flag_at(flags, i)); i++) {
        if (f->short_name == c)
            return f;
    }
    return NULL;
}

const struct vivi_field *vivi_field_of_flag(const char *name)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        if (vivi_fields[i].flag && !strcmp(vivi_fields[i].flag, name))
            return &vivi_fields[i];
    }
    return NULL;
}

const struct vivi_field *vivi_field_of_short(char c)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        if (vivi_fields[i].flag && vivi_fields[i].short_flag == c)
            return &vivi_fields[i];
    }
    return NULL;
}

bool vivi_choice_has(const char *choices, const char *word)
{
    size_t len = strlen(word);

    if (len == 0 || strchr(word, '|'))
        return false;
    for (const char *p = choices; p; p = strchr(p, '|')) {
        p += *p == '|';
        if (!strncmp(p, word, len) && (p[len] == '|' || !p[len]))
            return true;
    }
    return false;
}

/* ---- the parser ---- */

struct parser {
    const struct vivi_flags *flags;
    int argc;
    const char *const *argv;
    int at; /* the word being read */
    struct vivi_args *out;
};

/* A flag of either table under the name that was typed. */
struct found {
    const struct vivi_flag *flag;
    const struct vivi_field *field;
    const char *typed;
};

static bool takes_value(const struct found *f)
{
    return f->flag ? f->flag->value != VIVI_V_NONE : f->field->type != VIVI_T_BOOL;
}

static int unknown_flag(const struct parser *p, const char *typed, viv_error *err)
{
    const char *names[FLAGS_MAX];
    const struct vivi_flag *f;
    const char *near;
    size_t n = 0;
    int r;

    for (size_t i = 0; (f = vivi_flag_at(p->flags, i)) && n < FLAGS_MAX; i++)
        names[n++] = f->name;
    for (size_t i = 0; p->flags->fields && i < vivi_fields_count() && n < FLAGS_MAX; i++) {
        if (vivi_fields[i].flag)
            names[n++] = vivi_fields[i].flag;
    }
    r = vivi_fail(err, VIV_E_INVALID, "%s: unknown flag", typed);
    near = vivi_nearest(typed, names, n);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
}

static int check_choice(const struct found *f, const char *value, viv_error *err)
{
    char list[160];
    size_t n = 0;

    if (!f->flag || f->flag->value != VIVI_V_CHOICE || vivi_choice_has(f->flag->choices, value))
        return 0;
    for (const char *p = f->flag->choices; *p && n + 3 < sizeof(list); p++) {
        list[n++] = *p == '|' ? ',' : *p;
        if (*p == '|')
            list[n++] = ' ';
    }
    list[n] = '\0';
    return vivi_fail(err, VIV_E_INVALID, "%s: \"%s\" is none of %s", f->typed, value, list);
}

static int add_given(struct parser *p, const struct found *f, const char *value, viv_error *err)
{
    struct vivi_args *a = p->out;

    if (a->n_given == FLAGS_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%s: more than %d flags", f->typed, FLAGS_MAX);
    a->given[a->n_given++] =
        (struct vivi_given){.flag = f->flag, .field = f->field, .value = value};
    return value ? check_choice(f, value, err) : 0;
}

static int next_value(struct parser *p, const struct found *f, const char **ret, viv_error *err)
{
    if (p->at + 1 >= p->argc)
        return vivi_fail(err, VIV_E_INVALID, "%s: needs a value", f->typed);
    *ret = p->argv[++p->at];
    return 0;
}

static int parse_long(struct parser *p, viv_error *err)
{
    const char *word = p->argv[p->at], *eq = strchr(word, '='), *value = NULL;
    char name[64];
    size_t len = eq ? (size_t)(eq - word) : strlen(word);
    struct found f = {.typed = name};
    int r;

    if (len >= sizeof(name))
        return vivi_fail(err, VIV_E_INVALID, "%.40s…: unknown flag", word);
    memcpy(name, word, len);
    name[len] = '\0';
    f.flag = vivi_flag_find(p->flags, name);
    if (!f.flag && p->flags->fields)
        f.field = vivi_field_of_flag(name);
    if (!f.flag && !f.field)
        return unknown_flag(p, name, err);
    if (eq && !takes_value(&f) && f.flag)
        return vivi_fail(err, VIV_E_INVALID, "%s: takes no value", name);
    if (eq) {
        value = eq + 1;
    } else if (takes_value(&f)) {
        r = next_value(p, &f, &value, err);
        if (r < 0)
            return r;
    }
    return add_given(p, &f, value, err);
}

static int parse_short(struct parser *p, viv_error *err)
{
    for (const char *s = p->argv[p->at] + 1; *s; s++) {
        char typed[3] = {'-', *s, '\0'};
        struct found f = {.typed = typed, .flag = vivi_flag_short(p->flags, *s)};
        const char *value = NULL;
        int r;

        if (!f.flag && p->flags->fields)
            f.field = vivi_field_of_short(*s);
        if (!f.flag && !f.field)
            return unknown_flag(p, typed, err);
        if (!takes_value(&f)) {
            r = add_given(p, &f, NULL, err);
            if (r < 0)
                return r;
            continue;
        }
        if (s[1]) {
            value = s[1] == '=' ? s + 2 : s + 1;
        } else {
            r = next_value(p, &f, &value, err);
            if (r < 0)
                return r;
        }
        return add_given(p, &f, value, err);
    }
    return 0;
}

static int parse_words(struct parser *p, viv_error *err)
{
    struct vivi_args *a = p->out;
    int r = 0;

    for (; p->at < p->argc && r >= 0; p->at++) {
        const char *word = p->argv[p->at];

        if (!strcmp(word, "--")) {
            a->rest = a->words + a->n_words;
            for (p->at++; p->at < p->argc; p->at++)
                a->rest[a->n_rest++] = p->argv[p->at];
            break;
        }
        if (!strncmp(word, "--", 2))
            r = parse_long(p, err);
        else if (word[0] == '-' && word[1])
            r = parse_short(p, err);
        else
            a->words[a->n_words++] = word;
    }
    return r < 0 ? r : 0;
}

int vivi_args_parse(const struct vivi_flags *flags, int argc, const char *const *argv,
                    struct vivi_args *ret, viv_error *err)
{
    struct vivi_args a = {0};
    struct parser p = {.flags = flags, .argc = argc, .argv = argv, .out = &a};
    int r;

    a.given = calloc(FLAGS_MAX, sizeof(*a.given));
    a.words = calloc((size_t)argc + 1, sizeof(*a.words));
    if (!a.given || !a.words) {
        vivi_args_done(&a);
        return vivi_fail_oom(err);
    }
    r = parse_words(&p, err);
    if (r < 0) {
        vivi_args_done(&a);
        return r;
    }
    *ret = a;
    return 0;
}

void vivi_args_done(struct vivi_args *a)
{
    free(a->given);
    free(a->words);
    *a = (struct vivi_args){0};
}

/* ---- reading ---- */

static const struct vivi_given *last_given(const struct vivi_args *a, const char *name)
{
    for (size_t i = a->n_given; i-- > 0;) {
        if (a->given[i].flag && !strcmp(a->given[i].flag->name, name))
            return &a->given[i];
    }
    return NULL;
}

bool vivi_args_has(const struct vivi_args *a, const char *name)
{
    return last_given(a, name);
}

const char *vivi_args_str(const struct vivi_args *a, const char *name)
{
    const struct vivi_given *g = last_given(a, name);

    return g ? g->value : NULL;
}

int vivi_args_duration(const struct vivi_args *a, const char *name, int64_t *ret_ms, viv_error *err)
{
    const char *text = vivi_args_str(a, name);
    int r;

    if (!text)
        return 0;
    r = vivi_parse_duration(text, ret_ms, err);
    return r < 0 ? vivi_wrap(err, r, "%s", name) : 1;
}

int vivi_args_number(const struct vivi_args *a, const char *name, int64_t *ret, viv_error *err)
{
    const char *text = vivi_args_str(a, name);
    char *end;
    long long n;

    if (!text)
        return 0;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || end == text || *end)
        return vivi_fail(err, VIV_E_INVALID, "%s: \"%s\" is not a number", name, text);
    *ret = n;
    return 1;
}
