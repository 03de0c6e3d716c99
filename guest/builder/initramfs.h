/*
 * initramfs.h: what is in the guest's first file system.
 */
#pragma once

#include "members.h"

enum vivi_guest_kind {
    VIVI_GUEST_DEMO, /* boots to ready, offers a shell */
    VIVI_GUEST_LAB,  /* runs one command of the host's root with a real /dev/kvm */
};

/* "demo", "lab" */
const char *vivi_guest_kind_name(enum vivi_guest_kind kind);

struct vivi_initramfs {
    enum vivi_guest_kind kind;
    const struct vivi_members *kernel; /* files of the kernel package that vivi_modules_wants */
    const void *busybox;
    size_t busybox_len; /* bytes */
    const void *init;
    size_t init_len;   /* bytes */
    const void *agent; /* NULL = none */
    size_t agent_len;  /* bytes */
};

/*
 * Fills ret_members, an empty set. Errors: NOT_FOUND for a module that the package lacks, PROTOCOL
 * for an unsound one, NO_MEMORY.
 */
int vivi_initramfs_members(const struct vivi_initramfs *in, struct vivi_members *ret_members,
                           viv_error *err);
