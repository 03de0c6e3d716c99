/*
 * A VMM's executable: which file it is, what it prints about itself, and what was learnt of it
 * before. Running one takes milliseconds, so that is remembered by the file's identity.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"

struct vivi_binary {
    uint64_t dev, ino, size, mtime_ns;
};

/* −NOT_FOUND: no such file. */
int vivi_binary_identify(const char *path, struct vivi_binary *ret);

/*
 * Runs argv[0] (absolute, NULL-terminated argv) and collects what it writes to stdout, up to the
 * buffer's ceiling. One that says more, or nothing for five seconds, is killed. Errors: TIMEOUT,
 * PROTOCOL (too much), IO, NO_MEMORY, and those of the spawn.
 */
int vivi_binary_run(char *const *argv, struct vivi_buf *out, viv_error *err);

/*
 * What was remembered under name ("probe-qemu.json") in cache_dir for exactly this file: a new
 * reference, NULL = nothing. cache_dir NULL: no memory at all.
 */
json_t *vivi_binary_recall(const char *cache_dir, const char *name, const struct vivi_binary *id);
/* Best effort: without it the next probe asks again. */
void vivi_binary_remember(const char *cache_dir, const char *name, const struct vivi_binary *id,
                          json_t *what_consume);
