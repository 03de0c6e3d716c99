/* The filter language of VMs and events: "state=ready,labels.job=42"; every term must hold. */
#include "manager/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/text.h"

#define LABELS "labels."

#define KEYS_MAX 6

/* By what of VMs and of events can be asked; and labels.KEY of both. */
static const struct {
    const char *words[KEYS_MAX], *shown;
} keys[] = {
    [VIVI_FILTER_VMS] = {{"name", "vm", "uuid", "state", "driver"},
                         "(name, uuid, state, driver, labels.KEY)"},
    [VIVI_FILTER_EVENTS] = {{"vm", "name", "uuid", "type", "state"},
                            "of events (vm, uuid, type, state, labels.KEY)"},
};

void vivi_filter_done(struct vivi_filter *f)
{
    json_decref(f->terms);
    f->terms = NULL;
}

static int check_key(const char *key, enum vivi_filter_of of, viv_error *err)
{
    const char *candidates[KEYS_MAX + 1];
    const char *rest = key + strcspn(key, "."), *near;
    char head[64];
    size_t n = 0;
    int r;

    if (strncmp(key, LABELS, strlen(LABELS)) == 0 && key[strlen(LABELS)])
        return 0;
    for (; n < KEYS_MAX && keys[of].words[n]; n++) {
        candidates[n] = keys[of].words[n];
        if (strcmp(candidates[n], key) == 0)
            return 0;
    }
    candidates[n++] = "labels";
    r = vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not a key %s", key, keys[of].shown);
    (void)snprintf(head, sizeof(head), "%.*s", (int)strcspn(key, "."), key);
    near = vivi_nearest(head, candidates, n);
    if (near && strcmp(near, "labels") == 0)
        vivi_hint(err, "did you mean \"labels.%s\"?", rest[0] && rest[1] ? rest + 1 : "KEY");
    else if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
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

static int add_term(struct vivi_filter *f, enum vivi_filter_of of, char *term, viv_error *err)
{
    char *equals = strchr(term, '=');
    int r;

    if (!equals)
        return vivi_fail(err, VIV_E_INVALID, "filter: \"%s\" is not KEY=VALUE", term);
    *equals = '\0';
    r = check_key(term, of, err);
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

int vivi_filter_parse(const char *text, enum vivi_filter_of of, struct vivi_filter *ret,
                      viv_error *err)
{
    cleanup_filter struct vivi_filter f = {.terms = NULL};
    cleanup_free char *copy = NULL;
    char *rest, *term;

    if (text && text[0]) {
        f.terms = json_array();
        copy = strdup(text);
        if (!f.terms || !copy)
            return vivi_fail_oom(err);
        for (rest = copy; (term = vivi_cut_word(&rest));) {
            int r = term[0] ? add_term(&f, of, term, err) : 0;

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

static bool match_label(const char *key, const char *value, const json_t *labels)
{
    const char *label = json_string_value(json_object_get(labels, key + strlen(LABELS)));

    return label && strcmp(label, value) == 0;
}

static bool match_term(const char *key, const char *value, const struct vivi_state *s,
                       const json_t *labels)
{
    if (strcmp(key, "name") == 0 || strcmp(key, "vm") == 0)
        return strcmp(value, s->name) == 0;
    if (strcmp(key, "uuid") == 0)
        return strcmp(value, s->uuid) == 0;
    if (strcmp(key, "driver") == 0)
        return strcmp(value, s->driver) == 0;
    if (strcmp(key, "state") == 0)
        return match_state(value, s);
    return match_label(key, value, labels);
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

/* ---- events ---- */

static bool is_text(const json_t *event, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text && strcmp(text, value) == 0;
}

/* The event that tells of reaching it: ready is one of its own. */
static bool match_event_state(const json_t *event, const char *value)
{
    if (strcmp(value, "ready") == 0)
        return is_text(event, "type", "ready");
    return is_text(event, "type", "state") && is_text(event, "state", value);
}

static bool match_event_term(const char *key, const char *value, const json_t *event,
                             const json_t *labels)
{
    if (strncmp(key, LABELS, strlen(LABELS)) == 0)
        return match_label(key, value, labels);
    if (strcmp(key, "state") == 0)
        return match_event_state(event, value);
    return is_text(event, strcmp(key, "name") == 0 ? "vm" : key, value);
}

bool vivi_filter_match_event(const struct vivi_filter *f, const json_t *event, const json_t *labels)
{
    size_t i;
    json_t *term;

    json_array_foreach(f->terms, i, term)
    {
        if (!match_event_term(json_string_value(json_array_get(term, 0)),
                              json_string_value(json_array_get(term, 1)), event, labels))
            return false;
    }
    return true;
}

bool vivi_filter_excludes(const struct vivi_filter *f, const char *name)
{
    size_t i;
    json_t *term;

    json_array_foreach(f->terms, i, term)
    {
        const char *key = json_string_value(json_array_get(term, 0));

        if ((strcmp(key, "vm") == 0 || strcmp(key, "name") == 0) &&
            strcmp(json_string_value(json_array_get(term, 1)), name) != 0)
            return true;
    }
    return false;
}
