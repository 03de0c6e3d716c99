/* Where our own helper executables are, as seen from a driver's probe. */
#pragma once

#include <stddef.h>

/*
 * Finds an executable of ours: in $VIV_LIBEXEC, beside the running program or library (the monitor
 * is a helper itself), in ../libexec/vivarium of either. 0 and an absolute path, −NOT_FOUND.
 */
int vivi_driver_helper(const char *name, char *ret, size_t size);

/* Looks for an executable on PATH (an absolute or relative path with '/' is taken as it is). 0 and
 * an absolute path, −NOT_FOUND. */
int vivi_path_search(const char *name, char *ret, size_t size);
