/*
 * Sizes of a running QEMU: CPUs, memory, balloon, disks; and its counters.
 *
 * Theory of operation. Each kind has one target; whatever happens (an answer, an event), the truth
 * is asked for again and the next step follows from the difference, so an operation that was cut
 * short, overtaken or repeated needs no care. CPUs change one at a time: the next one when the
 * guest has acknowledged the last (ACPI_DEVICE_OST). Memory is one virtio-mem device that the guest
 * fills and empties; the balloon takes from what it started with.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/disks.h"
#include "driver/qemu/hot.h"
#include "driver/qemu/qemu.h"

#define MEMORY_PATH   "/machine/peripheral/memory"
#define PERIPHERAL    "/machine/peripheral/"
#define BALLOON_SLACK (UINT64_C(1) << 20) /* what a guest may keep from being exact */

/* _OST status codes of ACPI: in progress, ejection in progress. */
#define OST_BUSY       0x80
#define OST_EJECTING   0x84
#define OST_SRC_INSERT 1
#define OST_SRC_EJECT  3

static void fail_all(struct qemu_hot *h, const char *key, const viv_error *err)
{
    qemu_hot_finish(h, key, err);
}

static void progress(struct qemu_hot *h, const char *key, uint64_t done, uint64_t total)
{
    struct vivi_driver_event e = {.kind = VIVI_EV_PROGRESS,
                                  .run = h->run,
                                  .text = "the guest changes it",
                                  .done = done,
                                  .total = total};

    for (size_t i = 0; i < VIVI_HOT_WAITS; i++) {
        const struct vivi_hot_wait *w = &h->waits.items[i];

        if (w->op == 0 || strcmp(w->key, key) != 0)
            continue;
        e.op = w->op;
        h->host->event(h->host->ctx, &e);
    }
}

/* Asks again how it is; if that cannot be sent, the end of the connection is told by itself. */
static void ask(struct qemu_hot *h, const char *command, json_t *args_consume, int tag)
{
    (void)qemu_hot_send(h, command, args_consume, tag, 0, NULL);
}

static uint64_t u64_of(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n > 0 ? (uint64_t)n : 0;
}

/* ---- CPUs ---- */

struct cpus {
    uint64_t there;
    const json_t *first_free, *last_removable; /* borrowed */
};

static uint64_t order_of(const json_t *cpu)
{
    const json_t *props = json_object_get(cpu, "props");

    return u64_of(props, "socket-id") << 32 | u64_of(props, "core-id") << 16 |
           u64_of(props, "thread-id");
}

static void survey(const json_t *list, struct cpus *ret)
{
    const char *path;

    *ret = (struct cpus){.there = 0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *cpu = json_array_get(list, i);

        path = json_string_value(json_object_get(cpu, "qom-path"));
        ret->there += path != NULL;
        if (!path && (!ret->first_free || order_of(cpu) < order_of(ret->first_free)))
            ret->first_free = cpu;
        if (path && strncmp(path, PERIPHERAL, strlen(PERIPHERAL)) == 0 &&
            (!ret->last_removable || order_of(cpu) > order_of(ret->last_removable)))
            ret->last_removable = cpu;
    }
}

static int add_cpu(struct qemu_hot *h, const json_t *cpu, viv_error *err)
{
    const char *type = json_string_value(json_object_get(cpu, "type"));
    json_t *args = json_object_get(cpu, "props") ? json_copy(json_object_get(cpu, "props")) : NULL;
    char id[32];

    (void)snprintf(id, sizeof(id), "cpu-%" PRIx64, order_of(cpu));
    (void)json_object_del(args, "node-id"); /* follows from the others */
    if (!args || !type || json_object_set_new(args, "driver", json_string(type)) < 0 ||
        json_object_set_new(args, "id", json_string(id)) < 0) {
        json_decref(args);
        return vivi_fail(err, VIV_E_PROTOCOL, "qemu: query-hotpluggable-cpus: not as expected");
    }
    return qemu_hot_send(h, "device_add", args, H_CPU_ACT, 0, err);
}

static int remove_cpu(struct qemu_hot *h, const json_t *cpu, viv_error *err)
{
    const char *path = json_string_value(json_object_get(cpu, "qom-path"));

    return qemu_hot_send(h, "device_del", json_pack("{s:s}", "id", path + strlen(PERIPHERAL)),
                         H_CPU_ACT, 0, err);
}

/* QEMU's emulation uses a CPU after it is gone and dies of it, at the latest when the next device
 * is unplugged (7.2); the guest's part may not be heard of, either. */
static int take_cpu(struct qemu_hot *h, const struct cpus *c, viv_error *err)
{
    if (h->emulated)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "an emulated CPU cannot be taken away");
    if (!c->last_removable)
        return vivi_fail(err, VIV_E_INVALID,
                         "the %" PRIu64 " CPUs that it started with stay while it runs", c->there);
    return remove_cpu(h, c->last_removable, err);
}

static void have_cpus(struct qemu_hot *h, const json_t *list)
{
    viv_error why = VIV_ERROR_INIT;
    struct cpus c;
    int r = 0;

    if (!vivi_hot_waits_for(&h->waits, "cpus"))
        return;
    survey(list, &c);
    if (c.there == h->cpus_to) {
        qemu_hot_finish(h, "cpus", NULL);
        return;
    }
    progress(h, "cpus", c.there, h->cpus_to);
    if (h->cpus_to > json_array_size(list))
        r = vivi_fail(&why, VIV_E_INVALID, "this run can have at most %zu CPUs",
                      json_array_size(list));
    else if (c.there < h->cpus_to)
        r = add_cpu(h, c.first_free, &why); /* the list is longer than what is there */
    else
        r = take_cpu(h, &c, &why);
    if (r < 0)
        fail_all(h, "cpus", &why);
}

static void cpu_event(struct qemu_hot *h, const json_t *info)
{
    const char *type = json_string_value(json_object_get(info, "slot-type"));
    uint64_t source = u64_of(info, "source"), status = u64_of(info, "status");
    viv_error why = VIV_ERROR_INIT;

    if (!type || strcmp(type, "CPU") != 0 || !vivi_hot_waits_for(&h->waits, "cpus") ||
        (source != OST_SRC_INSERT && source != OST_SRC_EJECT) || status == OST_BUSY ||
        (status == OST_EJECTING && source == OST_SRC_EJECT))
        return;
    if (status == 0) {
        ask(h, "query-hotpluggable-cpus", NULL, H_CPU_LIST);
        return;
    }
    (void)vivi_fail(&why, VIV_E_VMM, "the guest %s (ACPI status 0x%" PRIx64 ")",
                    source == OST_SRC_EJECT ? "does not give up a CPU" : "does not take a CPU",
                    status);
    fail_all(h, "cpus", &why);
}

/* ---- memory ---- */

static void set_memory(struct qemu_hot *h, const json_t *sum)
{
    uint64_t base = u64_of(sum, "base-memory"), most = h->config->memory_max_bytes;
    viv_error why = VIV_ERROR_INIT;
    char size[24];

    vivi_format_size(base, size);
    if (h->memory_to < base)
        (void)vivi_fail(&why, VIV_E_INVALID,
                        "the %s that it started with stay while it runs (take memory by balloon)",
                        size);
    else if ((h->memory_to - base) % QEMU_PAGE_BYTES != 0)
        (void)vivi_fail(&why, VIV_E_INVALID, "not a multiple of 2MiB above %s", size);
    else if (h->memory_to == base && most <= base)
        qemu_hot_finish(h, "memory", NULL); /* nothing can come, so nothing has */
    else if (qemu_hot_send(h, "qom-set",
                           json_pack("{s:s,s:s,s:I}", "path", MEMORY_PATH, "property",
                                     "requested-size", "value", (json_int_t)(h->memory_to - base)),
                           H_MEMORY_SET, 0, &why) == 0)
        h->memory_asked = h->memory_to - base;
    if (why.code)
        fail_all(h, "memory", &why);
}

/* An answer may be of a look from before our request: then the device has what an earlier one asked
 * for. */
static void have_memory(struct qemu_hot *h, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *data = json_object_get(json_array_get(list, i), "data");
        const char *id = json_string_value(json_object_get(data, "id"));

        if (!id || strcmp(id, "memory") != 0)
            continue;
        if (u64_of(data, "requested-size") != h->memory_asked)
            return;
        if (u64_of(data, "size") == h->memory_asked)
            qemu_hot_finish(h, "memory", NULL);
        else
            progress(h, "memory", u64_of(data, "size"), h->memory_asked);
        return;
    }
}

static void memory_reply(struct qemu_hot *h, int tag, const json_t *value, const viv_error *err)
{
    if (err)
        fail_all(h, "memory", err);
    else if (tag == H_MEMORY_SUM)
        set_memory(h, value);
    else if (tag == H_MEMORY_SET)
        ask(h, "query-memory-devices", NULL, H_MEMORY_LOOK);
    else
        have_memory(h, value);
}

/* ---- balloon ---- */

/* The balloon takes from what the guest started with; what was plugged is left to it in any case.
 */
static void set_balloon(struct qemu_hot *h, const json_t *sum)
{
    uint64_t base = u64_of(sum, "base-memory"), plugged = u64_of(sum, "plugged-memory");
    viv_error why = VIV_ERROR_INIT;

    if (h->balloon_to <= plugged) {
        (void)vivi_fail(&why, VIV_E_INVALID, "less than what was plugged while it runs");
        fail_all(h, "balloon", &why);
        return;
    }
    h->balloon_to = h->balloon_to - plugged > base ? base : h->balloon_to - plugged;
    if (qemu_hot_send(h, "balloon", json_pack("{s:I}", "value", (json_int_t)h->balloon_to),
                      H_BALLOON_SET, 0, &why) < 0)
        fail_all(h, "balloon", &why);
}

static void have_balloon(struct qemu_hot *h, uint64_t actual)
{
    uint64_t off = actual > h->balloon_to ? actual - h->balloon_to : h->balloon_to - actual;

    if (off < BALLOON_SLACK)
        qemu_hot_finish(h, "balloon", NULL);
    else
        progress(h, "balloon", actual, h->balloon_to);
}

static void balloon_reply(struct qemu_hot *h, int tag, const json_t *value, const viv_error *err)
{
    if (err)
        fail_all(h, "balloon", err);
    else if (tag == H_BALLOON_SUM)
        set_balloon(h, value);
    else if (tag == H_BALLOON_SET)
        ask(h, "query-balloon", NULL, H_BALLOON_LOOK);
    else
        have_balloon(h, u64_of(value, "actual"));
}

/* The guest gives its part as soon as it has a driver for it. */
void qemu_hot_start(struct qemu_hot *h)
{
    uint64_t left = h->config->balloon_bytes;

    if (left > 0 && left < h->config->memory_bytes)
        ask(h, "balloon", json_pack("{s:I}", "value", (json_int_t)left), H_BALLOON_FIRST);
}

/* ---- disks ---- */

static const json_t *find_node(const json_t *nodes, const char *name)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *is = json_string_value(json_object_get(node, "node-name"));

        if (is && strcmp(is, name) == 0)
            return node;
    }
    return NULL;
}

static void have_disk(struct qemu_hot *h, const json_t *nodes)
{
    const json_t *node = find_node(nodes, h->disk_node);
    uint64_t is = u64_of(json_object_get(node, "image"), "virtual-size");
    viv_error why = VIV_ERROR_INIT;
    char has[24];

    vivi_format_size(is, has);
    if (!node)
        (void)vivi_fail(&why, VIV_E_NOT_FOUND, "no such disk");
    else if (is == h->disk_to)
        qemu_hot_finish(h, "disk", NULL);
    else if (is > h->disk_to && !h->disk_cut)
        (void)vivi_fail(&why, VIV_E_INVALID, "less than the image has (%s); a disk only grows",
                        has);
    else
        (void)qemu_hot_send(
            h, "block_resize",
            json_pack("{s:s,s:I}", "node-name", h->disk_node, "size", (json_int_t)h->disk_to),
            H_DISK_SET, 0, &why);
    if (why.code)
        fail_all(h, "disk", &why);
}

static void disk_reply(struct qemu_hot *h, int tag, const json_t *value, const viv_error *err)
{
    if (err)
        fail_all(h, "disk", err);
    else if (tag == H_DISK_LOOK)
        have_disk(h, value);
    else
        qemu_hot_finish(h, "disk", NULL);
}

static int begin_disk(struct qemu_hot *h, const struct vivi_resize *what, viv_error *err)
{
    const struct vivi_disk *d = vivi_disk_find(h->config, what->id);

    if (!d)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such disk");
    (void)snprintf(h->disk_node, sizeof(h->disk_node), "disk%u", (unsigned)d->slot - 1);
    h->disk_to = what->to;
    h->disk_cut = what->cut;
    return qemu_hot_send(h, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), H_DISK_LOOK,
                         0, err);
}

/* ---- all sizes ---- */

int qemu_hot_resize(struct qemu_hot *h, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    int r = vivi_hot_wait(&h->waits, vivi_resize_kind_name(what->kind), op, err);

    if (r < 0)
        return r;
    switch (what->kind) {
    case VIVI_RESIZE_CPUS:
        h->cpus_to = what->to;
        r = qemu_hot_send(h, "query-kvm", NULL, H_CPU_ACCEL, 0, err);
        break;
    case VIVI_RESIZE_MEMORY:
        h->memory_to = what->to;
        h->memory_asked = UINT64_MAX;
        r = qemu_hot_send(h, "query-memory-size-summary", NULL, H_MEMORY_SUM, 0, err);
        break;
    case VIVI_RESIZE_BALLOON:
        h->balloon_to = what->to;
        r = qemu_hot_send(h, "query-memory-size-summary", NULL, H_BALLOON_SUM, 0, err);
        break;
    case VIVI_RESIZE_DISK: r = begin_disk(h, what, err); break;
    case VIVI_RESIZE_ZONE:
    case VIVI_RESIZE_COUNT_: r = vivi_fail(err, VIV_E_UNSUPPORTED, "no such size"); break;
    }
    if (r < 0)
        (void)vivi_hot_drop(&h->waits, op);
    return r;
}

/* ---- counters ---- */

static json_t *disk_counters(const json_t *stats)
{
    static const struct {
        const char *ours, *qemu;
    } rows[] = {{"read_bytes", "rd_bytes"},
                {"written_bytes", "wr_bytes"},
                {"reads", "rd_operations"},
                {"writes", "wr_operations"},
                {"flushes", "flush_operations"}};
    json_t *j = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        (void)json_object_set_new(j, rows[i].ours,
                                  json_integer((json_int_t)u64_of(stats, rows[i].qemu)));
    return j;
}

/* QEMU counts nothing for its NICs: null, rather than a zero that looks like silence. */
static void count_nets(struct qemu_hot *h, json_t *nets)
{
    static const char *const keys[] = {"rx_bytes", "tx_bytes", "rx_packets", "tx_packets"};

    for (size_t i = 0; i < h->config->n_nets; i++) {
        json_t *j = json_object();

        for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
            (void)json_object_set_new(j, keys[k], json_null());
        (void)json_object_set_new(nets, h->config->nets[i].id, j);
    }
}

static void have_blocks(struct qemu_hot *h, const json_t *list)
{
    json_t *disks = json_object(), *nets = json_object();

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const char *path = json_string_value(json_object_get(e, "qdev")), *id = NULL;
        size_t at;

        if (path && sscanf(path, PERIPHERAL "disk-%zu/", &at) == 1)
            id = qemu_hot_id(h, VIVI_DEV_DISK, at);
        if (id)
            (void)json_object_set_new(disks, id, disk_counters(json_object_get(e, "stats")));
    }
    count_nets(h, nets);
    json_decref(h->counted);
    h->counted = json_pack("{s:o,s:o,s:n}", "disks", disks, "nets", nets, "balloon_bytes");
}

static void count_over(struct qemu_hot *h, const viv_error *err)
{
    json_t *counted = h->counted;
    uint64_t op = h->count_op;

    h->count_op = 0;
    h->counted = NULL;
    qemu_hot_tell(h, op, err, err ? NULL : counted);
    json_decref(counted);
}

/* A guest without the driver of a balloon has all its memory: null. */
static void count_reply(struct qemu_hot *h, int tag, const json_t *value, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    if (!h->count_op)
        return;
    if (tag == H_COUNT_BLOCKS && !err) {
        have_blocks(h, value);
        if (!h->counted)
            (void)vivi_fail_oom(&why);
        else
            (void)qemu_hot_send(h, "query-balloon", NULL, H_COUNT_BALLOON, 0, &why);
        if (why.code)
            count_over(h, &why);
        return;
    }
    if (tag == H_COUNT_BALLOON && !err)
        (void)json_object_set_new(h->counted, "balloon_bytes",
                                  json_integer((json_int_t)u64_of(value, "actual")));
    count_over(h, tag == H_COUNT_BLOCKS || (err && err->code != VIV_E_VMM) ? err : NULL);
}

int qemu_hot_counters(struct qemu_hot *h, uint64_t op, viv_error *err)
{
    int r;

    if (h->count_op)
        return vivi_fail(err, VIV_E_BUSY, "qemu: its counters are being read");
    r = qemu_hot_send(h, "query-blockstats", NULL, H_COUNT_BLOCKS, 0, err);
    if (r == 0)
        h->count_op = op;
    return r;
}

/* ---- what comes in ---- */

static void cpus_reply(struct qemu_hot *h, int tag, const json_t *value, const viv_error *err)
{
    if (tag == H_CPU_ACCEL && !err) {
        h->emulated = !json_is_true(json_object_get(value, "enabled"));
        ask(h, "query-hotpluggable-cpus", NULL, H_CPU_LIST);
    } else if (tag == H_CPU_LIST && !err) {
        have_cpus(h, value);
    } else if (err && !strstr(err->message, "in the process of unplug")) {
        fail_all(h, "cpus", err);
    }
}

void qemu_hot_sizes_reply(struct qemu_hot *h, int tag, uint64_t op, const json_t *value,
                          const viv_error *err)
{
    (void)op;
    switch (tag) {
    case H_CPU_ACCEL:
    case H_CPU_LIST:
    case H_CPU_ACT: cpus_reply(h, tag, value, err); return;
    case H_MEMORY_SUM:
    case H_MEMORY_SET:
    case H_MEMORY_LOOK: memory_reply(h, tag, value, err); return;
    case H_BALLOON_SUM:
    case H_BALLOON_SET:
    case H_BALLOON_LOOK: balloon_reply(h, tag, value, err); return;
    case H_DISK_LOOK:
    case H_DISK_SET: disk_reply(h, tag, value, err); return;
    case H_COUNT_BLOCKS:
    case H_COUNT_BALLOON: count_reply(h, tag, value, err); return;
    default: return;
    }
}

void qemu_hot_sizes_event(struct qemu_hot *h, const struct qmp_message *msg)
{
    if (strcmp(msg->event, "ACPI_DEVICE_OST") == 0)
        cpu_event(h, json_object_get(msg->body, "info"));
    else if (strcmp(msg->event, "MEMORY_DEVICE_SIZE_CHANGE") == 0 &&
             vivi_hot_waits_for(&h->waits, "memory"))
        ask(h, "query-memory-devices", NULL, H_MEMORY_LOOK);
    else if (strcmp(msg->event, "BALLOON_CHANGE") == 0 && vivi_hot_waits_for(&h->waits, "balloon"))
        ask(h, "query-balloon", NULL, H_BALLOON_LOOK);
}

void qemu_hot_sizes_end(struct qemu_hot *h, const viv_error *err)
{
    if (h->count_op)
        count_over(h, err);
}
