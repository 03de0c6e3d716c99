/*
 * Theory of operation: the field table is walked, not the documents, so what is no field is never a
 * difference and the order of the result is that of every other report. Devices are matched by id.
 * For a list the removals come first, then what changed inside, then what was added at the end, and
 * an order only where all this leaves another one than is wanted.
 */
#include "model/diff.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/canon.h"

#define FIRST_CAP 8

static const char *const op_names[] = {"add", "remove", "change"};
static const char *const when_names[] = {"fixed", "next-start", "live"};

static void change_done(struct vivi_change *c)
{
    json_decref(c->from);
    json_decref(c->to);
}

void vivi_diff_done(struct vivi_diff *d)
{
    for (size_t i = 0; i < d->n; i++)
        change_done(&d->items[i]);
    free(d->items);
    *d = (struct vivi_diff){0};
}

bool vivi_change_is_device(const struct vivi_change *c)
{
    return c->field->type == VIVI_T_OBJECT_LIST && c->op != VIVI_CHANGE_CHANGE;
}

bool vivi_change_is_order(const struct vivi_change *c)
{
    return c->field->type == VIVI_T_OBJECT_LIST && c->op == VIVI_CHANGE_CHANGE;
}

/* ---- finding ---- */

static bool is_nothing(const json_t *v)
{
    return !v || json_is_null(v);
}

static json_t *copy_or_null(const json_t *v)
{
    return v ? json_deep_copy(v) : json_null();
}

/* −1: out of memory. */
static int add(struct vivi_diff *d, const struct vivi_field *f, const char *path,
               const json_t *from, const json_t *to)
{
    struct vivi_change c = {.field = f};

    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : FIRST_CAP;
        struct vivi_change *items = realloc(d->items, cap * sizeof(*items));

        if (!items)
            return -1;
        d->items = items;
        d->cap = cap;
    }
    c.op = is_nothing(from) ? VIVI_CHANGE_ADD
           : is_nothing(to) ? VIVI_CHANGE_REMOVE
                            : VIVI_CHANGE_CHANGE;
    (void)snprintf(c.path, sizeof(c.path), "%s", path);
    c.from = copy_or_null(from);
    c.to = copy_or_null(to);
    if (!c.from || !c.to) {
        change_done(&c);
        return -1;
    }
    d->items[d->n++] = c;
    return 0;
}

static int add_if_other(struct vivi_diff *d, const struct vivi_field *f, const char *path,
                        const json_t *from, const json_t *to)
{
    bool none = is_nothing(from) && is_nothing(to);

    return none || (from && to && json_equal(from, to)) ? 0 : add(d, f, path, from, to);
}

/* Entries of from that are other in to, or not there; then those that only to has. */
static int diff_map(struct vivi_diff *d, const struct vivi_field *f, const char *path,
                    const json_t *from, const json_t *to)
{
    json_t *both[] = {(json_t *)(uintptr_t)from,
                      (json_t *)(uintptr_t)to}; /* iterated, not changed */
    char sub[VIVI_PATH_SIZE];
    const char *key;
    json_t *v;

    json_object_foreach(both[0], key, v)
    {
        vivi_path_join(sub, path, key);
        if (add_if_other(d, f, sub, v, json_object_get(to, key)) < 0)
            return -1;
    }
    json_object_foreach(both[1], key, v)
    {
        vivi_path_join(sub, path, key);
        if (!json_object_get(from, key) && add_if_other(d, f, sub, NULL, v) < 0)
            return -1;
    }
    return 0;
}

static int diff_value(struct vivi_diff *d, const struct vivi_field *f, const char *path,
                      const json_t *from, const json_t *to)
{
    return f->type == VIVI_T_MAP ? diff_map(d, f, path, from, to)
                                 : add_if_other(d, f, path, from, to);
}

/* ---- lists of devices ---- */

struct lists {
    struct vivi_diff *d;
    const struct vivi_field *f; /* of the list */
    const json_t *from, *to;
};

static const json_t *find(const struct lists *l, const json_t *elements, const char *id)
{
    int i = vivi_element_find(l->f->path, elements, id);

    return i < 0 ? NULL : json_array_get(elements, (size_t)i);
}

/* Devices of one list that the other one has not. */
static int diff_presence(const struct lists *l, const json_t *have, const json_t *other, bool adds)
{
    char id[VIVI_ID_SIZE], path[VIVI_PATH_SIZE];

    for (size_t i = 0; i < json_array_size(have); i++) {
        const json_t *e = json_array_get(have, i);

        vivi_element_id(l->f->path, have, i, id);
        if (find(l, other, id))
            continue;
        vivi_path_join(path, l->f->path, id);
        if (add(l->d, l->f, path, adds ? NULL : e, adds ? e : NULL) < 0)
            return -1;
    }
    return 0;
}

static int diff_element(const struct lists *l, const char *id, const json_t *from, const json_t *to)
{
    char pattern[VIVI_PATH_SIZE], path[VIVI_PATH_SIZE], full[VIVI_PATH_SIZE];

    vivi_path_join(pattern, l->f->path, "*");
    vivi_path_join(path, l->f->path, id);
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        const char *rest = f->path + strlen(pattern) + 1;

        if (!vivi_field_is_child(f, pattern) || strcmp(rest, "id") == 0)
            continue;
        vivi_path_join(full, path, rest);
        if (diff_value(l->d, f, full, vivi_config_get(from, rest), vivi_config_get(to, rest)) < 0)
            return -1;
    }
    return 0;
}

static int diff_elements(const struct lists *l)
{
    char id[VIVI_ID_SIZE];

    for (size_t i = 0; i < json_array_size(l->from); i++) {
        const json_t *to;

        vivi_element_id(l->f->path, l->from, i, id);
        to = find(l, l->to, id);
        if (to && diff_element(l, id, json_array_get(l->from, i), to) < 0)
            return -1;
    }
    return 0;
}

static int add_id(json_t *ids, const struct lists *l, const json_t *elements, size_t i)
{
    char id[VIVI_ID_SIZE];

    vivi_element_id(l->f->path, elements, i, id);
    return json_array_append_new(ids, json_string(id));
}

/* Ids in the order that removals and additions leave. */
static json_t *order_left(const struct lists *l)
{
    json_auto_t *ids = json_array();
    char id[VIVI_ID_SIZE];

    if (!ids)
        return NULL;
    for (int k = 0; k < 2; k++) {
        const json_t *have = k == 0 ? l->from : l->to, *other = k == 0 ? l->to : l->from;

        for (size_t i = 0; i < json_array_size(have); i++) {
            vivi_element_id(l->f->path, have, i, id);
            if ((find(l, other, id) != NULL) == (k == 0) && add_id(ids, l, have, i) < 0)
                return NULL;
        }
    }
    return take_ptr(ids);
}

static int diff_order(const struct lists *l)
{
    json_auto_t *left = order_left(l), *wanted = json_array();

    if (!left || !wanted)
        return -1;
    for (size_t i = 0; i < json_array_size(l->to); i++)
        if (add_id(wanted, l, l->to, i) < 0)
            return -1;
    return json_equal(left, wanted) ? 0 : add(l->d, l->f, l->f->path, left, wanted);
}

static int diff_list(struct vivi_diff *d, const struct vivi_field *f, const json_t *from,
                     const json_t *to)
{
    const struct lists l = {d, f, from, to};

    if (diff_presence(&l, from, to, false) < 0 || diff_elements(&l) < 0 ||
        diff_presence(&l, to, from, true) < 0)
        return -1;
    return diff_order(&l);
}

int vivi_diff(const json_t *from, const json_t *to, struct vivi_diff *ret, viv_error *err)
{
    cleanup_diff struct vivi_diff d = {0};

    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        const json_t *a, *b;

        if (strchr(f->path, '*'))
            continue;
        a = vivi_config_get(from, f->path);
        b = vivi_config_get(to, f->path);
        if ((f->type == VIVI_T_OBJECT_LIST ? diff_list(&d, f, a, b)
                                           : diff_value(&d, f, f->path, a, b)) < 0)
            return vivi_fail_oom(err);
    }
    *ret = d;
    d = (struct vivi_diff){0};
    return 0;
}

/* ---- making a change ---- */

/* Where the last segment of the field's pattern begins in the path; what follows is one key. */
static const char *leaf_of(const struct vivi_change *c)
{
    const char *pattern = c->field->path, *path = c->path;

    while ((pattern = strchr(pattern, '.'))) {
        pattern++;
        path = strchr(path, '.') + 1;
    }
    return path;
}

/* The mapping that holds the leaf; mappings on the way are made. NULL: no such device (err). */
static json_t *holder(json_t *doc, const struct vivi_change *c, const char *leaf, viv_error *err)
{
    char segment[VIVI_PATH_SIZE], list[VIVI_PATH_SIZE] = "";
    json_t *at = doc;

    for (const char *p = c->path; p < leaf; p = strchr(p, '.') + 1) {
        json_t *next;

        (void)snprintf(segment, sizeof(segment), "%.*s", (int)strcspn(p, "."), p);
        if (json_is_array(at)) {
            int i = vivi_element_find(list, at, segment);

            next = i < 0 ? NULL : json_array_get(at, (size_t)i);
            if (!next) {
                (void)vivi_fail_field(err, VIV_E_NOT_FOUND, c->path, "is not there");
                return NULL;
            }
        } else {
            next = json_object_get(at, segment);
            if (is_nothing(next)) {
                next = json_object();
                if (!next || json_object_set_new(at, segment, next) < 0) {
                    (void)vivi_fail_oom(err);
                    return NULL;
                }
            }
        }
        memcpy(list, segment, sizeof(list));
        at = next;
    }
    return at;
}

static int set_value(json_t *at, const char *key, const json_t *value, viv_error *err)
{
    return json_object_set_new(at, key, json_deep_copy(value)) < 0 ? vivi_fail_oom(err) : 0;
}

/* One entry of a map: what follows the map's own name, dots and all, is its key. */
static int make_entry(json_t *at, const struct vivi_change *c, const char *leaf, viv_error *err)
{
    const char *name = vivi_field_leaf(c->field), *key = leaf + strlen(name) + 1;
    json_t *map = json_object_get(at, name);

    if (!json_is_object(map)) {
        map = json_object();
        if (!map || json_object_set_new(at, name, map) < 0)
            return vivi_fail_oom(err);
    }
    if (c->op != VIVI_CHANGE_REMOVE)
        return set_value(map, key, c->to, err);
    (void)json_object_del(map, key);
    return 0;
}

static int make_order(json_t *at, const struct vivi_change *c, viv_error *err)
{
    json_auto_t *sorted = json_array();
    const char *name = vivi_field_leaf(c->field);
    const json_t *now = json_object_get(at, name);

    if (!sorted)
        return vivi_fail_oom(err);
    for (size_t k = 0; k < json_array_size(c->to); k++) {
        const char *id = json_string_value(json_array_get(c->to, k));
        int i = id ? vivi_element_find(c->field->path, now, id) : -1;

        if (i < 0)
            return vivi_fail_field(err, VIV_E_NOT_FOUND, c->path, "there is no %s", id ? id : "?");
        if (json_array_append(sorted, json_array_get(now, (size_t)i)) < 0)
            return vivi_fail_oom(err);
    }
    return json_object_set(at, name, sorted) < 0 ? vivi_fail_oom(err) : 0;
}

/* A device comes (at the end) or goes. The change's path is its list's and the id. */
static int make_device(json_t *doc, const struct vivi_change *c, viv_error *err)
{
    const char *leaf = leaf_of(c), *name = vivi_field_leaf(c->field);
    const char *id = leaf + strlen(name) + 1;
    json_t *at = holder(doc, c, leaf, err), *list;
    int i;

    if (!at)
        return -(err ? err->code : VIV_E_NO_MEMORY);
    list = json_object_get(at, name);
    if (!json_is_array(list)) {
        list = json_array();
        if (!list || json_object_set_new(at, name, list) < 0)
            return vivi_fail_oom(err);
    }
    if (c->op == VIVI_CHANGE_ADD)
        return json_array_append_new(list, json_deep_copy(c->to)) < 0 ? vivi_fail_oom(err) : 0;
    i = vivi_element_find(c->field->path, list, id);
    if (i < 0)
        return vivi_fail_field(err, VIV_E_NOT_FOUND, c->path, "is not there");
    (void)json_array_remove(list, (size_t)i);
    return 0;
}

int vivi_change_make(json_t *doc, const struct vivi_change *c, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    const char *leaf = leaf_of(c);
    json_t *at;
    int r = 0;

    if (vivi_change_is_device(c)) {
        r = make_device(doc, c, &why);
    } else {
        at = holder(doc, c, leaf, &why);
        if (!at)
            r = -why.code;
        else if (vivi_change_is_order(c))
            r = make_order(at, c, &why);
        else if (c->field->type == VIVI_T_MAP)
            r = make_entry(at, c, leaf, &why);
        else
            r = set_value(at, leaf, c->to, &why);
    }
    if (r < 0 && err)
        *err = why;
    return r;
}

/* ---- what may be changed, what belongs together ---- */

/* The value that stays, cut to what a message has room for. */
static void put_value(struct vivi_buf *out, const struct vivi_field *f, const json_t *v);

int vivi_change_fixed(const struct vivi_change *c, viv_error *err)
{
    cleanup_buf struct vivi_buf was = VIVI_BUF(256);
    const char *dot = strrchr(c->path, '.');
    int r;

    if (vivi_change_is_device(c) || (c->field->when != VIVI_WHEN_FIXED && !vivi_change_is_order(c)))
        return 0;
    put_value(&was, c->field, c->from);
    if (vivi_change_is_order(c)) {
        r = vivi_fail_field(err, VIV_E_INVALID, c->path, "the order of devices is fixed (%s)",
                            was.data ? was.data : "");
        vivi_hint(err, "name those that are there in this order, new ones behind them");
    } else if (strchr(c->field->path, '*') && dot) {
        r = vivi_fail_field(err, VIV_E_INVALID, c->path,
                            "is fixed for as long as the device is there (%s)",
                            was.data ? was.data : "");
        vivi_hint(err, "remove %.*s and add another one", (int)(dot - c->path), c->path);
    } else {
        r = vivi_fail_field(err, VIV_E_INVALID, c->path, "is fixed when the VM is created (%s)",
                            was.data ? was.data : "");
        vivi_hint(err, "another %s needs another VM: viv create", c->path);
    }
    return r;
}

int vivi_diff_fixed(const struct vivi_diff *d, viv_error *err)
{
    for (size_t i = 0; i < d->n; i++) {
        int r = vivi_change_fixed(&d->items[i], err);

        if (r < 0)
            return r;
    }
    return 0;
}

bool vivi_paths_meet(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), less = n < m ? n : m;
    const char *longer = n < m ? b : a;

    return memcmp(a, b, less) == 0 && (longer[less] == '\0' || longer[less] == '.');
}

bool vivi_diff_meets(const struct vivi_diff *d, const char *path)
{
    for (size_t i = 0; i < d->n; i++)
        if (vivi_paths_meet(d->items[i].path, path))
            return true;
    return false;
}

/* FNV-1a. */
static int add_to_digest(const char *data, size_t len, void *ctx)
{
    uint64_t *h = ctx;

    for (size_t i = 0; i < len; i++)
        *h = (*h ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return 0;
}

int vivi_document_digest(const json_t *doc, char ret[VIVI_DIGEST_SIZE])
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    if (json_dump_callback(doc, add_to_digest, &h, JSON_COMPACT | JSON_SORT_KEYS) < 0)
        return -1;
    (void)snprintf(ret, VIVI_DIGEST_SIZE, "%016" PRIx64, h);
    return 0;
}

/* ---- telling ---- */

json_t *vivi_change_json(const struct vivi_change *c)
{
    return json_pack("{s:s,s:s,s:O,s:O,s:s}", "path", c->path, "op", op_names[c->op], "from",
                     c->from, "to", c->to, "when", when_names[c->field->when]);
}

static bool is_plain(const char *s)
{
    size_t n = strnlen(s, VIVI_SHOWN_SIZE);

    if (n == 0 || n > 60)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || (unsigned char)*s == 0x7f)
            return false;
    return true;
}

static void put_text(struct vivi_buf *out, const char *s)
{
    char shown[VIVI_SHOWN_SIZE];

    (void)vivi_buf_str(out, is_plain(s) ? s : vivi_show(s, shown));
}

static void put_value(struct vivi_buf *out, const struct vivi_field *f, const json_t *v)
{
    json_auto_t *shown = NULL;
    cleanup_free char *text = NULL;

    if (is_nothing(v) || (json_is_array(v) && json_array_size(v) == 0)) {
        (void)vivi_buf_str(out, "(none)");
        return;
    }
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i > 0)
                (void)vivi_buf_str(out, ", ");
            put_value(out, NULL, json_array_get(v, i));
        }
        return;
    }
    shown = f ? vivi_value_present(f, v) : json_deep_copy(v);
    if (json_is_string(shown)) {
        put_text(out, json_string_value(shown));
        return;
    }
    text = shown ? json_dumps(shown, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    put_text(out, text ? text : "?");
}

struct told {
    const char *path, *op;
    const struct vivi_field *f; /* NULL: of another version */
    const json_t *from, *to;
};

static int tell(const struct told *t, struct vivi_buf *out)
{
    bool list = t->f && t->f->type == VIVI_T_OBJECT_LIST;
    bool changed = strcmp(t->op, op_names[VIVI_CHANGE_CHANGE]) == 0;

    (void)vivi_buf_printf(out, "%s: ", t->path);
    if (list && !changed)
        return vivi_buf_str(out,
                            strcmp(t->op, op_names[VIVI_CHANGE_ADD]) == 0 ? "added" : "removed");
    if (list)
        (void)vivi_buf_str(out, "order ");
    put_value(out, list ? NULL : t->f, t->from);
    (void)vivi_buf_str(out, " → ");
    put_value(out, list ? NULL : t->f, t->to);
    return vivi_buf_check(out, NULL);
}

int vivi_change_text(const struct vivi_change *c, struct vivi_buf *out)
{
    const struct told t = {c->path, op_names[c->op], c->field, c->from, c->to};

    return tell(&t, out);
}

/* The row of a path in a change: of a device, that of its list. */
static const struct vivi_field *row_of(const char *path)
{
    const struct vivi_field *f = vivi_field_find(path);
    const char *dot = strrchr(path, '.');
    char list[VIVI_PATH_SIZE];

    if (f || !dot)
        return f;
    (void)snprintf(list, sizeof(list), "%.*s", (int)(dot - path), path);
    f = vivi_field_find(list);
    return f && f->type == VIVI_T_OBJECT_LIST ? f : NULL;
}

int vivi_change_json_text(const json_t *change, struct vivi_buf *out)
{
    const char *path = json_string_value(json_object_get(change, "path"));
    const char *op = json_string_value(json_object_get(change, "op"));
    const struct told t = {path ? path : "?", op ? op : "?", path ? row_of(path) : NULL,
                           json_object_get(change, "from"), json_object_get(change, "to")};

    return tell(&t, out);
}
