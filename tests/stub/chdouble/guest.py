"""What the virtual CPUs do: a guest of a few lines. It prints the readiness line with the nonce of its command
line, obeys keys, and has a power button. It stands still while the VM is paused."""
import errno
import os
import pty
import re
import socket
import termios
import tty

from . import loop as lp

KEPT = 1 << 20  # a serial socket keeps so much for a client that comes late


class Console:
    """The serial port: where output goes and input comes from, by the mode of the configuration."""

    def __init__(self, process, serial, version):
        self.process, self.mode, self.version = process, serial["mode"], version
        self.out = self.inp = self.other = -1
        self.listener, self.client, self.kept = None, None, b""
        self.read = None   # the guest's reader
        self.made = None   # a path to be told in vm.info
        getattr(self, f"open_{self.mode.lower()}")(serial)

    def open_off(self, _):
        pass

    open_null = open_off

    def open_tty(self, _):
        self.out, self.inp = os.dup(1), os.dup(0)
        if os.isatty(self.inp):
            try:
                tty.setraw(self.inp, termios.TCSANOW)
            except termios.error:
                pass

    def open_file(self, serial):
        self.out = os.open(serial["file"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def open_pty(self, _):
        self.out, self.other = pty.openpty()
        tty.setraw(self.other)
        self.inp, self.made = self.out, os.ttyname(self.other)

    def open_socket(self, serial):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(serial["socket"])
        self.path = serial["socket"]
        self.listener.listen(1)
        self.process.loop.watch(self.listener.fileno(), lp.IN, self.accept)

    def accept(self, _):
        if self.client:
            self.process.loop.unwatch(self.client.fileno())
            self.client.close()
        self.client, _ = self.listener.accept()
        lp.write_all(self.client.fileno(), self.kept)
        self.kept = b""
        self.resume()

    def write(self, data):
        """Bytes that nobody takes are lost: the descriptor is the caller's, non-blocking if he wants."""
        if self.listener:
            if self.client:
                lp.write_all(self.client.fileno(), data)
            elif self.version >= 53:
                self.kept = (self.kept + data)[-KEPT:]
        elif self.out >= 0:
            try:
                while data:
                    data = data[os.write(self.out, data):]
            except OSError:
                pass

    def source(self):
        return self.client.fileno() if self.client else self.inp

    def resume(self):
        if self.source() >= 0 and self.read:
            self.process.loop.watch(self.source(), lp.IN, self.on_input)

    def pause(self):
        if self.source() >= 0:
            self.process.loop.unwatch(self.source())

    def on_input(self, _):
        try:
            data = os.read(self.source(), 4096)
        except OSError as e:
            if e.errno == errno.EAGAIN:
                return
            data = b""
        if not data:
            self.pause()  # the end of the file: for good
        elif self.read:
            self.read(b"\r" if data == b"\n" else data)

    def close(self):
        self.pause()
        if self.listener:
            self.process.loop.unwatch(self.listener.fileno())
            self.listener.close()
            if self.client:
                self.client.close()
            os.unlink(self.path)
        for fd in {self.out, self.inp, self.other} - {-1}:
            os.close(fd)
        self.out = self.inp = self.other = -1


class Guest:
    """One boot of the guest. `vm` hears of what it does: powers_off, reboots, panics."""

    def __init__(self, vm, console, cmdline):
        self.vm, self.console, self.conf = vm, console, vm.conf["guest"]
        self.loop = vm.process.loop
        nonce = re.search(r"(?:^|\s)vmrs\.nonce=(\S+)", cmdline or "")
        self.nonce = nonce.group(1) if nonce and self.conf["echo_nonce"] else None
        self.panic_reboots = re.search(r"(?:^|\s)panic=-?[1-9]", cmdline or "") is not None
        self.ignores_button = vm.conf["button"] is None
        self.running, self.dead, self.count = False, False, 0
        self.plans = [(0, self.banner), (self.conf["ready"], self.ready)]
        self.plans += [(ms, lambda t=text: self.say(t)) for ms, text in self.conf["print"]]
        self.plans += [(ms, lambda k=key: self.obey(k)) for ms, key in self.conf["do"]]
        self.timers = []

    def run(self):
        """The CPUs go (on): what was due while they stood still is due now."""
        if self.dead:
            return
        self.running = True
        for after, call in self.plans:
            self.plan(after, call)
        self.plans = []
        self.console.read = self.on_input
        self.console.resume()

    def plan(self, after, call):
        def now():
            if self.dead:
                return
            if self.running:
                call()
            else:
                self.plans.append((0, call))
        self.timers.append(self.loop.timer(after, now))

    def stand_still(self):
        self.running = False
        self.console.pause()

    def stop(self):
        self.stand_still()
        self.dead = True
        for t in self.timers:
            t.stop()
        self.console.read = None

    def say(self, text):
        self.console.write(text.encode())

    def banner(self):
        quiet = self.vm.quiet_resets()
        if quiet:
            self.vm.guest_reboots()
        else:
            self.say(self.conf["banner"])

    def ready(self):
        if self.conf["ip"]:
            self.say(f"VMRS_READY {self.conf['ip']}{' ' + self.nonce if self.nonce else ''}\r\n")

    def on_input(self, data):
        for c in data.decode(errors="replace"):
            if self.dead:
                return
            self.obey(c)

    def obey(self, key):
        if not self.conf["keys"]:
            return
        if key == "p":
            self.halt(self.vm.guest_powers_off)
        elif key == "r":
            self.halt(self.vm.guest_reboots)
        elif key == "k":
            self.panic()
        elif key == "f":
            self.halt(self.vm.guest_fails)
        elif key == "w":
            self.halt(self.vm.guest_hangs)
        elif key == "n":
            self.count += 1
            self.say(f"count {self.count}\r\n")
        else:
            if key == "i":
                self.ignores_button = True
            self.say(key)

    def halt(self, call):
        """It says nothing more; the VMM handles what it asked for when it is free."""
        self.stop()
        call()

    def panic(self):
        self.vm.guest_panics()
        if self.panic_reboots:
            self.halt(self.vm.guest_reboots)
        else:
            self.stop()

    def press_button(self):
        if not self.ignores_button:
            self.plan(self.vm.conf["button"] or 0, lambda: self.halt(self.vm.guest_powers_off))
