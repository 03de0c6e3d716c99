"""Snapshots end to end, with the double of Cloud Hypervisor: what is kept, what is refused, and who may die meanwhile."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile

import pytest
import vivtest
from conftest import processes, state_root
from test_ch_double import Lab


@pytest.fixture
def lab(root):
    return Lab(root)


def disk(lab, name, text=b"", size=8 << 20):
    path = os.path.join(lab.base, name)
    with open(path, "wb") as f:
        f.write(text)
        f.truncate(size)
    return path


def head(path):
    with open(path, "rb") as f:
        return f.read(6)


def ready(lab, **fields):
    vm = lab.vm(**fields).boot()
    return vm


def save(vm, name="one", *flags, **kw):
    return vm.root("snapshot", "create", "--allow-long-pause", vm.name, name, *flags, **kw)


def names(vm):
    return vm.root("snapshot", "ls", "-q", vm.name).out.split()


def inside(vm):
    try:
        return sorted(os.listdir(os.path.join(vm.dir, "snapshots")))
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("version", ["51.0", "53.0"])
def test_there_and_back_again(lab, version):
    lab.does(version=version)
    data, base = disk(lab, "data", b"before"), disk(lab, "base", b"base")
    vm = ready(lab, disks=[{"id": "data", "path": data}, {"id": "base", "path": base, "readonly": True}])
    with vm.console() as c:
        c.send("nn")
        c.expect("count 2")
        assert save(vm).out == "web: snapshot one\n"
        c.send("n")
        c.expect("count 3")
    assert vm.info()["state"] == "running" and names(vm) == ["one"] and inside(vm) == ["one"]
    assert sorted(os.listdir(os.path.join(vm.dir, "snapshots/one/disks"))) == ["data.img"]
    with open(data, "r+b") as f:
        f.write(b"after!")
    vm("stop")
    for n in (2, 3):  # again and again
        assert vm.root("restore", "web", "one").out == "web: goes on from one\n"
        info = vm.info()
        assert (info["state"], info["ready"]["proof"], info["ip"], info["run"]) == ("running", "inherited", "10.0.2.15", n)
        assert head(data) == b"before"
        with vm.console() as c:
            c.send("n")
            c.expect("count 3")
        vm("stop")
    assert vm.serial().count(b"VMRS_READY") == 1
    vm.boot()  # an ordinary start boots
    assert vm.info()["ready"]["proof"] == "marker" and vm.serial().count(b"VMRS_READY") == 2
    assert vm.root("snapshot", "rm", "web", "one").out == "web: snapshot one removed\n"
    assert names(vm) == [] and inside(vm) == []
    vm.root("snapshot", "rm", "web", "one", code=3)


@pytest.mark.parametrize("possible", [True, False])
def test_on_demand_where_it_can_be(lab, possible):
    lab.does(userfaultfd=possible)
    vm = ready(lab)
    with vm.console() as c:
        c.send("n")
        c.expect("count 1")
    save(vm)
    vm("stop")
    vm.root("restore", "--on-demand", "web", "one")
    assert vm.info()["state"] == "running" and vm.info()["ready"]["proof"] == "inherited"
    with vm.console() as c:
        c.send("n")
        c.expect("count 2")


def test_on_demand_needs_a_release_that_knows_it(lab):
    lab.does(version="51.0")
    vm = ready(lab)
    save(vm)
    vm("stop")
    assert "on demand needs Cloud Hypervisor 52 or later" in vm.root("restore", "--on-demand", "web", "one", code=5).err
    vm.root("restore", "web", "one")


def test_a_paused_vm_stays_paused(lab):
    vm = ready(lab)
    vm("pause")
    save(vm)
    assert vm.info()["state"] == "paused"
    assert [e["state"] for e in vm.root.events() if e["type"] == "state"] == ["starting", "running", "paused", "saving", "paused"]


def test_without_shared_data_a_long_pause_must_be_wanted(lab):
    """Nothing stands still, and nothing is left, when it is refused."""
    data = disk(lab, "data")
    if reflinks(lab.base):
        pytest.skip("this file system shares data")
    vm = ready(lab, disks=[{"id": "data", "path": data}])
    r = vm.root("snapshot", "create", "web", "one", code=5)
    assert r.err.startswith(f"viv: snapshot web: {data}: this file system cannot share data")
    assert "hint: viv snapshot create --allow-long-pause web one" in r.err
    assert inside(vm) == [] and "paused" not in [e.get("state") for e in vm.root.events()]


@pytest.fixture
def sharing(viv):
    """A lab on a file system whose files can share data."""
    if os.geteuid() != 0 or not os.path.exists("/dev/loop0") or not shutil.which("mkfs.xfs"):
        pytest.skip("needs root, loop devices and mkfs.xfs")
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(tempfile.TemporaryDirectory(prefix="viv"))
        where = stack.enter_context(vivtest.mounted(base + "/x", 320 << 20, "mkfs.xfs", "-q", "-m", "reflink=1"))
        yield Lab(stack.enter_context(state_root(viv, folder=where)))


def test_with_shared_data_there_is_no_long_pause(sharing):
    """Both ways: the copy is made of the very blocks of the disk, and so is the disk that comes back."""
    data = disk(sharing, "data", b"before" + os.urandom(1 << 20))
    vm = ready(sharing, disks=[{"id": "data", "path": data}])
    assert vm.root("snapshot", "create", "web", "one").out == "web: snapshot one\n"
    kept = os.path.join(vm.dir, "snapshots/one/disks/data.img")

    def shared():
        a, b = vivtest.extents(data), vivtest.extents(kept)
        return a == b and a and all("shared" in flags for _, flags in a)

    assert shared(), (vivtest.extents(data), vivtest.extents(kept))
    with open(data, "r+b") as f:
        f.write(b"after!")
        f.flush()
        os.fsync(f.fileno())
    assert head(kept) == b"before" and not shared()
    vm("stop")
    vm.root("restore", "web", "one")
    assert head(data) == b"before" and shared()
    vm("stop")


def reflinks(folder):
    a, b = os.path.join(folder, "a"), os.path.join(folder, "b")
    with open(a, "wb") as f:
        f.write(b"x" * 4096)
    return subprocess.run(["cp", "--reflink=always", a, b], capture_output=True, check=False).returncode == 0


def unkept(vm):
    vm.until("nobody keeps it", lambda: not processes(vm.root.home), deadline=20)


def test_what_is_refused(lab):
    data, base = disk(lab, "data"), disk(lab, "base", b"base")
    vm = ready(lab, disks=[{"id": "data", "path": data}, {"id": "base", "path": base, "readonly": True}])
    save(vm)
    assert save(vm, code=8).err == "viv: snapshot web: snapshot one: exists already\n"
    save(vm, "No/name", code=2)
    vm.root("restore", "web", "one", code=4)
    vm("stop")
    assert "only a running or paused VM can be saved" in save(vm, "two", code=4).err
    assert "no snapshot two" in vm.root("restore", "web", "two", code=3).err
    unkept(vm)  # who keeps it knows the VMM of before
    lab.does(version="52.0")
    r = vm.root("restore", "web", "one", code=5)
    assert "made by cloud-hypervisor 53.0, and here is 52.0" in r.err
    unkept(vm)
    lab.does()
    os.utime(base, ns=(1, 1))
    assert "disks.base" in vm.root("restore", "web", "one", code=2).err
    os.unlink(os.path.join(vm.dir, "snapshots/one/disks/data.img"))
    assert "disks.data" in vm.root("restore", "web", "one", code=3).err
    with open(os.path.join(vm.dir, "snapshots/one/manifest.json"), "w", encoding="utf-8") as f:
        f.write("{}")
    assert "not a manifest" in vm.root("restore", "web", "one", code=None).err
    assert vm.info()["state"] == "stopped"


@pytest.mark.parametrize("at", ["vm.pause", "vm.snapshot", "vm.resume"])
def test_a_vmm_that_refuses(lab, at):
    lab.does(faults=[{"at": at, "do": "error", "text": ["Error from API", "no mood"]}])
    vm = ready(lab)
    r = save(vm, code=1)
    assert "no mood" in r.err
    assert inside(vm) == (["one"] if at == "vm.resume" else [])
    assert vm.info()["state"] == ("paused" if at == "vm.resume" else "running")


def test_a_state_that_cannot_be_read(lab):
    vm = ready(lab)
    save(vm)
    vm("stop")
    with open(os.path.join(vm.dir, "snapshots/one/vmm/state.json"), "w", encoding="utf-8") as f:
        f.write("?")
    r = vm.root("restore", "web", "one", code=1)
    assert "Error deserialising VM snapshot" in r.err
    assert vm.info()["state"] == "failed" and lab.left() == []


@pytest.mark.parametrize("victims", [("monitor",), ("keeper", "monitor")], ids=["monitor", "both"])
def test_who_dies_while_it_is_saved(lab, victims):
    """The guest goes on, and half a snapshot is none."""
    lab.does(faults=[{"at": "vm.snapshot", "do": "delay", "ms": 700}])
    vm = ready(lab)
    with vm.root.popen("snapshot", "create", "web", "one") as saving:
        vm.until("saving", lambda: vm.state()["state"] == "saving")
        now = vm.processes()
        for who in victims:
            vivtest.kill(now[who])
        saving.wait(vivtest.DEADLINE)
    vm("wait", "running", "-t", "20")
    vm.until("it is tidied up", lambda: vm.info()["state"] == "running" and inside(vm) in ([], ["one"]))
    with vm.console() as c:
        c.send("~")
        c.expect("~")
    assert names(vm) == inside(vm)


def test_a_vmm_that_dies_while_it_is_saved(lab):
    lab.does(faults=[{"at": "vm.snapshot", "do": "exit", "code": 3}])
    vm = ready(lab)
    save(vm, code=None)
    vm.until("it has ended", lambda: vm.info()["state"] == "failed")
    assert inside(vm) == []


def test_a_kill_ends_it(lab):
    lab.does(faults=[{"at": "vm.snapshot", "do": "hang"}])
    vm = ready(lab)
    with vm.root.popen("snapshot", "create", "web", "one") as saving:
        vm.until("saving", lambda: vm.state()["state"] == "saving")
        vm("kill")
        assert saving.wait(vivtest.DEADLINE) == 130
    assert inside(vm) == [] and vm.info()["state"] == "stopped"


def test_the_manifest_names_all_it_needs(lab):
    data = disk(lab, "data")
    vm = ready(lab, disks=[{"id": "data", "path": data}])
    save(vm)
    with open(os.path.join(vm.dir, "snapshots/one/manifest.json"), encoding="utf-8") as f:
        m = json.load(f)
    assert (m["schema"], m["name"], m["driver"], m["vmm_version"], m["ip"]) == (1, "one", "cloud-hypervisor", "53.0", "10.0.2.15")
    assert m["config"]["name"] == "web" and m["disks"][0]["file"] == "disks/data.img" and m["disks"][0]["path"] == data
    vm("kill")
