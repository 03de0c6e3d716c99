/*
 * Devices and sizes: the same two documents as viv_vm_apply, by what people think in.
 *
 * Theory of operation: what is wanted is set in the VM's configuration, and that is applied
 * strictly: it is made in this run and stored, or neither. What the guest has not done in time is
 * stored and waits; whoever asks again finds it done in one document and not in the other, and so
 * asks for the same thing.
 */
#include <stdio.h>
#include <string.h>

#include "manager/call.h"
#include "model/fields.h"
#include "model/slots.h"

#define CHANGE_OPTIONS " next live dry_run timeout_ms async"

/* ---- what there is ---- */

struct documents {
    viv_config *wanted; /* owned; the one that is to be changed */
    viv_config *run;    /* owned; NULL: it does not run */
};

static void documents_done(struct documents *d)
{
    viv_config_free(d->wanted);
    viv_config_free(d->run);
}
#define cleanup_documents VIVI_CLEANUP(documents_done)

static int read_documents(viv_vm *m, const viv_opts *o, struct documents *ret, viv_error *err)
{
    bool live = vivi_opt_bool(o, "live", false);
    int r = viv_vm_config(m, live ? VIV_CONFIG_RUNNING : 0, &ret->wanted, err);

    if (r < 0)
        return r;
    r = viv_vm_config(m, VIV_CONFIG_RUNNING, &ret->run, NULL);
    return r == -VIV_E_NO_MEMORY ? vivi_fail_oom(err) : 0;
}

/* Borrowed; NULL: it is not there. */
static json_t *device_in(const json_t *doc, const char *list, const char *id)
{
    const json_t *all = json_object_get(doc, list);
    int i = all ? vivi_element_find(list, all, id) : -1;

    return i < 0 ? NULL : json_array_get(all, (size_t)i);
}

static json_t *device_of(const viv_config *c, const char *list, const char *id)
{
    return device_in(c ? c->doc : NULL, list, id);
}

/* What is wanted is made by edit, and then applied. */
static int change(struct vivi_call *c,
                  int (*edit)(const struct documents *, const viv_opts *, viv_error *),
                  viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    cleanup_documents struct documents d = {.wanted = NULL};
    int r = read_documents(c->m, c->o, &d, err);

    if (r == 0)
        r = edit(&d, c->o, err);
    if (r < 0) {
        vivi_error_vm(err, c->m->name);
        return r;
    }
    c->verb = "apply";
    c->prepare = vivi_call_prepare_apply;
    c->config = d.wanted;
    c->strict = true;
    c->q.changes = true;
    return vivi_call_run(c, ret_op, ret_result, err);
}

/* ---- which device ---- */

static int unknown_kind(const char *word, viv_error *err)
{
    const char *names[VIVI_DEV_COUNT_], *near;
    int r = vivi_fail_field(err, VIV_E_INVALID, "kind", "\"%s\" is no kind of device", word);

    for (unsigned k = 0; k < VIVI_DEV_COUNT_; k++)
        names[k] = vivi_device_kind_name((enum vivi_device_kind)k);
    near = vivi_nearest(word, names, VIVI_DEV_COUNT_);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return r;
}

/* A kind of which a VM has one, without a name (vsock), stands in a mapping, not in a list. */
static bool is_single(const char *list)
{
    return !vivi_field_find(list);
}

/* *ret: the list that holds such devices, or the mapping of the only one. */
static int read_kind(const viv_opts *o, const char **ret, viv_error *err)
{
    const char *word = vivi_opt_str(o, "kind", ""), *id;
    enum vivi_device_kind kind;

    if (vivi_device_kind_parse(word, &kind) < 0)
        return unknown_kind(word, err);
    *ret = vivi_device_kind_list(kind);
    id = vivi_opt_str(o, "id", "");
    if (is_single(*ret) && *id && strcmp(id, vivi_device_kind_name(kind)) != 0)
        return vivi_fail_field(err, VIV_E_INVALID, "id", "a %s device has no name: there is one",
                               word);
    return 0;
}

/* The only device of such a kind, borrowed: something of it is set; NULL: there is none. */
static json_t *single_in(const json_t *doc, const char *mapping)
{
    json_t *all = json_object_get(doc, mapping), *value;
    const char *key;

    json_object_foreach(all, key, value) if (!json_is_null(value)) return all;
    return NULL;
}

static bool has_single(const viv_config *c, const char *mapping)
{
    return c && single_in(c->doc, mapping);
}

/* The first id of the usual form that neither document has. */
static int free_id(const struct documents *d, const char *list, char ret[VIVI_ID_SIZE],
                   viv_error *err)
{
    const json_t *runs = d->run ? json_object_get(d->run->doc, list) : NULL;
    cleanup_json json_t *all = json_copy(json_object_get(d->wanted->doc, list));
    size_t i;
    json_t *one;

    json_array_foreach(runs, i, one)
    {
        const char *id = json_string_value(json_object_get(one, "id"));

        if (all && id && vivi_element_find(list, all, id) < 0 && json_array_append(all, one) < 0)
            return vivi_fail_oom(err);
    }
    if (!all || json_array_append_new(all, json_object()) < 0)
        return vivi_fail_oom(err);
    vivi_element_id(list, all, json_array_size(all) - 1, ret);
    return 0;
}

/* ---- adding ---- */

static int used_twice(const char *list, const char *id, viv_error *err)
{
    char path[VIVI_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s.%s", list, id);
    return vivi_fail_field(err, VIV_E_INVALID, path, "id is used twice");
}

/* "path=d.img" of the device. */
static int set_one(viv_config *c, const char *device, const char *text, viv_error *err)
{
    const char *equals = strchr(text, '=');
    char path[2 * VIVI_PATH_SIZE];

    if (!equals || equals == text)
        return vivi_fail(err, VIV_E_INVALID, "\"%.200s\" is not KEY=VALUE", text);
    (void)snprintf(path, sizeof(path), "%s.%.*s", device, (int)(equals - text), text);
    return viv_config_set(c, path, equals + 1, err);
}

/* Of a device that nothing was said about: what the kind is by default. */
static int set_default(viv_config *c, const char *list, const char *device, viv_error *err)
{
    const struct vivi_field *f = vivi_field_element_shorthand(list);
    char path[2 * VIVI_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s.%s", device, f ? vivi_field_leaf(f) : "id");
    if (!f || !f->def)
        return vivi_fail(err, VIV_E_INVALID, "needs at least %s=…", f ? vivi_field_leaf(f) : "id");
    return viv_config_set(c, path, f->def, err);
}

static int set_each(viv_config *c, const char *device, const viv_opts *o, viv_error *err)
{
    size_t n = vivi_opt_list_len(o, "set");
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = set_one(c, device, vivi_opt_list_at(o, "set", i), err);
    return r;
}

static int set_device(const struct documents *d, const viv_opts *o, const char *list,
                      const char *id, viv_error *err)
{
    char device[VIVI_PATH_SIZE];

    (void)snprintf(device, sizeof(device), "%s.+%s", list, id);
    return vivi_opt_list_len(o, "set") > 0 ? set_each(d->wanted, device, o, err)
                                           : set_default(d->wanted, list, device, err);
}

static int add_single(const struct documents *d, const viv_opts *o, const char *mapping,
                      viv_error *err)
{
    if (vivi_opt_list_len(o, "set") == 0)
        return vivi_fail(err, VIV_E_INVALID, "needs at least cid=…");
    if (has_single(d->wanted, mapping) && (!d->run || has_single(d->run, mapping)))
        return vivi_fail_field(err, VIV_E_INVALID, mapping, "is there already");
    return set_each(d->wanted, mapping, o, err);
}

static int add_device(const struct documents *d, const viv_opts *o, viv_error *err)
{
    cleanup_json json_t *before = NULL;
    const char *list = NULL, *given = vivi_opt_str(o, "id", "");
    char id[VIVI_ID_SIZE];
    const json_t *is;
    int r = read_kind(o, &list, err);

    if (r < 0)
        return r;
    if (is_single(list))
        return add_single(d, o, list, err);
    (void)snprintf(id, sizeof(id), "%.63s", given);
    if (!*given)
        r = free_id(d, list, id, err);
    else
        r = vivi_parse_name(given, err);
    if (r < 0)
        return r;
    is = device_of(d->wanted, list, id);
    if (is && (!d->run || device_of(d->run, list, id)))
        return used_twice(list, id, err);
    before = json_deep_copy(is);
    r = set_device(d, o, list, id, err);
    /* Stored before, but not in this run: only the very same is asking again. */
    if (r == 0 && is && !json_equal(before, device_of(d->wanted, list, id)))
        r = used_twice(list, id, err);
    return r;
}

int viv_vm_device_add(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                      viv_error *err)
{
    struct vivi_call c = {.options = "kind id set" CHANGE_OPTIONS, .m = m, .o = o};

    return change(&c, add_device, ret_op, ret_result, err);
}

/* ---- removing ---- */

static int remove_single(const struct documents *d, const viv_opts *o, const char *mapping,
                         viv_error *err)
{
    char path[VIVI_PATH_SIZE];

    if (!has_single(d->wanted, mapping) &&
        (!has_single(d->run, mapping) || vivi_opt_bool(o, "next", false)))
        return vivi_fail(err, VIV_E_NOT_FOUND, "there is no %s", vivi_opt_str(o, "kind", ""));
    (void)snprintf(path, sizeof(path), "%s-", mapping);
    return viv_config_set(d->wanted, path, NULL, err);
}

static int remove_device(const struct documents *d, const viv_opts *o, viv_error *err)
{
    const char *list = NULL, *id = vivi_opt_str(o, "id", "");
    char path[VIVI_PATH_SIZE];
    int r = read_kind(o, &list, err);

    if (r == 0 && is_single(list))
        return remove_single(d, o, list, err);
    if (r == 0)
        r = vivi_parse_name(id, err);
    if (r < 0)
        return r;
    if (!device_of(d->wanted, list, id)) {
        if (!device_of(d->run, list, id) || vivi_opt_bool(o, "next", false))
            return vivi_fail(err, VIV_E_NOT_FOUND, "no %s is called \"%s\"",
                             vivi_opt_str(o, "kind", ""), id);
        (void)snprintf(path, sizeof(path), "%s.%s", list, id);
        vivi_config_touch(d->wanted, path); /* this run has it still */
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s.%s-", list, id);
    return viv_config_set(d->wanted, path, NULL, err);
}

int viv_vm_device_remove(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                         viv_error *err)
{
    struct vivi_call c = {.options = "kind id force" CHANGE_OPTIONS, .m = m, .o = o};

    return change(&c, remove_device, ret_op, ret_result, err);
}

/* ---- sizes ---- */

/* "data=2GiB" of the sizes of a list: "disks", "memory.zones". */
static int resize_one(viv_config *c, const char *key, const char *list, const char *text,
                      viv_error *err)
{
    const char *equals = strchr(text, '=');
    char path[VIVI_PATH_SIZE];

    if (!equals || equals == text)
        return vivi_fail_field(err, VIV_E_INVALID, key, "\"%.100s\" is not ID=SIZE", text);
    (void)snprintf(path, sizeof(path), "%s.%.*s.size", list, (int)(equals - text), text);
    return viv_config_set(c, path, equals + 1, err);
}

static int set_sizes(const struct documents *d, const viv_opts *o, viv_error *err)
{
    static const struct {
        const char *key, *path;
    } sizes[] = {{"memory", "memory.size"}, {"balloon", "memory.balloon"}},
      lists[] = {{"disk", "disks"}, {"zone", "memory.zones"}};
    viv_config *c = d->wanted;
    int64_t cpus = vivi_opt_i64(o, "cpus", INT64_MIN);
    char number[24];
    size_t asked = 0;
    int r = 0;

    if (cpus != INT64_MIN) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)cpus);
        asked++;
        r = viv_config_set(c, "cpus.count", number, err);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes); i++) {
        const char *text = vivi_opt_str(o, sizes[i].key, NULL);

        if (!text)
            continue;
        asked++;
        /* No balloon is all of the memory. */
        r = viv_config_set(c, sizes[i].path, strcmp(text, "all") != 0 ? text : NULL, err);
    }
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(lists); k++) {
        size_t n = vivi_opt_list_len(o, lists[k].key);

        asked += n;
        for (size_t i = 0; r == 0 && i < n; i++)
            r = resize_one(c, lists[k].key, lists[k].path, vivi_opt_list_at(o, lists[k].key, i),
                           err);
    }
    if (r == 0 && asked == 0)
        return vivi_fail(err, VIV_E_INVALID,
                         "no size is given (cpus, memory, balloon, disk, zone)");
    return r;
}

int viv_vm_resize(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                  viv_error *err)
{
    struct vivi_call c = {
        .options = "cpus memory balloon disk zone force" CHANGE_OPTIONS, .m = m, .o = o};

    return change(&c, set_sizes, ret_op, ret_result, err);
}

/* ---- listing ---- */

struct listing {
    viv_list *list;
    const json_t *next, *run;                 /* borrowed; run NULL: it does not run */
    struct vivi_config next_typed, run_typed; /* for the places */
};

/* What a device is, in a word: its file, its type, its address; of a vsock its number. */
static json_t *what_of(const char *list, const json_t *device)
{
    const struct vivi_field *f = vivi_field_element_shorthand(list);
    const char *text = f ? json_string_value(json_object_get(device, vivi_field_leaf(f))) : NULL;
    const json_t *cid = json_object_get(device, "cid");
    char number[40];

    if (!f && json_is_integer(cid)) {
        (void)snprintf(number, sizeof(number), "cid %" JSON_INTEGER_FORMAT,
                       json_integer_value(cid));
        text = number;
    }
    return text ? vivi_json_str(text) : json_null();
}

static const char *pending_of(const json_t *next, const json_t *run)
{
    if (!next || !run)
        return next ? "add" : "remove";
    return json_equal(next, run) ? NULL : "change";
}

/* A device that at least one of the documents has; place 0: it has none. */
static int add_row(struct listing *l, enum vivi_device_kind kind, const char *id, json_t *next,
                   json_t *run, uint32_t place, viv_error *err)
{
    return vivi_list_add(
        l->list,
        json_pack("{s:s,s:s,s:o,s:b,s:b,s:s?,s:o,s:O}", "kind", vivi_device_kind_name(kind), "id",
                  id, "what", what_of(vivi_device_kind_list(kind), run ? run : next), "live",
                  run != NULL, "next", next != NULL, "pending",
                  l->run ? pending_of(next, run) : NULL, "place",
                  place ? json_integer(place) : json_null(), "config", run ? run : next),
        err);
}

static int list_one(struct listing *l, enum vivi_device_kind kind, const char *id, viv_error *err)
{
    const char *list = vivi_device_kind_list(kind);
    json_t *next = device_in(l->next, list, id), *run = device_in(l->run, list, id);
    uint32_t place = vivi_slot_of(run ? &l->run_typed : &l->next_typed, kind, id);

    return add_row(l, kind, id, next, run, place, err);
}

/* The only one of its kind, called as its kind is. */
static int list_single(struct listing *l, enum vivi_device_kind kind, viv_error *err)
{
    const char *mapping = vivi_device_kind_list(kind);
    json_t *next = single_in(l->next, mapping), *run = single_in(l->run, mapping);

    return next || run ? add_row(l, kind, vivi_device_kind_name(kind), next, run, 0, err) : 0;
}

/* Those of this run first, in its order; then the ones that the next start brings. */
static int list_kind(struct listing *l, enum vivi_device_kind kind, viv_error *err)
{
    const char *list = vivi_device_kind_list(kind);
    const json_t *run = json_object_get(l->run, list), *next = json_object_get(l->next, list);
    json_t *one;
    size_t i;

    json_array_foreach(run, i, one)
    {
        int r = list_one(l, kind, json_string_value(json_object_get(one, "id")), err);

        if (r < 0)
            return r;
    }
    json_array_foreach(next, i, one)
    {
        const char *id = json_string_value(json_object_get(one, "id"));
        int r = run && vivi_element_find(list, run, id) >= 0 ? 0 : list_one(l, kind, id, err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int list_all(struct listing *l, viv_error *err)
{
    int r = vivi_config_decode(l->next, &l->next_typed, err);

    if (r == 0 && l->run)
        r = vivi_config_decode(l->run, &l->run_typed, err);
    for (unsigned k = 0; r == 0 && k < VIVI_DEV_COUNT_; k++) {
        const struct vivi_field *f =
            vivi_field_find(vivi_device_kind_list((enum vivi_device_kind)k));

        if (!f)
            r = list_single(l, (enum vivi_device_kind)k, err);
        else if (f->type == VIVI_T_OBJECT_LIST)
            r = list_kind(l, (enum vivi_device_kind)k, err);
    }
    vivi_config_done(&l->next_typed);
    vivi_config_done(&l->run_typed);
    return r;
}

int viv_vm_devices(viv_vm *m, viv_list **ret, viv_error *err)
{
    cleanup_documents struct documents d = {.wanted = NULL};
    cleanup_viv_list viv_list *list = NULL;
    struct listing l = {.list = NULL};
    int r = read_documents(m, NULL, &d, err);

    if (r == 0)
        r = vivi_list_new(&list, err);
    l.list = list;
    l.next = r == 0 ? d.wanted->doc : NULL;
    l.run = r == 0 && d.run ? d.run->doc : NULL;
    if (r == 0)
        r = list_all(&l, err);
    if (r < 0) {
        vivi_error_vm(err, m->name);
        return r;
    }
    *ret = take_ptr(list);
    return 0;
}
