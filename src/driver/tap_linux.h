/* A TAP device by its descriptor. */
#pragma once

#include "base/error.h"

/* INVALID with what it lacks: it must be a TAP with IFF_NO_PI and IFF_VNET_HDR. */
int vivi_tap_check(int fd, viv_error *err);
/* INVALID while the device is down: what is written to it is refused. A macvtap always takes it. */
int vivi_tap_is_up(int fd, viv_error *err);
