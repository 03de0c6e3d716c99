/*
 * What comes and goes in the pretended machine of viv-fake: devices, CPUs, memory, the balloon.
 *
 * Theory of operation: adding is the VMM's own and done at once. Removals and sizes need the guest:
 * they are accepted at once and fall due on the guest's clock (which stands still while it is
 * paused), when the guest has done its part; the event stream tells it. A busy guest lets a request
 * pass without a word, as real ones do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver/disks.h"
#include "driver/fake/vmm.h"

#define NEVER UINT64_MAX

static struct fake_device *find(struct fake_vmm *v, const char *kind, const char *id)
{
    for (size_t i = 0; i < FAKE_MAX_DEVICES; i++) {
        struct fake_device *d = &v->hot.devices[i];

        if (d->kind[0] && strcmp(d->kind, kind) == 0 && strcmp(d->id, id) == 0)
            return d;
    }
    return NULL;
}

static struct fake_size *size_of(struct fake_vmm *v, const char *what)
{
    struct fake_size *free_one = NULL;

    for (size_t i = 0; i < FAKE_MAX_SIZES; i++) {
        struct fake_size *s = &v->hot.sizes[i];

        if (strcmp(s->what, what) == 0)
            return s;
        if (!s->what[0] && !free_one)
            free_one = s;
    }
    if (free_one) {
        *free_one = (struct fake_size){.due_us = NEVER};
        (void)snprintf(free_one->what, sizeof(free_one->what), "%s", what);
    }
    return free_one;
}

/* "disk:root,net:n0": what the machine is made with. What does not fit is not there. */
void fake_hot_init(struct fake_vmm *v, const char *list)
{
    char text[FAKE_DEVICES_TEXT], *save = NULL;

    (void)snprintf(text, sizeof(text), "%s", list ? list : "");
    for (char *p = strtok_r(text, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        char kind[16], id[72];

        if (sscanf(p, "%15[^:]:%71s", kind, id) == 2)
            (void)fake_hot_add(v, kind, id);
    }
}

const char *fake_hot_add(struct fake_vmm *v, const char *kind, const char *id)
{
    if (find(v, kind, id))
        return "exists: such a device is there";
    for (size_t i = 0; i < FAKE_MAX_DEVICES; i++) {
        struct fake_device *d = &v->hot.devices[i];

        if (d->kind[0])
            continue;
        d->leaves_us = NEVER;
        (void)snprintf(d->kind, sizeof(d->kind), "%s", kind);
        (void)snprintf(d->id, sizeof(d->id), "%s", id);
        return NULL;
    }
    return "no free place";
}

const char *fake_hot_remove(struct fake_vmm *v, const char *kind, const char *id)
{
    struct fake_device *d = find(v, kind, id);
    char line[160];

    if (!d)
        return "not-found: no such device";
    if (v->script->keep_text) {
        (void)snprintf(line, sizeof(line), "kept %s %s %.60s\n", kind, id, v->script->keep_text);
        (void)fake_out_write(&v->events, line, strlen(line));
    } else if (v->hot.asked < v->script->busy_times) {
        v->hot.asked++; /* it never looks */
    } else if (d->leaves_us == NEVER) {
        d->leaves_us = fake_guest_now_us(v) + v->script->unplug_after_us;
    }
    return NULL;
}

const char *fake_hot_resize(struct fake_vmm *v, const char *what, uint64_t to)
{
    struct fake_size *s;

    if (strncmp(what, "disk ", 5) == 0 && !find(v, "disk", what + 5))
        return "not-found: no such disk";
    s = size_of(v, what);
    if (!s)
        return "too many sizes";
    s->to = to;
    s->half_told = v->script->settle_after_us == 0;
    s->began_us = fake_guest_now_us(v);
    s->due_us = s->began_us + v->script->settle_after_us;
    return NULL;
}

/* Each device has moved a little more each time somebody looks. */
void fake_hot_counters(struct fake_vmm *v, struct vivi_buf *out)
{
    uint64_t n = ++v->hot.looks;
    const char *const kinds[] = {"disk", "net"};

    (void)vivi_buf_str(out, "{");
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        bool first = true;

        (void)vivi_buf_printf(out, "\"%ss\":{", kinds[k]);
        for (size_t i = 0; i < FAKE_MAX_DEVICES; i++) {
            const struct fake_device *d = &v->hot.devices[i];

            if (strcmp(d->kind, kinds[k]) != 0)
                continue;
            (void)vivi_buf_str(out, first ? "" : ",");
            first = false;
            (void)vivi_buf_json_str(out, d->id);
            if (k == 0)
                (void)vivi_buf_printf(out,
                                      ":{\"read_bytes\":%" PRIu64 ",\"written_bytes\":%" PRIu64
                                      ",\"reads\":%" PRIu64 ",\"writes\":%" PRIu64
                                      ",\"flushes\":0}",
                                      n * 2 * VIVI_SECTOR_BYTES, n * VIVI_SECTOR_BYTES, n * 2, n);
            else
                (void)vivi_buf_printf(out,
                                      ":{\"rx_bytes\":%" PRIu64 ",\"tx_bytes\":%" PRIu64
                                      ",\"rx_packets\":%" PRIu64 ",\"tx_packets\":%" PRIu64 "}",
                                      n * 3 * VIVI_SECTOR_BYTES, n * VIVI_SECTOR_BYTES, n * 3, n);
        }
        (void)vivi_buf_str(out, "},");
    }
    for (size_t i = 0; i < FAKE_MAX_SIZES; i++)
        if (strcmp(v->hot.sizes[i].what, "balloon") == 0 && v->hot.sizes[i].is > 0) {
            (void)vivi_buf_printf(out, "\"balloon_bytes\":%" PRIu64 "}", v->hot.sizes[i].is);
            return;
        }
    (void)vivi_buf_str(out, "\"balloon_bytes\":null}");
}

/* ---- the guest does its part ---- */

void fake_hot_boot(struct fake_vmm *v)
{
    for (size_t i = 0; i < FAKE_MAX_DEVICES; i++)
        if (v->hot.devices[i].leaves_us != NEVER)
            v->hot.devices[i].leaves_us = 0;
    for (size_t i = 0; i < FAKE_MAX_SIZES; i++)
        if (v->hot.sizes[i].due_us != NEVER)
            v->hot.sizes[i].began_us = v->hot.sizes[i].due_us = 0;
}

static void leave(struct fake_vmm *v, struct fake_device *d)
{
    char line[160];

    (void)snprintf(line, sizeof(line), "removed %s %s\n", d->kind, d->id);
    memset(d, 0, sizeof(*d));
    (void)fake_out_write(&v->events, line, strlen(line));
}

/* "resizing cpus 1 2": how far; "resized cpus 2": done. */
static void settle(struct fake_vmm *v, struct fake_size *s, uint64_t now)
{
    uint64_t half = s->began_us + (s->due_us - s->began_us) / 2;
    char line[200];

    if (!s->half_told && now >= half) {
        s->half_told = true;
        (void)snprintf(line, sizeof(line), "resizing %s %" PRIu64 " %" PRIu64 "\n", s->what,
                       s->to / 2, s->to);
        (void)fake_out_write(&v->events, line, strlen(line));
    }
    if (now < s->due_us)
        return;
    s->due_us = NEVER;
    s->is = s->to;
    (void)snprintf(line, sizeof(line), "resized %s %" PRIu64 "\n", s->what, s->to);
    (void)fake_out_write(&v->events, line, strlen(line));
}

static uint64_t sooner(uint64_t a, uint64_t due, uint64_t now)
{
    return due - now < a ? due - now : a;
}

uint64_t fake_hot_play(struct fake_vmm *v)
{
    uint64_t now = fake_guest_now_us(v), next = NEVER;

    if (v->state != FAKE_RUNNING)
        return NEVER;
    for (size_t i = 0; i < FAKE_MAX_DEVICES; i++) {
        struct fake_device *d = &v->hot.devices[i];

        if (!d->kind[0] || d->leaves_us == NEVER)
            continue;
        if (d->leaves_us <= now)
            leave(v, d);
        else
            next = sooner(next, d->leaves_us, now);
    }
    for (size_t i = 0; i < FAKE_MAX_SIZES; i++) {
        struct fake_size *s = &v->hot.sizes[i];
        uint64_t due;

        if (!s->what[0] || s->due_us == NEVER)
            continue;
        settle(v, s, now);
        if (s->due_us == NEVER)
            continue;
        due = s->half_told ? s->due_us : s->began_us + (s->due_us - s->began_us) / 2;
        next = sooner(next, due > now ? due : now + 1, now);
    }
    return next;
}
