/*
 * fetch.h: Debian packages from the cache, or by `apt-get download` into it.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define VIVI_PACKAGE_KERNEL  "linux-image-cloud-amd64" /* stands for the newest real one */
#define VIVI_PACKAGE_BUSYBOX "busybox-static"

struct vivi_fetch {
    const char *cache_dir;         /* made if it is missing */
    const char *apt_get;           /* program, looked up on PATH */
    bool offline;                  /* never download */
    bool update;                   /* download even if the cache has it */
    void (*say)(const char *text); /* one line of progress, without its line feed; NULL = silent */
};

/*
 * Path of a package in the cache; the caller frees it. package is one of the two above. The newest
 * one there is taken; only if there is none, or update is set, apt-get downloads it (its signature
 * check included) into a directory of its own, from which it is renamed: a half download is never
 * used.
 *
 * Errors: NOT_FOUND when it is neither in the cache nor to be had, with the reason and a hint;
 * PROTOCOL when what was downloaded is not that package; IO, DENIED for the cache.
 */
int vivi_fetch_package(const struct vivi_fetch *f, const char *package, char **ret_path,
                       viv_error *err);

/* True if the cache holds a package; never downloads. */
bool vivi_fetch_is_cached(const struct vivi_fetch *f, const char *package);
