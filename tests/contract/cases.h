/* The contract's cases: one list, run against every driver. */
#pragma once

#include "world.h"

struct contract_case {
    const char *name;   /* a sentence */
    int cap;            /* the capability row it proves, −1 = part of the contract itself */
    const char *script; /* not NULL: needs a VMM that can be told how to misbehave (the fake) */
    void (*run)(struct world *w);
    const char *cmdline; /* not NULL: needs a VMM that runs Linux, and the demo image */
    bool firmware;       /* the guest is not a kernel to the VMM, but its firmware */
};

/* Of all files. */
void contract_start_to_marker(struct world *w);
void contract_expect_alive(struct world *w);

/* hot_cases.c: changes of a running machine. */
void hot_adds_a_disk(struct world *w);
void hot_removes_a_disk(struct world *w);
void hot_waits_for_a_busy_guest(struct world *w);
void hot_carries_a_refusal(struct world *w);
void hot_goes_on_after_the_monitors_death(struct world *w);
void hot_leaves_by_itself(struct world *w);
void hot_resizes_cpus(struct world *w);
void hot_resizes_a_disk(struct world *w);
void hot_counts(struct world *w);
void hot_ends_with_the_vmm(struct world *w);
void hot_linux_lets_go_of_a_disk(struct world *w);
void hot_linux_changes_its_sizes(struct world *w);

/* call_cases.c */
void call_injects_an_nmi(struct world *w);
void call_writes_a_core(struct world *w);
void call_passes_on_what_others_say(struct world *w);
void call_linux_sees_the_nmi(struct world *w);

extern const struct contract_case contract_cases[];
extern const size_t n_contract_cases;
