/* root.h: a disk's own system takes over. */
#pragma once

#include "console.h"

/*
 * Mounts device (root=, as in "/dev/vda" or "/dev/vda1"; the driver may need a moment) and becomes
 * its /sbin/init. Returns only when that is not possible; why was logged.
 */
void guest_root_switch(struct guest_consoles *c, const char *device);
