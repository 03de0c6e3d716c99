/*
 * Reading and changing one place of a document by its path.
 *
 * A change is worked out first (which steps lead to the place, what value goes there) and applied
 * last by attaching one finished subtree, so that a refused or failed change leaves nothing behind.
 */
#include "model/canon.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/text.h"

#define STEPS_MAX 8

/* ---- elements of lists ---- */

static const char *own_id(const json_t *elements, size_t i)
{
    return json_string_value(json_object_get(json_array_get(elements, i), "id"));
}

static bool id_is_taken(const json_t *elements, const char *id)
{
    for (size_t i = 0; i < json_array_size(elements); i++) {
        const char *own = own_id(elements, i);

        if (own && strcmp(own, id) == 0)
            return true;
    }
    return false;
}

char vivi_element_letter(const char *list)
{
    const char *dot = strrchr(list, '.');

    return dot ? dot[1] : list[0];
}

void vivi_element_id(const char *list, const json_t *elements, size_t i, char ret[VIVI_ID_SIZE])
{
    const char *own = own_id(elements, i);
    size_t next = 0;

    if (own) {
        (void)snprintf(ret, VIVI_ID_SIZE, "%s", own);
        return;
    }
    /* Unnamed ones are numbered by place, skipping what others are called. */
    for (size_t j = 0; j <= i; j++) {
        if (own_id(elements, j))
            continue;
        if (next < j)
            next = j;
        do
            (void)snprintf(ret, VIVI_ID_SIZE, "%c%zu", vivi_element_letter(list), next++);
        while (id_is_taken(elements, ret));
    }
}

int vivi_element_find(const char *list, const json_t *elements, const char *id)
{
    char have[VIVI_ID_SIZE];
    size_t n = json_array_size(elements);

    for (size_t i = 0; i < n && i < VIVI_LIST_MAX; i++) {
        vivi_element_id(list, elements, i, have);
        if (strcmp(have, id) == 0)
            return (int)i;
    }
    return -1;
}

/* ---- reading ---- */

/* The next segment of *rest into ret; *rest is NULL behind the last one. false: too long. */
static bool take_segment(const char **rest, char ret[VIVI_ID_SIZE])
{
    size_t n = strcspn(*rest, ".");

    if (n >= VIVI_ID_SIZE)
        return false;
    memcpy(ret, *rest, n);
    ret[n] = '\0';
    *rest = (*rest)[n] == '.' ? *rest + n + 1 : NULL;
    return true;
}

json_t *vivi_config_get(const json_t *doc, const char *path)
{
    const struct vivi_field *f = vivi_field_find(path);
    char segment[VIVI_ID_SIZE], last[VIVI_ID_SIZE] = "";
    json_t *at = NULL;

    /* Keys of a string map have dots of their own. */
    if (f && f->type == VIVI_T_MAP && strlen(path) > strlen(f->path))
        return json_object_get(vivi_config_get(doc, f->path), path + strlen(f->path) + 1);
    for (const char *rest = path; rest;) {
        const json_t *in = at ? at : doc;

        if (!take_segment(&rest, segment))
            return NULL;
        if (json_is_array(in)) {
            int i = vivi_element_find(last, in, segment);

            at = i < 0 ? NULL : json_array_get(in, (size_t)i);
        } else {
            at = json_object_get(in, segment);
        }
        if (!at)
            return NULL;
        memcpy(last, segment, sizeof(last));
    }
    return json_is_null(at) ? NULL : at;
}

/* ---- working out a change ---- */

enum step_kind {
    STEP_KEY,     /* the member called key */
    STEP_ELEMENT, /* the element called key, made if it is not there */
    STEP_APPEND   /* a new element behind all others */
};

struct step {
    enum step_kind kind;
    char key[VIVI_ID_SIZE];
};

struct change {
    struct vivi_source src;
    const char *text; /* the value; NULL = remove */
    struct step steps[STEPS_MAX];
    size_t n;
    char pattern[VIVI_PATH_SIZE], path[VIVI_PATH_SIZE]; /* of the steps so far */
    json_t *value;                                      /* owned; NULL = remove */
};

static int push(struct change *c, enum step_kind kind, const char *key, viv_error *err)
{
    if (c->n == STEPS_MAX || strlen(key) >= VIVI_ID_SIZE)
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "unknown field");
    c->steps[c->n].kind = kind;
    (void)snprintf(c->steps[c->n].key, VIVI_ID_SIZE, "%s", key);
    c->n++;
    return 0;
}

/* path and pattern each one segment longer; pattern's segment is * for an element. */
static void extend(struct change *c, const char *segment, bool element)
{
    char longer[VIVI_PATH_SIZE];

    vivi_path_join(longer, c->path, segment);
    memcpy(c->path, longer, sizeof(longer));
    vivi_path_join(longer, c->pattern, element ? "*" : segment);
    memcpy(c->pattern, longer, sizeof(longer));
}

static int set_yaml(struct change *c, viv_error *err)
{
    VIVI_CLEANUP(vivi_tree_done) struct vivi_tree tree = {0};
    size_t line;
    int r = vivi_tree_parse(c->text, strlen(c->text), &tree, &line, err);

    if (r < 0)
        return r == -VIV_E_NO_MEMORY ? r : vivi_in_field(err, r, c->path);
    r = vivi_canon(&c->src, tree.root, c->pattern, c->path, &c->value, err);
    if (r < 0)
        return r;
    if (!c->value)
        c->text = NULL; /* null: as not given */
    return 0;
}

/* "8080:80,8081:81" or a YAML list. */
static int set_scalars(struct change *c, const struct vivi_field *f, viv_error *err)
{
    const struct vivi_value_at at = {.path = c->path, .base_dir = c->src.base_dir};
    json_auto_t *out = NULL;
    cleanup_free char *copy = NULL;
    char *save = NULL;

    if (c->text[strspn(c->text, " ")] == '[')
        return set_yaml(c, err);
    out = json_array();
    copy = strdup(c->text);
    if (!out || !copy)
        return vivi_fail_oom(err);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        json_t *v = NULL;
        int r = vivi_value_parse(f, w, &at, &v, err);

        if (r < 0)
            return r;
        if (json_array_append_new(out, v) < 0)
            return vivi_fail_oom(err);
    }
    c->value = take_ptr(out);
    return 0;
}

static int set_scalar(struct change *c, const struct vivi_field *f, const char *text,
                      viv_error *err)
{
    const struct vivi_value_at at = {.path = c->path, .base_dir = c->src.base_dir};

    return vivi_value_parse(f, text, &at, &c->value, err);
}

/* ---- one more element, as a flag gives it: "d.img,ro,id=data" ---- */

/* "readonly=true", or "ro" for a bool: which field, and its text. */
static int word_field(const struct change *c, char *word, const struct vivi_field **ret_f,
                      const char **ret_text, viv_error *err)
{
    char sub[VIVI_PATH_SIZE];
    char *equals = strchr(word, '=');
    const struct vivi_field *f;

    if (equals)
        *equals = '\0';
    vivi_path_join(sub, c->pattern, strcmp(word, "ro") == 0 ? "readonly" : word);
    f = strpbrk(word, ".*") ? NULL : vivi_field_find(sub);
    if (!f)
        return vivi_fail_unknown(c->pattern, c->path, word, err);
    if (!equals && f->type != VIVI_T_BOOL)
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "%s needs a value (%s=…)", word, word);
    *ret_f = f;
    *ret_text = equals ? equals + 1 : "true";
    return 0;
}

static int put_word(const struct change *c, json_t *element, const struct vivi_field *f,
                    const char *text, viv_error *err)
{
    bool list = f->type == VIVI_T_FORWARD_LIST || f->type == VIVI_T_STR_LIST;
    const char *leaf = vivi_field_leaf(f);
    char full[VIVI_PATH_SIZE];
    const struct vivi_value_at at = {.path = full, .base_dir = c->src.base_dir};
    json_t *v = NULL, *have = json_object_get(element, leaf);
    int r;

    vivi_path_join(full, c->path, leaf);
    if (have && !list)
        return vivi_fail_field(err, VIV_E_INVALID, full, "is given twice");
    r = vivi_value_parse(f, text, &at, &v, err);
    if (r < 0)
        return r;
    if (list && !have) {
        have = json_array();
        if (!have || json_object_set_new(element, leaf, have) < 0) {
            json_decref(v);
            return vivi_fail_oom(err);
        }
    }
    r = list ? json_array_append_new(have, v) : json_object_set_new(element, leaf, v);
    return r < 0 ? vivi_fail_oom(err) : 0;
}

static int set_element(struct change *c, viv_error *err)
{
    cleanup_free char *copy = strdup(c->text);
    json_auto_t *element = json_object();
    const struct vivi_field *f = vivi_field_shorthand(c->pattern);
    char *rest = copy, *word;
    int r;

    assert(f); /* every list of devices has one */
    if (!copy || !element)
        return vivi_fail_oom(err);
    for (bool first = true; (word = vivi_cut_word(&rest)); first = false) {
        const struct vivi_field *to = f;
        const char *text = word;

        if (!first) {
            r = word_field(c, word, &to, &text, err);
            if (r < 0)
                return r;
        }
        r = put_word(c, element, to, text, err);
        if (r < 0)
            return r;
    }
    c->value = take_ptr(element);
    return 0;
}

/* ---- the path ---- */

static int fail_no_element(const struct change *c, const json_t *elements, const char *id,
                           viv_error *err)
{
    char ids[32][VIVI_ID_SIZE], shown[VIVI_SHOWN_SIZE];
    const char *candidates[32], *near;
    size_t n = 0;
    int r;

    for (; n < json_array_size(elements) && n < ARRAY_SIZE(ids); n++) {
        vivi_element_id(c->path, elements, n, ids[n]);
        candidates[n] = ids[n];
    }
    near = vivi_nearest(id, candidates, n);
    r = vivi_fail_field(err, VIV_E_INVALID, c->path, "there is no %s", vivi_show(id, shown));
    if (near)
        vivi_hint(err, "did you mean \"%s.%s\"?", c->path, near);
    else
        vivi_hint(err, "add one: %s.+NAME", c->path);
    return r;
}

/* "disks.+": the whole element; "nets.+=none" empties the list. */
static int resolve_append(struct change *c, viv_error *err)
{
    char id[VIVI_ID_SIZE];
    int r;

    if (!c->text)
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "+ needs a value");
    if (strcmp(c->text, "none") == 0) {
        c->value = json_array();
        return c->value ? 0 : vivi_fail_oom(err);
    }
    (void)snprintf(id, sizeof(id), "+");
    r = push(c, STEP_APPEND, id, err);
    if (r < 0)
        return r;
    extend(c, id, true);
    return set_element(c, err);
}

/* * is the first element, or the one that a missing list would begin with. */
static int first_element(const struct change *c, const struct vivi_field *f, const json_t *elements,
                         char ret_id[VIVI_ID_SIZE], viv_error *err)
{
    if (!elements) {
        (void)snprintf(ret_id, VIVI_ID_SIZE, "%c0", vivi_element_letter(f->path));
        return 0;
    }
    if (json_array_size(elements) == 0)
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "is empty");
    vivi_element_id(f->path, elements, 0, ret_id);
    return 0;
}

/* What an absent list holds by default ("nets" holds n0) can be named as if it were there. */
static bool element_exists(const struct vivi_field *f, const json_t *elements, const char *id)
{
    if (!elements)
        return f->def && strcmp(f->def, id) == 0;
    return vivi_element_find(f->path, elements, id) >= 0;
}

/* The segment behind a list: *, +id, id. + alone is resolve_append's. */
static int resolve_element(struct change *c, const struct vivi_field *f, const json_t *elements,
                           const char **rest, viv_error *err)
{
    char id[VIVI_ID_SIZE];
    bool add;
    int r = 0;

    if (!take_segment(rest, id))
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "there is no such element");
    add = id[0] == '+' || strcmp(id, "*") == 0;
    if (strcmp(id, "*") == 0)
        r = first_element(c, f, elements, id, err);
    else if (add)
        memmove(id, id + 1, strlen(id));
    if (r < 0)
        return r;
    r = vivi_parse_name(id, err);
    if (r < 0)
        return vivi_in_field(err, r, c->path);
    if (!add && !element_exists(f, elements, id))
        return fail_no_element(c, elements, id, err);
    r = push(c, STEP_ELEMENT, id, err);
    if (r < 0)
        return r;
    extend(c, id, true);
    if (!*rest && (c->text || add))
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "is a device: set one of its fields");
    return 0;
}

/* "labels.job", "labels.+" with "job=42". */
static int resolve_map_key(struct change *c, const struct vivi_field *f, const char *key,
                           viv_error *err)
{
    char name[VIVI_ID_SIZE], shown[VIVI_SHOWN_SIZE];
    const char *text = c->text;
    int r;

    if (strcmp(key, "+") == 0) {
        const char *equals = text ? strchr(text, '=') : NULL;

        if (!equals || (size_t)(equals - text) >= sizeof(name))
            return vivi_fail_field(err, VIV_E_INVALID, c->path, "%s is not KEY=VALUE",
                                   vivi_show(text ? text : "", shown));
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
        key = name;
        text = equals + 1;
    }
    r = vivi_value_key(c->path, key, err);
    if (r < 0)
        return r;
    r = push(c, STEP_KEY, key, err);
    if (r < 0)
        return r;
    extend(c, key, false);
    return text ? set_scalar(c, f, text, err) : 0;
}

/* One more value of a list of scalars: "forward.+". */
static int resolve_one_more(struct change *c, const struct vivi_field *f, viv_error *err)
{
    int r;

    if (!c->text)
        return vivi_fail_field(err, VIV_E_INVALID, c->path, "+ needs a value");
    r = push(c, STEP_APPEND, "+", err);
    return r < 0 ? r : set_scalar(c, f, c->text, err);
}

/* All of a field. */
static int set_whole(struct change *c, const struct vivi_field *f, viv_error *err)
{
    switch (f->type) {
    case VIVI_T_STR_LIST:
    case VIVI_T_FORWARD_LIST: return set_scalars(c, f, err);
    case VIVI_T_MAP: return set_yaml(c, err);
    case VIVI_T_OBJECT_LIST:
        if (strcmp(c->text, "none") != 0)
            return set_yaml(c, err);
        c->value = json_array();
        return c->value ? 0 : vivi_fail_oom(err);
    case VIVI_T_STR:
    case VIVI_T_BOOL:
    case VIVI_T_INT:
    case VIVI_T_SIZE:
    case VIVI_T_DURATION:
    case VIVI_T_ENUM:
    case VIVI_T_PATH:
    case VIVI_T_NAME:
    case VIVI_T_MAC:
    case VIVI_T_FORWARD:
    case VIVI_T_TEXT: break;
    }
    return set_scalar(c, f, c->text, err);
}

/* At a field: its value, or a part of it. */
static int resolve_field(struct change *c, const struct vivi_field *f, const char *rest,
                         viv_error *err)
{
    bool list = f->type == VIVI_T_FORWARD_LIST || f->type == VIVI_T_STR_LIST;

    if (!rest)
        return c->text ? set_whole(c, f, err) : 0;
    if (f->type == VIVI_T_MAP)
        return resolve_map_key(c, f, rest, err);
    if (list && strcmp(rest, "+") == 0)
        return resolve_one_more(c, f, err);
    return vivi_fail_unknown(c->pattern, c->path, rest, err);
}

/* The path ends at a mapping: its shorthand, or all of it as YAML. */
static int resolve_mapping(struct change *c, viv_error *err)
{
    const struct vivi_field *f = vivi_field_shorthand(c->pattern);
    const char *leaf;
    int r;

    if (!c->text)
        return 0;
    if (!f || c->text[strspn(c->text, " ")] == '{')
        return set_yaml(c, err);
    leaf = vivi_field_leaf(f);
    r = push(c, STEP_KEY, leaf, err);
    if (r < 0)
        return r;
    extend(c, leaf, false);
    return set_scalar(c, f, c->text, err);
}

static int resolve(struct change *c, const json_t *doc, const char *path, viv_error *err)
{
    const char *rest = path;
    char segment[VIVI_ID_SIZE], parent[VIVI_PATH_SIZE], parent_path[VIVI_PATH_SIZE];

    while (rest) {
        const struct vivi_field *f;
        int r;

        memcpy(parent, c->pattern, sizeof(parent));
        memcpy(parent_path, c->path, sizeof(parent_path));
        if (!take_segment(&rest, segment))
            return vivi_fail_unknown(parent, parent_path, rest, err);
        if (segment[0] == '\0' || strchr(segment, '*'))
            return vivi_fail_unknown(parent, parent_path, segment, err);
        extend(c, segment, false);
        f = vivi_field_find(c->pattern);
        if (!f && !vivi_field_is_mapping(c->pattern))
            return vivi_fail_unknown(parent, parent_path, segment, err);
        r = push(c, STEP_KEY, segment, err);
        if (r < 0)
            return r;
        if (!f)
            continue;
        if (f->type != VIVI_T_OBJECT_LIST || !rest)
            return resolve_field(c, f, rest, err);
        if (strcmp(rest, "+") == 0)
            return resolve_append(c, err);
        r = resolve_element(c, f, vivi_config_get(doc, f->path), &rest, err);
        if (r < 0 || !rest)
            return r;
    }
    return resolve_mapping(c, err);
}

/* ---- applying it ---- */

/* A container for the steps from s on, with the value at its end. Steals value, also on failure. */
static json_t *build(const struct step *s, size_t n, json_t *value)
{
    json_t *out, *in;
    int r;

    if (n == 0 || !value)
        return value;
    in = build(s + 1, n - 1, value);
    if (!in)
        return NULL;
    if (s->kind == STEP_KEY) {
        out = json_object();
        r = out ? json_object_set_new(out, s->key, in) : -1;
    } else {
        if (s->kind == STEP_ELEMENT && json_object_set_new(in, "id", json_string(s->key)) < 0) {
            json_decref(in);
            return NULL;
        }
        out = json_array();
        r = out ? json_array_append_new(out, in) : -1;
    }
    if (!out)
        json_decref(in); /* neither set nor append has taken it */
    if (r < 0) {
        json_decref(out);
        return NULL;
    }
    return out;
}

/* Puts value where the steps lead, below at. Steals value. 0 or −1 (no memory; at is untouched). */
static int put(json_t *at, const char *list, const struct step *s, size_t n, json_t *value)
{
    json_t *next = NULL, *made;
    int i;

    if (s->kind == STEP_KEY) {
        next = n > 1 ? json_object_get(at, s->key) : NULL;
        if (next && !json_is_null(next))
            return put(next, s->key, s + 1, n - 1, value);
        made = build(s + 1, n - 1, value);
        return made ? json_object_set_new(at, s->key, made) : -1;
    }
    if (s->kind == STEP_ELEMENT) {
        i = vivi_element_find(list, at, s->key);
        if (i >= 0)
            return put(json_array_get(at, (size_t)i), "", s + 1, n - 1, value);
        made = build(s + 1, n - 1, value);
        if (made && json_object_set_new(made, "id", json_string(s->key)) < 0) {
            json_decref(made);
            return -1;
        }
        return made ? json_array_append_new(at, made) : -1;
    }
    return json_array_append_new(at, value);
}

/* Takes away what the steps lead to. Nothing there is fine. */
static int take_away(json_t *doc, const struct change *c)
{
    json_t *at = doc;
    const char *list = "";

    for (size_t i = 0; i < c->n; i++) {
        const struct step *s = &c->steps[i];
        bool last = i + 1 == c->n;
        int e;

        if (s->kind == STEP_KEY) {
            if (last)
                (void)json_object_del(at, s->key);
            else
                at = json_object_get(at, s->key);
            list = s->key;
        } else {
            e = vivi_element_find(list, at, s->key);
            if (last && e >= 0)
                (void)json_array_remove(at, (size_t)e);
            else if (last && !at)
                return json_object_set_new(doc, list, json_array()); /* the implied one */
            else
                at = e < 0 ? NULL : json_array_get(at, (size_t)e);
        }
    }
    return 0;
}

int vivi_config_set(json_t *doc, const char *path, const char *value, const char *base_dir,
                    viv_error *err)
{
    struct change c = {.src = {.base_dir = base_dir}, .text = value};
    char plain[VIVI_PATH_SIZE];
    size_t n = strnlen(path, sizeof(plain));
    bool minus = n > 0 && n < sizeof(plain) && path[n - 1] == '-';
    int r;

    (void)snprintf(plain, sizeof(plain), "%.*s", (int)(minus ? n - 1 : n), path);
    if (plain[0] == '\0' || n == sizeof(plain))
        return vivi_fail_unknown("", "", path, err);
    if (minus && value)
        return vivi_fail_field(err, VIV_E_INVALID, plain, "is removed by -, so it takes no value");
    r = resolve(&c, doc, plain, err);
    if (r < 0) {
        json_decref(c.value);
        return r;
    }
    r = c.value ? put(doc, "", c.steps, c.n, c.value) : take_away(doc, &c);
    return r < 0 ? vivi_fail_oom(err) : 0;
}
