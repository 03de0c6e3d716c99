"""Snapshots and core dumps: three files in a directory, as the real one names them."""
import json
import os

from . import schema, validate
from .api import Refused
from .devices import may_open, os_text

FILES = ("config.json", "state.json", "memory-ranges")


def path_of(url):
    if not url.startswith("file://"):
        raise Refused("Cannot send VM snapshot", "Failed to send migratable component snapshot", "Invalid URL")
    return url[len("file://"):]


def create(path, data, size=None):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        if size:
            os.ftruncate(fd, size)
    finally:
        os.close(fd)


def state_of(vm):
    """What a restored guest goes on with."""
    g = vm.guest
    return {"cpu": vm.conf["cpu"], "guest": {"nonce": g.nonce, "ignores_button": g.ignores_button, "count": g.count,
                                             "dead": g.dead}}


def take_on(vm, state):
    g = vm.guest
    g.nonce, g.ignores_button = state["guest"]["nonce"], state["guest"]["ignores_button"]
    g.count, g.dead, g.plans = state["guest"]["count"], state["guest"]["dead"], []


def check_cpu(vmm, state):
    if state["cpu"] != vmm.conf["cpu"]:
        raise Refused("Cannot restore VM", "Failed to receive migratable component snapshot",
                      "CPU feature mismatch: the destination lacks features of the source")


def save(vmm, vm, url):
    if vm.state != "Paused":
        raise Refused("Cannot snapshot VM", "Failed to snapshot migratable component",
                      "Trying to snapshot while VM is running")
    vmm.process.event("vm", "snapshotting")
    folder = path_of(url)
    texts = ("Cannot send VM snapshot", "Failed to send migratable component snapshot")
    if not os.path.isdir(folder):
        raise Refused(*texts, f'Destination is not a directory: "{folder}"')
    try:
        if not may_open(vmm, folder):
            raise PermissionError(13, os.strerror(13))
        create(os.path.join(folder, FILES[0]), json.dumps(vmm.config).encode())
        create(os.path.join(folder, FILES[1]), json.dumps(state_of(vm)).encode())
        create(os.path.join(folder, FILES[2]), b"\0", vmm.config["memory"]["size"])
    except OSError as e:
        raise Refused(*texts, os_text(e)) from e
    vmm.process.event("vm", "snapshotted")


def coredump(vmm, vm, url):
    vmm.process.event("vm", "coredumping")
    running = vm.state == "Running"
    if running:
        vm.move("Paused")
    try:
        create(path_of(url), b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04" + bytes(47))
    except OSError as e:
        raise Refused("Error coredumping VM", os_text(e)) from e
    finally:
        if running:
            vm.move("Running")


def load(folder, name):
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            return json.load(f)
    except OSError as e:
        raise Refused("Cannot restore VM", "Failed to receive migratable component snapshot",
                      f'Error opening VM snapshot file "{folder}/{name}"', os_text(e)) from e
    except ValueError as e:
        raise Refused("Cannot restore VM", "Failed to receive migratable component snapshot",
                      "Error deserialising VM snapshot", str(e)) from e


def attach_nets(config, want, fds):
    entries = want.get("net_fds") or []
    if sum(e["num_fds"] for e in entries) != len(fds) and entries:
        raise Refused(kind="fds")
    fds = list(fds)
    for e in entries:
        mine, fds = fds[:e["num_fds"]], fds[e["num_fds"]:]
        for net in config.get("net") or []:
            if net.get("id") == e["id"] and net.get("fds"):
                net["fds"] = [os.dup(fd) for fd in mine]
    named = {e["id"] for e in entries}
    for net in config.get("net") or []:
        if net.get("fds") and net.get("id") not in named:
            validate.fail(f"Net id {net.get('id')} is associated with FDs and is required")


def rebuild(vmm, config, state):
    """A paused VM out of a configuration and a state; a generator."""
    from .vmm import Vm
    vmm.config = config
    vmm.open_console()
    validate.check(config, vmm.version)
    vm = Vm(vmm, vmm.console)
    try:
        yield from vm.devices.create_all()
        vm.devices.lock_disks()
    except Refused:
        vm.close()
        raise
    take_on(vm, state)
    vmm.vm, vm.state = vm, "Paused"


def restore(vmm, want, fds):
    if vmm.vm or vmm.config is not None:
        raise Refused("VM is already created")
    folder = path_of(want["source_url"])
    config = load(folder, FILES[0])
    try:
        config = schema.Reader(vmm.version, 0).object(config, "VmConfig")
    except schema.Wrong as e:
        raise Refused("Cannot restore VM", "Error deserialising VM config snapshot", str(e)) from e
    if want.get("memory_restore_mode") == "OnDemand" and want["prefault"]:
        validate.fail("'prefault' cannot be combined with 'memory_restore_mode=ondemand'")
    attach_nets(config, want, fds)
    try:
        state = load(folder, FILES[1])
        check_cpu(vmm, state)
        if not os.path.exists(os.path.join(folder, FILES[2])):
            raise Refused("Memory manager error", "Error opening memory snapshot", f"{os.strerror(2)} (os error 2)")
        if want.get("memory_restore_mode") == "OnDemand" and not vmm.conf["userfaultfd"]:
            raise Refused("Memory manager error", "Failed to create userfaultfd", f"{os.strerror(1)} (os error 1)")
        vmm.process.event("vm", "restoring")
        yield from rebuild(vmm, config, state)
        vmm.process.event("vm", "restored")
        if want.get("resume"):
            vmm.vm.move("Running")
    except Refused:
        vmm.vm_delete()
        raise
