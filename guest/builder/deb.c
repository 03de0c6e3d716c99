/*
 * deb.c: a .deb is an ar archive of "debian-binary", "control.tar.*" and "data.tar.*".
 *
 * libarchive reads the outer archive from the file and each inner one from a member of the outer,
 * so a package is streamed once and nothing is written. A package is hostile input: names are
 * checked before anything is kept, and sizes before anything is allocated. No maintainer script is
 * ever looked at.
 */
#include "deb.h"

#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_MEMBERS       65536
#define MAX_FILE_BYTES    (128 * 1024 * 1024)
#define MAX_TOTAL_BYTES   (2LL * 1024 * 1024 * 1024)
#define MAX_CONTROL_BYTES (1024 * 1024)
#define BLOCK_BYTES       65536

static void free_archive(struct archive **a)
{
    if (*a != NULL)
        (void)archive_read_free(*a);
}

#define cleanup_archive VIVI_CLEANUP(free_archive)

static const char *why(struct archive *a)
{
    const char *text = archive_error_string(a);

    return text != NULL ? text : "unreadable";
}

/* The inner archive's bytes are the data of the outer one's current member. */
static la_ssize_t read_inner(struct archive *inner, void *outer, const void **ret_block)
{
    size_t len = 0;
    la_int64_t offset;
    int r;

    do {
        r = archive_read_data_block(outer, ret_block, &len, &offset);
    } while (r == ARCHIVE_OK && len == 0);
    if (r == ARCHIVE_EOF)
        return 0;
    if (r < ARCHIVE_WARN) {
        archive_set_error(inner, EIO, "%s", why(outer));
        return -1;
    }
    return (la_ssize_t)len;
}

/* "./a/b/" → "a/b"; the root itself → "". NULL if it is not safe. */
static const char *member_path(struct archive_entry *entry, char *buf, size_t size)
{
    const char *path = archive_entry_pathname(entry);
    size_t len;

    if (path == NULL)
        return NULL;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    len = strlen(path);
    if (len > 0 && path[len - 1] == '/')
        len--;
    if (len >= size)
        return NULL;
    memcpy(buf, path, len);
    buf[len] = '\0';
    if (len == 0 || strcmp(buf, ".") == 0)
        return "";
    return vivi_member_path_is_safe(buf) ? buf : NULL;
}

static int read_contents(struct archive *a, size_t len, void **ret_data, viv_error *err)
{
    cleanup_free char *data = malloc(len > 0 ? len : 1);
    size_t have = 0;

    if (data == NULL)
        return vivi_fail_oom(err);
    while (have < len) {
        la_ssize_t n = archive_read_data(a, data + have, len - have);

        if (n < 0)
            return vivi_fail(err, VIV_E_PROTOCOL, "damaged package: %s", why(a));
        if (n == 0)
            return vivi_fail(err, VIV_E_PROTOCOL, "damaged package: it ends too early");
        have += (size_t)n;
    }
    *ret_data = take_ptr(data);
    return 0;
}

struct tar_walk {
    struct archive *tar;
    bool (*wanted)(const char *path);
    struct vivi_members *members;
    long long total_bytes;
    size_t count;
};

static int walk_entry(struct tar_walk *w, struct archive_entry *entry, viv_error *err)
{
    char buf[1024];
    const char *path = member_path(entry, buf, sizeof(buf));
    long long size = archive_entry_size(entry);
    void *data = NULL;
    int r;

    if (path == NULL)
        return vivi_fail(err, VIV_E_PROTOCOL, "unsafe name in the package: '%.200s'",
                         archive_entry_pathname(entry) != NULL ? archive_entry_pathname(entry)
                                                               : "(not text)");
    if (++w->count > MAX_MEMBERS || size < 0 || size > MAX_TOTAL_BYTES - w->total_bytes)
        return vivi_fail(err, VIV_E_PROTOCOL, "the package is larger than any real one");
    w->total_bytes += size;
    if (archive_entry_filetype(entry) != S_IFREG || archive_entry_hardlink(entry) != NULL ||
        *path == '\0' || !w->wanted(path))
        return 0;
    if (size > MAX_FILE_BYTES)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s is larger than %d MiB", path,
                         MAX_FILE_BYTES / 1024 / 1024);
    r = read_contents(w->tar, (size_t)size, &data, err);
    if (r < 0)
        return vivi_wrap(err, r, "%s", path);
    return vivi_members_add_consume(w->members, path, archive_entry_mode(entry), data, (size_t)size,
                                    err);
}

static int walk_tar(struct archive *outer, bool (*wanted)(const char *path),
                    struct vivi_members *members, viv_error *err)
{
    cleanup_archive struct archive *tar = archive_read_new();
    struct tar_walk walk = {.tar = tar, .wanted = wanted, .members = members};
    struct archive_entry *entry;
    int r;

    if (tar == NULL)
        return vivi_fail_oom(err);
    (void)archive_read_support_filter_all(tar);
    (void)archive_read_support_format_tar(tar);
    if (archive_read_open(tar, outer, NULL, read_inner, NULL) != ARCHIVE_OK)
        return vivi_fail(err, VIV_E_PROTOCOL, "damaged package: %s", why(tar));
    while ((r = archive_read_next_header(tar, &entry)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN)
            return vivi_fail(err, VIV_E_PROTOCOL, "damaged package: %s", why(tar));
        r = walk_entry(&walk, entry, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Value of "Field: value" at the start of a line, up to the line's end; "" if missing or too long.
 */
static void control_field(const char *text, const char *field, char *to, size_t size)
{
    size_t field_len = strlen(field);

    to[0] = '\0';
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        size_t len;

        line += *line == '\n';
        if (strncasecmp(line, field, field_len) != 0 || line[field_len] != ':')
            continue;
        line += field_len + 1;
        line += strspn(line, " \t");
        len = strcspn(line, "\r\n");
        if (len < size) {
            memcpy(to, line, len);
            to[len] = '\0';
        }
        return;
    }
}

static bool is_control(const char *path)
{
    return strcmp(path, "control") == 0;
}

static int read_control(struct archive *outer, struct vivi_deb_info *ret_info, viv_error *err)
{
    cleanup_members struct vivi_members members = {0};
    cleanup_free char *text = NULL;
    int r = walk_tar(outer, is_control, &members, err);

    if (r < 0)
        return vivi_wrap(err, r, "control");
    if (members.n != 1 || members.at[0].len > MAX_CONTROL_BYTES)
        return vivi_fail(err, VIV_E_PROTOCOL, "not a Debian package (no control file)");
    text = strndup(members.at[0].data, members.at[0].len);
    if (text == NULL)
        return vivi_fail_oom(err);
    control_field(text, "Package", ret_info->package, sizeof(ret_info->package));
    control_field(text, "Version", ret_info->version, sizeof(ret_info->version));
    control_field(text, "Architecture", ret_info->architecture, sizeof(ret_info->architecture));
    control_field(text, "Depends", ret_info->depends, sizeof(ret_info->depends));
    if (ret_info->package[0] == '\0')
        return vivi_fail(err, VIV_E_PROTOCOL, "not a Debian package (it has no name)");
    return 0;
}

static int read_outer(struct archive *outer, bool (*wanted)(const char *path),
                      struct vivi_deb_info *info, struct vivi_members *members, viv_error *err)
{
    bool control = false;
    struct archive_entry *entry;
    int r;

    while ((r = archive_read_next_header(outer, &entry)) != ARCHIVE_EOF) {
        const char *name = archive_entry_pathname(entry);

        if (r < ARCHIVE_WARN || name == NULL)
            return vivi_fail(err, VIV_E_PROTOCOL, "damaged package: %s", why(outer));
        if (strncmp(name, "control.tar", 11) == 0) {
            r = read_control(outer, info, err);
            if (r < 0)
                return r;
            control = true;
        } else if (strncmp(name, "data.tar", 8) == 0 && control) {
            return wanted != NULL ? walk_tar(outer, wanted, members, err) : 0;
        }
    }
    return vivi_fail(err, VIV_E_PROTOCOL, "not a Debian package (no %s)",
                     control ? "data" : "control file");
}

static int read_package(const char *file, bool (*wanted)(const char *path),
                        struct vivi_deb_info *info, struct vivi_members *members, viv_error *err)
{
    cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
    cleanup_archive struct archive *outer = NULL;

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open it");
    outer = archive_read_new();
    if (outer == NULL)
        return vivi_fail_oom(err);
    (void)archive_read_support_format_ar(outer);
    if (archive_read_open_fd(outer, fd, BLOCK_BYTES) != ARCHIVE_OK)
        return vivi_fail(err, VIV_E_PROTOCOL, "not a Debian package (%s)", why(outer));
    return read_outer(outer, wanted, info, members, err);
}

int vivi_deb_read(const char *file, bool (*wanted)(const char *path),
                  struct vivi_deb_info *ret_info, struct vivi_members *ret_members, viv_error *err)
{
    cleanup_members struct vivi_members members = {0};
    struct vivi_deb_info info = {0};
    int r = read_package(file, wanted, &info, &members, err);

    if (r < 0)
        return vivi_wrap(err, r, "%s", file);
    *ret_info = info;
    if (wanted != NULL) {
        *ret_members = members;
        members = (struct vivi_members){0};
    }
    return 0;
}

/* dpkg's order of characters: '~' before the end, the end before letters, letters before the rest.
 */
static int order(char c)
{
    if (c == '~')
        return -1;
    if (c == '\0' || isdigit((unsigned char)c))
        return 0;
    return isalpha((unsigned char)c) ? (unsigned char)c : (unsigned char)c + 256;
}

int vivi_deb_version_compare(const char *a, const char *b)
{
    while (*a != '\0' || *b != '\0') {
        size_t len_a;
        size_t len_b;
        int r;

        while ((*a != '\0' && !isdigit((unsigned char)*a)) ||
               (*b != '\0' && !isdigit((unsigned char)*b))) {
            if (order(*a) != order(*b))
                return order(*a) - order(*b);
            a += *a != '\0';
            b += *b != '\0';
        }
        a += strspn(a, "0");
        b += strspn(b, "0");
        len_a = strspn(a, "0123456789");
        len_b = strspn(b, "0123456789");
        if (len_a != len_b)
            return len_a < len_b ? -1 : 1;
        r = strncmp(a, b, len_a);
        if (r != 0)
            return r;
        a += len_a;
        b += len_b;
    }
    return 0;
}
