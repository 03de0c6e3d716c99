/*
 * Verbs in flight: all targets of a command at once, results told in the order they were named.
 */
#pragma once

#include "cli/cli.h"

struct vivi_job {
    const char *target; /* as typed; borrowed */
    viv_vm *vm;         /* owned; NULL when it was not found */
    viv_op *op;         /* owned; NULL when nothing is in flight */
    viv_rec *result;    /* owned; of the last step */
    json_t *merged;     /* owned; results of all steps, "changed" of the first */
    viv_error err;      /* of a failed one */
    unsigned step;      /* how many operations it began */
    unsigned tries;     /* of again */
    bool finished, failed;
};

/* Starts an operation; one of the library's viv_vm_… verbs. */
typedef int vivi_begin(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                       viv_error *err);

struct vivi_verb {
    const char *doing;  /* "stopping", for people who wait */
    const char *states; /* what --all means; see vivi_select */
    vivi_begin *begin;
    const viv_opts *opts; /* borrowed; NULL = none */
    /* Instead of begin, for what needs more: begins job->op, or < 0 and job->err. */
    int (*begin_with)(struct vivi_job *job, const void *ctx);
    /* An operation failed (job->err): true, and another one is begun. NULL = never. */
    bool (*again)(struct vivi_job *job, const void *ctx);
    /* After a step was done: begins the next one in job->op (0), or leaves it NULL. NULL = one
     * step. */
    int (*next)(struct vivi_cli *c, struct vivi_job *job, const void *ctx);
    /* One line about a success on stdout. */
    void (*say)(struct vivi_cli *c, const struct vivi_job *job);
    /* More about a failure on stderr, after its message; may be NULL. */
    void (*explain)(struct vivi_cli *c, const struct vivi_job *job);
    /* Adds to the record that is printed; 0 or −1 (out of memory). May be NULL. */
    int (*extend)(const struct vivi_job *job, json_t *record, const void *ctx);
    /* What an interrupted wait leaves: "%s goes on; stop it: viv stop %s" has the name twice. */
    bool starts;         /* it is a start or a wait: name the way to stop it */
    bool own_form;       /* say knows what -o and --format mean here */
    bool ignore_missing; /* a VM that is not there is a success that changed nothing */
    const void *ctx;
};

/* Selects targets by the command line, runs the verb on all. Returns the exit code. */
int vivi_verb_run(struct vivi_cli *c, const struct vivi_verb *verb);
/* The same for given words (the command has others too). */
int vivi_verb_run_on(struct vivi_cli *c, const struct vivi_verb *verb, const char *const *words,
                     size_t n_words);
/* The same for one VM that is already looked up (borrowed). Prints a result only with print. */
int vivi_verb_run_vm(struct vivi_cli *c, const struct vivi_verb *verb, viv_vm *vm, bool print);

/* --timeout of the command line as an option of the library. 0 or < 0. */
int vivi_verb_timeout(struct vivi_cli *c, viv_opts *o, viv_error *err);
/* --async of the command line as an option of the library. 0 or < 0. */
int vivi_verb_async(struct vivi_cli *c, viv_opts *o, viv_error *err);

const char *vivi_job_name(const struct vivi_job *job);
