/* Images of disks, before a VMM has them. */
#pragma once

#include "model/config.h"

/*
 * Makes raw image files that are smaller than their disk's size as large (id NULL: of all disks).
 * Block devices, read-only disks and other formats stay as they are, as does what is larger. Of an
 * image that is missing the driver will tell. Errors, with the field "disks.ID.size": DENIED, IO
 * (no room for so large a file).
 */
int vivi_disks_grow(const struct vivi_config *c, const char *id, viv_error *err);
