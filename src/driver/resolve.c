/*
 * Which driver a configuration means. auto takes the best one that this build has and this host can
 * run; a driver that was asked for by name is that one or an error, never another.
 */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

/* Why a driver that this build does not have cannot be used. */
static int not_built(enum vivi_driver_kind k, viv_error *err)
{
    if (k == VIVI_DRIVER_VZ)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "vz needs macOS");
    return vivi_fail(err, VIV_E_UNSUPPORTED, "this build has no %s driver", vivi_driver_name(k));
}

/* Whether a driver is built and usable with hardware acceleration or needs none. */
static int try_auto(enum vivi_driver_kind k, const char *cache_dir, bool accelerated,
                    viv_error *err)
{
    const struct vivi_driver *d = vivi_driver_get(k);
    struct vivi_probe p;
    int r;

    if (!d)
        return not_built(k, err);
    r = d->probe(cache_dir, NULL, VIVI_ACCEL_AUTO, &p, err);
    if (r < 0)
        return r;
    if (!p.usable) {
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "%s", p.reason);
        vivi_hint(err, "%s", p.hint);
        return r;
    }
    if (accelerated && *p.accel_reason)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "%s: %s", d->name, p.accel_reason);
    return 0;
}

int vivi_driver_resolve(enum vivi_driver_kind wanted, const char *cache_dir,
                        enum vivi_driver_kind *ret, char ret_reason[200], viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int r;

    if (wanted != VIVI_DRIVER_AUTO) {
        if (!vivi_driver_get(wanted))
            return not_built(wanted, err);
        *ret = wanted;
        ret_reason[0] = '\0';
        return 0;
    }
    r = try_auto(VIVI_DRIVER_CLOUD_HYPERVISOR, cache_dir, true, &why);
    if (r == -VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    if (r == 0) {
        *ret = VIVI_DRIVER_CLOUD_HYPERVISOR;
        ret_reason[0] = '\0';
        return 0;
    }
    r = try_auto(VIVI_DRIVER_QEMU, cache_dir, false, err);
    if (r < 0)
        return r;
    *ret = VIVI_DRIVER_QEMU;
    (void)snprintf(ret_reason, 200, "%.199s", why.message);
    return 0;
}
