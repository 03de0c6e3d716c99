/*
 * What is different between two completed documents, field by field: the unit in which a VM is
 * changed, and in which people are told about it.
 *
 *   cpus.count        a field: from, to; null where there is no value
 *   labels.job        an entry of a map
 *   disks.data        a device that came or went: the whole element
 *   disks.data.cache  a field of a device that stays
 *   disks             the order of devices, as a list of ids
 *
 * Lists of plain values (forwards) are one value. Pure; nothing here knows who may change what.
 */
#pragma once

#include "model/fields.h"

enum vivi_change_op { VIVI_CHANGE_ADD, VIVI_CHANGE_REMOVE, VIVI_CHANGE_CHANGE };

struct vivi_change {
    enum vivi_change_op op;
    char path[VIVI_PATH_SIZE];
    const struct vivi_field *field; /* its row; of a device: the row of the list. Never NULL */
    json_t *from, *to;              /* owned; JSON null: no value */
};

struct vivi_diff {
    struct vivi_change *items; /* owned; in the order of the field table */
    size_t n, cap;
};
void vivi_diff_done(struct vivi_diff *d);
#define cleanup_diff VIVI_CLEANUP(vivi_diff_done)

/*
 * Documents as vivi_config_complete makes them; keys that are in neither table nor document count
 * as null. Making the changes one after the other in from gives to. Errors: NO_MEMORY.
 */
int vivi_diff(const json_t *from, const json_t *to, struct vivi_diff *ret, viv_error *err);

/* Makes one change in a completed document, which is untouched on failure. Errors: NO_MEMORY;
 * NOT_FOUND: the device is not there. */
int vivi_change_make(json_t *doc, const struct vivi_change *c, viv_error *err);

/* A device that came or went, rather than a value. */
bool vivi_change_is_device(const struct vivi_change *c);
/* The order of the devices of a list. */
bool vivi_change_is_order(const struct vivi_change *c);

/*
 * What stays as it was made: a fixed field of the VM or of a device, and the order of devices
 * (INVALID "driver: is fixed when the VM is created (fake)", with what would be needed as hint). 0:
 * it may be changed.
 */
int vivi_change_fixed(const struct vivi_change *c, viv_error *err);
/* The same for the first of many. */
int vivi_diff_fixed(const struct vivi_diff *d, viv_error *err);

/* Whether one path is the other, or a part of it: "disks.data" and "disks.data.cache". */
bool vivi_paths_meet(const char *a, const char *b);
/* Whether a change of d meets the path. */
bool vivi_diff_meets(const struct vivi_diff *d, const char *path);

/* Equal documents have equal digests, whatever the order of their keys. −1: out of memory. */
#define VIVI_DIGEST_SIZE 17
int vivi_document_digest(const json_t *doc, char ret[VIVI_DIGEST_SIZE]);

/* {path, op, from, to, when}; a new reference, NULL: out of memory. */
json_t *vivi_change_json(const struct vivi_change *c);
/* "cpus.count: 2 → 4", "disks.data: added": for people, one line, no line break. As vivi_buf_str.
 */
int vivi_change_text(const struct vivi_change *c, struct vivi_buf *out);
/* The same from what vivi_change_json made, possibly by another version. */
int vivi_change_json_text(const json_t *change, struct vivi_buf *out);
