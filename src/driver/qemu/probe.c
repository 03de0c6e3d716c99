/*
 * What this host's QEMU is and whether KVM speeds it up.
 *
 * Theory of operation: running the binary takes some 20 ms, so its version is remembered by the
 * file's identity (device, inode, size, mtime). The same run tells whether it was built with
 * seccomp: options are taken in order, so one that is unknown fails before --version is reached.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/binary.h"
#include "driver/helper.h"
#include "driver/kvm.h"
#include "driver/qemu/qemu.h"

#define QEMU_BINARY      "qemu-system-x86_64"
#define CACHE_NAME       "probe-qemu.json"
#define OUTPUT_MAX_BYTES 16384
#define MIN_MAJOR        6 /* -action came with 6.0 */

bool qemu_parse_version(const char *text, char ret[64])
{
    static const char head[] = "QEMU emulator version ";
    const char *at = strstr(text, head);
    size_t len;

    if (!at)
        return false;
    at += strlen(head);
    len = strspn(at, "0123456789.");
    if (len == 0 || len >= 32)
        return false;
    (void)snprintf(ret, 64, "%.*s", (int)len, at);
    return true;
}

/* 1 it told its version, 0 it did not, −NO_MEMORY. */
static int ask_version(bool sandbox, struct vivi_probe *p)
{
    char *const with[] = {p->exe, (char[]){"-sandbox"}, (char[]){QEMU_SANDBOX},
                          (char[]){"--version"}, NULL};
    char *const without[] = {p->exe, (char[]){"--version"}, NULL};
    struct vivi_buf out = VIVI_BUF(OUTPUT_MAX_BYTES);
    int r = vivi_binary_run(sandbox ? with : without, &out, NULL);

    if (r == 0)
        r = out.data && qemu_parse_version(out.data, p->version) ? 1 : 0;
    vivi_buf_done(&out);
    if (r == 1)
        p->sandbox = sandbox;
    return r == -VIV_E_NO_MEMORY ? r : r > 0;
}

/* ---- the probe ---- */

static bool recall(const char *cache_dir, const struct vivi_binary *id, struct vivi_probe *p)
{
    json_t *doc = vivi_binary_recall(cache_dir, CACHE_NAME, id);
    const char *version = json_string_value(json_object_get(doc, "version"));
    bool ok = version && strlen(version) < sizeof(p->version);

    if (ok) {
        (void)snprintf(p->version, sizeof(p->version), "%s", version);
        p->sandbox = json_is_true(json_object_get(doc, "sandbox"));
    }
    json_decref(doc);
    return ok;
}

static int learn(const char *cache_dir, struct vivi_probe *p)
{
    struct vivi_binary id;
    int r;

    if (vivi_binary_identify(p->exe, &id) < 0)
        return 0;
    if (recall(cache_dir, &id, p))
        return 1;
    r = ask_version(true, p);
    if (r == 0)
        r = ask_version(false, p);
    if (r > 0)
        vivi_binary_remember(
            cache_dir, CACHE_NAME, &id,
            json_pack("{s:s, s:b}", "version", p->version, "sandbox", (int)p->sandbox));
    return r;
}

static void find_accel(const char *cache_dir, enum vivi_accel wanted, struct vivi_probe *p)
{
    char why[160] = "";

    p->accel = VIVI_ACCEL_TCG;
    if (wanted == VIVI_ACCEL_TCG) {
        (void)snprintf(p->accel_reason, sizeof(p->accel_reason), "accel is set to tcg");
        return;
    }
    if (vivi_kvm_usable(cache_dir, why, p->accel_fix, sizeof(why))) {
        p->accel = VIVI_ACCEL_KVM;
        return;
    }
    (void)snprintf(p->accel_reason, sizeof(p->accel_reason), "no usable KVM (%s)", why);
}

int qemu_probe(const char *cache_dir, const char *exe, enum vivi_accel wanted,
               struct vivi_probe *ret, viv_error *err)
{
    const char *set = getenv("VIV_QEMU"), *name = exe ? exe : set && *set ? set : QEMU_BINARY;
    struct vivi_probe p = {.caps = vivi_driver_qemu.caps};
    int r;

    find_accel(cache_dir, wanted, &p);
    if (vivi_path_search(name, p.exe, sizeof(p.exe)) < 0) {
        (void)snprintf(p.reason, sizeof(p.reason), "%.150s: not found%s", name,
                       strchr(name, '/') ? "" : " on PATH");
        (void)snprintf(p.hint, sizeof(p.hint), "apt-get install qemu-system-x86");
        *ret = p;
        return 0;
    }
    r = learn(cache_dir, &p);
    if (r < 0)
        return vivi_fail_oom(err);
    if (r == 0)
        (void)snprintf(p.reason, sizeof(p.reason), "%.120s: does not tell its version", p.exe);
    else if (strtol(p.version, NULL, 10) < MIN_MAJOR)
        (void)snprintf(p.reason, sizeof(p.reason), "qemu %s is too old: %d.0 is needed", p.version,
                       MIN_MAJOR);
    else
        p.usable = true;
    *ret = p;
    return 0;
}
