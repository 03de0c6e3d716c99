/* paths.c: the paths in requests. */
#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *request_path(const struct vivi_aw_frame *q, viv_error *err)
{
    const char *path = vivi_aw_field(q->payload, q->len, "path");

    if (path == NULL || path[0] != '/') {
        (void)vivi_fail(err, VIV_E_INVALID, "a path in the guest begins with /");
        return NULL;
    }
    if (strlen(path) >= PATH_MAX - 300) {
        (void)vivi_fail(err, VIV_E_INVALID, "the path is too long");
        return NULL;
    }
    return path;
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The parents of a path, as mkdir -p. */
static int make_parents(char *path, viv_error *err)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        int failed;

        *p = '\0';
        failed = mkdir(path, 0755) < 0 && errno != EEXIST;
        if (failed)
            (void)vivi_fail_errno(err, errno, "cannot make the directory %s", path);
        *p = '/';
        if (failed)
            return -err->code;
    }
    return 0;
}

static bool is_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && strlen(name) <= NAME_MAX;
}

static int check_parent(char *path, viv_error *err)
{
    char *slash = strrchr(path, '/');
    bool there;

    if (slash == NULL || slash == path)
        return 0;
    *slash = '\0';
    there = is_directory(path);
    if (!there)
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "there is no directory %s in the guest", path);
    *slash = '/';
    return there ? 0 : -VIV_E_NOT_FOUND;
}

int request_target(const struct vivi_aw_frame *q, char *ret, viv_error *err)
{
    const char *path = request_path(q, err);
    const char *name = vivi_aw_field(q->payload, q->len, "name");
    char real[PATH_MAX];
    bool inside;

    if (path == NULL)
        return -err->code;
    if (name != NULL && !is_name(name))
        return vivi_fail(err, VIV_E_INVALID, "name: not the name of a file");
    inside = name != NULL && is_directory(path);
    (void)snprintf(ret, PATH_MAX, "%s%s%s", path, inside ? "/" : "", inside ? name : "");
    for (size_t len = strlen(ret); len > 1 && ret[len - 1] == '/'; len--)
        ret[len - 1] = '\0';
    if (vivi_aw_field(q->payload, q->len, "mkdir") != NULL && make_parents(ret, err) < 0)
        return -err->code;
    if (realpath(ret, real) != NULL)
        (void)snprintf(ret, PATH_MAX, "%s", real);
    return check_parent(ret, err);
}
