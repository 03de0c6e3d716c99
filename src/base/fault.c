#include "base/fault.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The linker's names for the real ones. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static unsigned left;
static bool hit;

void fault_at(unsigned n)
{
    left = n;
    hit = false;
}

bool fault_hit(void)
{
    bool was = hit;

    fault_at(0);
    return was;
}

static bool fails(void)
{
    if (left == 0)
        return false;
    left--;
    if (left > 0)
        return false;
    hit = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = __wrap_malloc(n);

    return copy == NULL ? NULL : memcpy(copy, s, n);
}
