/* Random identity: UUIDs, nonces. getrandom(2)/getentropy(3). */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define VIVI_UUID_SIZE 37

int vivi_random(void *buf, size_t len, viv_error *err);
int vivi_uuid_new(char ret[VIVI_UUID_SIZE], viv_error *err);    /* version 4, lower case */
int vivi_random_hex(char *ret, size_t n_chars, viv_error *err); /* n_chars hex digits + NUL */
