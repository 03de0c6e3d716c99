/* What spawn_linux.c needs of proc_linux.c: usable between clone(2) and exec (no allocation, no
 * lock). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct vivi_proc_stat {
    char state;          /* 'Z' = zombie */
    uint64_t start_time; /* as in struct vivi_proc_id */
};

int vivi_proc_stat(pid_t pid, struct vivi_proc_stat *ret); /* 0 or -errno; also for zombies */
