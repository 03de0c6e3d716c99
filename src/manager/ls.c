/*
 * Theory of operation: one state.json per VM is all that listing reads; a config.json is looked
 * into only if it changed since it was last known to be good, or if labels are asked for that did
 * not fit beside the state. Nothing is locked, started or repaired. A record that cannot be read
 * makes a row of its own, with the reason, so nothing ever vanishes from sight.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

struct lister {
    viv *v;
    struct vivi_filter filter;
    struct vivi_host_now now;
    viv_list *list;
};

/* ready{proof,at,after_ms} or null. */
static json_t *ready_json(const struct vivi_state *s)
{
    if (!s->ready)
        return json_null();
    return json_pack("{s:o,s:o,s:I}", "proof", vivi_json_str_or_null(s->ready_proof), "at",
                     vivi_time_json(s->ready_at_ms), "after_ms", (json_int_t)s->ready_after_ms);
}

/* vmm{pid,start_time,version,path} or null; the latter two stand in running.json. */
static json_t *vmm_json(int vm_fd, const struct vivi_state *s)
{
    cleanup_json json_t *running = NULL;
    json_t *j = vivi_view_proc(&s->vmm);
    json_t *vmm;
    unsigned schema;

    if (!json_is_object(j))
        return j;
    (void)vivi_json_read_any(vm_fd, VIVI_RUNNING_FILE, VIVI_DOCUMENT_MAX_BYTES, &running, &schema,
                             NULL);
    vmm = json_array_get(json_object_get(running, "vmms"), 0);
    if (json_object_set_new(
            j, "version", vivi_json_str(json_string_value(json_object_get(vmm, "version")))) == 0 &&
        json_object_set_new(j, "path",
                            vivi_json_str(json_string_value(json_object_get(vmm, "path")))) == 0)
        return j;
    json_decref(j);
    return NULL;
}

/* labels is consumed. */
static int add_row(struct lister *l, int vm_fd, const struct vivi_state *s, json_t *labels,
                   viv_error *err)
{
    json_t *doc = json_object();
    int bad = doc ? vivi_view_common(doc, s) : -1;

    bad |= json_object_set_new(doc, "ready", ready_json(s));
    bad |= json_object_set_new(doc, "cpus", s->cpus ? json_integer(s->cpus) : json_null());
    bad |= json_object_set_new(doc, "memory_bytes",
                               s->memory_bytes ? json_integer((json_int_t)s->memory_bytes)
                                               : json_null());
    bad |= json_object_set_new(doc, "labels", labels ? labels : json_object());
    bad |= json_object_set_new(doc, "vmm", vmm_json(vm_fd, s));
    if (bad) {
        json_decref(doc);
        return vivi_fail_oom(err);
    }
    return vivi_list_add(l->list, doc, err);
}

static int add_broken(struct lister *l, const char *name, const char *uuid, const viv_error *why,
                      viv_error *err)
{
    struct vivi_state s;

    vivi_state_init(&s);
    s.state = VIV_ST_BROKEN;
    (void)snprintf(s.name, sizeof(s.name), "%s", name);
    (void)snprintf(s.uuid, sizeof(s.uuid), "%s", uuid);
    (void)snprintf(s.reason, sizeof(s.reason), "broken");
    (void)snprintf(s.reason_text, sizeof(s.reason_text), "%.159s", why->message);
    if (!vivi_filter_match(&l->filter, &s, NULL))
        return 0;
    return add_row(l, -1, &s, NULL, err);
}

/* Labels as they stand beside the state; borrowed, NULL: they are in config.json only. */
static json_t *few_labels(const struct vivi_state *s)
{
    json_t *labels = json_object_get(s->extra, "labels");

    return json_is_object(labels) ? labels : NULL;
}

/*
 * The configuration, if it has to be looked into: 1 and *ret, 0 not needed, < 0 it is broken (why).
 */
static int look_at_config(int vm_fd, const struct vivi_state *s, json_t **ret, viv_error *why)
{
    char stamp[48];
    unsigned schema;
    int r;

    vivi_config_stamp(vm_fd, stamp);
    if (stamp[0] && strcmp(stamp, s->config_stamp) == 0 && few_labels(s))
        return 0;
    r = vivi_json_read_any(vm_fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, ret, &schema, why);
    return r < 0 ? r : 1;
}

static int list_one(struct lister *l, const char *name, viv_error *err)
{
    cleanup_close int fd =
        openat(l->v->root.vms_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_state struct vivi_state s = {.extra = NULL};
    cleanup_json json_t *config = NULL;
    viv_error why = VIV_ERROR_INIT;
    char uuid[VIVI_UUID_SIZE];
    json_t *labels;
    int r;

    if (fd < 0) /* removed this very moment */
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot open VM %s", name);
    r = vivi_state_read(fd, &s, &why);
    if (r == 0)
        r = look_at_config(fd, &s, &config, &why);
    if (r == -VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    if (r < 0) {
        if (faccessat(l->v->root.vms_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
        vivi_vm_uuid_of(fd, uuid);
        return add_broken(l, name, uuid, &why, err);
    }
    r = vivi_state_derive(fd, &l->now, &s, err);
    if (r < 0)
        return r;
    labels = config ? json_object_get(config, "labels") : few_labels(&s);
    labels = json_is_object(labels) ? labels : NULL;
    if (!vivi_filter_match(&l->filter, &s, labels))
        return 0;
    return add_row(l, fd, &s, json_incref(labels), err);
}

int viv_ls(viv *v, const char *filter, viv_list **ret, viv_error *err)
{
    struct lister l = {.v = v};
    char **names = NULL;
    size_t n = 0;
    int r = vivi_filter_parse(filter, &l.filter, err);

    if (r == 0)
        r = vivi_host_now(&l.now, err);
    if (r == 0)
        r = vivi_vm_names(&v->root, &names, &n, err);
    if (r == 0)
        r = vivi_list_new(&l.list, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = list_one(&l, names[i], err);
    vivi_names_free(names, n);
    vivi_filter_done(&l.filter);
    if (r < 0) {
        viv_list_free(l.list);
        return r;
    }
    *ret = l.list;
    return 0;
}
