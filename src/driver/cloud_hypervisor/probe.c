/*
 * What this host's Cloud Hypervisor is and whether it can run a VM: the binary, its version, KVM,
 * Landlock. Running the binary takes milliseconds, so what it says is remembered by the file's
 * identity.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/binary.h"
#include "driver/cloud_hypervisor/ch.h"
#include "driver/helper.h"
#include "driver/kvm.h"
#include "driver/landlock.h"

#define CH_BINARY        "cloud-hypervisor"
#define CACHE_NAME       "probe-cloud-hypervisor.json"
#define OUTPUT_MAX_BYTES 16384
#define INSTALL_HINT     "https://github.com/cloud-hypervisor/cloud-hypervisor/releases"

static bool recall(const char *cache_dir, const struct vivi_binary *id, struct vivi_probe *p)
{
    json_t *doc = vivi_binary_recall(cache_dir, CACHE_NAME, id);
    const char *version = json_string_value(json_object_get(doc, "version"));
    const json_t *features = json_object_get(doc, "features");
    struct ch_version v;
    bool ok = version && strlen(version) < sizeof(p->version) && json_is_integer(features) &&
              ch_version_parse(version, &v);

    if (ok) {
        (void)snprintf(p->version, sizeof(p->version), "%s", version);
        p->features = (uint32_t)json_integer_value(features);
    }
    json_decref(doc);
    return ok;
}

/* 1 it told its version, 0 it did not, −NO_MEMORY. */
static int learn(const char *cache_dir, struct vivi_probe *p)
{
    char *const argv[] = {p->exe, (char[]){"-V"}, (char[]){"-v"}, NULL};
    struct vivi_buf out = VIVI_BUF(OUTPUT_MAX_BYTES);
    struct vivi_binary id;
    int r;

    if (vivi_binary_identify(p->exe, &id) < 0)
        return 0;
    if (recall(cache_dir, &id, p))
        return 1;
    r = vivi_binary_run(argv, &out, NULL);
    if (r == 0)
        r = out.data && ch_parse_about(out.data, p->version, &p->features) ? 1 : 0;
    vivi_buf_done(&out);
    if (r == 1)
        vivi_binary_remember(
            cache_dir, CACHE_NAME, &id,
            json_pack("{s:s, s:I}", "version", p->version, "features", (json_int_t)p->features));
    return r == -VIV_E_NO_MEMORY ? r : r > 0;
}

/* A binary that was built without KVM needs none: it is for another hypervisor, or for tests. */
static void find_accel(const char *cache_dir, struct vivi_probe *p)
{
    char why[160] = "", fix[160] = "";

    if (!(p->features & CH_HAS_KVM)) {
        p->accel = VIVI_ACCEL_NONE;
        return;
    }
    p->accel = VIVI_ACCEL_KVM;
    if (vivi_kvm_usable(cache_dir, why, fix, sizeof(why)))
        return;
    p->usable = false;
    (void)snprintf(p->reason, sizeof(p->reason), "cloud-hypervisor: no usable KVM (%s)", why);
    (void)snprintf(p->hint, sizeof(p->hint), "%s", fix);
}

/* Rows that not every release has that is recent enough for the rest. */
static const struct {
    enum vivi_cap cap;
    unsigned major;
    const char *text;
} rows_since[] = {
    {VIVI_CAP_DISK_RESIZE, 50, "needs Cloud Hypervisor 50 or later"},
    {VIVI_CAP_NESTED, 50, "needs Cloud Hypervisor 50 or later"},
};

const char *ch_needs(enum vivi_cap cap)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows_since); i++)
        if (rows_since[i].cap == cap)
            return rows_since[i].text;
    if (cap == VIVI_CAP_COREDUMP)
        return "it needs a Cloud Hypervisor that was built with guest_debug";
    return NULL;
}

/* The binary speaks and is recent enough. */
static void judge(int learnt, struct vivi_probe *p)
{
    struct ch_version v;

    if (learnt == 0 || !ch_version_parse(p->version, &v)) {
        (void)snprintf(p->reason, sizeof(p->reason), "%.120s: does not tell its version", p->exe);
        return;
    }
    if (v.major < CH_MIN_MAJOR) {
        (void)snprintf(p->reason, sizeof(p->reason),
                       "cloud-hypervisor %s is too old: %d.0 is needed", p->version, CH_MIN_MAJOR);
        (void)snprintf(p->hint, sizeof(p->hint), INSTALL_HINT);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows_since); i++)
        if (!ch_version_since(&v, rows_since[i].major, 0))
            vivi_caps_set(&p->caps, rows_since[i].cap, false);
    if (!(p->features & CH_HAS_GUEST_DEBUG))
        vivi_caps_set(&p->caps, VIVI_CAP_COREDUMP, false);
    p->usable = true;
}

int ch_probe(const char *cache_dir, const char *exe, enum vivi_accel wanted, struct vivi_probe *ret,
             viv_error *err)
{
    const char *set = getenv(CH_VARIABLE), *name = exe ? exe : set && *set ? set : CH_BINARY;
    struct vivi_probe p = {.caps = vivi_driver_cloud_hypervisor.caps, .accel = VIVI_ACCEL_KVM};
    int r;

    (void)wanted; /* there is one way only */
    p.sandbox = vivi_landlock_abi() >= CH_LANDLOCK_ABI;
    if (vivi_path_search(name, p.exe, sizeof(p.exe)) < 0) {
        (void)snprintf(p.reason, sizeof(p.reason), "%.150s: not found%s", name,
                       strchr(name, '/') ? "" : " on PATH");
        *ret = p;
        return 0;
    }
    r = learn(cache_dir, &p);
    if (r < 0)
        return vivi_fail_oom(err);
    judge(r, &p);
    if (p.usable)
        find_accel(cache_dir, &p);
    *ret = p;
    return 0;
}
