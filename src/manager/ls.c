/*
 * Theory of operation: one state.json per VM is all that listing reads; a config.json is looked
 * into only if it changed since it was last known to be good, or if labels are asked for that did
 * not fit beside the state. Nothing is locked, started or repaired. A record that cannot be read
 * makes a row of its own, with the reason, so nothing ever vanishes from sight.
 *
 * A row keeps what was read and becomes JSON only when somebody looks at more than the columns that
 * everybody looks at: of a thousand VMs, building what nobody reads would be most of the work.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"

struct lister {
    viv *v;
    struct vivi_filter filter;
    struct vivi_host_now now;
    viv_list *list;
};

struct vivi_row {
    struct vivi_state s; /* extra: NULL */
    char created[VIVI_TIME_SIZE];
    json_t *labels; /* owned; NULL: they stand in text */
    char *text;     /* state.json, as far as labels are in it; NULL: there are none */
    char *running;  /* running.json of a VM that runs, or NULL */
};

void vivi_row_free(struct vivi_row *r)
{
    if (!r)
        return;
    json_decref(r->labels);
    free(r->text);
    free(r->running);
    free(r);
}

/* ready{proof,at,after_ms} or null. */
static json_t *ready_json(const struct vivi_state *s)
{
    if (!s->ready)
        return json_null();
    return json_pack("{s:o,s:o,s:I}", "proof", vivi_json_str_or_null(s->ready_proof), "at",
                     vivi_time_json(s->ready_at_ms), "after_ms", (json_int_t)s->ready_after_ms);
}

/* vmm{pid,start_time,version,path} or null; the latter two stand in running.json. */
static json_t *vmm_json(const struct vivi_row *r)
{
    static const char *const more[] = {"version", "path"};
    cleanup_json json_t *running = r->running ? json_loads(r->running, 0, NULL) : NULL;
    json_t *vmm = json_array_get(json_object_get(running, "vmms"), 0);
    json_t *j;

    if (r->s.vmm.pid == 0)
        return json_null();
    j = json_pack("{s:I,s:I}", "pid", (json_int_t)r->s.vmm.pid, "start_time",
                  (json_int_t)r->s.vmm.start_time);
    for (size_t i = 0; j && i < ARRAY_SIZE(more); i++) {
        const char *text = json_string_value(json_object_get(vmm, more[i]));

        if (json_object_set_new(j, more[i], vivi_json_str(text)) < 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

/* New reference; labels of a state.json's text. */
static json_t *labels_in(const char *text)
{
    cleanup_json json_t *doc = text ? json_loads(text, 0, NULL) : NULL;
    json_t *labels = json_object_get(doc, "labels");

    return json_is_object(labels) ? json_incref(labels) : json_object();
}

json_t *vivi_row_json(const struct vivi_row *r)
{
    const struct vivi_state *s = &r->s;
    json_t *doc = json_object();
    int bad = doc ? vivi_view_common(doc, s) : -1;

    bad |= json_object_set_new(doc, "ready", ready_json(s));
    bad |= json_object_set_new(doc, "cpus", s->cpus ? json_integer(s->cpus) : json_null());
    bad |= json_object_set_new(doc, "memory_bytes",
                               s->memory_bytes ? json_integer((json_int_t)s->memory_bytes)
                                               : json_null());
    bad |=
        json_object_set_new(doc, "labels", r->labels ? json_incref(r->labels) : labels_in(r->text));
    bad |= json_object_set_new(doc, "vmm", vmm_json(r));
    if (!bad)
        return doc;
    json_decref(doc);
    return NULL;
}

/* ---- the columns that everybody looks at ---- */

static const char *text_or_null(const char *s)
{
    return s[0] ? s : NULL;
}

bool vivi_row_str(const struct vivi_row *r, const char *path, const char **ret)
{
    bool over = r->s.reason[0] && !vivi_state_has_vmm(r->s.state);
    const struct {
        const char *path, *value;
    } columns[] = {
        {"name", r->s.name},
        {"uuid", text_or_null(r->s.uuid)},
        {"state", vivi_state_name(r->s.state)},
        {"ip", text_or_null(r->s.ip)},
        {"driver", text_or_null(r->s.driver)},
        {"created_at", text_or_null(r->created)},
        {"reason.code", over ? r->s.reason : NULL},
        {"reason.text", over ? text_or_null(r->s.reason_text) : NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        if (strcmp(columns[i].path, path) == 0) {
            *ret = columns[i].value;
            return true;
        }
    }
    return false;
}

/* Zero stands for null here. */
static int non_zero(uint64_t n, int64_t *ret)
{
    if (n == 0)
        return -VIV_E_INVALID;
    *ret = (int64_t)n;
    return 0;
}

bool vivi_row_i64(const struct vivi_row *r, const char *path, int64_t *ret, int *ret_code)
{
    if (strcmp(path, "cpus") == 0) {
        *ret_code = non_zero(r->s.cpus, ret);
    } else if (strcmp(path, "memory_bytes") == 0) {
        *ret_code = non_zero(r->s.memory_bytes, ret);
    } else if (strcmp(path, "ready.after_ms") == 0) {
        *ret_code = r->s.ready ? 0 : -VIV_E_NOT_FOUND;
        *ret = r->s.ready ? r->s.ready_after_ms : *ret;
    } else {
        return false;
    }
    return true;
}

bool vivi_row_bool(const struct vivi_row *r, const char *path, int *ret, int *ret_code)
{
    if (strcmp(path, "ip_reachable") != 0)
        return false;
    *ret_code = r->s.ip[0] ? 0 : -VIV_E_INVALID;
    *ret = r->s.ip[0] ? r->s.ip_reachable : *ret;
    return true;
}

bool vivi_row_null(const struct vivi_row *r, const char *path, int *ret)
{
    if (strcmp(path, "ready") != 0)
        return false;
    *ret = !r->s.ready;
    return true;
}

/* ---- listing ---- */

struct found {
    const char *name;
    struct vivi_state s;
    struct vivi_state_text text; /* len 0: read the long way */
    json_t *config;              /* NULL: it did not have to be looked into */
};

static char *read_text(int dir_fd, const char *name)
{
    struct vivi_buf buf = VIVI_BUF(VIVI_DOCUMENT_MAX_BYTES);

    if (vivi_read_file_at(dir_fd, name, &buf, NULL) == 0)
        return vivi_buf_take(&buf);
    vivi_buf_done(&buf);
    return NULL;
}

/* Labels, new reference, as far as they are known by now; NULL: none. */
static json_t *labels_of(const struct found *f)
{
    json_t *labels = json_object_get(f->config ? f->config : f->s.extra, "labels");

    return json_is_object(labels) ? json_incref(labels) : NULL;
}

static int add_row(struct lister *l, const struct found *f, int vm_fd, viv_error *err)
{
    struct vivi_row *r = calloc(1, sizeof(*r));
    bool lacks = !r;

    if (!lacks) {
        r->s = f->s;
        r->s.extra = NULL;
        if (r->s.created_at_ms)
            vivi_time_format(r->s.created_at_ms, r->created);
        r->labels = labels_of(f);
        if (!r->labels && f->text.len > 0) {
            r->text = strndup(f->text.data, f->text.len);
            lacks = !r->text;
        }
        if (r->s.vmm.pid != 0 && !vivi_proc_alive(&r->s.vmm))
            r->s.vmm.pid = 0;
        if (r->s.vmm.pid != 0 && vm_fd >= 0)
            r->running = read_text(vm_fd, VIVI_RUNNING_FILE);
    }
    if (lacks) {
        vivi_row_free(r);
        return vivi_fail_oom(err);
    }
    return vivi_list_add_row(l->list, r, err);
}

static int add_broken(struct lister *l, const char *name, const char *uuid, const viv_error *why,
                      viv_error *err)
{
    struct found f = {.name = name};

    vivi_state_init(&f.s);
    f.s.state = VIV_ST_BROKEN;
    (void)snprintf(f.s.name, sizeof(f.s.name), "%s", name);
    (void)snprintf(f.s.uuid, sizeof(f.s.uuid), "%s", uuid);
    (void)snprintf(f.s.reason, sizeof(f.s.reason), "broken");
    (void)snprintf(f.s.reason_text, sizeof(f.s.reason_text), "%.159s", why->message);
    if (!vivi_filter_match(&l->filter, &f.s, NULL))
        return 0;
    return add_row(l, &f, -1, err);
}

/* What is true now, for what runs or should. */
static int derive(struct lister *l, struct found *f, int vm_fd, viv_error *err)
{
    return vivi_state_has_vmm(f->s.state) ? vivi_state_derive(vm_fd, &l->now, &f->s, err) : 0;
}

static int add_if_wanted(struct lister *l, struct found *f, int vm_fd, viv_error *err)
{
    cleanup_json json_t *labels = NULL;

    if (l->filter.labels) {
        labels = labels_of(f);
        if (!labels && f->text.len > 0) {
            f->text.data[f->text.len] = '\0';
            labels = labels_in(f->text.data);
        }
    }
    return vivi_filter_match(&l->filter, &f->s, labels) ? add_row(l, f, vm_fd, err) : 0;
}

static int open_vm(const struct lister *l, const char *name)
{
    return openat(l->v->root.vms_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/*
 * The short way: a record that this program wrote, beside a configuration known to be good. 1 done,
 * 0 the long way has to look.
 */
static int list_quickly(struct lister *l, struct found *f, viv_error *err)
{
    cleanup_close int fd = -1;
    char path[sizeof(f->s.name) + sizeof("/" VIVI_CONFIG_FILE)], stamp[48];
    int dir = l->v->root.vms_fd, r;

    (void)snprintf(path, sizeof(path), "%s/" VIVI_STATE_FILE, f->name);
    if (!vivi_state_read_quick(dir, path, &f->text, &f->s))
        return 0;
    (void)snprintf(path, sizeof(path), "%s/" VIVI_CONFIG_FILE, f->name);
    vivi_config_stamp(dir, path, stamp);
    if (!stamp[0] || strcmp(stamp, f->s.config_stamp) != 0 || !f->text.has_labels)
        return 0;
    if (vivi_state_has_vmm(f->s.state)) {
        fd = open_vm(l, f->name);
        if (fd < 0)
            return 0;
    }
    r = derive(l, f, fd, err);
    if (r >= 0)
        r = add_if_wanted(l, f, fd, err);
    return r < 0 ? r : 1;
}

/* Of a VM that does not run: what the next start has, also when the record has not followed. */
static void take_columns(struct found *f)
{
    json_int_t cpus = json_integer_value(vivi_json_at(f->config, "cpus.count"));
    json_int_t memory = json_integer_value(vivi_json_at(f->config, "memory.size"));

    if (cpus > 0 && cpus <= UINT32_MAX)
        f->s.cpus = (uint32_t)cpus;
    if (memory > 0)
        f->s.memory_bytes = (uint64_t)memory;
}

/* The configuration, if it has to be looked into; < 0 it is broken (why). */
static int look_at_config(int vm_fd, struct found *f, viv_error *why)
{
    char stamp[48];
    unsigned schema;
    int r;

    vivi_config_stamp(vm_fd, VIVI_CONFIG_FILE, stamp);
    if (stamp[0] && strcmp(stamp, f->s.config_stamp) == 0 &&
        json_is_object(json_object_get(f->s.extra, "labels")))
        return 0;
    r = vivi_json_read_any(vm_fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &f->config, &schema,
                           why);
    if (r == 0 && !vivi_state_has_vmm(f->s.state))
        take_columns(f);
    return r;
}

static int list_thoroughly(struct lister *l, struct found *f, viv_error *err)
{
    cleanup_close int fd = open_vm(l, f->name);
    viv_error why = VIV_ERROR_INIT;
    char uuid[VIVI_UUID_SIZE];
    int r;

    if (fd < 0) /* removed this very moment */
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot open VM %s", f->name);
    f->text.len = 0;
    vivi_state_init(&f->s);
    r = vivi_state_read(fd, &f->s, &why);
    if (r == 0)
        r = look_at_config(fd, f, &why);
    if (r == -VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    if (r < 0) {
        if (faccessat(l->v->root.vms_fd, f->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
        vivi_vm_uuid_of(fd, uuid);
        return add_broken(l, f->name, uuid, &why, err);
    }
    r = derive(l, f, fd, err);
    return r < 0 ? r : add_if_wanted(l, f, fd, err);
}

static int list_one(struct lister *l, const char *name, viv_error *err)
{
    struct found f;
    int r;

    f.name = name;
    f.config = NULL;
    f.s.extra = NULL;
    r = list_quickly(l, &f, err);
    if (r == 0)
        r = list_thoroughly(l, &f, err);
    vivi_state_done(&f.s);
    json_decref(f.config);
    return r < 0 ? r : 0;
}

int viv_ls(viv *v, const char *filter, viv_list **ret, viv_error *err)
{
    struct lister l = {.v = v};
    char **names = NULL;
    size_t n = 0;
    int r = vivi_filter_parse(filter, VIVI_FILTER_VMS, &l.filter, err);

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
