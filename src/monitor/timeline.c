#include "monitor/timeline.h"

#include <stdio.h>
#include <string.h>

void vivi_timeline_begin(struct vivi_timeline *t, uint64_t origin_us)
{
    t->origin_us = origin_us;
    for (unsigned i = 0; i < VIVI_STEP_COUNT_; i++)
        t->step_us[i] = UINT64_MAX;
    t->step_us[VIVI_STEP_REQUESTED] = 0;
}

bool vivi_timeline_has(const struct vivi_timeline *t, enum vivi_step step)
{
    return t->step_us[step] != UINT64_MAX;
}

void vivi_timeline_mark(struct vivi_timeline *t, enum vivi_step step, uint64_t now_us)
{
    if (!vivi_timeline_has(t, step))
        t->step_us[step] = now_us > t->origin_us ? now_us - t->origin_us : 0;
}

void vivi_timeline_last(const struct vivi_timeline *t, char ret[24])
{
    unsigned last = VIVI_STEP_REQUESTED;
    char *suffix;

    for (unsigned i = 0; i < VIVI_STEP_COUNT_; i++) {
        if (t->step_us[i] != UINT64_MAX && t->step_us[i] >= t->step_us[last])
            last = i;
    }
    (void)snprintf(ret, 24, "%s", vivi_step_name((enum vivi_step)last));
    suffix = strstr(ret, "_us");
    if (suffix)
        *suffix = '\0';
}

json_t *vivi_timeline_to_json(const struct vivi_timeline *t)
{
    json_t *j = json_object();

    for (unsigned i = 0; i < VIVI_STEP_COUNT_; i++) {
        json_t *v =
            t->step_us[i] == UINT64_MAX ? json_null() : json_integer((json_int_t)t->step_us[i]);

        if (json_object_set_new(j, vivi_step_name((enum vivi_step)i), v) < 0) {
            json_decref(j);
            return NULL;
        }
    }
    if (json_object_set_new(j, "origin_us", json_integer((json_int_t)t->origin_us)) < 0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static uint64_t number_of(const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return UINT64_MAX;
    return (uint64_t)json_integer_value(v);
}

void vivi_timeline_from_json(const json_t *j, struct vivi_timeline *ret)
{
    uint64_t origin = number_of(json_object_get(j, "origin_us"));

    vivi_timeline_begin(ret, origin == UINT64_MAX ? 0 : origin);
    for (unsigned i = 0; i < VIVI_STEP_COUNT_; i++)
        ret->step_us[i] = number_of(json_object_get(j, vivi_step_name((enum vivi_step)i)));
}
