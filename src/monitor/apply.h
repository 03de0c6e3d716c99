/*
 * Changing the configuration of the VM that this monitor keeps: config.json for the next start,
 * and, as far as that is possible while it runs, this run.
 */
#pragma once

#include "model/diff.h"

struct vivi_monitor;
struct vivi_request;

/* Zeroed: nothing in flight. */
struct vivi_apply {
    json_t *record;        /* owned; change.json of the one in flight; NULL: none */
    struct vivi_diff todo; /* what this run still lacks and can get, from at on */
    size_t at;
    json_t *failed; /* owned; path → why it could not be made */
    viv_error error;
    bool making;  /* the change at at is being made */
    bool walking; /* inside the walk through todo */
};
void vivi_apply_done(struct vivi_apply *a);

/*
 * Looks at the request: args {"doc": the whole configuration as it shall be, "base": digest of what
 * it was made from or absent, "mode": "both" (default) | "next" | "live" | "strict", "paths": the
 * ones that were asked for or null for all, "dry_run", "timeout_ms", "force": what the guest uses
 * goes, images are cut}. Modes: both changes the
 * configuration, and this run as far as it goes; next only the configuration; live only this run;
 * strict both, or nothing when something could not be made in this run.
 *
 * *ret_now: the answer {"changed","changes"}, when nothing has to be done (or dry_run); otherwise
 * the caller begins the operation and calls vivi_apply_go. Errors: INVALID (a fixed field, no
 * configuration), BUSY with RETRY (base is no longer what it was), WRONG_STATE (live: it does not
 * run), UNSUPPORTED (live, strict: what cannot change while it runs).
 */
int vivi_apply_prepare(struct vivi_monitor *m, const struct vivi_request *q, json_t **ret_now,
                       viv_error *err);
/* Carries out what was prepared; ends the operation, now or later. */
void vivi_apply_go(struct vivi_monitor *m);
/* Stop, or the end of the run: what has not been made waits for the next start. why: for people,
 * NULL: the run has ended. */
void vivi_apply_abandon(struct vivi_monitor *m, const char *why);
/* A change of this run that nobody waits for any more has come true: its record learns of it. */
void vivi_apply_happened(struct vivi_monitor *m, enum vivi_change_op op, const char *path,
                         json_t *to);
/* The operation in flight is an apply of a former monitor: goes on with it. */
void vivi_apply_resume(struct vivi_monitor *m);
/* What the operation op answered, for who asks again; a new reference or NULL. */
json_t *vivi_apply_recall(const struct vivi_monitor *m, const char *op);
/* Nothing runs any more: cpus and memory in state.json are those of the next start. */
void vivi_apply_columns(struct vivi_monitor *m);
