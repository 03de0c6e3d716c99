"""What Cloud Hypervisor finds wrong with a configuration, in its own order and words."""
from .api import Refused


def fail(*texts, kind="config"):
    raise Refused("Failed to validate config", *texts, kind=kind)


def shared_memory(config):
    memory = config["memory"]
    if memory["size"] == 0 and memory.get("zones"):
        return all(z["shared"] or z["hugepages"] for z in memory["zones"])
    return memory["shared"] or memory["hugepages"]


def check_payload(config):
    payload = config.get("payload") or {}
    if payload.get("firmware") and payload.get("kernel"):
        fail("Payload configuration is not bootable", "Too many bootitems provided: only firmware or kernel can be provided")
    if not (payload.get("firmware") or payload.get("kernel") or payload.get("igvm")):
        fail("Payload configuration is not bootable", "No bootitem provided: neither firmware nor kernel")


def check_cpus(config):
    cpus = config["cpus"]
    if cpus["max_vcpus"] < cpus["boot_vcpus"]:
        fail(f"Max CPUs ({cpus['max_vcpus']}) lower than boot CPUs ({cpus['boot_vcpus']})")
    topology = cpus.get("topology")
    if topology:
        product = 1
        for part in topology.values():
            product *= part
        if product == 0:
            fail("No part of the CPU topology can be zero")
        if product != cpus["max_vcpus"]:
            fail("Product of CPU topology parts does not match maximum vCPU")


def check_memory(config, version):
    memory = config["memory"]
    if memory.get("hugepage_size"):
        if not memory["hugepages"]:
            fail("Huge page size specified but huge pages not enabled")
        if memory["hugepage_size"] & (memory["hugepage_size"] - 1):
            fail(f"Huge page size is not power of 2: {memory['hugepage_size']}")
    if memory["shared"] and memory["mergeable"] and version >= 52:
        fail("Invalid to set both 'mergeable' and 'shared' for memory")


def check_queues(queues, config):
    boot = config["cpus"]["boot_vcpus"]
    if queues > boot:
        fail(f"Queue count ({queues}) must not exceed boot vCPUs ({boot})")


def check_disk(disk, config):
    if disk.get("vhost_socket") and disk.get("path"):
        fail("Disk path and vhost socket both provided")
    if disk["vhost_user"]:
        check_vhost_user(disk, config)
    group = disk.get("rate_limit_group")
    if group and group not in [g["id"] for g in config.get("rate_limit_groups") or []]:
        fail("Invalid rate-limiter group")
    check_queues(disk["num_queues"], config)
    if disk["queue_size"] <= 2:
        fail(f"Block queue size must be greater than 2: {disk['queue_size']}")
    if len(disk.get("serial") or "") > 20:
        fail(f"Block device serial length ({len(disk['serial'])}) exceeds maximum allowed length (20)")


def check_vhost_user(device, config):
    if not shared_memory(config):
        fail("Using vhost-user requires using shared memory or huge pages")
    if not device.get("vhost_socket"):
        fail("No socket provided when using vhost-user")
    if device.get("rate_limiter_config"):
        fail("Rate limiting is not supported with vhost-user")


def check_net(net, config):
    if net["vhost_user"]:
        check_vhost_user(net, config)
    if net["num_queues"] < 2:
        fail(f"Number of queues ({net['num_queues']}) to virtio_net should be higher than 2")
    fds = net.get("fds")
    if fds and len(fds) * 2 != net["num_queues"]:
        fail(f"Number of queues ({net['num_queues']}) to virtio_net does not match the number of FDs ({len(fds)})")
    check_queues(net["num_queues"] // 2, config)
    if net.get("mtu") is not None and net["mtu"] < 1280:
        fail(f"Provided MTU {net['mtu']} is lower than 1280 (expected by VIRTIO specification)")
    if bool(net.get("ip")) != bool(net.get("mask")):
        fail("IP provided without a mask" if net.get("ip") else "Mask provided without an IP")
    if not net["offload_csum"] and (net["offload_tso"] or net["offload_ufo"]):
        fail('"offload_tso" and "offload_ufo" depend on "offload_csum"')


def check_ids(config, version):
    """Every identifier that a user may give is unique and does not look like one of the VMM's own."""
    seen = set()
    lists = ["rate_limit_groups", "disks", "net", "fs", "generic_vhost_user", "pmem", "devices", "user_devices", "vdpa"]
    entries = [e for key in lists for e in config.get(key) or []]
    entries += [config[key] for key in ("vsock", "balloon", "rng", "console", "rtc") if config.get(key)]
    entries += config["memory"].get("zones") or []
    for e in entries:
        name = e.get("id")
        if name is None:
            continue
        if name.startswith("__"):
            fail(f"Identifier {name} is not {'valid' if version >= 54 else 'invalid'}")
        if name in seen:
            fail(f"Identifier {name} is not unique", kind="duplicate")
        seen.add(name)


def check_devices(config):
    paths = set()
    for d in config.get("devices") or []:
        if not d.get("path") and d.get("fd") is None:
            fail("VFIO device config must specify `path=` or `fd=`")
        if d.get("path") in paths:
            fail(f"Duplicated device path: {d['path']}", kind="duplicate")
        paths.add(d.get("path"))
    if config.get("user_devices") and not shared_memory(config):
        fail("Using user devices requires using shared memory or huge pages")
    vsock = config.get("vsock")
    if vsock and vsock["cid"] in (0, 1, 2, 2**32 - 1):
        fail(f"{vsock['cid']} is a special VSOCK CID")
    balloon, memory = config.get("balloon"), config["memory"]
    if balloon:
        ram = memory["size"] + sum(z["size"] for z in memory.get("zones") or [])
        if balloon["size"] >= ram:
            fail(f"Balloon size ({balloon['size']}) greater than RAM ({ram})")


def check(config, version):
    check_payload(config)
    check_cpus(config)
    for disk in config.get("disks") or []:
        check_disk(disk, config)
    for net in config.get("net") or []:
        check_net(net, config)
    if (config.get("fs") or config.get("generic_vhost_user")) and not shared_memory(config):
        fail("Using vhost-user requires using shared memory or huge pages")
    check_memory(config, version)
    check_devices(config)
    check_ids(config, version)
