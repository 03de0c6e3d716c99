/*
 * Theory of operation: a VM's directory is opened once and then used by descriptor, so nothing a
 * verb does can land in another VM that took the name in between. Its uuid stands in state.json
 * and, for the case that this cannot be read, in the lock file, which is never written again.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "model/parse.h"

#define MOST_NAMES  100000
#define OWNER_FILE  "uuid" /* in a run directory: whose it is */
#define SOCKET_NAME "/control.sock"

void vivi_names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

struct names {
    char **items;
    size_t n, cap;
};

static int add_name(struct names *l, const char *name, viv_error *err)
{
    if (l->n >= MOST_NAMES)
        return vivi_fail(err, VIV_E_PROTOCOL, "more than %d VMs", MOST_NAMES);
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        char **items = realloc(l->items, cap * sizeof(*items));

        if (!items)
            return vivi_fail_oom(err);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n] = strdup(name);
    if (!l->items[l->n])
        return vivi_fail_oom(err);
    l->n++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *d, struct names *l, viv_error *err)
{
    const struct dirent *e;
    int r;

    for (;;) {
        errno = 0;
        e = readdir(d);
        if (!e)
            return errno ? vivi_fail_errno(err, errno, "cannot list VMs") : 0;
        if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
            continue;
        if (e->d_name[0] == '.' || vivi_parse_name(e->d_name, NULL) < 0)
            continue;
        r = add_name(l, e->d_name, err);
        if (r < 0)
            return r;
    }
}

int vivi_vms_open(const struct vivi_root *r, DIR **ret, viv_error *err)
{
    cleanup_close int fd = openat(r->vms_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *ret = fd < 0 ? NULL : fdopendir(fd);
    if (!*ret)
        return vivi_fail_errno(err, errno, "cannot list VMs");
    (void)take_fd(&fd);
    return 0;
}

int vivi_vm_names(const struct vivi_root *r, char ***ret_names, size_t *ret_n, viv_error *err)
{
    cleanup_closedir DIR *d = NULL;
    struct names l = {NULL};
    int code;

    if (r->vms_fd < 0) {
        *ret_names = NULL;
        *ret_n = 0;
        return 0;
    }
    code = vivi_vms_open(r, &d, err);
    if (code < 0)
        return code;
    code = read_names(d, &l, err);
    if (code < 0) {
        vivi_names_free(l.items, l.n);
        return code;
    }
    if (l.n > 1)
        qsort(l.items, l.n, sizeof(*l.items), compare);
    *ret_names = l.items;
    *ret_n = l.n;
    return 0;
}

static int no_such_vm(const struct vivi_root *r, const char *name, viv_error *err)
{
    const char *near = NULL;
    char **names = NULL;
    size_t n = 0;

    (void)vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
    vivi_error_vm(err, name);
    if (vivi_vm_names(r, &names, &n, NULL) == 0)
        near = vivi_nearest(name, (const char *const *)names, n);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    vivi_names_free(names, n);
    return -VIV_E_NOT_FOUND;
}

static bool looks_like_uuid(const char *s)
{
    if (strlen(s) != VIVI_UUID_SIZE - 1)
        return false;
    return strspn(s, "0123456789abcdef-") == VIVI_UUID_SIZE - 1;
}

void vivi_vm_uuid_of(int vm_fd, char ret_uuid[VIVI_UUID_SIZE])
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    cleanup_buf struct vivi_buf buf = VIVI_BUF(256);

    ret_uuid[0] = '\0';
    if (vivi_state_read(vm_fd, &s, NULL) == 0 && looks_like_uuid(s.uuid)) {
        memcpy(ret_uuid, s.uuid, VIVI_UUID_SIZE);
        return;
    }
    if (vivi_read_file_at(vm_fd, VIVI_LOCK_FILE, &buf, NULL) < 0 || !buf.data)
        return;
    buf.data[strcspn(buf.data, "\n")] = '\0';
    if (looks_like_uuid(buf.data))
        memcpy(ret_uuid, buf.data, VIVI_UUID_SIZE);
}

static int make_paths(struct vivi_vmdir *d, viv_error *err)
{
    if (asprintf(&d->path, "%s/vms/%s", d->root->path, d->name) < 0) {
        d->path = NULL;
        return vivi_fail_oom(err);
    }
    if (d->uuid[0] && asprintf(&d->run_dir, "%s/%.8s", d->root->run, d->uuid) < 0) {
        d->run_dir = NULL;
        return vivi_fail_oom(err);
    }
    return 0;
}

int vivi_vmdir_open(const struct vivi_root *r, const char *name, struct vivi_vmdir *ret,
                    viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = {.root = r, .fd = -1};
    int code;

    if (r->vms_fd < 0 || vivi_parse_name(name, NULL) < 0)
        return no_such_vm(r, name, err);
    d.fd = openat(r->vms_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (d.fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return no_such_vm(r, name, err);
    if (d.fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s/vms/%s", r->path, name);
    (void)snprintf(d.name, sizeof(d.name), "%s", name);
    vivi_vm_uuid_of(d.fd, d.uuid);
    code = make_paths(&d, err);
    if (code < 0)
        return code;
    *ret = d;
    d = (struct vivi_vmdir)VIVI_VMDIR_EMPTY;
    return 0;
}

void vivi_vmdir_done(struct vivi_vmdir *d)
{
    vivi_close(&d->fd);
    free(d->path);
    free(d->run_dir);
    d->path = NULL;
    d->run_dir = NULL;
}

int vivi_vmdir_is_current(const struct vivi_vmdir *d, viv_error *err)
{
    struct stat ours, theirs;

    if (fstat(d->fd, &ours) < 0)
        return vivi_fail_errno(err, errno, "cannot look at %s", d->path);
    if (fstatat(d->root->vms_fd, d->name, &theirs, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot look at %s", d->path);
    return ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

/* Whose run directory is it? A first visitor writes its uuid; the others compare. */
static int claim_run(const struct vivi_vmdir *d, int run_fd, viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(256);
    cleanup_close int fd =
        openat(run_fd, OWNER_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r;

    if (fd >= 0)
        return vivi_write_full(fd, d->uuid, VIVI_UUID_SIZE - 1, -1, err);
    if (errno != EEXIST)
        return vivi_fail_errno(err, errno, "cannot write %s/" OWNER_FILE, d->run_dir);
    r = vivi_read_file_at(run_fd, OWNER_FILE, &buf, err);
    if (r < 0)
        return r;
    if (buf.len < VIVI_UUID_SIZE - 1) /* its writer was interrupted */
        return vivi_write_file_at(run_fd, OWNER_FILE, d->uuid, VIVI_UUID_SIZE - 1, VIVI_FAST, err);
    if (memcmp(buf.data, d->uuid, VIVI_UUID_SIZE - 1) != 0)
        return vivi_fail(err, VIV_E_EXISTS, "%s belongs to the VM with uuid %.36s", d->run_dir,
                         buf.data);
    return 0;
}

int vivi_vmdir_ensure_run(const struct vivi_vmdir *d, viv_error *err)
{
    cleanup_close int fd = -1;
    int r;

    if (!d->run_dir)
        return vivi_fail(err, VIV_E_PROTOCOL, "broken record (its uuid cannot be read)");
    if (strlen(d->run_dir) + sizeof(SOCKET_NAME) > VIVI_SUN_PATH_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%s" SOCKET_NAME ": longer than %d bytes", d->run_dir,
                         VIVI_SUN_PATH_MAX - 1);
    r = vivi_mkdir_path(d->run_dir, 0700, err);
    if (r == 0)
        r = vivi_open_dir(AT_FDCWD, d->run_dir, &fd, err);
    return r < 0 ? r : claim_run(d, fd, err);
}
