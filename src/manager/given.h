/* Descriptors of NICs of type fd that a caller has given, by the NIC's id. */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define VIVI_GIVEN_MAX 8 /* with one more they fit into one message */

/* Zeroed: none. */
struct vivi_given {
    char ids[VIVI_GIVEN_MAX][64];
    int fds[VIVI_GIVEN_MAX]; /* owned duplicates, in the order of ids */
    size_t n;
};

void vivi_given_done(struct vivi_given *g);
/* Duplicates fd; takes the place of an earlier one of that id. INVALID: not open, too many. */
int vivi_given_put(struct vivi_given *g, const char *id, int fd, viv_error *err);
/* Those of from as well. */
int vivi_given_add(struct vivi_given *g, const struct vivi_given *from, viv_error *err);
