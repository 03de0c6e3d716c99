#include "driver/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "model/fields.h"

static int in_size(const struct vivi_disk *d, int r, viv_error *err)
{
    char field[128];

    (void)snprintf(field, sizeof(field), "disks.%s.size", d->id);
    return r < 0 ? vivi_in_field(err, r, field) : r;
}

static int set_size(const struct vivi_disk *d, viv_error *err)
{
    cleanup_close int fd = open(d->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "%s", d->path);
    if (ftruncate(fd, (off_t)d->size_bytes) < 0)
        return vivi_fail_errno(err, errno, "%s: cannot change its size", d->path);
    return fsync(fd) < 0 ? vivi_fail_errno(err, errno, "%s", d->path) : 0;
}

static int grow(const struct vivi_disk *d, viv_error *err)
{
    struct stat st;

    if (stat(d->path, &st) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "%s", d->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= d->size_bytes)
        return 0;
    return set_size(d, err);
}

int vivi_disks_grow(const struct vivi_config *c, const char *id, viv_error *err)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct vivi_disk *d = &c->disks[i];
        int r;

        if (d->size_bytes == 0 || d->readonly || d->format != VIVI_DISK_RAW ||
            (id && strcmp(d->id, id) != 0))
            continue;
        r = in_size(d, grow(d, err), err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int must_be_cut(const struct vivi_disk *d, viv_error *err)
{
    struct stat st;

    if (d->size_bytes == 0)
        return 0;
    if (stat(d->path, &st) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "%s", d->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size <= d->size_bytes)
        return 0;
    if (d->format != VIVI_DISK_RAW)
        return vivi_fail(err, VIV_E_INVALID, "%s: only a raw image can be cut", d->path);
    if (d->readonly)
        return vivi_fail(err, VIV_E_INVALID, "%s: is read-only", d->path);
    if (d->size_bytes % VIVI_SECTOR_BYTES != 0)
        return vivi_fail(err, VIV_E_INVALID, "%" PRIu64 " bytes are no multiple of %d",
                         d->size_bytes, VIVI_SECTOR_BYTES);
    return 1;
}

int vivi_disk_must_be_cut(const struct vivi_disk *d, viv_error *err)
{
    return in_size(d, must_be_cut(d, err), err);
}

int vivi_disk_set_size(const struct vivi_disk *d, viv_error *err)
{
    return in_size(d, set_size(d, err), err);
}

const struct vivi_disk *vivi_disk_find(const struct vivi_config *c, const char *id)
{
    for (size_t i = 0; i < c->n_disks; i++)
        if (strcmp(c->disks[i].id, id) == 0)
            return &c->disks[i];
    return NULL;
}

const struct vivi_disk *vivi_disk_of_size(const struct vivi_config *c, const char *path)
{
    const struct vivi_field *f = vivi_field_find(path);
    char id[VIVI_PATH_SIZE];

    if (!f || strcmp(f->path, "disks.*.size") != 0)
        return NULL;
    (void)snprintf(id, sizeof(id), "%s", path + strlen("disks."));
    id[strcspn(id, ".")] = '\0';
    return vivi_disk_find(c, id);
}

int vivi_disk_cut(const struct vivi_config *c, const char *path, viv_error *err)
{
    const struct vivi_disk *d = vivi_disk_of_size(c, path);
    int r = d ? vivi_disk_must_be_cut(d, err) : 0;

    return r > 0 ? vivi_disk_set_size(d, err) : r;
}
