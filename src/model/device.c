/* Words of what can change while a VM runs. */
#include "model/device.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static const struct {
    const char *name, *list;
} device_kinds[] = {
    [VIVI_DEV_DISK] = {"disk", "disks"},
    [VIVI_DEV_NET] = {"net", "nets"},
    [VIVI_DEV_SHARE] = {"share", "shares"},
    [VIVI_DEV_VSOCK] = {"vsock", "vsock"},
    [VIVI_DEV_PMEM] = {"pmem", "pmem"},
    [VIVI_DEV_VDPA] = {"vdpa", "vdpa"},
    [VIVI_DEV_VFIO] = {"vfio", "devices"},
    [VIVI_DEV_USER] = {"user", "user_devices"},
    [VIVI_DEV_VHOST_USER] = {"vhost-user", "vhost_user"},
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

int vivi_resize_kind_parse(const char *s, enum vivi_resize_kind *ret)
{
    for (unsigned i = 0; i < VIVI_RESIZE_COUNT_; i++) {
        if (strcmp(resize_kinds[i], s) == 0) {
            *ret = (enum vivi_resize_kind)i;
            return 0;
        }
    }
    return -VIV_E_INVALID;
}
