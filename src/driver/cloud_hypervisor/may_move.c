/* What can be migrated, and which way, by which release. Pure. */
#include <stdio.h>

#include "driver/cloud_hypervisor/ch.h"

#define TUNABLE_MAJOR 52 /* the first one that knows downtime, time-out and connections */

static int stays(viv_error *err, const char *list, const char *id, const char *why)
{
    char field[100];

    (void)snprintf(field, sizeof(field), "%s%s%.60s", list, id ? "." : "", id ? id : "");
    return vivi_fail_field(err, VIV_E_UNSUPPORTED, field, "%s", why);
}

/* What is outside of the VMM stays where it is. */
static int may_leave(const struct vivi_config *c, viv_error *err)
{
    for (size_t i = 0; i < c->n_nets; i++)
        if (c->nets[i].type == VIVI_NET_FD)
            return stays(err, "nets", c->nets[i].id,
                         "a NIC that was given as a descriptor cannot be migrated");
    for (size_t i = 0; i < c->n_nets; i++)
        if (c->nets[i].type != VIVI_NET_TAP)
            return stays(err, "nets", c->nets[i].id,
                         "a NIC that another process serves cannot be migrated");
    if (c->n_shares > 0)
        return stays(err, "shares", c->shares[0].id,
                     "a share cannot be migrated: its server keeps state of the guest");
    if (c->n_vhost_user > 0)
        return stays(err, "vhost_user", c->vhost_user[0].id,
                     "a vhost-user device cannot be migrated: its server keeps state of the guest");
    if (c->n_devices > 0)
        return stays(err, "devices", c->devices[0].id, "a device of the host cannot be migrated");
    if (c->n_user_devices > 0)
        return stays(err, "user_devices", c->user_devices[0].id,
                     "a device that another process serves cannot be migrated");
    if (c->n_vdpa > 0)
        return stays(err, "vdpa", c->vdpa[0].id, "a device of the host cannot be migrated");
    if (c->tpm_socket)
        return stays(err, "tpm", NULL, "a TPM cannot be migrated: its state is in another process");
    return 0;
}

static int too_old(viv_error *err, const char *field, unsigned major)
{
    return vivi_fail_field(err, VIV_E_UNSUPPORTED, field, "needs Cloud Hypervisor %u or later",
                           major);
}

/* The worker of 53 asks for a system call that its own filter kills it for, and the guest with it.
 */
static int may_go_locally(const struct vivi_config *c, const struct ch_version *v, viv_error *err)
{
    bool shared = c->shared == VIVI_SWITCH_ON || c->hugepage_bytes > 0 ||
                  (c->shared == VIVI_SWITCH_AUTO && ch_needs_shared_memory(c));

    if (v->major >= CH_ASYNC_MAJOR)
        return vivi_fail_field(
            err, VIV_E_UNSUPPORTED, "local",
            "Cloud Hypervisor %u would be killed by its own seccomp filter "
            "(SIGSYS), and the guest with it; without local the memory is copied",
            v->major);
    if (!shared)
        return vivi_fail_field(err, VIV_E_UNSUPPORTED, "local",
                               "needs memory.shared or memory.hugepages");
    return 0;
}

int ch_may_move(const struct vivi_config *c, const char *version, const struct vivi_migration *to,
                viv_error *err)
{
    struct ch_version v = {.major = CH_MIN_MAJOR};
    int r = may_leave(c, err);

    (void)ch_version_parse(version, &v);
    if (r < 0 || !to)
        return r;
    if (to->tls_dir && v.major < CH_ASYNC_MAJOR)
        return too_old(err, "tls", CH_ASYNC_MAJOR);
    if (v.major < TUNABLE_MAJOR && to->downtime_ms >= 0)
        return too_old(err, "downtime", TUNABLE_MAJOR);
    if (v.major < TUNABLE_MAJOR && to->timeout_s >= 0)
        return too_old(err, "timeout", TUNABLE_MAJOR);
    if (v.major < TUNABLE_MAJOR && to->connections >= 0)
        return too_old(err, "connections", TUNABLE_MAJOR);
    return to->local ? may_go_locally(c, &v, err) : 0;
}
