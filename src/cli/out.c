#include "cli/out.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <yaml.h>

#include "cli/escape.h"
#include "model/parse.h"

/* ---- YAML ---- */

static int yaml_write(void *ctx, unsigned char *data, size_t len)
{
    return vivi_buf_add(ctx, data, len) == 0;
}

/* Would a YAML reader take this plain word for something else than a string? */
static bool needs_quotes(const char *s)
{
    static const char *const words[] = {"true", "false", "null", "yes",  "no",  "on",
                                        "off",  "y",     "n",    ".inf", ".nan"};
    const unsigned char *p = (const unsigned char *)s;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strcasecmp(s, words[i]))
            return true;
    }
    if (!isalpha(*p) && *p != '/' && *p != '_')
        return true;
    for (; *p; p++) {
        if (!isalnum(*p) && !strchr("/_-.+@() ", *p))
            return true;
    }
    return p[-1] == ' ';
}

static int yaml_scalar(yaml_emitter_t *em, const char *text, bool quoted)
{
    yaml_event_t ev;
    char *copy = strdup(text); /* the library takes a pointer that is not const */
    yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
    int ok;

    if (!copy)
        return 0;
    ok = yaml_scalar_event_initialize(&ev, NULL, NULL, (yaml_char_t *)copy, (int)strlen(copy), 1, 1,
                                      style) &&
         yaml_emitter_emit(em, &ev);
    free(copy);
    return ok;
}

static int yaml_value(yaml_emitter_t *em, const json_t *v);

static int yaml_container(yaml_emitter_t *em, const json_t *v)
{
    bool map = json_is_object(v);
    bool empty = map ? json_object_size(v) == 0 : json_array_size(v) == 0;
    yaml_event_t ev;
    int ok;

    if (map)
        ok = yaml_mapping_start_event_initialize(
            &ev, NULL, NULL, 1, empty ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE);
    else
        ok = yaml_sequence_start_event_initialize(
            &ev, NULL, NULL, 1, empty ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
    if (!ok || !yaml_emitter_emit(em, &ev))
        return 0;
    if (map) {
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)(uintptr_t)v, key, value)
        {
            if (!yaml_scalar(em, key, needs_quotes(key)) || !yaml_value(em, value))
                return 0;
        }
    }
    for (size_t i = 0; !map && i < json_array_size(v); i++) {
        if (!yaml_value(em, json_array_get(v, i)))
            return 0;
    }
    ok = map ? yaml_mapping_end_event_initialize(&ev) : yaml_sequence_end_event_initialize(&ev);
    return ok && yaml_emitter_emit(em, &ev);
}

static int yaml_value(yaml_emitter_t *em, const json_t *v)
{
    char number[40];

    if (json_is_object(v) || json_is_array(v))
        return yaml_container(em, v);
    if (json_is_string(v))
        return yaml_scalar(em, json_string_value(v), needs_quotes(json_string_value(v)));
    if (json_is_integer(v))
        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        (void)snprintf(number, sizeof(number), "%.17g", json_real_value(v));
    else
        (void)snprintf(number, sizeof(number), "%s",
                       json_is_true(v)    ? "true"
                       : json_is_false(v) ? "false"
                                          : "null");
    return yaml_scalar(em, number, false);
}

int vivi_out_yaml(const json_t *doc, struct vivi_buf *out, viv_error *err)
{
    yaml_emitter_t em;
    yaml_event_t ev;
    int ok;

    if (!yaml_emitter_initialize(&em))
        return vivi_fail_oom(err);
    yaml_emitter_set_output(&em, yaml_write, out);
    yaml_emitter_set_unicode(&em, 1);
    yaml_emitter_set_width(&em, -1);
    ok = yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING) &&
         yaml_emitter_emit(&em, &ev) &&
         yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1) &&
         yaml_emitter_emit(&em, &ev) && yaml_value(&em, doc) &&
         yaml_document_end_event_initialize(&ev, 1) && yaml_emitter_emit(&em, &ev) &&
         yaml_stream_end_event_initialize(&ev) && yaml_emitter_emit(&em, &ev);
    yaml_emitter_delete(&em);
    return ok ? 0 : vivi_fail_oom(err);
}

/* ---- templates ---- */

static const json_t *json_step(const json_t *at, const char *key, size_t len)
{
    char name[128];
    char *end;
    unsigned long i;

    if (len >= sizeof(name))
        return NULL;
    memcpy(name, key, len);
    name[len] = '\0';
    if (json_is_object(at))
        return json_object_get(at, name);
    if (!json_is_array(at))
        return NULL;
    i = strtoul(name, &end, 10);
    if (end != name && !*end)
        return json_array_get(at, i);
    for (size_t k = 0; k < json_array_size(at); k++) { /* lists of devices go by id */
        const json_t *item = json_array_get(at, k);
        const char *id = json_string_value(json_object_get(item, "id"));

        if (id && !strcmp(id, name))
            return item;
    }
    return NULL;
}

const json_t *vivi_out_at(const json_t *doc, const char *path, bool *ret_null)
{
    const json_t *at = doc;

    *ret_null = false;
    while (at && *path) {
        size_t len = strcspn(path, ".");

        if (json_is_null(at)) {
            *ret_null = true;
            return NULL;
        }
        at = json_step(at, path, len);
        path += len + (path[len] == '.');
    }
    return at;
}

static int unknown_key(const json_t *rec, const char *path, viv_error *err)
{
    const char *keys[64], *key, *near;
    json_t *value;
    size_t n = 0;
    int r = vivi_fail(err, VIV_E_INVALID, "--format: {%s}: unknown key", path);

    json_object_foreach((json_t *)(uintptr_t)rec, key, value)
    {
        if (n < ARRAY_SIZE(keys))
            keys[n++] = key;
    }
    near = vivi_nearest(path, keys, n);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
}

static void put_value(const json_t *v, struct vivi_buf *out)
{
    char *text;

    if (!v || json_is_null(v)) {
        (void)vivi_buf_str(out, "-");
    } else if (json_is_string(v)) {
        (void)vivi_buf_str(out, json_string_value(v));
    } else {
        text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text)
            (void)vivi_buf_str(out, text);
        else
            out->failed = true;
        free(text);
    }
}

/* p is after "{"; returns what follows "}" or NULL with err set. */
static const char *put_field(const char *p, const json_t *rec, struct vivi_buf *out, viv_error *err)
{
    size_t len = strcspn(p, "}");
    char path[128];
    const json_t *v;
    bool null;

    if (!p[len] || len == 0 || len >= sizeof(path)) {
        (void)vivi_fail(err, VIV_E_INVALID, "--format: \"{\" without a key and \"}\"");
        return NULL;
    }
    memcpy(path, p, len);
    path[len] = '\0';
    v = vivi_out_at(rec, path, &null);
    if (!v && !null) {
        (void)unknown_key(rec, path, err);
        return NULL;
    }
    put_value(v, out);
    return p + len + 1;
}

int vivi_out_template(const char *template, const json_t *rec, struct vivi_buf *out, viv_error *err)
{
    const char *p = template;

    while (*p) {
        if ((p[0] == '{' || p[0] == '}') && p[1] == p[0]) {
            (void)vivi_buf_add(out, p, 1);
            p += 2;
        } else if (*p == '{') {
            p = put_field(p + 1, rec, out, err);
            if (!p)
                return -VIV_E_INVALID;
        } else if (p[0] == '\\' && (p[1] == 'n' || p[1] == 't' || p[1] == '\\')) {
            (void)vivi_buf_str(out, p[1] == 'n' ? "\n" : p[1] == 't' ? "\t" : "\\");
            p += 2;
        } else {
            (void)vivi_buf_add(out, p++, 1);
        }
    }
    (void)vivi_buf_str(out, "\n");
    return vivi_buf_check(out, err);
}

json_t *vivi_json_with_schema(const json_t *obj)
{
    json_t *r = json_object();

    if (!r || json_object_set_new(r, "schema", json_integer(1)) < 0 ||
        json_object_update_missing(r, (json_t *)(uintptr_t)obj) < 0) {
        json_decref(r);
        return NULL;
    }
    return r;
}

/* ---- tables ---- */

void vivi_table_init(struct vivi_table *t, const char *const *head, size_t n_columns)
{
    *t = (struct vivi_table){.head = head, .n_columns = n_columns};
}

/* Nearly every cell is printable ASCII, and a thousand VMs have eight thousand cells. */
static bool is_plain(const char *s)
{
    while (*s >= 0x20 && *s < 0x7f)
        s++;
    return !*s;
}

void vivi_table_cell(struct vivi_table *t, const char *text)
{
    char shown[512];

    if (t->n_cells == t->cap_cells) {
        size_t cap = t->cap_cells ? t->cap_cells * 2 : 64;
        char **cells = realloc(t->cells, cap * sizeof(*cells));

        if (!cells) {
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->cap_cells = cap;
    }
    if (!text || !*text)
        text = "-";
    if (!is_plain(text)) {
        vivi_escape_line(text, shown, sizeof(shown));
        text = shown;
    }
    t->cells[t->n_cells] = strdup(text);
    if (t->cells[t->n_cells])
        t->n_cells++;
    else
        t->failed = true;
}

/* Characters, not bytes: a cell may hold UTF-8. */
static size_t width(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void put_row(const char *const *cells, const size_t *widths, size_t n, vivi_color_of *color,
                    struct vivi_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const char *code = color ? color(i, cells[i]) : NULL;

        if (code)
            (void)vivi_buf_printf(out, "\033[%sm%s\033[0m", code, cells[i]);
        else
            (void)vivi_buf_str(out, cells[i]);
        if (i + 1 < n)
            (void)vivi_buf_printf(out, "%*s", (int)(widths[i] - width(cells[i]) + 2), "");
    }
    (void)vivi_buf_str(out, "\n");
}

int vivi_table_render(const struct vivi_table *t, vivi_color_of *color, struct vivi_buf *out,
                      viv_error *err)
{
    size_t widths[VIVI_TABLE_COLUMNS] = {0};

    assert(t->n_columns > 0 && t->n_columns <= VIVI_TABLE_COLUMNS);
    if (t->failed)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < t->n_columns; i++)
        widths[i] = width(t->head[i]);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width(t->cells[i]);

        if (w > widths[i % t->n_columns])
            widths[i % t->n_columns] = w;
    }
    put_row(t->head, widths, t->n_columns, NULL, out);
    for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
        put_row((const char *const *)t->cells + i, widths, t->n_columns, color, out);
    return vivi_buf_check(out, err);
}

void vivi_table_done(struct vivi_table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    t->cells = NULL;
    t->n_cells = t->cap_cells = 0;
}

/* ---- small texts ---- */

void vivi_text_age(int64_t ms, char ret[24])
{
    int64_t s = ms > 0 ? ms / 1000 : 0;

    if (s < 60)
        (void)snprintf(ret, 24, "%" PRId64 "s", s);
    else if (s < 3600)
        (void)snprintf(ret, 24, "%" PRId64 "m", s / 60);
    else if (s < 86400)
        (void)snprintf(ret, 24, "%" PRId64 "h", s / 3600);
    else
        (void)snprintf(ret, 24, "%" PRId64 "d", s / 86400);
}

void vivi_text_seconds(int64_t ms, char ret[24])
{
    (void)snprintf(ret, 24, "%" PRId64 ".%02" PRId64 " s", ms / 1000, ms % 1000 / 10);
}
