#include "cli/exe.h"

#include <string.h>
#include <unistd.h>

void vivi_exe_dir(char ret[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
    char *slash;

    ret[n > 0 ? n : 0] = '\0';
    slash = strrchr(ret, '/');
    if (slash)
        *slash = '\0';
}
