/*
 * Disks and NICs that come and go under QEMU.
 *
 * Theory of operation. A device stands on back ends: a disk on two block nodes (file, format), a
 * NIC on a network. Its place in the configuration names all of them: disk-3 on disk3 on
 * disk3-file, behind disk-port-3; so nothing has to be remembered, and a new monitor finds
 * everything again by name. Adding makes the back ends, then the device, and unmakes them if it is
 * refused; what an earlier attempt left is swept away first. Removing asks the guest (device_del);
 * only DEVICE_DELETED says that it has let go, which may be long after, or without being asked:
 * then the back ends go, and DEVICE is told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/qemu/hot.h"
#include "driver/qemu/qemu.h"
#include "model/slots.h"

#define NAME_BYTES 24

/* ---- names ---- */

static void device_name(enum vivi_device_kind kind, size_t at, char ret[NAME_BYTES])
{
    (void)snprintf(ret, NAME_BYTES, kind == VIVI_DEV_DISK ? "disk-%zu" : "nic-%zu", at);
}

static bool parse_device_name(const char *name, enum vivi_device_kind *ret_kind, size_t *ret_at)
{
    char again[NAME_BYTES];
    size_t at;

    if (sscanf(name, "disk-%zu", &at) == 1)
        *ret_kind = VIVI_DEV_DISK;
    else if (sscanf(name, "nic-%zu", &at) == 1)
        *ret_kind = VIVI_DEV_NET;
    else
        return false;
    *ret_at = at;
    device_name(*ret_kind, at, again);
    return strcmp(again, name) == 0;
}

const char *qemu_hot_id(const struct qemu_hot *h, enum vivi_device_kind kind, size_t at)
{
    const struct vivi_config *c = h->config;

    for (size_t i = 0; kind == VIVI_DEV_DISK && i < c->n_disks; i++)
        if (c->disks[i].slot == at + 1)
            return c->disks[i].id;
    for (size_t i = 0; kind == VIVI_DEV_NET && i < c->n_nets; i++)
        if (c->nets[i].slot == at + 1)
            return c->nets[i].id;
    return NULL;
}

/* ---- sending and telling ---- */

int qemu_hot_send(struct qemu_hot *h, const char *command, json_t *args_consume, int tag,
                  uint64_t op, viv_error *err)
{
    return qmp_send(h->qmp, command, args_consume, tag, op, err);
}

void qemu_hot_tell(struct qemu_hot *h, uint64_t op, const viv_error *err, const json_t *value)
{
    const struct vivi_driver_event e = {
        .kind = VIVI_EV_DONE, .run = h->run, .op = op, .err = err, .value = value};

    if (op)
        h->host->event(h->host->ctx, &e);
}

void qemu_hot_finish(struct qemu_hot *h, const char *key, const viv_error *err)
{
    uint64_t op;

    while ((op = vivi_hot_take(&h->waits, key)) != 0)
        qemu_hot_tell(h, op, err, NULL);
}

/* Takes away what a device stood on; the last command has the tag. What is not there is an error
 * that nobody minds. < 0: not even sent. */
static int remove_backs(struct qemu_hot *h, enum vivi_device_kind kind, size_t at, int tag,
                        uint64_t op)
{
    char name[NAME_BYTES];

    if (kind == VIVI_DEV_NET) {
        (void)snprintf(name, sizeof(name), "net%zu", at);
        return qemu_hot_send(h, "netdev_del", json_pack("{s:s}", "id", name), tag, op, NULL);
    }
    (void)snprintf(name, sizeof(name), "disk%zu", at);
    (void)qemu_hot_send(h, "blockdev-del", json_pack("{s:s}", "node-name", name), H_CLEAN, 0, NULL);
    (void)snprintf(name, sizeof(name), "disk%zu-file", at);
    return qemu_hot_send(h, "blockdev-del", json_pack("{s:s}", "node-name", name), tag, op, NULL);
}

/* ---- adding ---- */

static json_t *file_node(const struct vivi_disk *d, const char *node)
{
    struct stat st;
    bool block = stat(d->path, &st) == 0 && S_ISBLK(st.st_mode);

    return json_pack("{s:s,s:s,s:b,s:b,s:s,s:s,s:s}", "driver", block ? "host_device" : "file",
                     "node-name", node, "read-only", d->readonly, "auto-read-only", 0, "locking",
                     "auto", "discard", "unmap", "filename", d->path);
}

static void describe_disk(struct qemu_hot_add *a, const struct vivi_disk *d)
{
    char node[NAME_BYTES], file[NAME_BYTES], name[NAME_BYTES], port[NAME_BYTES];

    (void)snprintf(node, sizeof(node), "disk%zu", a->at);
    (void)snprintf(file, sizeof(file), "disk%zu-file", a->at);
    (void)snprintf(port, sizeof(port), "disk-port-%zu", a->at);
    device_name(a->kind, a->at, name);
    a->n_back = 2;
    a->back[0] = file_node(d, file);
    a->back[1] = json_pack("{s:s,s:s,s:b,s:s,s:s}", "driver", "raw", "node-name", node, "read-only",
                           d->readonly, "discard", "unmap", "file", file);
    a->device = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "driver", "virtio-blk-pci", "id", name,
                          "bus", port, "disable-legacy", "on", "drive", node, "serial", d->id);
}

static json_t *forward_list(const struct vivi_net *n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n->n_forwards; i++) {
        const struct vivi_forward *f = &n->forwards[i];
        char text[100];

        (void)snprintf(text, sizeof(text), "%s:%s:%u-:%u", f->udp ? "udp" : "tcp", f->host_ip,
                       (unsigned)f->host_port, (unsigned)f->guest_port);
        (void)json_array_append_new(list, json_pack("{s:s}", "str", text));
    }
    return list;
}

static void describe_net(struct qemu_hot_add *a, const struct vivi_net *n, const char *uuid)
{
    char net[NAME_BYTES], name[NAME_BYTES], port[NAME_BYTES], subnet[32], mac[18];

    (void)snprintf(net, sizeof(net), "net%zu", a->at);
    (void)snprintf(port, sizeof(port), "net-port-%zu", a->at);
    (void)snprintf(subnet, sizeof(subnet), "10.0.%zu.0/24", 2 + a->at);
    device_name(a->kind, a->at, name);
    qemu_mac(n, uuid, mac);
    a->n_back = 1;
    a->back[0] = json_pack("{s:s,s:s,s:s,s:o}", "type", "user", "id", net, "net", subnet, "hostfwd",
                           forward_list(n));
    a->device =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "driver", "virtio-net-pci", "id", name, "bus",
                  port, "disable-legacy", "on", "romfile", "", "netdev", net, "mac", mac);
}

static void add_over(struct qemu_hot *h, const viv_error *err)
{
    struct qemu_hot_add a = h->add;

    h->add = (struct qemu_hot_add){.op = 0};
    for (size_t i = 0; i < QEMU_HOT_BACKS; i++)
        json_decref(a.back[i]);
    json_decref(a.device);
    qemu_hot_tell(h, a.op, err, NULL);
}

/* Refused: what was made is unmade first. */
static void add_failed(struct qemu_hot *h, const viv_error *err)
{
    struct qemu_hot_add *a = &h->add;

    a->why = *err;
    if (strstr(err->message, "Bus '"))
        (void)vivi_fail(&a->why, VIV_E_WRONG_STATE,
                        "no free place in this run; after its next start there are more");
    if (a->made == 0 || remove_backs(h, a->kind, a->at, H_ADD_UNDONE, 0) < 0) {
        viv_error why = a->why;

        add_over(h, &why);
    }
}

static void add_next(struct qemu_hot *h)
{
    struct qemu_hot_add *a = &h->add;
    bool back = a->made < a->n_back;
    viv_error why = VIV_ERROR_INIT;
    const char *command = !back                     ? "device_add"
                          : a->kind == VIVI_DEV_NET ? "netdev_add"
                                                    : "blockdev-add";

    if (qemu_hot_send(h, command, json_incref(back ? a->back[a->made] : a->device),
                      back ? H_ADD_BACK : H_ADD_DEVICE, a->op, &why) < 0)
        add_failed(h, &why);
}

static void add_reply(struct qemu_hot *h, int tag, const viv_error *err)
{
    struct qemu_hot_add *a = &h->add;
    viv_error why = VIV_ERROR_INIT;

    if (!a->op)
        return;
    if (tag == H_ADD_LOOK && err && err->code == VIV_E_VMM) { /* it is not there: as it should be */
        (void)remove_backs(h, a->kind, a->at, H_CLEAN, 0);
        add_next(h);
    } else if (tag == H_ADD_LOOK && !err) {
        (void)vivi_fail(&why, VIV_E_EXISTS, "qemu: such a device is there");
        add_over(h, &why);
    } else if (tag == H_ADD_UNDONE) {
        why = a->why;
        add_over(h, &why);
    } else if (err) {
        add_failed(h, err);
    } else if (tag == H_ADD_BACK) {
        a->made++;
        add_next(h);
    } else {
        add_over(h, NULL);
    }
}

int qemu_hot_add(struct qemu_hot *h, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    struct qemu_hot_add *a = &h->add;
    char path[64], name[NAME_BYTES];
    int r;

    if (a->op)
        return vivi_fail(err, VIV_E_BUSY, "qemu: a device is being added");
    *a = (struct qemu_hot_add){.op = op, .kind = d->kind};
    if (d->kind == VIVI_DEV_DISK) {
        a->at = d->config->disks[d->index].slot - 1;
        describe_disk(a, &d->config->disks[d->index]);
    } else {
        a->at = d->config->nets[d->index].slot - 1;
        describe_net(a, &d->config->nets[d->index], d->uuid);
    }
    device_name(a->kind, a->at, name);
    (void)snprintf(path, sizeof(path), "/machine/peripheral/%s", name);
    r = a->device && a->back[0] && (a->n_back == 1 || a->back[1])
            ? qemu_hot_send(h, "qom-list", json_pack("{s:s}", "path", path), H_ADD_LOOK, op, err)
            : vivi_fail_oom(err);
    if (r < 0) {
        a->op = 0; /* refused: nothing is told */
        add_over(h, NULL);
    }
    return r;
}

/* ---- removing ---- */

static const char *key_of(const struct qemu_hot *h, uint64_t op)
{
    for (size_t i = 0; i < VIVI_HOT_WAITS; i++)
        if (op != 0 && h->waits.items[i].op == op)
            return h->waits.items[i].key;
    return NULL;
}

static void remove_reply(struct qemu_hot *h, uint64_t op, const viv_error *err)
{
    const char *key = key_of(h, op);
    char name[VIVI_HOT_KEY_BYTES];
    enum vivi_device_kind kind;
    viv_error why = VIV_ERROR_INIT;
    size_t at;

    /* "already in the process of unplug": the guest has been asked before. */
    if (!err || !key || strstr(err->message, "in the process of unplug"))
        return;
    (void)snprintf(name, sizeof(name), "%s", key);
    why = *err;
    if (strstr(err->message, "not found")) {
        (void)vivi_fail(&why, VIV_E_NOT_FOUND, "qemu: no such device");
        if (parse_device_name(name, &kind, &at)) /* it left while nobody watched */
            (void)remove_backs(h, kind, at, H_CLEAN, 0);
    }
    qemu_hot_finish(h, name, &why);
}

int qemu_hot_remove(struct qemu_hot *h, enum vivi_device_kind kind, const char *id, uint64_t op,
                    viv_error *err)
{
    char name[NAME_BYTES];
    uint32_t slot = vivi_slot_of(h->config, kind, id);
    int r;

    if (slot == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such device");
    device_name(kind, slot - 1, name);
    r = vivi_hot_wait(&h->waits, name, op, err);
    if (r < 0)
        return r;
    r = qemu_hot_send(h, "device_del", json_pack("{s:s}", "id", name), H_REMOVE, op, err);
    if (r < 0)
        (void)vivi_hot_drop(&h->waits, op);
    return r;
}

/* Its back ends are gone as well. */
static void gone(struct qemu_hot *h, enum vivi_device_kind kind, size_t at)
{
    const char *id = qemu_hot_id(h, kind, at);
    char name[NAME_BYTES];
    const struct vivi_driver_event e = {
        .kind = VIVI_EV_DEVICE, .run = h->run, .device_kind = kind, .id = id};

    if (id)
        h->host->event(h->host->ctx, &e);
    device_name(kind, at, name);
    qemu_hot_finish(h, name, NULL);
}

/* op of H_GONE: the device. */
static uint64_t pack_device(enum vivi_device_kind kind, size_t at)
{
    return (uint64_t)kind << 32 | at;
}

static void on_deleted(struct qemu_hot *h, const char *name)
{
    enum vivi_device_kind kind;
    size_t at;

    if (parse_device_name(name, &kind, &at) &&
        remove_backs(h, kind, at, H_GONE, pack_device(kind, at)) < 0)
        gone(h, kind, at);
}

static void on_kept(struct qemu_hot *h, const char *name)
{
    viv_error why = VIV_ERROR_INIT;

    (void)vivi_fail(&why, VIV_E_VMM, "the guest does not let go of it");
    qemu_hot_finish(h, name, &why);
}

/* ---- what comes in ---- */

void qemu_hot_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                    const viv_error *err)
{
    switch (tag) {
    case H_ADD_LOOK:
    case H_ADD_BACK:
    case H_ADD_DEVICE:
    case H_ADD_UNDONE: add_reply(h, tag, err); return;
    case H_REMOVE: remove_reply(h, op, err); return;
    case H_GONE:
        if (!err || err->code == VIV_E_VMM)
            gone(h, (enum vivi_device_kind)(op >> 32), (size_t)(op & UINT32_MAX));
        return;
    case H_CLEAN: return;
    case H_RAW:
    case H_NMI:
    case H_COREDUMP: qemu_calls_reply(h, tag, op, value, err); return;
    default: qemu_hot_sizes_reply(h, tag, op, value, err); return;
    }
}

void qemu_hot_event(struct qemu_hot *h, const struct qmp_message *msg)
{
    const char *device = json_string_value(json_object_get(msg->body, "device"));

    if (device && strcmp(msg->event, "DEVICE_DELETED") == 0)
        on_deleted(h, device);
    else if (device && (strcmp(msg->event, "DEVICE_UNPLUG_GUEST_ERROR") == 0 ||
                        strcmp(msg->event, "MEM_UNPLUG_ERROR") == 0))
        on_kept(h, device);
    qemu_hot_sizes_event(h, msg);
    qemu_calls_event(h, msg);
}

void qemu_hot_begin(struct qemu_hot *h, struct qmp *qmp, const struct vivi_machine_start *s)
{
    *h = (struct qemu_hot){.host = s->host, .qmp = qmp, .config = s->config, .run = s->run};
}

void qemu_hot_end(struct qemu_hot *h, const viv_error *err)
{
    if (h->add.op)
        add_over(h, err);
    qemu_hot_sizes_end(h, err);
    qemu_calls_end(h, err);
    qemu_hot_finish(h, NULL, err);
}

void qemu_hot_done(struct qemu_hot *h)
{
    for (size_t i = 0; i < QEMU_HOT_BACKS; i++)
        json_decref(h->add.back[i]);
    json_decref(h->add.device);
    json_decref(h->counted);
    memset(h, 0, sizeof(*h));
}
