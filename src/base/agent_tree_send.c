/*
 * Theory of operation. The directories on the way from the root stand on a stack, each as an open
 * stream of entries. A step writes one record: the next entry of the topmost directory, a part of
 * the open file, or a directory's end. Data is read straight into the caller's buffer, behind the
 * place for its head. Everything is opened relative to the directory's descriptor without following
 * links, so a tree that changes meanwhile can at worst be missing parts.
 */
#include "base/agent_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errno_text.h"

#define LINKS_MAX  65536u
#define BUCKETS    1024u
#define PATH_BYTES 4096u

enum stage { GREETING, ROOT, INSIDE, WHOLE, OVER };

struct level {
    DIR *dir;        /* owned */
    size_t path_len; /* of the path up to and without this directory */
};

/* A file with more than one name that was sent. */
struct known {
    dev_t dev;
    ino_t ino;
    struct known *next;
    char path[]; /* from the tree's root */
};

struct vivi_tree_send {
    enum stage stage;
    int parent_fd; /* of the root entry */
    char root[VIVI_TREE_NAME_MAX + 1];
    bool follow, apart;
    struct level levels[VIVI_TREE_DEPTH];
    unsigned depth;
    char path[PATH_BYTES];       /* of the topmost directory, from the root: "a/b/" */
    int file_fd;                 /* −1 = no file is open */
    uint64_t size, at, data_end; /* of the file; data_end: where the data at `at` ends */
    struct known *buckets[BUCKETS];
    size_t n_known;
    struct vivi_tree_stats stats;
};

/* Where one record is written: head, then name, then extra. */
struct out {
    unsigned char *to;
    size_t len;
};

static void emit(struct out *o, struct vivi_tree_record *r, const char *name, const char *extra)
{
    r->name_len = (uint16_t)(name == NULL ? 0 : strlen(name));
    r->extra_len = (uint32_t)(extra == NULL ? 0 : strlen(extra));
    vivi_tree_encode(r, o->to);
    if (r->name_len > 0)
        memcpy(o->to + VIVI_TREE_HEAD, name, r->name_len);
    if (r->extra_len > 0)
        memcpy(o->to + VIVI_TREE_HEAD + r->name_len, extra, r->extra_len);
    o->len = VIVI_TREE_HEAD + r->name_len + r->extra_len;
}

static int split_path(struct vivi_tree_send *t, int dir_fd, const char *path, viv_error *err)
{
    char parent[PATH_BYTES];
    size_t len = strlen(path);
    const char *slash, *name, *dir = parent;

    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(parent))
        return vivi_fail(err, VIV_E_INVALID, "not a path");
    memcpy(parent, path, len);
    parent[len] = '\0';
    slash = strrchr(parent, '/');
    name = slash == NULL ? parent : slash + 1;
    if (strlen(name) > VIVI_TREE_NAME_MAX)
        return vivi_fail(err, VIV_E_INVALID, "not a path");
    /* "/" is its own entry "."; ".." and "." are good names to begin at, though not to send. */
    if (*name == '\0')
        name = ".";
    memcpy(t->root, name, strlen(name) + 1);
    if (slash == NULL)
        dir = ".";
    else if (slash == parent)
        dir = "/";
    else
        parent[slash - parent] = '\0';
    t->parent_fd = openat(dir_fd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return t->parent_fd < 0 ? vivi_fail_errno(err, errno, "cannot open %s", dir) : 0;
}

int vivi_tree_send_new(int dir_fd, const char *path, bool follow, struct vivi_tree_send **ret,
                       viv_error *err)
{
    struct vivi_tree_send *t = calloc(1, sizeof(*t));
    struct stat st;
    int r;

    if (t == NULL)
        return vivi_fail_oom(err);
    t->parent_fd = t->file_fd = -1;
    t->follow = follow;
    r = split_path(t, dir_fd, path, err);
    if (r == 0 && fstatat(t->parent_fd, t->root, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        r = vivi_fail_errno(err, errno, "%s", path);
    if (r == 0 && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) &&
        !S_ISFIFO(st.st_mode))
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "%s is a device or a socket", path);
    if (r < 0) {
        vivi_tree_send_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void vivi_tree_send_free(struct vivi_tree_send *t)
{
    if (t == NULL)
        return;
    while (t->depth > 0)
        (void)closedir(t->levels[--t->depth].dir);
    for (size_t i = 0; i < BUCKETS; i++) {
        struct known *k, *next;

        for (k = t->buckets[i]; k != NULL; k = next) {
            next = k->next;
            free(k);
        }
    }
    vivi_close(&t->file_fd);
    vivi_close(&t->parent_fd);
    free(t);
}

const struct vivi_tree_stats *vivi_tree_send_stats(const struct vivi_tree_send *t)
{
    return &t->stats;
}

static int parent_of(const struct vivi_tree_send *t)
{
    return t->depth == 0 ? t->parent_fd : dirfd(t->levels[t->depth - 1].dir);
}

static void skip(struct vivi_tree_send *t, struct out *o, const char *name, const char *why)
{
    struct vivi_tree_record r = {.kind = 'X'};

    if (t->stats.skipped++ == 0)
        (void)snprintf(t->stats.first_skipped, sizeof(t->stats.first_skipped), "%.240s: %.50s",
                       name, why);
    emit(o, &r, name, why);
}

static struct known **bucket(struct vivi_tree_send *t, const struct stat *st)
{
    return &t->buckets[((uint64_t)st->st_ino ^ (uint64_t)st->st_dev) % BUCKETS];
}

/* The path under which this very file was sent already; else remembers it and returns NULL. */
static const char *sent_before(struct vivi_tree_send *t, const struct stat *st, const char *name)
{
    struct known **b = bucket(t, st), *k;
    size_t len = strlen(t->path) + strlen(name) + 1;

    for (k = *b; k != NULL; k = k->next) {
        if (k->ino == st->st_ino && k->dev == st->st_dev)
            return k->path;
    }
    if (t->n_known == LINKS_MAX || len > VIVI_TREE_LINK_MAX)
        return NULL;
    k = malloc(sizeof(*k) + len);
    if (k == NULL)
        return NULL; /* then it is sent as a file of its own */
    k->dev = st->st_dev;
    k->ino = st->st_ino;
    k->next = *b;
    memcpy(k->path, t->path, strlen(t->path));
    memcpy(k->path + strlen(t->path), name, strlen(name) + 1);
    *b = k;
    t->n_known++;
    return NULL;
}

/* For a directory that is entered: the path grows by it, but for the root's own name. */
static bool enter(struct vivi_tree_send *t, int fd, const char *name)
{
    struct level *l = &t->levels[t->depth];
    size_t len = strlen(t->path);

    if (t->depth == VIVI_TREE_DEPTH || len + strlen(name) + 2 > sizeof(t->path))
        return false;
    l->dir = fdopendir(fd);
    if (l->dir == NULL)
        return false;
    l->path_len = len;
    if (t->depth > 0)
        (void)snprintf(t->path + len, sizeof(t->path) - len, "%s/", name);
    t->depth++;
    return true;
}

static void send_directory(struct vivi_tree_send *t, struct out *o, const char *name,
                           struct vivi_tree_record *r)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (t->depth == 0 && t->follow ? 0 : O_NOFOLLOW);
    int fd = openat(parent_of(t), name, flags);

    r->kind = 'D';
    if (fd < 0) {
        skip(t, o, name, vivi_errno_text(errno));
    } else if (!enter(t, fd, name)) {
        (void)close(fd);
        skip(t, o, name, "too deep");
    } else {
        t->stats.entries++;
        emit(o, r, name, NULL);
    }
}

static void send_file(struct vivi_tree_send *t, struct out *o, const char *name,
                      const struct stat *st, struct vivi_tree_record *r)
{
    int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
                (t->depth == 0 && t->follow ? 0 : O_NOFOLLOW);
    const char *before = st->st_nlink > 1 && t->depth > 0 ? sent_before(t, st, name) : NULL;
    struct stat now;

    if (before != NULL) {
        r->kind = 'H';
        r->size = 0;
        t->stats.entries++;
        emit(o, r, name, before);
        return;
    }
    t->file_fd = openat(parent_of(t), name, flags);
    if (t->file_fd < 0 || fstat(t->file_fd, &now) < 0 || !S_ISREG(now.st_mode)) {
        skip(t, o, name, t->file_fd < 0 ? vivi_errno_text(errno) : "it has changed");
        vivi_close(&t->file_fd);
        return;
    }
    r->kind = 'F';
    r->size = t->size = (uint64_t)now.st_size;
    t->at = t->data_end = 0;
    t->stats.entries++;
    emit(o, r, name, NULL);
}

static void send_link(struct vivi_tree_send *t, struct out *o, const char *name,
                      struct vivi_tree_record *r)
{
    char target[VIVI_TREE_LINK_MAX + 1];
    ssize_t n = readlinkat(parent_of(t), name, target, sizeof(target) - 1);

    if (n <= 0) {
        skip(t, o, name, vivi_errno_text(errno));
        return;
    }
    target[n] = '\0';
    r->kind = 'L';
    t->stats.entries++;
    emit(o, r, name, target);
}

static void send_entry(struct vivi_tree_send *t, struct out *o, const char *name)
{
    struct vivi_tree_record r = {0};
    struct stat st;

    if (fstatat(parent_of(t), name, &st, t->depth == 0 && t->follow ? 0 : AT_SYMLINK_NOFOLLOW) <
        0) {
        skip(t, o, name, vivi_errno_text(errno));
        return;
    }
    r = (struct vivi_tree_record){.mode = st.st_mode & 07777,
                                  .uid = st.st_uid,
                                  .gid = st.st_gid,
                                  .mtime_s = st.st_mtim.tv_sec,
                                  .mtime_ns = (uint32_t)st.st_mtim.tv_nsec};
    if (S_ISDIR(st.st_mode)) {
        send_directory(t, o, name, &r);
    } else if (S_ISREG(st.st_mode)) {
        send_file(t, o, name, &st, &r);
    } else if (S_ISLNK(st.st_mode)) {
        send_link(t, o, name, &r);
    } else if (S_ISFIFO(st.st_mode)) {
        r.kind = 'P';
        t->stats.entries++;
        emit(o, &r, name, NULL);
    } else {
        skip(t, o, name, "a device or a socket");
    }
}

static int send_root(struct vivi_tree_send *t, struct out *o, viv_error *err)
{
    send_entry(t, o, t->root);
    if (t->stats.entries == 0)
        return vivi_fail(err, VIV_E_DENIED, "cannot read %s", t->stats.first_skipped);
    /* "." and ".." are no names to the receiver, which gives the root its own. */
    if (strcmp(t->root, ".") == 0 || strcmp(t->root, "..") == 0) {
        struct vivi_tree_record r;

        (void)vivi_tree_decode(o->to, &r);
        emit(o, &r, "root", NULL);
    }
    t->stage = t->depth > 0 || t->file_fd >= 0 ? INSIDE : WHOLE;
    return 0;
}

/* The next entry of the topmost directory, or its end. */
static void send_next(struct vivi_tree_send *t, struct out *o)
{
    struct vivi_tree_record r = {.kind = 'U'};
    struct level *l = &t->levels[t->depth - 1];
    const struct dirent *e;

    while ((e = readdir(l->dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        send_entry(t, o, e->d_name);
        return;
    }
    t->path[l->path_len] = '\0';
    (void)closedir(l->dir);
    t->depth--;
    if (t->depth == 0)
        t->stage = WHOLE;
    emit(o, &r, NULL, NULL);
}

/* Moves `at` over a hole and finds where the data behind it ends. */
static void find_data(struct vivi_tree_send *t)
{
    off_t data, hole;

    if (t->at < t->data_end || t->at >= t->size)
        return;
    data = lseek(t->file_fd, (off_t)t->at, SEEK_DATA);
    if (data < 0) {
        /* ENXIO: nothing but hole. Anything else: a file system that knows no holes. */
        t->at = errno == ENXIO ? t->size : t->at;
        t->data_end = t->size;
        return;
    }
    hole = lseek(t->file_fd, data, SEEK_HOLE);
    t->at = (uint64_t)data < t->size ? (uint64_t)data : t->size;
    t->data_end = hole < 0 || (uint64_t)hole > t->size ? t->size : (uint64_t)hole;
}

static int send_data(struct vivi_tree_send *t, struct out *o, size_t room, viv_error *err)
{
    struct vivi_tree_record r = {.kind = 'C'};
    size_t want = room - VIVI_TREE_HEAD;
    ssize_t n = 0;

    find_data(t);
    if (want > VIVI_TREE_CHUNK_MAX)
        want = VIVI_TREE_CHUNK_MAX;
    if (want > t->data_end - t->at)
        want = (size_t)(t->data_end - t->at);
    while (want > 0 && (n = pread(t->file_fd, o->to + VIVI_TREE_HEAD, want, (off_t)t->at)) < 0) {
        if (errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot read a file in %s", t->path);
    }
    if (n == 0) { /* the end, also of one that became shorter */
        vivi_close(&t->file_fd);
        r.kind = 'E';
        if (t->depth == 0)
            t->stage = WHOLE;
        emit(o, &r, NULL, NULL);
        return 0;
    }
    r.size = t->at;
    r.extra_len = (uint32_t)n;
    vivi_tree_encode(&r, o->to);
    o->len = VIVI_TREE_HEAD + (size_t)n;
    vivi_tree_send_passed(t, (size_t)n);
    return 0;
}

void vivi_tree_send_apart(struct vivi_tree_send *t)
{
    t->apart = true;
}

bool vivi_tree_send_data(struct vivi_tree_send *t, size_t max, struct vivi_tree_data *ret)
{
    uint64_t left;

    if (t->file_fd < 0)
        return false;
    find_data(t);
    left = t->data_end - t->at;
    ret->fd = t->file_fd;
    ret->at = t->at;
    ret->len = left < max ? (size_t)left : max;
    return left > 0;
}

void vivi_tree_send_passed(struct vivi_tree_send *t, size_t len)
{
    t->at += len;
    t->stats.bytes += len;
}

static int step(struct vivi_tree_send *t, struct out *o, size_t room, viv_error *err)
{
    struct vivi_tree_record r = {.kind = 'V', .size = VIVI_TREE_VERSION};

    if (t->file_fd >= 0)
        return send_data(t, o, room, err);
    switch (t->stage) {
    case GREETING:
        emit(o, &r, NULL, NULL);
        t->stage = ROOT;
        return 0;
    case ROOT: return send_root(t, o, err);
    case INSIDE: send_next(t, o); return 0;
    case WHOLE:
        r.kind = 'Z';
        r.size = t->stats.entries;
        emit(o, &r, NULL, NULL);
        t->stage = OVER;
        return 0;
    case OVER: break;
    }
    o->len = 0;
    return 0;
}

ssize_t vivi_tree_send_fill(struct vivi_tree_send *t, void *buf, size_t room, viv_error *err)
{
    size_t len = 0;

    while (room - len >= VIVI_TREE_ROOM_MIN && (t->stage != OVER || len == 0)) {
        struct out o = {.to = (unsigned char *)buf + len};
        int r = step(t, &o, room - len, err);

        if (r < 0)
            return r;
        if (o.len == 0)
            break;
        len += o.len;
        if (t->apart && t->file_fd >= 0)
            break;
    }
    return (ssize_t)len;
}
