/* The drivers of this build: an explicit array, in the order they are shown. */
#include "driver/driver.h"

#include <string.h>

#include "driver/cloud_hypervisor/ch.h"
#include "driver/fake/fake.h"
#include "driver/qemu/qemu.h"

static const struct vivi_driver *const drivers[] = {
    &vivi_driver_cloud_hypervisor,
    &vivi_driver_qemu,
    &vivi_driver_fake,
};

const struct vivi_driver *vivi_driver_get(enum vivi_driver_kind k)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (drivers[i]->kind == k)
            return drivers[i];
    return NULL;
}

const struct vivi_driver *vivi_driver_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    return NULL;
}

const struct vivi_driver *const *vivi_drivers(size_t *ret_n)
{
    *ret_n = ARRAY_SIZE(drivers);
    return drivers;
}
