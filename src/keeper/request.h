/* What a monitor asks, taken apart. Pure: no system call, so that it can be fuzzed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/frame.h"
#include "keeper/protocol.h"

#define VIVI_REQUEST_MAX_FIELDS 640
#define VIVI_REQUEST_MAX_MAP    64
#define VIVI_KEEPER_FILE_MAX    64 /* a log's file name with its NUL */

struct vivi_request {
    enum vivi_keeper_op op;
    const char *name;     /* HOLD DROP LOG DRAIN: the entry; SPAWN: the role */
    const char *file;     /* LOG */
    uint64_t limit_bytes; /* LOG; 0 = keep all */
    uint64_t token;       /* DRAIN: token; SPAWN: req */
    uint64_t run;         /* SPAWN, as all below */
    const char *exe;
    const char **argv; /* n_argv strings and NULL, inside fields */
    size_t n_argv, n_map;
    struct {
        int child_fd;
        const char *name;
    } map[VIVI_REQUEST_MAX_MAP];
    const char *fields[VIVI_REQUEST_MAX_FIELDS];
};

/*
 * 1 understood (strings are borrowed from the frame), 0 an op of a newer monitor, to be passed
 * over, −VIV_E_PROTOCOL malformed.
 */
int vivi_request_parse(const struct vivi_frame *f, struct vivi_request *ret, viv_error *err);

bool vivi_keeper_name_ok(const char *name);  /* may name a table entry or a role */
bool vivi_keeper_reserved(const char *name); /* lock, listener, keeper, null */
bool vivi_keeper_file_ok(const char *file);  /* may be a log's file */
bool vivi_keeper_number(const char *s, uint64_t most, uint64_t *ret); /* plain decimal digits */
