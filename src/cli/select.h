/* Which VMs a command means: words, --all, --filter, --label. */
#pragma once

#include "base/buf.h"
#include "cli/cli.h"

struct vivi_selection {
    char **names; /* owned */
    size_t n;
    bool several; /* results make an array: two words or more, --all, --filter, --label */
};

/*
 * words: names or uuid prefixes as typed. states: with --all, --filter or --label only VMs in one
 * of these
 * ("running|paused", "ready" means a running one that is ready); NULL = all but broken ones.
 * 0, or the exit code of a usage error or a failed list, already printed.
 */
int vivi_select(struct vivi_cli *c, const char *const *words, size_t n_words, const char *states,
                struct vivi_selection *ret);
void vivi_selection_done(struct vivi_selection *s);
#define cleanup_selection VIVI_CLEANUP(vivi_selection_done)

/* Would --all mean a VM in this state? */
bool vivi_select_state(const char *states, const char *state);

/* States that a VMM belongs to, and those that none does. */
#define VIVI_STATES_ALIVE "starting|running|paused|saving|restoring|incoming|outgoing|stopping"
#define VIVI_STATES_IDLE  "created|stopped|failed"

/*
 * What --filter and --label (each as often as given) ask for together, as viv_ls and viv_subscribe
 * want it: into out, and *ret is its text or NULL without any. 0, or the exit code of a usage
 * error.
 */
int vivi_select_filter(struct vivi_cli *c, struct vivi_buf *out, const char **ret);
#define VIVI_FILTER_TEXT_MAX 65536
