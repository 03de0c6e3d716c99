/* Configurations as callers handle them; see vivarium.h. The work is the model's. */
#include "manager/manager.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int working_dir(char **ret, viv_error *err)
{
    char cwd[PATH_MAX];
    char *copy;

    if (!getcwd(cwd, sizeof(cwd)))
        return vivi_fail_errno(err, errno, "cannot tell the working directory");
    copy = strdup(cwd);
    if (!copy)
        return vivi_fail_oom(err);
    *ret = copy;
    return 0;
}

/* The absolute directory of a file's name; the file itself need not be there. */
static int dir_of(const char *origin, char **ret, viv_error *err)
{
    cleanup_free char *cwd = NULL;
    const char *slash = origin ? strrchr(origin, '/') : NULL;
    int r;

    if (!slash)
        return working_dir(ret, err);
    if (origin[0] == '/') {
        *ret = slash == origin ? strdup("/") : strndup(origin, (size_t)(slash - origin));
        return *ret ? 0 : vivi_fail_oom(err);
    }
    r = working_dir(&cwd, err);
    if (r < 0)
        return r;
    if (asprintf(ret, "%s/%.*s", cwd, (int)(slash - origin), origin) < 0) {
        *ret = NULL;
        return vivi_fail_oom(err);
    }
    return 0;
}

/* Takes both. */
static int make(json_t *doc_consume, char *base_dir_consume, viv_config **ret, viv_error *err)
{
    viv_config *c = calloc(1, sizeof(*c));

    if (!c || !doc_consume) {
        free(c);
        free(base_dir_consume);
        json_decref(doc_consume);
        return vivi_fail_oom(err);
    }
    c->doc = doc_consume;
    c->base_dir = base_dir_consume;
    *ret = c;
    return 0;
}

int viv_config_new(viv_config **ret, viv_error *err)
{
    char *base = NULL;
    int r = working_dir(&base, err);

    return r < 0 ? r : make(json_object(), base, ret, err);
}

int viv_config_parse(const char *buf, size_t len, const char *origin, viv_config **ret,
                     viv_error *err)
{
    cleanup_free char *base = NULL;
    json_t *doc = NULL;
    int r = dir_of(origin, &base, err);

    if (r == 0)
        r = vivi_config_parse(buf, len, origin, base, &doc, err);
    return r < 0 ? r : make(doc, take_ptr(base), ret, err);
}

int viv_config_set(viv_config *c, const char *path, const char *value, viv_error *err)
{
    int r = vivi_config_set(c->doc, path, value, c->base_dir, err);

    if (r == 0)
        vivi_config_touch(c, path);
    return r;
}

int viv_config_set_fd(viv_config *c, const char *path, int fd, viv_error *err)
{
    static const char list[] = "nets.", leaf[] = ".fd";
    size_t head = strlen(list), n = strlen(path);
    struct vivi_given given = {.n = 0};
    viv_error why = VIV_ERROR_INIT;
    char id[64], type[128];
    int r;

    if (strncmp(path, list, head) != 0 || n <= head + strlen(leaf) ||
        strcmp(path + n - strlen(leaf), leaf) != 0 || n >= head + sizeof(id))
        return vivi_fail_field(err, VIV_E_INVALID, path,
                               "takes no descriptor (example: nets.n0.fd)");
    (void)snprintf(type, sizeof(type), "%.*s.type", (int)(n - strlen(leaf)), path);
    (void)snprintf(id, sizeof(id), "%.*s", (int)(n - head - strlen(leaf)), path + head);
    r = vivi_given_put(&given, id[0] == '+' ? id + 1 : id, fd, &why);
    if (r < 0)
        return vivi_fail_field(err, -r, path, "%s", why.message);
    r = viv_config_set(c, type, "fd", err);
    if (r == 0)
        r = vivi_given_add(&c->given, &given, err);
    vivi_given_done(&given);
    return r;
}

int viv_config_get(const viv_config *c, const char *path, viv_rec **ret, viv_error *err)
{
    json_t *j = vivi_config_get(c->doc, path);

    if (!j)
        return vivi_fail_field(err, VIV_E_NOT_FOUND, path, "is not set");
    return vivi_rec_new(json_deep_copy(j), ret, err);
}

int viv_config_merge_under(viv_config *c, const viv_config *lower, viv_error *err)
{
    return vivi_config_merge_under(c->doc, lower->doc, err);
}

int viv_config_show(const viv_config *c, viv_rec **ret, viv_error *err)
{
    return vivi_rec_new(json_deep_copy(c->doc), ret, err);
}

void viv_config_free(viv_config *c)
{
    if (!c)
        return;
    json_decref(c->doc);
    json_decref(c->touched);
    vivi_given_done(&c->given);
    free(c->base_dir);
    free(c);
}

/* ---- what this host says about one ---- */

#define NO_UUID  "00000000-0000-4000-8000-000000000000"
#define NO_NONCE "0000000000000000"

static json_t *problem_json(const viv_error *e)
{
    return json_pack("{s:o,s:o,s:s,s:o}", "field", vivi_json_str_or_null(e->field), "message",
                     vivi_json_str(e->message), "code", viv_code_name(e->code), "hint",
                     vivi_json_str_or_null(e->hint));
}

static int add_problems(viv_list *l, const struct vivi_problems *p, viv_error *err)
{
    for (size_t i = 0; i < p->n; i++) {
        int r = vivi_list_add(l, problem_json(&p->items[i]), err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* A configuration that cannot even be completed, or has no driver here, has this one problem. */
static bool is_problem(int r)
{
    return r == -VIV_E_INVALID || r == -VIV_E_UNSUPPORTED || r == -VIV_E_NOT_FOUND;
}

int viv_config_check(viv *v, const viv_config *c, viv_list **ret_problems, viv_error *err)
{
    cleanup_resolved struct vivi_resolved res = VIVI_RESOLVED_EMPTY;
    cleanup_viv_list viv_list *list = NULL;
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_list_new(&list, err);

    if (r < 0)
        return r;
    r = vivi_resolve(v, c->doc, NO_UUID, NULL, &res, &why);
    if (is_problem(r))
        r = vivi_list_add(list, problem_json(&why), err);
    else if (r == 0)
        r = add_problems(list, &res.problems, err);
    else if (err)
        *err = why;
    if (r < 0)
        return r;
    *ret_problems = take_ptr(list);
    return 0;
}

static json_t *problems_json(const struct vivi_problems *p)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < p->n; i++) {
        if (json_array_append_new(list, problem_json(&p->items[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The plan of a configuration without problems; null otherwise. */
static int make_plan(viv *v, const struct vivi_resolved *res, json_t **ret, viv_error *err)
{
    cleanup_plan struct vivi_plan plan = {.exe = NULL};
    cleanup_free char *run_dir = NULL;
    cleanup_free char *vm_dir = NULL;
    struct vivi_plan_input in = {.config = &res->config,
                                 .facts = &res->facts,
                                 .uuid = NO_UUID,
                                 .nonce = NO_NONCE,
                                 .how = VIVI_HOW_BOOT};
    int r;

    if (res->problems.n > 0) {
        *ret = json_null();
        return 0;
    }
    if (asprintf(&run_dir, "%s/%.8s", v->root.run, NO_UUID) < 0) {
        run_dir = NULL;
        return vivi_fail_oom(err);
    }
    if (asprintf(&vm_dir, "%s/vms/%s", v->root.path, res->config.name) < 0) {
        vm_dir = NULL;
        return vivi_fail_oom(err);
    }
    in.run_dir = run_dir;
    in.vm_dir = vm_dir;
    r = res->driver->plan(&in, &plan, err);
    return r < 0 ? r : vivi_plan_to_json(&plan, ret, err);
}

int viv_config_plan(viv *v, const viv_config *c, viv_rec **ret, viv_error *err)
{
    cleanup_resolved struct vivi_resolved res = VIVI_RESOLVED_EMPTY;
    const struct vivi_probe *p = &res.facts.probe;
    json_t *plan = NULL;
    int r = vivi_resolve(v, c->doc, NO_UUID, NULL, &res, err);

    if (r == 0)
        r = make_plan(v, &res, &plan, err);
    if (r < 0)
        return r;
    return vivi_rec_new(json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:O}", "driver", res.driver->name,
                                  "accel", vivi_accel_name(p->accel), "accel_reason",
                                  vivi_json_str_or_null(p->accel_reason), "accel_fix",
                                  vivi_json_str_or_null(p->accel_fix), "problems",
                                  problems_json(&res.problems), "plan", plan, "config", res.doc),
                        ret, err);
}
