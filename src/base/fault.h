/*
 * For tests only: makes the nth allocation fail. A test program that is linked with fault.c and the
 * linker's --wrap of malloc, calloc, realloc and strdup (fault_dep) runs its subject once for each
 * n until a run gets through without a failure.
 */
#pragma once

#include <stdbool.h>

/* From now on the nth allocation (1 = the next) fails, once; 0 = none. */
void fault_at(unsigned n);
/* Whether that allocation was reached; switches it off. */
bool fault_hit(void);
