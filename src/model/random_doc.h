/* For tests: completed documents made up from the field table, so that a new field is in them. */
#pragma once

#include "model/config.h"

/*
 * A document of the given name and driver. seed goes on from call to call; the same seed gives the
 * same documents. Fields that are fixed at creation, and what the fake driver cannot run, keep
 * their defaults. NULL: out of memory.
 */
json_t *vivi_random_document(uint64_t *seed, const char *name, const char *driver);
