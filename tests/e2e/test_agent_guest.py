"""What the agent does to the system it runs in: each request and each event in a real guest.

A second agent runs in the guest beside the one that the monitor has. It is spoken to directly, over a program of
the guest that joins its socket to our end; what it did is asked of the guest by `viv exec`. The tests of this file
share a guest and leave it as it was.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
import vivtest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "agent"))
import wire  # noqa: E402

DEADLINE = vivtest.BOOT_DEADLINE
AGENT = "setsid viv-agent --tcp 127.0.0.1:999 --state /tmp/second </dev/null >/dev/null 2>&1 & echo $!"
BRIDGE = "until nc 127.0.0.1 999; do :; done"  # until it listens


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(wire, "DEADLINE_S", DEADLINE)  # emulated


@pytest.fixture(scope="module")
def vm(module_root, guest, tmp_path_factory):
    image = tmp_path_factory.mktemp("agent") / "data.img"
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, env={"PATH": "/sbin:/usr/sbin:/bin:/usr/bin"})
    return module_root.qemu("web", guest, agent={"enabled": "on"}, cpus={"count": 2}, memory={"size": "256MiB", "max": "1GiB"},
                            disks=[{"id": "data", "path": str(image)}]).boot()


def run(vm, command):
    return vm("exec", "--", "sh", "-c", command, deadline=DEADLINE).out.strip()


class Second:
    """The second agent and a host that has it."""

    def __init__(self, vm):
        self.vm, self.bridge, self.pid = vm, None, None
        self.start()

    def start(self):
        self.pid = run(self.vm, AGENT)
        ours, theirs = socket.socketpair()
        self.bridge = subprocess.Popen([self.vm.root.viv, "exec", "-i", self.vm.name, "--", "sh", "-c", BRIDGE],
                                       env=self.vm.root.env, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        self.host = wire.Peer(ours).meet()

    def kill(self):
        run(self.vm, f"kill -9 {self.pid}")
        self.host.sock.close()
        self.bridge.wait(DEADLINE)


@pytest.fixture
def second(vm):
    s = Second(vm)
    yield s
    s.kill()


@pytest.fixture
def host(second):
    return second.host


def told(host, name):
    """The next event of that name."""
    host.until(lambda: [e for _, e in host.events if e["event"] == name])
    return next(e for _, e in host.events if e["event"] == name)


def test_info_is_what_the_guest_itself_says(vm, host):
    run(vm, """printf 'ID=demo\\nPRETTY_NAME="Demo guest"\\nVERSION_ID=1\\n' > /etc/os-release""")
    run(vm, "mkdir -p /tmp/d && mount /dev/vda /tmp/d")
    s = host.open("info")
    assert s.wait() == {}
    run(vm, "umount /tmp/d")
    i = json.loads(s.stdout)
    assert i["hostname"] == run(vm, "hostname") and i["kernel"] == run(vm, "uname -r")
    assert (i["os"]["id"], i["os"]["name"]) == ("demo", "Demo guest")
    assert i["boot_id"] == run(vm, "cat /proc/sys/kernel/random/boot_id")
    assert i["cpus"]["online"] == 2 and i["memory"]["total"] == int(run(vm, "grep MemTotal /proc/meminfo").split()[1]) << 10
    assert i["memory"]["free"] <= i["memory"]["total"] and len(i["load"]) == 3
    assert 0 < i["uptime_ms"] <= float(run(vm, "cat /proc/uptime").split()[0]) * 1000
    disk = next(d for d in i["disks"] if d["name"] == "vda")
    assert (disk["serial"], disk["size"], disk["used"]) == ("data", 64 << 20, ["/tmp/d"])
    nic = next(n for n in i["nics"] if n["name"] == "eth0")
    assert nic["mac"] == run(vm, "cat /sys/class/net/eth0/address")
    assert i["address"] in [a["address"] for a in nic["addresses"]] and i["address"] == vm.info()["ip"]
    mount = next(m for m in i["mounts"] if m["path"] == "/tmp/d")
    assert (mount["source"], mount["type"]) == ("/dev/vda", "ext4") and 0 < mount["available"] <= mount["size"] < 64 << 20


def test_the_clock_is_set(vm, host):
    past = 1_000_000_000
    moved = host.ask("clock", realtime_ns=past * 10**9)
    assert int(moved["adjusted_ns"]) < 0
    assert 0 <= int(run(vm, "date +%s")) - past < 600
    far = 2 * 10**9 * 10**9
    assert host.ask("clock", realtime_ns=time.time_ns(), within_ns=far) == {"adjusted_ns": "0"}
    assert int(run(vm, "date +%s")) - past < 600  # near enough, so it stays
    assert int(host.ask("clock", realtime_ns=time.time_ns(), within_ns=10**9)["adjusted_ns"]) > 0
    assert abs(int(run(vm, "date +%s")) - time.time()) < 60


def test_a_fork_gets_a_name_an_id_and_random_numbers_of_its_own(vm, host):
    before = run(vm, "hostname")
    ids = []
    for n in range(2):
        assert host.ask("renew", hostname=f"fork-{n}", machine_id="new", entropy=os.urandom(64).hex()) == {}
        assert run(vm, "hostname") == f"fork-{n}"
        ids.append(run(vm, "cat /etc/machine-id"))
    assert all(re.fullmatch("[0-9a-f]{32}", i) for i in ids) and ids[0] != ids[1]
    assert host.ask("renew", hostname=before, machine_id="ab" * 16) == {}
    assert (run(vm, "hostname"), run(vm, "cat /etc/machine-id")) == (before, "ab" * 16)
    assert run(vm, "stat -c %a /etc/machine-id; ls -A /etc | grep -c viv- || :").split() == ["444", "0"]


def test_a_fork_gets_addresses_of_its_own(vm, host):
    """Its MAC, and what it then tells of its IP: to its host, and by the monitor to everybody."""
    mac, ip = run(vm, "cat /sys/class/net/eth0/address"), vm.info()["ip"]
    assert host.ask("renew", mac="eth0=52:54:00:aa:bb:cc") == {}
    assert run(vm, "cat /sys/class/net/eth0/address") == "52:54:00:aa:bb:cc"
    assert "eth7" in host.ask("renew", mac="eth7=52:54:00:aa:bb:cc")["text"]
    assert host.ask("renew", mac=f"eth0={mac}") == {}
    host.events.clear()
    run(vm, "ip addr flush dev eth0; ip addr add 10.0.2.77/24 dev eth0; ip link set eth0 up")
    host.until(lambda: ("10.0.2.77" in [e["address"] for _, e in host.events if e["event"] == "address"]))
    vm.until("everybody knows its new address", lambda: vm.info()["ip"] == "10.0.2.77", deadline=DEADLINE)
    assert vm("ip").out == "10.0.2.77\n"
    assert "10.0.2.77" in [e["ip"] for e in vm.root.events() if e["type"] == "address"]
    run(vm, f"ip addr flush dev eth0; ip addr add {ip}/24 dev eth0; ip route add default via 10.0.2.2")
    vm.until("it is back", lambda: vm.info()["ip"] == ip, deadline=DEADLINE)


def stands_still(vm, command):
    """A writer that has been stopped by the kernel: its end is the answer."""
    p = vm.root.popen("exec", vm.name, "--", "sh", "-c", f"echo $$; {command}; echo over")
    pid = p.stdout.readline().strip()
    end = time.monotonic() + DEADLINE
    while " D " not in run(vm, f"cat /proc/{pid}/stat"):
        assert time.monotonic() < end and p.poll() is None
    return p


def test_file_systems_are_frozen_and_thawed(vm, second):
    run(vm, "mkdir -p /tmp/d && mount /dev/vda /tmp/d")
    assert second.host.ask("freeze") == {"frozen": "1"}
    with stands_still(vm, "exec 3>/tmp/d/one") as p:
        assert second.host.ask("thaw") == {"thawed": "1"}
        assert p.communicate(timeout=DEADLINE)[0] == "over\n"
    assert second.host.ask("thaw") == {"thawed": "0"}
    # One that dies meanwhile leaves a note: the agent after it thaws.
    assert second.host.ask("freeze") == {"frozen": "1"}
    with stands_still(vm, "exec 3>/tmp/d/two") as p:
        second.kill()
        second.start()
        assert p.communicate(timeout=DEADLINE)[0] == "over\n"
    run(vm, "umount /tmp/d")


def test_unused_blocks_are_given_back(vm, host):
    run(vm, "mkdir -p /tmp/d && mount /dev/vda /tmp/d && dd if=/dev/zero of=/tmp/d/big bs=1M count=16 2>/dev/null && sync && "
        "rm /tmp/d/big && sync")
    assert int(host.ask("trim")["bytes"]) >= 16 << 20
    assert host.ask("trim", minimum="x")["error"] == "INVALID"
    run(vm, "umount /tmp/d")


def test_cpus_and_memory_that_are_there_are_taken_into_use(vm, host):
    run(vm, "echo 0 > /sys/devices/system/cpu/cpu1/online")
    assert run(vm, "nproc") == "1"
    assert host.ask("online-cpus", count=2) == {"onlined": "1", "online": "2"}
    assert run(vm, "nproc") == "2"
    blocks = "/sys/devices/system/memory"
    before = run(vm, f"cat {blocks}/auto_online_blocks; echo offline > {blocks}/auto_online_blocks").split()[0]
    vm.root("resize", vm.name, "--memory", "512MiB", deadline=DEADLINE)
    assert "offline" in run(vm, f"cat {blocks}/memory*/state")
    total = int(run(vm, "grep MemTotal /proc/meminfo").split()[1])
    said = host.ask("online-memory")
    assert int(said["onlined"]) > 0 and int(said["block_bytes"]) > 0 and int(said["online"]) > int(said["onlined"])
    assert int(run(vm, "grep MemTotal /proc/meminfo").split()[1]) > total + (100 << 10)
    assert "offline" not in run(vm, f"cat {blocks}/memory*/state; echo {before} > {blocks}/auto_online_blocks")


def test_load_is_told_while_somebody_watches(host):
    w = host.open("watch", load_ms=200)
    event = told(host, "load")
    assert 0 < int(event["memory_free"]) < int(event["memory_total"]) and int(event["load1"]) >= 0
    w.kill()


def test_a_process_that_memory_did_not_suffice_for_is_named(vm, host):
    host.events.clear()
    vm("exec", "--", "sh", "-c", "echo 1000 > /proc/self/oom_score_adj; exec tail /dev/zero", code=137, deadline=DEADLINE)
    assert told(host, "oom")["name"] == "tail"
    vm.until("everybody is told", lambda: any(e["type"] == "oom" and e["process"] == "tail" for e in vm.root.events()),
             deadline=DEADLINE)


def test_the_guest_is_rebooted_and_shut_down(vm):
    boot = vm.info()["boot"]
    second = Second(vm)
    assert second.host.ask("reboot") == {"by": "init"}
    vm.until("the next boot is ready", lambda: vm.info()["boot"] == boot + 1 and vm.info()["ready"], deadline=DEADLINE)
    second.host.sock.close()
    second.bridge.wait(DEADLINE)
    second = Second(vm)
    assert second.host.ask("shutdown") == {"by": "init"}
    assert vm.ended() == ("stopped", "guest-poweroff")
    second.host.sock.close()
    second.bridge.wait(DEADLINE)
