"""Cloud Hypervisor's driver, end to end against the double of tests/stub: life, deaths of ours, and a VMM that misbehaves."""

import json
import os
import random
import signal

import pytest
import vivtest

HERE = os.path.dirname(os.path.abspath(__file__))
STUB = os.path.join(os.path.dirname(HERE), "stub")
# A file of its own for each test: what a binary says of itself is remembered by the file's identity.
LAUNCHER = f"""#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {STUB!r})
from chdouble.main import main
sys.exit(main(sys.argv))
"""
SEED = int(os.environ.get("VIV_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
CYCLES = 20
NO_KVM = ["io_uring"]  # a binary that was built without KVM needs none


class Lab:
    """A state root whose cloud-hypervisor is the double, told what to do."""

    def __init__(self, root):
        self.root, self.base = root, os.path.dirname(root.home)
        self.conf = os.path.join(self.base, "double.json")
        self.kernel = os.path.join(self.base, "vmlinuz")
        head = bytearray(0x400)  # what a bzImage begins with
        head[0x1fe:0x200], head[0x202:0x206], head[0x206:0x208] = b"\x55\xaa", b"HdrS", b"\x0f\x02"
        head[0x1f1], head[0x211], head[0x236] = 1, 1, 3
        with open(self.kernel, "wb") as f:
            f.write(head)
        self.count = 0
        self.does()

    def does(self, **conf):
        """What the VMM of the next runs does."""
        self.count += 1
        binary = os.path.join(self.base, f"cloud-hypervisor-{self.count}")
        with open(binary, "w", encoding="utf-8") as f:
            f.write(LAUNCHER)
        os.chmod(binary, 0o755)
        self.root.env.update(VIV_CLOUD_HYPERVISOR=binary, CH_DOUBLE_CONF=self.conf)
        with open(self.conf, "w", encoding="utf-8") as f:
            json.dump({"features": NO_KVM, **conf}, f)

    def vm(self, name="web", **fields):
        fields.setdefault("nets", [])
        self.root("create", "-f", self.root.config(name, driver="cloud-hypervisor", boot={"kernel": self.kernel}, **fields))
        return vivtest.VM(self.root, name)

    def left(self):
        """Sockets, FIFOs and other files of runs; what is not of a run stays."""
        base = os.path.join(self.root.home, "run")
        return sorted(os.path.join(where[len(base):], n) for where, _, names in os.walk(base) for n in names
                      if n not in ("uuid", "control.sock"))


@pytest.fixture
def lab(root):
    return Lab(root)


@pytest.mark.parametrize("version", ["51.0", "52.0", "53.0", "head"])
def test_the_whole_life(lab, version):
    lab.does(version=version)
    vm = lab.vm().boot()
    info = vm.info()
    assert (info["driver"], info["state"], info["ready"]["proof"]) == ("cloud-hypervisor", "running", "marker")
    assert info["vmm"]["version"].startswith(version.replace("head", "54"))
    assert vm("pause").out == "web: paused\n" and vm.info()["state"] == "paused"
    assert vm("resume").out == "web: running\n"
    with vm.console() as c:
        c.send("~")
        c.expect("~")
    vm("reboot", "--hard")
    vm("wait", "ready")
    assert (vm.info()["boot"], vm.info()["run"], vm.info()["vmm"]) == (2, 1, info["vmm"])
    with vm.console() as c:
        c.send("r")
        vm.until("the reboot is told", lambda: vm.info()["boot"] == 3)
    vm("wait", "ready")
    vm("reboot")
    vm("wait", "ready")
    assert vm.info()["run"] == 2
    r = vm("stop", "-o", "json").json()
    assert (r["changed"], r["state"], r["rung"]) == (True, "stopped", "acpi")
    assert vm.serial().count(b"VMRS_READY") == 4 and lab.left() == []


def test_a_guest_that_ignores_its_button(lab):
    lab.does(button=None)
    vm = lab.vm().boot()
    r = vm("stop", "-t", "1", "-o", "json").json()
    assert (r["state"], r["rung"]) == ("stopped", "vmm")


def test_a_paused_guest_is_resumed_to_be_stopped(lab):
    vm = lab.vm().boot()
    vm("pause")
    r = vm("stop", "-o", "json").json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")


@pytest.mark.parametrize("conf, state, reason", [
    ({"guest": {"do": [[300, "p"]]}}, "stopped", "guest-poweroff"),
    ({"guest": {"do": [[300, "k"]]}}, "failed", "guest-panic"),
    ({"exit": {"after": 600, "code": 1}}, "failed", "vmm-exit"),
    ({"exit": {"after": 600, "signal": 31}}, "failed", None),
    ({"exit": {"after": 600, "signal": 9}}, "failed", "vmm-signal"),
    ({"lose_events": ["*"], "guest": {"do": [[300, "p"]]}}, None, None),
])
def test_every_way_to_end(lab, conf, state, reason):
    """Also when no event came: then it ends all the same, and only the reason is less certain."""
    lab.does(**conf)
    vm = lab.vm()
    vm("start")
    got = vm.ended()
    assert state in (None, got[0]) and reason in (None, got[1]), got
    assert lab.left() == []


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",), ("keeper", "monitor")], ids=["monitor", "keeper", "both"])
def test_kill_9_storm(lab, victims):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    lines = [[300 + 20 * n, f"line {n}\r\n"] for n in range(1, 400)]
    lab.does(guest={"print": lines})
    vm = lab.vm().boot()
    before = vm.info()
    for _ in range(6):
        size = vm.serial_size() + rng.randrange(1, 200)
        vm.until("the log grows", lambda size=size: vm.serial_size() > size)
        now = vm.processes()
        for who in victims:
            vivtest.kill(now[who])
        for who in victims:
            vivtest.wait_gone(now[who])
        if len(victims) == 2:
            vm("wait", "running", "-t", "20")
        vm.until("it is adopted", lambda now=now: all(vm.processes().get(v, now[v]) != now[v] for v in victims))
    vm.until("the last line", lambda: b"line 399\r\n" in vm.serial(), deadline=60)
    numbers = [int(w.split()[1]) for w in vm.serial().splitlines() if w.startswith(b"line ")]
    assert numbers == list(range(1, 400))
    info = vm.info()
    assert (info["vmm"], info["run"], info["boot"], info["ready"]) == (before["vmm"], 1, 1, before["ready"])
    assert vm.serial().count(b"VMRS_READY") == 1
    vm("stop")
    assert lab.left() == []


def test_events_among_noise(lab):
    lab.does(event_noise="?! }{\n")
    vm = lab.vm().boot()
    with vm.console() as c:
        c.send("r")
        vm.until("the reboot is told", lambda: vm.info()["boot"] == 2)
    vm("wait", "ready")
    assert vm("stop", "-o", "json").json()["state"] == "stopped"


@pytest.mark.parametrize("at", ["vmm.ping", "vm.create", "vm.boot"])
@pytest.mark.parametrize("do", [{"do": "garbage"}, {"do": "huge"}, {"do": "half"}, {"do": "close"}, {"do": "exit", "code": 3},
                                {"do": "signal"}, {"do": "error", "text": ["Error from API", "The VM could not", "no mood"]}],
                         ids=lambda f: f["do"])
def test_a_start_that_the_vmm_spoils(lab, at, do):
    """One clear error, and nothing is left: no process, no socket, and the next start works."""
    lab.does(faults=[{"at": at, "nth": 1, **do}])
    vm = lab.vm()
    r = vm("start", code=None)
    if r.code == 0:  # this driver does not ask that, or asks again
        assert vm.info()["state"] == "running"
        vm("kill")
        return
    lines = r.err.splitlines()
    assert lines[0].startswith("viv: start web: ") and len([w for w in lines if w.startswith("viv:")]) == 1, r
    if do["do"] == "error":
        assert "no mood" in r.err
    assert vm.info()["state"] == "failed" and vm.info()["vmm"] is None and lab.left() == []
    lab.does()
    vm.boot()
    vm("kill")


def test_a_vmm_that_hangs_in_its_boot(lab):
    lab.does(faults=[{"at": "vm.boot", "do": "hang"}])
    vm = lab.vm()
    r = vm("start", "-t", "1", code=None)
    assert r.code == 6, r
    vm("kill")
    assert vm.info()["state"] in ("stopped", "failed") and lab.left() == []


def test_a_vmm_that_never_listens(lab):
    lab.does(start_delay=10**6)
    vm = lab.vm()
    r = vm("start", "-t", "1", code=None)
    assert r.code == 6, r
    vm("kill")
    assert lab.left() == []


def test_a_vmm_that_ends_at_once(lab):
    lab.does(no_kvm="EACCES")
    vm = lab.vm()
    r = vm("start", code=1)
    assert "Permission denied (os error 13)" in r.err or "Failed to open hypervisor interface" in r.err, r
    assert lab.left() == []


def test_a_slow_answer_is_waited_for(lab):
    lab.does(faults=[{"at": "vm.boot", "do": "slow", "ms": 2}, {"at": "vm.create", "do": "delay", "ms": 300}])
    lab.vm().boot()("kill")


def test_a_busy_api_is_not_a_dead_vmm(lab):
    lab.does(faults=[{"at": "vm.pause", "do": "hang"}])
    vm = lab.vm().boot()
    r = vm("pause", "-t", "1", code=None)
    assert r.code == 6, r
    assert vivtest.alive(vm.info()["vmm"]) and vm.info()["state"] == "running"
    vm("kill")


def test_an_error_carries_the_whole_chain(lab):
    lab.does(faults=[{"at": "vm.pause", "do": "error", "text": ["Error from API", "The VM could not be paused", "no mood"]}])
    vm = lab.vm().boot()
    r = vm("pause", code=1)
    assert "no mood" in r.err and "could not be paused" in r.err
    assert vm.info()["state"] == "running"


def test_a_disk_that_another_vm_has(lab):
    disk = os.path.join(lab.base, "d.img")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    lab.vm("one", disks=[{"id": "d", "path": disk}]).boot()
    two = lab.vm("two", disks=[{"id": "d", "path": disk}])
    r = two("start", code=None)
    assert r.code != 0 and disk in r.err + str(two.info()["reason"]) or "lock" in r.err.lower(), r


def test_nothing_is_sent_that_the_version_does_not_know(lab):
    journal = os.path.join(lab.base, "journal")
    disk = os.path.join(lab.base, "d.img")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    for version in ("51.0", "52.0", "53.0"):
        lab.does(version=version, journal=journal)
        vm = lab.vm("v" + version.replace(".", "-"), disks=[{"id": "d", "path": disk, "readonly": True}], cpus=2).boot()
        vm("pause")
        vm("stop")
    with open(journal, encoding="utf-8") as f:
        entries = [json.loads(line) for line in f]
    assert {e["path"].rsplit("/", 1)[1] for e in entries} >= {"vm.create", "vm.boot", "vm.pause", "vm.power-button"}
    assert [e["complaints"] for e in entries if e.get("complaints")] == []


COME_AND_GO = ("uuid", "control.sock", "vmm.log")  # the monitor's, until it is idle; and words of the VMM, if any


def below(base):
    """The names of all files of a state root."""
    return sorted(os.path.join(where, n) for where, dirs, names in os.walk(base) for n in dirs + names)


def cycles(lab, count):
    vm = lab.vm()
    vm("start")
    vm("kill")
    fds, gone, files = len(os.listdir("/proc/self/fd")), [], set(below(lab.root.home))
    for _ in range(count):
        vm("start")
        gone += vm.processes().values()
        vm("kill")
    for p in gone:
        vivtest.wait_gone(p)
    assert len(os.listdir("/proc/self/fd")) == fds and lab.left() == []
    assert [p for p in below(lab.root.home) if p not in files and os.path.basename(p) not in COME_AND_GO] == []


def test_cycles_leave_nothing(lab):
    cycles(lab, CYCLES)


@pytest.mark.stress
def test_many_cycles_leave_nothing(lab):
    cycles(lab, 200)


def test_death_by_seccomp_is_told_as_such(lab):
    vm = lab.vm().boot()
    vivtest.kill(vm.info()["vmm"], signal.SIGSYS)
    assert vm.ended()[0] == "failed"
    assert "signal 31" in vm.info()["reason"]["text"]
