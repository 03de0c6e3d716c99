#include "store/moving.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES 4096u

static const char *const phases[] = {
    [VIVI_MOVING_SENDING] = "sending",
    [VIVI_MOVING_GONE] = "gone",
    [VIVI_MOVING_COMING] = "coming",
    [VIVI_MOVING_HANDED] = "handed-over",
};

const char *vivi_moving_phase_name(enum vivi_moving_phase p)
{
    return phases[p];
}

int vivi_moving_read(int vm_fd, struct vivi_moving *ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    viv_error why = VIV_ERROR_INIT;
    const char *phase, *to;
    int r = vivi_json_read(vm_fd, VIVI_MOVING_FILE, MAX_BYTES, &doc, &why);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    phase = json_string_value(json_object_get(doc, "phase"));
    to = json_string_value(json_object_get(doc, "to"));
    *ret = (struct vivi_moving){.paused = json_is_true(json_object_get(doc, "paused")),
                                .frozen = json_is_true(json_object_get(doc, "frozen"))};
    (void)snprintf(ret->to, sizeof(ret->to), "%s", to ? to : "");
    for (size_t i = 0; phase && i < ARRAY_SIZE(phases); i++) {
        if (strcmp(phase, phases[i]) != 0)
            continue;
        ret->phase = (enum vivi_moving_phase)i;
        return 1;
    }
    return vivi_fail(err, VIV_E_PROTOCOL, VIVI_MOVING_FILE ": phase: not one of ours");
}

int vivi_moving_write(int vm_fd, const struct vivi_moving *m, viv_error *err)
{
    cleanup_json json_t *doc = json_pack("{s:s, s:s, s:b, s:b}", "phase", phases[m->phase], "to",
                                         m->to, "paused", (int)m->paused, "frozen", (int)m->frozen);

    return doc ? vivi_json_write(vm_fd, VIVI_MOVING_FILE, doc, VIVI_DURABLE, err)
               : vivi_fail_oom(err);
}

int vivi_moving_remove(int vm_fd, viv_error *err)
{
    if (unlinkat(vm_fd, VIVI_MOVING_FILE, 0) < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, VIVI_MOVING_FILE);
    return fsync(vm_fd) < 0 ? vivi_fail_errno(err, errno, VIVI_MOVING_FILE) : 0;
}

int vivi_moving_allows(int vm_fd, const char *name, viv_error *err)
{
    struct vivi_moving m;
    int r = vivi_moving_read(vm_fd, &m, err);

    if (r <= 0)
        return r;
    switch (m.phase) {
    case VIVI_MOVING_SENDING:
    case VIVI_MOVING_HANDED:
        r = vivi_fail(err, VIV_E_WRONG_STATE,
                      "its VMM ended while it was on its way to %.300s, where it may run", m.to);
        vivi_hint(err, "viv migrate --resolve %s", name);
        return r;
    case VIVI_MOVING_GONE:
        r = vivi_fail(err, VIV_E_WRONG_STATE, "it was migrated to %.300s and runs there", m.to);
        vivi_hint(err, "viv rm %s", name);
        return r;
    case VIVI_MOVING_COMING:
        r = vivi_fail(err, VIV_E_WRONG_STATE,
                      "it was to come by a migration and has not arrived; it may run where it was");
        vivi_hint(err, "viv rm %s", name);
        return r;
    }
    return 0;
}
