/* A call of a verb: what verbs.c and the files of single verbs share. */
#pragma once

#include "manager/manager.h"

/* What a verb needs of the VM's record. */
enum vivi_need { VIVI_NEED_RECORD, VIVI_NEED_REPAIRED, VIVI_NEED_NOTHING };

struct vivi_call {
    const char *verb;
    const char *options; /* that it knows */
    enum vivi_need need;
    /* Fills q (args, times, texts); *ret_local: the answer, if it is known already. */
    int (*prepare)(struct vivi_call *c, json_t **ret_local, viv_error *err);
    viv_vm *m;
    const viv_opts *o;
    const viv_config *config; /* of apply */
    bool strict;              /* apply: so, unless the options say live or next */
    const void *more;         /* what prepare alone knows; borrowed for the call */
    struct vivi_vmdir d;
    struct vivi_state s; /* the truth, when known */
    bool known;
    struct vivi_request_of q;
};

/* The prepare of whatever brings a configuration. */
int vivi_call_prepare_apply(struct vivi_call *c, json_t **ret_local, viv_error *err);
/* moved_log.c: step "log" of viv_vm_migrate, "log" of viv_vm_receive, answered from files. */
int vivi_log_leaves(struct vivi_call *c, json_t **ret_local, viv_error *err);
int vivi_log_comes(struct vivi_call *c, json_t **ret_local, viv_error *err);
/* What a VM that is offered needs in front of its log here; 0: nothing comes. */
uint64_t vivi_log_room_for(const json_t *offer, const struct vivi_config *config);
/* Checks options and record, prepares, and makes the operation or hands out the answer. */
int vivi_call_run(struct vivi_call *c, viv_op **ret_op, viv_rec **ret_result, viv_error *err);
/* A time among the options: def if it is absent; INVALID if it is no time. */
int vivi_call_ms(const viv_opts *o, const char *key, int64_t def, int64_t *ret, viv_error *err);
/* Our deadline for one that the monitor keeps: a little later. */
uint64_t vivi_call_after(int64_t ms);
/* The answer of a verb that found nothing to do; NULL: out of memory. */
json_t *vivi_call_as_it_is(const struct vivi_state *s);
/* WRONG_STATE "only a running VM can be saved (it is stopped)", of one that is known to have no
 * VMM; only is what stands before the parenthesis. */
int vivi_call_needs_vmm(const struct vivi_call *c, const char *only, viv_error *err);
/* A VMM that lives although the record may say otherwise, or cannot be read. */
bool vivi_call_has_vmm(const struct vivi_vmdir *d);
