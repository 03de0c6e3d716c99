"""vCPUs, memory and balloon of the VM, and what resize does to them."""
from .api import Refused

BLOCK = 128 << 20
PIECE = 2 << 20
SLOTS = 8


class Memory:
    """Of one boot: what is plugged beyond the configuration."""

    def __init__(self, vm):
        self.vm = vm
        config = vm.vmm.config
        self.hot_adds, self.plugged = 0, 0
        self.boot_size = config["memory"]["size"]
        self.room = config["memory"].get("hotplug_size") or 0
        self.balloon = (config.get("balloon") or {}).get("size") or 0
        self.present = config["cpus"]["boot_vcpus"]
        self.removing = False  # a vCPU's removal is not finished
        self.zones = {z["id"]: z.get("hotplugged_size") or 0 for z in config["memory"].get("zones") or []}
        self.requested = config["memory"].get("hotplugged_size") or 0
        self.plugged_zones = {}
        if self.requested:
            self.plug(self.requested)
        for name, size in self.zones.items():
            if size:
                self.plug(size, name)

    def plug(self, size, zone=None):
        """The guest follows in its own time, as far as it goes: virtio-mem asks, it does not order."""
        after, most = self.vm.conf["plug"], self.vm.conf["plug_most"]

        def followed():
            got = size if most is None else min(size, most)
            if zone is None:
                self.plugged = got
            else:
                self.plugged_zones[zone] = got

        if after is not None:
            self.vm.guest.plan(after, followed)

    def all_plugged(self):
        return self.plugged + sum(self.plugged_zones.values())


def total(config):
    return config["memory"]["size"] + sum(z["size"] for z in config["memory"].get("zones") or [])


def actual_size(vmm):
    size = total(vmm.config)
    if vmm.vm:
        size = max(0, size - vmm.vm.memory.balloon) + vmm.vm.memory.all_plugged()
    return size


def resize(vmm, want):
    vcpus, ram, balloon = (want.get(k) for k in ("desired_vcpus", "desired_ram", "desired_balloon"))
    if not vmm.vm:
        if vcpus is not None:
            vmm.config["cpus"]["boot_vcpus"] = vcpus
        if ram is not None:
            vmm.config["memory"]["size"] = ram
        if balloon is not None and vmm.config.get("balloon"):
            vmm.config["balloon"]["size"] = balloon
        return
    vmm.process.event("vm", "resizing")
    if vcpus is not None:
        resize_cpus(vmm, vcpus)
    if ram is not None:
        resize_ram(vmm, ram)
    if balloon is not None:
        resize_balloon(vmm, balloon)
    vmm.process.event("vm", "resized")


def resize_cpus(vmm, count):
    cpus, mem = vmm.config["cpus"], vmm.vm.memory
    if count != mem.present:
        if count == 0:
            raise Refused("Error from CPU manager", "Requested zero vCPUs")
        if mem.removing:
            raise Refused("Error from CPU manager", "Still pending removed vCPU", kind="busy")
        if count > cpus["max_vcpus"]:
            raise Refused("Error from CPU manager", "Requested vCPUs exceed maximum")
        if count < mem.present:
            mem.removing = True
            if vmm.conf["online"] is not None:
                def removed():
                    mem.removing, mem.present = False, count
                vmm.vm.guest.plan(vmm.conf["online"], removed)
        else:
            mem.present = count
    cpus["boot_vcpus"] = count


def virtio_mem(size, before, room):
    """What the device says to a new target."""
    text = None
    if size == before:
        text = f"new size 0x{size:x} and requested_size are identical"
    elif size > room:
        text = f"new size 0x{size:x} is bigger than region_size 0x{room:x}"
    elif size % PIECE:
        text = f"new size 0x{size:x} is not aligned on block_size 0x{PIECE:x}"
    if text:
        raise Refused("Memory manager error", "Failed to resize virtio-mem device",
                      f"Failed to update virtio configuration: ResizeError({text})")


def resize_ram(vmm, size):
    memory, mem = vmm.config["memory"], vmm.vm.memory
    if memory.get("zones"):
        raise Refused("Memory manager error",
                      "Impossible to resize guest memory if it is backed by user defined memory regions")
    if memory["hotplug_method"] == "VirtioMem":
        if size < mem.boot_size:
            if vmm.version >= 53:
                raise Refused("Memory manager error", f"Invalid resize request: desired_size = {size} below boot size = "
                              f"{mem.boot_size}")
            return
        if not mem.room:
            return
        virtio_mem(size - mem.boot_size, mem.requested, mem.room)
        mem.requested = size - mem.boot_size
        memory["hotplugged_size"] = mem.requested or None
        mem.plug(mem.requested)
        return
    if size > memory["size"]:
        more = size - memory["size"]
        if more % BLOCK:
            raise Refused("Memory manager error", "The requested hotplug memory addition is not a valid size")
        if size - mem.boot_size > mem.room:
            raise Refused("Memory manager error", "Not enough space in the hotplug RAM region")
        if mem.hot_adds == SLOTS:
            raise Refused("Memory manager error", "No more space left in the hotplug RAM region")
        mem.hot_adds += 1
    memory["size"] = size


def resize_balloon(vmm, size):
    if not vmm.config.get("balloon"):
        raise Refused("Error from device manager", "Missing virtio-balloon, can't proceed as expected")
    mem = vmm.vm.memory
    vmm.config["balloon"]["size"] = size

    def reached():
        mem.balloon = size

    if vmm.conf["balloon"] is not None:
        vmm.vm.guest.plan(vmm.conf["balloon"], reached)


def resize_zone(vmm, name, size):
    for zone in vmm.config["memory"].get("zones") or []:
        if zone["id"] == name:
            if vmm.vm and vmm.config["memory"]["hotplug_method"] != "VirtioMem":
                raise Refused("Memory manager error",
                              "Invalid hotplug method associated with memory zones resizing capability")
            if vmm.vm and size < zone["size"]:
                raise Refused("Memory manager error", f"Invalid resize request: desired_size = {size} below boot size = "
                              f"{zone['size']}")
            if vmm.vm:
                mem, more = vmm.vm.memory, size - zone["size"]
                if not zone.get("hotplug_size"):
                    raise Refused("Memory manager error", "No virtio-mem resizing handler found")
                virtio_mem(more, mem.zones[name], zone.get("hotplug_size") or 0)
                mem.zones[name] = zone["hotplugged_size"] = more
                mem.plug(more, name)
            else:
                zone["size"] = size
            return
    if vmm.vm:
        raise Refused("Memory manager error", "Could not find specified memory zone identifier from hash map")
    raise Refused("Failed resizing a memory zone")
