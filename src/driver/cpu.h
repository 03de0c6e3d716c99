/* What the host's CPU can do, as far as a guest that has seen it relies on it. */
#pragma once

#include <stddef.h>

/* "x86_64 GenuineIntel avx avx2 …", sorted as the kernel lists it; malloc'ed. NULL: not known, or
 * no memory. */
char *vivi_cpu_describe(void);
/* The first word of need that have lacks, in ret (cut to size); false: nothing. */
int vivi_cpu_lacks(const char *have, const char *need, char *ret, size_t size);
