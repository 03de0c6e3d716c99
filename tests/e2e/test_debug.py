"""An interrupt and a core: by the fake, which has both, and of a real guest under QEMU; QMP by `viv api`."""

import json
import os
import stat
import subprocess

import pytest
import vivtest
from test_ch_double import Lab


def readelf(path, what="-h"):
    r = subprocess.run(["readelf", what, path], capture_output=True, text=True, check=False)
    assert r.returncode == 0, r
    return r.stdout


def test_an_interrupt_is_seen_by_the_guest(root):
    vm = root.fake("web").boot()
    assert vm("nmi").out == "web: NMI injected\n"
    vm.until("the guest says so", lambda: b"viv-fake: NMI\n" in vm.serial())
    vm("pause")
    assert "only a running VM can be interrupted (it is paused)" in vm("nmi", code=4).err
    vm("stop")
    assert "only a running VM can be interrupted (it is stopped)" in vm("nmi", code=4).err


def test_a_core_is_the_callers_file(root, tmp_path):
    vm, core = root.fake("web").boot(), tmp_path / "web.core"
    assert vm("coredump", core).out == f"web: 64B in {core}\n"
    assert "Core file" in readelf(core) and stat.S_IMODE(os.stat(core).st_mode) == 0o600
    assert os.listdir(os.path.join(vm.dir, "snapshots")) == []
    core.write_text("mine")
    assert "exists already" in vm("coredump", core, code=8).err
    assert core.read_text() == "mine"
    r = vm("coredump", tmp_path / "more", "-o", "json").json()
    assert (r["size_bytes"], r["file"], r["changed"]) == (64, str(tmp_path / "more"), True)


@pytest.mark.parametrize("script, says, code", [
    ('fail verb=coredump text="no mood"', "no mood", 1), ("hang verb=coredump", "no answer after 0.3 s", 6)])
def test_what_does_not_become_whole_is_removed(root, tmp_path, script, says, code):
    vm = root.fake("web", script).boot()
    assert says in vm("coredump", tmp_path / "c", "-t", "300ms", code=code).err
    assert list(tmp_path.iterdir()) == [] and os.listdir(os.path.join(vm.dir, "snapshots")) == []
    assert "no such file" in vm("coredump", "/no/such/dir/core", code=3).err
    assert root("coredump", "nob", tmp_path / "n", code=3) and list(tmp_path.iterdir()) == []


def test_one_core_at_a_time_and_its_caller_may_go(root, tmp_path):
    vm = root.fake("web", "slow verb=coredump by=3s").boot()
    inside = os.path.join(vm.dir, "snapshots")
    with root.popen("coredump", "web", str(tmp_path / "a")) as first:
        vivtest.until("it is asked for", lambda: os.path.isdir(inside), vm.dir)
        again = root.popen("coredump", "web", str(tmp_path / "b"))
        assert "a core of it is being written" in again.communicate(timeout=vivtest.DEADLINE)[1] and again.returncode == 9
        first.kill()
    # the VMM writes that one all the same, after its caller has gone: told by the directory, which was empty so far
    with vivtest.Inotify(inside) as changes:
        if vm("nmi", "-t", "20s").code == 0 and not os.listdir(inside):
            changes.wait(vivtest.DEADLINE)
    vivtest.until("what came late is removed", lambda: os.listdir(inside) == [], inside)
    assert vm("coredump", tmp_path / "c").out.startswith("web: 64B")
    assert os.listdir(inside) == []


def test_the_monitor_dies_meanwhile(root, tmp_path):
    vm = root.fake("web", "slow verb=coredump by=1s").boot()
    with root.popen("coredump", "web", str(tmp_path / "a")) as p:
        vivtest.until("it is asked for", lambda: os.path.isdir(os.path.join(vm.dir, "snapshots")), vm.dir)
        vivtest.kill(vm.info()["monitor"])
        assert p.wait(vivtest.DEADLINE) == 1 and "what the VMM did is not known" in p.stderr.read()
    assert not (tmp_path / "a").exists()
    assert vm("coredump", tmp_path / "b").code == 0


def test_a_binary_without_guest_debug(root, tmp_path):
    lab = Lab(root)
    vm = lab.vm().boot()
    says = "it needs a Cloud Hypervisor that was built with guest_debug"
    assert says in vm("coredump", tmp_path / "c", code=5).err and list(tmp_path.iterdir()) == []
    row = [r for r in root("caps", "cloud-hypervisor", "-o", "json").json() if r["capability"] == "coredump"]
    assert (row[0]["ok"], row[0]["reason"]) == (False, says)
    vm("nmi")
    lab.does(features=["guest_debug"])
    two = lab.vm("two").boot()
    two("coredump", tmp_path / "c")
    assert "Core file" in readelf(tmp_path / "c") and two.info()["state"] == "running"


def test_a_real_guest(root, guest, tmp_path):
    """Linux logs the interrupt; its core has the guest's memory; what QMP changes is noticed."""
    vm = root.qemu("web", guest, "nmi_watchdog=0").boot()
    vm("nmi")
    vm.until("Linux says so", lambda: b"NMI received for unknown reason" in vm.serial())
    core = tmp_path / "web.core"
    vm("coredump", core, deadline=120)
    text = readelf(core)
    assert "Core file" in text and "X86-64" in text
    assert core.stat().st_size > 160 << 20 and stat.S_IMODE(core.stat().st_mode) == 0o600
    assert "CORE" in readelf(core, "-n")
    vm.until("it runs again", lambda: vm.info()["state"] == "running")
    with vm.console() as c:
        c.line("")
        assert c.run("cat /proc/uptime")
    assert json.loads(vm("api", "GET", "query-status").out)["status"] == "running"
    vm("api", "PUT", "stop")
    vm.until("the stop is seen", lambda: vm.info()["state"] == "paused")
    vm("api", "PUT", "cont")
    vm.until("it is seen to go on", lambda: vm.info()["state"] == "running")
    assert "has not been found" in vm("api", "GET", "query-nothing", code=5).err
    assert "qemu: human-monitor-command: " in vm("api", "PUT", "human-monitor-command", "{}", code=1).err
    assert "its arguments are an object" in vm("api", "PUT", "query-status", "[]", code=2).err
    assert len(vm("api", "GET", "query-qmp-schema").out) > 50_000
    vm("api", "PUT", "quit")
    assert vm.ended()[0] in ("stopped", "failed")
