/*
 * Scope-bound ownership: a local that owns something says so in its declaration and gives it up
 * only through take_*(). Every destructor accepts the empty value.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <dirent.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define VIVI_CLEANUP(f)        __attribute__((cleanup(f)))
#define VIVI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define VIVI_MUST_USE          __attribute__((warn_unused_result))
#define VIVI_NONNULL(...)      __attribute__((nonnull(__VA_ARGS__)))

/* Closes *fd if it is ≥ 0 and sets it to −1; errno is kept. */
void vivi_close(int *fd);
void vivi_free_ptr(void *p); /* p is the address of the pointer */
void vivi_fclose_ptr(FILE **f);
void vivi_closedir_ptr(DIR **d);

#define cleanup_close    VIVI_CLEANUP(vivi_close)
#define cleanup_free     VIVI_CLEANUP(vivi_free_ptr)
#define cleanup_fclose   VIVI_CLEANUP(vivi_fclose_ptr)
#define cleanup_closedir VIVI_CLEANUP(vivi_closedir_ptr)

static inline int take_fd(int *fd)
{
    int r = *fd;

    *fd = -1;
    return r;
}

#define take_ptr(p)                            \
    __extension__({                            \
        __typeof__(p) *viv_take_ = &(p);       \
        __typeof__(p) viv_taken_ = *viv_take_; \
        *viv_take_ = NULL;                     \
        viv_taken_;                            \
    })
