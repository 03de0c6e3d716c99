/* Questions to the field table that only this folder asks, and the conversion of single values. */
#pragma once

#include "model/config.h"

/* The last segment: "path" of "disks.*.path". */
const char *vivi_field_leaf(const struct vivi_field *f);
/* Whether f lies below the pattern parent ("" = the document). */
bool vivi_field_is_child(const struct vivi_field *f, const char *parent);
/* The field that a scalar in place of the mapping parent means; NULL = there is none. */
const struct vivi_field *vivi_field_shorthand(const char *parent);
/* The same of the elements of a list: "disks" → "disks.*.path". */
const struct vivi_field *vivi_field_element_shorthand(const char *list);
/* Whether fields lie below this pattern: "boot", "disks.*"; true for a list as well. */
bool vivi_field_is_mapping(const char *pattern);

/* Of a choice with a number in it, "tcp:PORT": the length up to the number; 0 = a plain word. */
size_t vivi_choice_stem(const char *choice, size_t len);

/* Where a value comes from, for conversions. */
struct vivi_value_at {
    const char *path;     /* concrete: "disks.data.path" */
    const char *base_dir; /* for relative paths; NULL leaves them */
};

/*
 * Text to the canonical JSON of the field's type (of one element, for lists of scalars). Errors:
 * INVALID "memory.size: …" with the field set, NO_MEMORY.
 */
int vivi_value_parse(const struct vivi_field *f, const char *text, const struct vivi_value_at *at,
                     json_t **ret, viv_error *err);
/* The field's default, JSON null without one; NULL: out of memory. */
json_t *vivi_value_default(const struct vivi_field *f);
/* As people write it: sizes and durations with units, all others as they are. NULL: no memory. */
json_t *vivi_value_present(const struct vivi_field *f, const json_t *value);
/* Whether key is one a map may have. INVALID, with the field set, if not. */
int vivi_value_key(const char *path, const char *key, viv_error *err);
/* "field: " before the text, and err->field set, for errors that were born without them. */
int vivi_in_field(viv_error *err, int r, const char *path);

/* The id of element i of a list: its own, or the one completion gives it ("d0"). false: too long a
 * list or no memory. */
#define VIVI_ID_SIZE 64
void vivi_element_id(const char *list, const json_t *elements, size_t i, char ret[VIVI_ID_SIZE]);
/* By which unnamed elements are called, with their numbers: 'z' of "memory.zones". */
char vivi_element_letter(const char *list);
/* Index of the element with that id (given or to be given), or −1. */
int vivi_element_find(const char *list, const json_t *elements, const char *id);

#define VIVI_PATH_SIZE 160 /* of a concrete path, cut to size */
#define VIVI_LIST_MAX  256 /* elements of a list, entries of a map */
