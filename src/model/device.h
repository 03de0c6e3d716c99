/* The kinds of devices that can come and go while a VM runs, and of sizes that can change. */
#pragma once

#include <stddef.h>

struct vivi_config;

enum vivi_device_kind {
    VIVI_DEV_DISK,
    VIVI_DEV_NET,
    VIVI_DEV_SHARE,
    VIVI_DEV_VSOCK,
    VIVI_DEV_PMEM,
    VIVI_DEV_VDPA,
    VIVI_DEV_VFIO,
    VIVI_DEV_USER,
    VIVI_DEV_VHOST_USER,
    VIVI_DEV_COUNT_
};
/* "disk", "net", "vhost-user": as people type it, in records and on the wire. */
const char *vivi_device_kind_name(enum vivi_device_kind k);
int vivi_device_kind_parse(const char *s, enum vivi_device_kind *ret); /* 0 or −VIV_E_INVALID */
/* The list of a configuration that holds such devices: "disks". */
const char *vivi_device_kind_list(enum vivi_device_kind k);
/* Where it stands in that list; SIZE_MAX: nowhere. A vsock is the one that there can be: it has no
 * list, and its id is "". */
size_t vivi_device_index(const struct vivi_config *c, enum vivi_device_kind k, const char *id);

enum vivi_resize_kind {
    VIVI_RESIZE_CPUS,
    VIVI_RESIZE_MEMORY,
    VIVI_RESIZE_BALLOON,
    VIVI_RESIZE_DISK,
    VIVI_RESIZE_ZONE,
    VIVI_RESIZE_COUNT_
};
const char *vivi_resize_kind_name(enum vivi_resize_kind k); /* "cpus", "memory", "balloon" */
