/*
 * From a tree of text to canonical JSON.
 *
 * The walk is led by the field table: a key is a field, a mapping on the way to fields, or unknown.
 * So nesting, types and names are all decided by the table, and a value's message carries the path
 * that --set would take and the line it stands in.
 */
#include "model/canon.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define CANDIDATES_MAX 160

void vivi_path_join(char ret[VIVI_PATH_SIZE], const char *parent, const char *key)
{
    (void)snprintf(ret, VIVI_PATH_SIZE, "%.79s%s%.79s", parent, *parent != '\0' ? "." : "", key);
}

static int at_line(const struct vivi_source *src, size_t line, int r, viv_error *err)
{
    if (!src->file || r == -VIV_E_NO_MEMORY)
        return r;
    if (!src->origin)
        return vivi_wrap(err, r, "config line %zu", line);
    return vivi_wrap(err, r, "config %s:%zu", src->origin, line);
}

static int fail_shape(const struct vivi_source *src, const struct vivi_node *node, const char *path,
                      const char *text, viv_error *err)
{
    int r = *path == '\0' ? vivi_fail(err, VIV_E_INVALID, "%s", text)
                          : vivi_fail_field(err, VIV_E_INVALID, path, "%s", text);

    return at_line(src, node->line, r, err);
}

/* The next segment of a field below pattern, as a word; false: f is not below it. */
static bool child_word(const struct vivi_field *f, const char *pattern, char ret[VIVI_ID_SIZE])
{
    const char *rest = f->path;

    if (!vivi_field_is_child(f, pattern))
        return false;
    if (*pattern != '\0')
        rest += strlen(pattern) + 1;
    (void)snprintf(ret, VIVI_ID_SIZE, "%.*s", (int)strcspn(rest, "."), rest);
    return true;
}

int vivi_fail_unknown(const char *pattern, const char *path, const char *key, viv_error *err)
{
    char words[CANDIDATES_MAX][VIVI_ID_SIZE];
    const char *candidates[CANDIDATES_MAX];
    char full[VIVI_PATH_SIZE], shown[VIVI_SHOWN_SIZE];
    size_t n = 0, plain = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_-");
    const char *near;
    int r;

    for (size_t i = 0; i < vivi_fields_count() && n < CANDIDATES_MAX; i++)
        if (child_word(&vivi_fields[i], pattern, words[n])) {
            candidates[n] = words[n];
            n++;
        }
    near = vivi_nearest(key, candidates, n);
    if (key[plain] != '\0' || plain == 0 || plain > VIVI_ID_SIZE)
        key = vivi_show(key, shown);
    vivi_path_join(full, path, key);
    r = vivi_fail_field(err, VIV_E_INVALID, full, "unknown field");
    if (near) {
        vivi_path_join(full, path, near);
        vivi_hint(err, "did you mean \"%s\"?", full);
    }
    return r;
}

/* An earlier key of the same name is an error; so are too many keys (which would make this slow).
 */
static int check_keys(const struct vivi_source *src, const struct vivi_node *map, const char *path,
                      viv_error *err)
{
    char full[VIVI_PATH_SIZE], shown[VIVI_SHOWN_SIZE];

    if (map->n / 2 > VIVI_LIST_MAX)
        return fail_shape(src, map, path, "has too many entries", err);
    for (size_t i = 0; i < map->n; i += 2)
        for (size_t j = 0; j < i; j += 2) {
            const char *key = map->items[i]->text;
            int r;

            if (strcmp(key, map->items[j]->text) != 0)
                continue;
            (void)vivi_show(key, shown);
            shown[strlen(shown) - 1] = '\0';
            vivi_path_join(full, path, shown + 1);
            r = vivi_fail_field(err, VIV_E_INVALID, full, "is given twice (first in line %zu)",
                                map->items[j]->line);
            return at_line(src, map->items[i]->line, r, err);
        }
    return 0;
}

static int canon_scalar(const struct vivi_source *src, const struct vivi_node *node,
                        const struct vivi_field *f, const char *path, json_t **ret, viv_error *err)
{
    const struct vivi_value_at at = {.path = path, .base_dir = src->base_dir};

    if (node->kind != VIVI_NODE_SCALAR)
        return fail_shape(src, node, path, "must be a single value", err);
    return at_line(src, node->line, vivi_value_parse(f, node->text, &at, ret, err), err);
}

/* A string map: labels. */
static int canon_words(const struct vivi_source *src, const struct vivi_node *node,
                       const struct vivi_field *f, const char *path, json_t **ret, viv_error *err)
{
    json_auto_t *out = NULL;
    char full[VIVI_PATH_SIZE];
    int r;

    if (node->kind != VIVI_NODE_MAP)
        return fail_shape(src, node, path, "must be a mapping", err);
    r = check_keys(src, node, path, err);
    if (r < 0)
        return r;
    out = json_object();
    if (!out)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < node->n; i += 2) {
        const char *key = node->items[i]->text;
        json_t *v = NULL;

        r = at_line(src, node->items[i]->line, vivi_value_key(path, key, err), err);
        if (r < 0)
            return r;
        if (node->items[i + 1]->kind == VIVI_NODE_NULL)
            continue;
        vivi_path_join(full, path, key);
        r = canon_scalar(src, node->items[i + 1], f, full, &v, err);
        if (r < 0)
            return r;
        if (json_object_set_new(out, key, v) < 0)
            return vivi_fail_oom(err);
    }
    *ret = take_ptr(out);
    return 0;
}

/* A list of scalars; one scalar is a list of one. */
static int canon_scalars(const struct vivi_source *src, const struct vivi_node *node,
                         const struct vivi_field *f, const char *path, json_t **ret, viv_error *err)
{
    json_auto_t *out = NULL;
    struct vivi_node *only[1];
    struct vivi_node *const *items = node->items;
    size_t n = node->n;
    struct vivi_node copy = *node;

    if (node->kind == VIVI_NODE_MAP)
        return fail_shape(src, node, path, "must be a list", err);
    if (node->kind == VIVI_NODE_SCALAR) {
        only[0] = &copy;
        items = only;
        n = 1;
    }
    if (n > VIVI_LIST_MAX)
        return fail_shape(src, node, path, "has too many entries", err);
    out = json_array();
    if (!out)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < n; i++) {
        json_t *v = NULL;
        int r = canon_scalar(src, items[i], f, path, &v, err);

        if (r < 0)
            return r;
        if (json_array_append_new(out, v) < 0)
            return vivi_fail_oom(err);
    }
    *ret = take_ptr(out);
    return 0;
}

/* How messages call element i before ids are given: by its own id, or by its place. */
static void element_name(const struct vivi_node *element, const char *list, size_t i,
                         char ret[VIVI_ID_SIZE])
{
    if (element->kind == VIVI_NODE_MAP)
        for (size_t k = 0; k + 1 < element->n; k += 2) {
            const struct vivi_node *v = element->items[k + 1];

            if (strcmp(element->items[k]->text, "id") == 0 && v->kind == VIVI_NODE_SCALAR &&
                vivi_parse_name(v->text, NULL) == 0) {
                (void)snprintf(ret, VIVI_ID_SIZE, "%s", v->text);
                return;
            }
        }
    (void)snprintf(ret, VIVI_ID_SIZE, "%c%zu", vivi_element_letter(list), i);
}

static int canon_elements(const struct vivi_source *src, const struct vivi_node *node,
                          const char *pattern, const char *path, json_t **ret, viv_error *err)
{
    json_auto_t *out = NULL;
    char sub[VIVI_PATH_SIZE], full[VIVI_PATH_SIZE], id[VIVI_ID_SIZE];

    if (node->kind != VIVI_NODE_LIST)
        return fail_shape(src, node, path, "must be a list", err);
    if (node->n > VIVI_LIST_MAX)
        return fail_shape(src, node, path, "has too many entries", err);
    out = json_array();
    if (!out)
        return vivi_fail_oom(err);
    vivi_path_join(sub, pattern, "*");
    for (size_t i = 0; i < node->n; i++) {
        json_t *v = NULL;
        int r;

        element_name(node->items[i], path, i, id);
        vivi_path_join(full, path, id);
        if (node->items[i]->kind != VIVI_NODE_MAP)
            return fail_shape(src, node->items[i], full, "must be a mapping", err);
        r = vivi_canon(src, node->items[i], sub, full, &v, err);
        if (r < 0)
            return r;
        if (json_array_append_new(out, v) < 0)
            return vivi_fail_oom(err);
    }
    *ret = take_ptr(out);
    return 0;
}

static int canon_mapping(const struct vivi_source *src, const struct vivi_node *node,
                         const char *pattern, const char *path, json_t **ret, viv_error *err)
{
    json_auto_t *out = NULL;
    char sub[VIVI_PATH_SIZE], full[VIVI_PATH_SIZE];
    int r = check_keys(src, node, path, err);

    if (r < 0)
        return r;
    out = json_object();
    if (!out)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < node->n; i += 2) {
        const char *key = node->items[i]->text;
        json_t *v = NULL;

        vivi_path_join(sub, pattern, key);
        if (strpbrk(key, ".*") || !(vivi_field_find(sub) || vivi_field_is_mapping(sub)))
            return at_line(src, node->items[i]->line, vivi_fail_unknown(pattern, path, key, err),
                           err);
        vivi_path_join(full, path, key);
        r = vivi_canon(src, node->items[i + 1], sub, full, &v, err);
        if (r < 0)
            return r;
        if (v && json_object_set_new(out, key, v) < 0)
            return vivi_fail_oom(err);
    }
    *ret = take_ptr(out);
    return 0;
}

/* A scalar where a mapping could stand: "cpus: 2" is {count: 2}. */
static int canon_shorthand(const struct vivi_source *src, const struct vivi_node *node,
                           const char *pattern, const char *path, json_t **ret, viv_error *err)
{
    const struct vivi_field *f = vivi_field_shorthand(pattern);
    json_auto_t *out = NULL;
    char full[VIVI_PATH_SIZE];
    json_t *v = NULL;
    int r;

    if (!f)
        return fail_shape(src, node, path, "must be a mapping", err);
    vivi_path_join(full, path, vivi_field_leaf(f));
    r = canon_scalar(src, node, f, full, &v, err);
    if (r < 0)
        return r;
    out = json_object();
    if (!out) {
        json_decref(v);
        return vivi_fail_oom(err);
    }
    if (json_object_set_new(out, vivi_field_leaf(f), v) < 0)
        return vivi_fail_oom(err);
    *ret = take_ptr(out);
    return 0;
}

static int canon_field(const struct vivi_source *src, const struct vivi_node *node,
                       const struct vivi_field *f, const char *path, json_t **ret, viv_error *err)
{
    if (f->type == VIVI_T_OBJECT_LIST)
        return canon_elements(src, node, f->path, path, ret, err);
    if (f->type == VIVI_T_MAP)
        return canon_words(src, node, f, path, ret, err);
    if (f->type == VIVI_T_STR_LIST || f->type == VIVI_T_FORWARD_LIST)
        return canon_scalars(src, node, f, path, ret, err);
    return canon_scalar(src, node, f, path, ret, err);
}

int vivi_canon(const struct vivi_source *src, const struct vivi_node *node, const char *pattern,
               const char *path, json_t **ret, viv_error *err)
{
    const struct vivi_field *f = vivi_field_find(pattern);

    if (node->kind == VIVI_NODE_NULL) {
        *ret = NULL;
        return 0;
    }
    if (f)
        return canon_field(src, node, f, path, ret, err);
    if (node->kind == VIVI_NODE_MAP)
        return canon_mapping(src, node, pattern, path, ret, err);
    if (node->kind == VIVI_NODE_SCALAR && *pattern != '\0')
        return canon_shorthand(src, node, pattern, path, ret, err);
    return fail_shape(src, node, path,
                      *pattern == '\0' ? "must be a mapping of fields" : "must be a mapping", err);
}

int vivi_config_parse(const char *text, size_t len, const char *origin, const char *base_dir,
                      json_t **ret, viv_error *err)
{
    const struct vivi_source src = {.file = true, .origin = origin, .base_dir = base_dir};
    VIVI_CLEANUP(vivi_tree_done) struct vivi_tree tree = {0};
    json_t *doc = NULL;
    size_t line = 0;
    int r = vivi_tree_parse(text, len, &tree, &line, err);

    if (r < 0) {
        if (line > 0 || r == -VIV_E_NO_MEMORY)
            return at_line(&src, line, r, err);
        return vivi_wrap(err, r, "config%s%s", origin ? " " : "", origin ? origin : "");
    }
    r = vivi_canon(&src, tree.root, "", "", &doc, err);
    if (r < 0)
        return r;
    if (!doc)
        doc = json_object();
    if (!doc)
        return vivi_fail_oom(err);
    *ret = doc;
    return 0;
}
