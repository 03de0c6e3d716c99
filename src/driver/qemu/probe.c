/*
 * What this host's QEMU is and whether KVM speeds it up.
 *
 * Theory of operation: running the binary takes some 20 ms, so its version is remembered by the
 * file's identity (device, inode, size, mtime). The same run tells whether it was built with
 * seccomp: options are taken in order, so one that is unknown fails before --version is reached.
 */
#include <fcntl.h>
#include <jansson.h>
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
#include "driver/helper.h"
#include "driver/kvm.h"
#include "driver/qemu/qemu.h"

#define QEMU_BINARY      "qemu-system-x86_64"
#define RUN_TIMEOUT_MS   5000
#define OUTPUT_MAX_BYTES 16384
#define CACHE_MAX_BYTES  4096
#define MIN_MAJOR        6 /* -action came with 6.0 */

struct identity {
    uint64_t dev, ino, size, mtime_ns;
};

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

/* ---- running the binary ---- */

static int read_output(int fd, struct vivi_buf *out)
{
    uint64_t deadline = vivi_mono_us() / 1000 + RUN_TIMEOUT_MS, now;

    while ((now = vivi_mono_us() / 1000) < deadline) {
        ssize_t n;

        if (vivi_wait_fd(fd, 1 /* POLLIN */, (int)(deadline - now), NULL) <= 0)
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

static int run(char *const *argv, struct vivi_buf *out, viv_error *err)
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

/* 1 it told its version, 0 it did not, −NO_MEMORY. */
static int ask_version(bool sandbox, struct vivi_probe *p)
{
    char *const with[] = {p->exe, (char[]){"-sandbox"}, (char[]){QEMU_SANDBOX},
                          (char[]){"--version"}, NULL};
    char *const without[] = {p->exe, (char[]){"--version"}, NULL};
    struct vivi_buf out = VIVI_BUF(OUTPUT_MAX_BYTES);
    int r = run(sandbox ? with : without, &out, NULL);

    if (r == 0)
        r = out.data && qemu_parse_version(out.data, p->version) ? 1 : 0;
    vivi_buf_done(&out);
    if (r == 1)
        p->sandbox = sandbox;
    return r == -VIV_E_NO_MEMORY ? r : r > 0;
}

/* ---- what was learnt before ---- */

static void cache_path(const char *cache_dir, char ret[512])
{
    (void)snprintf(ret, 512, "%s/probe-qemu.json", cache_dir);
}

static bool same_number(const json_t *doc, const char *key, uint64_t wanted)
{
    const json_t *v = json_object_get(doc, key);

    return json_is_integer(v) && (uint64_t)json_integer_value(v) == wanted;
}

static bool cache_load(const char *cache_dir, const struct identity *id, struct vivi_probe *p)
{
    struct vivi_buf text = VIVI_BUF(CACHE_MAX_BYTES);
    const char *version;
    json_t *doc = NULL;
    char path[512];
    bool ok = false;

    cache_path(cache_dir, path);
    if (vivi_read_file_at(AT_FDCWD, path, &text, NULL) == 0 && text.data)
        doc = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    version = json_string_value(json_object_get(doc, "version"));
    if (version && strlen(version) < sizeof(p->version) && same_number(doc, "dev", id->dev) &&
        same_number(doc, "ino", id->ino) && same_number(doc, "size", id->size) &&
        same_number(doc, "mtime_ns", id->mtime_ns)) {
        (void)snprintf(p->version, sizeof(p->version), "%s", version);
        p->sandbox = json_is_true(json_object_get(doc, "sandbox"));
        ok = true;
    }
    json_decref(doc);
    vivi_buf_done(&text);
    return ok;
}

/* Best effort: without it the next probe asks again. */
static void cache_save(const char *cache_dir, const struct identity *id, const struct vivi_probe *p)
{
    json_t *doc =
        json_pack("{s:I, s:I, s:I, s:I, s:s, s:b}", "dev", (json_int_t)id->dev, "ino",
                  (json_int_t)id->ino, "size", (json_int_t)id->size, "mtime_ns",
                  (json_int_t)id->mtime_ns, "version", p->version, "sandbox", (int)p->sandbox);
    char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    char path[512];

    cache_path(cache_dir, path);
    if (text && vivi_mkdir_path(cache_dir, 0700, NULL) == 0)
        (void)vivi_write_file_at(AT_FDCWD, path, text, strlen(text), VIVI_FAST, NULL);
    free(text);
    json_decref(doc);
}

/* ---- the probe ---- */

static int learn(const char *cache_dir, struct vivi_probe *p)
{
    struct identity id;
    struct stat st;
    int r;

    if (stat(p->exe, &st) < 0)
        return 0;
    id =
        (struct identity){(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
                          (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec};
    if (cache_dir && cache_load(cache_dir, &id, p))
        return 1;
    r = ask_version(true, p);
    if (r == 0)
        r = ask_version(false, p);
    if (r > 0 && cache_dir)
        cache_save(cache_dir, &id, p);
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

int qemu_probe(const char *cache_dir, enum vivi_accel wanted, struct vivi_probe *ret,
               viv_error *err)
{
    const char *set = getenv("VIV_QEMU"), *name = set && *set ? set : QEMU_BINARY;
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
