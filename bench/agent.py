#!/usr/bin/python3
"""viv-agent beside bare programs on the same kind of channel: throughput both ways, round trips, memory.

    bench/agent.py IMAGE [MIB]      IMAGE: a directory made by viv-guest-build demo

Boots the demo guest under emulation, as the qemu driver does, with two virtio-serial ports. In turns, in one
run, the same bytes go through a bare program on the second port and through the agent on the first. A command's
output goes through a pipe in the guest, so there are two bare programs: one that copies to the port what comes through
a pipe, and `dd` straight into the port. Prints one JSON object: medians, and ratios of each round's pair.
"""
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/agent"))
import wire  # noqa: E402

ROUNDS = 5
TRIPS = 40
SPAWNS = 20
DEADLINE_S = 120
CPU = "max,la57=off,erms=off"  # as src/driver/qemu/plan.c has it


# A static program for x86-64: heads of file and segment, then _exit(0).
CODE = b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05" # xor edi, edi; mov eax, 60; syscall
NOTHING = (struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0) +
           struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(CODE), 120 + len(CODE), 4096) + CODE)


class Peer(wire.Peer):
    """The rest of a frame is received in one call: the VMM sends it in pieces of a page."""

    def read(self, timeout=None):
        if self.up and len(self.buffer) >= 12:
            rest = 16 + struct.unpack_from("<I", self.buffer, 8)[0] - len(self.buffer)
            if rest > 4096:
                self.buffer += self.sock.recv(rest, socket.MSG_WAITALL)
                return
        super().read(timeout)


def boot(image, folder):
    """The VMM, the agent's peer, and the bare port's socket."""
    ports = []
    for name in ("vivarium.agent.0", "bench.bare.0"):
        path = os.path.join(folder, name)
        ports += ["-chardev", f"socket,id={name},path={path},server=on,wait=off",
                  "-device", f"virtserialport,chardev={name},name={name}"]
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", CPU, "-m", "256", "-display", "none",
         "-nodefaults", "-nic", "none", "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initramfs", "-append",
         "cryptomgr.notests quiet vivguest.noshell", "-device", "virtio-serial-pci", *ports])
    wire.DEADLINE_S = DEADLINE_S
    sock = wire.connect(os.path.join(folder, "vivarium.agent.0"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", DEADLINE_S, 0))
    peer = Peer(sock, pad=65552).meet()
    bare = wire.connect(os.path.join(folder, "bench.bare.0"))
    bare.settimeout(DEADLINE_S)
    return qemu, peer, bare


class Guest:
    def __init__(self, peer, bare, mib):
        self.peer, self.bare, self.size = peer, bare, mib << 20
        self.data = os.urandom(self.size)
        s = self.shell("cd /sys/class/virtio-ports; grep -l bench.bare.0 */name")
        self.port = "/dev/" + s.decode().split("/")[0]
        s = self.peer.open("write", path="/tmp/data")
        s.write(self.data)
        s.close()
        assert s.wait() == {"bytes": str(self.size)}

    def shell(self, command):
        s = self.peer.run("sh", "-c", command)
        assert s.result == {"exit": "0"}, (command, s.result, s.stderr)
        return s.stdout

    def rate(self, began):
        return self.size / (time.monotonic() - began) / 1e6

    # ---- out of the guest

    def bare_out(self, command):
        """From the first byte on."""
        s = self.peer.exec("sh", "-c", command.format(port=self.port))
        left, began = self.size, None
        while left > 0:
            left -= len(self.bare.recv(1 << 18))
            began = began or time.monotonic()
        rate = self.rate(began)
        assert s.wait() == {"exit": "0"}, s.stderr
        return rate

    def stream_out(self, s):
        """From the first byte on."""
        self.peer.until(lambda: s.received or s.out[1])
        began = time.monotonic()
        self.peer.until(lambda: s.result is not None)
        return self.rate(began)

    def exec_out(self):
        s = self.peer.exec("dd", "if=/dev/zero", "bs=64k", f"count={self.size >> 16}")
        rate = self.stream_out(s)
        assert s.stdout == bytes(self.size), "not byte for byte"
        return rate

    def copy_out(self):
        """As `viv cp` does it."""
        s = self.peer.open("tree-read", path="/tmp/data")
        rate = self.stream_out(s)
        self.tree = s.stdout
        return rate

    def read_out(self):
        """As `viv cp VM:FILE -` does it."""
        s = self.peer.open("read", path="/tmp/data")
        rate = self.stream_out(s)
        assert s.stdout == self.data, "not byte for byte"
        return rate

    # ---- into the guest

    def bare_in(self):
        s = self.peer.exec("sh", "-c", f"head -c {self.size} {self.port} > /tmp/in")
        self.peer.until(lambda: s.started)
        began = time.monotonic()
        self.bare.sendall(self.data)
        assert s.wait() == {"exit": "0"}, s.stderr
        return self.rate(began)

    def copy_in(self):
        """What copy_out has brought: the two files are the same, or neither copy was good."""
        s = self.peer.open("tree-write", path="/tmp/copy")
        began = time.monotonic()
        s.write(self.tree)
        s.close()
        assert s.wait()["bytes"] == str(self.size)
        rate = self.rate(began)
        self.shell("cmp /tmp/data /tmp/copy")
        return rate

    # ---- commands

    def spawn_ms(self):
        """What a start and an end of /bin/true take there, by a shell: fork, exec, wait."""
        began = time.monotonic()
        self.shell("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done" % SPAWNS)
        return (time.monotonic() - began) * 1e3 / SPAWNS

    def nothing_ms(self):
        """exec of a program of one page that ends at once: what is left is the agent and the kernel."""
        s = self.peer.open("write", path="/tmp/nothing", mode=0o755)
        s.write(NOTHING)
        s.close()
        assert s.wait() == {"bytes": str(len(NOTHING))}
        assert self.peer.run("/tmp/nothing").result == {"exit": "0"}
        return round_trip_ms(lambda: self.peer.run("/tmp/nothing"))

    def rss_kib(self):
        return int(self.shell("grep VmRSS /proc/$(pidof viv-agent)/status").split()[1])


def round_trip_ms(act):
    times = []
    for _ in range(TRIPS):
        began = time.monotonic()
        act()
        times.append((time.monotonic() - began) * 1e3)
    return statistics.median(times)


def measure(g):
    direct = "dd if=/dev/zero of={port} bs=32k count=%d 2>/dev/null" % (g.size >> 15)
    piped = "dd if=/dev/zero bs=64k count=%d 2>/dev/null | dd of={port} bs=32k 2>/dev/null" % (g.size >> 16)
    from_file = "dd if=/tmp/data of={port} bs=32k 2>/dev/null"
    piped_file = "cat /tmp/data | dd of={port} bs=32k 2>/dev/null"
    columns = {"bare_out": lambda: g.bare_out(direct), "piped_out": lambda: g.bare_out(piped), "exec_out": g.exec_out,
               "bare_file_out": lambda: g.bare_out(from_file), "piped_file_out": lambda: g.bare_out(piped_file),
               "copy_out": g.copy_out, "read_out": g.read_out, "bare_in": g.bare_in, "copy_in": g.copy_in}
    rounds = [{k: f() for k, f in columns.items()} for _ in range(ROUNDS)]
    found = {f"{k}_mb_s": round(statistics.median(r[k] for r in rounds), 1) for k in columns}
    for name, ours, theirs in (("exec_of_bare", "exec_out", "bare_out"), ("exec_of_piped", "exec_out", "piped_out"),
                               ("copy_of_bare", "copy_out", "bare_file_out"),
                               ("copy_of_piped", "copy_out", "piped_file_out"),
                               ("read_of_bare", "read_out", "bare_file_out"),
                               ("read_of_piped", "read_out", "piped_file_out"), ("copy_in_of_bare", "copy_in", "bare_in")):
        found[name] = round(statistics.median(r[ours] / r[theirs] for r in rounds), 2)
    found["ping_ms"] = round(round_trip_ms(g.peer.ping), 2)
    found["exec_true_ms"] = round(round_trip_ms(lambda: g.peer.run("/bin/true")), 2)
    found["exec_nothing_ms"] = round(g.nothing_ms(), 2)
    found["spawn_true_ms"] = round(statistics.median(g.spawn_ms() for _ in range(ROUNDS)), 2)
    found["rss_kib"] = g.rss_kib()
    return found


def run(image, mib):
    with tempfile.TemporaryDirectory() as folder:
        qemu, peer, bare = boot(image, folder)
        try:
            return {"mib": mib, **measure(Guest(peer, bare, mib))}
        finally:
            qemu.kill()
            qemu.wait()
            bare.close()
            peer.sock.close()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 16)))
