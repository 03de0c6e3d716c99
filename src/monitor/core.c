/*
 * A core of the guest. The VMM may write only where it was allowed to when it started, so it writes
 * below snapshots/; from there the bytes go to the file that the client has opened, which costs
 * nothing where the file system shares data. The name is taken away as soon as the file is open: a
 * monitor that dies leaves nothing behind but what the VMM was still writing, which the next one
 * removes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clone.h"
#include "base/fd.h"
#include "monitor/monitor.h"
#include "store/snapshots.h"

#define CORE_PREFIX \
    "core-" /* of a file; with the driver's operation, since a late one may still be written */
#define CORE_SUFFIX ".tmp"
#define PIECE_BYTES (UINT64_C(8) << 20) /* of one turn of the loop */

static const char *name_of(uint64_t op, char ret[80])
{
    (void)snprintf(ret, 80, VIVI_SNAPSHOTS_DIR "/" CORE_PREFIX "%" PRIu64 CORE_SUFFIX, op);
    return ret;
}

static void forget(const struct vivi_monitor *m, uint64_t op)
{
    char name[80];

    (void)unlinkat(m->dir.fd, name_of(op, name), 0);
}

void vivi_core_clean(const struct vivi_monitor *m)
{
    int fd = openat(m->dir.fd, VIVI_SNAPSHOTS_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;

    if (!dir && fd >= 0)
        vivi_close(&fd);
    while (dir && (e = readdir(dir)))
        if (strncmp(e->d_name, CORE_PREFIX, strlen(CORE_PREFIX)) == 0 &&
            strstr(e->d_name, CORE_SUFFIX))
            (void)unlinkat(fd, e->d_name, 0); /* a snapshot of such a name is a directory */
    if (dir)
        (void)closedir(dir);
}

void vivi_core_late(struct vivi_monitor *m, uint64_t op)
{
    if (op != 0 && op == m->calls.core.late)
        forget(m, op);
}

void vivi_core_drop(struct vivi_monitor *m)
{
    struct vivi_core *core = &m->calls.core;

    if (!core->call)
        return;
    forget(m, core->call->op);
    vivi_disarm(m, &core->turn);
    if (core->from >= 0)
        vivi_close(&core->from);
    else
        core->late = core->call->op; /* the VMM may write it all the same */
    vivi_close(&core->to);
    core->call = NULL;
}

static void finish(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_called *k = m->calls.core.call;
    struct stat st = {.st_size = 0};
    json_t *more;

    (void)fstat(m->calls.core.to, &st);
    vivi_core_drop(m);
    if (err) {
        vivi_call_end(k, NULL, err);
        return;
    }
    more = json_pack("{s:I}", "size_bytes", (json_int_t)st.st_size);
    vivi_call_end(k, vivi_result_with(m, true, more), NULL);
    json_decref(more);
}

static void on_turn(void *arg)
{
    struct vivi_monitor *m = arg;
    struct vivi_core *core = &m->calls.core;
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_copy_piece(core->from, core->to, &core->at, PIECE_BYTES, &err);

    vivi_disarm(m, &core->turn);
    if (r == 1)
        vivi_arm(m, &core->turn, &(struct vivi_arm){"core", 0, on_turn});
    else
        finish(m, r < 0 ? &err : NULL);
}

void vivi_core_written(struct vivi_called *k)
{
    struct vivi_monitor *m = k->m;
    struct vivi_core *core = &m->calls.core;
    viv_error err = VIV_ERROR_INIT;
    char name[80];
    int r = 0;

    core->from = openat(m->dir.fd, name_of(k->op, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (core->from < 0)
        r = vivi_fail_errno(&err, errno, "the core that the VMM has written");
    forget(m, k->op);
    if (r == 0)
        r = vivi_clone_fd(core->from, core->to, &err);
    if (r == -VIV_E_UNSUPPORTED)
        vivi_arm(m, &core->turn, &(struct vivi_arm){"core", 0, on_turn});
    else
        finish(m, r < 0 ? &err : NULL);
}

int vivi_core_begin(struct vivi_called *k, int to_consume, viv_error *err)
{
    struct vivi_monitor *m = k->m;
    struct vivi_core *core = &m->calls.core;
    cleanup_close int to = to_consume, dir = -1;
    struct stat st = {.st_size = 0};
    char path[PATH_MAX], name[80];
    int r;

    if (core->call)
        return vivi_fail(err, VIV_E_BUSY, "a core of it is being written");
    if (fstat(to, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != 0)
        return vivi_fail(err, VIV_E_INVALID, "the file for the core: not an empty regular file");
    r = vivi_snapshots_open(&m->dir, &dir, err);
    if (r < 0)
        return r;
    vivi_core_clean(m);
    (void)snprintf(path, sizeof(path), "%s/%s", m->dir.path, name_of(k->op, name));
    r = vivi_machine_coredump(&m->machine, path, k->op, err);
    if (r == 0)
        *core = (struct vivi_core){.call = k, .from = -1, .to = take_fd(&to), .late = core->late};
    return r;
}
