"""Devices: their tree and slots, disk locks, sockets of vhost-user peers, vsock, plugging and unplugging."""
import fcntl
import os
import socket
import struct

from .api import Refused
from .vsock import Vsock

# The order of creation; the third is what its list is called when a boot loses it.
ORDER = [("disks", "_disk"), ("net", "_net"), ("rng", "__rng"), ("generic_vhost_user", "_generic_vhost_user"), ("fs", "_fs"),
         ("pmem", "_pmem"), ("vsock", "_vsock"), ("balloon", "__balloon"), ("watchdog", "__watchdog"), ("vdpa", "_vdpa"),
         ("devices", "_vfio"), ("user_devices", "_vfio_user")]
LISTS = ("disks", "net", "generic_vhost_user", "fs", "pmem", "vdpa", "devices", "user_devices")
REMOVABLE = ("disks", "net", "fs", "pmem", "vsock", "devices", "user_devices")
SLOTS = 32

OFD_SETLK = 37


def ofd_lock(fd, exclusive, start=0, length=0):
    """An open file description lock; False when somebody else has it."""
    flock = struct.pack("hhqqi", fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(fd, OFD_SETLK, flock)
        return True
    except OSError:
        return False


def os_text(e):
    return f"{e.strerror} (os error {e.errno})"


def landlock_paths(config):
    """What may be opened from vm.create on: the configuration's own files and what the rules name."""
    paths = []
    for rule in config.get("landlock_rules") or []:
        if not os.path.exists(rule["path"]):
            raise Refused("Failed to apply landlock config during vm_create",
                          f'Path "{rule["path"]}" provided in landlock-rules does not exist')
        if not set(rule["access"]) <= set("rw") or not rule["access"]:
            raise Refused("Failed to apply landlock config during vm_create", f"Invalid landlock access: {rule['access']}")
        paths.append(rule["path"])
    payload = config.get("payload") or {}
    paths += [payload[k] for k in ("kernel", "firmware", "initramfs") if payload.get(k)]
    for key, field in (("disks", "path"), ("pmem", "file"), ("devices", "path")):
        paths += [d[field] for d in config.get(key) or [] if d.get(field)]
    return [os.path.realpath(p) for p in paths]


def may_open(vmm, path):
    if vmm.allowed is None:
        return True
    real = os.path.realpath(path)
    return any(real == p or real.startswith(p.rstrip("/") + "/") for p in vmm.allowed)


def check_kernel(config):
    """Only now the loader's thread is heard of: the VM object is there already."""
    for key, text in (("kernel", "Cannot open kernel file"), ("firmware", "Cannot open kernel file"),
                      ("initramfs", "Cannot open initramfs file")):
        path = (config.get("payload") or {}).get(key)
        if path:
            try:
                with open(path, "rb") as f:
                    head = f.read(4)
            except OSError as e:
                raise Refused(text, os_text(e)) from e
            if key == "kernel" and not head:
                raise Refused("Cannot load the kernel into memory", "Invalid ELF magic number")


def forget(config, name):
    """Takes a device out of the configuration; False: there is none of that name."""
    for key in REMOVABLE:
        if key == "vsock":
            if (config.get(key) or {}).get("id") == name:
                config[key] = None
                return True
            continue
        kept = [d for d in config.get(key) or [] if d.get("id") != name]
        if len(kept) != len(config.get(key) or []):
            config[key] = kept or None
            return True
    return False


class Device:
    def __init__(self, key, config, name, slot):
        self.key, self.config, self.name, self.slot = key, config, name, slot
        self.fd, self.sock, self.vsock, self.leaving = -1, None, None, False
        self.used = 0

    def bdf(self):
        return f"0000:00:{self.slot:02x}.0"

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        if self.sock:
            self.sock.close()
        if self.vsock:
            self.vsock.close()
        self.fd, self.sock, self.vsock = -1, None, None


class Manager:
    def __init__(self, vm):
        self.vm, self.vmm, self.conf = vm, vm.vmm, vm.conf
        self.devices = []
        self.count = 0

    # ---- making ----

    def name(self, config, prefix):
        """The user's id, or the VMM's own: one counter for all kinds."""
        if config.get("id"):
            if self.find(config["id"]):
                raise Refused("Error from device manager", f"Invalid identifier as it is not unique: {config['id']}")
            return config["id"]
        if prefix.startswith("__"):
            return prefix
        name = f"{prefix}{self.count}"
        self.count += 1
        config["id"] = name
        return name

    def slot(self, config):
        taken = {d.slot for d in self.devices}
        wanted = config.get("pci_device_id")
        free = [wanted] if wanted else [s for s in range(1, SLOTS) if s not in taken]
        if not free or free[0] in taken:
            raise Refused("Error from device manager", "Could not find an available device slot on the PCI bus")
        return free[0]

    def make(self, key, prefix, config):
        """A generator: a vhost-user peer that is not there is waited for, and everything waits with it."""
        d = Device(key, config, self.name(config, prefix), self.slot(config))
        try:
            if key == "disks" and config.get("path"):
                self.open_disk(d)
            elif key == "pmem":
                self.open_file(d, config["file"], False)
            elif key == "vsock":
                d.vsock = Vsock(self.vm, config)
            elif key == "devices":
                self.check_vfio(config)
            elif key == "vdpa":
                self.open_file(d, config["path"], False)
            peer = config.get("socket") if key in ("fs", "generic_vhost_user", "user_devices") else None
            if config.get("vhost_user"):
                peer = config["vhost_socket"]
            if peer:
                yield from self.connect(d, peer)
        except Refused:
            d.close()
            raise
        self.devices.append(d)
        return d

    def open_file(self, d, path, readonly):
        try:
            if not may_open(self.vmm, path):
                raise PermissionError(13, os.strerror(13))
            d.fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as e:
            raise Refused("Error from device manager", f"Cannot open disk path {path}" if d.key == "disks" else
                          f"Cannot open {path}", os_text(e)) from e

    def open_disk(self, d):
        self.open_file(d, d.config["path"], d.config["readonly"])
        with open(d.config["path"], "rb") as f:
            qcow2 = f.read(4) == b"QFI\xfb"
        kind = d.config.get("image_type", "Unknown")
        if kind != "Unknown" and qcow2 != (kind == "Qcow2"):
            raise Refused("Error from device manager", "Disk image type mismatch",
                          f"Image type {'Qcow2' if qcow2 else 'Raw'} does not match {kind}")

    @staticmethod
    def check_vfio(config):
        if config.get("path") and not os.path.exists(config["path"]):
            raise Refused("Error from device manager", "Failed to create VFIO device",
                          f"{os.strerror(2)} (os error 2)")

    def connect(self, d, path):
        for attempt in range(2):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                s.connect(path)
                d.sock = s
                return
            except OSError:
                s.close()
            if attempt == 0:
                yield self.conf["vhost_timeout"]
        raise Refused("Error from device manager", "Cannot create virtio device", "Failed to connect to vhost-user backend")

    def create_all(self):
        """At boot: each list is taken out of the configuration and comes back only when all of it is there."""
        config = self.vmm.config
        for key, prefix in ORDER:
            wanted = config.get(key)
            if not wanted:
                continue
            if key in LISTS:
                config[key] = None
            for one in (wanted if isinstance(wanted, list) else [wanted if isinstance(wanted, dict) else {}]):
                yield from self.make(key, prefix, one)
            config[key] = wanted
        for d in self.devices:
            self.vm.process.loop.later(lambda d=d: self.activate(d))
        if config.get("tpm"):
            self.connect_tpm(config["tpm"]["socket"])

    @staticmethod
    def connect_tpm(path):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(path)
        except OSError as e:
            raise Refused("Error from device manager", "Failed to create TPM device", os_text(e)) from e
        finally:
            s.close()

    def activate(self, d):
        if d in self.devices and not self.vm.guest.dead:
            self.vm.process.event("virtio-device", "activated", {"id": d.name})
            if self.conf["activate_fails"]:
                self.vm.process.end(1)

    # ---- locks ----

    def lock_disks(self):
        for d in self.devices:
            self.lock(d, "Error locking disk images: Another instance likely holds a lock")

    def lock(self, d, text):
        if d.key != "disks" or d.fd < 0:
            return
        whole = self.vmm.version < 50 or d.config.get("lock_granularity") == "Full"
        size = 0 if whole else os.fstat(d.fd).st_size
        if not ofd_lock(d.fd, not d.config["readonly"], 0, size):
            raise Refused(text, "Cannot lock images of all block devices", f"Failed to lock disk {d.config['path']}")

    def release_locks(self):
        for d in self.devices:
            if d.key == "disks":
                d.close()

    # ---- plugging ----

    def plug(self, key, prefix, config):
        d = yield from self.make(key, prefix, config)
        try:
            self.lock(d, "Error from device manager")
        except Refused:
            self.devices.remove(d)
            d.close()
            raise
        self.vm.process.loop.later(lambda: self.activate(d))
        return {"id": d.name, "bdf": d.bdf()}

    def unplug(self, name):
        d = self.find(name)
        gone = d is None or (d.leaving and self.vmm.version == 53)
        if gone:
            raise Refused("Error from device manager",
                          f"Failed to find device corresponding to the given identifier: {name}", kind="no-device")
        if d.key not in REMOVABLE:
            kind = name.removeprefix("__")  # the fixed ones are called by their type
            raise Refused("Error from device manager", f"Not allowed to remove this type of device from the VM: {kind}")
        forget(self.vmm.config, name)
        d.close()
        if not d.leaving and self.conf["eject"] is not None:
            self.vm.guest.plan(self.conf["eject"], lambda: self.vm.process.loop.on_vmm_thread(lambda: self.ejected(d)))
        d.leaving = True

    def ejected(self, d):
        if d in self.devices:
            self.devices.remove(d)
            self.vm.process.event("vm", "device-removed", {"id": d.name, "bdf": d.bdf()})

    def resize_disk(self, name, size):
        d = self.find(name)
        if d is None or d.key != "disks" or not d.config.get("path"):
            raise Refused("Error from device manager", f"Failed to find device corresponding to the given identifier: {name}",
                          kind="no-device")
        if size % 512 or d.config["readonly"]:
            raise Refused("Error from device manager", "Disk resize error", "Failed to resize the disk image")
        os.ftruncate(d.fd, size)

    # ---- looking ----

    def find(self, name):
        return next((d for d in self.devices if d.name == name), None)

    def tree(self, version):
        out = {}
        for d in self.devices:
            parent = f"_virtio-pci-{d.name}"
            if d.key in ("devices", "user_devices"):
                parent = None
            else:
                out[parent] = {"id": parent, "resources": [], "children": [d.name], "pci_bdf": d.bdf()}
            out[d.name] = {"id": d.name, "resources": [], "parent": parent, "children": []}
            if parent is None:
                out[d.name]["pci_bdf"] = d.bdf()
                if version >= 53:
                    del out[d.name]["parent"]
        return out

    def counters(self):
        out = {}
        for d in self.devices:
            if d.config.get("vhost_user"):
                continue
            d.used += not d.leaving and self.vm.guest.running
            if d.key == "disks":
                out[d.name] = {f"{way}_{what}": d.used * (4096 if what == "bytes" else 1)
                               for way in ("read", "write") for what in ("bytes", "ops")}
                # of what was never written no latency is known: all bits are set
                out[d.name].update({f"{way}_latency_{what}": number for way, number in (("read", 100), ("write", (1 << 64) - 1))
                                    for what in ("min", "max", "avg")})
            elif d.key == "net":
                out[d.name] = {f"{way}_{what}": d.used * (1500 if what == "bytes" else 1)
                               for way in ("rx", "tx") for what in ("bytes", "frames")}
        return out

    def close(self):
        for d in self.devices:
            d.close()
        self.devices = []
