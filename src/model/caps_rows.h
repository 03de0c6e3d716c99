/*
 * The capability rows, once: X(ENUM, "stable-word", KIND, "what it is"). The order is the order of
 * reports; words are part of the JSON surface and never change. Reasons why a platform can never
 * have a row stand in caps.c.
 *
 * KIND: SLOT rows are set exactly when a driver fills that slot of its table; FIELD rows are
 * decided by the driver's check of a configuration; SERVICE rows by the host and our own services.
 */
#pragma once

/* clang-format off */
#define VIVI_CAPS(X)                                                                               \
    X(BOOT_KERNEL,     "boot-kernel",     FIELD,   "boot: kernel + initramfs + root disk")         \
    X(CLI_MODE,        "cli-mode",        FIELD,   "boot without an API")                          \
    X(BOOT_FIRMWARE,   "boot-firmware",   FIELD,   "boot: UEFI / firmware")                        \
    X(POWER_BUTTON,    "power-button",    SLOT,    "stop, graceful")                               \
    X(KILL,            "kill",            SLOT,    "kill")                                         \
    X(AGENT,           "agent",           SLOT,    "run a command in the guest")                   \
    X(STATE,           "state",           SLOT,    "state; wait for state, ready, exit")           \
    X(RESET,           "reset",           SLOT,    "reboot")                                       \
    X(DELETE,          "delete",          SERVICE, "delete / clean-up")                            \
    X(PAUSE,           "pause",           SLOT,    "pause / resume")                               \
    X(CPUS,            "cpus",            FIELD,   "vCPU count, max")                              \
    X(CPU_HOTPLUG,     "cpu-hotplug",     SLOT,    "vCPU hotplug, both ways")                      \
    X(CPU_TOPOLOGY,    "cpu-topology",    FIELD,   "CPU topology")                                 \
    X(CPU_AFFINITY,    "cpu-affinity",    FIELD,   "CPU affinity")                                 \
    X(MEMORY,          "memory",          FIELD,   "memory size")                                  \
    X(BALLOON,         "balloon",         SLOT,    "balloon: target")                              \
    X(BALLOON_RECLAIM, "balloon-reclaim", FIELD,   "balloon: host gets memory back")               \
    X(MEMORY_HOTPLUG,  "memory-hotplug",  SLOT,    "memory hotplug")                               \
    X(HUGEPAGES,       "hugepages",       FIELD,   "hugepages 2 MiB / 1 GiB")                      \
    X(NUMA,            "numa",            FIELD,   "NUMA zones, pinning")                          \
    X(DISKS,           "disks",           FIELD,   "root / data disk, several")                    \
    X(SEED,            "seed",            SERVICE, "seed ISO (cloud-init NoCloud)")                \
    X(DISK_HOTPLUG,    "disk-hotplug",    SLOT,    "disk hotplug / unplug")                        \
    X(DISK_RESIZE,     "disk-resize",     SLOT,    "disk resize, live and stopped")                \
    X(CLONE,           "clone",           SERVICE, "CoW clone (reflink / clonefile)")              \
    X(DISK_CACHE,      "disk-cache",      FIELD,   "disk cache modes")                             \
    X(DISK_LIMIT,      "disk-limit",      FIELD,   "disk rate limit")                              \
    X(IMAGE_FORMATS,   "image-formats",   FIELD,   "image formats raw, qcow2")                     \
    X(NET_NAT,         "net-nat",         FIELD,   "net: NAT without root")                        \
    X(NET_TAP,         "net-tap",         FIELD,   "net: TAP")                                     \
    X(NET_BRIDGE,      "net-bridge",      FIELD,   "net: bridge")                                  \
    X(NET_SWITCH,      "net-switch",      SERVICE, "net: userspace L2 switch")                     \
    X(NET_MAC,         "net-mac",         FIELD,   "net: custom, stable MAC")                      \
    X(NET_HOTPLUG,     "net-hotplug",     SLOT,    "net hotplug")                                  \
    X(NET_VHOST_USER,  "net-vhost-user",  FIELD,   "net: vhost-user")                              \
    X(NET_FORWARD,     "net-forward",     FIELD,   "net: port forward TCP/UDP")                    \
    X(NET_TUNING,      "net-tuning",      FIELD,   "net: rate limit, multi-queue, MTU, offloads")  \
    X(SHARE,           "share",           FIELD,   "VirtioFS share, several")                      \
    X(SHARE_READONLY,  "share-readonly",  FIELD,   "read-only share")                              \
    X(SERIAL_FILE,     "serial-file",     FIELD,   "serial to file")                               \
    X(CONSOLE,         "console",         SERVICE, "interactive console")                          \
    X(READY_MARKER,    "ready-marker",    SERVICE, "readiness marker")                             \
    X(RNG,             "rng",             FIELD,   "virtio RNG")                                   \
    X(SNAPSHOT,        "snapshot",        SLOT,    "snapshot / restore")                           \
    X(FORK,            "fork",            SLOT,    "fork (clone a running VM)")                    \
    X(MIGRATE,         "migrate",         SLOT,    "live migration")                               \
    X(UPGRADE,         "upgrade",         SLOT,    "VMM upgrade in place")                         \
    X(CHANGE,          "change",          SERVICE, "change a VM: apply, set, edit")                \
    X(ADOPT,           "adopt",           SLOT,    "outlives its monitor, its keeper, a logout")   \
    X(RESTART,         "restart",         SERVICE, "restart policy, autostart")                    \
    X(COUNTERS,        "counters",        SLOT,    "counters / metrics")                           \
    X(VFIO,            "vfio",            FIELD,   "VFIO, vfio-user")                              \
    X(VDPA,            "vdpa",            FIELD,   "vDPA")                                         \
    X(PMEM,            "pmem",            FIELD,   "pmem")                                         \
    X(VSOCK,           "vsock",           FIELD,   "vsock, both directions")                       \
    X(TPM,             "tpm",             FIELD,   "TPM 2.0")                                      \
    X(WATCHDOG,        "watchdog",        FIELD,   "watchdog")                                     \
    X(CRASH_NOTICE,    "crash-notice",    FIELD,   "pvpanic / crash notice")                       \
    X(NMI,             "nmi",             SLOT,    "nmi")                                          \
    X(COREDUMP,        "coredump",        SLOT,    "coredump")                                     \
    X(ROSETTA,         "rosetta",         FIELD,   "Rosetta")                                      \
    X(MACOS_GUEST,     "macos-guest",     FIELD,   "macOS guest boot")                             \
    X(NESTED,          "nested",          FIELD,   "nested virtualisation switch")                 \
    X(GRAPHICS,        "graphics",        FIELD,   "graphics, input, audio")                       \
    X(USB,             "usb",             FIELD,   "USB controller, mass storage")
/* clang-format on */
