/* The places of devices in the machine, as documents have them. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "model/config.h"
#include "model/device.h"

/*
 * Sees to it that the disks and NICs of to (completed) that are in from, too, keep their places
 * there, and that new ones get free ones. Where the first-free rule would give the same nothing is
 * written; else every device of that list gets its slot. Errors: NO_MEMORY; to is then half done.
 */
int vivi_slots_keep(json_t *to, const json_t *from, viv_error *err);
/* The place of a disk or NIC; 0: it has none, or is not there. */
uint32_t vivi_slot_of(const struct vivi_config *c, enum vivi_device_kind kind, const char *id);
