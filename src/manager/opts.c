/* Options of a verb: a small map with known keys; see vivarium.h. */
#include "manager/manager.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key;
    enum vivi_opt_type type;
} table[] = {
    {"wait", VIVI_OPT_STR},
    {"until", VIVI_OPT_STR},
    {"timeout_ms", VIVI_OPT_I64},
    {"ready_timeout_ms", VIVI_OPT_I64},
    {"foreground_fd", VIVI_OPT_I64},
    {"remove_when_ended", VIVI_OPT_BOOL},
    {"kill", VIVI_OPT_BOOL},
    {"force", VIVI_OPT_BOOL},
    {"hard", VIVI_OPT_BOOL},
    {"for_now", VIVI_OPT_BOOL},
    {"unless_stopped", VIVI_OPT_BOOL},
    {"own_fds", VIVI_OPT_BOOL},
    {"stdin_fd", VIVI_OPT_I64},
    {"stdout_fd", VIVI_OPT_I64},
    {"stderr_fd", VIVI_OPT_I64},
    {"rows", VIVI_OPT_I64},
    {"cols", VIVI_OPT_I64},
    {"connect_ms", VIVI_OPT_I64},
    {"env", VIVI_OPT_LIST},
    {"cwd", VIVI_OPT_STR},
    {"user", VIVI_OPT_STR},
    {"tty", VIVI_OPT_BOOL},
    {"fd", VIVI_OPT_I64},
    {"mkdir", VIVI_OPT_BOOL},
    {"follow", VIVI_OPT_BOOL},
    {"name", VIVI_OPT_STR},
    {"allow_long_pause", VIVI_OPT_BOOL},
    {"on_demand", VIVI_OPT_BOOL},
    {"on", VIVI_OPT_BOOL},
    {"program", VIVI_OPT_STR},
    {"unit_dir", VIVI_OPT_STR},
    {"dry_run", VIVI_OPT_BOOL},
    {"next", VIVI_OPT_BOOL},
    {"live", VIVI_OPT_BOOL},
    {"strict", VIVI_OPT_BOOL},
    {"async", VIVI_OPT_BOOL},
    {"kind", VIVI_OPT_STR},
    {"id", VIVI_OPT_STR},
    {"set", VIVI_OPT_LIST},
    {"cpus", VIVI_OPT_I64},
    {"memory", VIVI_OPT_STR},
    {"balloon", VIVI_OPT_STR},
    {"disk", VIVI_OPT_LIST},
    {"zone", VIVI_OPT_LIST},
    {"step", VIVI_OPT_STR},
    {"url", VIVI_OPT_STR},
    {"to", VIVI_OPT_STR},
    {"tls_dir", VIVI_OPT_STR},
    {"local", VIVI_OPT_BOOL},
    {"downtime_ms", VIVI_OPT_I64},
    {"timeout_s", VIVI_OPT_I64},
    {"connections", VIVI_OPT_I64},
    {"arrived", VIVI_OPT_BOOL},
    {"listen", VIVI_OPT_STR},
    {"offer", VIVI_OPT_STR},
    {"wait_ms", VIVI_OPT_I64},
    {"abort", VIVI_OPT_BOOL},
    {"log", VIVI_OPT_STR},
    {"part", VIVI_OPT_STR},
    {"at", VIVI_OPT_I64},
    {"data", VIVI_OPT_STR},
    {"lost", VIVI_OPT_I64},
    {"vmm", VIVI_OPT_STR},
};

struct viv_opts {
    json_t *values;
};

int viv_opts_new(viv_opts **ret, viv_error *err)
{
    viv_opts *o = calloc(1, sizeof(*o));

    if (!o)
        return vivi_fail_oom(err);
    o->values = json_object();
    if (!o->values) {
        free(o);
        return vivi_fail_oom(err);
    }
    *ret = o;
    return 0;
}

void viv_opts_free(viv_opts *o)
{
    if (!o)
        return;
    json_decref(o->values);
    free(o);
}

static int unknown(const char *key, viv_error *err)
{
    const char *names[ARRAY_SIZE(table)];
    const char *near;
    int r = vivi_fail_field(err, VIV_E_INVALID, key, "unknown option");

    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        names[i] = table[i].key;
    near = vivi_nearest(key, names, ARRAY_SIZE(table));
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
}

static int add(viv_opts *o, const char *key, json_t *value_consume, viv_error *err)
{
    json_t *list = json_object_get(o->values, key);

    if (!list) {
        list = json_array();
        if (!list || json_object_set_new(o->values, key, list) < 0) {
            json_decref(value_consume);
            return vivi_fail_oom(err);
        }
    }
    return json_array_append_new(list, value_consume) < 0 ? vivi_fail_oom(err) : 0;
}

static int set(viv_opts *o, const char *key, enum vivi_opt_type type, json_t *value_consume,
               viv_error *err)
{
    static const char *const words[] = {"text", "a number", "true or false", "text"};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].key, key) != 0)
            continue;
        if (table[i].type == VIVI_OPT_LIST && type == VIVI_OPT_STR)
            return add(o, key, value_consume, err);
        if (table[i].type != type) {
            json_decref(value_consume);
            return vivi_fail_field(err, VIV_E_INVALID, key, "is %s", words[table[i].type]);
        }
        return json_object_set_new(o->values, key, value_consume) < 0 ? vivi_fail_oom(err) : 0;
    }
    json_decref(value_consume);
    return unknown(key, err);
}

int viv_opts_set_str(viv_opts *o, const char *key, const char *value, viv_error *err)
{
    return set(o, key, VIVI_OPT_STR, vivi_json_str(value), err);
}

int viv_opts_set_i64(viv_opts *o, const char *key, int64_t value, viv_error *err)
{
    return set(o, key, VIVI_OPT_I64, json_integer(value), err);
}

int viv_opts_set_bool(viv_opts *o, const char *key, int value, viv_error *err)
{
    return set(o, key, VIVI_OPT_BOOL, json_boolean(value), err);
}

const char *vivi_opt_str(const viv_opts *o, const char *key, const char *def)
{
    const char *s = o ? json_string_value(json_object_get(o->values, key)) : NULL;

    return s ? s : def;
}

int64_t vivi_opt_i64(const viv_opts *o, const char *key, int64_t def)
{
    const json_t *j = o ? json_object_get(o->values, key) : NULL;

    return j ? (int64_t)json_integer_value(j) : def;
}

bool vivi_opt_bool(const viv_opts *o, const char *key, bool def)
{
    const json_t *j = o ? json_object_get(o->values, key) : NULL;

    return j ? json_is_true(j) : def;
}

size_t vivi_opt_list_len(const viv_opts *o, const char *key)
{
    return o ? json_array_size(json_object_get(o->values, key)) : 0;
}

const char *vivi_opt_list_at(const viv_opts *o, const char *key, size_t i)
{
    return json_string_value(json_array_get(json_object_get(o->values, key), i));
}

/* Is key one of the words of list? */
static bool listed(const char *list, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = strstr(list, key); p; p = strstr(p + 1, key))
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

int vivi_opts_only(const viv_opts *o, const char *verb, const char *allowed, viv_error *err)
{
    const char *key;
    json_t *value;

    if (!o)
        return 0;
    json_object_foreach(o->values, key, value) if (!listed(allowed, key)) return vivi_fail_field(
        err, VIV_E_INVALID, key, "is no option of %s", verb);
    return 0;
}
