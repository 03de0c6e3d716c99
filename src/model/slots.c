/* Keeping devices in their places when others come and go. */
#include "model/slots.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SLOTS_MAX 512 /* elements that are looked at; more than any list may have */

struct places {
    const char *ids[SLOTS_MAX];
    uint32_t at[SLOTS_MAX]; /* 0 = not placed yet */
    size_t n;
};

static void read_list(const json_t *list, struct places *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < json_array_size(list) && i < SLOTS_MAX; i++) {
        const json_t *e = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(e, "id"));
        json_int_t slot = json_integer_value(json_object_get(e, "slot"));

        ret->ids[i] = id ? id : "";
        ret->at[i] = slot > 0 && slot < SLOTS_MAX ? (uint32_t)slot : 0;
        ret->n = i + 1;
    }
}

static bool is_taken(const struct places *p, uint32_t slot)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->at[i] == slot)
            return true;
    return false;
}

/* Those without a place get the first free ones, in order: the rule of the typed form. */
static void fill_up(struct places *p)
{
    uint32_t next = 1;

    for (size_t i = 0; i < p->n; i++) {
        if (p->at[i])
            continue;
        while (is_taken(p, next))
            next++;
        p->at[i] = next++;
    }
}

static void take_over(struct places *to, const struct places *from)
{
    for (size_t i = 0; i < to->n; i++)
        for (size_t k = 0; k < from->n && to->at[i] == 0; k++)
            if (strcmp(to->ids[i], from->ids[k]) == 0 && !is_taken(to, from->at[k]))
                to->at[i] = from->at[k];
}

static int keep(json_t *to_list, const json_t *from_list, viv_error *err)
{
    static const char key[] = "slot";
    cleanup_free struct places *all = calloc(3, sizeof(*all));
    struct places *from, *wanted, *ruled;

    if (!all)
        return vivi_fail_oom(err);
    from = &all[0];
    wanted = &all[1];
    ruled = &all[2];
    read_list(from_list, from);
    read_list(to_list, wanted);
    *ruled = *wanted;
    fill_up(from);
    take_over(wanted, from);
    fill_up(wanted);
    fill_up(ruled);
    if (memcmp(wanted->at, ruled->at, sizeof(wanted->at)) == 0)
        return 0;
    for (size_t i = 0; i < wanted->n; i++)
        if (json_object_set_new(json_array_get(to_list, i), key, json_integer(wanted->at[i])) < 0)
            return vivi_fail_oom(err);
    return 0;
}

int vivi_slots_keep(json_t *to, const json_t *from, viv_error *err)
{
    int r = keep(json_object_get(to, "disks"), json_object_get(from, "disks"), err);

    return r < 0 ? r : keep(json_object_get(to, "nets"), json_object_get(from, "nets"), err);
}

uint32_t vivi_slot_of(const struct vivi_config *c, enum vivi_device_kind kind, const char *id)
{
    for (size_t i = 0; kind == VIVI_DEV_DISK && i < c->n_disks; i++)
        if (strcmp(c->disks[i].id, id) == 0)
            return c->disks[i].slot;
    for (size_t i = 0; kind == VIVI_DEV_NET && i < c->n_nets; i++)
        if (strcmp(c->nets[i].id, id) == 0)
            return c->nets[i].slot;
    return 0;
}
