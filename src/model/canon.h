/* From a tree of text to canonical JSON, guided by the field table. */
#pragma once

#include "model/fields.h"
#include "model/text.h"

struct vivi_source {
    bool file;            /* messages begin with "config a.yaml:3" */
    const char *origin;   /* file name, NULL: "config line 3" */
    const char *base_dir; /* for relative paths */
};

/*
 * The canonical value of a node that stands at path (concrete, "" = the document) where pattern is
 * the path with * for ids. *ret NULL: the node is null, so nothing was given.
 * Errors: INVALID with field and line, NO_MEMORY.
 */
int vivi_canon(const struct vivi_source *src, const struct vivi_node *node, const char *pattern,
               const char *path, json_t **ret, viv_error *err);
/* "memroy: unknown field", with the nearest name below the pattern as hint. */
int vivi_fail_unknown(const char *pattern, const char *path, const char *key, viv_error *err);
/* parent + "." + key, cut to size. */
void vivi_path_join(char ret[VIVI_PATH_SIZE], const char *parent, const char *key);
