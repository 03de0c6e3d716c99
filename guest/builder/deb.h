/*
 * deb.h: reading a Debian package without dpkg: what it is, and chosen files of it, into memory.
 */
#pragma once

#include <stdbool.h>

#include "members.h"

/* Fields of the control file; "" where one is missing. */
struct vivi_deb_info {
    char package[128];
    char version[128];
    char architecture[32];
    char depends[1024];
};

/*
 * Reads the package in file. wanted says which regular files of data.tar are kept (paths without a
 * leading "./"); NULL = none, and data.tar is not read at all. Both outputs are untouched on
 * failure; ret_members may be NULL when wanted is.
 *
 * Errors: NOT_FOUND, DENIED, IO for the file; PROTOCOL for what is not a sound package: no ar
 * archive, truncated, a name that leaves the package's root, more or larger members than any real
 * one has.
 */
int vivi_deb_read(const char *file, bool (*wanted)(const char *path),
                  struct vivi_deb_info *ret_info, struct vivi_members *ret_members, viv_error *err);

/* Compares versions or version-bearing file names as dpkg does: < 0, 0, > 0. */
int vivi_deb_version_compare(const char *a, const char *b);
