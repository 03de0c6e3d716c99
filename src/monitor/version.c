/* What the monitor says of itself: it belongs to the release of its library. */
#include <vivarium/vivarium.h>

const char *viv_version(void)
{
    return VIVI_VERSION;
}
