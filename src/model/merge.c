/* Whole documents: laying one under another, completing, comparing, showing. */
#include "model/canon.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- merging ---- */

static json_t *merge_values(const char *pattern, const json_t *upper, const json_t *lower);

static const char *explicit_id(const json_t *element)
{
    return json_string_value(json_object_get(element, "id"));
}

/* The element of upper that says itself that it is called id. */
static json_t *find_named(const json_t *upper, const char *id)
{
    for (size_t i = 0; i < json_array_size(upper); i++) {
        const char *own = explicit_id(json_array_get(upper, i));

        if (own && strcmp(own, id) == 0)
            return json_array_get(upper, i);
    }
    return NULL;
}

/* Element i of lower, with its id made explicit and what upper says about it on top. */
static json_t *merge_element(const char *list, const json_t *upper, const json_t *lower, size_t i)
{
    char id[VIVI_ID_SIZE], pattern[VIVI_PATH_SIZE];
    json_auto_t *named = json_copy(json_array_get(lower, i));
    const json_t *over;

    vivi_element_id(list, lower, i, id);
    if (!named || json_object_set_new(named, "id", json_string(id)) < 0)
        return NULL;
    over = find_named(upper, id);
    if (!over)
        return json_deep_copy(named);
    vivi_path_join(pattern, list, "*");
    return merge_values(pattern, over, named);
}

/*
 * Devices by id: those below first (a root disk of an image stays the first disk), then what upper
 * adds. An unnamed one of upper is always another device; it is numbered at completion.
 */
static json_t *merge_elements(const char *list, const json_t *upper, const json_t *lower)
{
    json_auto_t *out = json_array();
    size_t n = json_array_size(lower);

    if (!out || json_array_size(upper) == 0)
        return take_ptr(out);
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(out, merge_element(list, upper, lower, i)) < 0)
            return NULL;
    for (size_t i = 0; i < json_array_size(upper); i++) {
        const json_t *e = json_array_get(upper, i);
        const char *id = explicit_id(e);

        if (id && vivi_element_find(list, lower, id) >= 0)
            continue;
        if (json_array_append_new(out, json_deep_copy(e)) < 0)
            return NULL;
    }
    return take_ptr(out);
}

static json_t *merge_mappings(const char *pattern, const json_t *upper, const json_t *lower)
{
    json_auto_t *out = json_object();
    char sub[VIVI_PATH_SIZE];
    const char *key;
    json_t *v, *not_const = (json_t *)(uintptr_t)lower; /* jansson's iterators are not const */

    if (!out)
        return NULL;
    json_object_foreach(not_const, key, v)
    {
        vivi_path_join(sub, pattern, key);
        if (json_object_set_new(out, key, merge_values(sub, json_object_get(upper, key), v)) < 0)
            return NULL;
    }
    not_const = (json_t *)(uintptr_t)upper;
    json_object_foreach(not_const, key, v)
    {
        if (!json_object_get(out, key) && json_object_set_new(out, key, json_deep_copy(v)) < 0)
            return NULL;
    }
    return take_ptr(out);
}

/* A new value: upper where it says something, else lower. NULL: out of memory. */
static json_t *merge_values(const char *pattern, const json_t *upper, const json_t *lower)
{
    if (!upper || json_is_null(upper))
        return json_deep_copy(lower);
    if (json_is_object(upper) && json_is_object(lower))
        return merge_mappings(pattern, upper, lower);
    if (json_is_array(upper) && json_is_array(lower)) {
        const struct vivi_field *f = vivi_field_find(pattern);

        if (f && f->type == VIVI_T_OBJECT_LIST)
            return merge_elements(f->path, upper, lower);
    }
    return json_deep_copy(upper);
}

/*
 * Makes doc hold what merged holds (a superset of its keys). New keys first, since only they need
 * memory: if it runs out, they are taken away again and doc is as before.
 */
static int replace_members(json_t *doc, json_t *merged)
{
    const char *key;
    json_t *v;
    void *it;

    json_object_foreach(merged, key, v)
    {
        if (json_object_get(doc, key) || json_object_set(doc, key, v) == 0)
            continue;
        json_object_foreach(merged, key, v)
        {
            if (json_object_get(doc, key) == v)
                (void)json_object_del(doc, key);
        }
        return -1;
    }
    for (it = json_object_iter(doc); it; it = json_object_iter_next(doc, it)) {
        v = json_object_get(merged, json_object_iter_key(it));
        if (v)
            (void)json_object_iter_set(doc, it, v);
    }
    return 0;
}

int vivi_config_merge_under(json_t *doc, const json_t *lower, viv_error *err)
{
    json_auto_t *merged = merge_values("", doc, lower);

    if (!merged || replace_members(doc, merged) < 0)
        return vivi_fail_oom(err);
    return 0;
}

/* ---- completing ---- */

/* Sets a new value at a path of mappings below root, making them as needed. Steals value. */
static int set_deep(json_t *root, const char *path, json_t *value)
{
    char segment[VIVI_ID_SIZE];
    json_t *at = root;
    size_t n;

    if (!value)
        return -1;
    for (; path[n = strcspn(path, ".")] == '.'; path += n + 1) {
        json_t *next;

        (void)snprintf(segment, sizeof(segment), "%.*s", (int)n, path);
        next = json_object_get(at, segment);
        if (!next) {
            next = json_object();
            if (!next || json_object_set_new(at, segment, next) < 0) {
                json_decref(value);
                return -1;
            }
        }
        at = next;
    }
    return json_object_set_new(at, path, value);
}

/* The given value at a plain path, or the default. */
static json_t *value_or_default(const json_t *in, const char *path, const struct vivi_field *f)
{
    const json_t *v = vivi_config_get(in, path);

    return v ? json_deep_copy(v) : vivi_value_default(f);
}

static int complete_element(const struct vivi_field *list, const json_t *elements, size_t i,
                            json_t **ret, viv_error *err)
{
    json_auto_t *out = json_object();
    const json_t *in = json_array_get(elements, i);
    char pattern[VIVI_PATH_SIZE], id[VIVI_ID_SIZE], path[VIVI_PATH_SIZE], full[VIVI_PATH_SIZE];

    vivi_element_id(list->path, elements, i, id);
    vivi_path_join(pattern, list->path, "*");
    vivi_path_join(path, list->path, id);
    if (!out || json_object_set_new(out, "id", json_string(id)) < 0)
        return vivi_fail_oom(err);
    for (size_t k = 0; k < vivi_fields_count(); k++) {
        const struct vivi_field *f = &vivi_fields[k];
        const char *rest = f->path + strlen(pattern) + 1;

        if (!vivi_field_is_child(f, pattern) || strcmp(rest, "id") == 0)
            continue;
        if (f->required && !vivi_config_get(in, rest)) {
            vivi_path_join(full, path, rest);
            return vivi_fail_field(err, VIV_E_INVALID, full, "is missing");
        }
        if (set_deep(out, rest, value_or_default(in, rest, f)) < 0)
            return vivi_fail_oom(err);
    }
    *ret = take_ptr(out);
    return 0;
}

static int check_ids(const struct vivi_field *list, const json_t *elements, viv_error *err)
{
    char path[VIVI_PATH_SIZE];

    for (size_t i = 0; i < json_array_size(elements); i++) {
        const json_t *e = json_array_get(elements, i);
        const char *id = explicit_id(e);

        if (id && find_named(elements, id) != e) {
            vivi_path_join(path, list->path, id);
            return vivi_fail_field(err, VIV_E_INVALID, path, "id is used twice");
        }
    }
    return 0;
}

static int complete_list(const struct vivi_field *f, const json_t *doc, json_t *out, viv_error *err)
{
    json_auto_t *implied = NULL, *list = json_array();
    const json_t *elements = vivi_config_get(doc, f->path);
    int r;

    if (!list)
        return vivi_fail_oom(err);
    if (!elements && f->def) {
        implied = json_pack("[{s:s}]", "id", f->def);
        if (!implied)
            return vivi_fail_oom(err);
        elements = implied;
    }
    if (elements && !json_is_array(elements))
        return vivi_fail_field(err, VIV_E_INVALID, f->path, "must be a list");
    if (json_array_size(elements) > VIVI_LIST_MAX)
        return vivi_fail_field(err, VIV_E_INVALID, f->path, "has too many entries");
    r = check_ids(f, elements, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(elements); i++) {
        json_t *e = NULL;

        r = complete_element(f, elements, i, &e, err);
        if (r < 0)
            return r;
        if (json_array_append_new(list, e) < 0)
            return vivi_fail_oom(err);
    }
    return set_deep(out, f->path, take_ptr(list)) < 0 ? vivi_fail_oom(err) : 0;
}

int vivi_config_complete(const json_t *doc, json_t **ret, viv_error *err)
{
    json_auto_t *out = json_object();

    if (!out)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        int r = 0;

        if (f->type == VIVI_T_OBJECT_LIST)
            r = complete_list(f, doc, out, err);
        else if (!strchr(f->path, '*') && set_deep(out, f->path, value_or_default(doc, f->path, f)))
            r = vivi_fail_oom(err);
        if (r < 0)
            return r;
    }
    *ret = take_ptr(out);
    return 0;
}

bool vivi_config_equal(const json_t *a, const json_t *b)
{
    json_auto_t *x = NULL, *y = NULL;

    if (vivi_config_complete(a, &x, NULL) < 0 || vivi_config_complete(b, &y, NULL) < 0)
        return false;
    return json_equal(x, y);
}

/* ---- showing ---- */

static int present(const char *pattern, const json_t *in, json_t **ret);

static int present_mapping(const char *pattern, const json_t *in, json_t **ret)
{
    json_auto_t *out = json_object();
    char sub[VIVI_PATH_SIZE];
    const char *key;
    json_t *v, *not_const = (json_t *)(uintptr_t)in;

    if (!out)
        return -1;
    json_object_foreach(not_const, key, v)
    {
        json_t *shown = NULL;

        vivi_path_join(sub, pattern, key);
        if (present(sub, v, &shown) < 0)
            return -1;
        if (shown && json_object_set_new(out, key, shown) < 0)
            return -1;
    }
    /* Nothing said about boot is not worth a line; the document itself is always there. */
    if (json_object_size(out) > 0 || *pattern == '\0')
        *ret = take_ptr(out);
    return 0;
}

static int present_list(const char *pattern, const json_t *in, json_t **ret)
{
    json_auto_t *out = json_array();
    char sub[VIVI_PATH_SIZE];

    if (!out)
        return -1;
    vivi_path_join(sub, pattern, "*");
    for (size_t i = 0; i < json_array_size(in); i++) {
        json_t *shown = NULL;

        if (present(sub, json_array_get(in, i), &shown) < 0)
            return -1;
        if (!shown)
            shown = json_object();
        if (json_array_append_new(out, shown) < 0)
            return -1;
    }
    *ret = take_ptr(out);
    return 0;
}

/* *ret stays NULL when there is nothing to show. −1: out of memory. */
static int present(const char *pattern, const json_t *in, json_t **ret)
{
    const struct vivi_field *f;

    if (json_is_null(in))
        return 0;
    if (json_is_object(in))
        return present_mapping(pattern, in, ret);
    f = vivi_field_find(pattern);
    if (json_is_array(in) && f && f->type == VIVI_T_OBJECT_LIST)
        return present_list(pattern, in, ret);
    *ret = f ? vivi_value_present(f, in) : json_deep_copy(in);
    return *ret ? 0 : -1;
}

int vivi_config_present(const json_t *doc, json_t **ret, viv_error *err)
{
    json_t *out = NULL;

    if (present("", doc, &out) < 0)
        return vivi_fail_oom(err);
    *ret = out;
    return 0;
}
