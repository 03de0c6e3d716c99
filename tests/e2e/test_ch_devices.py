"""Devices of every kind come and go under the double of Cloud Hypervisor: what it is asked, what is refused before, what waits."""

import contextlib
import json
import os
import socket

import pytest
import vivtest
from test_ch_double import Lab
from test_ch_sizes import asked, change
from test_schemas import conforms

MIB = 1 << 20
PCI = "/sys/bus/pci/devices"


@pytest.fixture
def lab(root):
    lab = Lab(root)
    lab.journal = os.path.join(lab.base, "journal")
    with contextlib.ExitStack() as stack:
        lab.stack = stack
        yield lab


def back_end(lab, name):
    """A socket on which somebody listens."""
    s = lab.stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    path = os.path.join(lab.base, name)
    s.bind(path)
    s.listen(4)
    return path


def file(lab, name, size=4 * MIB):
    path = os.path.join(lab.base, name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def booted(lab, conf=None, **fields):
    lab.does(journal=lab.journal, **(conf or {}))
    return lab.vm(**fields).boot()


def device(lab, kind):
    """What to set for one device of that kind, its path, the verb, and the body that Cloud Hypervisor gets."""
    sock, disk = back_end(lab, "s"), file(lab, "f")
    pci = (sorted(os.listdir(PCI)) or [None])[0] if os.path.isdir(PCI) else None
    if kind == "vfio" and pci is None:
        pytest.skip("this host has no PCI device to name")
    return {
        "disk": (["disks.+x.path=" + disk], "disks.x", "vm.add-disk", {"id": "disk-x", "path": disk, "image_type": "Raw"}),
        "net": (["nets.+x.type=tap", "nets.+x.tap=tap7"], "nets.x", "vm.add-net", {"id": "net-x", "tap": "tap7"}),
        "vhost-net": (["nets.+x.type=vhost-user", "nets.+x.socket=" + sock], "nets.x", "vm.add-net",
                      {"id": "net-x", "vhost_user": True, "vhost_socket": sock}),
        "share": (["shares.+x.socket=" + sock, "shares.+x.tag=home"], "shares.x", "vm.add-fs",
                  {"id": "share-x", "tag": "home", "socket": sock}),
        "pmem": (["pmem.+x.path=" + disk], "pmem.x", "vm.add-pmem", {"id": "pmem-x", "file": disk, "discard_writes": False}),
        "vsock": (["vsock.cid=9"], "vsock.cid", "vm.add-vsock", {"id": "vsock", "cid": 9}),
        "vdpa": (["vdpa.+x.path=/dev/null"], "vdpa.x", "vm.add-vdpa", {"id": "vdpa-x", "path": "/dev/null", "num_queues": 1}),
        "vfio": ([f"devices.+x.vfio={pci}"], "devices.x", "vm.add-device", {"id": "vfio-x", "path": f"{PCI}/{pci}"}),
        "user": (["user_devices.+x.socket=" + sock], "user_devices.x", "vm.add-user-device", {"id": "user-x", "socket": sock}),
        "vhost-user": (["vhost_user.+x.socket=" + sock, "vhost_user.+x.device=29"], "vhost_user.x",
                       "vm.add-generic-vhost-user",
                       {"id": "vhost-user-x", "socket": sock, "device_type": 29, "queue_sizes": [256]}),
    }[kind]


KINDS = ["disk", "net", "vhost-net", "share", "pmem", "vsock", "vdpa", "vfio", "user", "vhost-user"]
STAY = {"vdpa": "vDPA", "vhost-user": "generic vhost-user"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_of_each_kind_comes_and_goes(lab, kind):
    words, path, verb, body = device(lab, kind)
    vm = booted(lab, {"eject": 200}, agent="off", memory={"size": "256MiB", "shared": "on"}, sandbox={"landlock": "off"})
    assert change(vm, *words) == {path: ("now", None)}
    sent = asked(lab, verb)
    assert len(sent) == 1 and body.items() <= sent[0].items(), sent
    if kind in STAY:
        why = f"Cloud Hypervisor takes no {STAY[kind]} devices away while a VM runs"
        assert change(vm, path + "-") == {path: ("next-start", why)}
        assert asked(lab, "vm.remove-device") == []
        return
    assert change(vm, path + "-") == {path: ("now", None)}
    assert asked(lab, "vm.remove-device") == [{"id": body["id"]}]
    assert vm.info()["pending"] is None
    assert change(vm, *words) == {path: ("now", None)}  # and may come again


@pytest.mark.parametrize("kind", ["share", "user", "vhost-user", "vhost-net"])
def test_what_other_processes_serve_needs_memory_that_they_can_map(lab, kind):
    words, path, verb, _ = device(lab, kind)
    vm = booted(lab, memory="256MiB")
    what, why = change(vm, *words)[path]
    assert (what, why) == ("next-start", "other processes cannot map this run's memory (memory.shared)")
    assert asked(lab, verb) == []
    vm("reboot")
    vm("wait", "ready")
    assert vm.info()["pending"] is None and asked(lab, "vm.create")[1]["memory"]["shared"] is True


def test_the_one_vsock_is_listed_and_goes_by_the_name_of_its_kind(lab):
    vm = booted(lab, agent="off", sandbox={"landlock": "off"})

    def listed():
        rows = vm.root("device", "ls", vm.name, "-o", "json").json()
        conforms(rows, "device")
        return [(r["id"], r["what"], r["live"], r["next"], r["pending"]) for r in rows if r["kind"] == "vsock"]

    assert listed() == []
    vm.root("device", "add", vm.name, "vsock", "cid=9")
    assert listed() == [("vsock", "cid 9", True, True, None)]
    vm.root("device", "rm", "--next", vm.name, "vsock")
    assert listed() == [("vsock", "cid 9", True, False, "remove")]
    vm.root("device", "rm", vm.name, "vsock", "vsock")  # as it is listed
    assert listed() == []


def test_a_guest_with_an_agent_has_its_vsock(lab):
    vm = booted(lab)
    assert change(vm, "vsock.cid=9") == {"vsock.cid": ("next-start", "the guest has a vsock already, its agent's")}


def test_what_is_newer_than_the_vmm_is_not_sent(lab):
    words, path, verb, _ = device(lab, "vhost-user")
    vm = booted(lab, {"version": "51.0"}, memory={"size": "256MiB", "shared": "on"})
    r = vm("set", *words, code=5)
    assert f"{path}: needs Cloud Hypervisor 52 or later" in r.err
    assert asked(lab, verb) == []


@pytest.mark.parametrize("version", ["51.0", "53.0", "head"])
def test_a_device_that_the_guest_keeps_is_told_and_may_still_leave(lab, version):
    vm = booted(lab, {"version": version, "eject": 2500}, pmem=[{"id": "x", "path": file(lab, "f")}])
    what, why = change(vm, "pmem.x-", "-t", "1")["pmem.x"]
    assert what == "next-start" and "the guest has not let go of it for 1 s" in why
    vm.until("it has left", lambda: vm.info()["pending"] is None)
    assert asked(lab, "vm.remove-device") == [{"id": "pmem-x"}]


def test_a_monitor_that_dies_while_a_device_leaves(lab):
    vm = booted(lab, {"eject": 1500}, pmem=[{"id": "x", "path": file(lab, "f")}])
    p = vm.root.popen("set", vm.name, "pmem.x-", "-o", "json")
    vm.until("the VMM was asked", lambda: asked(lab, "vm.remove-device"))
    vivtest.kill(vm.processes()["monitor"])
    assert p.wait(30) == 0
    vm.until("it has left", lambda: vm.info()["pending"] is None and vm.info()["config"]["pmem"] == [])


def test_a_back_end_that_is_not_there_is_refused_before_the_vmm_waits_for_it(lab):
    vm = booted(lab, memory={"size": "256MiB", "shared": "on"})
    r = vm("set", "shares.+x.socket=" + os.path.join(lab.base, "none"), code=2)
    assert "shares.x.socket" in r.err and "no such socket" in r.err
    assert asked(lab, "vm.add-fs") == []


@pytest.mark.parametrize("kind, field", [("disk", "disks.x.path"), ("pmem", "pmem.x.path"), ("vdpa", "vdpa.x.path"),
                                         ("vfio", "devices.x.vfio"), ("net", "nets.x.tap")])
def test_a_path_outside_the_sandbox_is_refused_with_the_field_that_opens_it(lab, kind, field):
    words, path, verb, _ = device(lab, kind)
    vm = booted(lab, sandbox={"landlock": "on"})
    what, why = change(vm, *words)[path]
    assert what == "next-start" and "this run of the VM may not open it (sandbox.allow)" in why
    r = vm("set", "--live", *words, code=7)
    assert r.err.startswith(f"viv: set web: {field}: /") and "sandbox.allow" in r.err
    assert asked(lab, verb) == []


def test_what_the_sandbox_allows_comes(lab):
    words, path, _, _ = device(lab, "disk")
    vm = booted(lab, sandbox={"landlock": "on", "allow": [lab.base]})
    assert change(vm, *words) == {path: ("now", None)}
    inside = os.path.join(vm.dir, "hotplug", "more.img")
    with open(inside, "wb") as f:
        f.truncate(MIB)
    assert change(vm, "disks.+y.path=" + inside) == {"disks.y": ("now", None)}
