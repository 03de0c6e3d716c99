/*
 * Changes of a running machine: devices that come and go, and counters; sizes.c has the rest.
 *
 * Theory of operation. Adding is one request. Removing is asked of the guest: the VMM's answer only
 * says that it was, and the device is gone when the event says so. Whoever asks again meanwhile
 * gets an error from some releases ("unknown", the configuration has lost it) and none from others,
 * so what counts is whether the device tree still holds it. A guest that reboots gets a machine
 * made of the configuration: what was being removed is gone then, without an event.
 */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

#define COUNT_MAX 9007199254740992.0 /* 2^53 */

static const struct {
    const char *prefix, *add;
} kinds[VIVI_DEV_COUNT_] = {
    [VIVI_DEV_DISK] = {CH_ID_DISK, "vm.add-disk"},
    [VIVI_DEV_NET] = {CH_ID_NET, "vm.add-net"},
    [VIVI_DEV_SHARE] = {CH_ID_SHARE, "vm.add-fs"},
    [VIVI_DEV_VSOCK] = {CH_ID_VSOCK, "vm.add-vsock"},
    [VIVI_DEV_PMEM] = {CH_ID_PMEM, "vm.add-pmem"},
    [VIVI_DEV_VDPA] = {CH_ID_VDPA, "vm.add-vdpa"},
    [VIVI_DEV_VFIO] = {CH_ID_VFIO, "vm.add-device"},
    [VIVI_DEV_USER] = {CH_ID_USER, "vm.add-user-device"},
    [VIVI_DEV_VHOST_USER] = {CH_ID_VHOST_USER, "vm.add-generic-vhost-user"},
};

void ch_device_name(enum vivi_device_kind kind, const char *id, char ret[CH_ID_BYTES])
{
    (void)snprintf(ret, CH_ID_BYTES, "%s%s", kinds[kind].prefix, id);
}

/* The kind of a device of ours by the VMM's id; false: none of ours. *ret_id points into name. */
static bool kind_of(const char *name, enum vivi_device_kind *ret, const char **ret_id)
{
    for (unsigned k = 0; k < VIVI_DEV_COUNT_; k++) {
        size_t n = kinds[k].prefix ? strlen(kinds[k].prefix) : 0;

        if (n == 0 || strncmp(name, kinds[k].prefix, n) != 0)
            continue;
        *ret = (enum vivi_device_kind)k;
        *ret_id = name + n;
        return true;
    }
    return false;
}

/* ---- may it ---- */

/* Whether other processes can map this run's memory. */
static bool is_shared(const json_t *memory)
{
    const json_t *zones = json_object_get(memory, "zones"), *zone;
    size_t i, shared = 0;

    json_array_foreach(zones, i, zone) shared += json_is_true(json_object_get(zone, "shared")) ||
                                                 json_is_true(json_object_get(zone, "hugepages"));
    return json_is_true(json_object_get(memory, "shared")) ||
           json_is_true(json_object_get(memory, "hugepages")) ||
           (shared > 0 && shared == json_array_size(zones));
}

static int may_add(const struct ch_machine *m, const json_t *body, enum vivi_device_kind kind,
                   viv_error *err)
{
    if (kind == VIVI_DEV_VHOST_USER && !ch_version_since(&m->version, 52, 0))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "needs Cloud Hypervisor 52 or later");
    if (!body) /* restored: the VMM knows what it has */
        return 0;
    if ((kind == VIVI_DEV_SHARE || kind == VIVI_DEV_USER || kind == VIVI_DEV_VHOST_USER) &&
        !is_shared(json_object_get(body, "memory")))
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "other processes cannot map this run's memory (memory.shared)");
    if (kind == VIVI_DEV_VSOCK && json_object_get(body, "vsock"))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "the guest has a vsock already, its agent's");
    return 0;
}

/* The VMM takes away no others. */
static int may_remove(enum vivi_device_kind kind, viv_error *err)
{
    if (kind == VIVI_DEV_VDPA || kind == VIVI_DEV_VHOST_USER)
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "Cloud Hypervisor takes no %s devices away while a VM runs",
                         kind == VIVI_DEV_VDPA ? "vDPA" : "generic vhost-user");
    return 0;
}

int ch_may_device(void *priv, enum vivi_device_kind kind, bool adding, viv_error *err)
{
    const struct ch_machine *m = priv;
    const json_t *body = ch_boot_body(m);

    return adding ? may_add(m, body, kind, err) : may_remove(kind, err);
}

/* Whether the path is a rule's or lies below it. */
static bool is_below(const char *path, const char *rule)
{
    size_t n = strlen(rule);

    while (n > 1 && rule[n - 1] == '/')
        n--;
    return strncmp(path, rule, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

/* Whether it is the file of a device that was there at the start: the VMM may still open it. */
static bool was_there(const json_t *body, const char *path)
{
    static const struct {
        const char *list, *key;
    } files[] = {{"disks", "path"}, {"pmem", "file"}, {"vdpa", "path"}};
    const json_t *one;
    size_t i;

    for (size_t k = 0; k < ARRAY_SIZE(files); k++)
        json_array_foreach(json_object_get(body, files[k].list), i, one)
        {
            const char *file = json_string_value(json_object_get(one, files[k].key));

            if (file && strcmp(path, file) == 0)
                return true;
        }
    return strcmp(path, CH_TUN) == 0 && json_array_size(json_object_get(body, "net")) > 0;
}

/* The VMM's sandbox was made at its start and cannot be widened. */
static bool may_open(const struct ch_machine *m, const char *path)
{
    const json_t *body = ch_boot_body(m), *one;
    size_t i;

    if (!json_is_true(json_object_get(body, "landlock_enable")) || was_there(body, path))
        return true;
    json_array_foreach(json_object_get(body, "landlock_rules"), i, one)
    {
        const char *rule = json_string_value(json_object_get(one, "path"));

        if (rule && is_below(path, rule))
            return true;
    }
    return false;
}

/* What the VMM opens for a device, and the field that says so; at most two paths. */
struct opens {
    const char *field;
    const char *paths[2];
};

static struct opens opens_of(const struct vivi_device *d)
{
    const struct vivi_config *c = d->config;

    switch (d->kind) {
    case VIVI_DEV_DISK: return (struct opens){"path", {c->disks[d->index].path}};
    case VIVI_DEV_PMEM: return (struct opens){"path", {c->pmem[d->index].path}};
    case VIVI_DEV_VDPA: return (struct opens){"path", {c->vdpa[d->index].path}};
    case VIVI_DEV_VFIO: return (struct opens){"vfio", {CH_VFIO, CH_SYS_DEVICES}};
    case VIVI_DEV_NET:
        if (c->nets[d->index].type == VIVI_NET_TAP)
            return (struct opens){"tap", {CH_TUN, CH_SYS_NET}};
        break;
    case VIVI_DEV_SHARE: /* sockets are not opened */
    case VIVI_DEV_USER:
    case VIVI_DEV_VHOST_USER:
    case VIVI_DEV_VSOCK:
    case VIVI_DEV_COUNT_: break;
    }
    return (struct opens){NULL, {NULL}};
}

/* What keeps a device from being added that the VMM would only find out after a while, or tell in
 * other words. */
static int check_device(const struct ch_machine *m, const struct vivi_device *d, viv_error *err)
{
    const struct opens opens = opens_of(d);
    const json_t *body = ch_boot_body(m);
    char field[128];

    if (d->kind == VIVI_DEV_NET && d->config->nets[d->index].type == VIVI_NET_VHOST_USER && body &&
        !is_shared(json_object_get(body, "memory")))
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "other processes cannot map this run's memory (memory.shared)");
    for (size_t i = 0; i < ARRAY_SIZE(opens.paths) && opens.paths[i]; i++) {
        if (may_open(m, opens.paths[i]))
            continue;
        (void)snprintf(field, sizeof(field), "%s.%s.%s", vivi_device_kind_list(d->kind), d->id,
                       opens.field);
        (void)vivi_fail_field(err, VIV_E_DENIED, field,
                              "%s: this run of the VM may not open it (sandbox.allow)",
                              opens.paths[i]);
        vivi_hint(err, "add %s to sandbox.allow, and start the VM again",
                  opens.paths[1] ? "it" : "its directory");
        return -VIV_E_DENIED;
    }
    return 0;
}

/* ---- add ---- */

/* Its socket lies in the run directory, as the plan would have it. */
static json_t *body_of(const struct ch_machine *m, const struct vivi_device *d)
{
    return d->kind == VIVI_DEV_VSOCK ? ch_vsock_config(d->config)
                                     : ch_device_config(d, &m->version);
}

int ch_device_add(void *priv, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    json_t *body;
    int r = check_device(m, d, err);

    if (r < 0)
        return r;
    body = body_of(m, d);
    if (!body)
        return vivi_fail_oom(err);
    r = ch_http_send(&m->http,
                     &(struct ch_request){.verb = kinds[d->kind].add,
                                          .body = body,
                                          .fds = d->fds,
                                          .n_fds = d->n_fds,
                                          .tag = CH_T_ADD,
                                          .op = op},
                     err);
    json_decref(body);
    return r;
}

void ch_add_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                  const viv_error *err)
{
    viv_error why = err ? *err : (viv_error)VIV_ERROR_INIT;

    if (err && a && (a->status == 409 || ch_answer_blames(a, "is not unique")))
        why.code = VIV_E_EXISTS;
    ch_tell_done(m, op, err ? &why : NULL);
}

/* ---- remove ---- */

static struct ch_removal *removal_of(struct ch_machine *m, uint64_t op)
{
    for (size_t i = 0; i < CH_REMOVALS_MAX; i++)
        if (m->removals[i].op == op)
            return &m->removals[i];
    return NULL;
}

static void removal_done(struct ch_machine *m, struct ch_removal *r, const viv_error *err)
{
    uint64_t op = r->op;

    r->op = 0;
    ch_tell_done(m, op, err);
}

int ch_device_remove(void *priv, enum vivi_device_kind kind, const char *id, uint64_t op,
                     viv_error *err)
{
    struct ch_machine *m = priv;
    struct ch_removal *free_one = removal_of(m, 0);
    char name[CH_ID_BYTES];
    json_t *body;
    int r;

    if (!free_one)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: too many devices are leaving");
    ch_device_name(kind, id, name);
    body = json_pack("{s:s}", "id", name);
    if (!body)
        return vivi_fail_oom(err);
    r = ch_http_send(&m->http,
                     &(struct ch_request){
                         .verb = "vm.remove-device", .body = body, .tag = CH_T_REMOVE, .op = op},
                     err);
    json_decref(body);
    if (r < 0)
        return r;
    *free_one = (struct ch_removal){.op = op};
    (void)snprintf(free_one->name, sizeof(free_one->name), "%s", name);
    return 0;
}

void ch_remove_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                     const viv_error *err)
{
    struct ch_removal *r = removal_of(m, op);
    viv_error why = VIV_ERROR_INIT;

    if (!r || !err)
        return; /* it has left already; or the guest was asked, and the event is waited for */
    if (!a || !ch_answer_blames(a, "Failed to find device"))
        removal_done(m, r, err);
    else if (ch_get(m, "vm.info", CH_T_REMOVE_INFO, op, &why) < 0)
        removal_done(m, r, &why);
}

/* Whether the device is still there, although the configuration has lost it. */
void ch_remove_info(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err)
{
    struct ch_removal *r = removal_of(m, op);
    viv_error why = VIV_ERROR_INIT;
    json_t *doc;

    if (!r)
        return;
    if (err) {
        removal_done(m, r, err);
        return;
    }
    doc = json_loadb(a->body, a->body_len, 0, NULL);
    if (!json_object_get(json_object_get(doc, "device_tree"), r->name)) {
        (void)vivi_fail(&why, VIV_E_NOT_FOUND, "cloud-hypervisor: no device %s", r->name);
        removal_done(m, r, &why);
    }
    json_decref(doc);
}

void ch_device_left(struct ch_machine *m, const char *name)
{
    enum vivi_device_kind kind;
    const char *id;

    if (!kind_of(name, &kind, &id))
        return;
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DEVICE, .device_kind = kind, .id = id});
    for (size_t i = 0; i < CH_REMOVALS_MAX; i++)
        if (m->removals[i].op != 0 && strcmp(m->removals[i].name, name) == 0)
            removal_done(m, &m->removals[i], NULL);
}

void ch_hot_rebooted(struct ch_machine *m)
{
    for (size_t i = 0; i < CH_REMOVALS_MAX; i++) {
        char name[CH_ID_BYTES];

        if (m->removals[i].op == 0)
            continue;
        memcpy(name, m->removals[i].name, sizeof(name));
        ch_device_left(m, name); /* with all that wait for it */
    }
}

/* ---- counters ---- */

/* One number under another name; null where it is not counted. */
static void count(json_t *to, const char *key, const json_t *from, const char *name)
{
    double n = json_number_value(json_object_get(from, name));
    bool counted = json_is_number(json_object_get(from, name)) && n >= 0 && n < COUNT_MAX;

    (void)json_object_set_new(to, key, counted ? json_integer((json_int_t)n) : json_null());
}

static json_t *count_disk(const json_t *from)
{
    json_t *to = json_object();

    count(to, "read_bytes", from, "read_bytes");
    count(to, "written_bytes", from, "write_bytes");
    count(to, "reads", from, "read_ops");
    count(to, "writes", from, "write_ops");
    count(to, "flushes", from, "flush_ops");
    return to;
}

static json_t *count_net(const json_t *from)
{
    json_t *to = json_object();

    count(to, "rx_bytes", from, "rx_bytes");
    count(to, "tx_bytes", from, "tx_bytes");
    count(to, "rx_packets", from, "rx_frames");
    count(to, "tx_packets", from, "tx_frames");
    return to;
}

/* Numbers of 64 bits are among them (a latency of which nothing is known has all bits set), more
 * than jansson takes for an integer; as a double each is exact up to 2^53. */
static json_t *read_counters(const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, JSON_DECODE_INT_AS_REAL, NULL), *one;
    json_t *disks = json_object(), *nets = json_object();
    const char *name, *id;
    enum vivi_device_kind kind;

    json_object_foreach(doc, name, one)
    {
        if (!kind_of(name, &kind, &id))
            continue;
        if (kind == VIVI_DEV_DISK)
            (void)json_object_set_new(disks, id, count_disk(one));
        else if (kind == VIVI_DEV_NET)
            (void)json_object_set_new(nets, id, count_net(one));
    }
    json_decref(doc);
    return json_pack("{s:o, s:o}", "disks", disks, "nets", nets);
}

int ch_counters(void *priv, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    int r;

    if (m->counters_op)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: counters are being read");
    r = ch_get(m, "vm.counters", CH_T_COUNTERS, op, err);
    if (r == 0)
        m->counters_op = op;
    return r;
}

static void counters_done(struct ch_machine *m, const viv_error *err)
{
    uint64_t op = m->counters_op;
    json_t *value = m->counters;

    m->counters_op = 0;
    m->counters = NULL;
    if (op && !err)
        ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .value = value});
    else
        ch_tell_done(m, op, err);
    json_decref(value);
}

void ch_counters_reply(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    viv_error why = err ? *err : (viv_error)VIV_ERROR_INIT;

    if (!err) {
        m->counters = read_counters(a);
        if (!m->counters)
            (void)vivi_fail_oom(&why);
        else
            (void)ch_get(m, "vm.info", CH_T_COUNTERS_INFO, m->counters_op, &why);
    }
    if (why.code)
        counters_done(m, &why);
}

void ch_counters_info(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    uint64_t left = err ? 0 : ch_actual_memory(a);

    if (!err)
        (void)json_object_set_new(m->counters, "balloon_bytes",
                                  left ? json_integer((json_int_t)left) : json_null());
    counters_done(m, err);
}

void ch_hot_ended(struct ch_machine *m, const viv_error *why)
{
    for (size_t i = 0; i < CH_REMOVALS_MAX; i++)
        if (m->removals[i].op != 0)
            removal_done(m, &m->removals[i], why);
    ch_sizes_ended(m, why);
}

void ch_hot_done(struct ch_machine *m)
{
    ch_sizes_done(m);
    json_decref(m->counters);
}
