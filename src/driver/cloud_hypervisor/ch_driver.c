/* The Cloud Hypervisor driver, pure part: its table. */
#include "driver/capset.h"
#include "driver/cloud_hypervisor/ch.h"

/* clang-format off */
#define CH_CAPS(X)                                                                                 \
    X(BOOT_KERNEL) X(POWER_BUTTON) X(KILL) X(AGENT) X(STATE) X(RESET) X(DELETE) X(CHANGE) X(PAUSE) X(CPUS)   \
    X(MEMORY) X(DISKS) X(NET_TAP) X(NET_MAC) X(SERIAL_FILE) X(CONSOLE) X(READY_MARKER) X(RNG)      \
    X(ADOPT) X(SNAPSHOT) X(MIGRATE) X(UPGRADE) X(RESTART) X(CRASH_NOTICE) X(DISK_HOTPLUG) X(NET_HOTPLUG)        \
    X(DISK_RESIZE) X(COUNTERS) X(BOOT_FIRMWARE) X(CPU_TOPOLOGY) X(CPU_AFFINITY) X(HUGEPAGES)       \
    X(DISK_CACHE) X(DISK_LIMIT) X(IMAGE_FORMATS) X(NET_VHOST_USER) X(NET_TUNING) X(SHARE) X(VFIO)  \
    X(VDPA) X(PMEM) X(VSOCK) X(TPM) X(WATCHDOG) X(CPU_HOTPLUG) X(MEMORY_HOTPLUG) X(BALLOON)         \
    X(BALLOON_RECLAIM) X(NUMA) X(NESTED) X(NMI) X(COREDUMP) X(CLI_MODE)
#define CH_WITHOUT_API(X) X(KILL) X(AGENT) X(STATE) X(ADOPT)
/* clang-format on */

/* Of the slots only these need no API. */
static void ch_narrow(const struct vivi_config *c, struct vivi_caps *caps)
{
    static const struct vivi_caps without = VIVI_CAPSET(CH_WITHOUT_API);

    for (int i = 0; c->ch_mode == VIVI_CH_CLI && i < VIVI_CAP_COUNT_; i++)
        if (vivi_cap_rows[i].kind == VIVI_CAP_SLOT && !vivi_caps_has(&without, (enum vivi_cap)i))
            vivi_caps_set(caps, (enum vivi_cap)i, false);
}

const struct vivi_driver vivi_driver_cloud_hypervisor = {
    .name = "cloud-hypervisor",
    .kind = VIVI_DRIVER_CLOUD_HYPERVISOR,
    .machine = CH_MACHINE,
    .caps = VIVI_CAPSET(CH_CAPS),
    .probe = ch_probe,
    .needs = ch_needs,
    .check = ch_check,
    .plan = ch_plan,
    .narrow = ch_narrow,
    .may_move = ch_may_move,
};
