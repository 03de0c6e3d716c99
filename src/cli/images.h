/* Images: a directory with image.yaml, a partial configuration whose paths are relative to it. */
#pragma once

#include <limits.h>

#include "cli/cli.h"

#define VIVI_IMAGE_FILE "image.yaml"

/*
 * Looked up in: the path itself if it has a slash, $VIV_IMAGES, share/vivarium/images beside the
 * program, the cache's images. NOT_FOUND "«name»: no such image" with the alternatives as hint; for
 * "demo" the way to build it.
 */
int vivi_image_find(const char *name, char ret_dir[PATH_MAX], viv_error *err);

/* Names of all images in all places, without duplicates; the caller frees with vivi_images_free. */
int vivi_images_list(char ***ret, size_t *ret_n);
void vivi_images_free(char **names, size_t n);
