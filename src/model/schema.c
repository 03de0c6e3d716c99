/* What the field table says, as JSON Schema (2020-12) and as a Markdown table. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/fields.h"

#define SIZE_PATTERN \
    "^(0|[1-9][0-9]*)(\\.[0-9]+(?=[A-Za-z]{1,3}$))?([Bb]|[KkMmGgTtPp]([Ii][Bb])?)?$"
#define DURATION_PATTERN "^(0|[1-9][0-9]*)(\\.[0-9]+(?=[A-Za-z]{1,2}$))?([Mm][Ss]|[SsMmHh])?$"
#define NAME_PATTERN     "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
#define MAC_PATTERN      "^(auto|[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5})$"
#define FORWARD_PATTERN  "^((\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):)?[0-9]{0,5}:[0-9]{1,5}(/(tcp|udp))?$"
#define KEY_PATTERN      "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"

/* ---- schema ---- */

static json_t *enum_schema(const struct vivi_field *f)
{
    json_auto_t *words = json_array(), *stem = NULL;
    char pattern[64];

    if (!words)
        return NULL;
    for (const char *p = f->choices;;) {
        size_t n = strcspn(p, "|");

        if (vivi_choice_stem(p, n) > 0)
            stem = json_stringn(p, vivi_choice_stem(p, n));
        else if (json_array_append_new(words, json_stringn(p, n)) < 0)
            return NULL;
        if (p[n] == '\0')
            break;
        p += n + 1;
    }
    if (json_array_append_new(words, json_null()) < 0)
        return NULL;
    if (!stem)
        return json_pack("{s:O}", "enum", words);
    (void)snprintf(pattern, sizeof(pattern), "^%s[1-9][0-9]{0,4}$", json_string_value(stem));
    return json_pack("{s:[{s:O}, {s:s, s:s}]}", "anyOf", "enum", words, "type", "string", "pattern",
                     pattern);
}

static json_t *pattern_schema(const char *pattern)
{
    return json_pack("{s:[s,s], s:s}", "type", "string", "null", "pattern", pattern);
}

/* A number in base units, or text with a unit. */
static json_t *quantity_schema(const struct vivi_field *f)
{
    if (f->type == VIVI_T_DURATION)
        return json_pack("{s:[s,s,s], s:i, s:s}", "type", "integer", "string", "null", "minimum", 0,
                         "pattern", DURATION_PATTERN);
    return json_pack("{s:[s,s,s], s:I, s:I, s:s}", "type", "integer", "string", "null", "minimum",
                     (json_int_t)f->min, "maximum", (json_int_t)f->max, "pattern", SIZE_PATTERN);
}

static json_t *list_schema(const char *pattern)
{
    json_t *item = pattern ? json_pack("{s:s, s:s}", "type", "string", "pattern", pattern)
                           : json_pack("{s:s}", "type", "string");

    return json_pack("{s:[{s:s, s:i, s:O}, o, {s:s}]}", "anyOf", "type", "array", "maxItems",
                     VIVI_LIST_MAX, "items", item, item, "type", "null");
}

static json_t *type_schema(const struct vivi_field *f)
{
    switch (f->type) {
    case VIVI_T_STR:
    case VIVI_T_TEXT: return json_pack("{s:[s,s]}", "type", "string", "null");
    case VIVI_T_PATH: return json_pack("{s:[s,s], s:i}", "type", "string", "null", "minLength", 1);
    case VIVI_T_BOOL: return json_pack("{s:[s,s]}", "type", "boolean", "null");
    case VIVI_T_INT:
        return json_pack("{s:[s,s], s:I, s:I}", "type", "integer", "null", "minimum",
                         (json_int_t)f->min, "maximum", (json_int_t)f->max);
    case VIVI_T_SIZE:
    case VIVI_T_DURATION: return quantity_schema(f);
    case VIVI_T_ENUM: return enum_schema(f);
    case VIVI_T_NAME: return pattern_schema(NAME_PATTERN);
    case VIVI_T_MAC: return pattern_schema(MAC_PATTERN);
    case VIVI_T_FORWARD: return pattern_schema(FORWARD_PATTERN);
    case VIVI_T_STR_LIST: return list_schema(NULL);
    case VIVI_T_FORWARD_LIST: return list_schema(FORWARD_PATTERN);
    case VIVI_T_MAP:
        return json_pack("{s:[s,s], s:i, s:{s:s}, s:{s:[s,s,s,s]}}", "type", "object", "null",
                         "maxProperties", VIVI_LIST_MAX, "propertyNames", "pattern", KEY_PATTERN,
                         "additionalProperties", "type", "string", "number", "boolean", "null");
    case VIVI_T_OBJECT_LIST: break;
    }
    return NULL;
}

/* Help and default on top of what the type says. */
static json_t *described(const struct vivi_field *f, json_t *schema)
{
    json_auto_t *out = schema;
    json_t *def;

    if (!out || json_object_set_new(out, "description", json_string(f->help)) < 0)
        return NULL;
    if (f->def && f->type != VIVI_T_OBJECT_LIST) {
        def = f->type == VIVI_T_BOOL || f->type == VIVI_T_INT ? vivi_value_default(f)
                                                              : json_string(f->def);
        if (json_object_set_new(out, "default", def) < 0)
            return NULL;
    }
    return take_ptr(out);
}

static json_t *mapping_schema(const char *pattern);

static json_t *elements_schema(const struct vivi_field *f)
{
    char pattern[VIVI_ID_SIZE + 2];
    json_t *item;

    (void)snprintf(pattern, sizeof(pattern), "%s.*", f->path);
    item = mapping_schema(pattern);
    return item ? json_pack("{s:[s,s], s:i, s:o}", "type", "array", "null", "maxItems",
                            VIVI_LIST_MAX, "items", item)
                : NULL;
}

/* The schema of the member called word below pattern, of which f is (or is a part). */
static json_t *member_schema(const char *pattern, const char *word, const struct vivi_field *f)
{
    char sub[VIVI_ID_SIZE * 2];
    const struct vivi_field *shorthand;
    json_t *mapping;

    (void)snprintf(sub, sizeof(sub), "%s%s%s", pattern, *pattern != '\0' ? "." : "", word);
    if (f->type == VIVI_T_OBJECT_LIST && strcmp(sub, f->path) == 0)
        return described(f, elements_schema(f));
    if (strcmp(sub, f->path) == 0)
        return described(f, type_schema(f));
    mapping = mapping_schema(sub);
    shorthand = vivi_field_shorthand(sub);
    if (!mapping || !shorthand)
        return mapping;
    return json_pack("{s:[o,o]}", "anyOf", mapping, described(shorthand, type_schema(shorthand)));
}

static json_t *mapping_schema(const char *pattern)
{
    json_auto_t *properties = json_object();
    size_t skip = *pattern != '\0' ? strlen(pattern) + 1 : 0;
    char word[VIVI_ID_SIZE];

    if (!properties)
        return NULL;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (!vivi_field_is_child(f, pattern))
            continue;
        (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(f->path + skip, "."),
                       f->path + skip);
        if (json_object_get(properties, word))
            continue;
        if (json_object_set_new(properties, word, member_schema(pattern, word, f)) < 0)
            return NULL;
    }
    return json_pack("{s:[s,s], s:b, s:O}", "type", "object", "null", "additionalProperties", 0,
                     "properties", properties);
}

json_t *vivi_config_schema(void)
{
    json_auto_t *out =
        json_pack("{s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                  "Vivarium: configuration of a VM");
    json_auto_t *root = mapping_schema("");

    if (!out || !root || json_object_update(out, root) < 0)
        return NULL;
    return take_ptr(out);
}

/* ---- Markdown ---- */

static const char *type_words(const struct vivi_field *f)
{
    switch (f->type) {
    case VIVI_T_STR:
    case VIVI_T_TEXT: return "text";
    case VIVI_T_BOOL: return "true or false";
    case VIVI_T_INT: return "number";
    case VIVI_T_SIZE: return "size";
    case VIVI_T_DURATION: return "duration";
    case VIVI_T_ENUM: return NULL; /* its words */
    case VIVI_T_PATH: return "path";
    case VIVI_T_NAME: return "DNS label";
    case VIVI_T_MAC: return "MAC address";
    case VIVI_T_FORWARD: return "port forward";
    case VIVI_T_STR_LIST: return "list of text";
    case VIVI_T_FORWARD_LIST: return "list of port forwards";
    case VIVI_T_MAP: return "mapping of words";
    case VIVI_T_OBJECT_LIST: return "list of mappings";
    }
    return "";
}

static void add_range(struct vivi_buf *out, const struct vivi_field *f)
{
    char min[24], max[24];

    if (f->min == 0 && f->max == 0)
        return;
    if (f->type == VIVI_T_SIZE) {
        vivi_format_size((uint64_t)f->min, min);
        vivi_format_size((uint64_t)f->max, max);
    } else if (f->type == VIVI_T_DURATION) {
        vivi_format_duration(f->min, min);
        vivi_format_duration(f->max, max);
    } else {
        (void)snprintf(min, sizeof(min), "%lld", (long long)f->min);
        (void)snprintf(max, sizeof(max), "%lld", (long long)f->max);
    }
    (void)vivi_buf_printf(out, ", %s to %s", min, max);
}

static void add_type(struct vivi_buf *out, const struct vivi_field *f)
{
    const char *words = type_words(f);

    if (words) {
        (void)vivi_buf_str(out, words);
        add_range(out, f);
        return;
    }
    for (const char *p = f->choices;;) {
        size_t n = strcspn(p, "|");

        (void)vivi_buf_printf(out, "%s`%.*s`", p == f->choices ? "" : ", ", (int)n, p);
        if (p[n] == '\0')
            break;
        p += n + 1;
    }
}

/* Text for a cell of a table, where | separates. */
static void add_escaped(struct vivi_buf *out, const char *s)
{
    for (; *s != '\0'; s++)
        (void)vivi_buf_printf(out, "%s%c", *s == '|' ? "\\" : "", *s);
}

static void add_flag(struct vivi_buf *out, const struct vivi_field *f)
{
    if (!f->flag)
        return;
    (void)vivi_buf_str(out, "`");
    if (f->short_flag)
        (void)vivi_buf_printf(out, "-%c, ", f->short_flag);
    (void)vivi_buf_str(out, f->flag);
    if (f->arg) {
        (void)vivi_buf_str(out, " ");
        add_escaped(out, f->arg);
    }
    (void)vivi_buf_str(out, "`");
}

static const char *when_words(enum vivi_when when)
{
    switch (when) {
    case VIVI_WHEN_FIXED: return "fixed at creation";
    case VIVI_WHEN_NEXT_START: return "at the next start";
    case VIVI_WHEN_LIVE: return "at once";
    }
    return "";
}

int vivi_config_docs(struct vivi_buf *out)
{
    (void)vivi_buf_str(out, "| field | value | default | flag | drivers | takes effect | what |\n"
                            "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        (void)vivi_buf_printf(out, "| `%s` | ", f->path);
        add_type(out, f);
        (void)vivi_buf_printf(out, " | %s | ", f->def ? f->def : "");
        add_flag(out, f);
        (void)vivi_buf_printf(out, " | %s | %s | ", f->drivers, when_words(f->when));
        add_escaped(out, f->help);
        (void)vivi_buf_str(out, f->required ? " (required) |\n" : " |\n");
    }
    return vivi_buf_check(out, NULL);
}
