#include "base/cleanup.h"

#include <errno.h>

void vivi_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0) {
        /* Linux and macOS release the number even on EINTR: closing again could hit another one. */
        (void)close(*fd);
        *fd = -1;
    }
    errno = saved;
}

void vivi_free_ptr(void *p)
{
    void **slot = p;

    free(*slot);
    *slot = NULL;
}

void vivi_fclose_ptr(FILE **f)
{
    int saved = errno;

    if (*f != NULL)
        (void)fclose(*f);
    *f = NULL;
    errno = saved;
}

void vivi_closedir_ptr(DIR **d)
{
    int saved = errno;

    if (*d != NULL)
        (void)closedir(*d);
    *d = NULL;
    errno = saved;
}
