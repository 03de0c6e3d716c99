/*
 * members.h: files held in memory under the names they have inside an archive.
 *
 * Everything the builder unpacks goes here and nowhere else: no name out of an archive ever becomes
 * a path of this machine.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct vivi_member {
    char *path;    /* owned; relative, no empty, "." or ".." component */
    char *link;    /* owned; target of a symbolic link, else NULL */
    uint32_t mode; /* type and permissions as in stat(2) */
    void *data;    /* owned; contents of a regular file, NULL when empty */
    size_t len;    /* bytes */
};

struct vivi_members {
    struct vivi_member *at; /* owned; moves when one is added */
    size_t n, cap;
};

#define cleanup_members VIVI_CLEANUP(vivi_members_done)

/* True if path is relative and stays below where it is unpacked. */
bool vivi_member_path_is_safe(const char *path);

/* Copies what it is given. Errors: PROTOCOL for an unsafe path, NO_MEMORY. */
int vivi_members_add(struct vivi_members *m, const char *path, uint32_t mode, const void *data,
                     size_t len, viv_error *err);
int vivi_members_add_dir(struct vivi_members *m, const char *path, viv_error *err);
int vivi_members_add_link(struct vivi_members *m, const char *path, const char *target,
                          viv_error *err);

/* The same, but data (malloc'ed) is taken over, also on failure. */
int vivi_members_add_consume(struct vivi_members *m, const char *path, uint32_t mode, void *data,
                             size_t len, viv_error *err);

/* Borrowed until the next add; NULL if there is none of that path. */
const struct vivi_member *vivi_members_find(const struct vivi_members *m, const char *path);

/* Orders by path, parents before what is in them. PROTOCOL if a path is there twice. */
int vivi_members_sort(struct vivi_members *m, viv_error *err);

void vivi_members_done(struct vivi_members *m);
