/*
 * For tests of the driver's effects: an API that says what the test wants, and what the driver
 * told.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../tests/contract/poll_loop.h"
#include "base/fd.h"
#include "base/file.h"
#include "driver/cloud_hypervisor/machine.h"

#define CREATED     "[\"Error from API\",\"The VM could not be created\",\"VM is already created\"]"
#define NOT_CREATED "[\"Error from API\",\"The VM info is not available\",\"VM is not created\"]"

struct twin {
    char dir[64];
    struct poll_loop loop;
    struct vivi_driver_host host;
    bool incoming; /* whom an adoption finds had not arrived yet */
    json_t *requests;
    struct ch_machine *m;
    int listen_fd, peer_fd, vsock_fd;
    /* told by the driver */
    unsigned n_api, n_created, n_done, n_reset, n_ending, n_state;
    uint64_t done_op, stamp;
    int done_fd;
    viv_error done_err;
    enum viv_state state;
    enum vivi_reason reason;
    char text[200];
    uint64_t token; /* of the drain asked for */
    int given;      /* what host.fd gives; −1: nothing */
    char asked[64]; /* and the name that it was asked for */
    int got_fd;     /* came with the last request; −1: none */
};

int twin_setup(void **state);
int twin_teardown(void **state); /* fails when something is still registered with the loop */
#define in_twin(f) cmocka_unit_test_setup_teardown(f, twin_setup, twin_teardown)

void twin_run(struct twin *t);
/* The next request must be this one; returns its body. */
const char *twin_expect_request(struct twin *t, const char *line);
void twin_expect_no_request(struct twin *t);
void twin_say(struct twin *t, const char *text, size_t len);
size_t twin_format_answer(char *to, size_t size, int status, const char *body);
void twin_answer(struct twin *t, int status, const char *body);
/* start or adopt, up to the answer of vmm.ping. */
void twin_begin(struct twin *t, bool adopt);
void twin_start(struct twin *t); /* up to the end of the boot */
/* An event of the VMM: the number of its bytes that were not consumed. */
size_t twin_event(struct twin *t, unsigned secs, const char *source, const char *name);
void twin_log_line(struct twin *t, const char *line);
