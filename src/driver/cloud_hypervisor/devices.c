/* Single devices as Cloud Hypervisor's configuration has them: the same body in vm.create and in
 * vm.add-…. Pure. */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/ch.h"

#define REFILL_MS 1000 /* limits are per second; below 100 ms the VMM is not exact */

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

static json_t *bucket(uint64_t per_second)
{
    return json_pack("{s:I, s:i}", "size", (json_int_t)per_second, "refill_time", REFILL_MS);
}

static json_t *limiter(const struct vivi_rate *l)
{
    json_t *limit = json_object();

    if (l->bandwidth_bytes > 0)
        put(&limit, "bandwidth", bucket(l->bandwidth_bytes));
    if (l->ops > 0)
        put(&limit, "ops", bucket(l->ops));
    return limit;
}

static void put_limit(json_t **doc, const struct vivi_rate *l)
{
    if (l->bandwidth_bytes > 0 || l->ops > 0)
        put(doc, "rate_limiter_config", limiter(l));
}

json_t *ch_limit_groups(const struct vivi_config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->n_disk_limits; i++)
        (void)json_array_append_new(
            list,
            json_pack("{s:o, s:o}", "id", json_sprintf(CH_ID_LIMIT "%s", c->disk_limits[i].id),
                      "rate_limiter_config", limiter(&c->disk_limits[i].limit)));
    return list;
}

static json_t *disk(const struct vivi_disk *d, const struct ch_version *v)
{
    static const char *const types[] = {[VIVI_DISK_RAW] = "Raw",
                                        [VIVI_DISK_QCOW2] = "Qcow2",
                                        [VIVI_DISK_VHD] = "FixedVhd",
                                        [VIVI_DISK_VHDX] = "Vhdx"};
    json_t *doc = json_pack("{s:o, s:s, s:b, s:s}", "id", json_sprintf(CH_ID_DISK "%s", d->id),
                            "path", d->path, "readonly", (int)d->readonly, "serial", d->id);

    if (ch_version_since(v, 51, 0))
        put(&doc, "image_type", json_string(types[d->format]));
    if (d->cache == VIVI_CACHE_NONE)
        put(&doc, "direct", json_true());
    if (d->backing && ch_version_since(v, 51, 0))
        put(&doc, "backing_files", json_true());
    if (d->limit_group)
        put(&doc, "rate_limit_group", json_sprintf(CH_ID_LIMIT "%s", d->limit_group));
    put_limit(&doc, &d->limit);
    return doc;
}

static json_t *net(const struct vivi_net *n, const char *uuid)
{
    char mac[18];
    json_t *doc;

    (void)snprintf(mac, sizeof(mac), "%s", n->mac);
    if (!*mac) {
        uint8_t derived[6];

        vivi_mac_derive(uuid, n->id, derived);
        vivi_format_mac(derived, mac);
    }
    doc = json_pack("{s:o, s:s}", "id", json_sprintf(CH_ID_NET "%s", n->id), "mac", mac);
    if (n->type == VIVI_NET_VHOST_USER) {
        put(&doc, "vhost_user", json_true());
        put(&doc, "vhost_socket", json_string(n->socket));
    } else if (n->type == VIVI_NET_TAP) {
        put(&doc, "tap", json_string(n->tap));
    }
    if (n->queues > 1)
        put(&doc, "num_queues", json_integer(2 * (json_int_t)n->queues));
    if (n->mtu > 0)
        put(&doc, "mtu", json_integer(n->mtu));
    if (n->offload != VIVI_OFFLOAD_ALL) {
        put(&doc, "offload_tso", json_false());
        put(&doc, "offload_ufo", json_false());
        put(&doc, "offload_csum", json_boolean(n->offload == VIVI_OFFLOAD_CHECKSUM));
    }
    put_limit(&doc, &n->limit);
    return doc;
}

static json_t *share(const struct vivi_share *s)
{
    return json_pack("{s:o, s:s, s:s}", "id", json_sprintf(CH_ID_SHARE "%s", s->id), "tag",
                     s->tag ? s->tag : s->id, "socket", s->socket);
}

static json_t *pmem(const struct vivi_pmem *p)
{
    return json_pack("{s:o, s:s, s:b}", "id", json_sprintf(CH_ID_PMEM "%s", p->id), "file", p->path,
                     "discard_writes", (int)p->discard);
}

static json_t *vdpa(const struct vivi_vdpa *d)
{
    return json_pack("{s:o, s:s, s:I}", "id", json_sprintf(CH_ID_VDPA "%s", d->id), "path", d->path,
                     "num_queues", (json_int_t)d->queues);
}

static json_t *vfio(const struct vivi_pci *d)
{
    return json_pack("{s:o, s:o}", "id", json_sprintf(CH_ID_VFIO "%s", d->id), "path",
                     json_sprintf("/sys/bus/pci/devices/%s", d->vfio));
}

static json_t *user_device(const struct vivi_user_device *d)
{
    return json_pack("{s:o, s:s}", "id", json_sprintf(CH_ID_USER "%s", d->id), "socket", d->socket);
}

static json_t *vhost_user(const struct vivi_vhost_user *d)
{
    json_t *sizes = json_array();

    for (uint32_t i = 0; i < d->queues; i++)
        (void)json_array_append_new(sizes, json_integer(d->queue_size));
    return json_pack("{s:o, s:s, s:I, s:o}", "id", json_sprintf(CH_ID_VHOST_USER "%s", d->id),
                     "socket", d->socket, "device_type", (json_int_t)d->device, "queue_sizes",
                     sizes);
}

json_t *ch_device_config(const struct vivi_device *d, const struct ch_version *v)
{
    const struct vivi_config *c = d->config;

    switch (d->kind) {
    case VIVI_DEV_DISK: return disk(&c->disks[d->index], v);
    case VIVI_DEV_NET: return net(&c->nets[d->index], d->uuid);
    case VIVI_DEV_SHARE: return share(&c->shares[d->index]);
    case VIVI_DEV_PMEM: return pmem(&c->pmem[d->index]);
    case VIVI_DEV_VDPA: return vdpa(&c->vdpa[d->index]);
    case VIVI_DEV_VFIO: return vfio(&c->devices[d->index]);
    case VIVI_DEV_USER: return user_device(&c->user_devices[d->index]);
    case VIVI_DEV_VHOST_USER: return vhost_user(&c->vhost_user[d->index]);
    case VIVI_DEV_VSOCK:
    case VIVI_DEV_COUNT_: break; /* not one of device_kinds */
    }
    return NULL;
}
