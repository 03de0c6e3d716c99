/*
 * cpio.c: members → initramfs.
 *
 * gzip, because every kernel unpacks it; measured under emulation, none, lz4, zstd and gzip boot
 * equally fast (the archive has 4 MB). Inode numbers come from libarchive's own counter, so order
 * decides them.
 */
#include "cpio.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

static void free_writer(struct archive **a)
{
    if (*a != NULL)
        (void)archive_write_free(*a);
}

static void free_entry(struct archive_entry **e)
{
    if (*e != NULL)
        archive_entry_free(*e);
}

static int fail_writing(struct archive *a, const char *what, viv_error *err)
{
    const char *text = archive_error_string(a);
    int sys_errno = archive_errno(a);

    if (sys_errno == ENOMEM)
        return vivi_fail_oom(err);
    if (sys_errno > 0)
        return vivi_fail_errno(err, sys_errno, "cannot write %s", what);
    return vivi_fail(err, VIV_E_IO, "cannot write %s: %s", what, text != NULL ? text : "unknown");
}

static int write_member(struct archive *a, const struct vivi_member *m, viv_error *err)
{
    VIVI_CLEANUP(free_entry) struct archive_entry *entry = archive_entry_new();

    if (entry == NULL)
        return vivi_fail_oom(err);
    archive_entry_set_pathname(entry, m->path);
    archive_entry_set_mode(entry, (mode_t)m->mode);
    archive_entry_set_size(entry, (la_int64_t)m->len);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_nlink(entry, 1);
    if (m->link != NULL)
        archive_entry_set_symlink(entry, m->link);
    if (archive_write_header(a, entry) != ARCHIVE_OK ||
        (m->len > 0 && archive_write_data(a, m->data, m->len) != (la_ssize_t)m->len))
        return fail_writing(a, m->path, err);
    return 0;
}

static int open_writer(struct archive *a, int fd, viv_error *err)
{
    if (archive_write_set_format_cpio_newc(a) != ARCHIVE_OK ||
        archive_write_add_filter_gzip(a) != ARCHIVE_OK ||
        archive_write_set_options(a, "gzip:!timestamp,gzip:compression-level=9") != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        archive_write_open_fd(a, fd) != ARCHIVE_OK)
        return fail_writing(a, "the archive", err);
    return 0;
}

int vivi_cpio_write(int fd, struct vivi_members *members, viv_error *err)
{
    VIVI_CLEANUP(free_writer) struct archive *a = archive_write_new();
    int r;

    if (a == NULL)
        return vivi_fail_oom(err);
    r = vivi_members_sort(members, err);
    if (r < 0)
        return r;
    r = open_writer(a, fd, err);
    for (size_t i = 0; r == 0 && i < members->n; i++)
        r = write_member(a, &members->at[i], err);
    if (r == 0 && archive_write_close(a) != ARCHIVE_OK)
        r = fail_writing(a, "the archive", err);
    return r;
}
