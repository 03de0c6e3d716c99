#include "store/snapshots.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "model/parse.h"

#define LIST_MAX 4096

int vivi_snapshot_check_name(const char *name, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    if (vivi_parse_name(name, &why) == 0)
        return 0;
    return vivi_fail(err, VIV_E_INVALID, "snapshot: %s", why.message);
}

int vivi_snapshots_open(const struct vivi_vmdir *d, int *ret_fd, viv_error *err)
{
    if (mkdirat(d->fd, VIVI_SNAPSHOTS_DIR, 0700) < 0 && errno != EEXIST)
        return vivi_fail_errno(err, errno, VIVI_SNAPSHOTS_DIR);
    return vivi_open_dir(d->fd, VIVI_SNAPSHOTS_DIR, ret_fd, err);
}

static int no_snapshot(const char *name, viv_error *err)
{
    return vivi_fail(err, VIV_E_NOT_FOUND, "no snapshot %s", name);
}

/* snapshots/<name> of a VM that may have none at all. */
static int open_one(const struct vivi_vmdir *d, const char *name, int *ret_fd, viv_error *err)
{
    char path[128];
    int r = vivi_snapshot_check_name(name, err);

    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), VIVI_SNAPSHOTS_DIR "/%s", name);
    *ret_fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret_fd >= 0)
        return 0;
    return errno == ENOENT ? no_snapshot(name, err) : vivi_fail_errno(err, errno, "%s", path);
}

int vivi_snapshot_read(const struct vivi_vmdir *d, const char *name, json_t **ret, viv_error *err)
{
    cleanup_close int fd = -1;
    json_t *j = NULL;
    int r = open_one(d, name, &fd, err);

    if (r == 0)
        r = vivi_json_read(fd, VIVI_SNAPSHOT_MANIFEST, VIVI_DOCUMENT_MAX_BYTES, &j, err);
    if (r < 0)
        return r;
    if (!json_is_object(j) || !json_is_object(json_object_get(j, "config")) ||
        !json_is_array(json_object_get(j, "disks")))
        r = vivi_fail(err, VIV_E_PROTOCOL, "snapshot %s: not a manifest", name);
    else if (json_integer_value(json_object_get(j, "schema")) > VIVI_SNAPSHOT_SCHEMA)
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "snapshot %s: made by a newer version", name);
    if (r < 0)
        json_decref(j);
    else
        *ret = j;
    return r;
}

/* Bytes on the disk of all files below; what cannot be looked at counts nothing. */
static uint64_t size_of(int dir_fd, const char *name, unsigned depth)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;
    uint64_t sum = 0;

    if (!dir) {
        vivi_close(&fd);
        return 0;
    }
    while ((e = readdir(dir))) {
        struct stat st;

        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_blocks * 512;
        else if (S_ISDIR(st.st_mode) && depth > 0)
            sum += size_of(dirfd(dir), e->d_name, depth - 1);
    }
    (void)closedir(dir);
    return sum;
}

static json_t *entry_of(const struct vivi_vmdir *d, int dir_fd, const char *name)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *m = NULL, *j = json_object();
    static const char *const keys[] = {"created_at_ms", "driver", "vmm_version", "memory_bytes"};

    (void)json_object_set_new(j, "name", vivi_json_str(name));
    if (vivi_snapshot_read(d, name, &m, &err) < 0) {
        (void)json_object_set_new(j, "error", vivi_json_str(err.message));
        return j;
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *v = json_object_get(m, keys[i]);

        (void)json_object_set(j, keys[i], v ? v : json_null());
    }
    (void)json_object_set_new(
        j, "disks", json_integer((json_int_t)json_array_size(json_object_get(m, "disks"))));
    (void)json_object_set_new(j, "size_bytes", json_integer((json_int_t)size_of(dir_fd, name, 1)));
    json_decref(m);
    return j;
}

static int by_age(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "created_at_ms"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "created_at_ms"));

    return x < y ? -1 : x > y;
}

int vivi_snapshots_list(const struct vivi_vmdir *d, json_t **ret, viv_error *err)
{
    int fd = openat(d->fd, VIVI_SNAPSHOTS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    json_t **found = calloc(LIST_MAX, sizeof(json_t *));
    const struct dirent *e;
    size_t n = 0;

    if (!dir)
        vivi_close(&fd);
    *ret = json_array();
    while (dir && found && n < LIST_MAX && (e = readdir(dir)))
        if (vivi_parse_name(e->d_name, NULL) == 0)
            found[n++] = entry_of(d, dirfd(dir), e->d_name);
    if (dir)
        (void)closedir(dir);
    if (n > 0)
        qsort(found, n, sizeof(json_t *), by_age);
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(*ret, found[i]);
    if (!found || !*ret) {
        free(found);
        return vivi_fail_oom(err);
    }
    free(found);
    return 0;
}

int vivi_snapshot_remove(const struct vivi_vmdir *d, const char *name, viv_error *err)
{
    cleanup_close int one = -1, fd = -1;
    char gone[80];
    int r = open_one(d, name, &one, err);

    if (r == 0)
        r = vivi_snapshots_open(d, &fd, err);
    if (r < 0)
        return r;
    /* It loses its name first, so that half of it is never taken for a snapshot. */
    (void)snprintf(gone, sizeof(gone), "%s.tmp", name);
    r = vivi_remove_tree_at(fd, gone, err);
    if (r == 0 && renameat(fd, name, fd, gone) < 0)
        r = vivi_fail_errno(err, errno, "snapshot %s", name);
    return r < 0 ? r : vivi_remove_tree_at(fd, gone, err);
}
