#include "manager/given.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

void vivi_given_done(struct vivi_given *g)
{
    for (size_t i = 0; i < g->n; i++)
        vivi_close(&g->fds[i]);
    g->n = 0;
}

int vivi_given_put(struct vivi_given *g, const char *id, int fd, viv_error *err)
{
    size_t i = 0;
    int copy;

    while (i < g->n && strcmp(g->ids[i], id) != 0)
        i++;
    if (i == VIVI_GIVEN_MAX)
        return vivi_fail(err, VIV_E_INVALID, "more than %d descriptors", VIVI_GIVEN_MAX);
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0 && errno == EBADF)
        return vivi_fail(err, VIV_E_INVALID, "%d is not an open descriptor", fd);
    if (copy < 0)
        return vivi_fail_errno(err, errno, "descriptor %d", fd);
    if (i < g->n)
        vivi_close(&g->fds[i]);
    else
        (void)snprintf(g->ids[g->n++], sizeof(g->ids[i]), "%s", id);
    g->fds[i] = copy;
    return 0;
}

int vivi_given_add(struct vivi_given *g, const struct vivi_given *from, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < from->n && r == 0; i++)
        r = vivi_given_put(g, from->ids[i], from->fds[i], err);
    return r;
}
