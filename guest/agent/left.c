/*
 * left.c: what an agent that was killed left running.
 *
 * Children die with the agent (PR_SET_PDEATHSIG), but not their children. So the sessions that were
 * begun stand in a small file in memory; the next agent ends what is left of them. A session's
 * number is not given to another process as long as anybody is in it; that it is not by chance the
 * session of somebody else who came later is seen by when its leader began.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "procs.h"

#define SLACK_MS 2000

struct record {
    uint64_t began_ms; /* since boot */
    uint64_t leader;   /* 0 = free */
};

static bool path_of(const struct agent *a, const char *name, char ret[256])
{
    int n = snprintf(ret, 256, "%s/%s", a->options->state_dir, name);

    return n > 0 && n < 256;
}

static bool somebody_else(const struct record *r)
{
    uint64_t began_ms;

    if (!procs_began((pid_t)r->leader, &began_ms))
        return false; /* the leader is gone, its children may be there */
    return began_ms > r->began_ms + SLACK_MS || began_ms + SLACK_MS < r->began_ms;
}

void left_open(struct agent *a)
{
    struct record r;
    char path[256];

    a->left_fd = -1;
    (void)mkdir(a->options->state_dir, 0700);
    if (!path_of(a, "sessions", path))
        return;
    a->left_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    for (off_t at = 0; a->left_fd >= 0 && pread(a->left_fd, &r, sizeof(r), at) == sizeof(r);
         at += (off_t)sizeof(r)) {
        if (r.leader > 1 && r.leader <= INT32_MAX && !somebody_else(&r))
            procs_kill_session((pid_t)r.leader, SIGKILL);
    }
    if (a->left_fd >= 0)
        (void)!ftruncate(a->left_fd, 0);
}

static void write_slot(const struct agent *a, size_t slot, const struct record *r)
{
    if (a->left_fd >= 0)
        (void)!pwrite(a->left_fd, r, sizeof(*r), (off_t)(slot * sizeof(*r)));
}

size_t left_add(struct agent *a, pid_t leader)
{
    const struct record r = {.began_ms = loop_now_ms(), .leader = (uint64_t)leader};
    size_t slot = 0;

    while (slot < VIVI_AW_STREAMS_MAX - 1 && a->left_used[slot])
        slot++;
    a->left_used[slot] = true;
    write_slot(a, slot, &r);
    return slot;
}

void left_remove(struct agent *a, size_t slot)
{
    const struct record r = {0};

    a->left_used[slot] = false;
    write_slot(a, slot, &r);
}

/* ---- that file systems are frozen -------------------------------------------------------------
 */

bool left_frozen(const struct agent *a)
{
    char path[256];

    return path_of(a, "frozen", path) && access(path, F_OK) == 0;
}

int left_set_frozen(const char *state_dir, bool frozen)
{
    char path[256];
    int fd, n = snprintf(path, sizeof(path), "%s/frozen", state_dir);

    if (n < 0 || n >= (int)sizeof(path))
        return -ENAMETOOLONG;
    if (!frozen)
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    vivi_close(&fd);
    return 0;
}
