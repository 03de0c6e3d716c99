/* What keeps a configuration from running under Cloud Hypervisor on this host: pure, all problems
 * at once, in the order of the fields. */
#include <stdio.h>
#include <string.h>

#include "driver/checks.h"
#include "driver/cloud_hypervisor/ch.h"

#define NEED_KERNEL "give a kernel (--kernel FILE), or an image by name: viv run demo"
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
    const struct vivi_probe *probe = &f->probe;

    if (!probe->usable)
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, NULL, *probe->hint ? probe->hint : NULL, "%s",
                              probe->reason));
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
    if (!c->kernel)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NEED_KERNEL,
                              "is missing: the cloud-hypervisor driver boots a kernel"));
    return vivi_check_boot(c, f, p);
}

static int check_nets(const struct vivi_config *c, struct vivi_problems *p)
{
    char field[128];

    VIVI_TRY(vivi_check_nets(c, &limits, p));
    for (size_t i = 0; i < c->n_nets; i++) {
        if (c->nets[i].type != VIVI_NET_NAT)
            continue;
        (void)snprintf(field, sizeof(field), "nets.%s.type", c->nets[i].id);
        VIVI_TRY(vivi_problem(p, VIV_E_UNSUPPORTED, field, NEED_NET,
                              "cloud-hypervisor has no user-mode network: nat needs a helper that "
                              "does not exist yet"));
    }
    return 0;
}

int ch_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret)
{
    VIVI_TRY(check_machine(c, f, ret));
    VIVI_TRY(check_boot(c, f, ret));
    VIVI_TRY(vivi_check_size(c, f, &limits, ret));
    VIVI_TRY(vivi_check_disks(c, f, &limits, ret));
    return check_nets(c, ret);
}
