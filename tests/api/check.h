/* For the programs of this folder: TAP lines, a directory of their own, and a last word on failure.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ftw.h>
#include <sys/stat.h>

#include <vivarium/vivarium.h>

#define CHECK(what)                                                     \
    do {                                                                \
        if (!(what)) {                                                  \
            printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, #what); \
            exit(1);                                                    \
        }                                                               \
    } while (0)

/* Of the last call that failed: one thread, one error. */
static viv_error err = VIV_ERROR_INIT;

/* A call of the library that must work. */
#define OK(call)                                                                       \
    do {                                                                               \
        if ((call) < 0) {                                                              \
            printf("Bail out! %s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, err.vm, \
                   err.message);                                                       \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* The directory a test made for itself. A keeper that is ending may still remove its own socket. */
static inline void remove_tree(const char *dir)
{
    int r = -1;

    for (int i = 0; i < 100 && r != 0; i++)
        r = nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    CHECK(r == 0);
}
