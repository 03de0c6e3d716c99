/*
 * The rig of the keeper's tests: a VM's directory, a real viv-keeper on it, and the test in the
 * place of the monitor (through the puppet, puppet_test.h). All waiting ends at TEST_DEADLINE_MS.
 */
#pragma once

#include <stdbool.h>

#include "base/frame.h"
#include "base/proc.h"
#include "base/testing.h"
#include "keeper/protocol.h"
#include "keeper/puppet_test.h"

#define RIG_MAX_FIELDS 8

struct rig {
    struct test_dir *dir;
    char vm[192], run[192], monitor[192]; /* monitor: a link to the puppet that a test may remove */
    int vm_fd, listener;
    pid_t keeper;     /* our child; 0 = none */
    char status[256]; /* what it said about its start */
    int puppet;       /* connection to the puppet; −1 = none */
    pid_t puppet_pid;
    char puppet_fds[4096]; /* its VIV_FDS */
    int link;              /* the monitor's end of the socket to the keeper */
    struct vivi_frames in;
    char payload[2048]; /* of the message waited for last */
    const char *fields[RIG_MAX_FIELDS];
    int n_fields;
    uint64_t grew; /* last size told by GREW */
    unsigned n_grew, n_messages;
};

int rig_setup(void **state);
int rig_teardown(
    void **state); /* fails when a process is left that cannot be ended, or a descriptor */

#define test_in_rig(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

void rig_programs(void); /* main() first: keeper and puppet stand beside the test */

/* Starts a keeper as a client does; its status line is in r->status. */
void rig_start(struct rig *r);
void rig_start_ok(struct rig *r); /* and it says ok, and the puppet calls */
void rig_meet(struct rig *r); /* waits for the next puppet; its descriptors replace the old ones */
int rig_keeper_ended(struct rig *r); /* waits for our keeper's end: its wait status */
void rig_kill(pid_t pid, int sig);   /* and waits until it is gone, when SIGKILL */
void rig_puppet(struct rig *r, enum puppet_op op, const char *text, int fd);

void rig_send(struct rig *r, enum vivi_keeper_op op, int fd, const char *fields); /* "a|b|" */
/* Waits for a message; GREW is counted on the way, others are skipped. */
void rig_wait(struct rig *r, enum vivi_keeper_op op);
bool rig_quiet(struct rig *r, int ms); /* nothing comes within that time */
uint64_t rig_drain(struct rig *r, const char *name);
/* Spawns /bin/sh -c script in role vmm and waits for SPAWNED. map: "1=out|". */
struct vivi_proc_id rig_spawn(struct rig *r, const char *run, const char *script, const char *map);
void rig_expect_exit(struct rig *r, const struct vivi_proc_id *id, const char *status);
/* A FIFO as the serial stream "serial.out" -> serial.log, and its write end as "serial.in". */
void rig_serial(struct rig *r, const char *limit);
char *rig_file(struct rig *r, const char *name); /* contents; the caller frees */
bool rig_has_line(struct rig *r, const char *name, const char *part);
void rig_wait_gone(const struct vivi_proc_id *id);
char *rig_proc_text(pid_t pid, const char *name); /* of /proc/<pid>; the caller frees */
