"""The VMM thread: at most one VM, and the verbs that are legal in its state.

A verb is a method named after its endpoint. It returns the answer's body (None: 204), raises Refused, or is
a generator that yields what it waits for while nothing else is handled: milliseconds, or a function that is
given the call to go on with."""
import os
import types

from . import devices, guest, memory, migration, schema, snapshot, validate
from .api import BODY, Refused, VmmPanic

CREATED, RUNNING, PAUSED = "Created", "Running", "Paused"
ADDED = {"vm.add-disk": ("disks", "_disk"), "vm.add-net": ("net", "_net"), "vm.add-fs": ("fs", "_fs"),
         "vm.add-pmem": ("pmem", "_pmem"), "vm.add-vdpa": ("vdpa", "_vdpa"), "vm.add-device": ("devices", "_vfio"),
         "vm.add-user-device": ("user_devices", "_vfio_user"),
         "vm.add-generic-vhost-user": ("generic_vhost_user", "_generic_vhost_user"), "vm.add-vsock": ("vsock", "_vsock")}
ANSWERED_EVEN_THEN = {"vmm.ping", "vm.info"}  # while a migration leaves


class Vm:
    """The VM object: it exists from a boot (also one that failed late) to a shutdown."""

    def __init__(self, vmm, console):
        self.vmm, self.process, self.conf = vmm, vmm.process, vmm.process.conf
        self.state, self.console = CREATED, console
        self.devices = devices.Manager(self)
        self.memory = memory.Memory(self)
        self.guest = guest.Guest(self, console, (vmm.config.get("payload") or {}).get("cmdline"))
        self.boots = 1

    def quiet_resets(self):
        left = self.vmm.quiet_resets if self.boots > 1 or self.vmm.resets else 0
        self.vmm.quiet_resets -= left > 0
        return left > 0

    def guest_powers_off(self):
        self.process.loop.on_vmm_thread(self.vmm.guest_powered_off)

    def guest_reboots(self):
        self.process.loop.on_vmm_thread(self.vmm.guest_rebooted)

    def guest_fails(self):
        """As a power-off looks but for a line in the log."""
        self.process.log(0, "VCPU generated error: VcpuRun(Other(Hang))", "vcpu0")
        self.process.loop.on_vmm_thread(self.process.event_of_end)

    def guest_hangs(self):
        if self.vmm.config["watchdog"]:
            self.process.log(0, "Watchdog triggered: 21 seconds since last ping", "__watchdog")
            self.guest_reboots()

    def guest_panics(self):
        if self.vmm.config["pvpanic"]:
            self.process.event("guest", "panic", {"event": "panic"})

    def move(self, state):
        """Running or Paused, with the events that belong to it."""
        word = "resum" if state == RUNNING else "paus"
        self.process.event("vm", word + "ing")
        if self.state == state or self.state == CREATED:
            what = "resume" if state == RUNNING else "pause"
            raise Refused(f"Cannot {what} VM", f"Failed to {what} migratable component",
                          f"Invalid transition: InvalidStateTransition({self.state}, {state})")
        self.state = state
        (self.guest.run if state == RUNNING else self.guest.stand_still)()
        self.process.event("vm", word + "ed")

    def close(self):
        self.guest.stop()
        self.devices.close()


class Vmm:
    def __init__(self, process):
        self.process, self.conf, self.version = process, process.conf, process.version
        self.config = self.vm = self.console = None
        self.resets, self.quiet_resets = 0, self.conf["guest"]["quiet_resets"]
        self.leaving = None   # the frozen vm.info while a migration goes out
        self.kept = None      # a connection whose other end hears nothing any more
        self.allowed = None   # Landlock: from vm.create on, for ever
        self.calls = {name: getattr(self, name.replace(".", "_").replace("-", "_"), None)
                      for name in list(BODY) + ["vmm.ping", "vm.info", "vm.counters", "vmm.shutdown", "vm.delete", "vm.boot",
                                                "vm.pause", "vm.resume", "vm.shutdown", "vm.reboot", "vm.power-button",
                                                "vm.nmi"]}

    # ---- running a verb ----

    def call(self, endpoint, body, fds, done):
        if self.leaving and endpoint not in ANSWERED_EVEN_THEN and endpoint != "vmm.shutdown":
            raise Refused("VM is currently migrating and can't be modified")
        if endpoint in ADDED:
            result = self.add(endpoint, body, fds)
        elif endpoint == "vm.restore":
            result = self.vm_restore(body, fds)
        else:
            method = self.calls[endpoint]
            result = method(body) if endpoint in BODY else method()
        if isinstance(result, types.GeneratorType):
            self.drive(result, done)
        else:
            done(result)

    def drive(self, steps, done):
        loop = self.process.loop
        try:
            wanted = next(steps)
        except StopIteration as s:
            done(s.value)
            return
        except Refused as e:
            done(None, e)
            return
        loop.block()

        def go_on():
            loop.unblock()
            self.drive(steps, done)

        if callable(wanted):
            wanted(go_on)
        else:
            loop.timer(wanted, go_on)

    def need_config(self):
        if self.config is None:
            raise Refused("VM is not created", kind="missing")

    def need_vm(self):
        if self.vm is None:
            raise Refused("VM is not running")
        return self.vm

    # ---- looking ----

    def vmm_ping(self):
        return {"build_version": f"v{self.process.release}", "version": f"{self.process.release}.0", "pid": os.getpid(),
                "features": self.conf["features"]}

    def vm_info(self):
        if self.leaving:
            return self.leaving
        self.need_config()
        info = {"config": schema.strip_defaults(self.config, self.version),
                "state": self.vm.state if self.vm else CREATED, "memory_actual_size": memory.actual_size(self)}
        if self.vm:
            info["device_tree"] = self.vm.devices.tree(self.version)
        elif self.version < 53:
            info["device_tree"] = None
        return info

    def vm_counters(self):
        return self.need_vm().devices.counters()

    # ---- create, boot, end ----

    def open_console(self):
        for key in ("serial", "console", "debug_console"):
            part = self.config.get(key) or {}
            if part.get("mode") == "File" and not part.get("file") or part.get("mode") == "Socket" and not part.get("socket"):
                raise VmmPanic
        try:
            self.console = guest.Console(self.process, self.config["serial"], self.version)
        except OSError as e:
            raise Refused("Error creating console devices", "Error creating console device",
                          f"{e.strerror} (os error {e.errno})") from e
        if self.console.made:
            self.config["serial"]["file"] = self.console.made

    def vm_create(self, config):
        if self.config is not None:
            raise Refused("VM is already created")
        for net in config.get("net") or []:
            net.pop("fds", None)
        self.config = config
        self.open_console()
        if config["landlock_enable"]:
            self.allowed = devices.landlock_paths(config)

    def close_console(self):
        if self.console:
            self.console.close()
        self.console = None

    def vm_boot(self):
        if self.vm and (self.version >= 53 or self.vm.state != CREATED):
            raise Refused("VM is already created")
        self.process.event("vm", "booting")
        if self.vm:  # a boot that failed goes on where it failed, and then runs without the kernel that was not loaded
            self.vm.devices.lock_disks()
            self.vm.state = RUNNING
            self.process.event("vm", "booted")
            return
        if self.config is None:
            raise Refused("VM config is missing", kind="missing")
        yield from self.start_vm()
        self.process.event("vm", "booted")

    def start_vm(self):
        """A VM out of the configuration. Until its devices are there a failure leaves no VM (and a configuration
        without the list that failed); a later one leaves a VM that can only be deleted."""
        if self.console is None:
            self.open_console()
        validate.check(self.config, self.version)
        vm = Vm(self, self.console)
        try:
            yield from vm.devices.create_all()
        except Refused:
            vm.close()
            raise
        self.vm = vm
        vm.devices.lock_disks()
        devices.check_kernel(self.config)
        vm.state = RUNNING
        vm.guest.run()

    def vm_shutdown(self):
        vm = self.need_vm()
        vm.close()
        self.vm = None
        self.close_console()
        self.process.event("vm", "shutdown")

    def vm_delete(self):
        if self.config is None:
            return
        if self.vm:
            self.vm_shutdown()
        self.close_console()
        self.config = None
        self.process.event("vm", "deleted")

    def forget(self):
        if self.leaving:
            raise Refused("VM is currently migrating and can't be modified")
        self.vm_delete()

    def vmm_shutdown(self):
        self.process.end(0)
        self.forget()
        self.process.event("vmm", "shutdown")

    def vm_reboot(self):
        self.process.event("vm", "rebooting")
        if self.vm is None:
            raise Refused("VM is not created", kind="missing")
        self.vm.close()
        self.vm = None
        self.close_console()
        self.resets += 1
        yield from self.start_vm()
        self.process.event("vm", "rebooted")

    def begin(self, config):
        """The plain command-line mode: create and boot."""
        reader = schema.Reader(self.version, 0)
        try:
            whole = reader.object(config, "VmConfig")
        except schema.Wrong as e:
            raise Refused("Error parsing config", str(e)) from e
        self.process.journal({"path": "(command line)", "body": config, "complaints": reader.complaints})
        config = whole
        self.vm_create(config)

        def booted(_, error=None):
            if error:
                self.process.log(0, "Fatal error: " + ": ".join(error.chain))
                self.process.end(1)

        self.drive(self.vm_boot(), booted)

    # ---- what the guest does ----

    def guest_powered_off(self):
        if self.vm is None or self.leaving:
            self.process.end(1)
        elif self.process.options.no_shutdown:
            self.vm_shutdown()
        else:
            self.process.event_of_end()

    def guest_rebooted(self):
        if self.vm is None or self.leaving:
            self.process.end(1)
            return
        self.drive(self.vm_reboot(), lambda _, error=None: error and self.process.end(1))

    # ---- the running VM ----

    def vm_pause(self):
        self.need_vm().move(PAUSED)

    def vm_resume(self):
        self.need_vm().move(RUNNING)

    def vm_power_button(self):
        self.need_vm().guest.press_button()

    def vm_nmi(self):
        self.need_vm()

    def vm_resize(self, want):
        self.need_config()
        memory.resize(self, want)

    def vm_resize_disk(self, want):
        self.need_config()
        if not self.vm:
            raise Refused("Failed resizing a disk image")
        self.vm.devices.resize_disk(want["id"], want["desired_size"])

    def vm_resize_zone(self, want):
        self.need_config()
        memory.resize_zone(self, want["id"], want["desired_ram"])

    def add(self, endpoint, new, fds):
        self.need_config()
        key, prefix = ADDED[endpoint]
        if fds and key == "net":
            new["fds"] = [os.dup(fd) for fd in fds]
        elif key == "devices":
            if len(fds) > 1:
                raise Refused(kind="fds")
            new["fd"] = os.dup(fds[0]) if fds else None
        if key == "vsock" and self.config.get("vsock"):
            raise Refused("Too many virtio-vsock devices")
        whole = dict(self.config)
        whole[key] = new if key == "vsock" else (self.config.get(key) or []) + [new]
        validate.check(whole, self.version)
        answer = None
        if self.vm:
            answer = yield from self.vm.devices.plug(key, prefix, new)
        if key == "vsock":
            self.config[key] = new
        else:
            self.config[key] = (self.config.get(key) or []) + [new]
        return answer

    def vm_remove_device(self, want):
        if self.vm:
            self.vm.devices.unplug(want["id"])
            return
        if self.config is None:
            raise Refused("VM is not created", kind="missing")
        if not devices.forget(self.config, want["id"]):
            raise Refused(f'No device with id "{want["id"]}" to remove', kind="no-device")

    # ---- to files, from files, to others ----

    def vm_snapshot(self, want):
        snapshot.save(self, self.need_vm(), want["destination_url"])

    def vm_coredump(self, want):
        snapshot.coredump(self, self.need_vm(), want["destination_url"])

    def vm_restore(self, want, fds):
        return snapshot.restore(self, want, fds)

    def vm_receive_migration(self, want):
        return migration.receive(self, want)

    def vm_send_migration(self, want):
        return migration.send(self, want)
