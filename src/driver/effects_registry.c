/* The effects of this build's drivers, for the monitor. Registration is where a table is held to
 * its contract. */
#include "driver/machine.h"

#include <assert.h>

#include "driver/cloud_hypervisor/ch.h"
#include "driver/fake/fake.h"
#include "driver/qemu/qemu.h"

static const struct {
    enum vivi_driver_kind kind;
    const struct vivi_driver_effects *effects;
} table[] = {
    {VIVI_DRIVER_CLOUD_HYPERVISOR, &vivi_effects_cloud_hypervisor},
    {VIVI_DRIVER_QEMU, &vivi_effects_qemu},
    {VIVI_DRIVER_FAKE, &vivi_effects_fake},
};

const struct vivi_driver_effects *vivi_effects_get(enum vivi_driver_kind k)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct vivi_driver *pure;

        if (table[i].kind != k)
            continue;
        pure = vivi_driver_get(k);
        (void)pure;
        assert(pure && vivi_machine_mismatch(&pure->caps, table[i].effects) == NULL);
        return table[i].effects;
    }
    return NULL;
}
