/*
 * freeze.c: freezing, thawing and trimming of file systems.
 *
 * A note in the state directory says that this agent froze: an agent that is started after one was
 * killed in between thaws first. The directory is in memory, which is never frozen.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MOUNT_MAX 256

/* Directories of mounted file systems with a device behind them, each device once. */
struct dirs {
    char *source[MOUNT_MAX], *dir[MOUNT_MAX]; /* owned */
    size_t n;
};

static bool seen(const struct dirs *d, const char *source)
{
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->source[i], source) == 0)
            return true;
    }
    return false;
}

static void dirs_find(struct dirs *d)
{
    struct sys_mounts m = {0};
    const char *source, *dir, *type;

    while (d->n < MOUNT_MAX && sys_mounts_next(&m, true, &source, &dir, &type)) {
        if (seen(d, source))
            continue;
        d->source[d->n] = strdup(source);
        d->dir[d->n] = strdup(dir);
        if (d->source[d->n] == NULL || d->dir[d->n] == NULL)
            break;
        d->n++;
    }
    sys_mounts_done(&m);
}

static void dirs_done(struct dirs *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->source[i]);
        free(d->dir[i]);
    }
}

static int on_dir(const char *dir, unsigned long request, void *arg)
{
    cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static uint64_t thaw(const struct dirs *d)
{
    uint64_t n = 0;

    for (size_t i = d->n; i > 0; i--) /* the way back */
        n += on_dir(d->dir[i - 1], FITHAW, NULL) == 0;
    return n;
}

void freeze_thaw_all(void)
{
    struct dirs d = {0};

    dirs_find(&d);
    (void)thaw(&d);
    dirs_done(&d);
    (void)left_set_frozen(agent_state_dir(), false);
}

int work_freeze(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    struct dirs d = {0};
    uint64_t n = 0;
    int r = left_set_frozen(agent_state_dir(), true);

    if (r < 0)
        return vivi_fail_errno(err, -r, "cannot note that file systems are frozen");
    dirs_find(&d);
    /* The last mounted first: what lies on top of another must not wait for it. */
    for (size_t i = d.n; i > 0 && r == 0 && !worker_stopped(); i--) {
        int e = on_dir(d.dir[i - 1], FIFREEZE, NULL);

        n += e == 0;
        if (e < 0 && e != -EOPNOTSUPP && e != -EBUSY && e != -EINVAL)
            r = vivi_fail_errno(err, -e, "cannot freeze %s", d.dir[i - 1]);
    }
    if (r == 0 && worker_stopped())
        r = vivi_fail(err, VIV_E_CANCELLED, "stopped");
    if (r < 0 || n == 0) {
        (void)thaw(&d);
        (void)left_set_frozen(agent_state_dir(), false);
    }
    dirs_done(&d);
    if (r == 0)
        vivi_aw_put_u64(ret, "frozen", n);
    return r;
}

int work_thaw(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    struct dirs d = {0};

    dirs_find(&d);
    vivi_aw_put_u64(ret, "thawed", thaw(&d));
    dirs_done(&d);
    (void)left_set_frozen(agent_state_dir(), false);
    return 0;
}

int work_trim(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    struct dirs d = {0};
    uint64_t minimum = 0, bytes = 0;
    int r = vivi_aw_field_u64(q, "minimum", INT64_MAX, &minimum, err);

    if (r < 0)
        return r;
    dirs_find(&d);
    for (size_t i = 0; i < d.n && !worker_stopped(); i++) {
        struct fstrim_range range = {.len = UINT64_MAX, .minlen = minimum};

        if (on_dir(d.dir[i], FITRIM, &range) == 0)
            bytes += range.len;
    }
    dirs_done(&d);
    vivi_aw_put_u64(ret, "bytes", bytes);
    return 0;
}
