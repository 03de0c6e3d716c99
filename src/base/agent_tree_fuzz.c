/*
 * The receiver of trees on hostile bytes, into a directory of its own. The first byte chooses how
 * the rest is cut. Whatever comes: a file beside the target stays as it was, and nothing appears
 * there.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/agent_tree.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int new_dir(char *path)
{
    const char *tmp = getenv("TMPDIR");
    int fd = -1;

    (void)snprintf(path, 256, "%s/viv-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(path) == NULL || vivi_open_dir(AT_FDCWD, path, &fd, NULL) < 0)
        abort();
    if (mkdirat(fd, "in", 0700) < 0 || mkdirat(fd, "beside", 0700) < 0)
        abort();
    return fd;
}

static int entries(int fd, const char *name)
{
    cleanup_closedir DIR *d = fdopendir(openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vivi_tree_receive *t = NULL;
    viv_error err = VIV_ERROR_INIT;
    char path[256];
    size_t piece;
    int fd, in, r = 0;

    if (size < 1)
        return 0;
    fd = new_dir(path);
    in = openat(fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    piece = (size_t)data[0] + 1;
    r = vivi_tree_receive_new(in, "root", 0, &t, &err);
    for (size_t at = 1; r == 0 && at < size; at += piece)
        r = vivi_tree_receive_feed(t, data + at, size - at < piece ? size - at : piece, &err);
    assert(r <= 0);
    vivi_tree_receive_free(t);
    assert(entries(fd, "beside") == 2 && entries(fd, ".") == 4 && entries(fd, "in") <= 3);
    vivi_close(&in);
    vivi_close(&fd);
    if (vivi_remove_tree_at(AT_FDCWD, path, NULL) < 0)
        abort();
    return 0;
}
