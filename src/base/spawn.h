/*
 * Starting processes. Two kinds:
 *  - vivi_spawn_detached: from a program that links the library. The new process is not its child;
 *    no SIGCHLD reaches the caller and its own waitpid(-1) sees nothing.
 *  - vivi_spawn_gated: a direct child that runs its program only once it was allowed to.
 * Both give the process its own session, an exact descriptor map, default signals, an empty mask.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/proc.h"

#define VIVI_SPAWN_MAX_MAP 128

struct vivi_fd_map {
    int fd;       /* ours, borrowed */
    int child_fd; /* its number in the child, 0-1000; each at most once */
};

struct vivi_spawn {
    const char *path;              /* executable, absolute */
    char *const *argv;             /* NULL-terminated */
    char *const *envp;             /* NULL-terminated; NULL = the caller's environment */
    const char *cwd;               /* NULL = "/" */
    size_t n_map;                  /* at most VIVI_SPAWN_MAX_MAP */
    const struct vivi_fd_map *map; /* all the child gets; 0-2 not named are /dev/null */
};

/*
 * Returns once the program has exec'ed, with its identity (also if it has ended already), or with
 * the errno of the step that failed as the error. Only the calling thread waits, with its signals
 * blocked. A caller that is a child subreaper inherits the process when its intermediate ends.
 */
int vivi_spawn_detached(const struct vivi_spawn *s, struct vivi_proc_id *ret, viv_error *err);

/*
 * Forks a direct child (of a keeper) that holds before exec until gate_fd (returned, write end)
 * gets one byte; end-of-file makes it exit(127) without exec. exec_fd (returned, read end,
 * close-on-exec in the child) delivers an int errno if exec failed, end-of-file if it worked.
 * close_fds: descriptors the child must close before it waits (lock, sockets).
 */
struct vivi_gated {
    pid_t pid;
    int gate_fd, exec_fd;
};
int vivi_spawn_gated(const struct vivi_spawn *s, const int *close_fds, size_t n_close,
                     struct vivi_gated *ret, viv_error *err);
