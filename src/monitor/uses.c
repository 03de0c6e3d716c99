/*
 * Whether the guest uses a disk, by its agent's info: where it is mounted, whether it is swap, what
 * is built upon it. A guest that is asked by its bus to let go of a disk does so whatever is
 * mounted from it; so it is not asked then. An agent that does not answer in time, or is too old to
 * say, changes nothing: then the guest is asked as without it.
 */
#include "monitor/uses.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "monitor/agent.h"
#include "monitor/monitor.h"

#define ANSWER_MS    5000
#define FORCE        "; or viv device rm --force: what the guest has not written yet is lost"
#define SERIAL_BYTES 20u /* as much of a disk's id as virtio-blk tells its guest */

static const json_t *find_disk(const json_t *info, const char *id)
{
    const json_t *disks = json_object_get(info, "disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const char *serial = json_string_value(json_object_get(disk, "serial"));

        if (serial && *serial && strncmp(serial, id, SERIAL_BYTES) == 0)
            return disk;
    }
    return NULL;
}

static void refuse(const struct vivi_monitor *m, const char *use, viv_error *err)
{
    if (strcmp(use, "/") == 0) {
        (void)vivi_fail(err, VIV_E_BUSY, "the guest's root is on it");
    } else if (use[0] == '/') {
        (void)vivi_fail(err, VIV_E_BUSY, "the guest has mounted it at %s", use);
        vivi_hint(err, "viv exec %s -- umount %s" FORCE, m->dir.name, use);
    } else if (strcmp(use, "swap") == 0) {
        (void)vivi_fail(err, VIV_E_BUSY, "the guest swaps to it");
        vivi_hint(err, "viv exec %s -- swapoff -a" FORCE, m->dir.name);
    } else {
        (void)vivi_fail(err, VIV_E_BUSY, "the guest has built %s upon it", use);
        vivi_hint(err, "end its use in the guest" FORCE);
    }
}

static void answered(void *ctx, const struct vivi_agent_reply *reply)
{
    struct vivi_monitor *m = ctx;
    struct vivi_uses u = m->uses;
    json_auto_t *info = reply->err ? NULL : json_loadb(reply->data, reply->data_len, 0, NULL);
    const char *use =
        json_string_value(json_array_get(json_object_get(find_disk(info, u.id), "used"), 0));
    viv_error err = VIV_ERROR_INIT;

    m->uses = (struct vivi_uses){.call = NULL};
    if (use)
        refuse(m, use, &err);
    u.done(m, use ? &err : NULL);
}

bool vivi_uses_ask(struct vivi_monitor *m, const char *id, vivi_uses_done *done)
{
    static const char request[] = "info";
    const struct vivi_agent_ask ask = {.request = request,
                                       .len = sizeof(request),
                                       .timeout_ms = ANSWER_MS,
                                       .done = answered,
                                       .ctx = m};

    if (!vivi_agent_up(m) || vivi_agent_request(m, &ask, &m->uses.call, NULL) < 0)
        return false;
    (void)snprintf(m->uses.id, sizeof(m->uses.id), "%s", id);
    m->uses.done = done;
    return true;
}

void vivi_uses_forget(struct vivi_monitor *m)
{
    vivi_agent_cancel(m->uses.call);
    m->uses = (struct vivi_uses){.call = NULL};
}
