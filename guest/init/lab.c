/*
 * lab.c: the KVM lab.
 *
 * The host's root comes in by virtiofs and is mounted read-only; an overlay in memory takes all
 * writes, so a test may do what it likes as root and the host never notices. What must come out
 * travels over extra virtiofs mounts (viv.lab_mount=) or over the console. One command runs; its
 * status is the result: 128 + n for a signal, 127 if it could not be started.
 */
#include "lab.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"
#include "system.h"

#define LAB_TAG     "vivlab"
#define LAB_ROOT    "/lab/root"
#define DRAIN_MS    10000
#define NOT_STARTED 127

static int mount_root(struct guest_consoles *c)
{
    if (guest_mount(c, LAB_TAG, "/lab/host", "virtiofs", MS_RDONLY, NULL) < 0 ||
        guest_mount(c, "tmpfs", "/lab/rw", "tmpfs", 0, "mode=0755,size=75%") < 0)
        return -1;
    (void)mkdir("/lab/rw/upper", 0755);
    (void)mkdir("/lab/rw/work", 0755);
    return guest_mount(c, "overlay", LAB_ROOT, "overlay", 0,
                       "lowerdir=/lab/host,upperdir=/lab/rw/upper,workdir=/lab/rw/work");
}

/* What a booted system has below its root and virtiofs does not show. */
static void mount_inside(struct guest_consoles *c, const struct guest_options *o)
{
    static const char *const kernels[] = {"/dev", "/proc", "/sys"};
    char path[200];

    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        (void)snprintf(path, sizeof(path), LAB_ROOT "%s", kernels[i]);
        (void)guest_mount(c, kernels[i], path, NULL, MS_BIND | MS_REC, NULL);
    }
    (void)guest_mount(c, "tmpfs", LAB_ROOT "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
    (void)guest_mount(c, "cgroup2", LAB_ROOT "/sys/fs/cgroup", "cgroup2", 0, NULL);
    for (size_t i = 0; i < o->mounts_n; i++) {
        (void)snprintf(path, sizeof(path), LAB_ROOT "%s", o->mounts[i].path);
        (void)guest_mount(c, o->mounts[i].tag, path, "virtiofs", 0, NULL);
    }
}

static pid_t start_command(const char *tty, const char *command)
{
    static const char *const env[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "TERM=dumb",
        "LANG=C.UTF-8",
        "VIV_LAB=1",
        NULL,
    };
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    char path[32];
    struct guest_session session = {.argv = argv, .env = env, .tty = path, .root = LAB_ROOT};

    (void)snprintf(path, sizeof(path), "/dev/%s", tty);
    return guest_session_start(&session);
}

/* Process 1 reaps whatever the command leaves behind, but only the command's end counts. */
static int wait_for(pid_t pid)
{
    int status = 0;
    pid_t got;

    do {
        got = waitpid(-1, &status, 0);
    } while (got != pid && (got > 0 || errno == EINTR));
    if (got != pid)
        return NOT_STARTED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : NOT_STARTED;
}

void guest_lab_run(struct guest_consoles *c, const struct guest_options *o)
{
    const struct guest_ip no_net = {.off = true};
    struct guest_nics nics;
    char text[48];
    int code = NOT_STARTED;
    pid_t pid;

    (void)sethostname("lab", 3);
    guest_load_by_name(c, "/etc/modules.index", o->modules);
    guest_nics_find(&nics);
    guest_net_begin(c, &nics, nics.n > 0 ? &o->ip : &no_net);
    if (mount_root(c) == 0) {
        mount_inside(c, o);
        guest_log(c, "lab: running %s", o->lab);
        guest_consoles_drain(c, DRAIN_MS, DRAIN_MS);
        pid = start_command(guest_consoles_primary(c), o->lab);
        code = pid > 0 ? wait_for(pid) : NOT_STARTED;
    }
    (void)kill(-1, SIGKILL);
    sync();
    guest_consoles_mute_kernel(true);
    (void)snprintf(text, sizeof(text), "\nVIV_LAB_EXIT %d\n", code);
    guest_consoles_say(c, text);
    guest_consoles_drain(c, DRAIN_MS, DRAIN_MS);
}
