"""The vsock device: a Unix socket on the host, `CONNECT port`, `OK hostport`, then bytes. Port 7 echoes; the
agent's port is served by a program of the host when the configuration names one."""
import os
import socket
import subprocess

from . import loop as lp
from .api import Refused

ECHO = 7
FIRST_HOST_PORT = 1 << 30
COMMAND_MAX = 32


class Stream:
    """One connection of a client of the host."""

    def __init__(self, device, sock):
        self.device, self.sock, self.command, self.echoes = device, sock, b"", False
        sock.setblocking(True)
        device.loop.watch(sock.fileno(), lp.IN, self.on_input)

    def on_input(self, _):
        if not self.device.vm.guest.running:
            self.device.loop.unwatch(self.sock.fileno())  # it hangs until the guest answers
            self.device.vm.guest.plan(0, lambda: self.sock.fileno() >= 0 and self.device.loop.watch(
                self.sock.fileno(), lp.IN, self.on_input))
            return
        try:
            data = self.sock.recv(4096 if self.echoes else 1)
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self.echoes:
            lp.write_all(self.sock.fileno(), data)
        else:
            self.command += data
            if data == b"\n" or len(self.command) >= COMMAND_MAX:
                self.connect()

    def connect(self):
        words = self.command.decode(errors="replace").split()
        if not self.command.endswith(b"\n") or len(words) != 2 or words[0].upper() != "CONNECT" or not words[1].isdigit():
            self.close()
            return
        port, argv = int(words[1]), self.device.conf["agent"]
        if port == ECHO:
            self.accepted()
            self.echoes = True
        elif port == self.device.conf["agent_port"] and argv:
            self.accepted()
            self.device.programs.append(subprocess.Popen(argv, stdin=self.sock, stdout=self.sock))
            self.close()
        else:
            self.close()

    def accepted(self):
        self.device.host_port += 1
        lp.write_all(self.sock.fileno(), f"OK {self.device.host_port}\n".encode())

    def close(self):
        if self.sock.fileno() >= 0:
            self.device.loop.unwatch(self.sock.fileno())
            self.sock.close()
        if self in self.device.streams:
            self.device.streams.remove(self)


class Vsock:
    def __init__(self, vm, config):
        self.vm, self.loop, self.conf = vm, vm.process.loop, vm.conf
        self.path, self.host_port, self.streams, self.programs = config["socket"], FIRST_HOST_PORT - 1, [], []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.bind(self.path)
        except OSError as e:
            self.sock.close()
            raise Refused("Error from device manager", "Cannot create virtio-vsock backend", "Error binding to the host-side "
                          "Unix socket", f"{e.strerror} (os error {e.errno})") from e
        self.sock.listen(64)
        self.loop.watch(self.sock.fileno(), lp.IN, self.accept)
        for after, port, text in self.conf["guest_connects"]:
            vm.guest.plan(after, lambda p=port, t=text: self.guest_connects(p, t)) if vm.guest.running else \
                vm.guest.plans.append((after, lambda p=port, t=text: self.guest_connects(p, t)))

    def accept(self, _):
        sock, _ = self.sock.accept()
        self.streams.append(Stream(self, sock))

    def guest_connects(self, port, text):
        """The guest calls the host: somebody must listen at <socket>_<port>, else it is reset."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(f"{self.path}_{port}")
            s.sendall(text.encode())
            self.vm.guest.say(f"vsock {port}: sent\r\n")
        except OSError:
            self.vm.guest.say(f"vsock {port}: reset\r\n")
        finally:
            s.close()

    def close(self):
        for s in list(self.streams):
            s.close()
        for p in self.programs:
            p.terminate()
            p.wait()
        self.loop.unwatch(self.sock.fileno())
        self.sock.close()
        os.unlink(self.path)
