/* One value: text to canonical JSON by the type of its field, and back to what people write. */
#include "model/fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/text.h"

#define MAP_KEY_BYTES_MAX 63

/* An alias repeats a value as often as it likes, so a value is not as long as a file. */
#define MAP_VALUE_BYTES_MAX 255
#define STR_BYTES_MAX       16384
#define TEXT_BYTES_MAX      262144
#define PATH_BYTES_MAX      4095

int vivi_in_field(viv_error *err, int r, const char *path)
{
    if (err)
        (void)snprintf(err->field, sizeof(err->field), "%s", path);
    return vivi_wrap(err, r, "%s", path);
}

static int new_string(const char *s, json_t **ret, viv_error *err)
{
    json_t *v = json_string(s);

    if (!v)
        return vivi_fail_oom(err);
    *ret = v;
    return 0;
}

/* A copy without line breaks at its end (which block scalars of YAML have). */
static int parse_text(const char *text, size_t max, json_t **ret, viv_error *err)
{
    bool lines = max == TEXT_BYTES_MAX;
    size_t n = strlen(text);
    json_t *v;

    while (n > 0 && text[n - 1] == '\n')
        n--;
    if (n > max)
        return vivi_fail(err, VIV_E_INVALID, "is longer than %zu bytes", max);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < ' ' && !(lines && (c == '\n' || c == '\t'))) || c == 0x7f)
            return vivi_fail(err, VIV_E_INVALID, "must be %s without control characters",
                             lines ? "text" : "one line");
    }
    v = json_stringn(text, n);
    if (!v)
        return vivi_fail_oom(err);
    *ret = v;
    return 0;
}

static int parse_path(const char *text, const char *base_dir, json_t **ret, viv_error *err)
{
    cleanup_free char *joined = NULL;
    const char *rest = text, *slash;
    size_t size;

    if (*text == '\0')
        return vivi_fail(err, VIV_E_INVALID, "must not be empty");
    if (*text == '/' || !base_dir)
        return parse_text(text, PATH_BYTES_MAX, ret, err);
    while (strncmp(rest, "./", 2) == 0)
        for (rest += 2; *rest == '/';)
            rest++;
    if (strcmp(rest, ".") == 0)
        rest++;
    size = strlen(base_dir);
    slash = *rest == '\0' || (size > 0 && base_dir[size - 1] == '/') ? "" : "/";
    size += strlen(rest) + 2;
    joined = malloc(size);
    if (!joined)
        return vivi_fail_oom(err);
    (void)snprintf(joined, size, "%s%s%s", base_dir, slash, rest);
    return parse_text(joined, PATH_BYTES_MAX, ret, err);
}

static int fail_choice(const struct vivi_field *f, const char *text, viv_error *err)
{
    char list[200], shown[VIVI_SHOWN_SIZE];
    char *words[16], *save = NULL;
    const char *near;
    size_t n = 0, len = 0;
    int r;

    (void)snprintf(list, sizeof(list), "%s", f->choices);
    for (char *w = strtok_r(list, "|", &save); w && n < ARRAY_SIZE(words);
         w = strtok_r(NULL, "|", &save))
        words[n++] = w;
    near = vivi_nearest(text, (const char *const *)words, n);
    char all[256] = "";
    for (size_t i = 0; i < n && len < sizeof(all); i++)
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? ", " : "", words[i]);
    r = vivi_fail(err, VIV_E_INVALID, n == 1 ? "%s is not %s" : "%s is not one of %s",
                  vivi_show(text, shown), all);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
}

/* n: the choice's length. "tcp:PORT" stands for each "tcp:22". */
static bool is_choice(const char *choice, size_t n, const char *text)
{
    size_t stem = vivi_choice_stem(choice, n);
    uint16_t port;

    if (stem == 0)
        return strlen(text) == n && memcmp(choice, text, n) == 0;
    return strncmp(choice, text, stem) == 0 && vivi_parse_port(text + stem, &port);
}

static int parse_choice(const struct vivi_field *f, const char *text, json_t **ret, viv_error *err)
{
    size_t n = strlen(text);

    for (const char *p = f->choices; n > 0;) {
        size_t m = strcspn(p, "|");

        if (is_choice(p, m, text))
            return new_string(text, ret, err);
        if (p[m] == '\0')
            break;
        p += m + 1;
    }
    return fail_choice(f, text, err);
}

static void format_number(const struct vivi_field *f, int64_t v, char ret[24])
{
    if (f->type == VIVI_T_SIZE)
        vivi_format_size((uint64_t)v, ret);
    else if (f->type == VIVI_T_DURATION)
        vivi_format_duration(v, ret);
    else
        (void)snprintf(ret, 24, "%" PRId64, v);
}

static int check_range(const struct vivi_field *f, int64_t v, viv_error *err)
{
    char value[24], limit[24];

    if (f->min == 0 && f->max == 0)
        return 0;
    if (v >= f->min && v <= f->max)
        return 0;
    format_number(f, v, value);
    format_number(f, v < f->min ? f->min : f->max, limit);
    return vivi_fail(err, VIV_E_INVALID, "%s is %s than %s", value, v < f->min ? "less" : "more",
                     limit);
}

static int parse_number(const struct vivi_field *f, const char *text, json_t **ret, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    uint64_t u = 0;
    int64_t ms = 0;
    json_t *v;
    int r;

    if (f->type == VIVI_T_DURATION) {
        r = vivi_parse_duration(text, &ms, err);
        u = (uint64_t)ms;
    } else {
        r = f->type == VIVI_T_SIZE ? vivi_parse_size(text, &u, err) : vivi_parse_u64(text, &u, err);
    }
    if (r < 0)
        return r;
    if (u > INT64_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%s is too large", vivi_show(text, shown));
    r = check_range(f, (int64_t)u, err);
    if (r < 0)
        return r;
    v = json_integer((json_int_t)u);
    if (!v)
        return vivi_fail_oom(err);
    *ret = v;
    return 0;
}

static int parse_mac(const char *text, json_t **ret, viv_error *err)
{
    uint8_t mac[6];
    char canonical[18];
    int r;

    if (strcmp(text, "auto") == 0)
        return new_string(text, ret, err);
    r = vivi_parse_mac(text, mac, err);
    if (r < 0)
        return r;
    vivi_format_mac(mac, canonical);
    return new_string(canonical, ret, err);
}

static int parse_forward(const char *text, json_t **ret, viv_error *err)
{
    struct vivi_forward fwd;
    char canonical[80];
    int r = vivi_parse_forward(text, &fwd, err);

    if (r < 0)
        return r;
    vivi_format_forward(&fwd, canonical);
    return new_string(canonical, ret, err);
}

static int parse_bool(const char *text, json_t **ret, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    bool b;

    if (!vivi_parse_bool(text, &b))
        return vivi_fail(err, VIV_E_INVALID, "%s is not true or false", vivi_show(text, shown));
    *ret = json_boolean(b); /* a static value: cannot fail */
    return 0;
}

static int parse_by_type(const struct vivi_field *f, const char *text, const char *base_dir,
                         json_t **ret, viv_error *err)
{
    int r;

    switch (f->type) {
    case VIVI_T_BOOL: return parse_bool(text, ret, err);
    case VIVI_T_INT:
    case VIVI_T_SIZE:
    case VIVI_T_DURATION: return parse_number(f, text, ret, err);
    case VIVI_T_ENUM: return parse_choice(f, text, ret, err);
    case VIVI_T_PATH: return parse_path(text, base_dir, ret, err);
    case VIVI_T_NAME: r = vivi_parse_name(text, err); return r < 0 ? r : new_string(text, ret, err);
    case VIVI_T_MAC: return parse_mac(text, ret, err);
    case VIVI_T_FORWARD:
    case VIVI_T_FORWARD_LIST: return parse_forward(text, ret, err);
    case VIVI_T_MAP: return parse_text(text, MAP_VALUE_BYTES_MAX, ret, err);
    case VIVI_T_STR:
    case VIVI_T_STR_LIST: return parse_text(text, STR_BYTES_MAX, ret, err);
    case VIVI_T_TEXT: return parse_text(text, TEXT_BYTES_MAX, ret, err);
    case VIVI_T_OBJECT_LIST: break;
    }
    return vivi_fail(err, VIV_E_INVALID, "must be a list");
}

int vivi_value_parse(const struct vivi_field *f, const char *text, const struct vivi_value_at *at,
                     json_t **ret, viv_error *err)
{
    size_t bad;
    int r;

    if (!vivi_utf8_valid(text, strlen(text), &bad))
        r = vivi_fail(err, VIV_E_INVALID, "is not valid UTF-8");
    else
        r = parse_by_type(f, text, at->base_dir, ret, err);
    return r < 0 && r != -VIV_E_NO_MEMORY ? vivi_in_field(err, r, at->path) : r;
}

json_t *vivi_value_default(const struct vivi_field *f)
{
    const struct vivi_value_at at = {.path = f->path};
    json_t *v = NULL;

    if (f->type == VIVI_T_MAP)
        return json_object();
    if (f->type == VIVI_T_OBJECT_LIST || f->type == VIVI_T_STR_LIST ||
        f->type == VIVI_T_FORWARD_LIST)
        return json_array();
    if (!f->def)
        return json_null();
    /* Defaults are values their fields take (tested), so that only memory can be missing. */
    return vivi_value_parse(f, f->def, &at, &v, NULL) < 0 ? NULL : v;
}

json_t *vivi_value_present(const struct vivi_field *f, const json_t *value)
{
    char text[24];

    if (json_is_integer(value) && (f->type == VIVI_T_SIZE || f->type == VIVI_T_DURATION)) {
        format_number(f, json_integer_value(value), text);
        return json_string(text);
    }
    return json_deep_copy(value);
}

int vivi_value_key(const char *path, const char *key, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    size_t n = strnlen(key, MAP_KEY_BYTES_MAX + 1), i = 0;

    while (i < n &&
           ((key[i] >= 'a' && key[i] <= 'z') || (key[i] >= 'A' && key[i] <= 'Z') ||
            (key[i] >= '0' && key[i] <= '9') || (i > 0 && i + 1 < n && strchr("._/-", key[i]))))
        i++;
    if (n == 0 || n > MAP_KEY_BYTES_MAX || i < n)
        return vivi_fail_field(err, VIV_E_INVALID, path,
                               "%s is not a key (letters, digits, . _ / - between, at most %d)",
                               vivi_show(key, shown), MAP_KEY_BYTES_MAX);
    return 0;
}
