/*
 * Going on from a snapshot: its disks become the VM's disks again, then a VMM begins with what the
 * old one wrote.
 *
 * The run uses the configuration that is in the snapshot; config.json stays as it is and is used by
 * the next ordinary start. A disk that the guest could write is replaced by a copy of the
 * snapshot's, so a snapshot can be gone back to again and again; one that it could only read must
 * be what it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "monitor/copying.h"
#include "monitor/snapshot.h"
#include "store/snapshots.h"

struct vivi_restoring {
    struct vivi_launch launch;
    uint64_t requested_us;
};

/* ---- what must be as it was ---- */

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int check_disk(const struct vivi_monitor *m, const char *snapshot, const json_t *d,
                      viv_error *err)
{
    const char *id = json_string_value(json_object_get(d, "id"));
    const char *path = json_string_value(json_object_get(d, "path"));
    const char *file = json_string_value(json_object_get(d, "file"));
    json_int_t size = json_integer_value(json_object_get(d, "size_bytes"));
    char at[PATH_MAX], field[100];
    struct stat st;

    if (!id || !path || (file && strstr(file, "..")))
        return vivi_fail(err, VIV_E_PROTOCOL, "snapshot %s: not a manifest", snapshot);
    (void)snprintf(field, sizeof(field), "disks.%.80s", id);
    if (file)
        (void)snprintf(at, sizeof(at), "%s/" VIVI_SNAPSHOTS_DIR "/%s/%s", m->dir.path, snapshot,
                       file);
    else
        (void)snprintf(at, sizeof(at), "%s", path);
    if (stat(at, &st) < 0)
        return vivi_fail_field(err, VIV_E_NOT_FOUND, field, "%s: %s", at, strerror(errno));
    if (st.st_size != size)
        return vivi_fail_field(err, VIV_E_INVALID, field,
                               "%s: has %lld bytes, and had %lld when it was saved", at,
                               (long long)st.st_size, (long long)size);
    if (!file && mtime_ns(&st) != json_integer_value(json_object_get(d, "mtime_ns")))
        return vivi_fail_field(err, VIV_E_INVALID, field, "%s: has changed since it was saved", at);
    return 0;
}

static int check_disks(const struct vivi_monitor *m, const char *name, const json_t *manifest,
                       viv_error *err)
{
    const json_t *disks = json_object_get(manifest, "disks");
    int r = 0;

    for (size_t i = 0; i < json_array_size(disks) && r == 0; i++)
        r = check_disk(m, name, json_array_get(disks, i), err);
    return r;
}

/* State is understood by the version that wrote it. */
static int check_vmm(const struct vivi_launch *l, const json_t *manifest, const char *name,
                     viv_error *err)
{
    const char *driver = json_string_value(json_object_get(manifest, "driver"));
    const char *version = json_string_value(json_object_get(manifest, "vmm_version"));

    if (!driver || strcmp(driver, l->driver->name) != 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "snapshot %s was made by driver %s, not %s", name,
                         driver ? driver : "?", l->driver->name);
    if (!version || strcmp(version, l->probe.version) != 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "snapshot %s was made by %s %s, and here is %s: its state is not "
                         "understood",
                         name, driver, version ? version : "?", l->probe.version);
    if (!vivi_caps_has(&l->driver->caps, VIVI_CAP_SNAPSHOT))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s cannot restore", driver);
    return 0;
}

int vivi_restore_prepare(struct vivi_monitor *m, const char *name, bool on_demand,
                         struct vivi_launch *ret, viv_error *err)
{
    cleanup_launch struct vivi_launch l = {0};
    json_t *manifest = NULL;
    const char *ip;
    int r = 0;

    if (vivi_state_has_vmm(m->st.state))
        return vivi_fail(err, VIV_E_WRONG_STATE, "only a stopped VM can be restored (it is %s)",
                         vivi_state_name(m->st.state));
    r = vivi_snapshot_read(&m->dir, name, &manifest, err);
    if (r < 0)
        return r;
    ip = json_string_value(json_object_get(manifest, "ip"));
    r = vivi_start_prepare_from(
        m,
        &(struct vivi_launch_from){.doc = json_object_get(manifest, "config"),
                                   .snapshot = name,
                                   .on_demand = on_demand,
                                   .nonce = json_string_value(json_object_get(manifest, "nonce"))},
        &l, NULL, err);
    if (r == 0)
        r = check_vmm(&l, manifest, name, err);
    if (r == 0)
        r = check_disks(m, name, manifest, err);
    if (r == 0) {
        (void)snprintf(l.snapshot, sizeof(l.snapshot), "%s", name);
        (void)snprintf(l.ip, sizeof(l.ip), "%s", ip ? ip : "");
        *ret = l;
        l = (struct vivi_launch){0};
    }
    json_decref(manifest);
    return r;
}

/* ---- doing it ---- */

void vivi_restore_drop(struct vivi_monitor *m)
{
    if (!m->restoring)
        return;
    vivi_copying_stop(m);
    vivi_launch_done(&m->restoring->launch);
    free(m->restoring);
    m->restoring = NULL;
}

static void copied(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_restoring *r = m->restoring;
    uint64_t requested = r->requested_us;

    if (err) {
        viv_error why = *err;

        vivi_restore_drop(m);
        vivi_op_end(m, &why);
        return;
    }
    m->restoring = NULL;
    vivi_op_step(m, "start");
    vivi_start_install(m, &r->launch);
    free(r);
    m->op.timeout_ms = VIVI_START_DEADLINE_MS;
    vivi_start_commit(m, &(struct vivi_start_how){.requested_us = requested,
                                                  .how = VIVI_HOW_RESTORE,
                                                  .timeout_ms = VIVI_NO_TIMEOUT});
}

static int disks_to_copy(const struct vivi_monitor *m, const struct vivi_launch *l,
                         struct vivi_copies *ret, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < l->config.n_disks && r == 0; i++) {
        const struct vivi_disk *d = &l->config.disks[i];
        char from[PATH_MAX];

        if (d->readonly)
            continue;
        (void)snprintf(from, sizeof(from),
                       "%s/" VIVI_SNAPSHOTS_DIR "/%s/" VIVI_SNAPSHOT_DISKS "/%s.img", m->dir.path,
                       l->snapshot, d->id);
        r = vivi_copies_add(ret, from, d->path, err);
    }
    if (r < 0)
        vivi_copies_done(ret);
    return r;
}

void vivi_restore_now(struct vivi_monitor *m, struct vivi_launch *l, uint64_t requested_us)
{
    struct vivi_restoring *restoring = calloc(1, sizeof(*restoring));
    struct vivi_copies list = {.slow = true};
    viv_error err = VIV_ERROR_INIT;
    int r = -VIV_E_NO_MEMORY;

    m->restoring = restoring;
    if (restoring)
        r = disks_to_copy(m, l, &list, &err);
    else
        (void)vivi_fail_oom(&err);
    if (r == 0) {
        restoring->launch = *l;
        restoring->requested_us = requested_us;
        *l = (struct vivi_launch){0};
        vivi_op_step(m, "disks");
        r = vivi_copying_begin(m, &list, copied, &err);
    }
    if (r < 0) {
        vivi_restore_drop(m);
        vivi_op_end(m, &err);
    }
}
