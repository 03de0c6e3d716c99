/*
 * image.c: packages in, image directory out.
 *
 * out is replaced as a whole: the new one grows in ".<name>.new.<pid>" beside it and changes places
 * with it in one rename, so whoever reads out sees the old image or the new one, and a builder that
 * is killed leaves only a directory that the next one removes. Builders of one parent directory
 * exclude each other by a lock on that directory itself, which leaves no lock file behind.
 *
 * The file .stamp says what an image was made from. Its digests tell changed from unchanged, no
 * more; apt has checked the signatures.
 */
#include "image.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/file.h"
#include "cpio.h"
#include "deb.h"
#include "modules.h"

#define FORMAT         1 /* to be raised when the same inputs give another image */
#define NAME_BYTES     256
#define PATH_BYTES     4096
#define STAMP_BYTES    4096
#define PROGRAM_BYTES  (64 * 1024 * 1024)
#define ARCHITECTURE   "amd64"
#define VMLINUZ_PREFIX "boot/vmlinuz-"

static const char image_yaml[] =
    "# Vivarium's demo guest: Debian's kernel and busybox, made by viv-guest-build.\n"
    "boot:\n"
    "  kernel: vmlinuz\n"
    "  initramfs: initramfs\n"
    "  cmdline: console=ttyS0 cryptomgr.notests\n"
    "cpus: 1\n"
    "memory: 256MiB\n";

/* Where an image is made: its parent directory, locked. */
struct place {
    int parent_fd;
    char parent[PATH_BYTES];
    char name[NAME_BYTES];
    char fresh[NAME_BYTES + 32]; /* name of the new directory while it grows */
};

/* FNV-1a, 64 bits. */
static int digest_file(const char *path, uint64_t *ret_digest, viv_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t digest = 0xcbf29ce484222325u;
    unsigned char block[65536];
    ssize_t n;

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    while ((n = read(fd, block, sizeof(block))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            digest = (digest ^ block[i]) * 0x100000001b3u;
    }
    if (n < 0)
        return vivi_fail_errno(err, errno, "cannot read %s", path);
    *ret_digest = digest;
    return 0;
}

static int add_digest(struct vivi_buf *stamp, const char *what, const char *path, viv_error *err)
{
    uint64_t digest;
    int r = digest_file(path, &digest, err);

    if (r == 0)
        (void)vivi_buf_printf(stamp, "%s %016" PRIx64 "\n", what, digest);
    return r;
}

/* The part of the stamp that is known before anything is built; packages only if they are known. */
static int expected_stamp(const struct vivi_image_request *q, struct vivi_buf *stamp,
                          viv_error *err)
{
    int r;

    (void)vivi_buf_printf(stamp, "vivarium guest image %d %s\n", FORMAT,
                          vivi_guest_kind_name(q->kind));
    r = add_digest(stamp, "init", q->init, err);
    if (r == 0 && q->agent != NULL)
        r = add_digest(stamp, "agent", q->agent, err);
    if (r == 0 && q->kernel_deb != NULL)
        r = add_digest(stamp, "kernel", q->kernel_deb, err);
    if (r == 0 && q->busybox_deb != NULL)
        r = add_digest(stamp, "busybox", q->busybox_deb, err);
    return r < 0 ? r : vivi_buf_check(stamp, err);
}

/* Whether the files that a stamp lists as "file <name> <bytes>" are there in full. */
static bool files_are_complete(int dir_fd, char *stamp)
{
    char *save = NULL;
    size_t n = 0;

    for (char *line = strtok_r(stamp, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char name[64];
        unsigned long long size;
        struct stat st;

        if (sscanf(line, "file %63s %llu", name, &size) != 2)
            continue;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            (unsigned long long)st.st_size != size)
            return false;
        n++;
    }
    return n > 0;
}

static bool is_up_to_date(const struct vivi_image_request *q)
{
    cleanup_buf struct vivi_buf expected = VIVI_BUF(STAMP_BYTES);
    cleanup_buf struct vivi_buf stamp = VIVI_BUF(STAMP_BYTES);
    cleanup_close int dir_fd = -1;

    return expected_stamp(q, &expected, NULL) == 0 &&
           vivi_open_dir(AT_FDCWD, q->out, &dir_fd, NULL) == 0 &&
           vivi_read_file_at(dir_fd, ".stamp", &stamp, NULL) == 0 && stamp.len > expected.len &&
           memcmp(stamp.data, expected.data, expected.len) == 0 &&
           files_are_complete(dir_fd, stamp.data);
}

bool vivi_image_is_there(const struct vivi_image_request *q)
{
    struct vivi_image_request any = *q;

    any.kernel_deb = any.busybox_deb = NULL;
    return is_up_to_date(&any);
}

/* dirname(3) and basename(3) without their habit of changing what they are given. */
static int split_path(const char *out, struct place *p, viv_error *err)
{
    char copy[PATH_BYTES];
    const char *part;

    if (strlen(out) >= sizeof(copy))
        return vivi_fail(err, VIV_E_INVALID, "the path is too long");
    (void)snprintf(copy, sizeof(copy), "%s", out);
    part = basename(copy);
    if (strlen(part) >= sizeof(p->name) || strcmp(part, "/") == 0 || part[0] == '.' ||
        part[0] == '\0')
        return vivi_fail(err, VIV_E_INVALID, "not a name for an image directory");
    (void)snprintf(p->name, sizeof(p->name), "%s", part);
    (void)snprintf(copy, sizeof(copy), "%s", out);
    (void)snprintf(p->parent, sizeof(p->parent), "%s", dirname(copy));
    return 0;
}

static void fresh_prefix(const struct place *p, char ret_prefix[NAME_BYTES + 8])
{
    (void)snprintf(ret_prefix, NAME_BYTES + 8, ".%s.new.", p->name);
}

static void remove_leftovers(const struct place *p)
{
    cleanup_closedir DIR *d = opendir(p->parent);
    const struct dirent *entry;
    char prefix[NAME_BYTES + 8];

    fresh_prefix(p, prefix);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            (void)vivi_remove_tree_at(p->parent_fd, entry->d_name, NULL); /* best effort */
    }
}

/* Refuses to replace a directory that is somebody else's. */
static int check_replaceable(const struct place *p, viv_error *err)
{
    char path[NAME_BYTES + 16];
    struct stat st;

    if (fstatat(p->parent_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, "cannot look at it");
    (void)snprintf(path, sizeof(path), "%s/.stamp", p->name);
    if (S_ISDIR(st.st_mode) && faccessat(p->parent_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (S_ISDIR(st.st_mode) && unlinkat(p->parent_fd, p->name, AT_REMOVEDIR) == 0)
        return 0; /* it was empty */
    return vivi_fail(err, VIV_E_INVALID, "exists and is no image made by viv-guest-build");
}

static int open_place(const struct vivi_image_request *q, struct place *p, viv_error *err)
{
    char prefix[NAME_BYTES + 8];
    int r = split_path(q->out, p, err);

    if (r == 0)
        r = vivi_mkdir_path(p->parent, 0755, err);
    if (r == 0)
        r = vivi_open_dir(AT_FDCWD, p->parent, &p->parent_fd, err);
    if (r < 0)
        return r;
    if (flock(p->parent_fd, LOCK_EX) < 0)
        return vivi_fail_errno(err, errno, "cannot lock %s", p->parent);
    remove_leftovers(p);
    r = check_replaceable(p, err);
    if (r < 0)
        return r;
    fresh_prefix(p, prefix);
    (void)snprintf(p->fresh, sizeof(p->fresh), "%s%ld", prefix, (long)getpid());
    if (mkdirat(p->parent_fd, p->fresh, 0755) < 0)
        return vivi_fail_errno(err, errno, "cannot make a directory in %s", p->parent);
    return 0;
}

static bool wanted_of_kernel(const char *path)
{
    return strncmp(path, VMLINUZ_PREFIX, strlen(VMLINUZ_PREFIX)) == 0 || vivi_modules_wants(path);
}

static bool wanted_of_busybox(const char *path)
{
    return strcmp(path, "bin/busybox") == 0 || strcmp(path, "usr/bin/busybox") == 0;
}

static int read_package(const char *file, bool (*wanted)(const char *path), char ret_what[280],
                        struct vivi_members *ret_members, viv_error *err)
{
    struct vivi_deb_info info;
    int r = vivi_deb_read(file, wanted, &info, ret_members, err);

    if (r < 0)
        return r;
    if (strcmp(info.architecture, ARCHITECTURE) != 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: it is for %s, guests are made for " ARCHITECTURE,
                         file, info.architecture[0] != '\0' ? info.architecture : "nothing");
    (void)snprintf(ret_what, 280, "%s %s", info.package, info.version);
    return 0;
}

/* A program that the guest cannot start would only show as a kernel panic. */
static int check_program(const char *file, const void *data, size_t len, viv_error *err)
{
    Elf64_Ehdr header;

    if (len >= sizeof(header)) {
        memcpy(&header, data, sizeof(header));
        if (memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_machine == EM_X86_64)
            return 0;
    }
    return vivi_fail(err, VIV_E_PROTOCOL, "%s: not a program for " ARCHITECTURE, file);
}

struct inputs {
    struct vivi_members kernel;
    struct vivi_members busybox;
    const struct vivi_member *vmlinuz; /* in kernel */
    const struct vivi_member *shell;   /* in busybox */
    struct vivi_buf init, agent;
};

static void inputs_done(struct inputs *in)
{
    vivi_members_done(&in->kernel);
    vivi_members_done(&in->busybox);
    vivi_buf_done(&in->init);
    vivi_buf_done(&in->agent);
}

static int read_packages(const struct vivi_image_request *q, struct inputs *in,
                         struct vivi_image_result *result, viv_error *err)
{
    int r = read_package(q->kernel_deb, wanted_of_kernel, result->kernel, &in->kernel, err);

    if (r == -VIV_E_PROTOCOL && q->kernel_is_cached)
        vivi_hint(err, "rm %s, and run again", q->kernel_deb);
    if (r < 0)
        return r;
    r = read_package(q->busybox_deb, wanted_of_busybox, result->busybox, &in->busybox, err);
    if (r == -VIV_E_PROTOCOL && q->busybox_is_cached)
        vivi_hint(err, "rm %s, and run again", q->busybox_deb);
    return r;
}

static int read_program(const char *path, struct vivi_buf *to, viv_error *err)
{
    int r = vivi_read_file_at(AT_FDCWD, path, to, err);

    return r < 0 ? r : check_program(path, to->data, to->len, err);
}

static int read_inputs(const struct vivi_image_request *q, struct inputs *in,
                       struct vivi_image_result *result, viv_error *err)
{
    int r = read_packages(q, in, result, err);

    if (r == 0)
        r = read_program(q->init, &in->init, err);
    if (r == 0 && q->agent != NULL)
        r = read_program(q->agent, &in->agent, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < in->kernel.n; i++) {
        if (!vivi_modules_wants(in->kernel.at[i].path))
            in->vmlinuz = &in->kernel.at[i];
    }
    if (in->vmlinuz == NULL)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: no kernel in it", q->kernel_deb);
    if (in->busybox.n == 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: no busybox in it", q->busybox_deb);
    in->shell = &in->busybox.at[0];
    return check_program(q->busybox_deb, in->shell->data, in->shell->len, err);
}

static int create_file(int dir_fd, const char *name, int *ret_fd, viv_error *err)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot create %s", name);
    *ret_fd = fd;
    return 0;
}

/* Ends a file that was written: on disk, and in the stamp. */
static int finish_file(int fd, const char *name, struct vivi_buf *stamp, viv_error *err)
{
    struct stat st;

    if (fsync(fd) < 0 || fstat(fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot write %s", name);
    if (stamp != NULL)
        (void)vivi_buf_printf(stamp, "file %s %lld\n", name, (long long)st.st_size);
    return 0;
}

static int write_file(int dir_fd, const char *name, const void *data, size_t len,
                      struct vivi_buf *stamp, viv_error *err)
{
    cleanup_close int fd = -1;
    int r = create_file(dir_fd, name, &fd, err);

    if (r == 0)
        r = vivi_write_full(fd, data, len, -1, err);
    if (r == 0)
        r = finish_file(fd, name, stamp, err);
    return r;
}

static int write_initramfs(const struct vivi_image_request *q, const struct inputs *in, int dir_fd,
                           struct vivi_buf *stamp, viv_error *err)
{
    cleanup_members struct vivi_members members = {0};
    cleanup_close int fd = -1;
    const struct vivi_initramfs what = {
        .kind = q->kind,
        .kernel = &in->kernel,
        .busybox = in->shell->data,
        .busybox_len = in->shell->len,
        .init = in->init.data,
        .init_len = in->init.len,
        .agent = in->agent.data,
        .agent_len = in->agent.len,
    };
    int r = vivi_initramfs_members(&what, &members, err);

    if (r < 0)
        return vivi_wrap(err, r, "%s", q->kernel_deb);
    r = create_file(dir_fd, "initramfs", &fd, err);
    if (r == 0)
        r = vivi_cpio_write(fd, &members, err);
    if (r == 0)
        r = finish_file(fd, "initramfs", stamp, err);
    return r;
}

static int write_image(const struct vivi_image_request *q, const struct inputs *in, int dir_fd,
                       viv_error *err)
{
    cleanup_buf struct vivi_buf stamp = VIVI_BUF(STAMP_BYTES);
    int r = expected_stamp(q, &stamp, err);

    if (r == 0)
        r = write_file(dir_fd, "vmlinuz", in->vmlinuz->data, in->vmlinuz->len, &stamp, err);
    if (r == 0)
        r = write_initramfs(q, in, dir_fd, &stamp, err);
    if (r == 0 && q->kind == VIVI_GUEST_DEMO)
        r = write_file(dir_fd, "image.yaml", image_yaml, strlen(image_yaml), &stamp, err);
    if (r == 0)
        r = vivi_buf_check(&stamp, err);
    return r < 0 ? r : write_file(dir_fd, ".stamp", stamp.data, stamp.len, NULL, err);
}

static int build_in_place(const struct vivi_image_request *q, const struct place *p,
                          struct vivi_image_result *result, viv_error *err)
{
    VIVI_CLEANUP(inputs_done)
    struct inputs in = {.init = VIVI_BUF(PROGRAM_BYTES), .agent = VIVI_BUF(PROGRAM_BYTES)};
    cleanup_close int dir_fd = -1;
    int r = read_inputs(q, &in, result, err);

    if (r == 0)
        r = vivi_open_dir(p->parent_fd, p->fresh, &dir_fd, err);
    if (r == 0)
        r = write_image(q, &in, dir_fd, err);
    if (r == 0 && fsync(dir_fd) < 0)
        r = vivi_fail_errno(err, errno, "cannot write %s", q->out);
    if (r == 0)
        r = vivi_image_exchange(p->parent_fd, p->fresh, p->name, err);
    if (r == 0)
        result->changed = true;
    return r;
}

int vivi_image_build(const struct vivi_image_request *q, struct vivi_image_result *ret_result,
                     viv_error *err)
{
    struct vivi_image_result result = {0};
    struct place place = {.parent_fd = -1};
    int r = 0;

    if (q->force || !is_up_to_date(q)) {
        r = open_place(q, &place, err);
        if (r == 0)
            r = build_in_place(q, &place, &result, err);
        if (place.fresh[0] != '\0') /* the unfinished new one, or the old one after the exchange */
            (void)vivi_remove_tree_at(place.parent_fd, place.fresh, NULL);
        vivi_close(&place.parent_fd);
    }
    if (r < 0)
        return vivi_wrap(err, r, "%.200s", q->out);
    *ret_result = result;
    return 0;
}
