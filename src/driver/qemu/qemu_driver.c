/* The qemu driver, pure part: its table. */
#include "driver/qemu/qemu.h"

#include <string.h>

#include "driver/capset.h"

/* clang-format off */
#define QEMU_CAPS(X)                                                                               \
    X(BOOT_KERNEL) X(POWER_BUTTON) X(KILL) X(STATE) X(RESET) X(DELETE) X(CHANGE) X(PAUSE) X(CPUS) X(MEMORY)  \
    X(DISKS) X(NET_NAT) X(NET_MAC) X(NET_FORWARD) X(SERIAL_FILE) X(CONSOLE) X(READY_MARKER)        \
    X(RNG) X(AGENT) X(ADOPT) X(RESTART) X(CRASH_NOTICE) X(DISK_HOTPLUG) X(NET_HOTPLUG) X(CPU_HOTPLUG)   \
    X(MEMORY_HOTPLUG) X(BALLOON) X(BALLOON_RECLAIM) X(DISK_RESIZE) X(COUNTERS) \
    X(NMI) X(COREDUMP)
/* clang-format on */

const char *qemu_machine(const char *configured)
{
    if (!configured || strcmp(configured, "auto") == 0 || strcmp(configured, "q35") == 0)
        return "q35";
    if (strncmp(configured, "pc-q35-", 7) == 0 &&
        configured[7 + strspn(configured + 7, "0123456789.")] == '\0')
        return configured;
    return NULL;
}

const struct vivi_driver vivi_driver_qemu = {
    .name = "qemu",
    .kind = VIVI_DRIVER_QEMU,
    .machine = "q35",
    .caps = VIVI_CAPSET(QEMU_CAPS),
    .probe = qemu_probe,
    .check = qemu_check,
    .plan = qemu_plan,
};
