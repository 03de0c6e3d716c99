/* What keeps a configuration from running under Cloud Hypervisor on this host: pure, all problems
 * at once, in the order of the fields. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errno_text.h"
#include "driver/checks.h"
#include "driver/cloud_hypervisor/ch.h"

#define NEED_KERNEL "give a kernel (--kernel FILE), or an image by name: viv run demo"
#define MIB         (UINT64_C(1) << 20)
#define NEED_NET    "--net none, --net tap,tap=NAME, or --driver qemu"

static const struct vivi_limits limits = {
    .vmm = "cloud-hypervisor",
    .max_disks = CH_MAX_DISKS,
    .max_nets = CH_MAX_NETS,
    .max_cpus = CH_MAX_CPUS,
};

static int check_machine(const struct vivi_config *c, const struct vivi_facts *f,
                         struct vivi_problems *p)
{
    VIVI_TRY(vivi_check_vmm(c, f, p));
    if (c->machine && strcmp(c->machine, "auto") != 0 && strcmp(c->machine, CH_MACHINE) != 0)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "machine", NULL,
                              "\"%s\": cloud-hypervisor has one machine type, " CH_MACHINE,
                              c->machine));
    if (c->accel == VIVI_ACCEL_HVF)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel", NULL, "hvf needs macOS"));
    if (c->accel == VIVI_ACCEL_TCG)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel", "--driver qemu",
                              "cloud-hypervisor cannot emulate a CPU"));
    return 0;
}

static int check_boot(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    if (!c->firmware) {
        if (!c->kernel)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NEED_KERNEL,
                                  "is missing: the cloud-hypervisor driver boots a kernel"));
        return vivi_check_boot(c, f, p);
    }
    if (c->kernel)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NULL,
                              "cannot be given together with boot.firmware"));
    if (c->initramfs)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.initramfs", NULL,
                              "needs a kernel: firmware finds its own"));
    if (c->cmdline)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.cmdline", NULL,
                              "needs a kernel: firmware finds its own"));
    VIVI_TRY(vivi_check_regular(p, "boot.firmware", c->firmware, vivi_fact_of(f, c->firmware)));
    return 0;
}

/* ---- CPUs and memory ---- */

/* One that cannot be read is the oldest that there can be. */
static struct ch_version version_of(const struct vivi_facts *f)
{
    struct ch_version v = {.major = CH_MIN_MAJOR};

    (void)ch_version_parse(f->probe.version, &v);
    return v;
}

static uint64_t or_one(uint32_t n)
{
    return n > 0 ? n : 1;
}

static int check_cpus(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    struct ch_version v = version_of(f);
    uint64_t n = or_one(c->topology.threads) * or_one(c->topology.cores) *
                 or_one(c->topology.dies) * or_one(c->topology.packages);
    uint32_t vcpu;

    if (ch_has_topology(c) && n != ch_max_cpus(c))
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.topology", NULL,
                              "its numbers multiply to %" PRIu64 ", but there are %" PRIu32 " CPUs",
                              n, ch_max_cpus(c)));
    if (c->nested != VIVI_SWITCH_AUTO && !ch_version_since(&v, 50, 0))
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "cpus.nested", NULL,
                              "needs Cloud Hypervisor 50 or later (this is %s)", f->probe.version));
    if (c->topology.threads > 2)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.topology.threads", NULL,
                              "a core has at most 2 threads"));
    for (size_t i = 0; i < c->affinity.n; i++) {
        if (!ch_parse_affinity(c->affinity.items[i], &vcpu, NULL))
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.affinity", NULL,
                                  "\"%s\" is not a binding (examples: 0=2-3, 1=4,6)",
                                  c->affinity.items[i]));
        else if (vcpu >= ch_max_cpus(c))
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.affinity", NULL,
                                  "\"%s\": there is no virtual CPU %" PRIu32, c->affinity.items[i],
                                  vcpu));
    }
    return 0;
}

/* Without enough of them the VMM is killed when the guest touches what is not there. */
static int check_pool(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    bool large = c->hugepage_bytes == 1024 * MIB;
    uint64_t there = large ? f->huge_1g_bytes : f->huge_2m_bytes;
    char needed[24], has[24], hint[160];

    if (c->memory_bytes <= there)
        return 0;
    vivi_format_size(c->memory_bytes, needed);
    vivi_format_size(there, has);
    (void)snprintf(hint, sizeof(hint),
                   "echo %" PRIu64 " | sudo tee /sys/kernel/mm/hugepages/hugepages-%ukB/"
                   "nr_hugepages",
                   c->memory_bytes / c->hugepage_bytes, large ? 1048576u : 2048u);
    return vivi_problem(p, VIV_E_INVALID, "memory.hugepages", hint,
                        "%s are needed in pages of %s, and this host has %s of them free", needed,
                        large ? "1GiB" : "2MiB", there > 0 ? has : "none");
}

static int check_pages(const struct vivi_config *c, const struct vivi_facts *f,
                       struct vivi_problems *p)
{
    uint64_t page = c->hugepage_bytes;

    if (page == 0)
        return 0;
    if (page != 2 * MIB && page != 1024 * MIB)
        return vivi_problem(p, VIV_E_INVALID, "memory.hugepages", NULL,
                            "a huge page has 2MiB or 1GiB");
    if (c->n_zones == 0 && c->memory_bytes % page != 0)
        return vivi_problem(p, VIV_E_INVALID, "memory.size", NULL,
                            "is no multiple of the size of its huge pages");
    return check_pool(c, f, p);
}

static int check_memory(const struct vivi_config *c, const struct vivi_facts *f,
                        struct vivi_problems *p)
{
    VIVI_TRY(check_pages(c, f, p));
    if (c->n_zones == 0 && c->memory_hotplug == VIVI_MEMORY_ACPI &&
        c->memory_max_bytes > c->memory_bytes &&
        (c->memory_max_bytes - c->memory_bytes) % CH_ACPI_PIECE != 0)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "memory.max", NULL,
                              "by ACPI memory comes in multiples of 128MiB above memory.size"));
    if (c->balloon_bytes > 0 && !ch_has_balloon(c))
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "memory.balloon", NULL,
                              "cannot be together with devices of the host, which may write to all "
                              "of the memory"));
    if (c->shared == VIVI_SWITCH_OFF && c->hugepage_bytes == 0 && ch_needs_shared_memory(c))
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "memory.shared", NULL,
                              "is off, but a device is served by another process, which must see "
                              "the memory"));
    return 0;
}

/* ---- devices ---- */

static bool has_limit(const struct vivi_config *c, const char *id)
{
    for (size_t i = 0; i < c->n_disk_limits; i++)
        if (strcmp(c->disk_limits[i].id, id) == 0)
            return true;
    return false;
}

static int check_disk(const struct vivi_config *c, const struct vivi_disk *d,
                      struct vivi_problems *p)
{
    char field[128];

    if (d->backing && d->format != VIVI_DISK_QCOW2) {
        (void)snprintf(field, sizeof(field), "disks.%s.backing", d->id);
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                              "only a qcow2 image has another one below it"));
    }
    (void)snprintf(field, sizeof(field), "disks.%s.limit.group", d->id);
    if (d->limit_group && !has_limit(c, d->limit_group))
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "there is no %s in disk_limits",
                              d->limit_group));
    if (d->limit_group && (d->limit.bandwidth_bytes > 0 || d->limit.ops > 0))
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                              "cannot be together with a limit of its own"));
    return 0;
}

static int check_disks(const struct vivi_config *c, struct vivi_problems *p)
{
    char field[128];

    for (size_t i = 0; i < c->n_disk_limits; i++) {
        const struct vivi_disk_limit *l = &c->disk_limits[i];

        (void)snprintf(field, sizeof(field), "disk_limits.%s", l->id);
        if (l->limit.bandwidth_bytes == 0 && l->limit.ops == 0)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "limits nothing"));
    }
    for (size_t i = 0; i < c->n_disks; i++)
        VIVI_TRY(check_disk(c, &c->disks[i], p));
    return 0;
}

/* A socket that nobody has made keeps the VMM waiting for a minute, deaf to everything. */
static int check_socket(const struct vivi_facts *f, const char *field, const char *path,
                        struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, path);
    int error = fact ? fact->stat_errno : ENOENT;

    if (error != 0)
        return vivi_problem(p, error == EACCES ? VIV_E_DENIED : VIV_E_INVALID, field,
                            "start what listens there first", "%s: %s", path,
                            error == ENOENT ? "no such socket" : vivi_errno_text(error));
    if (!S_ISSOCK(fact->mode))
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: not a socket", path);
    return 0;
}

/* The same for the element of a list. */
static int check_element_socket(const struct vivi_facts *f, const char *list, const char *id,
                                const char *path, struct vivi_problems *p)
{
    char field[160];

    (void)snprintf(field, sizeof(field), "%s.%s.socket", list, id);
    return check_socket(f, field, path, p);
}

static int check_net(const struct vivi_config *c, const struct vivi_facts *f,
                     const struct vivi_net *n, struct vivi_problems *p)
{
    char field[128];

    if (n->type == VIVI_NET_NAT) {
        (void)snprintf(field, sizeof(field), "nets.%s.type", n->id);
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, field, NEED_NET,
                              "cloud-hypervisor has no user-mode network: nat needs a helper that "
                              "does not exist yet"));
    }
    if (n->queues > c->cpus) {
        (void)snprintf(field, sizeof(field), "nets.%s.queues", n->id);
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                              "%" PRIu32 " pairs of queues need as many CPUs", n->queues));
    }
    if (n->type != VIVI_NET_VHOST_USER)
        return 0;
    if (n->limit.bandwidth_bytes > 0 || n->limit.ops > 0) {
        (void)snprintf(field, sizeof(field), "nets.%s.limit", n->id);
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                              "is the back end's business for a NIC of type vhost-user"));
    }
    if (!n->socket) {
        (void)snprintf(field, sizeof(field), "nets.%s.socket", n->id);
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "is missing");
    }
    return check_element_socket(f, "nets", n->id, n->socket, p);
}

static int check_pmem(const struct vivi_facts *f, const struct vivi_pmem *d,
                      struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, d->path);
    char field[128];
    int r;

    (void)snprintf(field, sizeof(field), "pmem.%s.path", d->id);
    r = vivi_check_regular(p, field, d->path, fact);
    if (r != 0)
        return r < 0 ? r : 0;
    if (fact->size_bytes == 0 || fact->size_bytes % (2 * MIB) != 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL,
                            "%s: its size (%" PRIu64 " bytes) is no multiple of 2MiB", d->path,
                            fact->size_bytes);
    return 0;
}

static bool is_pci_address(const char *s)
{
    static const char shape[] = "xxxx:xx:xx.x";

    for (size_t i = 0; i < sizeof(shape); i++) /* with the NUL */
        if (shape[i] == 'x' ? !isxdigit((unsigned char)s[i]) : s[i] != shape[i])
            return false;
    return true;
}

static int check_host_devices(const struct vivi_config *c, const struct vivi_facts *f,
                              struct vivi_problems *p)
{
    char field[128];

    for (size_t i = 0; i < c->n_devices; i++) {
        (void)snprintf(field, sizeof(field), "devices.%s.vfio", c->devices[i].id);
        if (!is_pci_address(c->devices[i].vfio))
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                                  "\"%s\" is not a PCI address (example: 0000:01:00.0)",
                                  c->devices[i].vfio));
    }
    for (size_t i = 0; i < c->n_vdpa; i++) {
        const struct vivi_path_fact *fact = vivi_fact_of(f, c->vdpa[i].path);

        (void)snprintf(field, sizeof(field), "vdpa.%s.path", c->vdpa[i].id);
        if (!fact || fact->stat_errno != 0 || !S_ISCHR(fact->mode))
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: no such vDPA device",
                                  c->vdpa[i].path));
    }
    return 0;
}

static int check_served_devices(const struct vivi_config *c, const struct vivi_facts *f,
                                struct vivi_problems *p)
{
    struct ch_version v = version_of(f);
    char field[128];

    for (size_t i = 0; i < c->n_shares; i++)
        VIVI_TRY(check_element_socket(f, "shares", c->shares[i].id, c->shares[i].socket, p));
    for (size_t i = 0; i < c->n_user_devices; i++)
        VIVI_TRY(check_element_socket(f, "user_devices", c->user_devices[i].id,
                                      c->user_devices[i].socket, p));
    for (size_t i = 0; i < c->n_vhost_user; i++) {
        (void)snprintf(field, sizeof(field), "vhost_user.%s", c->vhost_user[i].id);
        if (!ch_version_since(&v, 52, 0))
            VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, field, NULL,
                                  "needs Cloud Hypervisor 52 or later (this is %s)",
                                  f->probe.version));
        VIVI_TRY(
            check_element_socket(f, "vhost_user", c->vhost_user[i].id, c->vhost_user[i].socket, p));
    }
    return c->tpm_socket ? check_socket(f, "tpm.socket", c->tpm_socket, p) : 0;
}

static int check_devices(const struct vivi_config *c, const struct vivi_facts *f,
                         struct vivi_problems *p)
{
    VIVI_TRY(vivi_check_nets(c, &limits, p));
    for (size_t i = 0; i < c->n_nets; i++)
        VIVI_TRY(check_net(c, f, &c->nets[i], p));
    for (size_t i = 0; i < c->n_pmem; i++)
        VIVI_TRY(check_pmem(f, &c->pmem[i], p));
    VIVI_TRY(check_host_devices(c, f, p));
    return check_served_devices(c, f, p);
}

/* ---- sandbox ---- */

static int check_sandbox(const struct vivi_config *c, const struct vivi_facts *f,
                         struct vivi_problems *p)
{
    if (c->landlock == VIVI_SWITCH_ON && !f->probe.sandbox)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "sandbox.landlock", NULL,
                              "this host's kernel has no Landlock with ABI 3 (Linux 6.2)"));
    for (size_t i = 0; i < c->allow.n; i++) {
        const char *path = c->allow.items[i];
        const struct vivi_path_fact *fact = vivi_fact_of(f, path);

        if (*path != '/')
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "sandbox.allow", NULL,
                                  "\"%s\" is not an absolute path", path));
        else if (!fact || fact->stat_errno != 0)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "sandbox.allow", NULL,
                                  "%s: no such file or directory", path));
    }
    return 0;
}

int ch_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret)
{
    VIVI_TRY(check_machine(c, f, ret));
    VIVI_TRY(check_boot(c, f, ret));
    VIVI_TRY(vivi_check_size(c, f, &limits, ret));
    VIVI_TRY(check_cpus(c, f, ret));
    VIVI_TRY(check_memory(c, f, ret));
    VIVI_TRY(ch_check_zones(c, ret));
    VIVI_TRY(vivi_check_disks(c, f, &limits, ret));
    VIVI_TRY(check_disks(c, ret));
    VIVI_TRY(check_devices(c, f, ret));
    return check_sandbox(c, f, ret);
}
