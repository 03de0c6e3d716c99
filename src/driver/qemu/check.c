/* What keeps a configuration from running under QEMU on this host: pure, all problems at once, in
 * the order of the fields. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver/checks.h"
#include "driver/qemu/qemu.h"

#define NEED_KERNEL "give a kernel (--kernel FILE), or an image by name: viv run demo"

static const struct vivi_limits limits = {
    .vmm = "qemu",
    .max_disks = QEMU_MAX_DISKS,
    .max_nets = QEMU_MAX_NETS,
    .max_cpus = QEMU_MAX_CPUS,
};

static int check_boot(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    if (!c->kernel)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NEED_KERNEL,
                              "is missing: the qemu driver boots a kernel"));
    return vivi_check_boot(c, f, p);
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

static int check_net(const struct vivi_config *c, const struct vivi_facts *f, size_t i,
                     struct vivi_problems *p)
{
    char field[128];

    if (c->nets[i].type != VIVI_NET_NAT && c->nets[i].type != VIVI_NET_FD) {
        (void)snprintf(field, sizeof(field), "nets.%s.type", c->nets[i].id);
        return vivi_problem(p, VIV_E_UNSUPPORTED, field, NULL,
                            "the qemu driver has networks of the types nat and fd only");
    }
    for (size_t j = 0; j < c->nets[i].n_forwards; j++)
        VIVI_TRY(check_forward(c, f, i, j, p));
    return 0;
}

static int check_nets(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    VIVI_TRY(vivi_check_nets(c, &limits, p));
    for (size_t i = 0; i < c->n_nets; i++)
        VIVI_TRY(check_net(c, f, i, p));
    return 0;
}

/* ---- all ---- */

static int check_machine(const struct vivi_config *c, const struct vivi_facts *f,
                         struct vivi_problems *p)
{
    const struct vivi_probe *probe = &f->probe;

    VIVI_TRY(vivi_check_vmm(c, f, p));
    if (!qemu_machine(c->machine))
        VIVI_TRY(vivi_problem(
            p, VIV_E_INVALID, "machine", NULL,
            "\"%s\" is not a machine type of the qemu driver (examples: q35, pc-q35-7.2)",
            c->machine));
    if (c->accel == VIVI_ACCEL_HVF)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel", NULL, "hvf needs macOS"));
    if (c->accel == VIVI_ACCEL_KVM && probe->accel != VIVI_ACCEL_KVM)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, "accel",
                              *probe->accel_fix ? probe->accel_fix : NULL, "%s",
                              probe->accel_reason));
    return 0;
}

int qemu_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret)
{
    VIVI_TRY(check_machine(c, f, ret));
    VIVI_TRY(check_boot(c, f, ret));
    VIVI_TRY(vivi_check_size(c, f, &limits, ret));
    VIVI_TRY(vivi_check_disks(c, f, &limits, ret));
    return check_nets(c, f, ret);
}
