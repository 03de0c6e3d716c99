"""Another VMM in place, with the double of Cloud Hypervisor: the guest goes on, whoever dies meanwhile."""

import json
import os
import random

import pytest
import vivtest
from test_ch_double import SEED, Lab


@pytest.fixture
def lab(root):
    return Lab(root)


def other_vmm(lab, **conf):
    """A second binary of its own release: a launcher that has its own instructions."""
    path, told = os.path.join(lab.base, f"other-{len(os.listdir(lab.base))}"), os.path.join(lab.base, "other.json")
    with open(os.path.join(lab.base, f"cloud-hypervisor-{lab.count}"), encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("import sys\n", f"import os, sys\nos.environ['CH_DOUBLE_CONF'] = {told!r}\n", 1))
    os.chmod(path, 0o755)
    with open(told, "w", encoding="utf-8") as f:
        json.dump({"features": ["io_uring"], **conf}, f)
    return path


def count_to(vm, n, last=None):
    with vm.console() as c:
        c.send("n" * n)
        c.expect(f"count {last or n}")


@pytest.mark.parametrize("old, new", [("51.0", "53.0"), ("53.0", "53.0"), ("53.0", "head")])
def test_the_guest_goes_on_under_the_new_vmm(lab, old, new):
    lab.does(version=old)
    vm = lab.vm().boot()
    count_to(vm, 2)
    before = vm.info()
    new_vmm = other_vmm(lab, version=new)
    assert vm("upgrade", "--vmm", new_vmm).out == "web: goes on under the new VMM\n"
    info = vm.info()
    assert (info["state"], info["ready"]["proof"], info["ip"]) == ("running", "inherited", before["ip"])
    assert (info["keeper"], info["monitor"]["pid"], info["run"]) == (before["keeper"], before["monitor"]["pid"], 2)
    assert info["vmm"]["path"] == new_vmm and info["vmm"]["version"].startswith(new.replace("head", "54"))
    count_to(vm, 1, 3)
    assert vm.serial().count(b"VMRS_READY") == 1 and os.listdir(os.path.join(vm.dir, "snapshots")) == []
    assert vm("stop", "-o", "json").json()["rung"] == "acpi"
    vm.boot()
    assert vm.info()["vmm"]["path"] == new_vmm


def test_later_starts_take_the_vmm_that_was_asked_for(lab):
    lab.does(version="51.0")
    vm = lab.vm().boot()
    installed = vm.info()["vmm"]["path"]
    new_vmm = other_vmm(lab, version="53.0")
    vm("upgrade", "--vmm", new_vmm)
    info = vm.info()
    assert (info["config"]["vmm"]["path"], info["pending"]) == (new_vmm, None)
    vm("reboot")
    assert (vm.info()["vmm"]["path"], vm.info()["vmm"]["version"]) == (new_vmm, "53.0")
    with open(lab.conf, "w", encoding="utf-8") as f:
        json.dump({"features": ["io_uring"], "version": "53.0"}, f)
    os.utime(installed)  # another file: what it said before is forgotten
    vm("set", "vmm.path-")
    assert [c["path"] for c in vm.info()["pending"]] == ["vmm.path"]
    vm("upgrade")  # to what the next start would take
    info = vm.info()
    assert (info["vmm"]["path"], info["config"]["vmm"]["path"], info["pending"]) == (installed, None, None)


def test_what_went_wrong_changes_no_configuration(lab):
    vm = lab.vm().boot()
    before = vm.info()
    bad = other_vmm(lab, faults=[{"at": "vm.restore", "do": "error", "text": ["Error from API", "no mood"]}])
    vm("upgrade", "--vmm", bad, code=1)
    info = vm.info()
    assert (info["vmm"]["path"], info["config"], info["pending"]) == (before["vmm"]["path"], before["config"], None)


def test_a_vmm_of_the_configuration_is_the_one_that_runs(lab):
    lab.does(version="51.0")
    mine = other_vmm(lab, version="53.0")
    vm = lab.vm()
    vm("set", f"vmm.path={mine}")
    vm.boot()
    assert (vm.info()["vmm"]["path"], vm.info()["vmm"]["version"]) == (mine, "53.0")
    vm("stop")
    os.unlink(mine)
    assert f"viv: start web: vmm.path: {mine}: no such program\n" in vm("start", code=2).err


def test_a_program_needs_a_driver(lab):
    r = lab.root("create", "--name", "web", "--set", "vmm.path=/bin/true", code=2)
    assert r.err.startswith("viv: create: vmm.path: whose program it is must be said")


def test_what_is_refused_leaves_it_alone(lab):
    vm = lab.vm().boot()
    before = vm.info()["vmm"]
    assert "cannot take over from 53.0" in vm("upgrade", "--vmm", other_vmm(lab, version="52.0"), code=5).err
    assert "/none" in vm("upgrade", "--vmm", "/none", code=2).err
    assert "does not tell its version" in vm("upgrade", "--vmm", "/bin/true", code=5).err
    assert vm.info()["vmm"] == before and vm.info()["state"] == "running"
    vm("stop")
    assert "only a running VM can be upgraded (it is stopped)" in vm("upgrade", code=4).err


@pytest.mark.parametrize("at", ["vm.pause", "vm.snapshot"])
def test_an_old_vmm_that_refuses_goes_on(lab, at):
    lab.does(faults=[{"at": at, "do": "error", "text": ["Error from API", "no mood"]}])
    vm = lab.vm().boot()
    assert "no mood" in vm("upgrade", code=1).err
    assert (vm.info()["state"], vm.info()["run"]) == ("running", 1)
    count_to(vm, 1)


@pytest.mark.parametrize("fault", [{"do": "error", "text": ["Error from API", "no mood"]}, {"do": "exit", "code": 3},
                                   {"do": "signal", "number": 31}], ids=["refuses", "ends", "is-killed"])
def test_a_new_vmm_that_does_not_take_it_gives_it_back(lab, fault):
    vm = lab.vm().boot()
    count_to(vm, 2)
    r = vm("upgrade", "--vmm", other_vmm(lab, faults=[{"at": "vm.restore", **fault}]), code=1)
    assert "the new VMM does not take it" in r.err and "the old one goes on" in r.err
    info = vm.info()
    assert (info["state"], info["ready"]["proof"], info["run"]) == ("running", "inherited", 3)
    count_to(vm, 1, 3)


def storm(lab, victims, delay):
    vm = lab.vm().boot()
    count_to(vm, 2)
    with vm.root.popen("upgrade", "web") as upgrading:
        vm.until("it has begun", lambda: vm.state()["state"] != "running" or vm.state()["run"] > 1)
        with vivtest.Inotify() as clock:
            clock.wait(delay)
        now = vm.processes()
        for who in victims:
            if who in now:
                vivtest.kill(now[who])
        upgrading.wait(vivtest.DEADLINE)
    vm("wait", "running", "-t", "20", code=None)
    vm.until("it is over", lambda: vm.info()["state"] in ("running", "failed", "stopped"))
    if "vmm" not in victims:
        assert vm.info()["state"] == "running", vm.info()
        count_to(vm, 1, 3)
    vm.root("rm", "--force", "web")


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",), ("keeper", "monitor"), ("vmm",)], ids="-".join)
def test_who_dies_meanwhile(lab, victims):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    lab.does(faults=[{"at": "vm.snapshot", "do": "delay", "ms": 300}, {"at": "vm.restore", "do": "delay", "ms": 300}])
    for _ in range(2):
        storm(lab, victims, rng.random())


@pytest.mark.stress
def test_kill_9_storm(lab):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    lab.does(faults=[{"at": "vm.snapshot", "do": "delay", "ms": 300}, {"at": "vm.restore", "do": "delay", "ms": 300}])
    for _ in range(40):
        storm(lab, rng.choice([("monitor",), ("keeper",), ("keeper", "monitor")]), rng.random())
