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
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/ch.h"

/* Puts value under key; false, and *doc is freed and NULL, without memory. */
static bool put(json_t **doc, const char *key, json_t *value_consume)
{
    if (*doc && value_consume && json_object_set_new(*doc, key, value_consume) == 0)
        return true;
    if (!*doc)
        json_decref(value_consume);
    json_decref(*doc);
    *doc = NULL;
    return false;
}

static json_t *cpus(const struct vivi_config *c)
{
    return json_pack("{s:I, s:I}", "boot_vcpus", (json_int_t)c->cpus, "max_vcpus",
                     (json_int_t)c->cpus);
}

static json_t *memory(const struct vivi_config *c)
{
    return json_pack("{s:I}", "size", (json_int_t)c->memory_bytes);
}

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
    json_t *doc = json_object();

    if (put(&doc, "kernel", json_string(in->config->kernel)) && in->config->initramfs)
        (void)put(&doc, "initramfs", json_string(in->config->initramfs));
    (void)put(&doc, "cmdline", command_line(in));
    return doc;
}

static json_t *disk_config(const struct vivi_disk *d, const struct ch_version *v)
{
    json_t *doc = json_pack("{s:o, s:s, s:b, s:s}", "id", json_sprintf(CH_ID_DISK "%s", d->id),
                            "path", d->path, "readonly", (int)d->readonly, "serial", d->id);

    if (doc && ch_version_since(v, 51, 0))
        (void)put(&doc, "image_type", json_string("Raw"));
    return doc;
}

static json_t *net_config(const struct vivi_net *n, const char *uuid)
{
    char mac[18];

    (void)snprintf(mac, sizeof(mac), "%s", n->mac);
    if (!*mac) {
        uint8_t derived[6];

        vivi_mac_derive(uuid, n->id, derived);
        vivi_format_mac(derived, mac);
    }
    return json_pack("{s:o, s:s, s:s}", "id", json_sprintf(CH_ID_NET "%s", n->id), "tap", n->tap,
                     "mac", mac);
}

/* Appends; false, and *list is freed and NULL, without memory. */
static bool add(json_t **list, json_t *value_consume)
{
    if (*list && value_consume && json_array_append_new(*list, value_consume) == 0)
        return true;
    if (!*list)
        json_decref(value_consume);
    json_decref(*list);
    *list = NULL;
    return false;
}

static json_t *disks(const struct vivi_config *c, const struct ch_version *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->n_disks; i++)
        if (!add(&list, disk_config(&c->disks[i], v)))
            break;
    return list;
}

static json_t *nets(const struct vivi_config *c, const char *uuid)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->n_nets; i++)
        if (!add(&list, net_config(&c->nets[i], uuid)))
            break;
    return list;
}

static json_t *vsock(const struct vivi_plan_input *in)
{
    return json_pack("{s:s, s:i, s:o}", "id", "vsock", "cid", CH_GUEST_CID, "socket",
                     json_sprintf("%s/" CH_PORT_VSOCK, in->run_dir));
}

/* What the VMM opens besides the paths in its configuration: a named TAP's flags, which it reads
 * below /sys, and snapshots to come: the rules hold until the process ends. */
static json_t *landlock_rules(const struct vivi_config *c, const char *vm_dir)
{
    json_t *list = json_array();

    (void)add(&list, json_pack("{s:o?, s:s}", "path", json_sprintf("%s/snapshots", vm_dir),
                               "access", "rw"));
    if (c->n_nets > 0)
        (void)add(&list,
                  json_pack("{s:s, s:s}", "path", "/sys/devices/virtual/net", "access", "r"));
    return list;
}

json_t *ch_device_config(const struct vivi_device *d, const struct ch_version *v)
{
    if (d->kind == VIVI_DEV_DISK)
        return disk_config(&d->config->disks[d->index], v);
    return net_config(&d->config->nets[d->index], d->uuid); /* no other is in device_kinds */
}

json_t *ch_vm_config(const struct vivi_plan_input *in)
{
    const struct vivi_config *c = in->config;
    struct ch_version v = {.major = CH_MIN_MAJOR};
    json_t *doc = json_object();

    (void)ch_version_parse(in->facts->probe.version, &v);
    if (put(&doc, "cpus", cpus(c)) && put(&doc, "memory", memory(c)) &&
        put(&doc, "payload", payload(in)) && put(&doc, "disks", disks(c, &v)) &&
        put(&doc, "net", nets(c, in->uuid)) &&
        put(&doc, "rng", json_pack("{s:s}", "src", "/dev/urandom")) &&
        put(&doc, "serial", json_pack("{s:s}", "mode", "Tty")) &&
        put(&doc, "console", json_pack("{s:s}", "mode", "Off")) && put(&doc, "vsock", vsock(in)) &&
        put(&doc, "pvpanic", json_true()) && in->facts->probe.sandbox &&
        put(&doc, "landlock_enable", json_true()))
        (void)put(&doc, "landlock_rules", landlock_rules(c, in->vm_dir));
    return doc;
}
