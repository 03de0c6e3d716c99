/* What this host allows, and whether anything is in the way; see vivarium.h. */
#include "manager/manager.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "driver/helper.h"

/* Why not. row: what a driver's column says when the platform can never have it. */
static const char *no_reason(const struct vivi_driver *d, const struct vivi_probe *p,
                             enum vivi_cap cap)
{
    const struct vivi_cap_row *row = &vivi_cap_rows[cap];
    const char *never = d->kind == VIVI_DRIVER_QEMU               ? row->qemu_none
                        : d->kind == VIVI_DRIVER_VZ               ? row->vz_none
                        : d->kind == VIVI_DRIVER_CLOUD_HYPERVISOR ? row->ch_none
                                                                  : NULL;

    if (never)
        return never;
    if (!vivi_caps_has(&d->caps, cap))
        return "planned";
    if (!p->usable)
        return p->reason;
    return d->needs && d->needs(cap) ? d->needs(cap) : "this host does not allow it";
}

static const char *kind_word(enum vivi_cap_kind kind)
{
    switch (kind) {
    case VIVI_CAP_SLOT: return "slot";
    case VIVI_CAP_FIELD: return "field";
    case VIVI_CAP_SERVICE: return "service";
    }
    return "slot";
}

static int add_driver(viv *v, const struct vivi_driver *d, viv_list *l, viv_error *err)
{
    struct vivi_probe p = {.usable = false};
    int r = d->probe(v->cache_dir, NULL, VIVI_ACCEL_AUTO, &p, err);

    for (unsigned i = 0; r == 0 && i < VIVI_CAP_COUNT_; i++) {
        enum vivi_cap cap = (enum vivi_cap)i;
        bool ok = p.usable && vivi_caps_has(&p.caps, cap);

        r = vivi_list_add(l,
                          json_pack("{s:s,s:s,s:s,s:s,s:b,s:o}", "driver", d->name, "capability",
                                    vivi_cap_rows[i].word, "kind", kind_word(vivi_cap_rows[i].kind),
                                    "text", vivi_cap_rows[i].text, "ok", (int)ok, "reason",
                                    ok ? json_null() : vivi_json_str(no_reason(d, &p, cap))),
                          err);
    }
    return r;
}

static int no_driver(const char *name, viv_error *err)
{
    enum vivi_driver_kind kind;
    char reason[200];
    const char *names[16];
    const char *near;
    size_t n;
    const struct vivi_driver *const *all = vivi_drivers(&n);

    if (vivi_driver_parse(name, &kind) == 0 && kind != VIVI_DRIVER_AUTO)
        return vivi_driver_resolve(kind, NULL, &kind, reason, err); /* says why it is not built */
    for (size_t i = 0; i < n && i < ARRAY_SIZE(names); i++)
        names[i] = all[i]->name;
    near = vivi_nearest(name, names, n < ARRAY_SIZE(names) ? n : ARRAY_SIZE(names));
    (void)vivi_fail(err, VIV_E_NOT_FOUND, "\"%s\" is not a driver", name);
    if (near)
        vivi_hint(err, "did you mean \"%s\"?", near);
    return -VIV_E_NOT_FOUND;
}

int viv_caps(viv *v, const char *driver_or_null, viv_list **ret, viv_error *err)
{
    cleanup_viv_list viv_list *l = NULL;
    size_t n;
    const struct vivi_driver *const *all = vivi_drivers(&n);
    int r;

    if (driver_or_null && !vivi_driver_find(driver_or_null))
        return no_driver(driver_or_null, err);
    r = vivi_list_new(&l, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!driver_or_null || strcmp(all[i]->name, driver_or_null) == 0)
            r = add_driver(v, all[i], l, err);
    if (r < 0)
        return r;
    *ret = take_ptr(l);
    return 0;
}

/* ---- doctor ---- */

#define FEW_DESCRIPTORS 1024
#define LITTLE_MEMORY   (UINT64_C(512) << 20)

struct row {
    const char *check;
    bool ok, optional; /* optional: VMs run without it, only not as well */
    char message[512], hint[300];
};

static int add(viv_list *l, const struct row *r, viv_error *err)
{
    return vivi_list_add(l,
                         json_pack("{s:s,s:b,s:b,s:o,s:o}", "check", r->check, "ok", (int)r->ok,
                                   "required", !r->optional, "message", vivi_json_str(r->message),
                                   "hint", vivi_json_str_or_null(r->hint)),
                         err);
}

static void check_root(const viv *v, struct row *r)
{
    r->check = "state root";
    r->ok = true; /* owner and access were looked at when it was opened */
    if (v->root.fd < 0) {
        (void)snprintf(r->message, sizeof(r->message), "%s: not there yet, made by the first VM",
                       v->root.path);
        return;
    }
    r->ok = access(v->root.path, W_OK) == 0;
    (void)snprintf(r->message, sizeof(r->message), "%s%s", v->root.path,
                   r->ok ? "" : ": not writable");
    if (!r->ok)
        (void)snprintf(r->hint, sizeof(r->hint), "name another root by VIV_HOME");
}

/* That they fit is looked at when the root is opened; here stands how much room there is. */
static void check_sockets(const viv *v, struct row *r)
{
    size_t len = strlen(v->root.run) + sizeof("/12345678/control.sock") - 1;

    r->check = "sockets";
    r->ok = len < VIVI_SUN_PATH_MAX;
    (void)snprintf(r->message, sizeof(r->message), "%s: paths of %zu bytes, at most %d",
                   v->root.run, len, VIVI_SUN_PATH_MAX - 1);
}

/* qemu runs every VM, so it is asked for; the others are better where they are. */
static void check_driver(viv *v, enum vivi_driver_kind kind, struct row *r)
{
    const struct vivi_driver *d = vivi_driver_get(kind);
    struct vivi_probe p = {.usable = false};

    r->check = vivi_driver_name(kind);
    r->optional = kind != VIVI_DRIVER_QEMU;
    if (!d || d->probe(v->cache_dir, NULL, VIVI_ACCEL_AUTO, &p, NULL) < 0) {
        (void)snprintf(r->message, sizeof(r->message), "this build has no %s driver", r->check);
        return;
    }
    r->ok = p.usable;
    (void)snprintf(r->message, sizeof(r->message), "%s%s%s", p.usable ? p.exe : p.reason,
                   p.usable && p.version[0] ? ", version " : "", p.usable ? p.version : "");
    if (!p.usable)
        (void)snprintf(r->hint, sizeof(r->hint), "%s", p.hint);
}

static void check_kvm(viv *v, struct row *r)
{
    const struct vivi_driver *d = vivi_driver_get(VIVI_DRIVER_QEMU);
    struct vivi_probe p = {.usable = false};

    r->check = "kvm";
    r->optional = true;
    if (!d || d->probe(v->cache_dir, NULL, VIVI_ACCEL_AUTO, &p, NULL) < 0)
        return;
    r->ok = p.usable && p.accel == VIVI_ACCEL_KVM;
    if (r->ok)
        (void)snprintf(r->message, sizeof(r->message), "usable");
    else
        (void)snprintf(r->message, sizeof(r->message), "%s",
                       p.accel_reason[0] ? p.accel_reason : "no VMM to use it");
    (void)snprintf(r->hint, sizeof(r->hint), "%s", r->ok ? "" : p.accel_fix);
}

static void check_helpers(struct row *r)
{
    static const char *const names[] = {"viv-keeper", "viv-monitor", "viv-fake"};
    char path[PATH_MAX];
    viv_error err = VIV_ERROR_INIT;

    r->check = "helpers";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (vivi_helper_path(names[i], path, sizeof(path), &err) < 0) {
            (void)snprintf(r->message, sizeof(r->message), "%.299s", err.message);
            (void)snprintf(r->hint, sizeof(r->hint), "%s", err.hint);
            return;
        }
    }
    r->ok = true;
    *strrchr(path, '/') = '\0';
    (void)snprintf(r->message, sizeof(r->message), "%.299s", path);
}

/* Whether this user's manager stays when he logs out. */
static bool lingers(void)
{
    struct passwd pw, *found = NULL;
    char text[4096], path[300];

    if (geteuid() == 0 || getpwuid_r(geteuid(), &pw, text, sizeof(text), &found) != 0 || !found)
        return true;
    (void)snprintf(path, sizeof(path), "/var/lib/systemd/linger/%.200s", pw.pw_name);
    return access(path, F_OK) == 0;
}

/* Not needed where there is no systemd; where there is, a log-out should end no VM. */
static void check_scope(struct row *r)
{
    const char *dir = getenv("XDG_RUNTIME_DIR"), *env = getenv("VIV_SCOPE");
    char path[PATH_MAX], helper[PATH_MAX], own[64];

    r->check = "scope";
    r->optional = true;
    (void)snprintf(own, sizeof(own), "/run/user/%lu", (unsigned long)geteuid());
    if (geteuid() == 0)
        (void)snprintf(path, sizeof(path), "/run/systemd/private");
    else
        (void)snprintf(path, sizeof(path), "%.3000s/systemd/private", dir ? dir : own);
    if (access(VIVI_SYSTEMD_RUNS, F_OK) < 0 || (env && strcmp(env, "off") == 0)) {
        r->ok = true;
        (void)snprintf(r->message, sizeof(r->message),
                       "%s: VMs stay in their caller's control group",
                       env && strcmp(env, "off") == 0 ? "VIV_SCOPE=off" : "no systemd runs here");
    } else if (!vivi_scope_wanted(helper, sizeof(helper))) {
        (void)snprintf(r->message, sizeof(r->message),
                       VIVI_SCOPE_EXE " is not there: a log-out may end detached VMs");
        (void)snprintf(r->hint, sizeof(r->hint), "build with libsystemd-dev");
    } else if (access(path, F_OK) < 0) {
        (void)snprintf(r->message, sizeof(r->message),
                       "no service manager of this user (%.200s): a log-out may end detached VMs",
                       path);
        (void)snprintf(r->hint, sizeof(r->hint), "loginctl enable-linger starts one");
    } else {
        r->ok = true;
        (void)snprintf(r->message, sizeof(r->message), "detached VMs get one from %.200s%s", path,
                       lingers() ? "" : ", until your last log-out (loginctl enable-linger)");
    }
}

static void check_memory(struct row *r)
{
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;

    r->check = "memory";
    r->optional = true;
    r->ok = bytes >= LITTLE_MEMORY;
    (void)snprintf(r->message, sizeof(r->message), "%" PRIu64 " MiB free", bytes >> 20);
    if (!r->ok)
        (void)snprintf(r->hint, sizeof(r->hint), "a guest has 512 MiB unless told otherwise");
}

static void check_descriptors(struct row *r)
{
    struct rlimit limit;

    r->check = "descriptors";
    r->optional = true;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    r->ok = limit.rlim_cur >= FEW_DESCRIPTORS;
    (void)snprintf(r->message, sizeof(r->message), "at most %llu open files",
                   (unsigned long long)limit.rlim_cur);
    if (!r->ok)
        (void)snprintf(r->hint, sizeof(r->hint), "ulimit -n %d", FEW_DESCRIPTORS);
}

/* The first of the places where images may be that is there. */
static void check_images(const viv *v, struct row *r)
{
    const char *extra = getenv("VIV_IMAGES");
    char cached[PATH_MAX] = "", near[PATH_MAX + 32] = "", helper[PATH_MAX];
    const char *dirs[] = {extra, near, VIV_DATADIR "/images", cached};

    /* Beside the helpers: an installed tree may have been moved. */
    if (vivi_helper_path("viv-keeper", helper, sizeof(helper), NULL) == 0) {
        *strrchr(helper, '/') = '\0';
        (void)snprintf(near, sizeof(near), "%s/../../share/vivarium/images", helper);
    }
    r->check = "images";
    r->optional = true;
    if (v->cache_dir)
        (void)snprintf(cached, sizeof(cached), "%s/images", v->cache_dir);
    for (size_t i = 0; i < ARRAY_SIZE(dirs) && !r->ok; i++) {
        r->ok = dirs[i] && dirs[i][0] && access(dirs[i], R_OK | X_OK) == 0;
        if (r->ok)
            (void)snprintf(r->message, sizeof(r->message), "%.299s", dirs[i]);
    }
    if (!r->ok) {
        (void)snprintf(r->message, sizeof(r->message), "no directory of images (%.250s)", cached);
        (void)snprintf(r->hint, sizeof(r->hint), "viv run demo tells how to make the first one");
    }
}

int viv_doctor(viv *v, viv_list **ret, viv_error *err)
{
    cleanup_viv_list viv_list *l = NULL;
    struct row rows[10] = {{.ok = false}};
    int r = vivi_list_new(&l, err);

    check_root(v, &rows[0]);
    check_sockets(v, &rows[1]);
    check_kvm(v, &rows[2]);
    check_driver(v, VIVI_DRIVER_QEMU, &rows[3]);
    check_driver(v, VIVI_DRIVER_CLOUD_HYPERVISOR, &rows[4]);
    check_helpers(&rows[5]);
    check_memory(&rows[6]);
    check_descriptors(&rows[7]);
    check_images(v, &rows[8]);
    check_scope(&rows[9]);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
        r = add(l, &rows[i], err);
    if (r < 0)
        return r;
    *ret = take_ptr(l);
    return 0;
}
