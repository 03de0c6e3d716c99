/* Finding executables on Linux: the running program by /proc/self/exe, the library by dladdr(3). */
#include "driver/helper.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static bool is_executable(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static int try(const char *dir, size_t dir_len, const char *between, const char *name, char *ret,
               size_t size)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%.*s/%s%s", (int)dir_len, dir, between, name);

    if (n < 0 || (size_t)n >= sizeof(path) || (size_t)n >= size || !is_executable(path))
        return -VIV_E_NOT_FOUND;
    memcpy(ret, path, (size_t)n + 1);
    return 0;
}

/* file: the path of a program or library of ours. */
static int try_beside(const char *file, const char *name, char *ret, size_t size)
{
    const char *slash = strrchr(file, '/');
    size_t len;

    if (!slash)
        return -VIV_E_NOT_FOUND;
    len = (size_t)(slash - file);
    if (try(file, len, "", name, ret, size) == 0)
        return 0;
    return try(file, len, "../libexec/vivarium/", name, ret, size);
}

int vivi_driver_helper(const char *name, char *ret, size_t size)
{
    const char *dir = getenv("VIV_LIBEXEC");
    char exe[PATH_MAX];
    ssize_t n;
    Dl_info info;

    if (dir && *dir == '/')
        return try(dir, strlen(dir), "", name, ret, size);
    if (dladdr(__extension__(void *) vivi_driver_helper, &info) && info.dli_fname &&
        try_beside(info.dli_fname, name, ret, size) == 0)
        return 0;
    n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n <= 0)
        return -VIV_E_NOT_FOUND;
    exe[n] = '\0';
    return try_beside(exe, name, ret, size);
}

/* Absolute, so that it means the same to a keeper whose directory is another one. */
static int absolute(const char *path, char *ret, size_t size)
{
    char cwd[PATH_MAX];

    if (!is_executable(path))
        return -VIV_E_NOT_FOUND;
    if (*path == '/')
        return try("", 0, "", path + 1, ret, size);
    if (!getcwd(cwd, sizeof(cwd)))
        return -VIV_E_NOT_FOUND;
    return try(cwd, strlen(cwd), "", path, ret, size);
}

int vivi_path_search(const char *name, char *ret, size_t size)
{
    const char *dirs = getenv("PATH");

    if (strchr(name, '/'))
        return absolute(name, ret, size);
    if (!dirs)
        dirs = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t len = strcspn(dirs, ":");

        /* An empty or relative entry means the working directory: never searched. */
        if (len > 0 && *dirs == '/' && try(dirs, len, "", name, ret, size) == 0)
            return 0;
        if (dirs[len] == '\0')
            return -VIV_E_NOT_FOUND;
        dirs += len + 1;
    }
}
