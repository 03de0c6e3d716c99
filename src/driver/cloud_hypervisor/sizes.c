/*
 * Sizes of a running machine: CPUs, memory, balloon, disks, memory zones.
 *
 * Theory of operation. The VMM has what was asked for when it answers; the guest has it later, and
 * no event tells of it. So it is looked at again, with a pause between two looks that grows:
 * vm.info tells how much memory the guest has, and for CPUs that must leave the same request is
 * refused (429) until they have left. Asking for what is asked for already is an error of the
 * VMM's virtio-mem device, and success here. While CPUs leave, the number that was there before is
 * taken for what is there, and accepted, although it will not be: so an earlier change of CPUs is
 * seen to its end first.
 *
 * What this run can have at all follows from the body that made the machine.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

#define LOOK_FIRST_MS 20
#define LOOK_MOST_MS  1000
#define MIB           (UINT64_C(1) << 20)

/* ---- what this run can have ---- */

static uint64_t u64_of(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n > 0 ? (uint64_t)n : 0;
}

static int may_cpus(const json_t *body, const struct vivi_resize *what, viv_error *err)
{
    uint64_t most = u64_of(json_object_get(body, "cpus"), "max_vcpus");

    if (what->to <= most)
        return 0;
    return vivi_fail(err, VIV_E_INVALID,
                     "%" PRIu64 " is more than cpus.max of this run (%" PRIu64 ")", what->to, most);
}

/* Memory that came by ACPI stays; of virtio-mem all can go that did not stand there at the start.
 */
static int may_memory(const json_t *body, const struct vivi_resize *what, viv_error *err)
{
    const json_t *memory = json_object_get(body, "memory");
    const char *method = json_string_value(json_object_get(memory, "hotplug_method"));
    bool acpi = method && strcmp(method, "Acpi") == 0;
    uint64_t first = u64_of(memory, "size"), most = first + u64_of(memory, "hotplug_size");
    uint64_t least = acpi ? what->config->memory_bytes : first;
    uint64_t piece = acpi ? CH_ACPI_PIECE : CH_VIRTIO_PIECE;
    char wanted[24], other[24];

    vivi_format_size(what->to, wanted);
    if (json_object_get(memory, "zones"))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "the memory has zones: their sizes can change");
    if (what->to > most) {
        vivi_format_size(most, other);
        return vivi_fail(err, VIV_E_INVALID, "%s is more than memory.max of this run (%s)", wanted,
                         other);
    }
    vivi_format_size(least, other);
    if (what->to < least)
        return vivi_fail(err, VIV_E_INVALID,
                         acpi ? "memory that came by ACPI stays while it runs (%s; take memory by "
                                "balloon)"
                              : "the %s that it started with stay while it runs (take memory by "
                                "balloon)",
                         other);
    if ((what->to - least) % piece != 0)
        return vivi_fail(err, VIV_E_INVALID, "not a multiple of %" PRIu64 "MiB above %s",
                         piece / MIB, other);
    return 0;
}

static int may_zone(const json_t *body, const struct vivi_resize *what, viv_error *err)
{
    const json_t *zones = json_object_get(json_object_get(body, "memory"), "zones"), *zone;
    char name[CH_ID_BYTES], first[24], most[24];
    size_t i;

    (void)snprintf(name, sizeof(name), CH_ID_ZONE "%s", what->id);
    json_array_foreach(zones, i, zone)
    {
        const char *id = json_string_value(json_object_get(zone, "id"));
        uint64_t size = u64_of(zone, "size"), more = u64_of(zone, "hotplug_size");

        if (!id || strcmp(id, name) != 0)
            continue;
        vivi_format_size(size, first);
        vivi_format_size(size + more, most);
        if (what->to < size || what->to > size + more || (what->to - size) % CH_VIRTIO_PIECE != 0)
            return vivi_fail(
                err, VIV_E_INVALID,
                "this run can give it %s to %s, in multiples of 2MiB (memory.zones.%s.max)", first,
                most, what->id);
        return 0;
    }
    return vivi_fail(err, VIV_E_NOT_FOUND, "this run has no zone %s", what->id);
}

int ch_may_resize(void *priv, const struct vivi_resize *what, viv_error *err)
{
    const json_t *body = ch_boot_body(priv);

    if (!body) /* restored: its limits stand in the snapshot, and the VMM knows them */
        return 0;
    switch (what->kind) {
    case VIVI_RESIZE_CPUS: return may_cpus(body, what, err);
    case VIVI_RESIZE_MEMORY: return may_memory(body, what, err);
    case VIVI_RESIZE_BALLOON:
        if (json_object_get(body, "balloon"))
            return 0;
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "this run has no balloon: a device of the host keeps the memory");
    case VIVI_RESIZE_ZONE: return may_zone(body, what, err);
    case VIVI_RESIZE_DISK:
    case VIVI_RESIZE_COUNT_: break;
    }
    return 0;
}

/* ---- asking, and looking again ---- */

static void resize_done(struct ch_machine *m, struct ch_resize *s, const viv_error *err)
{
    uint64_t op = s->op, joined = s->joined;

    m->host->loop->timer_stop(s->look);
    *s = (struct ch_resize){.m = m, .kind = s->kind};
    ch_tell_done(m, op, err);
    ch_tell_done(m, joined, err);
}

static json_t *resize_body(const struct ch_resize *s)
{
    switch (s->kind) {
    case VIVI_RESIZE_CPUS:
        return json_pack("{s:I}", "desired_vcpus", (json_int_t)(s->first > 0 ? s->first : s->to));
    case VIVI_RESIZE_MEMORY:
        if (s->left == 0)
            return json_pack("{s:I}", "desired_ram", (json_int_t)s->to);
        return json_pack("{s:I, s:I}", "desired_ram", (json_int_t)s->to, "desired_balloon",
                         (json_int_t)(s->to > s->left ? s->to - s->left : 0));
    case VIVI_RESIZE_BALLOON:
        return json_pack("{s:I}", "desired_balloon",
                         (json_int_t)(s->total > s->to ? s->total - s->to : 0));
    case VIVI_RESIZE_DISK:
        return json_pack("{s:s, s:I}", "id", s->name, "desired_size", (json_int_t)s->to);
    case VIVI_RESIZE_ZONE:
        return json_pack("{s:s, s:I}", "id", s->name, "desired_ram", (json_int_t)s->to);
    case VIVI_RESIZE_COUNT_: break;
    }
    return NULL;
}

static int send_resize(struct ch_machine *m, const struct ch_resize *s, viv_error *err)
{
    const char *verb = s->kind == VIVI_RESIZE_DISK   ? "vm.resize-disk"
                       : s->kind == VIVI_RESIZE_ZONE ? "vm.resize-zone"
                                                     : "vm.resize";
    json_t *body = resize_body(s);
    int r;

    if (!body)
        return vivi_fail_oom(err);
    r = ch_http_send(
        &m->http, &(struct ch_request){.verb = verb, .body = body, .tag = CH_T_RESIZE, .op = s->op},
        err);
    json_decref(body);
    return r;
}

static struct ch_resize *resize_of(struct ch_machine *m, uint64_t op)
{
    for (size_t i = 0; i < VIVI_RESIZE_COUNT_; i++)
        if (op != 0 && m->resizes[i].op == op)
            return &m->resizes[i];
    return NULL;
}

static void look_now(void *arg)
{
    struct ch_resize *s = arg;
    struct ch_machine *m = s->m;
    viv_error why = VIV_ERROR_INIT;
    int r;

    m->host->loop->timer_stop(s->look);
    s->look = NULL;
    r = s->kind == VIVI_RESIZE_CPUS ? send_resize(m, s, &why)
                                    : ch_get(m, "vm.info", CH_T_RESIZE_INFO, s->op, &why);
    if (r < 0)
        resize_done(m, s, &why);
}

static void look_later(struct ch_machine *m, struct ch_resize *s)
{
    viv_error why = VIV_ERROR_INIT;

    s->pause_ms = s->pause_ms == 0                 ? LOOK_FIRST_MS
                  : s->pause_ms * 2 > LOOK_MOST_MS ? LOOK_MOST_MS
                                                   : s->pause_ms * 2;
    if (m->host->loop->timer(m->host->loop->ctx, "ch-resize", s->pause_ms, look_now, s, &s->look,
                             &why) < 0)
        resize_done(m, s, &why);
}

static void progress(struct ch_machine *m, const struct ch_resize *s, uint64_t done)
{
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_PROGRESS,
                                          .op = s->op,
                                          .text = "waiting for the guest",
                                          .done = done,
                                          .total = s->kind == VIVI_RESIZE_CPUS   ? 0
                                                   : s->kind == VIVI_RESIZE_ZONE ? s->total
                                                                                 : s->to});
}

/* How much memory the guest has, out of vm.info; 0: it does not say. */
uint64_t ch_actual_memory(const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
    json_int_t n = json_integer_value(json_object_get(doc, "memory_actual_size"));

    json_decref(doc);
    return n > 0 ? (uint64_t)n : 0;
}

/* Of the kind that is waited for: memory without regard to the balloon, or what the balloon leaves.
 */
static uint64_t size_now(const struct ch_resize *s, const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
    const json_t *balloon = json_object_get(json_object_get(doc, "config"), "balloon");
    uint64_t now = u64_of(doc, "memory_actual_size");

    if (s && (s->kind == VIVI_RESIZE_MEMORY || s->kind == VIVI_RESIZE_ZONE))
        now += u64_of(balloon, "size");
    json_decref(doc);
    return now;
}

/* All the memory there is when one zone has that size. */
static uint64_t all_with(const struct vivi_config *c, const char *id, uint64_t size)
{
    uint64_t all = c->memory_bytes;

    for (size_t i = 0; i < c->n_zones; i++)
        if (strcmp(c->zones[i].id, id) == 0)
            all += size - c->zones[i].size_bytes;
    return all;
}

int ch_resize_slot(void *priv, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    struct ch_resize *s = &m->resizes[what->kind];
    struct ch_resize fresh = {.m = m, .kind = what->kind, .op = op, .to = what->to};
    int r;

    if (s->joined)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: two such changes are under way");
    if (what->kind == VIVI_RESIZE_DISK)
        ch_device_name(VIVI_DEV_DISK, what->id, fresh.name);
    if (what->kind == VIVI_RESIZE_ZONE) {
        (void)snprintf(fresh.name, sizeof(fresh.name), CH_ID_ZONE "%s", what->id);
        fresh.total = all_with(what->config, what->id, what->to);
    }
    if (what->kind == VIVI_RESIZE_BALLOON)
        fresh.total = what->config->memory_bytes;
    if (what->kind == VIVI_RESIZE_MEMORY)
        fresh.left = what->config->balloon_bytes;
    if (what->kind == VIVI_RESIZE_CPUS && s->op != 0)
        fresh.first = s->first > 0 ? s->first : s->to;
    r = send_resize(m, &fresh, err);
    if (r < 0)
        return r;
    fresh.joined = s->op; /* taken over: both end together */
    m->host->loop->timer_stop(s->look);
    *s = fresh;
    return 0;
}

/* Its refusals that have a code of their own. */
static int code_of(const struct ch_answer *a, int code)
{
    if (a->status == 404 || ch_answer_blames(a, "Failed to find device"))
        return VIV_E_NOT_FOUND;
    return ch_answer_blames(a, "exceed maximum") ? VIV_E_INVALID : code;
}

/* The VMM has it. Of disks nothing more can be seen; CPUs were asked about twice. */
static void resized(struct ch_machine *m, struct ch_resize *s)
{
    if (s->kind == VIVI_RESIZE_DISK || (s->kind == VIVI_RESIZE_CPUS && s->asked)) {
        resize_done(m, s, NULL);
        return;
    }
    s->asked = s->first == 0; /* and now what the guest makes of it */
    s->first = 0;
    look_now(s);
}

void ch_resize_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                     const viv_error *err)
{
    struct ch_resize *s = resize_of(m, op);
    viv_error why = err ? *err : (viv_error)VIV_ERROR_INIT;

    if (!s)
        return;
    if (!err || (a && ch_answer_blames(a, "requested_size are identical"))) {
        resized(m, s);
    } else if (a && a->status == 429) { /* CPUs have not left yet */
        if (s->pause_ms == 0)
            progress(m, s, 0);
        look_later(m, s);
    } else {
        if (a)
            why.code = code_of(a, why.code);
        resize_done(m, s, &why);
    }
}

void ch_resize_info(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err)
{
    struct ch_resize *s = resize_of(m, op);
    uint64_t now = err ? 0 : size_now(s, a);

    if (!s)
        return;
    if (err || now == (s->kind == VIVI_RESIZE_ZONE ? s->total : s->to)) {
        resize_done(m, s, err);
        return;
    }
    if (now != s->seen || s->pause_ms == 0)
        progress(m, s, now);
    s->seen = now;
    look_later(m, s);
}

void ch_sizes_ended(struct ch_machine *m, const viv_error *why)
{
    for (size_t i = 0; i < VIVI_RESIZE_COUNT_; i++)
        if (m->resizes[i].op != 0)
            resize_done(m, &m->resizes[i], why);
}

void ch_sizes_done(struct ch_machine *m)
{
    for (size_t i = 0; i < VIVI_RESIZE_COUNT_; i++)
        if (m->resizes[i].look)
            m->host->loop->timer_stop(m->resizes[i].look);
}
