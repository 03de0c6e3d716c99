/*
 * root.c: root=DEVICE on the kernel command line.
 *
 * Debian's kernel has its disk drivers as modules, so a system on a disk needs somebody to load
 * them first, which is what an initramfs is for. Ours does no more than that for such a guest: it
 * mounts the disk (ext4 is built into the kernel), moves the kernel's file systems over, and hands
 * process 1 to the system's own init. From there on readiness, the power button and all else are
 * that system's.
 */
#include "root.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define NEW_ROOT     "/newroot"
#define DEVICE_TRIES 100 /* of 50 ms: a disk that is not there by then never comes */

/* The driver was loaded, but finds its disks in its own time, and we are told nothing. */
static int wait_for(const char *device)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    struct stat st;

    for (int i = 0; i < DEVICE_TRIES; i++) {
        if (stat(device, &st) == 0 && S_ISBLK(st.st_mode))
            return 0;
        (void)nanosleep(&pause, NULL);
    }
    return -1;
}

static void move(struct guest_consoles *c, const char *from)
{
    char to[64];

    (void)snprintf(to, sizeof(to), NEW_ROOT "%s", from);
    if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
        guest_log(c, "%s: %s", to, strerror(errno));
}

void guest_root_switch(struct guest_consoles *c, const char *device)
{
    static const char *const kernels[] = {"/dev", "/proc", "/sys"};
    char init[] = "/sbin/init";
    char *const argv[] = {init, NULL};
    struct stat st;

    if (wait_for(device) < 0) {
        guest_log(c, "root=%s: no such disk", device);
        return;
    }
    if (guest_mount(c, device, NEW_ROOT, "ext4", 0, NULL) < 0)
        return;
    /* Often a link, whose target is one below the new root. */
    if (lstat(NEW_ROOT "/sbin/init", &st) < 0) {
        guest_log(c, "root=%s: no /sbin/init in it", device);
        (void)umount(NEW_ROOT);
        return;
    }
    guest_log(c, "root is %s", device);
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
        move(c, kernels[i]);
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return; /* nothing is left to say it on */
    (void)execv(init, argv);
}
