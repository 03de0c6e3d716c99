/*
 * Runs a fuzz target once on every file of the given directories: a saved corpus is replayed by any
 * compiler, in every run of the tests. Prints TAP. An empty corpus is a failure, not a success.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX ((size_t)4 << 20)

static int replay_file(int dir_fd, const char *name)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(INPUT_MAX);
    cleanup_free uint8_t *exact = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (vivi_read_file_at(dir_fd, name, &b, &err) < 0) {
        (void)printf("# %s\n", err.message);
        return -1;
    }
    /* A copy of exactly that size, so that reading past its end is seen. */
    exact = malloc(b.len + (b.len == 0));
    if (exact == NULL)
        return -1;
    if (b.len > 0)
        memcpy(exact, b.data, b.len);
    return LLVMFuzzerTestOneInput(exact, b.len);
}

/* Number of inputs, or −1. */
static int replay_dir(const char *path)
{
    cleanup_closedir DIR *d = opendir(path);
    int n = 0;

    if (d == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        if (replay_file(dirfd(d), e->d_name) < 0)
            return -1;
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;

    (void)printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        const char *base = strrchr(argv[i], '/');
        int n = replay_dir(argv[i]);

        (void)printf("%s %d - %d inputs of corpus %s pass\n", n > 0 ? "ok" : "not ok", i, n,
                     base == NULL ? argv[i] : base + 1);
        failed |= n <= 0;
    }
    return failed;
}
