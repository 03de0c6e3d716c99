/*
 * For unit tests only: a directory that goes away with its test, and a deadline for all waiting.
 */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/file.h"

#define TEST_DEADLINE_MS 10000

struct test_dir {
    char path[128];
    int fd;
    int fds_before; /* descriptors of the process when the test began */
};

static inline int test_dir_setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct test_dir *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return -1;
    d->fds_before = vivi_fd_count();
    (void)snprintf(d->path, sizeof(d->path), "%s/viv-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(d->path) == NULL || vivi_open_dir(AT_FDCWD, d->path, &d->fd, NULL) < 0) {
        free(d);
        return -1;
    }
    *state = d;
    return 0;
}

/* Fails when the test leaked a descriptor. */
static inline int test_dir_teardown(void **state)
{
    struct test_dir *d = *state;
    int r = vivi_remove_tree_at(AT_FDCWD, d->path, NULL), leaked;

    vivi_close(&d->fd);
    leaked = vivi_fd_count() - d->fds_before;
    free(d);
    if (leaked != 0)
        print_error("%d descriptors leaked\n", leaked);
    return r < 0 || leaked != 0 ? -1 : 0;
}

#define test_in_dir(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)
