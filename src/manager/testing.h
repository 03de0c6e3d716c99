/*
 * For tests of this folder: a state root of its own, VMs made from one line of YAML, and a
 * monitor's double: a process that holds a VM's lock, listens at its control socket and plays a
 * script.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "manager/manager.h"

#define DEADLINE_MS 10000

struct fixture {
    char dir[64];
    viv *v;
    int fds_before;
    pid_t doubles[128];
    size_t n_doubles;
};

int fixture_open(void **state);
/* Ends the doubles, removes the root, fails when a descriptor leaked. */
int fixture_close(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

viv_config *some_config(const char *yaml);
/* A VM of the fake driver with that name; the caller frees. */
viv_vm *some_vm(struct fixture *f, const char *name);
struct vivi_vmdir some_dir(struct fixture *f, const char *name);
/* Options from "wait=ready timeout_ms=500 force=true". */
viv_opts *some_opts(const char *text);

/* What a double does with each request it gets. */
struct double_how {
    unsigned protocol;      /* in its greeting; 0: ours */
    const char *result;     /* JSON; NULL: no answer at all */
    const char *error;      /* JSON of an error; instead of result */
    const char *note;       /* JSON object, told first */
    unsigned drops;         /* so many connections are closed when the request came */
    bool drop_before_hello; /* those connections are closed before the greeting */
    const char *rubbish;    /* sent instead of a greeting */
    bool with_fd;           /* the result carries the read end of a pipe that holds "hi" */
    int fd;                 /* > 0: the result carries this one */
    bool removes;           /* the VM is removed when a request comes, and the connection closed */
    unsigned ignores;       /* requests are not answered; after so many the next one is */
};
void double_start(struct fixture *f, const char *name, const struct double_how *how);
/* The requests that it got so far, one JSON object a line; the caller frees. */
char *double_seen(struct fixture *f, const char *name);
/* Waits until it got n requests. */
void double_wait(struct fixture *f, const char *name, unsigned n);

int64_t now_ms(void);
