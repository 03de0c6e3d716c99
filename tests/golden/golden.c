/*
 * Golden plans: golden DRIVER DIR [--update]
 *
 * Each DIR/<case>.conf is a configuration. On a made-up host its check and plan must give exactly
 * what <case>.plan (the plan as --dry-run shows it) or <case>.err (all problems) holds. --update
 * writes them anew; look at the difference before you commit it. TAP on stdout.
 *
 * The host: 23 GiB and a bit, 4 CPUs, no privileges, QEMU 7.2 with seccomp, emulating; a case whose
 * name begins with "kvm" has a usable KVM, with "old" a QEMU without seccomp, with "none" no VMM.
 * Cloud Hypervisor is 53.0, with Landlock; "old": 46.0, without; "nokvm": no usable KVM.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "driver/checks.h"

#define UUID  "6f1f2e0c-8a53-4f0e-9d4b-0c1d2e3f4a5b"
#define NONCE "0123456789abcdef"

/* ---- the made-up host ---- */

static const struct made_file {
    const char *path;
    int stat_errno, open_errno;
    uint32_t mode;
    uint64_t size_bytes;
    const char *kind; /* "bzimage", "pvh", "elf", or the first bytes */
} files[] = {
    {"/images/vmlinuz", 0, 0, S_IFREG | 0644, 8 << 20, "bzimage"},
    {"/images/vmlinux", 0, 0, S_IFREG | 0644, 40 << 20, "pvh"},
    {"/images/elf", 0, 0, S_IFREG | 0644, 40 << 20, "elf"},
    {"/images/kernel.gz", 0, 0, S_IFREG | 0644, 4 << 20, "\x1f\x8b\x08"},
    {"/images/initrd", 0, 0, S_IFREG | 0644, 1 << 20, "070701"},
    {"/images/empty", 0, 0, S_IFREG | 0644, 0, ""},
    {"/images/secret", 0, EACCES, S_IFREG | 0600, 1 << 20, ""},
    {"/images", 0, 0, S_IFDIR | 0755, 4096, ""},
    {"/images/odd,name=1 \"x\"", 0, 0, S_IFREG | 0644, 8 << 20, "bzimage"},
    {"/disks/root.img", 0, 0, S_IFREG | 0600, 1 << 30, ""},
    {"/disks/data.img", 0, 0, S_IFREG | 0600, 1 << 20, ""},
    {"/disks/with,comma,readonly=on.img", 0, 0, S_IFREG | 0600, 1 << 20, ""},
    {"/disks/denied.img", 0, EACCES, S_IFREG | 0400, 1 << 20, ""},
    {"/disks/unsearchable/d.img", EACCES, 0, 0, 0, ""},
    {"/disks/odd.img", 0, 0, S_IFREG | 0600, 1000, ""},
    {"/disks/empty.img", 0, 0, S_IFREG | 0600, 0, ""},
    {"/disks/fifo", 0, 0, S_IFIFO | 0600, 0, ""},
    {"/run/back-end.sock", 0, 0, S_IFSOCK | 0600, 0, ""},
    {"/run/denied.sock", EACCES, 0, 0, 0, ""},
    {"/dev/vhost-vdpa-0", 0, 0, S_IFCHR | 0600, 0, ""},
    {"/dev/vg/data", 0, 0, S_IFBLK | 0600, 1 << 30, ""},
};

static void put_le(uint8_t *at, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void make_contents(struct vivi_path_fact *f, const char *kind)
{
    static const uint8_t elf[20] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 62};

    f->head_len = sizeof(f->head);
    if (strcmp(kind, "bzimage") == 0) {
        put_le(f->head + 0x1fe, 0xaa55, 2);
        memcpy(f->head + 0x202, "HdrS", 4);
    } else if (strcmp(kind, "pvh") == 0 || strcmp(kind, "elf") == 0) {
        memcpy(f->head, elf, sizeof(elf));
        f->notes = calloc(1, 20);
        f->notes_len = f->notes && strcmp(kind, "pvh") == 0 ? 20 : 0;
        if (f->notes_len) {
            put_le(f->notes, 4, 4);
            put_le(f->notes + 4, 4, 4);
            put_le(f->notes + 8, 18, 4);
            memcpy(f->notes + 12, "Xen", 4);
        }
    } else {
        f->head_len = f->size_bytes ? strlen(kind) : 0;
        memcpy(f->head, kind, f->head_len);
    }
}

static int add_path(void *arg, const char *path, bool writable)
{
    struct vivi_facts *f = arg;
    struct vivi_path_fact *p;

    (void)writable;
    if (vivi_fact_of(f, path))
        return 0;
    p = realloc(f->paths, (f->n_paths + 1) * sizeof(*p));
    if (!p)
        abort();
    f->paths = p;
    p += f->n_paths++;
    *p = (struct vivi_path_fact){.path = strdup(path), .stat_errno = ENOENT};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (strcmp(files[i].path, path) != 0)
            continue;
        p->stat_errno = files[i].stat_errno;
        p->open_errno = files[i].open_errno;
        p->mode = files[i].mode;
        p->size_bytes = files[i].size_bytes;
        make_contents(p, files[i].kind);
    }
    return 0;
}

static void make_cloud_hypervisor(struct vivi_probe *p, const char *name)
{
    bool old = strncmp(name, "old", 3) == 0;

    (void)snprintf(p->exe, sizeof(p->exe), "/usr/bin/cloud-hypervisor");
    (void)snprintf(p->version, sizeof(p->version), "%s", old ? "46.0" : "53.0");
    p->sandbox = !old;
    p->accel = VIVI_ACCEL_KVM;
    if (strncmp(name, "none", 4) == 0)
        (void)snprintf(p->reason, sizeof(p->reason), "cloud-hypervisor: not found on PATH");
    if (strncmp(name, "nokvm", 5) == 0) {
        p->usable = false;
        (void)snprintf(p->reason, sizeof(p->reason),
                       "cloud-hypervisor: no usable KVM (/dev/kvm: permission denied)");
        (void)snprintf(p->hint, sizeof(p->hint), "sudo usermod -aG kvm $USER, and log in again");
    }
}

static void make_facts(struct vivi_facts *f, const struct vivi_config *c, const char *name,
                       const struct vivi_driver *d)
{
    bool kvm = strncmp(name, "kvm", 3) == 0, none = strncmp(name, "none", 4) == 0;

    *f = (struct vivi_facts){.host_memory_bytes = 24696061952,
                             .huge_2m_bytes = UINT64_C(1) << 30,
                             .host_cpus = 4,
                             .lowest_port = 1024};
    f->probe.usable = !none;
    f->probe.caps = d->caps;
    if (d->kind == VIVI_DRIVER_FAKE) {
        (void)snprintf(f->probe.exe, sizeof(f->probe.exe), "/usr/libexec/vivarium/viv-fake");
        (void)snprintf(f->probe.reason, sizeof(f->probe.reason), none ? "viv-fake: not found" : "");
        f->probe.accel = VIVI_ACCEL_NONE;
        return;
    }
    if (d->kind == VIVI_DRIVER_CLOUD_HYPERVISOR) {
        make_cloud_hypervisor(&f->probe, name);
        (void)vivi_config_each_path(c, add_path, f);
        return;
    }
    (void)snprintf(f->probe.exe, sizeof(f->probe.exe), "/usr/bin/qemu-system-x86_64");
    (void)snprintf(f->probe.version, sizeof(f->probe.version), "7.2.0");
    f->probe.sandbox = strncmp(name, "old", 3) != 0;
    f->probe.accel = kvm ? VIVI_ACCEL_KVM : VIVI_ACCEL_TCG;
    if (!kvm)
        (void)snprintf(f->probe.accel_reason, sizeof(f->probe.accel_reason),
                       "no usable KVM (/dev/kvm: permission denied)");
    if (none) {
        (void)snprintf(f->probe.reason, sizeof(f->probe.reason),
                       "qemu-system-x86_64: not found on PATH");
        (void)snprintf(f->probe.hint, sizeof(f->probe.hint), "apt-get install qemu-system-x86");
    }
    (void)vivi_config_each_path(c, add_path, f);
}

/* ---- one case ---- */

static int read_config(const char *path, struct vivi_config *ret, json_t **ret_doc, viv_error *err)
{
    struct vivi_buf text = VIVI_BUF(1 << 20);
    json_t *given = NULL, *completed = NULL;
    int r = vivi_read_file_at(AT_FDCWD, path, &text, err);

    if (r == 0)
        r = vivi_config_parse(text.data ? text.data : "", text.len, "golden", "/base", &given, err);
    if (r == 0)
        r = vivi_config_complete(given, &completed, err);
    if (r == 0)
        r = vivi_config_decode(completed, ret, err);
    json_decref(given);
    *ret_doc = completed;
    vivi_buf_done(&text);
    return r;
}

static void write_problems(const struct vivi_problems *p, struct vivi_buf *out)
{
    for (size_t i = 0; i < p->n; i++) {
        const viv_error *e = &p->items[i];
        static const char *const names[] = {[VIV_E_INVALID] = "INVALID",
                                            [VIV_E_UNSUPPORTED] = "UNSUPPORTED",
                                            [VIV_E_DENIED] = "DENIED",
                                            [VIV_E_IO] = "IO"};
        const char *name = (size_t)e->code < ARRAY_SIZE(names) ? names[e->code] : NULL;

        (void)vivi_buf_printf(out, "%s [%s] %s\n", name ? name : "?", e->field, e->message);
        if (*e->hint)
            (void)vivi_buf_printf(out, "  hint: %s\n", e->hint);
    }
}

static int make_plan(const struct vivi_driver *d, const struct vivi_config *c,
                     const struct vivi_facts *f, struct vivi_buf *out, viv_error *err)
{
    const struct vivi_plan_input in = {.config = c,
                                       .facts = f,
                                       .uuid = UUID,
                                       .nonce = NONCE,
                                       .run_dir = "/run/viv,1/6f1f2e0c",
                                       .vm_dir = "/var/lib/vivarium/vms/web",
                                       .how = VIVI_HOW_BOOT};
    cleanup_plan struct vivi_plan plan = {0};
    json_t *doc = NULL;
    char *text;
    int r = d->plan(&in, &plan, err);

    if (r == 0)
        r = vivi_plan_to_json(&plan, &doc, err);
    if (r < 0)
        return r;
    text = json_dumps(doc, JSON_INDENT(2));
    json_decref(doc);
    r = text ? vivi_buf_printf(out, "%s\n", text) : -VIV_E_NO_MEMORY;
    free(text);
    return r;
}

/* What the case gives: 1 a plan, 0 problems, negative: neither. */
static int evaluate(const struct vivi_driver *d, const char *name, const char *path,
                    struct vivi_buf *out, viv_error *err)
{
    cleanup_config struct vivi_config c = {0};
    cleanup_facts struct vivi_facts f = {0};
    cleanup_problems struct vivi_problems problems = {0};
    json_t *doc = NULL;
    int r = read_config(path, &c, &doc, err);

    if (r == 0) {
        make_facts(&f, &c, name, d);
        r = vivi_check_fields(doc, d, &problems);
    }
    json_decref(doc);
    if (r < 0)
        return r;
    r = d->check(&c, &f, &problems);
    if (r < 0)
        return vivi_fail(err, -r, "check failed");
    write_problems(&problems, out);
    if (problems.n > 0)
        return 0;
    r = make_plan(d, &c, &f, out, err);
    return r < 0 ? r : 1;
}

static bool same_file(const char *path, const struct vivi_buf *out)
{
    struct vivi_buf old = VIVI_BUF(1 << 20);
    bool same = vivi_read_file_at(AT_FDCWD, path, &old, NULL) == 0 && old.len == out->len &&
                memcmp(old.data, out->data, out->len) == 0;

    vivi_buf_done(&old);
    return same;
}

static bool run_case(const struct vivi_driver *d, const char *dir, const char *name, bool update)
{
    struct vivi_buf out = VIVI_BUF(1 << 20);
    viv_error err = VIV_ERROR_INIT;
    char conf[512], plan[512], problems[512];
    const char *wanted, *other;
    bool ok;
    int r;

    (void)snprintf(conf, sizeof(conf), "%s/%s.conf", dir, name);
    (void)snprintf(plan, sizeof(plan), "%s/%s.plan", dir, name);
    (void)snprintf(problems, sizeof(problems), "%s/%s.err", dir, name);
    r = evaluate(d, name, conf, &out, &err);
    wanted = r == 1 ? plan : problems;
    other = r == 1 ? problems : plan;
    if (r >= 0 && update) {
        (void)unlink(other);
        r = vivi_write_file_at(AT_FDCWD, wanted, out.data, out.len, VIVI_FAST, &err);
        (void)chmod(wanted, 0644);
    }
    ok = r >= 0 && same_file(wanted, &out) && access(other, F_OK) < 0;
    if (!ok)
        printf("# %s: %s\n# %s\n", name, r < 0 ? err.message : "differs from what is expected",
               out.data ? out.data : "");
    vivi_buf_done(&out);
    return ok;
}

static int is_conf(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    return len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0;
}

int main(int argc, char **argv)
{
    const struct vivi_driver *d = argc > 2 ? vivi_driver_find(argv[1]) : NULL;
    bool update = argc > 3 && strcmp(argv[3], "--update") == 0;
    struct dirent **names;
    int n, failed = 0;

    if (!d || (n = scandir(argv[2], &names, is_conf, alphasort)) <= 0) {
        (void)fprintf(stderr, "usage: golden DRIVER DIR [--update]\n");
        return 2;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        bool ok;

        names[i]->d_name[strlen(names[i]->d_name) - 5] = '\0';
        ok = run_case(d, argv[2], names[i]->d_name, update);
        failed += !ok;
        printf("%sok %d - %s plan: %s\n", ok ? "" : "not ", i + 1, argv[1], names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return failed > 0;
}
