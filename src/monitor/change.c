/*
 * Changing the machine that runs.
 *
 * Theory of operation. A path says what kind of change it is; a table has its rule and how to begin
 * it. One change is in flight at a time, because apply makes one after the other. Whoever waits is
 * answered by the driver's DONE or at the deadline; a change that missed it stays in a short list,
 * so that a guest that comes round later is not overlooked: running.json says what runs. A device
 * that leaves is told by DEVICE, whoever asked for it.
 */
#include "monitor/change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "driver/disks.h"
#include "model/slots.h"
#include "monitor/agent.h"
#include "monitor/apply.h"
#include "monitor/monitor.h"

#define ID_SIZE     72          /* names are shorter */
#define VSOCK_FIELD "vsock.cid" /* a guest has one vsock: with a number it is there */

/* ---- what kind of change a path is ---- */

enum kind { KIND_NONE, KIND_DEVICE, KIND_SIZE, KIND_SLOT };

struct what {
    enum kind kind;
    enum vivi_device_kind device;
    enum vivi_resize_kind size;
    char id[ID_SIZE]; /* of the device; "" = none */
};

/* "disks.data.size", "memory.zones.a.size", "disks.data": what stands behind the list. */
static void element_id(const struct vivi_change *c, char ret[ID_SIZE])
{
    const char *star = strchr(c->field->path, '*');
    size_t skip = star ? (size_t)(star - c->field->path) : strlen(c->field->path) + 1;
    const char *id = skip < strlen(c->path) ? c->path + skip : "";

    (void)snprintf(ret, ID_SIZE, "%.*s", (int)strcspn(id, "."), id);
}

static struct what what_of(const struct vivi_change *c)
{
    static const struct {
        const char *field;
        enum vivi_resize_kind size;
    } sizes[] = {{"cpus.count", VIVI_RESIZE_CPUS},
                 {"memory.size", VIVI_RESIZE_MEMORY},
                 {"memory.balloon", VIVI_RESIZE_BALLOON},
                 {"disks.*.size", VIVI_RESIZE_DISK},
                 {"memory.zones.*.size", VIVI_RESIZE_ZONE}};
    struct what w = {.kind = KIND_NONE};

    element_id(c, w.id);
    if (vivi_change_is_device(c)) {
        for (unsigned k = 0; k < VIVI_DEV_COUNT_; k++) {
            if (strcmp(c->field->path, vivi_device_kind_list((enum vivi_device_kind)k)) != 0)
                continue;
            w.kind = KIND_DEVICE;
            w.device = (enum vivi_device_kind)k;
        }
        return w;
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (strcmp(c->field->path, sizes[i].field) != 0)
            continue;
        w.kind = KIND_SIZE;
        w.size = sizes[i].size;
    }
    if (strcmp(c->field->path, VSOCK_FIELD) == 0 && c->op != VIVI_CHANGE_CHANGE) {
        w = (struct what){.kind = KIND_DEVICE, .device = VIVI_DEV_VSOCK};
        return w;
    }
    if (strcmp(c->field->path, "disks.*.slot") == 0 || strcmp(c->field->path, "nets.*.slot") == 0)
        w.kind = KIND_SLOT;
    return w;
}

/* ---- may it ---- */

/* What the kernel takes for its root: the last root= of the command line; NULL: it names none. */
static const char *root_of(const char *cmdline)
{
    static const char key[] = "root=";
    const char *last = NULL;

    for (const char *p = cmdline; p && *p; p += strcspn(p, " "), p += strspn(p, " "))
        if (strncmp(p, key, strlen(key)) == 0)
            last = p + strlen(key);
    return last;
}

/*
 * The disk with the guest's root: the one that root= names by its letter, else the first one.
 * Letters went by places when the guest began, and some of those may be free by now; so it counts
 * both who has that place and who is the one with that letter among those that are there. Without
 * a root= the guest lives in its initramfs.
 */
static bool is_root_disk(const struct vivi_config *c, const char *id)
{
    static const char vd[] = "/dev/vd";
    const char *root = root_of(c->cmdline);
    const struct vivi_disk *d = vivi_disk_find(c, id);
    uint32_t letter = 0, before = 0;

    if (!root || !d)
        return false;
    if (strncmp(root, vd, strlen(vd)) == 0 && root[strlen(vd)] >= 'a' && root[strlen(vd)] <= 'z')
        letter = (uint32_t)(root[strlen(vd)] - 'a');
    for (size_t i = 0; i < c->n_disks; i++)
        before += c->disks[i].slot < d->slot;
    return d->slot == letter + 1 || before == letter;
}

static bool may_device(const struct vivi_monitor *m, const struct vivi_change *c,
                       const struct what *w, viv_error *err)
{
    bool adding = c->op != VIVI_CHANGE_REMOVE;

    if (vivi_machine_may_device(&m->machine, w->device, adding, err) < 0)
        return false;
    if (w->device == VIVI_DEV_NET && m->config_valid &&
        vivi_nics_is_given(&m->config, w->id, c->to)) {
        (void)vivi_fail(err, VIV_E_UNSUPPORTED, "a NIC of type fd comes and goes with a start");
        return false;
    }
    if (adding || w->device != VIVI_DEV_DISK || !m->config_valid ||
        !is_root_disk(&m->config, w->id))
        return true;
    (void)vivi_fail(err, VIV_E_UNSUPPORTED, "the guest's root is on it (boot.cmdline: root=)");
    return false;
}

static struct vivi_resize size_of(const struct vivi_monitor *m, const struct vivi_change *c,
                                  const struct what *w)
{
    bool one_of_many = w->size == VIVI_RESIZE_DISK || w->size == VIVI_RESIZE_ZONE;
    struct vivi_resize what = {.kind = w->size,
                               .id = one_of_many ? w->id : NULL,
                               .to = (uint64_t)json_integer_value(c->to),
                               .config = &m->config};

    if (w->size == VIVI_RESIZE_BALLOON && json_is_null(c->to))
        what.to = m->config.memory_bytes; /* no balloon: all of it */
    return what;
}

static uint64_t most_memory(const struct vivi_config *now)
{
    return now->memory_max_bytes > now->memory_bytes ? now->memory_max_bytes : now->memory_bytes;
}

/* What the run was started with, for drivers that do not know better. */
static int check_most(const struct vivi_config *now, const struct vivi_resize *what, viv_error *err)
{
    uint32_t cpus = now->cpus_max > now->cpus ? now->cpus_max : now->cpus;
    uint64_t memory = most_memory(now);
    char wanted[24], most[24];

    if (what->kind == VIVI_RESIZE_CPUS && what->to > cpus)
        return vivi_fail(err, VIV_E_INVALID,
                         "%" PRIu64 " is more than cpus.max of this run (%" PRIu32 ")", what->to,
                         cpus);
    vivi_format_size(what->to, wanted);
    vivi_format_size(memory, most);
    if (what->kind == VIVI_RESIZE_MEMORY && what->to > memory)
        return vivi_fail(err, VIV_E_INVALID, "%s is more than memory.max of this run (%s)", wanted,
                         most);
    return 0;
}

static bool may_size(const struct vivi_monitor *m, const struct vivi_change *c,
                     const struct what *w, viv_error *err)
{
    struct vivi_resize what = size_of(m, c, w);
    uint64_t memory = most_memory(&m->config);
    char wanted[24], most[24];

    if (w->size == VIVI_RESIZE_DISK && json_is_null(c->to))
        return true; /* says how it is already */
    if (vivi_machine_may_resize(&m->machine, &what, err) < 0)
        return false;
    vivi_format_size(what.to, wanted);
    vivi_format_size(memory, most);
    if (w->size == VIVI_RESIZE_BALLOON && what.to > memory) {
        (void)vivi_fail(err, VIV_E_INVALID, "%s is more than the memory of this run can be (%s)",
                        wanted, most);
        return false;
    }
    return m->machine.fx->may_resize || check_most(&m->config, &what, err) == 0;
}

/* A place that is written down changes nothing, as long as it is the one that the device has. */
static bool may_slot(const struct vivi_monitor *m, const struct vivi_change *c, const char *id)
{
    bool disk = strcmp(c->field->path, "disks.*.slot") == 0;

    return json_integer_value(c->to) ==
           vivi_slot_of(&m->config, disk ? VIVI_DEV_DISK : VIVI_DEV_NET, id);
}

bool vivi_change_can(const struct vivi_monitor *m, const struct vivi_change *c, char why[160])
{
    struct what w = what_of(c);
    viv_error err = VIV_ERROR_INIT;
    bool can = false;

    switch (w.kind) {
    case KIND_DEVICE: can = may_device(m, c, &w, &err); break;
    case KIND_SIZE: can = may_size(m, c, &w, &err); break;
    case KIND_SLOT: can = may_slot(m, c, w.id); break;
    case KIND_NONE: break;
    }
    (void)snprintf(why, 160, "%.159s", can ? "" : err.message);
    return can;
}

/* ---- the end of one ---- */

static void flight_done(struct vivi_change_flight *f)
{
    json_decref(f->to);
    *f = (struct vivi_change_flight){0};
}

static void finish(struct vivi_monitor *m, const viv_error *err)
{
    vivi_change_done *done = m->changes.now.done;

    vivi_disarm(m, &m->changes.deadline);
    flight_done(&m->changes.now);
    vivi_config_done(&m->changes.config);
    if (done)
        done(m, err);
}

/* "384MiB so far, 512MiB asked for": what the driver told last; "" = nothing that can be counted.
 */
static void so_far(const struct vivi_change_flight *f, char ret[80])
{
    char seen[24], total[24];

    ret[0] = '\0';
    if (f->total == 0)
        return;
    if (strncmp(f->path, "cpus.", 5) == 0) {
        (void)snprintf(seen, sizeof(seen), "%" PRIu64, f->seen);
        (void)snprintf(total, sizeof(total), "%" PRIu64, f->total);
    } else {
        vivi_format_size(f->seen, seen);
        vivi_format_size(f->total, total);
    }
    (void)snprintf(ret, 80, " (%s so far, %s asked for)", seen, total);
}

/* What the guest has still to do. */
static void pending_text(const struct vivi_change_flight *f, const char *seconds, viv_error *err)
{
    char sizes[80];

    so_far(f, sizes);
    if (f->is_device && f->op == VIVI_CHANGE_ADD)
        (void)vivi_fail(err, VIV_E_TIMEOUT, "the VMM has not added it for %s s; it goes on trying",
                        seconds);
    else if (f->is_device)
        (void)vivi_fail(err, VIV_E_TIMEOUT,
                        "the guest has not let go of it for %s s; it still may, and can be asked "
                        "again",
                        seconds);
    else
        (void)vivi_fail(
            err, VIV_E_TIMEOUT,
            "the guest has not done its part for %s s%s; it still may, and can be asked "
            "again",
            seconds, sizes);
    err->flags |= VIV_ERR_RETRY;
}

static void late(void *arg)
{
    struct vivi_monitor *m = arg;
    struct vivi_changes *all = &m->changes;
    struct vivi_change_flight *slot = &all->late[all->next_late++ % VIVI_CHANGES_LATE];
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    vivi_uses_forget(m);
    pending_text(&all->now, vivi_seconds(all->timeout_ms, s), &err);
    flight_done(slot);
    *slot = all->now;
    slot->to = json_incref(all->now.to);
    slot->done = NULL;
    finish(m, &err);
}

void vivi_change_forget(struct vivi_monitor *m)
{
    vivi_uses_forget(m);
    vivi_disarm(m, &m->changes.deadline);
    flight_done(&m->changes.now);
    for (size_t i = 0; i < VIVI_CHANGES_LATE; i++)
        flight_done(&m->changes.late[i]);
    vivi_config_done(&m->changes.config);
}

/* ---- beginning one ---- */

/* Files that are not there, ports that are taken: what the driver's check says of this device. */
static int check_device(struct vivi_monitor *m, const char *path, viv_error *err)
{
    cleanup_facts struct vivi_facts facts = {0};
    cleanup_problems struct vivi_problems problems = {0};
    int r = m->env->facts(&m->changes.config, m->machine.driver, m->cache_dir, &facts, err);

    if (r == 0 && m->machine.driver->check(&m->changes.config, &facts, &problems) < 0)
        r = vivi_fail_oom(err);
    for (size_t i = 0; r == 0 && i < problems.n; i++) {
        if (!vivi_paths_meet(path, problems.items[i].field))
            continue;
        if (err)
            *err = problems.items[i];
        return -problems.items[i].code;
    }
    return r;
}

static int begin_device(struct vivi_monitor *m, const struct vivi_change *c, const struct what *w,
                        viv_error *err)
{
    struct vivi_device d = {.kind = w->device,
                            .id = w->id,
                            .config = &m->changes.config,
                            .index = vivi_device_index(&m->changes.config, w->device, w->id),
                            .uuid = m->st.uuid};
    int r;

    if (c->op == VIVI_CHANGE_REMOVE)
        return vivi_machine_device_remove(&m->machine, w->device, w->id, m->changes.now.dop, err);
    if (d.index == SIZE_MAX)
        return vivi_fail(err, VIV_E_INTERNAL, "%s is not in the configuration", c->path);
    r = check_device(m, c->path, err);
    if (r == 0 && w->device == VIVI_DEV_DISK)
        r = vivi_disks_grow(&m->changes.config, w->id, err);
    return r < 0 ? r : vivi_machine_device_add(&m->machine, &d, m->changes.now.dop, err);
}

/* Nobody in the guest uses the disk any more, or why it stays. */
static void may_go(struct vivi_monitor *m, const viv_error *why)
{
    const char *id = m->changes.now.path + strlen("disks.");
    viv_error err = VIV_ERROR_INIT;
    int r = 0;

    if (!why)
        r = vivi_machine_device_remove(&m->machine, VIVI_DEV_DISK, id, m->changes.now.dop, &err);
    if (why)
        finish(m, why);
    else if (r < 0)
        finish(m, r == -VIV_E_NOT_FOUND ? NULL : &err);
}

static bool asks_first(struct vivi_monitor *m, const struct vivi_change *c, const struct what *w)
{
    return c->op == VIVI_CHANGE_REMOVE && w->kind == KIND_DEVICE && w->device == VIVI_DEV_DISK &&
           vivi_uses_ask(m, w->id, may_go);
}

/* A VMM that is asked for less cuts the image without a word. */
static int check_cut(const struct vivi_monitor *m, const struct vivi_resize *what, viv_error *err)
{
    const struct vivi_disk *is = vivi_disk_find(&m->config, what->id);
    struct vivi_disk d;
    int r;

    if (!is)
        return 0;
    d = *is;
    d.size_bytes = what->to;
    r = vivi_disk_must_be_cut(&d, err);
    if (r > 0 && !what->cut)
        return vivi_fail(err, VIV_E_INVALID, "less than the image has; it is only cut by force");
    return r < 0 ? r : 0;
}

static int begin_size(struct vivi_monitor *m, const struct vivi_change *c, const struct what *w,
                      bool cut, viv_error *err)
{
    struct vivi_resize what = size_of(m, c, w);
    char wanted[24], has[24];
    int r;

    what.cut = cut;
    r = w->size == VIVI_RESIZE_DISK ? check_cut(m, &what, err) : 0;
    if (r < 0)
        return r;
    if (w->size == VIVI_RESIZE_BALLOON && what.to > m->config.memory_bytes) {
        vivi_format_size(what.to, wanted);
        vivi_format_size(m->config.memory_bytes, has);
        return vivi_fail(err, VIV_E_INVALID, "%s is more than the memory that it has (%s)", wanted,
                         has);
    }
    return vivi_machine_resize(&m->machine, &what, m->changes.now.dop, err);
}

static int64_t time_for(const struct vivi_change_flight *f, int64_t asked_ms)
{
    if (asked_ms >= 0)
        return asked_ms;
    return f->is_device && f->op == VIVI_CHANGE_ADD ? VIVI_ADD_DEADLINE_MS
                                                    : VIVI_CHANGE_DEADLINE_MS;
}

int vivi_change_begin(struct vivi_monitor *m, const struct vivi_change *c,
                      const struct vivi_change_how *how, viv_error *err)
{
    struct vivi_changes *all = &m->changes;
    struct what w = what_of(c);
    char why[160];
    int r;

    if (!vivi_change_can(m, c, why))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "%s", why);
    if (w.kind == KIND_SLOT ||
        (w.kind == KIND_SIZE && w.size == VIVI_RESIZE_DISK && json_is_null(c->to))) {
        how->done(m, NULL); /* says how it is already */
        return 0;
    }
    r = vivi_config_decode(how->doc, &all->config, err);
    if (r < 0)
        return r;
    all->now = (struct vivi_change_flight){.dop = ++m->next_dop,
                                           .op = c->op,
                                           .is_device = w.kind == KIND_DEVICE,
                                           .to = json_incref(c->to),
                                           .done = how->done};
    memcpy(all->now.path, c->path, sizeof(all->now.path));
    if (how->force || !asks_first(m, c, &w))
        r = w.kind == KIND_DEVICE ? begin_device(m, c, &w, err)
                                  : begin_size(m, c, &w, how->force, err);
    if (r < 0) {
        all->now.done = NULL;
        finish(m, NULL);
        if (r == -VIV_E_NOT_FOUND && c->op == VIVI_CHANGE_REMOVE) {
            how->done(m, NULL);
            return 0;
        }
        return r;
    }
    all->timeout_ms = time_for(&all->now, how->timeout_ms);
    vivi_arm(m, &all->deadline, &(struct vivi_arm){"change", (uint64_t)all->timeout_ms, late});
    return 0;
}

/* ---- what the driver says ---- */

/* An operation may be done again after a monitor's death: then it finds its aim reached. */
static bool is_reached(const struct vivi_change_flight *f, const viv_error *err)
{
    return (f->op == VIVI_CHANGE_ADD && err->code == VIV_E_EXISTS) ||
           (f->op == VIVI_CHANGE_REMOVE && err->code == VIV_E_NOT_FOUND);
}

static bool completed(struct vivi_monitor *m, uint64_t dop, const viv_error *err)
{
    struct vivi_changes *all = &m->changes;

    if (all->now.dop != 0 && all->now.dop == dop) {
        finish(m, err && is_reached(&all->now, err) ? NULL : err);
        return true;
    }
    for (size_t i = 0; i < VIVI_CHANGES_LATE; i++) {
        struct vivi_change_flight f = all->late[i];

        if (f.dop == 0 || f.dop != dop)
            continue;
        all->late[i] = (struct vivi_change_flight){0};
        if (!err)
            vivi_apply_happened(m, f.op, f.path, f.to);
        flight_done(&f);
        return true;
    }
    return false;
}

static void cpus_online(void *ctx, const struct vivi_agent_reply *reply)
{
    struct vivi_monitor *m = ctx;

    if (reply->err && reply->err->code)
        vivi_log(VIVI_LOG_WARN, "cpus: the agent could not take them: %s", reply->err->message);
    (void)completed(m, m->changes.onlining, NULL);
}

/* Linux takes a CPU that came later only when it is told to: without an agent that is left to the
 * guest. True: the change is done when the agent has answered. */
static bool brings_cpus_online(struct vivi_monitor *m, uint64_t dop)
{
    const struct vivi_change_flight *now = &m->changes.now;
    char request[64];
    int len = snprintf(request, sizeof(request), "online-cpus%ccount=%" JSON_INTEGER_FORMAT, 0,
                       json_integer_value(now->to));
    const struct vivi_agent_ask ask = {.request = request,
                                       .len = (size_t)len + 1,
                                       .timeout_ms = VIVI_ONLINE_MS,
                                       .done = cpus_online,
                                       .ctx = m};

    if (now->dop != dop || strcmp(now->path, "cpus.count") != 0 || !vivi_agent_up(m) ||
        vivi_agent_request(m, &ask, NULL, NULL) < 0)
        return false;
    m->changes.onlining = dop;
    return true;
}

static bool on_done(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    const viv_error *err = e->err && e->err->code ? e->err : NULL;

    if (!err && e->op != 0 && brings_cpus_online(m, e->op))
        return true;
    return completed(m, e->op, err);
}

static void on_progress(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    if (m->changes.now.dop == 0 || m->changes.now.dop != e->op)
        return;
    m->changes.now.seen = e->done;
    m->changes.now.total = e->total;
    vivi_waits_note(m, json_pack("{s:s,s:s,s:I,s:I}", "path", m->changes.now.path, "text",
                                 e->text ? e->text : "", "done", (json_int_t)e->done, "total",
                                 (json_int_t)e->total));
}

static void on_device(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    json_t *more = json_pack("{s:s,s:s,s:s}", "kind", vivi_device_kind_name(e->device_kind), "id",
                             e->id, "what", "removed");
    char path[VIVI_PATH_SIZE];

    vivi_record_event(m, "device", more);
    if (e->device_kind == VIVI_DEV_VSOCK)
        (void)snprintf(path, sizeof(path), VSOCK_FIELD);
    else
        (void)snprintf(path, sizeof(path), "%s.%s", vivi_device_kind_list(e->device_kind), e->id);
    if (m->changes.now.dop != 0 && strcmp(m->changes.now.path, path) == 0)
        return; /* DONE follows, and with it the record */
    vivi_apply_happened(m, VIVI_CHANGE_REMOVE, path, NULL);
}

bool vivi_change_event(struct vivi_monitor *m, const struct vivi_driver_event *e)
{
    if (e->kind == VIVI_EV_DONE)
        return on_done(m, e);
    if (e->kind == VIVI_EV_PROGRESS)
        on_progress(m, e);
    else if (e->kind == VIVI_EV_DEVICE)
        on_device(m, e);
    else
        return false;
    return true;
}
