/*
 * Theory of operation: a lock that is held while nobody answers means that the keeper or the
 * monitor hangs (somebody stopped it, a disk does not come back). `kill --force` then goes past
 * them, by what they recorded: first the VMM and the monitor, which a keeper replaces and which
 * then tells truly how the VM ended; if that does not help, the keeper too. Processes are held by a
 * descriptor before they are killed, so it never hits one that came after them.
 */
#include "manager/manager.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"

#define PATIENCE_US 500000

static void kill_one(const struct vivi_proc_id *id)
{
    cleanup_close int fd = -1;

    if (id->pid != 0 && vivi_proc_open(id, &fd, NULL) == 0)
        (void)vivi_proc_signal(fd, SIGKILL, NULL);
}

/* The recorded processes, if they are of this host boot and pid namespace. */
static bool recorded(const struct viv_op *op, struct vivi_state *ret)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    struct vivi_host_now now;

    if (vivi_vmdir_open(&op->v->root, op->name, &d, NULL) < 0 || strcmp(d.uuid, op->uuid) != 0)
        return false;
    return vivi_state_read(d.fd, ret, NULL) == 0 && vivi_host_now(&now, NULL) == 0 &&
           strcmp(ret->host_boot_id, now.boot_id) == 0 &&
           (ret->pid_ns == 0 || ret->pid_ns == now.pid_ns);
}

void vivi_op_force(struct viv_op *op)
{
    cleanup_state struct vivi_state s = {.extra = NULL};

    op->forced++;
    op->force_us = op->forced < 2 ? vivi_mono_us() + PATIENCE_US : VIVI_NEVER;
    if (!recorded(op, &s))
        return;
    kill_one(&s.vmm);
    kill_one(&s.monitor);
    if (op->forced > 1)
        kill_one(&s.keeper);
}

void vivi_op_force_later(struct viv_op *op)
{
    op->force_us = vivi_mono_us() + PATIENCE_US;
}
