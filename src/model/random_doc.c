#include "model/random_doc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/canon.h"

#define DEVICES_MAX 4

/* xorshift: the same on every machine. */
static uint64_t next(uint64_t *seed)
{
    if (*seed == 0)
        *seed = 88172645463325252;
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static json_t *random_word(uint64_t *seed, const char *choices)
{
    size_t n = 1, pick;

    for (const char *p = choices; *p; p++)
        n += *p == '|';
    for (pick = (size_t)(next(seed) % n); pick > 0; pick--)
        choices = strchr(choices, '|') + 1;
    if (strncmp(choices, "tcp:PORT", strlen("tcp:PORT")) == 0)
        return json_string("tcp:22");
    return json_stringn(choices, strcspn(choices, "|"));
}

static json_t *random_number(uint64_t *seed, const struct vivi_field *f)
{
    int64_t low = f->min, high = f->max > f->min + 7 ? f->min + 7 : f->max;

    return json_integer(low + (int64_t)(next(seed) % (uint64_t)(high - low + 1)));
}

static json_t *random_text(uint64_t *seed, const char *form)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%s%" PRIu64, form, next(seed) % 5);
    return json_string(text);
}

static json_t *random_forwards(uint64_t *seed)
{
    json_t *list = json_array();

    for (uint64_t n = next(seed) % 3; list && n > 0; n--) {
        char text[64];

        (void)snprintf(text, sizeof(text), "127.0.0.1:%d:%d/tcp", (int)(next(seed) % 9 + 9000),
                       (int)(next(seed) % 9 + 80));
        (void)json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *random_texts(uint64_t *seed)
{
    json_t *list = json_array();

    for (uint64_t n = next(seed) % 3; list && n > 0; n--)
        (void)json_array_append_new(list, random_text(seed, "/t"));
    return list;
}

static json_t *random_map(uint64_t *seed)
{
    static const char *const keys[] = {"a", "job", "io.k8s/role", "z"};
    json_t *map = json_object();

    for (size_t i = 0; map && i < ARRAY_SIZE(keys); i++) {
        if (next(seed) % 2)
            (void)json_object_set_new(map, keys[i], random_text(seed, "v"));
    }
    return map;
}

/* All but a NIC whose descriptor nobody gives. */
static const char *words_of(const struct vivi_field *f)
{
    return strcmp(f->path, "nets.*.type") == 0 ? "nat|tap|vhost-user" : f->choices;
}

static json_t *random_value(uint64_t *seed, const struct vivi_field *f)
{
    switch (f->type) {
    case VIVI_T_BOOL: return json_boolean(next(seed) % 2);
    case VIVI_T_INT:
    case VIVI_T_SIZE:
    case VIVI_T_DURATION: return random_number(seed, f);
    case VIVI_T_ENUM: return random_word(seed, words_of(f));
    case VIVI_T_PATH: return random_text(seed, "/p");
    case VIVI_T_STR: return f->def ? json_string(f->def) : random_text(seed, "s ");
    case VIVI_T_TEXT: return random_text(seed, "serial \"VMRS_READY 10.0.0.1\"\n# ");
    case VIVI_T_FORWARD_LIST: return random_forwards(seed);
    case VIVI_T_MAP: return random_map(seed);
    case VIVI_T_STR_LIST: return random_texts(seed);
    case VIVI_T_NAME:
    case VIVI_T_MAC:
    case VIVI_T_FORWARD:
    case VIVI_T_OBJECT_LIST: break;
    }
    return vivi_value_default(f);
}

/* Half of the values are other than the default; what is fixed never is. */
static json_t *value_of(uint64_t *seed, const struct vivi_field *f)
{
    bool keep = f->when == VIVI_WHEN_FIXED || (!f->required && next(seed) % 2);

    return keep ? vivi_value_default(f) : random_value(seed, f);
}

/* Sets a new value at a path of mappings, which are made. */
static int set_at(json_t *doc, const char *path, json_t *value)
{
    const char *dot = strchr(path, '.');
    char key[64];
    json_t *in;

    if (!dot)
        return json_object_set_new(doc, path, value);
    (void)snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
    in = json_object_get(doc, key);
    if (!in) {
        in = json_object();
        if (!in || json_object_set_new(doc, key, in) < 0) {
            json_decref(value);
            return -1;
        }
    }
    return set_at(in, dot + 1, value);
}

static json_t *random_device(uint64_t *seed, const char *list, const char *id)
{
    json_t *e = json_object();
    char pattern[VIVI_PATH_SIZE];

    (void)snprintf(pattern, sizeof(pattern), "%s.*", list);
    if (!e || set_at(e, "id", json_string(id)) < 0)
        return e;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        const char *rest = f->path + strlen(pattern) + 1;

        if (vivi_field_is_child(f, pattern) && strcmp(rest, "id") != 0)
            (void)set_at(e, rest, value_of(seed, f));
    }
    return e;
}

/* Some of a few ids, now and then in another order. */
static json_t *random_devices(uint64_t *seed, const char *list)
{
    json_t *out = json_array();
    bool shuffled = next(seed) % 4 == 0;

    for (int i = 0; out && i < DEVICES_MAX; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "%c%d", list[0], i);
        if (next(seed) % 2 == 0)
            (void)json_array_insert_new(out, shuffled ? 0 : json_array_size(out),
                                        random_device(seed, list, id));
    }
    return out;
}

json_t *vivi_random_document(uint64_t *seed, const char *name, const char *driver)
{
    json_t *doc = json_object();

    for (size_t i = 0; doc && i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        int r;

        if (strchr(f->path, '*'))
            continue;
        r = set_at(doc, f->path,
                   f->type == VIVI_T_OBJECT_LIST ? random_devices(seed, f->path)
                                                 : value_of(seed, f));
        if (r < 0) {
            json_decref(doc);
            return NULL;
        }
    }
    if (json_object_set_new(doc, "name", json_string(name)) < 0 ||
        json_object_set_new(doc, "driver", json_string(driver)) < 0) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}
