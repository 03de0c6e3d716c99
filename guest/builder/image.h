/*
 * image.h: an image is a directory: vmlinuz, initramfs and, for the demo guest, image.yaml.
 */
#pragma once

#include <stdbool.h>

#include "initramfs.h"

struct vivi_image_request {
    enum vivi_guest_kind kind;
    const char *out;         /* the directory to make or to replace */
    const char *init;        /* process 1, a static program */
    const char *agent;       /* viv-agent, a static program; NULL = none */
    const char *kernel_deb;  /* NULL = whatever an image that is there was built from */
    const char *busybox_deb; /* the same */
    bool kernel_is_cached;   /* a damaged one may be removed: it can be downloaded again */
    bool busybox_is_cached;
    bool force; /* build even if nothing changed */
};

struct vivi_image_result {
    bool changed;
    char kernel[280];  /* "linux-image-6.1.0-56-cloud-amd64 6.1.192-2"; "" if not changed */
    char busybox[280]; /* the same */
};

/*
 * Makes out complete, or leaves it as it was: everything is written to a directory beside it which
 * then takes its place. Two builders of one out wait for each other; what a killed one left is
 * removed. Nothing is written when out was made from the same inputs by the same builder.
 *
 * Errors: INVALID (out is something else than an image of ours), NOT_FOUND, PROTOCOL (an input is
 * damaged or not for amd64), IO (disk full), DENIED, NO_MEMORY.
 */
int vivi_image_build(const struct vivi_image_request *q, struct vivi_image_result *ret_result,
                     viv_error *err);

/* True if out holds an image made with this init, whatever packages it came from. */
bool vivi_image_is_there(const struct vivi_image_request *q);

/* Path of the running program. False if it is not to be had. */
bool vivi_self_path(char ret_path[4096]);

/* Swaps two entries of a directory in one step, or moves from to to when there is no to. */
int vivi_image_exchange(int dir_fd, const char *from, const char *to, viv_error *err);
