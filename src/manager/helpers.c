/* Where our own executables are; the search itself is the drivers' too. */
#include "manager/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "driver/helper.h"

int vivi_helper_path(const char *name, char *ret, size_t size, viv_error *err)
{
    const char *dir = getenv("VIV_LIBEXEC");
    int r;

    if (vivi_driver_helper(name, ret, size) == 0)
        return 0;
    if (!dir || !dir[0]) { /* where the build would have installed it */
        (void)snprintf(ret, size, "%s/%s", VIV_LIBEXECDIR, name);
        if (access(ret, X_OK) == 0)
            return 0;
    }
    r = vivi_fail(err, VIV_E_NOT_FOUND, "%s: not found (in %s)", name,
                  dir && dir[0] ? dir : VIV_LIBEXECDIR);
    vivi_hint(err, "install it there, or name its directory by VIV_LIBEXEC");
    return r;
}
