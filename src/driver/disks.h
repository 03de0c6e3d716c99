/* Images of disks: raw files are made as large as their disk shall be. */
#pragma once

#include "model/config.h"

#define VIVI_SECTOR_BYTES 512 /* a virtio disk has whole ones */

/*
 * Makes raw image files that are smaller than their disk's size as large (id NULL: of all disks).
 * Block devices, read-only disks and other formats stay as they are, as does what is larger. Of an
 * image that is missing the driver will tell. Errors, with the field "disks.ID.size": DENIED, IO
 * (no room for so large a file).
 */
int vivi_disks_grow(const struct vivi_config *c, const char *id, viv_error *err);

/*
 * Whether the image would have to be cut for its disk to have this size (which loses what lies
 * behind): 1, or 0, also when there is no image file or nothing is said of its size. Errors, with
 * the field: INVALID it would have to be, and that cannot be done (a read-only disk, another format
 * than raw, a part of a sector); IO.
 */
int vivi_disk_must_be_cut(const struct vivi_disk *d, viv_error *err);
/* Makes the image exactly as large as its disk's size, on stable storage. Errors as above. */
int vivi_disk_set_size(const struct vivi_disk *d, viv_error *err);

/* Borrowed; NULL: there is none. */
const struct vivi_disk *vivi_disk_find(const struct vivi_config *c, const char *id);
/* The disk whose size this is: "disks.data.size". Borrowed; NULL: none. */
const struct vivi_disk *vivi_disk_of_size(const struct vivi_config *c, const char *path);
/* Cuts the image of that disk if it has to be; 0 also when it has not, or path is of no disk. */
int vivi_disk_cut(const struct vivi_config *c, const char *path, viv_error *err);
