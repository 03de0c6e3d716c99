/* Records and lists: immutable JSON with access by path; see vivarium.h. */
#include "manager/manager.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char *viv_version(void)
{
    return VIV_VERSION;
}

int vivi_rec_new(json_t *doc_consume, viv_rec **ret, viv_error *err)
{
    viv_rec *r;

    if (!doc_consume)
        return vivi_fail_oom(err);
    r = calloc(1, sizeof(*r));
    if (!r) {
        json_decref(doc_consume);
        return vivi_fail_oom(err);
    }
    r->doc = doc_consume;
    *ret = r;
    return 0;
}

void viv_rec_free(viv_rec *r)
{
    if (!r)
        return;
    json_decref(r->doc);
    vivi_row_free(r->row);
    free(r->text);
    free(r);
}

/* The JSON of a record, made now if it was not needed so far; NULL: no memory. */
static const json_t *doc_of(const viv_rec *r)
{
    viv_rec *cache = (viv_rec *)(uintptr_t)r; /* what the record says does not change */

    if (r && !r->doc && r->row)
        cache->doc = vivi_row_json(r->row);
    return r ? r->doc : NULL;
}

static const json_t *at_path(const viv_rec *r, const char *path)
{
    const json_t *doc = path ? doc_of(r) : NULL;

    return doc ? vivi_json_at(doc, path) : NULL;
}

json_t *vivi_time_json(int64_t wall_ms)
{
    char text[VIVI_TIME_SIZE];

    if (wall_ms == 0)
        return json_null();
    vivi_time_format(wall_ms, text);
    return json_string(text);
}

/* An element of a list: by its id, else by its position. */
static const json_t *element(const json_t *list, const char *key, size_t len)
{
    size_t at = 0, i;
    json_t *e;

    json_array_foreach((json_t *)(uintptr_t)list, i, e)
    {
        const char *id = json_string_value(json_object_get(e, "id"));

        if (id && strlen(id) == len && memcmp(id, key, len) == 0)
            return e;
    }
    for (i = 0; i < len && i < 9; i++) {
        if (key[i] < '0' || key[i] > '9')
            return NULL;
        at = at * 10 + (size_t)(key[i] - '0');
    }
    return len > 0 ? json_array_get(list, at) : NULL;
}

static const json_t *member(const json_t *doc, const char *key, size_t len)
{
    char copy[256];

    if (json_is_array(doc))
        return element(doc, key, len);
    if (len >= sizeof(copy))
        return NULL;
    memcpy(copy, key, len);
    copy[len] = '\0';
    return json_object_get(doc, copy);
}

const json_t *vivi_json_at(const json_t *doc, const char *path)
{
    while (doc && *path) {
        size_t len = strlen(path);
        const json_t *whole = member(doc, path, len); /* keys of labels may have dots */

        if (whole)
            return whole;
        len = strcspn(path, ".");
        doc = member(doc, path, len);
        path += len;
        if (*path == '.')
            path++;
    }
    return doc;
}

const char *viv_rec_str(const viv_rec *r, const char *path)
{
    const char *text;

    if (r && r->row && path && vivi_row_str(r->row, path, &text))
        return text;
    return json_string_value(at_path(r, path));
}

int viv_rec_i64(const viv_rec *r, const char *path, int64_t *ret)
{
    const json_t *j;
    int code;

    if (r && r->row && path && vivi_row_i64(r->row, path, ret, &code))
        return code;
    j = at_path(r, path);
    if (!j)
        return -VIV_E_NOT_FOUND;
    if (!json_is_integer(j) && !json_is_boolean(j))
        return -VIV_E_INVALID;
    *ret = json_is_boolean(j) ? json_is_true(j) : (int64_t)json_integer_value(j);
    return 0;
}

int viv_rec_bool(const viv_rec *r, const char *path, int *ret)
{
    const json_t *j;
    int code;

    if (r && r->row && path && vivi_row_bool(r->row, path, ret, &code))
        return code;
    j = at_path(r, path);
    if (!j)
        return -VIV_E_NOT_FOUND;
    if (!json_is_boolean(j))
        return -VIV_E_INVALID;
    *ret = json_is_true(j);
    return 0;
}

int viv_rec_is_null(const viv_rec *r, const char *path)
{
    const json_t *j;
    int null;

    if (r && r->row && path && vivi_row_null(r->row, path, &null))
        return null;
    j = at_path(r, path);
    return !j || json_is_null(j);
}

const char *viv_rec_json(const viv_rec *r)
{
    viv_rec *cache = (viv_rec *)(uintptr_t)r; /* the text is no part of what the record says */
    const json_t *doc = doc_of(r);

    if (!doc)
        return NULL;
    if (!cache->text)
        cache->text = json_dumps(doc, JSON_COMPACT | JSON_ENCODE_ANY);
    return cache->text;
}

/* ---- lists ---- */

int vivi_list_new(viv_list **ret, viv_error *err)
{
    viv_list *l = calloc(1, sizeof(*l));

    if (!l)
        return vivi_fail_oom(err);
    *ret = l;
    return 0;
}

/* Takes rec, also on failure. */
static int add(viv_list *l, viv_rec *rec, viv_error *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        viv_rec **items = realloc(l->items, cap * sizeof(*items));

        if (!items) {
            viv_rec_free(rec);
            return vivi_fail_oom(err);
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = rec;
    return 0;
}

int vivi_list_add(viv_list *l, json_t *doc_consume, viv_error *err)
{
    viv_rec *rec = NULL;
    int r = vivi_rec_new(doc_consume, &rec, err);

    return r < 0 ? r : add(l, rec, err);
}

int vivi_list_add_row(viv_list *l, struct vivi_row *row_consume, viv_error *err)
{
    viv_rec *rec = calloc(1, sizeof(*rec));

    if (!rec) {
        vivi_row_free(row_consume);
        return vivi_fail_oom(err);
    }
    rec->row = row_consume;
    return add(l, rec, err);
}

size_t viv_list_len(const viv_list *l)
{
    return l ? l->n : 0;
}

const viv_rec *viv_list_at(const viv_list *l, size_t i)
{
    return l && i < l->n ? l->items[i] : NULL;
}

void viv_list_free(viv_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        viv_rec_free(l->items[i]);
    free(l->items);
    free(l);
}

void vivi_list_free_ptr(viv_list **l)
{
    viv_list_free(*l);
    *l = NULL;
}
