/* The qemu driver's two tables, for the registries, and what its files share. */
#pragma once

#include "driver/driver.h"

extern const struct vivi_driver vivi_driver_qemu;
extern const struct vivi_driver_effects vivi_effects_qemu;

#define QEMU_MAX_DISKS       16
#define QEMU_SPARE_DISKS     4 /* empty ports for disks that may come while it runs */
#define QEMU_SPARE_NETS      2
#define QEMU_PAGE_BYTES      (2u << 20) /* memory comes and goes in pieces of that size */
#define QEMU_MAX_NETS        8
#define QEMU_MAX_CPUS        255
#define QEMU_DEFAULT_CMDLINE "console=ttyS0"
#define QEMU_SANDBOX         "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

#define QEMU_AGENT_SOCKET "agent"

int qemu_probe(const char *cache_dir, const char *exe, enum vivi_accel wanted,
               struct vivi_probe *ret, viv_error *err);
int qemu_check(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *ret);
int qemu_plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err);

/*
 * How many ports this run has for disks and NICs: one for each place up to the last that is used,
 * and the spare ones.
 */
size_t qemu_disk_ports(const struct vivi_config *c);
size_t qemu_net_ports(const struct vivi_config *c);
/* "aa:bb:…": as configured, or derived from the VM's uuid. */
void qemu_mac(const struct vivi_net *n, const char *uuid, char ret[18]);

/* "q35" for auto; NULL: not a machine type that this driver can make. */
const char *qemu_machine(const char *configured);
/* usernet.c: whether QEMU has to be asked for a host port, and every forward as the text of "info
 * usernet" says it is: [{net, protocol, host_ip, host_port (null: not in the text), guest_port}].
 * NULL: no memory. */
bool qemu_wants_ports(const struct vivi_config *c);
json_t *qemu_ports(const struct vivi_config *c, const char *usernet);

/* Version out of what --version prints; false: not QEMU. */
bool qemu_parse_version(const char *text, char ret[64]);
