#include "monitor/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "model/fields.h"

static int grow(const struct vivi_disk *d, viv_error *err)
{
    cleanup_close int fd = -1;
    struct stat st;

    if (stat(d->path, &st) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "%s", d->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= d->size_bytes)
        return 0;
    fd = open(d->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", d->path);
    if (ftruncate(fd, (off_t)d->size_bytes) < 0)
        return vivi_fail_errno(err, errno, "%s: cannot grow", d->path);
    return 0;
}

int vivi_disks_grow(const struct vivi_config *c, const char *id, viv_error *err)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct vivi_disk *d = &c->disks[i];
        char field[128];

        if (d->size_bytes == 0 || d->readonly || d->format != VIVI_DISK_RAW ||
            (id && strcmp(d->id, id) != 0))
            continue;
        if (grow(d, err) == 0)
            continue;
        (void)snprintf(field, sizeof(field), "disks.%s.size", d->id);
        return err ? vivi_in_field(err, -err->code, field) : -VIV_E_IO;
    }
    return 0;
}
