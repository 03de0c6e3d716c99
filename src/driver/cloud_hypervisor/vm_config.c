/*
 * A configuration as Cloud Hypervisor's VmConfig (vmm/src/vm_config.rs): what vm.create takes.
 * Pure.
 *
 * Nothing that a guest can see is left to the VMM's taste: every device has an id of ours, every
 * image its type (a guessed one is written to with restrictions), both consoles their modes. Fields
 * that a release does not know it ignores silently, so newer ones are sent only where they mean
 * something; what depends on them is refused by check.
 *
 * Consoles: serial is the process's own stdout and stdin (see plan.c); the virtio console is off.
 * The panic device is always there. vsock has a file in the run directory, where only we look.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cloud_hypervisor/ch.h"

#define AFFINITY_MAX_CPU 8191

/* Without memory *doc is freed and NULL, and stays so. */
static void put(json_t **doc, const char *key, json_t *value_consume)
{
    if (!*doc) {
        json_decref(value_consume);
    } else if (json_object_set_new(*doc, key, value_consume) < 0) {
        json_decref(*doc);
        *doc = NULL;
    }
}

static void add(json_t **list, json_t *value_consume)
{
    if (!*list) {
        json_decref(value_consume);
    } else if (json_array_append_new(*list, value_consume) < 0) {
        json_decref(*list);
        *list = NULL;
    }
}

/* ---- CPUs ---- */

static const char *number(const char *s, uint32_t *ret)
{
    char *end;
    unsigned long n;

    if (!isdigit((unsigned char)*s))
        return NULL;
    n = strtoul(s, &end, 10);
    if (n > AFFINITY_MAX_CPU)
        return NULL;
    *ret = (uint32_t)n;
    return end;
}

bool ch_parse_cpus(const char *text, json_t **ret_cpus)
{
    const char *s = text;
    json_t *cpus = json_array();
    uint32_t first, last;

    while (s) {
        s = number(s, &first);
        last = first;
        if (s && *s == '-')
            s = number(s + 1, &last);
        if (!s || last < first || (*s != ',' && *s != '\0'))
            break;
        for (uint32_t i = first; i <= last; i++)
            add(&cpus, json_integer(i));
        if (*s++ == '\0') {
            if (ret_cpus)
                *ret_cpus = cpus;
            else
                json_decref(cpus);
            return true;
        }
    }
    json_decref(cpus);
    return false;
}

bool ch_parse_affinity(const char *text, uint32_t *ret_vcpu, json_t **ret_cpus)
{
    const char *s = number(text, ret_vcpu);

    return s && *s == '=' && ch_parse_cpus(s + 1, ret_cpus);
}

static json_t *affinity(const struct vivi_strings *given)
{
    json_t *list = json_array(), *cpus;
    uint32_t vcpu;

    for (size_t i = 0; i < given->n; i++)
        if (ch_parse_affinity(given->items[i], &vcpu, &cpus))
            add(&list, json_pack("{s:I, s:o}", "vcpu", (json_int_t)vcpu, "host_cpus", cpus));
    return list;
}

static json_int_t or_one(uint32_t n)
{
    return n > 0 ? n : 1;
}

bool ch_has_topology(const struct vivi_config *c)
{
    return c->topology.threads || c->topology.cores || c->topology.dies || c->topology.packages;
}

uint32_t ch_max_cpus(const struct vivi_config *c)
{
    return c->cpus_max > c->cpus ? c->cpus_max : c->cpus;
}

static json_t *cpus(const struct vivi_config *c, const struct ch_version *v)
{
    json_t *doc = json_pack("{s:I, s:I}", "boot_vcpus", (json_int_t)c->cpus, "max_vcpus",
                            (json_int_t)ch_max_cpus(c));

    if (ch_has_topology(c))
        put(&doc, "topology",
            json_pack("{s:I, s:I, s:I, s:I}", "threads_per_core", or_one(c->topology.threads),
                      "cores_per_die", or_one(c->topology.cores), "dies_per_package",
                      or_one(c->topology.dies), "packages", or_one(c->topology.packages)));
    if (c->affinity.n > 0)
        put(&doc, "affinity", affinity(&c->affinity));
    if (c->nested != VIVI_SWITCH_AUTO && ch_version_since(v, 50, 0))
        put(&doc, "nested", json_boolean(c->nested == VIVI_SWITCH_ON));
    return doc;
}

/* ---- memory ---- */

bool ch_needs_shared_memory(const struct vivi_config *c)
{
    bool vhost = c->n_shares > 0 || c->n_user_devices > 0 || c->n_vhost_user > 0;

    for (size_t i = 0; i < c->n_nets; i++)
        vhost = vhost || c->nets[i].type == VIVI_NET_VHOST_USER;
    return vhost;
}

static bool is_shared(const struct vivi_config *c)
{
    return c->shared == VIVI_SWITCH_ON ||
           (c->shared == VIVI_SWITCH_AUTO && ch_needs_shared_memory(c));
}

static json_t *zoned_memory(const struct vivi_config *c)
{
    json_t *doc = json_pack("{s:i}", "size", 0), *zones = json_array();

    if (c->memory_max_bytes > c->memory_bytes)
        put(&doc, "hotplug_method", json_string("VirtioMem"));
    for (size_t i = 0; i < c->n_zones; i++)
        add(&zones, ch_zone_config(c, i, is_shared(c)));
    put(&doc, "zones", zones);
    return doc;
}

static json_t *memory(const struct vivi_config *c, const struct ch_version *v)
{
    json_t *doc;

    if (c->n_zones > 0)
        return zoned_memory(c);
    doc = json_pack("{s:I}", "size", (json_int_t)c->memory_bytes);
    if (is_shared(c))
        put(&doc, "shared", json_true());
    if (c->memory_max_bytes > c->memory_bytes) {
        put(&doc, "hotplug_method",
            json_string(c->memory_hotplug == VIVI_MEMORY_ACPI ? "Acpi" : "VirtioMem"));
        put(&doc, "hotplug_size",
            json_integer((json_int_t)(c->memory_max_bytes - c->memory_bytes)));
    }
    if (c->hugepage_bytes > 0) {
        put(&doc, "hugepages", json_true());
        put(&doc, "hugepage_size", json_integer((json_int_t)c->hugepage_bytes));
        /* Else the pool may be used up by others later, and the guest's touch is the VMM's end.
         * With room to grow it would be promised at once what may never be asked for. */
        if (ch_version_since(v, 53, 0) && c->memory_max_bytes <= c->memory_bytes)
            put(&doc, "reserve", json_true());
    }
    return doc;
}

static json_t *nodes(const struct vivi_config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->n_zones; i++)
        add(&list, ch_node_config(c, i));
    return list;
}

bool ch_has_balloon(const struct vivi_config *c)
{
    return c->n_devices == 0 && c->n_vdpa == 0;
}

/* Always there, so that memory can be taken later on. What the guest frees by itself is not handed
 * back: a device of the host that comes later may write to it. */
static json_t *balloon(const struct vivi_config *c)
{
    uint64_t left = c->balloon_bytes > 0 ? c->balloon_bytes : c->memory_bytes;

    return json_pack("{s:I, s:b}", "size", (json_int_t)(c->memory_bytes - left), "deflate_on_oom",
                     1);
}

/* ---- boot ---- */

static json_t *command_line(const struct vivi_plan_input *in)
{
    const char *given = in->config->cmdline;
    const char *text = given && *given ? given : CH_DEFAULT_CMDLINE;

    if (!in->nonce || !*in->nonce)
        return json_string(text);
    return json_sprintf("%s vmrs.nonce=%s", text, in->nonce);
}

static json_t *payload(const struct vivi_plan_input *in)
{
    const struct vivi_config *c = in->config;
    json_t *doc = json_object();

    if (c->firmware) {
        put(&doc, "firmware", json_string(c->firmware));
        return doc;
    }
    put(&doc, "kernel", json_string(c->kernel));
    if (c->initramfs)
        put(&doc, "initramfs", json_string(c->initramfs));
    put(&doc, "cmdline", command_line(in));
    return doc;
}

/* ---- devices ---- */

static struct ch_version version_of(const struct vivi_plan_input *in)
{
    struct ch_version v = {.major = CH_MIN_MAJOR};

    (void)ch_version_parse(in->facts->probe.version, &v);
    return v;
}

/* A descriptor goes with a request of its own; on a command line it has a number. */
static json_t *device_config(const struct vivi_device *d, const struct ch_version *v)
{
    const struct vivi_config *c = d->config;
    json_t *doc = ch_device_config(d, v);

    if (d->kind == VIVI_DEV_NET && c->nets[d->index].type == VIVI_NET_FD)
        put(&doc, "fds", json_pack("[i]", CH_FD_NETS + (int)d->index));
    return doc;
}

static bool comes_later(const struct vivi_config *c, enum vivi_device_kind kind, size_t i)
{
    return kind == VIVI_DEV_NET && c->nets[i].type == VIVI_NET_FD && c->ch_mode == VIVI_CH_API;
}

/* The list of one kind, or no key at all. */
static void put_devices(json_t **doc, const char *key, const struct vivi_plan_input *in,
                        enum vivi_device_kind kind, size_t n)
{
    struct ch_version v = version_of(in);
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        if (!comes_later(in->config, kind, i))
            add(&list, device_config(
                           &(struct vivi_device){
                               .kind = kind, .config = in->config, .index = i, .uuid = in->uuid},
                           &v));
    if (list && json_array_size(list) == 0)
        json_decref(list);
    else
        put(doc, key, list);
}

static void put_all_devices(json_t **doc, const struct vivi_plan_input *in)
{
    const struct vivi_config *c = in->config;

    if (c->n_disk_limits > 0)
        put(doc, "rate_limit_groups", ch_limit_groups(c));
    put_devices(doc, "disks", in, VIVI_DEV_DISK, c->n_disks);
    put_devices(doc, "net", in, VIVI_DEV_NET, c->n_nets);
    put_devices(doc, "generic_vhost_user", in, VIVI_DEV_VHOST_USER, c->n_vhost_user);
    put_devices(doc, "fs", in, VIVI_DEV_SHARE, c->n_shares);
    put_devices(doc, "pmem", in, VIVI_DEV_PMEM, c->n_pmem);
    put_devices(doc, "devices", in, VIVI_DEV_VFIO, c->n_devices);
    put_devices(doc, "user_devices", in, VIVI_DEV_USER, c->n_user_devices);
    put_devices(doc, "vdpa", in, VIVI_DEV_VDPA, c->n_vdpa);
}

bool ch_has_vsock(const struct vivi_config *c)
{
    return c->agent != VIVI_AGENT_OFF || c->vsock_cid > 0;
}

json_t *ch_vsock_config(const struct vivi_config *c)
{
    return json_pack("{s:s, s:I, s:o}", "id", CH_ID_VSOCK, "cid",
                     (json_int_t)(c->vsock_cid > 0 ? c->vsock_cid : CH_GUEST_CID), "socket",
                     json_string(CH_RUN_DIR "/" CH_PORT_VSOCK));
}

/* ---- sandbox ---- */

bool ch_wants_landlock(const struct vivi_config *c, const struct vivi_probe *p)
{
    return c->landlock == VIVI_SWITCH_ON || (c->landlock == VIVI_SWITCH_AUTO && p->sandbox);
}

static json_t *rule(const char *path, const char *access)
{
    return json_pack("{s:s, s:s}", "path", path, "access", access);
}

/* What the VMM opens besides the paths in its configuration: a named TAP's flags, which it reads
 * below /sys, the groups of host devices, and snapshots to come: the rules hold until the process
 * ends. And what may be attached later. */
static json_t *landlock_rules(const struct vivi_config *c)
{
    json_t *list = json_array();

    add(&list, rule(CH_VM_DIR "/snapshots", "rw"));
    add(&list, rule(CH_VM_DIR "/hotplug", "rw"));
    if (c->n_nets > 0)
        add(&list, rule(CH_SYS_NET, "r"));
    if (c->n_devices > 0) {
        add(&list, rule(CH_VFIO, "rw"));
        add(&list, rule(CH_SYS_DEVICES, "r"));
    }
    if (!ch_has_vsock(c)) /* it may come later */
        add(&list, rule(CH_RUN_DIR, "w"));
    for (size_t i = 0; i < c->allow.n; i++)
        add(&list, rule(c->allow.items[i], "rw"));
    return list;
}

json_t *ch_vm_config(const struct vivi_plan_input *in)
{
    const struct vivi_config *c = in->config;
    struct ch_version v = version_of(in);
    json_t *doc = json_object();

    put(&doc, "cpus", cpus(c, &v));
    put(&doc, "memory", memory(c, &v));
    if (c->n_zones > 0)
        put(&doc, "numa", nodes(c));
    put(&doc, "payload", payload(in));
    put_all_devices(&doc, in);
    if (ch_has_balloon(c))
        put(&doc, "balloon", balloon(c));
    put(&doc, "rng", json_pack("{s:s}", "src", "/dev/urandom"));
    put(&doc, "serial", json_pack("{s:s}", "mode", "Tty"));
    put(&doc, "console", json_pack("{s:s}", "mode", "Off"));
    if (ch_has_vsock(c))
        put(&doc, "vsock", ch_vsock_config(c));
    put(&doc, "pvpanic", json_true());
    if (c->tpm_socket)
        put(&doc, "tpm", json_pack("{s:s}", "socket", c->tpm_socket));
    if (c->watchdog)
        put(&doc, "watchdog", json_true());
    if (ch_wants_landlock(c, &in->facts->probe)) {
        put(&doc, "landlock_enable", json_true());
        put(&doc, "landlock_rules", landlock_rules(c));
    }
    return doc;
}
