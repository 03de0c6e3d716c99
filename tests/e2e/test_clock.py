"""The wall clock of a guest that stood still: its agent is told the time when it goes on."""

import json
import os
import sys
import time

import pytest
import vivtest
from test_ch_double import Lab

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE = vivtest.BOOT_DEADLINE
AGENT = "agent; ready after=1ms"
BACK_MS = 100_000
PAST_S = 1_000_000_000


def now_ms():
    return time.time_ns() // 1_000_000


def clocks(root):
    return [e["adjusted_ms"] for e in root.events() if e["type"] == "clock"]


def is_due(vm):
    """Whether whoever keeps the VM still has to tell its guest the time."""
    with open(os.path.join(vm.dir, "running.json"), encoding="utf-8") as f:
        return "clock_due" in json.load(f)


def set_back(vm):
    vm("exec", "--", "date", str(now_ms() - BACK_MS))


def is_right(read_ms, off_ms=0):
    """The guest's clock, which is read while ours goes on, is off by so much, give or take a second."""
    before = now_ms()
    read = read_ms() + off_ms
    return before - 1000 <= read <= now_ms() + 1000


def date(vm):
    return lambda: int(vm("exec", "--", "date").out)


@pytest.fixture
def vm(root):
    vm = root.fake("web", AGENT)
    vm("start", "--wait")
    return vm


def test_it_is_set_before_anything_else_is_asked_of_the_guest(vm):
    set_back(vm)
    vm("pause")
    vm("resume")
    assert is_right(date(vm))
    (adjusted,) = clocks(vm.root)
    assert BACK_MS <= adjusted < BACK_MS + 1000 * vivtest.DEADLINE
    vm("pause")
    vm("resume")
    assert is_right(date(vm)) and len(clocks(vm.root)) <= 2  # a pause of a second, on a busy host, is one more


def test_it_is_left_alone_by_those_who_want_that(vm):
    vm("set", "agent.sync_clock=false")
    set_back(vm)
    vm("pause")
    vm("resume")
    assert not is_right(date(vm)) and clocks(vm.root) == []
    vm("set", "agent.sync_clock=true")
    vm("pause")
    vm("resume")
    assert is_right(date(vm)) and len(clocks(vm.root)) == 1


@pytest.mark.parametrize("victims", [("monitor",), ("keeper", "monitor")], ids=["monitor", "both"])
def test_whoever_keeps_the_vm_sets_it(vm, victims):
    set_back(vm)
    vm("pause")
    for proc in [vm.processes()[who] for who in victims]:
        vivtest.kill(proc)
    vm("resume")
    assert is_right(date(vm)) and len(clocks(vm.root)) == 1


def test_a_reboot_reads_it_anew(vm):
    set_back(vm)
    vm("reboot", "--hard")
    vm("wait", "ready")
    assert is_right(date(vm)) and clocks(vm.root) == []


def test_it_is_set_after_a_restore(root):
    """Contract: the double of Cloud Hypervisor, and behind its vsock an agent that says what it was asked for."""
    lab = Lab(root)
    lab.does(agent=[sys.executable, os.path.join(os.path.dirname(HERE), "agent", "clock.py"), "-5000000000"])
    vm = lab.vm().boot()
    root("snapshot", "create", "--allow-long-pause", "web", "one")
    vm.until("the time is told after the snapshot", lambda: clocks(root) == [-5000])
    vm("kill")
    root("restore", "web", "one")
    vm.until("the time is told after the restore", lambda: clocks(root) == [-5000, -5000])
    vm("kill")


# ---- a real guest ----


def seconds(vm):
    return lambda: 1000 * int(vm("exec", "--", "date", "+%s", deadline=DEADLINE).out)


def test_a_real_guest_gets_the_time(root, guest):
    vm = root.qemu("web", guest, agent={"enabled": "on"}).boot()
    vm("exec", "--", "date", "-s", f"@{PAST_S}", deadline=DEADLINE)
    vm("pause")
    vm("resume")
    vm.until("the time was told", lambda: clocks(root), deadline=DEADLINE)
    assert is_right(seconds(vm))
    adjusted = clocks(root)[0]
    assert abs(now_ms() - adjusted - 1000 * PAST_S) < 1000 * DEADLINE
    # Asked and not answered, since the guest's agent stands still; then the monitor dies.
    with vm.console() as c:
        c.line("")
        c.run(f"killall -STOP viv-agent; date -s @{PAST_S}", deadline=DEADLINE)
    last = root.events()[-1]["seq"]
    vm("pause")
    vm("resume")
    pid, start_time = vm.state()["monitor"]
    vivtest.kill({"pid": pid, "start_time": start_time})
    vm.until("another monitor", lambda: any(e["type"] == "adopted" for e in root.events(last)))
    assert clocks(root) == [adjusted] and is_due(vm)
    with vm.console() as c:
        c.line("")
        c.run("killall -CONT viv-agent", deadline=DEADLINE)
    # The agent reads what the dead one had asked as well: whoever of the two comes too late finds the clock right.
    vm.until("the time was told again", lambda: not is_due(vm), deadline=DEADLINE)
    assert is_right(seconds(vm))
