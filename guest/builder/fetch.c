/*
 * fetch.c: the one place of the builder that may use the network, and the only one that starts
 * another program: apt-get, which knows this machine's mirrors, proxies and keys. It works as an
 * ordinary user.
 *
 * linux-image-cloud-amd64 is an empty package whose Depends names the real one of today; both are
 * downloaded, only the real one is kept. Downloads go to "<cache>/.download.<pid>" and are renamed;
 * what a killed run left there is removed by the next one, under a lock on the cache directory.
 */
#include "fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "deb.h"

#define DOWNLOAD_PREFIX  ".download."
#define PATH_BYTES       4096
#define COMPLAINT_BYTES  16384
#define ARCHITECTURE     "amd64"
#define KERNEL_FILE_PART "-cloud-amd64_"

/* Whether a file name is that of package, whatever its version. */
static bool is_file_of(const char *file, const char *package)
{
    size_t len = strlen(file);
    const char *suffix = "_" ARCHITECTURE ".deb";

    if (len < strlen(suffix) || strcmp(file + len - strlen(suffix), suffix) != 0)
        return false;
    if (strcmp(package, VIVI_PACKAGE_KERNEL) == 0)
        return strncmp(file, "linux-image-", 12) == 0 && strstr(file, KERNEL_FILE_PART) != NULL &&
               strncmp(file, VIVI_PACKAGE_KERNEL "_", strlen(VIVI_PACKAGE_KERNEL) + 1) != 0;
    return strncmp(file, package, strlen(package)) == 0 && file[strlen(package)] == '_';
}

/* Name of the newest file of package in dir; "" if there is none. */
static int find_newest(const char *dir, const char *package, char ret_name[256], viv_error *err)
{
    cleanup_closedir DIR *d = opendir(dir);
    const struct dirent *entry;
    char best[256] = "";

    if (d == NULL && errno != ENOENT)
        return vivi_fail_errno(err, errno, "cannot read %s", dir);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (!is_file_of(entry->d_name, package))
            continue;
        if (best[0] == '\0' || vivi_deb_version_compare(entry->d_name, best) > 0)
            (void)snprintf(best, sizeof(best), "%s", entry->d_name);
    }
    memcpy(ret_name, best, sizeof(best));
    return 0;
}

/* The last "E: …" line of what apt-get said, else its last line. */
static void pick_complaint(char *text, char *to, size_t size)
{
    const char *best = "no reason given";
    bool is_error = false;
    char *save = NULL;

    for (char *line = strtok_r(text, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save)) {
        if (strncmp(line, "E: ", 3) == 0) {
            best = is_error ? best : line + 3; /* the first error is the cause, later ones follow */
            is_error = true;
        } else if (!is_error && line[strspn(line, " ")] != '\0') {
            best = line;
        }
    }
    (void)snprintf(to, size, "%.250s", best);
}

/* Reads to the end, keeps the beginning. */
static void read_complaints(int fd, char text[COMPLAINT_BYTES])
{
    size_t len = 0;

    for (;;) {
        char spill[1024];
        bool room = len + 1 < COMPLAINT_BYTES;
        ssize_t n =
            room ? read(fd, text + len, COMPLAINT_BYTES - 1 - len) : read(fd, spill, sizeof(spill));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += room ? (size_t)n : 0;
    }
    text[len] = '\0';
}

/* Starts apt-get in dir, its complaints going to stderr_fd. Returns 0 or an errno. */
static int spawn_apt(const struct vivi_fetch *f, const char *package, const char *dir,
                     int stderr_fd, pid_t *ret_pid)
{
    char program[] = "apt-get";
    char quiet[] = "-q";
    char verb[] = "download";
    char name[160];
    char *argv[] = {program, quiet, verb, name, NULL};
    posix_spawn_file_actions_t actions;
    int r;

    (void)snprintf(name, sizeof(name), "%s:" ARCHITECTURE, package);
    r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return r;
    r = posix_spawn_file_actions_addchdir_np(&actions, dir);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, stderr_fd, STDERR_FILENO);
    if (r == 0)
        r = posix_spawnp(ret_pid, f->apt_get, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* Step "download": the only network access there is. */
static int run_apt_download(const struct vivi_fetch *f, const char *package, const char *dir,
                            viv_error *err)
{
    int fds[2];
    char text[COMPLAINT_BYTES];
    char complaint[256];
    int status = 0;
    pid_t pid = 0;
    int r = vivi_pipe(fds, err);

    if (r < 0)
        return r;
    r = spawn_apt(f, package, dir, fds[1], &pid);
    vivi_close(&fds[1]);
    if (r != 0) {
        vivi_close(&fds[0]);
        return vivi_fail_errno(err, r, "cannot start %s", f->apt_get);
    }
    read_complaints(fds[0], text);
    vivi_close(&fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    pick_complaint(text, complaint, sizeof(complaint));
    if (strstr(complaint, "No space left") != NULL)
        return vivi_fail(err, VIV_E_IO, "%s: %s", f->apt_get, complaint);
    return vivi_fail(err, VIV_E_NOT_FOUND, "%s: %s", f->apt_get, complaint);
}

/* Path of the one .deb in dir that is of package, after a look inside. */
static int find_downloaded(const char *dir, const char *package, char ret_path[PATH_BYTES],
                           struct vivi_deb_info *ret_info, viv_error *err)
{
    cleanup_closedir DIR *d = opendir(dir);
    const struct dirent *entry;
    size_t len = strlen(package);

    if (d == NULL)
        return vivi_fail_errno(err, errno, "cannot read %s", dir);
    while ((entry = readdir(d)) != NULL) {
        int r;

        if (strncmp(entry->d_name, package, len) != 0 || entry->d_name[len] != '_')
            continue;
        (void)snprintf(ret_path, PATH_BYTES, "%s/%s", dir, entry->d_name);
        r = vivi_deb_read(ret_path, NULL, ret_info, NULL, err);
        if (r < 0)
            return r;
        if (strcmp(ret_info->package, package) != 0 ||
            strcmp(ret_info->architecture, ARCHITECTURE) != 0)
            return vivi_fail(err, VIV_E_PROTOCOL, "%s is %s for %s, not %s", entry->d_name,
                             ret_info->package, ret_info->architecture, package);
        return 0;
    }
    return vivi_fail(err, VIV_E_PROTOCOL, "apt-get download left no file of %s", package);
}

/* First name in "linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), …" that is a kernel's. */
static int real_kernel(const char *depends, char ret_name[160], viv_error *err)
{
    const char *name = strstr(depends, "linux-image-");
    size_t len = name != NULL ? strcspn(name, " ,|(") : 0;

    if (len == 0 || len >= 160)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s depends on no kernel: '%s'", VIVI_PACKAGE_KERNEL,
                         depends);
    memcpy(ret_name, name, len);
    ret_name[len] = '\0';
    return 0;
}

static void announce(const struct vivi_fetch *f, const char *package)
{
    char text[PATH_BYTES];

    if (f->say == NULL)
        return;
    (void)snprintf(text, sizeof(text), "downloading %s to %s (apt-get download)", package,
                   f->cache_dir);
    f->say(text);
}

static int download_into(const struct vivi_fetch *f, const char *package, const char *dir,
                         char ret_path[PATH_BYTES], viv_error *err)
{
    struct vivi_deb_info info;
    char real[160];
    int r;

    (void)snprintf(real, sizeof(real), "%s", package);
    if (strcmp(package, VIVI_PACKAGE_KERNEL) == 0) {
        r = run_apt_download(f, package, dir, err);
        if (r == 0)
            r = find_downloaded(dir, package, ret_path, &info, err);
        if (r == 0)
            r = real_kernel(info.depends, real, err);
        if (r < 0)
            return r;
    }
    announce(f, real);
    r = run_apt_download(f, real, dir, err);
    return r < 0 ? r : find_downloaded(dir, real, ret_path, &info, err);
}

static void remove_stale_downloads(int cache_fd, const char *cache_dir)
{
    cleanup_closedir DIR *d = opendir(cache_dir);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, DOWNLOAD_PREFIX, strlen(DOWNLOAD_PREFIX)) == 0)
            (void)vivi_remove_tree_at(cache_fd, entry->d_name, NULL); /* best effort */
    }
}

static int download_locked(const struct vivi_fetch *f, const char *package, int cache_fd,
                           viv_error *err)
{
    char name[64];
    char dir[PATH_BYTES];
    char from[PATH_BYTES];
    int r;

    remove_stale_downloads(cache_fd, f->cache_dir);
    (void)snprintf(name, sizeof(name), DOWNLOAD_PREFIX "%ld", (long)getpid());
    (void)snprintf(dir, sizeof(dir), "%s/%s", f->cache_dir, name);
    if (mkdirat(cache_fd, name, 0755) < 0)
        return vivi_fail_errno(err, errno, "cannot make %s", dir);
    r = download_into(f, package, dir, from, err);
    if (r == 0 && renameat(AT_FDCWD, from, cache_fd, strrchr(from, '/') + 1) < 0)
        r = vivi_fail_errno(err, errno, "cannot rename %s", from);
    (void)vivi_remove_tree_at(cache_fd, name, NULL);
    return r;
}

static int download(const struct vivi_fetch *f, const char *package, viv_error *err)
{
    cleanup_close int cache_fd = -1;
    int r = vivi_mkdir_path(f->cache_dir, 0755, err);

    if (r == 0)
        r = vivi_open_dir(AT_FDCWD, f->cache_dir, &cache_fd, err);
    if (r < 0)
        return r;
    if (flock(cache_fd, LOCK_EX) < 0) /* another builder may be downloading the same */
        return vivi_fail_errno(err, errno, "cannot lock %s", f->cache_dir);
    return download_locked(f, package, cache_fd, err);
}

bool vivi_fetch_is_cached(const struct vivi_fetch *f, const char *package)
{
    char name[256];

    return find_newest(f->cache_dir, package, name, NULL) == 0 && name[0] != '\0';
}

static void hint(const char *package, const char *what, viv_error *err)
{
    bool is_kernel = strcmp(package, VIVI_PACKAGE_KERNEL) == 0;

    vivi_hint(err, "%s, or give %s FILE", what, is_kernel ? "--kernel-deb" : "--busybox-deb");
}

static int take_path(const struct vivi_fetch *f, const char *name, char **ret_path, viv_error *err)
{
    char path[PATH_BYTES];
    char *copy;

    (void)snprintf(path, sizeof(path), "%s/%s", f->cache_dir, name);
    copy = strdup(path);
    if (copy == NULL)
        return vivi_fail_oom(err);
    *ret_path = copy;
    return 0;
}

int vivi_fetch_package(const struct vivi_fetch *f, const char *package, char **ret_path,
                       viv_error *err)
{
    char name[256];
    int r = find_newest(f->cache_dir, package, name, err);

    if (r < 0)
        return r;
    if (name[0] != '\0' && !f->update)
        return take_path(f, name, ret_path, err);
    if (f->offline) {
        r = vivi_fail(err, VIV_E_NOT_FOUND, "%s is not in %s", package, f->cache_dir);
        hint(package, "run again without --offline", err);
        return r;
    }
    r = download(f, package, err);
    if (r == 0)
        r = find_newest(f->cache_dir, package, name, err);
    if (r == 0)
        return take_path(f, name, ret_path, err);
    if (r == -VIV_E_NOT_FOUND)
        hint(package, "connect to the network, run 'apt-get update' as root, try again", err);
    return vivi_wrap(err, r, "%s is not in %s and cannot be downloaded", package, f->cache_dir);
}
