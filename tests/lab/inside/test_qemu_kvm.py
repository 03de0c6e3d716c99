"""The qemu driver on a real /dev/kvm: one guest that all tests of this file look at, in their order."""

import os

import pytest
from vivtest import VM, alive, kill

READY = (100, 150)  # seconds that a nested boot may take on a busy host, and a second one


@pytest.fixture(scope="module")
def web(module_root):
    """Emulated SVM loses an interrupt now and then, also under a bare QEMU, and the nested kernel stands still: one more try."""
    for seconds in READY:
        r = module_root("run", "-d", "--name", "web", "--require-kvm", "--set", "agent.enabled=off", "-t", f"{seconds}s", "demo", deadline=seconds + 10, code=None)
        if r.code == 0:
            return VM(module_root, "web")
        assert r.code == 6, r
        module_root("rm", "--force", "web")
    return pytest.skip("the nested guest stood still in its boot twice (emulated SVM)")


def open_files(pid):
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


def test_kvm_is_usable_and_doctor_says_so(module_root):
    rows = {r["check"]: r for r in module_root("doctor", "-o", "json", code=None).json()}
    assert rows["kvm"]["ok"], rows["kvm"]


def test_a_guest_reaches_ready_on_kvm(web):
    info = web.info()
    assert (info["driver"], info["accel"], info["accel_reason"]) == ("qemu", "kvm", None)
    assert (info["state"], info["ready"]["proof"], info["ip"]) == ("running", "marker", "10.0.2.15")
    assert "/dev/kvm" in open_files(info["vmm"]["pid"])


def test_the_guest_knows_its_hypervisor(web):
    """Not only asked for: the guest runs on KVM's virtual CPUs."""
    with web.console() as c:
        c.line("")
        assert "Hypervisor detected: KVM" in c.run("dmesg | grep 'Hypervisor detected'")


def test_a_killed_monitor_is_replaced_and_adopts(web):
    before = web.info()
    assert kill(before["monitor"])
    web.until("the next monitor is there", lambda: (web.info()["monitor"] or before["monitor"]) != before["monitor"])
    now = web.info()
    assert now["vmm"] == before["vmm"] and alive(now["vmm"])
    assert (now["state"], now["run"], now["boot"], now["ready"]) == ("running", 1, before["boot"], before["ready"])
    web.until("adopted is told", lambda: [e for e in web.root.events() if e["type"] == "adopted"])


def test_it_pauses_and_resumes(web):
    assert web("pause").out == "web: paused\n"
    assert web.info()["state"] == "paused"
    assert web("resume").out == "web: running\n"


def test_it_stops_by_its_power_button(web):
    r = web("stop", "-o", "json", deadline=90).json()
    assert (r["changed"], r["state"], r["rung"]) == (True, "stopped", "acpi")
    assert web.info()["reason"]["code"] == "stop"
    assert b"vivarium-guest: power button, shutting down" in web.serial()
