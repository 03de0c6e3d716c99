/* The capability rows with the reasons why a platform can never have one; sets of rows. */
#include "model/caps.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"

static_assert(VIVI_CAP_COUNT_ <= 64 * VIVI_CAPS_WORDS, "struct vivi_caps has a bit for every row");

#define CLI_NONE   "a mode of Cloud Hypervisor only"
#define VZ_MISSING "Virtualization.framework has no such interface"
#define MACOS_ONLY "an Apple technology: only with Virtualization.framework on macOS"

const struct vivi_cap_row vivi_cap_rows[VIVI_CAP_COUNT_] = {
#define VIVI_X(e, w, k, t) [VIVI_CAP_##e] = {.word = (w), .kind = VIVI_CAP_##k, .text = (t)},
    VIVI_CAPS(VIVI_X)
#undef VIVI_X

        /* Rows that stand nowhere below: every platform has them, or is going to. */
        [VIVI_CAP_CLI_MODE]
            .vz_none = CLI_NONE,
    [VIVI_CAP_CLI_MODE].qemu_none = CLI_NONE,
    [VIVI_CAP_CPU_HOTPLUG].vz_none = VZ_MISSING,
    [VIVI_CAP_CPU_TOPOLOGY].vz_none = VZ_MISSING,
    [VIVI_CAP_CPU_AFFINITY].vz_none = "macOS lets nobody bind a thread to a CPU",
    [VIVI_CAP_BALLOON_RECLAIM].vz_none = "Virtualization.framework keeps what the balloon took",
    [VIVI_CAP_MEMORY_HOTPLUG].vz_none = VZ_MISSING,
    [VIVI_CAP_HUGEPAGES].vz_none = "macOS has no pool of huge pages",
    [VIVI_CAP_NUMA].vz_none = VZ_MISSING,
    [VIVI_CAP_DISK_LIMIT].vz_none = VZ_MISSING,
    [VIVI_CAP_NET_TAP].vz_none = "macOS has no TAP devices",
    [VIVI_CAP_NET_HOTPLUG].vz_none = VZ_MISSING,
    [VIVI_CAP_NET_VHOST_USER].vz_none = VZ_MISSING,
    [VIVI_CAP_MIGRATE].vz_none = VZ_MISSING,
    [VIVI_CAP_UPGRADE].vz_none = VZ_MISSING,
    [VIVI_CAP_UPGRADE].qemu_none =
        "a QEMU process cannot hand its guest to another on the same sockets and devices",
    [VIVI_CAP_COUNTERS].vz_none = VZ_MISSING,
    [VIVI_CAP_VFIO].vz_none = VZ_MISSING,
    [VIVI_CAP_VDPA].vz_none = VZ_MISSING,
    [VIVI_CAP_PMEM].vz_none = VZ_MISSING,
    [VIVI_CAP_TPM].vz_none = "Apple's SDK has no TPM class",
    [VIVI_CAP_WATCHDOG].vz_none = VZ_MISSING,
    [VIVI_CAP_CRASH_NOTICE].vz_none = VZ_MISSING,
    [VIVI_CAP_NMI].vz_none = VZ_MISSING,
    [VIVI_CAP_COREDUMP].vz_none = VZ_MISSING,
    [VIVI_CAP_ROSETTA].ch_none = MACOS_ONLY,
    [VIVI_CAP_ROSETTA].qemu_none = MACOS_ONLY,
    [VIVI_CAP_MACOS_GUEST].ch_none = MACOS_ONLY,
    [VIVI_CAP_MACOS_GUEST].qemu_none = MACOS_ONLY,
    [VIVI_CAP_GRAPHICS].ch_none = "Cloud Hypervisor has no display, input or sound devices",
    [VIVI_CAP_GRAPHICS].qemu_none =
        "left to Virtualization.framework: VMs are driven by console and network here",
    [VIVI_CAP_USB].ch_none = "Cloud Hypervisor has no USB controller",
};

bool vivi_caps_has(const struct vivi_caps *c, enum vivi_cap cap)
{
    unsigned i = (unsigned)cap;

    return i < VIVI_CAP_COUNT_ && (c->bits[i / 64] >> (i % 64) & 1) != 0;
}

void vivi_caps_set(struct vivi_caps *c, enum vivi_cap cap, bool on)
{
    unsigned i = (unsigned)cap;
    uint64_t bit = UINT64_C(1) << (i % 64);

    if (i >= VIVI_CAP_COUNT_)
        return;
    if (on)
        c->bits[i / 64] |= bit;
    else
        c->bits[i / 64] &= ~bit;
}

int vivi_cap_parse(const char *word, enum vivi_cap *ret)
{
    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++)
        if (strcmp(vivi_cap_rows[i].word, word) == 0) {
            *ret = (enum vivi_cap)i;
            return 0;
        }
    return -VIV_E_INVALID;
}
