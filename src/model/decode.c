/*
 * The typed form of a completed document. One row per field of the table says where it goes; a test
 * sees to it that no field is forgotten. The document may come from a file that somebody edited, so
 * every value is looked at again.
 */
#include "model/canon.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/decode.h"

#define AT(type, member) offsetof(struct type, member)

static const char *const ready_words[] = {"auto", "marker", "agent", "tcp:PORT", "none"};
static const char *const agent_words[] = {"auto", "on", "off"};
static const char *const restart_words[] = {"never", "on-failure", "always"};
static const char *const net_words[] = {"nat", "tap", "fd", "vhost-user"};
static const char *const format_words[] = {"raw", "qcow2", "vhd", "vhdx"};
static const char *const cache_words[] = {"auto", "none"};
static const char *const hotplug_words[] = {"virtio-mem", "acpi"};
static const char *const offload_words[] = {"all", "checksum", "none"};
static const char *const ch_mode_words[] = {"api", "cli"};
static const char *const switch_words[] = {"auto", "on", "off"};
static const char *const driver_words[] = {"auto", "cloud-hypervisor", "vz", "qemu", "fake"};
static const char *const accel_words[] = {"auto", "kvm", "tcg", "hvf", "none"};

#define WORDS(w) .words = (w), .n_words = ARRAY_SIZE(w)
#define LIST(type, member)                     \
    VIVI_DECODE_LIST, AT(vivi_config, member), \
        .shape = {AT(vivi_config, n_##member), sizeof(struct type)}

const struct vivi_decode_row vivi_decode_rows[] = {
    {"name", VIVI_DECODE_STRING, AT(vivi_config, name)},
    {"driver", VIVI_DECODE_WORD, AT(vivi_config, driver), WORDS(driver_words)},
    {"machine", VIVI_DECODE_STRING, AT(vivi_config, machine)},
    {"accel", VIVI_DECODE_WORD, AT(vivi_config, accel), WORDS(accel_words)},
    {"vmm.path", VIVI_DECODE_STRING, AT(vivi_config, vmm_path)},
    {"labels", VIVI_DECODE_NOTHING, 0},
    {"boot.kernel", VIVI_DECODE_STRING, AT(vivi_config, kernel)},
    {"boot.initramfs", VIVI_DECODE_STRING, AT(vivi_config, initramfs)},
    {"boot.cmdline", VIVI_DECODE_STRING, AT(vivi_config, cmdline)},
    {"boot.firmware", VIVI_DECODE_STRING, AT(vivi_config, firmware)},
    {"cpus.count", VIVI_DECODE_U32, AT(vivi_config, cpus)},
    {"cpus.max", VIVI_DECODE_U32, AT(vivi_config, cpus_max)},
    {"cpus.topology.threads", VIVI_DECODE_U32, AT(vivi_config, topology.threads)},
    {"cpus.topology.cores", VIVI_DECODE_U32, AT(vivi_config, topology.cores)},
    {"cpus.topology.dies", VIVI_DECODE_U32, AT(vivi_config, topology.dies)},
    {"cpus.topology.packages", VIVI_DECODE_U32, AT(vivi_config, topology.packages)},
    {"cpus.affinity", VIVI_DECODE_STRINGS, AT(vivi_config, affinity)},
    {"cpus.nested", VIVI_DECODE_WORD, AT(vivi_config, nested), WORDS(switch_words)},
    {"memory.size", VIVI_DECODE_I64, AT(vivi_config, memory_bytes)},
    {"memory.max", VIVI_DECODE_I64, AT(vivi_config, memory_max_bytes)},
    {"memory.hotplug", VIVI_DECODE_WORD, AT(vivi_config, memory_hotplug), WORDS(hotplug_words)},
    {"memory.balloon", VIVI_DECODE_I64, AT(vivi_config, balloon_bytes)},
    {"memory.hugepages", VIVI_DECODE_I64, AT(vivi_config, hugepage_bytes)},
    {"memory.shared", VIVI_DECODE_WORD, AT(vivi_config, shared), WORDS(switch_words)},
    {"memory.zones", LIST(vivi_zone, zones)},
    {"memory.zones.*.id", VIVI_DECODE_STRING, AT(vivi_zone, id)},
    {"memory.zones.*.size", VIVI_DECODE_I64, AT(vivi_zone, size_bytes)},
    {"memory.zones.*.max", VIVI_DECODE_I64, AT(vivi_zone, max_bytes)},
    {"memory.zones.*.cpus", VIVI_DECODE_STRINGS, AT(vivi_zone, cpus)},
    {"memory.zones.*.distances", VIVI_DECODE_STRINGS, AT(vivi_zone, distances)},
    {"memory.zones.*.host_node", VIVI_DECODE_U32_1, AT(vivi_zone, host_node_1)},
    {"disk_limits", LIST(vivi_disk_limit, disk_limits)},
    {"disk_limits.*.id", VIVI_DECODE_STRING, AT(vivi_disk_limit, id)},
    {"disk_limits.*.bandwidth", VIVI_DECODE_I64, AT(vivi_disk_limit, limit.bandwidth_bytes)},
    {"disk_limits.*.ops", VIVI_DECODE_U32, AT(vivi_disk_limit, limit.ops)},
    {"disks", VIVI_DECODE_DISKS, 0},
    {"disks.*.id", VIVI_DECODE_STRING, AT(vivi_disk, id)},
    {"disks.*.path", VIVI_DECODE_STRING, AT(vivi_disk, path)},
    {"disks.*.readonly", VIVI_DECODE_BOOL, AT(vivi_disk, readonly)},
    {"disks.*.size", VIVI_DECODE_I64, AT(vivi_disk, size_bytes)},
    {"disks.*.slot", VIVI_DECODE_U32, AT(vivi_disk, slot)},
    {"disks.*.format", VIVI_DECODE_WORD, AT(vivi_disk, format), WORDS(format_words)},
    {"disks.*.cache", VIVI_DECODE_WORD, AT(vivi_disk, cache), WORDS(cache_words)},
    {"disks.*.limit.bandwidth", VIVI_DECODE_I64, AT(vivi_disk, limit.bandwidth_bytes)},
    {"disks.*.limit.ops", VIVI_DECODE_U32, AT(vivi_disk, limit.ops)},
    {"disks.*.limit.group", VIVI_DECODE_STRING, AT(vivi_disk, limit_group)},
    {"disks.*.backing", VIVI_DECODE_BOOL, AT(vivi_disk, backing)},
    {"nets", VIVI_DECODE_NETS, 0},
    {"nets.*.id", VIVI_DECODE_STRING, AT(vivi_net, id)},
    {"nets.*.type", VIVI_DECODE_WORD, AT(vivi_net, type), WORDS(net_words)},
    {"nets.*.tap", VIVI_DECODE_STRING, AT(vivi_net, tap)},
    {"nets.*.fd", VIVI_DECODE_U32, AT(vivi_net, fd)},
    {"nets.*.slot", VIVI_DECODE_U32, AT(vivi_net, slot)},
    {"nets.*.socket", VIVI_DECODE_STRING, AT(vivi_net, socket)},
    {"nets.*.mtu", VIVI_DECODE_U32, AT(vivi_net, mtu)},
    {"nets.*.queues", VIVI_DECODE_U32, AT(vivi_net, queues)},
    {"nets.*.limit.bandwidth", VIVI_DECODE_I64, AT(vivi_net, limit.bandwidth_bytes)},
    {"nets.*.limit.ops", VIVI_DECODE_U32, AT(vivi_net, limit.ops)},
    {"nets.*.offload", VIVI_DECODE_WORD, AT(vivi_net, offload), WORDS(offload_words)},
    {"nets.*.mac", VIVI_DECODE_MAC, AT(vivi_net, mac)},
    {"nets.*.forward", VIVI_DECODE_FORWARDS, 0},
    {"shares", LIST(vivi_share, shares)},
    {"shares.*.id", VIVI_DECODE_STRING, AT(vivi_share, id)},
    {"shares.*.socket", VIVI_DECODE_STRING, AT(vivi_share, socket)},
    {"shares.*.tag", VIVI_DECODE_STRING, AT(vivi_share, tag)},
    {"pmem", LIST(vivi_pmem, pmem)},
    {"pmem.*.id", VIVI_DECODE_STRING, AT(vivi_pmem, id)},
    {"pmem.*.path", VIVI_DECODE_STRING, AT(vivi_pmem, path)},
    {"pmem.*.discard", VIVI_DECODE_BOOL, AT(vivi_pmem, discard)},
    {"vdpa", LIST(vivi_vdpa, vdpa)},
    {"vdpa.*.id", VIVI_DECODE_STRING, AT(vivi_vdpa, id)},
    {"vdpa.*.path", VIVI_DECODE_STRING, AT(vivi_vdpa, path)},
    {"vdpa.*.queues", VIVI_DECODE_U32, AT(vivi_vdpa, queues)},
    {"devices", LIST(vivi_pci, devices)},
    {"devices.*.id", VIVI_DECODE_STRING, AT(vivi_pci, id)},
    {"devices.*.vfio", VIVI_DECODE_STRING, AT(vivi_pci, vfio)},
    {"user_devices", LIST(vivi_user_device, user_devices)},
    {"user_devices.*.id", VIVI_DECODE_STRING, AT(vivi_user_device, id)},
    {"user_devices.*.socket", VIVI_DECODE_STRING, AT(vivi_user_device, socket)},
    {"vhost_user", LIST(vivi_vhost_user, vhost_user)},
    {"vhost_user.*.id", VIVI_DECODE_STRING, AT(vivi_vhost_user, id)},
    {"vhost_user.*.socket", VIVI_DECODE_STRING, AT(vivi_vhost_user, socket)},
    {"vhost_user.*.device", VIVI_DECODE_U32, AT(vivi_vhost_user, device)},
    {"vhost_user.*.queues", VIVI_DECODE_U32, AT(vivi_vhost_user, queues)},
    {"vhost_user.*.queue_size", VIVI_DECODE_U32, AT(vivi_vhost_user, queue_size)},
    {"vsock.cid", VIVI_DECODE_U32, AT(vivi_config, vsock_cid)},
    {"tpm.socket", VIVI_DECODE_STRING, AT(vivi_config, tpm_socket)},
    {"watchdog.enabled", VIVI_DECODE_BOOL, AT(vivi_config, watchdog)},
    {"serial.log", VIVI_DECODE_NOTHING, 0},
    {"serial.log_limit", VIVI_DECODE_I64, AT(vivi_config, serial_log_limit_bytes)},
    {"agent.enabled", VIVI_DECODE_WORD, AT(vivi_config, agent), WORDS(agent_words)},
    {"agent.sync_clock", VIVI_DECODE_BOOL, AT(vivi_config, sync_clock)},
    {"sandbox.allow", VIVI_DECODE_STRINGS, AT(vivi_config, allow)},
    {"sandbox.landlock", VIVI_DECODE_WORD, AT(vivi_config, landlock), WORDS(switch_words)},
    {"cloud_hypervisor.mode", VIVI_DECODE_WORD, AT(vivi_config, ch_mode), WORDS(ch_mode_words)},
    {"ready.by", VIVI_DECODE_READY, AT(vivi_config, ready_by), WORDS(ready_words)},
    {"ready.timeout", VIVI_DECODE_I64, AT(vivi_config, ready_timeout_ms)},
    {"stop.timeout", VIVI_DECODE_I64, AT(vivi_config, stop_timeout_ms)},
    {"restart.policy", VIVI_DECODE_WORD, AT(vivi_config, restart), WORDS(restart_words)},
    {"restart.backoff", VIVI_DECODE_I64, AT(vivi_config, restart_backoff_ms)},
    {"fake.script", VIVI_DECODE_STRING, AT(vivi_config, fake_script)},
};
const size_t vivi_decode_rows_count = ARRAY_SIZE(vivi_decode_rows);

const char *vivi_driver_name(enum vivi_driver_kind d)
{
    return (unsigned)d < ARRAY_SIZE(driver_words) ? driver_words[d] : "unknown";
}

int vivi_driver_parse(const char *s, enum vivi_driver_kind *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(driver_words); i++)
        if (strcmp(driver_words[i], s) == 0) {
            *ret = (enum vivi_driver_kind)i;
            return 0;
        }
    return -VIV_E_INVALID;
}

const char *vivi_accel_name(enum vivi_accel a)
{
    return (unsigned)a < ARRAY_SIZE(accel_words) ? accel_words[a] : "unknown";
}

/* ---- one value ---- */

static int wrong_type(const char *path, const char *wanted, viv_error *err)
{
    return vivi_fail_field(err, VIV_E_INVALID, path, "must be %s", wanted);
}

static int decode_string(const json_t *v, const char *path, void *to, viv_error *err)
{
    char *copy;

    if (!v)
        return 0;
    if (!json_is_string(v))
        return wrong_type(path, "a string", err);
    copy = strdup(json_string_value(v));
    if (!copy)
        return vivi_fail_oom(err);
    memcpy(to, &copy, sizeof(copy));
    return 0;
}

static int decode_number(const struct vivi_decode_row *row, const json_t *v, const char *path,
                         void *to, viv_error *err)
{
    const struct vivi_field *f = vivi_field_find(row->path);
    int64_t n = json_integer_value(v);
    uint32_t small = (uint32_t)n;

    if (!v && !f->def)
        return 0;
    if (!json_is_integer(v))
        return wrong_type(path, "a whole number", err);
    if ((f->min != 0 || f->max != 0) && (n < f->min || n > f->max))
        return vivi_fail_field(err, VIV_E_INVALID, path, "%" JSON_INTEGER_FORMAT " is out of range",
                               (json_int_t)n);
    small += row->how == VIVI_DECODE_U32_1;
    if (row->how == VIVI_DECODE_U32 || row->how == VIVI_DECODE_U32_1)
        memcpy(to, &small, sizeof(small));
    else
        memcpy(to, &n, sizeof(n));
    return 0;
}

static int decode_word(const struct vivi_decode_row *row, const json_t *v, const char *path,
                       void *to, viv_error *err)
{
    const char *s = json_string_value(v);
    char shown[VIVI_SHOWN_SIZE];

    if (!s)
        return wrong_type(path, "a word", err);
    for (size_t i = 0; i < row->n_words; i++)
        if (strcmp(row->words[i], s) == 0) {
            unsigned value = (unsigned)i; /* enums that hold no negative value are unsigned */

            memcpy(to, &value, sizeof(value));
            return 0;
        }
    return vivi_fail_field(err, VIV_E_INVALID, path, "%s is not known here", vivi_show(s, shown));
}

static int decode_mac(const json_t *v, const char *path, char *to, viv_error *err)
{
    const char *s = json_string_value(v);
    uint8_t mac[6];
    int r;

    if (!s)
        return wrong_type(path, "a MAC address", err);
    if (strcmp(s, "auto") == 0)
        return 0;
    r = vivi_parse_mac(s, mac, err);
    if (r < 0)
        return vivi_in_field(err, r, path);
    vivi_format_mac(mac, to);
    return 0;
}

static int decode_forwards(const json_t *v, const char *path, struct vivi_net *net, viv_error *err)
{
    size_t n = json_array_size(v);

    if (!json_is_array(v) || n > VIVI_LIST_MAX)
        return wrong_type(path, "a list of port forwards", err);
    if (n == 0)
        return 0;
    net->forwards = calloc(n, sizeof(*net->forwards));
    if (!net->forwards)
        return vivi_fail_oom(err);
    for (; net->n_forwards < n; net->n_forwards++) {
        const char *s = json_string_value(json_array_get(v, net->n_forwards));
        int r;

        if (!s)
            return wrong_type(path, "a list of port forwards", err);
        r = vivi_parse_forward(s, &net->forwards[net->n_forwards], err);
        if (r < 0)
            return vivi_in_field(err, r, path);
    }
    return 0;
}

static int decode_bool(const json_t *v, const char *path, bool *to, viv_error *err)
{
    if (!json_is_boolean(v))
        return wrong_type(path, "true or false", err);
    *to = json_is_true(v);
    return 0;
}

static int decode_strings(const json_t *v, const char *path, struct vivi_strings *to,
                          viv_error *err)
{
    size_t n = json_array_size(v);

    if (!json_is_array(v) || n > VIVI_LIST_MAX)
        return wrong_type(path, "a list of texts", err);
    if (n == 0)
        return 0;
    to->items = calloc(n, sizeof(*to->items));
    if (!to->items)
        return vivi_fail_oom(err);
    for (; to->n < n; to->n++) {
        const char *s = json_string_value(json_array_get(v, to->n));

        if (!s)
            return wrong_type(path, "a list of texts", err);
        to->items[to->n] = strdup(s);
        if (!to->items[to->n])
            return vivi_fail_oom(err);
    }
    return 0;
}

/* A word, or tcp: and a port. */
static int decode_ready(const struct vivi_decode_row *row, const json_t *v, const char *path,
                        struct vivi_config *c, viv_error *err)
{
    const char *s = json_string_value(v);

    if (!s || strncmp(s, "tcp:", 4) != 0)
        return decode_word(row, v, path, (char *)&c->ready_by, err);
    if (!vivi_parse_port(s + 4, &c->ready_port))
        return wrong_type(path, "tcp: and a port", err);
    c->ready_by = VIVI_READY_TCP;
    return 0;
}

static int decode_list(const struct vivi_decode_row *row, const json_t *v, void *base,
                       viv_error *err);
static int decode_disks(const json_t *v, struct vivi_config *c, viv_error *err);
static int decode_nets(const json_t *v, struct vivi_config *c, viv_error *err);

static int decode_row(const struct vivi_decode_row *row, const json_t *v, const char *path,
                      void *base, viv_error *err)
{
    char *to = (char *)base + row->offset;

    switch (row->how) {
    case VIVI_DECODE_NOTHING: return 0;
    case VIVI_DECODE_STRING: return decode_string(v, path, to, err);
    case VIVI_DECODE_WORD: return decode_word(row, v, path, to, err);
    case VIVI_DECODE_READY: return decode_ready(row, v, path, base, err);
    case VIVI_DECODE_U32:
    case VIVI_DECODE_U32_1:
    case VIVI_DECODE_I64: return decode_number(row, v, path, to, err);
    case VIVI_DECODE_BOOL: return decode_bool(v, path, (bool *)(void *)to, err);
    case VIVI_DECODE_MAC: return decode_mac(v, path, to, err);
    case VIVI_DECODE_FORWARDS: return decode_forwards(v, path, base, err);
    case VIVI_DECODE_DISKS: return decode_disks(v, base, err);
    case VIVI_DECODE_NETS: return decode_nets(v, base, err);
    case VIVI_DECODE_STRINGS: return decode_strings(v, path, (void *)to, err);
    case VIVI_DECODE_LIST: return decode_list(row, v, base, err);
    }
    return 0;
}

/* A record that an older version completed lacks the fields that came later. */
static int decode_value(const struct vivi_decode_row *row, const json_t *v, const char *path,
                        void *base, viv_error *err)
{
    json_t *missing = v ? NULL : vivi_value_default(vivi_field_find(row->path));
    int r;

    if (!v && !missing)
        return vivi_fail_oom(err);
    r = decode_row(row, v || json_is_null(missing) ? v : missing, path, base, err);
    json_decref(missing);
    return r;
}

/* ---- elements ---- */

/* All rows below list, from element e into base. */
static int decode_element(const char *list, const json_t *e, void *base, viv_error *err)
{
    const char *id = json_string_value(json_object_get(e, "id"));
    char prefix[VIVI_PATH_SIZE], path[VIVI_PATH_SIZE];
    size_t n;

    if (!id || vivi_parse_name(id, NULL) < 0)
        return wrong_type(list, "a list of mappings with an id each", err);
    vivi_path_join(prefix, list, "*");
    n = strlen(prefix);
    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++) {
        const struct vivi_decode_row *row = &vivi_decode_rows[i];
        int r;

        if (strncmp(row->path, prefix, n) != 0 || row->path[n] != '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s.%s%s", list, id, row->path + n);
        r = decode_value(row, vivi_config_get(e, row->path + n + 1), path, base, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int list_size(const char *list, const json_t *v, size_t *ret, viv_error *err)
{
    if (!json_is_array(v) || json_array_size(v) > VIVI_LIST_MAX)
        return wrong_type(list, "a list", err);
    *ret = json_array_size(v);
    return 0;
}

/* Elements without a place get the first free ones, in order. slots: the first one's, stride bytes
 * apart. */
static int place(const char *list, void *slots, size_t n, size_t stride, viv_error *err)
{
    uint64_t used[VIVI_LIST_MAX / 64 + 2] = {0};
    uint32_t next = 1;

    for (size_t i = 0; i < n; i++) {
        uint32_t slot = *(uint32_t *)(void *)((char *)slots + i * stride);

        if (slot && (used[slot / 64] & UINT64_C(1) << slot % 64))
            return vivi_fail_field(err, VIV_E_INVALID, list, "slot %u is used twice", slot);
        if (slot)
            used[slot / 64] |= UINT64_C(1) << slot % 64;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot = (uint32_t *)(void *)((char *)slots + i * stride);

        if (*slot)
            continue;
        while (used[next / 64] & UINT64_C(1) << next % 64)
            next++;
        *slot = next++;
    }
    return 0;
}

static int decode_list(const struct vivi_decode_row *row, const json_t *v, void *base,
                       viv_error *err)
{
    size_t n = 0;
    char *items;
    int r = list_size(row->path, v, &n, err);

    if (r < 0 || n == 0)
        return r;
    items = calloc(n, row->shape.size);
    if (!items)
        return vivi_fail_oom(err);
    memcpy((char *)base + row->offset, &items, sizeof(items));
    memcpy((char *)base + row->shape.count, &n, sizeof(n));
    for (size_t i = 0; r == 0 && i < n; i++)
        r = decode_element(row->path, json_array_get(v, i), items + i * row->shape.size, err);
    return r;
}

static int decode_disks(const json_t *v, struct vivi_config *c, viv_error *err)
{
    size_t n = 0;
    int r = list_size("disks", v, &n, err);

    if (r < 0 || n == 0)
        return r;
    c->disks = calloc(n, sizeof(*c->disks));
    if (!c->disks)
        return vivi_fail_oom(err);
    for (c->n_disks = n, n = 0; r == 0 && n < c->n_disks; n++) {
        r = decode_element("disks", json_array_get(v, n), &c->disks[n], err);
        if (r == 0 && !c->disks[n].path)
            r = vivi_fail_field(err, VIV_E_INVALID, "disks", "a disk has no path");
    }
    return r < 0 ? r : place("disks", &c->disks[0].slot, c->n_disks, sizeof(*c->disks), err);
}

static int decode_nets(const json_t *v, struct vivi_config *c, viv_error *err)
{
    size_t n = 0;
    int r = list_size("nets", v, &n, err);

    if (r < 0 || n == 0)
        return r;
    c->nets = calloc(n, sizeof(*c->nets));
    if (!c->nets)
        return vivi_fail_oom(err);
    for (c->n_nets = n, n = 0; r == 0 && n < c->n_nets; n++)
        r = decode_element("nets", json_array_get(v, n), &c->nets[n], err);
    return r < 0 ? r : place("nets", &c->nets[0].slot, c->n_nets, sizeof(*c->nets), err);
}

/* Where the memory has zones, it is theirs together. */
static void add_zones(struct vivi_config *c)
{
    uint64_t size = 0, most = 0;

    for (size_t i = 0; i < c->n_zones; i++) {
        const struct vivi_zone *z = &c->zones[i];

        size += z->size_bytes;
        most += z->max_bytes > z->size_bytes ? z->max_bytes : z->size_bytes;
    }
    if (c->n_zones == 0)
        return;
    c->memory_bytes = size;
    c->memory_max_bytes = most > size ? most : 0;
}

int vivi_config_decode(const json_t *completed, struct vivi_config *ret, viv_error *err)
{
    cleanup_config struct vivi_config c = {0};

    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++) {
        const struct vivi_decode_row *row = &vivi_decode_rows[i];
        int r;

        if (strchr(row->path, '*'))
            continue;
        r = decode_value(row, vivi_config_get(completed, row->path), row->path, &c, err);
        if (r < 0)
            return r;
    }
    add_zones(&c);
    *ret = c;
    c = (struct vivi_config){0};
    return 0;
}

static void free_strings(struct vivi_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->items[i]);
    free(s->items);
}

/* What below list one element owns. */
static void free_element(const char *list, char *element)
{
    size_t n = strlen(list);

    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++) {
        const struct vivi_decode_row *row = &vivi_decode_rows[i];
        char *text;

        if (strncmp(row->path, list, n) != 0 || strncmp(row->path + n, ".*.", 3) != 0)
            continue;
        if (row->how == VIVI_DECODE_STRINGS)
            free_strings((void *)(element + row->offset));
        if (row->how != VIVI_DECODE_STRING)
            continue;
        memcpy(&text, element + row->offset, sizeof(text));
        free(text);
    }
}

static void free_list(const struct vivi_decode_row *row, struct vivi_config *c)
{
    char *items;
    size_t n;

    memcpy(&items, (char *)c + row->offset, sizeof(items));
    memcpy(&n, (char *)c + row->shape.count, sizeof(n));
    for (size_t i = 0; i < n; i++)
        free_element(row->path, items + i * row->shape.size);
    free(items);
}

static void free_row(const struct vivi_decode_row *row, struct vivi_config *c)
{
    char *text;

    if (row->how == VIVI_DECODE_LIST)
        free_list(row, c);
    if (row->how == VIVI_DECODE_STRINGS)
        free_strings((void *)((char *)c + row->offset));
    if (row->how != VIVI_DECODE_STRING)
        return;
    memcpy(&text, (char *)c + row->offset, sizeof(text));
    free(text);
}

void vivi_config_done(struct vivi_config *c)
{
    for (size_t i = 0; i < c->n_disks; i++)
        free_element("disks", (char *)&c->disks[i]);
    for (size_t i = 0; i < c->n_nets; i++) {
        free_element("nets", (char *)&c->nets[i]);
        free(c->nets[i].forwards);
    }
    free(c->disks);
    free(c->nets);
    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++)
        if (!strchr(vivi_decode_rows[i].path, '*'))
            free_row(&vivi_decode_rows[i], c);
    *c = (struct vivi_config){0};
}
