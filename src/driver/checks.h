/*
 * Checks of a configuration that more than one driver makes: of files, sizes and counts. Pure. Each
 * lists what it finds and returns 0, or −NO_MEMORY.
 */
#pragma once

#include "driver/driver.h"

/* Stops at the first failure to note a problem: there is no memory then. */
#define VIVI_TRY(expr)     \
    do {                   \
        int try_ = (expr); \
        if (try_ < 0)      \
            return try_;   \
    } while (0)

struct vivi_limits {
    const char *vmm; /* in messages: "qemu" */
    size_t max_disks, max_nets;
    uint32_t max_cpus;
};

/* Fields of a completed document that say something to other drivers only. For all drivers, beside
 * their own check, when a VM is made or changed. */
int vivi_check_fields(const json_t *doc, const struct vivi_driver *d, struct vivi_problems *p);

/* There is a VMM, and it can run a VM on this host. */
int vivi_check_vmm(const struct vivi_config *c, const struct vivi_facts *f,
                   struct vivi_problems *p);
/* As above, and: 1 a problem was noted, 0 the file can be read (or written) and is a regular one.
 */
int vivi_check_regular(struct vivi_problems *p, const char *field, const char *path,
                       const struct vivi_path_fact *fact);
/* boot.kernel, if given, is one that boots; boot.initramfs is there and not empty. */
int vivi_check_boot(const struct vivi_config *c, const struct vivi_facts *f,
                    struct vivi_problems *p);
int vivi_check_size(const struct vivi_config *c, const struct vivi_facts *f,
                    const struct vivi_limits *l, struct vivi_problems *p);
/* Only that sizes fit each other: part of the above, for a machine that takes nothing of its host.
 */
int vivi_check_size_order(const struct vivi_config *c, struct vivi_problems *p);
int vivi_check_disks(const struct vivi_config *c, const struct vivi_facts *f,
                     const struct vivi_limits *l, struct vivi_problems *p);
/* Only that no image is larger than its disk's size: part of the above. */
int vivi_check_no_cut(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p);
/* How many nets there are; a TAP is named. */
int vivi_check_nets(const struct vivi_config *c, const struct vivi_limits *l,
                    struct vivi_problems *p);
