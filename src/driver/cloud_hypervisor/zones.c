/* NUMA: each zone of a configuration is a node of the guest, whose number is its place in the list.
 * Pure. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/checks.h"
#include "driver/cloud_hypervisor/ch.h"

#define OWN_DISTANCE 10
#define MAX_DISTANCE 255

/* "z1=20": the place of the zone that it names (n_zones: there is none), and how far it is. */
static bool parse_distance(const struct vivi_config *c, const char *text, size_t *ret_zone,
                           unsigned *ret_distance)
{
    const char *eq = strchr(text, '=');
    char *end;
    unsigned long n;

    if (!eq || eq[1] < '0' || eq[1] > '9')
        return false;
    n = strtoul(eq + 1, &end, 10);
    if (*end != '\0' || n <= OWN_DISTANCE || n > MAX_DISTANCE)
        return false;
    *ret_distance = (unsigned)n;
    for (*ret_zone = 0; *ret_zone < c->n_zones; ++*ret_zone) {
        const char *id = c->zones[*ret_zone].id;

        if (strlen(id) == (size_t)(eq - text) && strncmp(id, text, strlen(id)) == 0)
            break;
    }
    return true;
}

/* ---- the body ---- */

static json_t *cpus_of(const struct vivi_zone *z)
{
    json_t *all = json_array(), *some;

    for (size_t i = 0; i < z->cpus.n; i++) {
        if (!ch_parse_cpus(z->cpus.items[i], &some))
            continue;
        (void)json_array_extend(all, some);
        json_decref(some);
    }
    return all;
}

static json_t *distances_of(const struct vivi_config *c, const struct vivi_zone *z)
{
    json_t *all = json_array();
    unsigned distance;
    size_t to;

    for (size_t i = 0; i < z->distances.n; i++)
        if (parse_distance(c, z->distances.items[i], &to, &distance))
            (void)json_array_append_new(all, json_pack("{s:I, s:I}", "destination", (json_int_t)to,
                                                       "distance", (json_int_t)distance));
    return all;
}

json_t *ch_zone_config(const struct vivi_config *c, size_t index, bool shared)
{
    const struct vivi_zone *z = &c->zones[index];
    json_t *doc = json_pack("{s:o, s:I, s:b}", "id", json_sprintf(CH_ID_ZONE "%s", z->id), "size",
                            (json_int_t)z->size_bytes, "shared", (int)shared);

    if (c->hugepage_bytes > 0)
        (void)json_object_update_new(doc, json_pack("{s:b, s:I}", "hugepages", 1, "hugepage_size",
                                                    (json_int_t)c->hugepage_bytes));
    if (z->max_bytes > z->size_bytes)
        (void)json_object_set_new(doc, "hotplug_size",
                                  json_integer((json_int_t)(z->max_bytes - z->size_bytes)));
    if (z->host_node_1 > 0)
        (void)json_object_set_new(doc, "host_numa_node", json_integer(z->host_node_1 - 1));
    return doc;
}

json_t *ch_node_config(const struct vivi_config *c, size_t index)
{
    const struct vivi_zone *z = &c->zones[index];
    json_t *doc = json_pack("{s:I, s:[o]}", "guest_numa_id", (json_int_t)index, "memory_zones",
                            json_sprintf(CH_ID_ZONE "%s", z->id));

    if (z->cpus.n > 0)
        (void)json_object_set_new(doc, "cpus", cpus_of(z));
    if (z->distances.n > 0)
        (void)json_object_set_new(doc, "distances", distances_of(c, z));
    return doc;
}

/* ---- problems ---- */

static int check_cpus(const struct vivi_config *c, size_t index, bool *taken,
                      struct vivi_problems *p)
{
    const struct vivi_zone *z = &c->zones[index];
    char field[128];
    json_t *cpus;

    (void)snprintf(field, sizeof(field), "memory.zones.%s.cpus", z->id);
    for (size_t i = 0; i < z->cpus.n; i++) {
        const char *text = z->cpus.items[i];
        int r = 0;

        if (!ch_parse_cpus(text, &cpus)) {
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                                  "\"%s\" is not a list of CPUs (examples: 0-3, 4,6)", text));
            continue;
        }
        for (size_t k = 0; r == 0 && k < json_array_size(cpus); k++) {
            json_int_t n = json_integer_value(json_array_get(cpus, k));

            if (n >= ch_max_cpus(c))
                r = vivi_problem(p, VIV_E_INVALID, field, NULL,
                                 "\"%s\": there is no virtual CPU %" JSON_INTEGER_FORMAT, text, n);
            else if (taken[n])
                r = vivi_problem(p, VIV_E_INVALID, field, NULL,
                                 "CPU %" JSON_INTEGER_FORMAT " is in a zone already", n);
            if (n >= ch_max_cpus(c))
                break; /* once is enough */
            taken[n] = true;
        }
        json_decref(cpus);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_distances(const struct vivi_config *c, size_t index, struct vivi_problems *p)
{
    const struct vivi_zone *z = &c->zones[index];
    char field[128];
    unsigned distance;
    size_t to;

    (void)snprintf(field, sizeof(field), "memory.zones.%s.distances", z->id);
    for (size_t i = 0; i < z->distances.n; i++) {
        const char *text = z->distances.items[i];

        if (!parse_distance(c, text, &to, &distance))
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                                  "\"%s\" is not a distance (example: z1=20; from %d to %d)", text,
                                  OWN_DISTANCE + 1, MAX_DISTANCE));
        else if (to == c->n_zones || to == index)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                                  "\"%s\": there is no other zone "
                                  "of that name",
                                  text));
    }
    return 0;
}

static int check_size(const struct vivi_config *c, size_t index, struct vivi_problems *p)
{
    const struct vivi_zone *z = &c->zones[index];
    uint64_t page = c->hugepage_bytes > 0 ? c->hugepage_bytes : CH_VIRTIO_PIECE;
    char field[128];

    (void)snprintf(field, sizeof(field), "memory.zones.%s.size", z->id);
    if (z->size_bytes % page != 0)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "is no multiple of %" PRIu64 "MiB",
                              page >> 20));
    (void)snprintf(field, sizeof(field), "memory.zones.%s.max", z->id);
    if (z->max_bytes > 0 && z->max_bytes < z->size_bytes)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "is less than the zone's size"));
    if (z->max_bytes > z->size_bytes && c->memory_hotplug == VIVI_MEMORY_ACPI)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                              "zones grow by virtio-mem only (memory.hotplug)"));
    return 0;
}

int ch_check_zones(const struct vivi_config *c, struct vivi_problems *p)
{
    bool taken[CH_MAX_CPUS + 1] = {false};

    if (ch_max_cpus(c) > CH_MAX_CPUS) /* told already */
        return 0;
    for (size_t i = 0; i < c->n_zones; i++) {
        VIVI_TRY(check_size(c, i, p));
        VIVI_TRY(check_cpus(c, i, taken, p));
        VIVI_TRY(check_distances(c, i, p));
    }
    return 0;
}
