/*
 * Theory of operation. Bytes become heads, heads become texts (name and extra) or data, and each
 * whole record is one small act on the file system, relative to the descriptor of the directory
 * that the records before have entered. The only path with more than one component is a hard
 * link's, and it is walked from the tree's root, one component at a time, without following links.
 *
 * A new file, link or FIFO is made under a temporary name in its directory and moved over what is
 * there. Modes, owners and times of a directory are set when it is left, since working in it
 * changes them, and only if it was made by us.
 */
#include "base/agent_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_SHOWN 600u
#define TEMP_SIZE  32u

enum state { HEAD, TEXT, DATA, BROKEN };

struct level {
    int fd;
    bool made;        /* by us: gets mode, owner and times */
    size_t shown_len; /* of the path without this level */
    struct vivi_tree_record r;
};

struct vivi_tree_receive {
    int dir_fd;
    unsigned flags;
    uint64_t unique; /* of the temporary's name: one left by a killed process is not met */
    char root[VIVI_TREE_NAME_MAX + 1];
    enum state state;
    unsigned char head[VIVI_TREE_HEAD];
    size_t have;               /* of head or of text; of a C: bytes that came */
    struct vivi_tree_record r; /* whose text or data comes in */
    char text[VIVI_TREE_NAME_MAX + VIVI_TREE_LINK_MAX + 2]; /* name NUL extra NUL */
    bool greeted, rooted, whole;
    struct level levels[VIVI_TREE_DEPTH];
    unsigned depth;
    int file_fd; /* −1 = no file is open */
    struct vivi_tree_record file;
    char file_name[VIVI_TREE_NAME_MAX + 1];
    char temp[TEMP_SIZE]; /* "" = none to be removed */
    char shown[PATH_SHOWN];
    struct vivi_tree_stats stats;
};

int vivi_tree_receive_new(int dir_fd, const char *name, unsigned flags,
                          struct vivi_tree_receive **ret, viv_error *err)
{
    struct timespec now = {0};
    struct vivi_tree_receive *t;

    if (!vivi_tree_name_ok(name, strlen(name)))
        return vivi_fail(err, VIV_E_INVALID, "'%s' is not the name of a file", name);
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return vivi_fail_oom(err);
    t->flags = flags;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    t->unique = (uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec << 12 ^ (uint64_t)getpid();
    t->file_fd = -1;
    memcpy(t->root, name, strlen(name) + 1);
    t->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
    if (t->dir_fd < 0) {
        int e = errno;

        free(t);
        return vivi_fail_errno(err, e, "cannot use the target directory");
    }
    *ret = t;
    return 0;
}

static int parent_fd(const struct vivi_tree_receive *t)
{
    return t->depth == 0 ? t->dir_fd : t->levels[t->depth - 1].fd;
}

static void drop_file(struct vivi_tree_receive *t)
{
    vivi_close(&t->file_fd);
    if (t->temp[0] != '\0')
        (void)unlinkat(parent_fd(t), t->temp, 0);
    t->temp[0] = '\0';
}

void vivi_tree_receive_free(struct vivi_tree_receive *t)
{
    if (t == NULL)
        return;
    drop_file(t);
    while (t->depth > 0)
        vivi_close(&t->levels[--t->depth].fd);
    vivi_close(&t->dir_fd);
    free(t);
}

const struct vivi_tree_stats *vivi_tree_receive_stats(const struct vivi_tree_receive *t)
{
    return &t->stats;
}

static int damaged(const char *what, viv_error *err)
{
    return vivi_fail(err, VIV_E_PROTOCOL, "damaged tree: %s", what);
}

static int failed(const struct vivi_tree_receive *t, const char *name, int e, viv_error *err)
{
    return vivi_fail_errno(err, e, "cannot make %s%s", t->shown, name);
}

/* The name in the tree, or the one that the caller wants for its root. */
static const char *entry_name(struct vivi_tree_receive *t)
{
    return t->depth == 0 ? t->root : t->text;
}

static int set_attributes(const struct vivi_tree_receive *t, int fd,
                          const struct vivi_tree_record *r)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = (time_t)r->mtime_s, .tv_nsec = r->mtime_ns}};
    bool owner = (t->flags & VIVI_TREE_OWNER) != 0;

    if (owner && fchown(fd, r->uid, r->gid) < 0)
        return -1;
    /* Set-id bits of a file that becomes the receiver's own would be a gift to its sender. */
    if (fchmod(fd, r->mode & (owner ? 07777 : 01777)) < 0)
        return -1;
    return futimens(fd, times);
}

static void new_temp(struct vivi_tree_receive *t)
{
    (void)snprintf(t->temp, sizeof(t->temp), ".viv-%" PRIx64 ".tmp", t->unique);
}

/* Moves the temporary over name; a directory there is in the way. */
static int settle(struct vivi_tree_receive *t, const char *name, viv_error *err)
{
    int fd = parent_fd(t);

    if (renameat(fd, t->temp, fd, name) < 0)
        return failed(t, name, errno, err);
    (void)unlinkat(fd, t->temp, 0); /* rename of two links of one file does nothing */
    t->temp[0] = '\0';
    t->stats.entries++;
    return 0;
}

static int enter(struct vivi_tree_receive *t, viv_error *err)
{
    const char *name = entry_name(t);
    struct level *l = &t->levels[t->depth];
    size_t len = strlen(t->shown);
    int fd;

    if (t->depth == VIVI_TREE_DEPTH)
        return damaged("too deep", err);
    l->made = mkdirat(parent_fd(t), name, 0700) == 0;
    if (!l->made && errno != EEXIST)
        return failed(t, name, errno, err);
    fd = openat(parent_fd(t), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return vivi_fail(err, VIV_E_EXISTS, "cannot make %s%s: it is there, and no directory",
                         t->shown, name);
    if (fd < 0)
        return failed(t, name, errno, err);
    l->fd = fd;
    l->r = t->r;
    l->shown_len = len;
    (void)snprintf(t->shown + len, sizeof(t->shown) - len, "%s/", name);
    t->depth++;
    t->stats.entries++;
    return 0;
}

static int leave(struct vivi_tree_receive *t, viv_error *err)
{
    struct level *l;

    if (t->depth == 0)
        return damaged("left more directories than it entered", err);
    l = &t->levels[--t->depth];
    if (l->made && set_attributes(t, l->fd, &l->r) < 0) {
        int e = errno;

        vivi_close(&l->fd);
        return failed(t, "", e, err);
    }
    vivi_close(&l->fd);
    t->shown[l->shown_len] = '\0';
    return 0;
}

static int begin_file(struct vivi_tree_receive *t, viv_error *err)
{
    const char *name = entry_name(t);

    new_temp(t);
    t->file_fd =
        openat(parent_fd(t), t->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->file_fd < 0) {
        int e = errno;

        t->temp[0] = '\0';
        return failed(t, name, e, err);
    }
    t->file = t->r;
    memcpy(t->file_name, name, strlen(name) + 1); /* its length was checked */
    return 0;
}

static int end_file(struct vivi_tree_receive *t, viv_error *err)
{
    if (ftruncate(t->file_fd, (off_t)t->file.size) < 0 ||
        set_attributes(t, t->file_fd, &t->file) < 0)
        return failed(t, t->file_name, errno, err);
    vivi_close(&t->file_fd);
    return settle(t, t->file_name, err);
}

static int make_link(struct vivi_tree_receive *t, const char *target, viv_error *err)
{
    const char *name = entry_name(t);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = (time_t)t->r.mtime_s, .tv_nsec = t->r.mtime_ns}};
    int fd = parent_fd(t);

    if (t->r.extra_len == 0 || strlen(target) != t->r.extra_len)
        return damaged("a link to nothing", err);
    new_temp(t);
    if (symlinkat(target, fd, t->temp) < 0) {
        int e = errno;

        t->temp[0] = '\0';
        return failed(t, name, e, err);
    }
    if ((t->flags & VIVI_TREE_OWNER) != 0)
        (void)fchownat(fd, t->temp, t->r.uid, t->r.gid, AT_SYMLINK_NOFOLLOW);
    (void)utimensat(fd, t->temp, times, AT_SYMLINK_NOFOLLOW);
    return settle(t, name, err);
}

/* The directory that holds the last component of a path of this tree: a descriptor, or −errno. */
static int walk(const struct vivi_tree_receive *t, char *path, const char **ret_last)
{
    int fd = fcntl(t->levels[0].fd, F_DUPFD_CLOEXEC, 3);
    char *part = path, *slash;

    while (fd >= 0 && (slash = strchr(part, '/')) != NULL) {
        int next;

        *slash = '\0';
        if (!vivi_tree_name_ok(part, strlen(part))) {
            vivi_close(&fd);
            return -EINVAL;
        }
        next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            next = -errno;
        vivi_close(&fd);
        fd = next;
        part = slash + 1;
    }
    *ret_last = part;
    return fd;
}

static int make_hard_link(struct vivi_tree_receive *t, char *path, viv_error *err)
{
    const char *name = entry_name(t), *last = NULL;
    cleanup_close int fd = -1;

    if (t->depth == 0 || strlen(path) != t->r.extra_len)
        return damaged("a hard link to nothing", err);
    fd = walk(t, path, &last);
    if (fd < 0)
        return fd == -EINVAL ? damaged("a hard link out of it", err) : failed(t, name, -fd, err);
    if (!vivi_tree_name_ok(last, strlen(last)))
        return damaged("a hard link out of it", err);
    new_temp(t);
    if (linkat(fd, last, parent_fd(t), t->temp, 0) < 0) {
        int e = errno;

        t->temp[0] = '\0';
        return failed(t, name, e, err);
    }
    return settle(t, name, err);
}

static int make_fifo(struct vivi_tree_receive *t, viv_error *err)
{
    const char *name = entry_name(t);

    new_temp(t);
    if (mkfifoat(parent_fd(t), t->temp, t->r.mode & 0777) < 0) {
        int e = errno;

        t->temp[0] = '\0';
        return failed(t, name, e, err);
    }
    return settle(t, name, err);
}

static void skipped(struct vivi_tree_receive *t, const char *why)
{
    if (t->stats.skipped++ == 0)
        (void)snprintf(t->stats.first_skipped, sizeof(t->stats.first_skipped), "%.40s: %.240s",
                       t->text, why);
}

/* May this kind of record come here? */
static int check_order(struct vivi_tree_receive *t, viv_error *err)
{
    bool in_file = t->file_fd >= 0, entry = strchr("DFLHPX", t->r.kind) != NULL;

    if (t->whole)
        return damaged("bytes behind its end", err);
    if (!t->greeted) {
        t->greeted = t->r.kind == 'V' && t->r.size == VIVI_TREE_VERSION;
        return t->greeted ? 0 : damaged("it does not begin as one of this version", err);
    }
    if (t->r.kind == 'V' || in_file != (t->r.kind == 'C' || t->r.kind == 'E'))
        return damaged("records in the wrong order", err);
    if (entry && t->depth == 0) {
        if (t->rooted || t->r.kind == 'X' || t->r.kind == 'H')
            return damaged("more than one root, or none", err);
        t->rooted = true;
    }
    return 0;
}

/* A record whose name and extra are there. */
static int act(struct vivi_tree_receive *t, viv_error *err)
{
    char *extra = t->text + t->r.name_len + 1;

    if (t->r.name_len > 0 && !vivi_tree_name_ok(t->text, t->r.name_len))
        return damaged("a name that leads elsewhere", err);
    switch (t->r.kind) {
    case 'D': return enter(t, err);
    case 'U': return leave(t, err);
    case 'F': return begin_file(t, err);
    case 'E': return end_file(t, err);
    case 'L': return make_link(t, extra, err);
    case 'H': return make_hard_link(t, extra, err);
    case 'P': return make_fifo(t, err);
    case 'X': skipped(t, extra); return 0;
    case 'Z':
        if (t->depth != 0 || !t->rooted || t->r.size != t->stats.entries)
            return damaged("its end is not where it should be", err);
        t->whole = true;
        return 0;
    default: return 0; /* V */
    }
}

static int take_head(struct vivi_tree_receive *t, viv_error *err)
{
    int r = vivi_tree_decode(t->head, &t->r);

    if (r < 0)
        return damaged("a record that is none", err);
    r = check_order(t, err);
    if (r < 0)
        return r;
    t->have = 0;
    if (t->r.kind == 'C') {
        if (t->r.size > t->file.size || t->r.extra_len > t->file.size - t->r.size)
            return damaged("a file with more than its size", err);
        t->state = DATA;
        return 0;
    }
    t->text[t->r.name_len] = '\0';
    t->text[t->r.name_len + 1 + t->r.extra_len] = '\0';
    t->state = TEXT;
    return 0;
}

/* The name and the extra have a NUL each in `text`, so they do not stand as they came. */
static size_t take_text(struct vivi_tree_receive *t, const char *data, size_t len)
{
    size_t want = t->r.name_len + t->r.extra_len - t->have, part;

    if (t->have < t->r.name_len)
        want = t->r.name_len - t->have;
    part = len < want ? len : want;
    memcpy(t->text + t->have + (t->have >= t->r.name_len ? 1 : 0), data, part);
    t->have += part;
    return part;
}

static ssize_t take_data(struct vivi_tree_receive *t, const char *data, size_t len, viv_error *err)
{
    size_t want = t->r.extra_len - t->have, part = len < want ? len : want, at = 0;

    while (at < part) {
        ssize_t n = pwrite(t->file_fd, data + at, part - at, (off_t)(t->r.size + t->have + at));

        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot write %s%s", t->shown, t->file_name);
        at += n > 0 ? (size_t)n : 0;
    }
    t->have += part;
    t->stats.bytes += part;
    return (ssize_t)part;
}

/* One step on: how much of data it took. */
static ssize_t step(struct vivi_tree_receive *t, const char *data, size_t len, viv_error *err)
{
    ssize_t n = 0;
    int r = 0;

    if (t->state == HEAD) {
        size_t want = VIVI_TREE_HEAD - t->have;

        n = (ssize_t)(len < want ? len : want);
        memcpy(t->head + t->have, data, (size_t)n);
        t->have += (size_t)n;
        r = t->have == VIVI_TREE_HEAD ? take_head(t, err) : 0;
    } else if (t->state == TEXT) {
        n = (ssize_t)take_text(t, data, len);
    } else {
        n = take_data(t, data, len, err);
    }
    if (r < 0 || n < 0)
        return r < 0 ? r : n;
    if (t->state == TEXT && t->have == (size_t)t->r.name_len + t->r.extra_len) {
        r = act(t, err);
        t->state = HEAD;
        t->have = 0;
    } else if (t->state == DATA && t->have == t->r.extra_len) {
        t->state = HEAD;
        t->have = 0;
    }
    return r < 0 ? r : n;
}

int vivi_tree_receive_feed(struct vivi_tree_receive *t, const void *data, size_t len,
                           viv_error *err)
{
    const char *p = data;

    if (t->state == BROKEN)
        return damaged("it has failed before", err);
    while (len > 0) {
        ssize_t n = step(t, p, len, err);

        if (n < 0) {
            drop_file(t);
            t->state = BROKEN;
            return (int)n;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int vivi_tree_receive_end(const struct vivi_tree_receive *t, viv_error *err)
{
    return t->whole && t->state == HEAD && t->have == 0
               ? 0
               : vivi_fail(err, VIV_E_PROTOCOL, "the tree ends early");
}
