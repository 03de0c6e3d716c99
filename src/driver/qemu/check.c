/* What keeps a configuration from running under QEMU on this host: pure, all problems at once, in
 * the order of the fields. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errno_text.h"
#include "driver/kernel.h"
#include "driver/qemu/qemu.h"

#define GIB         (UINT64_C(1) << 30)
#define MIB         (UINT64_C(1) << 20)
#define NEED_KERNEL "give a kernel (--kernel FILE), or an image by name: viv run demo"

/* Stops at the first failure to note a problem: there is no memory then. */
#define TRY(expr)          \
    do {                   \
        int try_ = (expr); \
        if (try_ < 0)      \
            return try_;   \
    } while (0)

/* ---- files ---- */

/* A file that cannot be looked at or opened: 1 a problem was noted, 0 it is fine. */
static int check_reachable(struct vivi_problems *p, const char *field, const char *path,
                           const struct vivi_path_fact *fact)
{
    int error = !fact ? ENOENT : fact->stat_errno ? fact->stat_errno : fact->open_errno;
    int code = VIV_E_INVALID;

    if (error == 0)
        return 0;
    if (error == EACCES || error == EPERM || error == EROFS)
        code = VIV_E_DENIED;
    else if (error != ENOENT && error != ENOTDIR && error != ELOOP && error != ENAMETOOLONG)
        code = VIV_E_IO;
    TRY(vivi_problem(p, code, field, NULL, "%s: %s", path,
                     error == ENOENT ? "no such file" : vivi_errno_text(error)));
    return 1;
}

static int check_regular(struct vivi_problems *p, const char *field, const char *path,
                         const struct vivi_path_fact *fact)
{
    int r = check_reachable(p, field, path, fact);

    if (r != 0)
        return r;
    if (S_ISREG(fact->mode))
        return 0;
    TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: %s", path,
                     S_ISDIR(fact->mode) ? "is a directory" : "not a regular file"));
    return 1;
}

static int check_boot(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, c->kernel);
    const char *text;
    int r;

    if (!c->kernel)
        TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NEED_KERNEL,
                         "is missing: the qemu driver boots a kernel"));
    if (c->kernel) {
        r = check_regular(p, "boot.kernel", c->kernel, fact);
        TRY(r);
        if (r == 0 && vivi_kernel_kind(fact->head, fact->head_len, fact->notes, fact->notes_len,
                                       &text) == VIVI_KERNEL_NONE)
            TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NULL, "%s: not a Linux kernel (%s)",
                             c->kernel, text));
    }
    if (c->initramfs) {
        fact = vivi_fact_of(f, c->initramfs);
        r = check_regular(p, "boot.initramfs", c->initramfs, fact);
        TRY(r);
        if (r == 0 && fact->size_bytes == 0)
            TRY(vivi_problem(p, VIV_E_INVALID, "boot.initramfs", NULL, "%s: empty file",
                             c->initramfs));
    }
    return 0;
}

static int check_disk(const struct vivi_disk *d, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, d->path);
    char field[128];
    int r;

    (void)snprintf(field, sizeof(field), "disks.%s.path", d->id);
    r = check_reachable(p, field, d->path, fact);
    if (r != 0)
        return r < 0 ? r : 0;
    if (!S_ISREG(fact->mode) && !S_ISBLK(fact->mode))
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: %s", d->path,
                            S_ISDIR(fact->mode) ? "is a directory"
                                                : "not a regular file or block device");
    if (fact->size_bytes == 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: empty file", d->path);
    if (fact->size_bytes % QEMU_SECTOR_BYTES != 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL,
                            "%s: its size (%" PRIu64 " bytes) is no multiple of %d", d->path,
                            fact->size_bytes, QEMU_SECTOR_BYTES);
    return 0;
}

static int check_disks(const struct vivi_config *c, const struct vivi_facts *f,
                       struct vivi_problems *p)
{
    char field[128];

    if (c->n_disks > QEMU_MAX_DISKS)
        TRY(vivi_problem(p, VIV_E_INVALID, "disks", NULL, "qemu takes at most %d disks",
                         QEMU_MAX_DISKS));
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct vivi_disk *d = &c->disks[i];

        (void)snprintf(field, sizeof(field), "disks.%s", d->id);
        if (strlen(d->id) > QEMU_SERIAL_ID_BYTES)
            TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                             "the id is longer than the %d characters that a guest sees",
                             QEMU_SERIAL_ID_BYTES));
        TRY(check_disk(d, f, p));
        for (size_t j = 0; j < i; j++) {
            if (strcmp(c->disks[j].path, d->path) != 0 || (c->disks[j].readonly && d->readonly))
                continue;
            (void)snprintf(field, sizeof(field), "disks.%s.path", d->id);
            TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: is used by disk %s already",
                             d->path, c->disks[j].id));
            break;
        }
    }
    return 0;
}

/* ---- CPUs and memory ---- */

/* Of the host, for people: whole GiB or MiB, rounded down. */
static void format_host_size(uint64_t bytes, char ret[24])
{
    vivi_format_size(bytes >= GIB ? bytes / GIB * GIB : bytes / MIB * MIB, ret);
}

static int check_size(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    char wanted[24], host[24];

    if (c->cpus > QEMU_MAX_CPUS)
        TRY(vivi_problem(p, VIV_E_INVALID, "cpus.count", NULL,
                         "%" PRIu32 " is more than qemu can give (%d)", c->cpus, QEMU_MAX_CPUS));
    if (c->memory_bytes > f->host_memory_bytes) {
        vivi_format_size(c->memory_bytes, wanted);
        format_host_size(f->host_memory_bytes, host);
        TRY(vivi_problem(p, VIV_E_INVALID, "memory.size", NULL,
                         "%s is more than this host has (%s)", wanted, host));
    } else if (c->memory_bytes % MIB != 0) {
        vivi_format_size(c->memory_bytes, wanted);
        TRY(vivi_problem(p, VIV_E_INVALID, "memory.size", NULL, "%s is no multiple of 1MiB",
                         wanted));
    }
    return 0;
}

/* ---- networks ---- */

static bool same_host_port(const struct vivi_forward *a, const struct vivi_forward *b)
{
    return a->udp == b->udp && a->host_port == b->host_port && strcmp(a->host_ip, b->host_ip) == 0;
}

/* Whether a forward that stands before the one at (net, index) has the same host port. */
static bool taken_before(const struct vivi_config *c, size_t net, size_t index)
{
    const struct vivi_forward *f = &c->nets[net].forwards[index];

    for (size_t i = 0; i <= net; i++)
        for (size_t j = 0; j < (i == net ? index : c->nets[i].n_forwards); j++)
            if (same_host_port(&c->nets[i].forwards[j], f))
                return true;
    return false;
}

static int check_forward(const struct vivi_config *c, const struct vivi_facts *facts, size_t net,
                         size_t index, struct vivi_problems *p)
{
    const struct vivi_forward *f = &c->nets[net].forwards[index];
    char field[128], text[80];

    (void)snprintf(field, sizeof(field), "nets.%s.forward", c->nets[net].id);
    vivi_format_forward(f, text);
    if (strchr(f->host_ip, ':'))
        return vivi_problem(p, VIV_E_UNSUPPORTED, field,
                            "give an IPv4 address of this host: 127.0.0.1, or 0.0.0.0 for all",
                            "%s: qemu's user network listens on IPv4 addresses only", text);
    if (f->host_port == 0)
        return 0; /* a free one */
    if (taken_before(c, net, index))
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: port %u is forwarded already", text,
                            (unsigned)f->host_port);
    if (f->host_port < facts->lowest_port)
        return vivi_problem(p, VIV_E_DENIED, field,
                            "sudo sysctl net.ipv4.ip_unprivileged_port_start=80, or a higher port",
                            "%s: ports below %" PRIu32 " need privileges", text,
                            facts->lowest_port);
    return 0;
}

static int check_nets(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    if (c->n_nets > QEMU_MAX_NETS)
        TRY(vivi_problem(p, VIV_E_INVALID, "nets", NULL, "qemu takes at most %d networks",
                         QEMU_MAX_NETS));
    for (size_t i = 0; i < c->n_nets; i++)
        for (size_t j = 0; j < c->nets[i].n_forwards; j++)
            TRY(check_forward(c, f, i, j, p));
    return 0;
}

/* ---- all ---- */

static int check_machine(const struct vivi_config *c, const struct vivi_facts *f,
                         struct vivi_problems *p)
{
    const struct vivi_probe *probe = &f->probe;

    if (!probe->usable)
        TRY(vivi_problem(p, VIV_E_UNSUPPORTED, NULL, *probe->hint ? probe->hint : NULL, "%s",
                         probe->reason));
    if (!qemu_machine(c->machine))
        TRY(vivi_problem(
            p, VIV_E_INVALID, "machine", NULL,
            "\"%s\" is not a machine type of the qemu driver (examples: q35, pc-q35-7.2)",
            c->machine));
    if (c->accel == VIVI_ACCEL_HVF)
        TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel", NULL, "hvf needs macOS"));
    if (c->accel == VIVI_ACCEL_KVM && probe->accel != VIVI_ACCEL_KVM)
        TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel", *probe->accel_fix ? probe->accel_fix : NULL,
                         "%s", probe->accel_reason));
    return 0;
}

int qemu_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret)
{
    TRY(check_machine(c, f, ret));
    TRY(check_boot(c, f, ret));
    TRY(check_size(c, f, ret));
    TRY(check_disks(c, f, ret));
    return check_nets(c, f, ret);
}
