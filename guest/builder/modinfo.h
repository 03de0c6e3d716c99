/*
 * modinfo.h: what a kernel module says about itself in its ELF section .modinfo.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define VIVI_MODULE_NAME_SIZE 64 /* the kernel's own limit is 56 */

/* "" where the module says nothing. */
struct vivi_modinfo {
    char name[VIVI_MODULE_NAME_SIZE];
    char depends[1024];    /* names with commas between them */
    char softdep_pre[256]; /* names with spaces between them */
};

/*
 * Reads a little-endian 64-bit ELF object. PROTOCOL if it is none, is cut short, or has no
 * .modinfo; ret_info is untouched then.
 */
int vivi_modinfo_parse(const void *data, size_t len, struct vivi_modinfo *ret_info, viv_error *err);
