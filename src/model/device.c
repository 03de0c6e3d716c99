/* Words of what can change while a VM runs. */
#include "model/device.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "model/config.h"

/* Every element begins with its id. */
#define LIST(type, member)                                                          \
    offsetof(struct vivi_config, member), offsetof(struct vivi_config, n_##member), \
        sizeof(struct type)
_Static_assert(offsetof(struct vivi_disk, id) == 0 && offsetof(struct vivi_net, id) == 0 &&
                   offsetof(struct vivi_share, id) == 0 && offsetof(struct vivi_pmem, id) == 0 &&
                   offsetof(struct vivi_vdpa, id) == 0 && offsetof(struct vivi_pci, id) == 0 &&
                   offsetof(struct vivi_user_device, id) == 0 &&
                   offsetof(struct vivi_vhost_user, id) == 0,
               "the id comes first");

static const struct {
    const char *name, *list;
    size_t items, count, stride; /* in struct vivi_config; stride 0: no list */
} device_kinds[] = {
    [VIVI_DEV_DISK] = {"disk", "disks", LIST(vivi_disk, disks)},
    [VIVI_DEV_NET] = {"net", "nets", LIST(vivi_net, nets)},
    [VIVI_DEV_SHARE] = {"share", "shares", LIST(vivi_share, shares)},
    [VIVI_DEV_VSOCK] = {.name = "vsock", .list = "vsock"},
    [VIVI_DEV_PMEM] = {"pmem", "pmem", LIST(vivi_pmem, pmem)},
    [VIVI_DEV_VDPA] = {"vdpa", "vdpa", LIST(vivi_vdpa, vdpa)},
    [VIVI_DEV_VFIO] = {"vfio", "devices", LIST(vivi_pci, devices)},
    [VIVI_DEV_USER] = {"user", "user_devices", LIST(vivi_user_device, user_devices)},
    [VIVI_DEV_VHOST_USER] = {"vhost-user", "vhost_user", LIST(vivi_vhost_user, vhost_user)},
};
_Static_assert(ARRAY_SIZE(device_kinds) == VIVI_DEV_COUNT_, "a word for every kind of device");

static const char *const resize_kinds[] = {
    [VIVI_RESIZE_CPUS] = "cpus", [VIVI_RESIZE_MEMORY] = "memory", [VIVI_RESIZE_BALLOON] = "balloon",
    [VIVI_RESIZE_DISK] = "disk", [VIVI_RESIZE_ZONE] = "zone",
};
_Static_assert(ARRAY_SIZE(resize_kinds) == VIVI_RESIZE_COUNT_, "a word for every kind of size");

const char *vivi_device_kind_name(enum vivi_device_kind k)
{
    return device_kinds[k].name;
}

const char *vivi_device_kind_list(enum vivi_device_kind k)
{
    return device_kinds[k].list;
}

size_t vivi_device_index(const struct vivi_config *c, enum vivi_device_kind k, const char *id)
{
    size_t n = 0, stride = device_kinds[k].stride;
    const char *items = NULL;

    if (stride == 0)
        return c->vsock_cid > 0 && *id == '\0' ? 0 : SIZE_MAX;
    memcpy(&items, (const char *)c + device_kinds[k].items, sizeof(items));
    memcpy(&n, (const char *)c + device_kinds[k].count, sizeof(n));
    for (size_t i = 0; i < n; i++) {
        const char *own = NULL;

        memcpy(&own, items + i * stride, sizeof(own));
        if (strcmp(own, id) == 0)
            return i;
    }
    return SIZE_MAX;
}

int vivi_device_kind_parse(const char *s, enum vivi_device_kind *ret)
{
    for (unsigned i = 0; i < VIVI_DEV_COUNT_; i++) {
        if (strcmp(device_kinds[i].name, s) == 0) {
            *ret = (enum vivi_device_kind)i;
            return 0;
        }
    }
    return -VIV_E_INVALID;
}

const char *vivi_resize_kind_name(enum vivi_resize_kind k)
{
    return resize_kinds[k];
}
