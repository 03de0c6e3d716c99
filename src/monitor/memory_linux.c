#include "monitor/memory.h"

#include <malloc.h>
#include <unistd.h>

#define TRIM_BYTES (32 * 1024)
#define MMAP_BYTES (64 * 1024) /* a log's window or a large document comes and goes whole */

void vivi_memory_small(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    (void)mallopt(M_TOP_PAD, 4096);
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
}

void vivi_memory_trim(void)
{
    (void)malloc_trim(0);
}

int vivi_self_path(char *ret, unsigned long size)
{
    ssize_t n = readlink("/proc/self/exe", ret, size - 1);

    if (n <= 0 || (unsigned long)n >= size - 1)
        return -1;
    ret[n] = '\0';
    return 0;
}
