/*
 * Process identity: pid + start time (clock ticks since boot, /proc/<pid>/stat field 22) + host
 * boot id. A zombie is dead.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define VIVI_BOOT_ID_SIZE 37

struct vivi_proc_id {
    pid_t pid;           /* 0: no process */
    uint64_t start_time; /* never 0 for a real one */
};

/* NOT_FOUND: none, or a zombie. */
int vivi_proc_identify(pid_t pid, struct vivi_proc_id *ret, viv_error *err);
void vivi_proc_self(struct vivi_proc_id *ret);
bool vivi_proc_alive(const struct vivi_proc_id *id); /* same start time and not a zombie */

/*
 * A descriptor that stays with exactly this process: opened, then identity checked again. NOT_FOUND
 * when it is gone. Readable (poll) once the process has ended.
 */
int vivi_proc_open(const struct vivi_proc_id *id, int *ret_pidfd, viv_error *err);
int vivi_proc_signal(int pidfd, int sig, viv_error *err); /* 0 also if it just ended */

/*
 * A duplicate of another process's descriptor, close-on-exec: what a holder that died had lent it.
 * Errors: DENIED (ptrace is not allowed), NOT_FOUND (no such process or descriptor), UNSUPPORTED.
 */
int vivi_proc_take_fd(int pidfd, int number, int *ret_fd, viv_error *err);

/*
 * Exit status of a process that was not our child. 1 known (*ret as waitpid's), 0 not yet (it must
 * have been reaped by its parent), −VIV_E_UNSUPPORTED never (Linux before 6.15).
 */
int vivi_proc_exit_status(int pidfd, int *ret_wstatus);

/*
 * When the host is out of memory, pid goes before this process does. A privilege is not needed;
 * what cannot be set stays as it is.
 */
void vivi_proc_goes_first(pid_t pid);

/* Absolute path of this process's executable; after an upgrade that of the new one. */
int vivi_proc_exe(char *ret, size_t cap, viv_error *err);

/*
 * This host's boot (random boot_id) and the pid namespace's inode: a recorded pid means nothing
 * under others.
 */
int vivi_host_boot_id(char ret[VIVI_BOOT_ID_SIZE], viv_error *err);
int vivi_pid_namespace(uint64_t *ret, viv_error *err);

/* The process's control group, as in "/user.slice/…/x.scope". NOT_FOUND: no such process;
 * UNSUPPORTED: none on this host. */
int vivi_proc_cgroup(pid_t pid, char *ret, size_t size, viv_error *err);

/* What a process has used so far. */
struct vivi_proc_usage {
    uint64_t cpu_ms;    /* of all CPUs, in user and kernel */
    uint64_t rss_bytes; /* of its memory that is in the host's */
};
int vivi_proc_usage(pid_t pid, struct vivi_proc_usage *ret, viv_error *err); /* NOT_FOUND */

/* Private memory in KiB (Private_Clean + Private_Dirty of smaps_rollup); for bench and doctor. */
int vivi_proc_private_kib(pid_t pid, uint64_t *ret, viv_error *err);
