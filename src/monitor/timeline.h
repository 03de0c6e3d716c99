/* The boot timeline: monotonic times of the steps of one start, kept relative to the request. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"

struct vivi_timeline {
    uint64_t origin_us;                 /* CLOCK_MONOTONIC of the request */
    uint64_t step_us[VIVI_STEP_COUNT_]; /* after origin; UINT64_MAX: not reached */
};

void vivi_timeline_begin(struct vivi_timeline *t, uint64_t origin_us);
/* The first mark of a step counts; later ones change nothing. */
void vivi_timeline_mark(struct vivi_timeline *t, enum vivi_step step, uint64_t now_us);
bool vivi_timeline_has(const struct vivi_timeline *t, enum vivi_step step);
/* The name of the last step reached without "_us": "running". */
void vivi_timeline_last(const struct vivi_timeline *t, char ret[24]);
/* {"requested_us":0,"exec_us":…,…,"ready_us":null,"origin_us":…}; NULL: no memory. */
json_t *vivi_timeline_to_json(const struct vivi_timeline *t);
/* Missing or odd values are "not reached". */
void vivi_timeline_from_json(const json_t *j, struct vivi_timeline *ret);
