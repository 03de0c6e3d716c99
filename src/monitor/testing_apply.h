/* For tests of changes: asking for them, and looking at the two documents. */
#pragma once

#include "monitor/testing.h"

/* A JSON file of the VM's directory; fails the test when it cannot be read or written. */
json_t *rig_read(struct rig *r, const char *name);
void rig_write(struct rig *r, const char *name, const json_t *j);
json_t *rig_next(struct rig *r); /* config.json */
json_t *rig_run(struct rig *r);  /* of running.json; NULL: no run */

/* config.json with one field changed as --set does. */
json_t *rig_next_with(struct rig *r, const char *path, const char *value);
/* Asks for doc; more: members of args, NULL: none; both are consumed. Returns the request's id. */
uint64_t rig_apply(struct rig *r, const char *op, json_t *doc, json_t *more);
json_t *rig_mode(const char *word); /* such a member */
/* What was answered, as "labels.job now; cpus.count next-start", with "=reason" where there is one.
 */
void rig_tells(struct rig *r, uint64_t id, bool changed, const char *wanted);

void rig_is_at(const json_t *doc, const char *path, const char *wanted); /* as JSON text */
/* What the next start and this run have at path. */
void rig_has(struct rig *r, const char *path, const char *next, const char *run);
