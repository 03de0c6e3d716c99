/* Text as it comes from files and people, before it means anything. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Whether text is UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). *ret_bad: the first
 * byte that is not. */
bool vivi_utf8_valid(const char *text, size_t len, size_t *ret_bad);

/* Cuts the next word off *rest, in place, up to a comma; ",," stands for a comma. NULL: no more. */
char *vivi_cut_word(char **rest);

enum vivi_node_kind { VIVI_NODE_NULL, VIVI_NODE_SCALAR, VIVI_NODE_MAP, VIVI_NODE_LIST };

/* A value with the line it stands in. Owned by its tree; an alias is the same node again. */
struct vivi_node {
    enum vivi_node_kind kind;
    size_t line;              /* from 1 */
    char *text;               /* SCALAR: NUL-terminated, without NULs inside */
    struct vivi_node **items; /* MAP: keys (scalars) and values in turn; LIST: values */
    size_t n;                 /* items */
    size_t cap;
    struct vivi_node *next; /* of all nodes of the tree */
};

struct vivi_tree {
    struct vivi_node *root; /* never NULL after a successful parse; NULL node for an empty text */
    struct vivi_node *all;
};

/*
 * YAML (or JSON, which is YAML but for surrogate pairs, and those are understood too) to a tree.
 * One document, ≤ VIVI_CONFIG_MAX_BYTES, ≤ VIVI_CONFIG_MAX_DEPTH deep. Errors: INVALID
 * "found …" with *ret_line set (0: the text as a whole), NO_MEMORY.
 */
int vivi_tree_parse(const char *text, size_t len, struct vivi_tree *ret, size_t *ret_line,
                    viv_error *err);
void vivi_tree_done(struct vivi_tree *t);
#define cleanup_tree VIVI_CLEANUP(vivi_tree_done)
