/* The filter language of ls: "state=ready,labels.job=42"; every term must hold. */
#include "manager/manager.h"

#include <stdlib.h>
#include <string.h>

#define LABELS "labels."

static const char *const keys[] = {"name", "state", "driver"};

void vivi_filter_done(struct vivi_filter *f)
{
    json_decref(f->terms);
    f->terms = NULL;
}

static int check_key(const char *key, viv_error *err)
{
    const char *near;

    if (strncmp(key, LABELS, strlen(LABELS)) == 0 && key[strlen(LABELS)])
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return 0;
    (void)vivi_fail(err, VIV_E_INVALID,
                    "filter: \"%s\" is not a key (name, state, driver, labels.KEY)", key);
    near = vivi_nearest(key, keys, ARRAY_SIZE(keys));
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return -VIV_E_INVALID;
}

static int check_state(const char *value, viv_error *err)
{
    const char *names[VIV_ST_COUNT_ + 1];
    const char *near;
    enum viv_state state;

    if (strcmp(value, "ready") == 0 || vivi_state_parse(value, &state) == 0)
        return 0;
    (void)vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not a state", value);
    for (unsigned i = 0; i < VIV_ST_COUNT_; i++)
        names[i] = vivi_state_name((enum viv_state)i);
    names[VIV_ST_COUNT_] = "ready";
    near = vivi_nearest(value, names, ARRAY_SIZE(names));
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return -VIV_E_INVALID;
}

static int add_term(struct vivi_filter *f, char *term, viv_error *err)
{
    char *equals = strchr(term, '=');
    int r;

    if (!equals)
        return vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not KEY=VALUE", term);
    *equals = '\0';
    r = check_key(term, err);
    if (r == 0 && strcmp(term, "state") == 0)
        r = check_state(equals + 1, err);
    if (r < 0)
        return r;
    if (strncmp(term, LABELS, strlen(LABELS)) == 0)
        f->labels = true;
    if (json_array_append_new(
            f->terms, json_pack("[o,o]", vivi_json_str(term), vivi_json_str(equals + 1))) < 0)
        return vivi_fail_oom(err);
    return 0;
}

int vivi_filter_parse(const char *text, struct vivi_filter *ret, viv_error *err)
{
    cleanup_filter struct vivi_filter f = {.terms = NULL};
    cleanup_free char *copy = NULL;
    char *rest = NULL;

    if (text && text[0]) {
        f.terms = json_array();
        copy = strdup(text);
        if (!f.terms || !copy)
            return vivi_fail_oom(err);
        for (char *t = strtok_r(copy, ",", &rest); t; t = strtok_r(NULL, ",", &rest)) {
            int r = add_term(&f, t, err);

            if (r < 0)
                return r;
        }
    }
    *ret = f;
    f.terms = NULL;
    return 0;
}

static bool match_state(const char *value, const struct vivi_state *s)
{
    if (strcmp(value, "ready") == 0)
        return s->state == VIV_ST_RUNNING && s->ready;
    return strcmp(value, vivi_state_name(s->state)) == 0;
}

static bool match_term(const char *key, const char *value, const struct vivi_state *s,
                       const json_t *labels)
{
    const char *label;

    if (strcmp(key, "name") == 0)
        return strcmp(value, s->name) == 0;
    if (strcmp(key, "driver") == 0)
        return strcmp(value, s->driver) == 0;
    if (strcmp(key, "state") == 0)
        return match_state(value, s);
    label = json_string_value(json_object_get(labels, key + strlen(LABELS)));
    return label && strcmp(label, value) == 0;
}

bool vivi_filter_match(const struct vivi_filter *f, const struct vivi_state *s,
                       const json_t *labels)
{
    size_t i;
    json_t *term;

    json_array_foreach(f->terms, i, term)
    {
        if (!match_term(json_string_value(json_array_get(term, 0)),
                        json_string_value(json_array_get(term, 1)), s, labels))
            return false;
    }
    return true;
}
