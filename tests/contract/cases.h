/* The contract's cases: one list, run against every driver. */
#pragma once

#include "world.h"

struct contract_case {
    const char *name;   /* a sentence */
    int cap;            /* the capability row it proves, −1 = part of the contract itself */
    const char *script; /* not NULL: needs a VMM that can be told how to misbehave (the fake) */
    void (*run)(struct world *w);
    const char *cmdline; /* not NULL: needs a VMM that runs Linux, and the demo image */
};

extern const struct contract_case contract_cases[];
extern const size_t n_contract_cases;
