"""A NIC that is given as an open TAP descriptor: who holds it, for how long, and what cannot be done with it."""

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess

import pytest
import vivtest
from test_ch_double import Lab


@contextlib.contextmanager
def tap(**kw):
    """An open TAP device and its name."""
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(vivtest.tap(**kw))
        except OSError as e:
            pytest.skip(f"needs /dev/net/tun and the right to make a TAP device: {e.strerror}")
        yield device


def holds(pid, name):
    """Whether that process has the TAP device open."""
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
            if f"iff:\t{name}\n" in f.read():
                return True
    return False


def held_by(vm, name):
    return {who for who, p in vm.processes().items() if holds(p["pid"], name)}


def is_there(name):
    return os.path.exists(f"/sys/class/net/{name}")


@pytest.fixture
def lab(root):
    lab = Lab(root)
    lab.journal = os.path.join(lab.base, "journal")
    return lab


def requests(lab):
    """(endpoint, descriptors with it) of what changes something, in order."""
    with open(lab.journal, encoding="utf-8") as f:
        entries = [json.loads(line) for line in f]
    return [(e["path"].rsplit("/", 1)[1], e["fds"]) for e in entries if e.get("method") == "PUT"]


def started(lab, conf=None, **fields):
    """A VM with a NIC whose descriptor only viv start had, its VMM, keeper and monitor."""
    lab.does(journal=lab.journal, **(conf or {}))
    with tap() as (fd, name):
        vm = lab.vm(nets=[{"id": "n0", "type": "fd", "fd": fd}], **fields)
        vm("start", "--wait", pass_fds=[fd])
    return vm, name


def test_one_that_is_down_is_refused(lab):
    """A VMM that cannot write a packet ends the NIC for good, as a real one showed; a reboot looks again."""
    with tap(up=False) as (fd, name):
        vm = lab.vm(nets=[{"id": "n0", "type": "fd", "fd": fd}])
        r = vm("start", code=2, pass_fds=[fd])
        assert r.err.startswith(f"viv: start web: nets.n0.fd: {name} is down, ") and f"ip link set {name} up" in r.err, r
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        vm("start", "--wait", pass_fds=[fd])
        subprocess.run(["ip", "link", "set", name, "down"], check=True)
        assert f"{name} is down" in vm("reboot", code=2).err
    assert vm.info()["state"] == "running"


def test_it_is_added_before_the_boot_and_held_until_the_end(lab):
    vm, name = started(lab)
    assert requests(lab) == [("vm.create", 0), ("vm.add-net", 1), ("vm.boot", 0)]
    assert held_by(vm, name) == {"keeper", "monitor", "vmm"}
    vm("reboot")
    vm("wait", "ready")
    assert vm.info()["run"] == 2 and held_by(vm, name) == {"keeper", "monitor", "vmm"}
    with socket.socket(socket.AF_UNIX) as client:  # somebody is there, so keeper and monitor stay
        client.connect(glob.glob(os.path.join(vm.root.home, "run", "*", "control.sock"))[0])
        vm("stop")
        vm.until("the TAP device is gone", lambda: not is_there(name))
        assert {"keeper", "monitor"} <= set(vm.processes())
    for number in range(3, 9):  # no descriptor of viv's own is taken for it
        vm("set", f"nets.n0.fd={number}")
        r = vm("start", code=2)
        assert r.err.startswith("viv: start web: nets.n0.fd: its TAP device did not come with this start"), number
    assert "hint: open it for the command: viv start web " in r.err


def test_a_restart_needs_nobody_who_gives_it_again(lab):
    vm, name = started(lab, restart={"policy": "always", "backoff": "10ms"})
    vivtest.kill(vm.processes()["vmm"])
    vm.until("it runs again", lambda: vm.state()["run"] == 2 and vm.info()["ready"])
    assert "vmm" in held_by(vm, name)
    vm("kill")


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",)], ids="-".join)
def test_it_outlives_one_of_those_who_hold_it(lab, victims):
    vm, name = started(lab)
    before = vm.processes()
    for who in victims:
        vivtest.kill(before[who])
    vm.until("both are there again", lambda: {"keeper", "monitor"} <= held_by(vm, name))
    assert vm.processes()["vmm"] == before["vmm"]
    vm("reboot")
    assert held_by(vm, name) == {"keeper", "monitor", "vmm"}
    vm("kill")


def test_without_keeper_and_monitor_it_is_the_running_vmm_s_alone(lab):
    vm, name = started(lab)
    before = vm.processes()
    os.kill(before["monitor"]["pid"], signal.SIGSTOP)  # or it becomes a keeper before it is killed
    for who in ("keeper", "monitor"):
        vivtest.kill(before[who])
    vm.until("nobody else has it", lambda: held_by(vm, name) <= {"vmm"})
    assert "nets.n0.fd: its TAP device did not come" in vm("reboot", code=2).err
    assert vm.info()["state"] == "running" and held_by(vm, name) == {"vmm"}
    vm("kill")


def test_a_monitor_that_dies_before_the_nic_is_added(lab):
    """The next one finds a machine without it: it adds it, and boots."""
    lab.does(journal=lab.journal, faults=[{"at": "vm.add-net", "do": "delay", "ms": 300, "times": 1}])
    with tap() as (fd, name):
        vm = lab.vm(nets=[{"id": "n0", "type": "fd", "fd": fd}])
        with vm.root.popen("start", "--wait", "web", pass_fds=[fd]) as starting:
            vm.until("it is being added", lambda: os.path.exists(lab.journal) and "vm.create" in dict(requests(lab)))
            vivtest.kill(vm.processes()["monitor"])
            assert starting.wait(vivtest.DEADLINE) == 0
    assert "vmm" in held_by(vm, name)
    nets = json.loads(vm("api", "GET", "vm.info").out)["config"]["net"]
    assert [n["id"] for n in nets] == ["net-n0"]
    vm("kill")


def test_without_an_api_it_is_inherited(lab):
    vm, name = started(lab, cloud_hypervisor={"mode": "cli"})
    assert held_by(vm, name) == {"keeper", "monitor", "vmm"}
    vm("kill")


@pytest.mark.parametrize("flags, text", [(vivtest.TAP | vivtest.NO_PI, "was opened without IFF_VNET_HDR"),
                                         (1 | vivtest.NO_PI, "what was given is no TAP device")])
def test_what_is_no_such_tap_is_refused(lab, flags, text):
    with tap(flags=flags) as (fd, name):
        vm = lab.vm(nets=[{"id": "n0", "type": "fd", "fd": fd}])
        r = vm("start", code=2, pass_fds=[fd])
    assert r.err.startswith("viv: start web: nets.n0.fd: ") and text in r.err
    vm.until("nobody holds it", lambda: not is_there(name))
    assert vm.info()["state"] == "created"


def test_what_is_no_device_at_all_is_refused(lab):
    with open("/dev/null", "rb") as f:
        vm = lab.vm(nets=[{"id": "n0", "type": "fd", "fd": f.fileno()}])
        r = vm("start", code=2, pass_fds=[f.fileno()])
    assert "nets.n0.fd: what was given is no TAP device" in r.err


def test_it_cannot_move_nor_be_saved_nor_come_later(lab):
    vm, _ = started(lab)
    text = "nets.n0: a NIC that was given as a descriptor cannot be"
    assert f"{text} saved" in vm.root("snapshot", "create", "web", "s1", code=5).err
    assert f"{text} migrated" in vm("upgrade", code=5).err
    assert f"{text} migrated" in vm("migrate", f"root:{lab.base}/other", code=5).err
    changes = vm("set", "nets.+n1.type=fd", "-o", "json").json()["changes"]
    assert {(c["applied"], c["reason"]) for c in changes if c["path"] == "nets.n1"} == {
        ("next-start", "a NIC of type fd comes and goes with a start")}
    vm("kill")


def test_a_real_guest_under_qemu_has_it(root, guest):
    with tap() as (fd, name):
        vm = root.qemu("web", guest, nets=[{"id": "n0"}, {"id": "n1", "type": "fd", "fd": fd}],
                       agent="on")
        vm("start", "--wait", pass_fds=[fd], deadline=vivtest.BOOT_DEADLINE)
    assert held_by(vm, name) == {"keeper", "monitor", "vmm"}
    assert "eth1" in vm("exec", "--", "ls", "/sys/class/net").out
    mac = [n["mac"] for n in vm.info()["config"]["nets"]][1]
    assert vm("exec", "--", "cat", "/sys/class/net/eth1/address").out.strip() == mac
    vm("kill")
    vm.until("the TAP device is gone", lambda: not is_there(name))
