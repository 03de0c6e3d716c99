/* struct vivi_loop over libuv. The only files that know libuv are loop_uv.c and main.c. */
#pragma once

#include "driver/loop.h"

struct vivi_uv;

int vivi_uv_new(struct vivi_uv **ret, viv_error *err);
void vivi_uv_free(struct vivi_uv *u); /* NULL ok; everything must be unwatched and stopped */
const struct vivi_loop *vivi_uv_loop(struct vivi_uv *u);
void vivi_uv_run(struct vivi_uv *u); /* until vivi_uv_stop */
void vivi_uv_stop(struct vivi_uv *u);
