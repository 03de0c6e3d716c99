#!/usr/bin/python3
"""viv-agent beside a bare program on the same kind of channel: throughput, round trip, memory.

    bench/agent.py IMAGE [MIB]      IMAGE: a directory made by viv-guest-build demo

Boots the demo guest under emulation with two virtio-serial ports. In one run, the same number of bytes
comes out of the guest by `dd` straight into the second port, and by `dd` through exec's stdout over the
agent's port. Prints one JSON object; "ratio" is exec's throughput over the bare one's.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/agent"))
import wire  # noqa: E402

ROUNDS = 50
DEADLINE_S = 600


def boot(image, folder):
    """The VMM, the agent's peer, and the bare port's socket."""
    ports = []
    for name in ("vivarium.agent.0", "bench.bare.0"):
        path = os.path.join(folder, name)
        ports += ["-chardev", f"socket,id={name},path={path},server=on,wait=off",
                  "-device", f"virtserialport,chardev={name},name={name}"]
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "256", "-display", "none", "-nodefaults",
         "-nic", "none", "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initramfs", "-append",
         "cryptomgr.notests quiet vivguest.noshell", "-device", "virtio-serial-pci", *ports])
    wire.DEADLINE_S = DEADLINE_S
    peer = wire.Peer(wire.connect(os.path.join(folder, "vivarium.agent.0")), pad=65552).meet()
    bare = wire.connect(os.path.join(folder, "bench.bare.0"))
    return qemu, peer, bare


def bare_port(peer):
    """The device of the second port in the guest."""
    s = peer.run("sh", "-c", "cd /sys/class/virtio-ports; grep -l bench.bare.0 */name")
    return "/dev/" + s.stdout.decode().split("/")[0]


def bare_rate(peer, bare, device, blocks):
    s = peer.exec("dd", "if=/dev/zero", f"of={device}", "bs=32k", f"count={blocks}")
    left, begin = blocks * 32768, None
    bare.settimeout(DEADLINE_S)
    while left > 0:
        got = len(bare.recv(1 << 18))
        begin = begin or time.monotonic()
        left -= got
    seconds = time.monotonic() - begin
    s.wait()
    return blocks * 32768 / seconds / 1e6


def exec_rate(peer, blocks):
    s = peer.exec("dd", "if=/dev/zero", "bs=32k", f"count={blocks}")
    peer.until(lambda: s.received or s.out[1], DEADLINE_S)
    begin = time.monotonic()
    peer.until(lambda: s.result is not None, DEADLINE_S)
    assert len(s.stdout) == blocks * 32768, len(s.stdout)
    return blocks * 32768 / (time.monotonic() - begin) / 1e6


def round_trip_ms(act):
    times = []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        act()
        times.append((time.monotonic() - begin) * 1e3)
    return sorted(times)[ROUNDS // 2]


def rss_kib(peer):
    s = peer.run("sh", "-c", "grep VmRSS /proc/$(pidof viv-agent)/status")
    return int(s.stdout.split()[1])


def main():
    image, mib = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    with tempfile.TemporaryDirectory() as folder:
        qemu, peer, bare = boot(image, folder)
        try:
            device = bare_port(peer)
            rates = [(bare_rate(peer, bare, device, mib * 32), exec_rate(peer, mib * 32)) for _ in range(3)]
            found = {"mib": mib, "bare_mb_s": [round(r[0], 1) for r in rates],
                     "exec_mb_s": [round(r[1], 1) for r in rates],
                     "ratio": round(sorted(r[1] / r[0] for r in rates)[1], 2),
                     "ping_ms": round(round_trip_ms(peer.ping), 2),
                     "exec_true_ms": round(round_trip_ms(lambda: peer.run("true")), 2),
                     "rss_kib": rss_kib(peer)}
        finally:
            qemu.kill()
            qemu.wait()
            bare.close()
            peer.sock.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
