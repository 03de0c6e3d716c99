"""How a VM under Cloud Hypervisor ends or resets, told apart where the VMM's exit code does not, and a VMM that misbehaves."""

import os
import signal

import pytest
import vivtest
from test_ch_devices import booted, file, lab  # noqa: F401  (lab is a fixture)
from test_ch_sizes import change


def typed(vm, key, what, predicate):
    """Types it, and waits for what comes of it."""
    with vm.console() as c:
        c.send(key)
        vm.until(what, predicate)


def over(vm):
    return vm.info()["vmm"] is None


def events(vm, kind):
    return [e for e in vm.root.events() if e["vm"] == vm.name and e["type"] == kind]


def test_a_cpu_that_fails_is_no_power_off(lab):
    """Both end the VMM with 0, and by the same events."""
    vm = booted(lab)
    typed(vm, "f", "its end", lambda: over(vm))
    assert vm.ended() == ("failed", "vmm-exit")
    assert "VCPU generated error" in vm.info()["reason"]["text"]
    vm.boot()
    typed(vm, "p", "its end", lambda: over(vm))
    assert vm.ended() == ("stopped", "guest-poweroff")


def test_a_failed_cpu_without_any_event(lab):
    vm = booted(lab, {"lose_events": ["*"]})
    typed(vm, "f", "its end", lambda: over(vm))
    assert vm.ended()[0] == "failed" and "VCPU generated error" in vm.info()["reason"]["text"]


def test_a_watchdogs_reset_names_its_cause(lab):
    vm = booted(lab, watchdog=True)
    typed(vm, "w", "the reset is told", lambda: vm.info()["boot"] == 2)
    vm("wait", "ready")
    typed(vm, "r", "the reset is told", lambda: vm.info()["boot"] == 3)
    assert [e.get("cause") for e in events(vm, "reboot")] == ["watchdog", None]
    assert vm.info()["run"] == 1


def test_the_seccomp_filter_is_named(lab):
    vm = booted(lab)
    vivtest.kill(vm.info()["vmm"], signal.SIGSYS)
    assert vm.ended() == ("failed", "vmm-signal")
    assert "signal 31 (its seccomp filter forbids what it did)" in vm.info()["reason"]["text"]


def test_a_device_that_fails_to_be_activated_ends_it_with_a_reason(lab):
    lab.does(activate_fails=True)
    vm = lab.vm(disks=[{"id": "d", "path": file(lab, "d")}])
    vm("start", code=None)
    assert vm.ended() == ("failed", "vmm-exit") and lab.left() == []


@pytest.mark.parametrize("do, text", [
    ({"do": "garbage"}, "not an HTTP answer"), ({"do": "huge"}, "an answer of more than"), ({"do": "half"}, "vm.add-pmem"),
    ({"do": "close"}, "vm.add-pmem"), ({"do": "error", "text": ["Error from API", "no mood"]}, "no mood"),
], ids=lambda x: x["do"] if isinstance(x, dict) else None)
def test_an_answer_that_is_spoilt_ends_the_change_and_nothing_else(lab, do, text):
    vm = booted(lab, {"faults": [{"at": "vm.add-pmem", "nth": 1, **do}]}, sandbox={"landlock": "off"})
    what, why = change(vm, "pmem.+x.path=" + file(lab, "f"))["pmem.x"]
    assert what == "next-start" and text in why
    assert vm.info()["state"] == "running"
    vm("pause")
    vm("resume")
    assert change(vm, "pmem.+y.path=" + file(lab, "g")) == {"pmem.y": ("now", None)}


@pytest.mark.parametrize("do, state", [({"do": "exit", "code": 3}, "vmm-exit"), ({"do": "signal", "number": 9}, "vmm-signal"),
                                       ({"do": "exit", "code": 0}, "vmm-exit")],
                         ids=["exit 3", "killed", "exit 0"])
def test_a_vmm_that_ends_in_the_middle_of_a_change(lab, do, state):
    vm = booted(lab, {"faults": [{"at": "vm.add-pmem", **do}]}, sandbox={"landlock": "off"})
    what, _ = change(vm, "pmem.+x.path=" + file(lab, "f"))["pmem.x"]
    assert what in ("next-start", "now")
    assert vm.ended() == ("failed", state) and lab.left() == []
    lab.does()
    vm.boot()
    assert vm.info()["pending"] is None


def test_a_vmm_that_hangs_in_a_change_is_busy_not_dead(lab):
    vm = booted(lab, {"faults": [{"at": "vm.add-pmem", "do": "hang"}]}, sandbox={"landlock": "off"})
    what, why = change(vm, "pmem.+x.path=" + file(lab, "f"), "-t", "1")["pmem.x"]
    assert what == "next-start" and "the VMM has not added it for 1 s" in why
    assert vm.info()["state"] == "running" and vivtest.alive(vm.info()["vmm"])
    r = vm("stop", "-t", "1", "-o", "json").json()
    assert r["state"] == "stopped" and r["rung"] in ("sigterm", "sigkill") and lab.left() == []


def test_a_slow_socket_is_waited_for(lab):
    vm = booted(lab, {"faults": [{"at": "vm.add-pmem", "do": "slow", "ms": 5}]}, sandbox={"landlock": "off"})
    assert change(vm, "pmem.+x.path=" + file(lab, "f")) == {"pmem.x": ("now", None)}


def test_a_removal_whose_event_is_lost_is_seen_by_who_asks_again(lab):
    vm = booted(lab, {"lose_events": ["device-removed"]}, pmem=[{"id": "x", "path": file(lab, "f")}])
    what, why = change(vm, "pmem.x-", "-t", "1")["pmem.x"]
    assert what == "next-start" and "has not let go of it" in why
    vm("reboot")
    assert vm.info()["pending"] is None and os.path.exists(file(lab, "f"))
