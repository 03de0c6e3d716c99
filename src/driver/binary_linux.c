#include "driver/binary.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/spawn.h"

#define RUN_TIMEOUT_MS  5000
#define CACHE_MAX_BYTES 4096

int vivi_binary_identify(const char *path, struct vivi_binary *ret)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -VIV_E_NOT_FOUND;
    *ret = (struct vivi_binary){(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
                                (uint64_t)st.st_mtim.tv_sec * 1000000000u +
                                    (uint64_t)st.st_mtim.tv_nsec};
    return 0;
}

/* ---- running ---- */

static int read_output(int fd, struct vivi_buf *out)
{
    uint64_t deadline = vivi_mono_us() / 1000 + RUN_TIMEOUT_MS, now;

    while ((now = vivi_mono_us() / 1000) < deadline) {
        ssize_t n;

        if (vivi_wait_fd(fd, POLLIN, (int)(deadline - now), NULL) <= 0)
            break;
        if (vivi_buf_reserve(out, 1024) < 0)
            return -VIV_E_PROTOCOL;
        n = read(fd, out->data + out->len, 1024);
        if (n <= 0)
            return n == 0 ? 0 : -VIV_E_IO;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
    }
    return -VIV_E_TIMEOUT;
}

int vivi_binary_run(char *const *argv, struct vivi_buf *out, viv_error *err)
{
    int fds[2];
    struct vivi_proc_id id;
    int r = vivi_pipe(fds, err);

    if (r < 0)
        return r;
    r = vivi_spawn_detached(
        &(struct vivi_spawn){.path = argv[0],
                             .argv = argv,
                             .map = &(struct vivi_fd_map){.fd = fds[1], .child_fd = 1},
                             .n_map = 1},
        &id, err);
    vivi_close(&fds[1]);
    if (r == 0)
        r = read_output(fds[0], out);
    vivi_close(&fds[0]);
    if (r == -VIV_E_TIMEOUT || r == -VIV_E_PROTOCOL) {
        cleanup_close int pidfd = -1;

        if (vivi_proc_open(&id, &pidfd, NULL) == 0)
            (void)vivi_proc_signal(pidfd, SIGKILL, NULL);
    }
    return r;
}

/* ---- what was learnt before ---- */

static bool same_number(const json_t *doc, const char *key, uint64_t wanted)
{
    const json_t *v = json_object_get(doc, key);

    return json_is_integer(v) && (uint64_t)json_integer_value(v) == wanted;
}

json_t *vivi_binary_recall(const char *cache_dir, const char *name, const struct vivi_binary *id)
{
    struct vivi_buf text = VIVI_BUF(CACHE_MAX_BYTES);
    json_t *doc = NULL;
    char path[512];

    if (!cache_dir)
        return NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", cache_dir, name);
    if (vivi_read_file_at(AT_FDCWD, path, &text, NULL) == 0 && text.data)
        doc = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    vivi_buf_done(&text);
    if (same_number(doc, "dev", id->dev) && same_number(doc, "ino", id->ino) &&
        same_number(doc, "size", id->size) && same_number(doc, "mtime_ns", id->mtime_ns))
        return doc;
    json_decref(doc);
    return NULL;
}

void vivi_binary_remember(const char *cache_dir, const char *name, const struct vivi_binary *id,
                          json_t *what_consume)
{
    json_t *doc =
        json_pack("{s:I, s:I, s:I, s:I}", "dev", (json_int_t)id->dev, "ino", (json_int_t)id->ino,
                  "size", (json_int_t)id->size, "mtime_ns", (json_int_t)id->mtime_ns);
    char *text =
        doc && json_object_update(doc, what_consume) == 0 ? json_dumps(doc, JSON_COMPACT) : NULL;
    char path[512];

    if (cache_dir && text && vivi_mkdir_path(cache_dir, 0700, NULL) == 0) {
        (void)snprintf(path, sizeof(path), "%s/%s", cache_dir, name);
        (void)vivi_write_file_at(AT_FDCWD, path, text, strlen(text), VIVI_FAST, NULL);
    }
    free(text);
    json_decref(doc);
    json_decref(what_consume);
}
