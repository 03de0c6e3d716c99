/*
 * cpio.h: an initramfs out of members.
 */
#pragma once

#include "members.h"

/*
 * Writes members as a gzip-compressed "newc" cpio archive to fd, all of it owned by root and dated
 * 1970: the same members give the same bytes. Sorts members. fd stays open.
 *
 * Errors: PROTOCOL for two members of one path, NO_MEMORY, IO (also a full disk).
 */
int vivi_cpio_write(int fd, struct vivi_members *members, viv_error *err);
