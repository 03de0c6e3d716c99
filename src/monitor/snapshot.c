/*
 * Snapshots: saving a machine with its disks.
 *
 * Theory of operation. Everything goes into snapshots/<name>.tmp, which is renamed when it is
 * whole:
 *
 *   look     the disks are cloned once while the guest still runs, only to learn whether they can
 *            be: a guest is not stopped for the hours that a copy may take, unless that was asked
 *            for
 *   pause    if it runs; the state "paused" is told, because that is what it is
 *   save     the driver writes the VMM's state ("saving")
 *   copy     the disks, as they are at the same moment
 *   name     the manifest, then the rename
 *   resume   if it ran before
 *
 * Whatever fails, the guest goes on as it was and the temporary directory is removed. A monitor
 * that dies on the way leaves the step in the journal: the next one removes what is half and lets
 * the guest go on.
 */
#include "monitor/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "monitor/copying.h"
#include "store/snapshots.h"

static const char *temp_name(const char *name, char ret[80])
{
    (void)snprintf(ret, 80, "%s.tmp", name);
    return ret;
}

/* An absolute path below the snapshot that is being made; the caller's, NULL: no memory. */
static char *path_in(const struct vivi_monitor *m, const char *what)
{
    char *path = NULL;

    if (asprintf(&path, "%s/" VIVI_SNAPSHOTS_DIR "/%s.tmp/%s", m->dir.path, m->saving.name, what) <
        0)
        return NULL;
    return path;
}

static void remove_temp(const struct vivi_monitor *m, const char *name)
{
    cleanup_close int fd = -1;
    char temp[80];

    if (vivi_snapshots_open(&m->dir, &fd, NULL) == 0)
        (void)vivi_remove_tree_at(fd, temp_name(name, temp), NULL);
}

/* ---- end ---- */

static void answer(struct vivi_monitor *m)
{
    viv_error err = m->saving.err;

    m->saving = (struct vivi_saving){.name = ""};
    vivi_op_end(m, err.code ? &err : NULL);
    vivi_waits_check(m);
}

/* The guest goes on as it was before; err NULL: the snapshot is there. */
static void go_on(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    if (err) {
        m->saving.err = *err;
        remove_temp(m, m->saving.name);
    }
    if (m->st.state == VIV_ST_SAVING)
        vivi_life_set_state(m, VIV_ST_PAUSED, NULL);
    if (!m->saving.was_running || m->st.state != VIV_ST_PAUSED) {
        answer(m);
        return;
    }
    if (vivi_machine_resume(&m->machine, vivi_life_dop(m, VIVI_DOP_RESUME), &why) < 0) {
        m->dop[VIVI_DOP_RESUME] = 0;
        vivi_snapshot_resumed(m, &why);
    }
}

void vivi_snapshot_resumed(struct vivi_monitor *m, const viv_error *err)
{
    if (err && m->saving.err.code == 0)
        (void)vivi_fail(&m->saving.err, err->code, "saved, but it does not go on: %s",
                        err->message);
    answer(m);
}

void vivi_snapshot_drop(struct vivi_monitor *m)
{
    if (!m->saving.name[0])
        return;
    vivi_copying_stop(m);
    remove_temp(m, m->saving.name);
    m->saving = (struct vivi_saving){.name = ""};
}

/* ---- manifest ---- */

static json_t *disk_json(const struct vivi_disk *d)
{
    struct stat st = {.st_size = 0};
    json_t *j = json_object();

    (void)stat(d->path, &st);
    (void)json_object_set_new(j, "id", vivi_json_str(d->id));
    (void)json_object_set_new(j, "path", vivi_json_str(d->path));
    (void)json_object_set_new(j, "size_bytes", json_integer((json_int_t)st.st_size));
    (void)json_object_set_new(
        j, "mtime_ns",
        json_integer((json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec));
    (void)json_object_set_new(
        j, "file", d->readonly ? json_null() : json_sprintf(VIVI_SNAPSHOT_DISKS "/%s.img", d->id));
    return j;
}

static json_t *manifest(const struct vivi_monitor *m)
{
    json_t *j = json_object(), *disks = json_array();
    json_t *version = json_object_get(vivi_record_vmm(m), "version");

    for (size_t i = 0; i < m->config.n_disks; i++)
        (void)json_array_append_new(disks, disk_json(&m->config.disks[i]));
    (void)json_object_set_new(j, "schema", json_integer(VIVI_SNAPSHOT_SCHEMA));
    (void)json_object_set_new(j, "name", vivi_json_str(m->saving.name));
    (void)json_object_set_new(j, "created_at_ms", json_integer(vivi_wall_ms()));
    (void)json_object_set_new(j, "driver", vivi_json_str(m->st.driver));
    (void)json_object_set(j, "vmm_version", version ? version : json_null());
    (void)json_object_set_new(j, "memory_bytes", json_integer((json_int_t)m->config.memory_bytes));
    (void)json_object_set_new(j, "nonce", vivi_json_str(m->nonce));
    (void)json_object_set_new(j, "ip", m->st.ready ? vivi_json_str(m->st.ip) : json_null());
    (void)json_object_set(j, "config", json_object_get(m->running, "config"));
    (void)json_object_set_new(j, "disks", disks);
    return j;
}

/* From here on it is a snapshot, also after a power loss. */
static int give_name(struct vivi_monitor *m, viv_error *err)
{
    cleanup_close int all = -1, one = -1;
    json_t *j = manifest(m);
    char temp[80];
    int r = vivi_snapshots_open(&m->dir, &all, err);

    if (r == 0)
        r = vivi_open_dir(all, temp_name(m->saving.name, temp), &one, err);
    if (r == 0)
        r = vivi_json_write(one, VIVI_SNAPSHOT_MANIFEST, j, VIVI_DURABLE, err);
    if (r == 0)
        r = vivi_rename_noreplace(all, temp, all, m->saving.name, err);
    if (r == 0 && fsync(all) < 0)
        r = vivi_fail_errno(err, errno, VIVI_SNAPSHOTS_DIR);
    json_decref(j);
    return r;
}

/* ---- steps ---- */

static void copied(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    if (!err && give_name(m, &why) < 0)
        err = &why;
    go_on(m, err);
}

/* Disks that the guest writes; those that it only reads are known by size and time. */
static int disks_to_copy(const struct vivi_monitor *m, struct vivi_copies *ret, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < m->config.n_disks && r == 0; i++) {
        const struct vivi_disk *d = &m->config.disks[i];
        char file[128];
        char *to;

        if (d->readonly)
            continue;
        (void)snprintf(file, sizeof(file), VIVI_SNAPSHOT_DISKS "/%.80s.img", d->id);
        to = path_in(m, file);
        r = to ? vivi_copies_add(ret, d->path, to, err) : vivi_fail_oom(err);
        free(to);
    }
    if (r < 0)
        vivi_copies_done(ret);
    return r;
}

void vivi_snapshot_saved(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_copies list = {.slow = m->saving.slow};
    viv_error why = VIV_ERROR_INIT;

    if (!m->saving.name[0])
        return; /* dropped meanwhile */
    if (!err &&
        (disks_to_copy(m, &list, &why) < 0 || vivi_copying_begin(m, &list, copied, &why) < 0))
        err = &why;
    if (err)
        go_on(m, err);
}

static void save(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;
    char *dir = path_in(m, VIVI_SNAPSHOT_VMM);
    int r;

    vivi_life_set_state(m, VIV_ST_SAVING, NULL);
    r = dir ? vivi_machine_snapshot(&m->machine, dir, vivi_life_dop(m, VIVI_DOP_SNAPSHOT), &err)
            : vivi_fail_oom(&err);
    free(dir);
    if (r < 0) {
        m->dop[VIVI_DOP_SNAPSHOT] = 0;
        go_on(m, &err);
    }
}

void vivi_snapshot_paused(struct vivi_monitor *m, const viv_error *err)
{
    if (err)
        go_on(m, err);
    else
        save(m);
}

static void looked(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    if (err && err->code == VIV_E_UNSUPPORTED) {
        (void)vivi_fail(&why, VIV_E_UNSUPPORTED,
                        "%s; the guest would stand still while its disks are copied", err->message);
        vivi_hint(&why, "viv snapshot create --allow-long-pause %s %s", m->dir.name,
                  m->saving.name);
        err = &why;
    }
    if (err || !m->saving.was_running) {
        vivi_snapshot_paused(m, err);
        return;
    }
    if (vivi_machine_pause(&m->machine, vivi_life_dop(m, VIVI_DOP_PAUSE), &why) < 0) {
        m->dop[VIVI_DOP_PAUSE] = 0;
        go_on(m, &why);
    }
}

/* ---- begin ---- */

static int make_directories(struct vivi_monitor *m, viv_error *err)
{
    cleanup_close int all = -1, one = -1;
    char temp[80];
    int r = vivi_snapshots_open(&m->dir, &all, err);

    (void)temp_name(m->saving.name, temp);
    if (r == 0 && faccessat(all, m->saving.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        r = vivi_fail(err, VIV_E_EXISTS, "snapshot %s: exists already", m->saving.name);
    if (r == 0)
        r = vivi_remove_tree_at(all, temp, err);
    if (r == 0 && mkdirat(all, temp, 0700) < 0)
        r = vivi_fail_errno(err, errno, "%s", temp);
    if (r == 0)
        r = vivi_open_dir(all, temp, &one, err);
    if (r == 0 &&
        (mkdirat(one, VIVI_SNAPSHOT_VMM, 0700) < 0 || mkdirat(one, VIVI_SNAPSHOT_DISKS, 0700) < 0))
        r = vivi_fail_errno(err, errno, "%s", temp);
    return r;
}

int vivi_snapshot_prepare(struct vivi_monitor *m, const char *name, bool slow, viv_error *err)
{
    int r = vivi_machine_may(&m->machine, "snapshot", err);

    if (r == 0)
        r = vivi_nics_may_save(&m->config, err);
    if (r == 0)
        r = vivi_snapshot_check_name(name, err);
    if (r < 0)
        return r;
    m->saving = (struct vivi_saving){.was_running = m->st.state == VIV_ST_RUNNING, .slow = slow};
    (void)snprintf(m->saving.name, sizeof(m->saving.name), "%s", name);
    r = make_directories(m, err);
    if (r < 0)
        m->saving = (struct vivi_saving){.name = ""};
    return r;
}

void vivi_snapshot_now(struct vivi_monitor *m)
{
    struct vivi_copies list = {.slow = false};
    viv_error err = VIV_ERROR_INIT;
    char step[100];

    (void)snprintf(step, sizeof(step), "%s:%s", m->saving.was_running ? "running" : "paused",
                   m->saving.name);
    vivi_op_step(m, step);
    if (m->saving.slow)
        looked(m, NULL);
    else if (disks_to_copy(m, &list, &err) < 0 || vivi_copying_begin(m, &list, looked, &err) < 0)
        go_on(m, &err);
}

/* "running:before": the guest goes on if it ran; what is half goes away. */
void vivi_snapshot_interrupted(struct vivi_monitor *m)
{
    const char *name = strchr(m->op.step, ':');
    cleanup_close int all = -1;
    viv_error err = VIV_ERROR_INIT;
    char temp[80];

    if (!name || vivi_snapshots_open(&m->dir, &all, NULL) < 0) {
        vivi_op_end(m, NULL);
        return;
    }
    m->saving.was_running = strncmp(m->op.step, "running", 7) == 0;
    (void)snprintf(m->saving.name, sizeof(m->saving.name), "%.63s", name + 1);
    if (faccessat(all, temp_name(m->saving.name, temp), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        (void)vivi_fail(&err, VIV_E_CANCELLED, "snapshot %s was interrupted: nothing is kept",
                        m->saving.name);
    go_on(m, err.code ? &err : NULL);
}
