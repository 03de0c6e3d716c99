/* The Cloud Hypervisor driver's two tables, for the registries, and what its files share. */
#pragma once

#include "driver/cloud_hypervisor/dirs_linux.h"
#include "driver/driver.h"

extern const struct vivi_driver vivi_driver_cloud_hypervisor;
extern const struct vivi_driver_effects vivi_effects_cloud_hypervisor;
extern const struct vivi_driver_effects vivi_effects_ch_cli; /* without an API */

#define CH_NEEDS_API       "it needs API mode (cloud_hypervisor.mode: api)"
#define CH_VARIABLE        "VIV_CLOUD_HYPERVISOR"
#define CH_MACHINE         "ch" /* it has one type only, and no name for it */
#define CH_MIN_MAJOR       46
#define CH_ASYNC_MAJOR     53 /* the first release whose migrations are answered at once */
#define CH_MAX_DISKS       16
#define CH_MAX_NETS        8
#define CH_MAX_CPUS        255
#define CH_SECTOR_BYTES    512
#define CH_ACPI_PIECE      (UINT64_C(128) << 20) /* in which memory comes by ACPI */
#define CH_VIRTIO_PIECE    (UINT64_C(2) << 20)   /* and by virtio-mem */
#define CH_SERIAL_ID_BYTES 20 /* of a virtio block device, as the guest sees it */
#define CH_LANDLOCK_ABI    3  /* what it asks of the kernel, or refuses to begin */
#define CH_DEFAULT_CMDLINE "console=ttyS0"
#define CH_GUEST_CID       3 /* vsock is served by the VMM itself: the same number for every VM */
#define CH_AGENT_PORT      1024 /* vsock port of the guest agent */

/* What stands before our ids in the VMM's: its names are one for all kinds of devices. */
#define CH_ID_DISK       "disk-"
#define CH_ID_NET        "net-"
#define CH_ID_SHARE      "share-"
#define CH_ID_PMEM       "pmem-"
#define CH_ID_VDPA       "vdpa-"
#define CH_ID_VFIO       "vfio-"
#define CH_ID_USER       "user-"
#define CH_ID_ZONE       "zone-"
#define CH_ID_LIMIT      "limit-"
#define CH_ID_VHOST_USER "vhost-user-"
#define CH_ID_VSOCK      "vsock" /* the one that there can be */
#define CH_ID_BYTES      80

/* What it opens for NICs and for devices of the host. */
#define CH_TUN         "/dev/net/tun"
#define CH_SYS_NET     "/sys/devices/virtual/net"
#define CH_VFIO        "/dev/vfio"
#define CH_SYS_DEVICES "/sys/devices"

/* Names of ports, in the run directory. */
#define CH_PORT_API    "api"
#define CH_PORT_SERIAL "serial.out"
#define CH_PORT_EVENTS "events.out"
#define CH_PORT_LOG    "stderr.out" /* the plan's, of every VMM */
#define CH_PORT_VSOCK  "vsock"
#define CH_PORT_MOVE   "migration"
#define CH_ON_DEMAND   "OnDemand" /* a value of memory_restore_mode */

/* Bits of vivi_probe.features: what the binary was built with. */
#define CH_HAS_KVM         1u
#define CH_HAS_GUEST_DEBUG 2u

/* A release as git describe names it: "53.0", "53.0-dirty", "53.0-246-gae44c2971". */
struct ch_version {
    unsigned major, minor;
    bool ahead; /* commits after that release */
};
/* false: no version. */
bool ch_version_parse(const char *text, struct ch_version *ret);
/* Whether it is that release or a later one. */
bool ch_version_since(const struct ch_version *v, unsigned major, unsigned minor);

/*
 * What `-V -v` prints: the version without its "v" and the features (CH_HAS_…). A binary that names
 * none is taken to have KVM. false: not Cloud Hypervisor.
 */
bool ch_parse_about(const char *text, char ret_version[64], uint32_t *ret_features);

int ch_probe(const char *cache_dir, const char *exe, enum vivi_accel wanted, struct vivi_probe *ret,
             viv_error *err);
const char *ch_needs(enum vivi_cap cap);
int ch_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret);
int ch_plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err);

int ch_may_move(const struct vivi_config *c, const char *version, const struct vivi_migration *to,
                viv_error *err);

/* "0=2-3,5": which virtual CPU, and the list of host CPUs (a new reference; ret_cpus may be NULL).
 * false: no such text, or no memory. */
bool ch_parse_affinity(const char *text, uint32_t *ret_vcpu, json_t **ret_cpus);
/* "2-3,5": a list of CPUs, as above. */
bool ch_parse_cpus(const char *text, json_t **ret_cpus);
/* zones.c: the memory of the zone at index, and the guest's NUMA node that it is; new references,
 * NULL: no memory. */
json_t *ch_zone_config(const struct vivi_config *c, size_t index, bool shared);
json_t *ch_node_config(const struct vivi_config *c, size_t index);
int ch_check_zones(const struct vivi_config *c, struct vivi_problems *p);
/* The agent's channel, or what was asked for. */
bool ch_has_vsock(const struct vivi_config *c);
bool ch_has_topology(const struct vivi_config *c);
/* Most virtual CPUs of a run. */
uint32_t ch_max_cpus(const struct vivi_config *c);
/* Memory that a device of the host may write to must stay where it is: no balloon then. */
bool ch_has_balloon(const struct vivi_config *c);
/* Whether a device is served by another process, which must see the guest's memory. */
bool ch_needs_shared_memory(const struct vivi_config *c);
bool ch_wants_landlock(const struct vivi_config *c, const struct vivi_probe *p);

/* The same as options, appended to the command line of p. 0 or −NO_MEMORY. Pure. */
int ch_command_line(const json_t *vm_config, struct vivi_plan *p);
/* The body of vm.create; a new reference, NULL: no memory. Pure. */
json_t *ch_vm_config(const struct vivi_plan_input *in);
/* The limits that disks share; a new reference, NULL: no memory. */
json_t *ch_limit_groups(const struct vivi_config *c);
/* The vsock, whose file lies in the run directory. */
json_t *ch_vsock_config(const struct vivi_config *c);
/* One device of a kind of ours, as vm.create and vm.add-… take it; a new reference, NULL: no
 * memory.
 */
json_t *ch_device_config(const struct vivi_device *d, const struct ch_version *v);
