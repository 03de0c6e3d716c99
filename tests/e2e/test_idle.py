"""Nothing polls: keeper and monitor of a VM at which nothing happens do not wake up."""

import os
import select

import pytest


def wake_ups(proc):
    """How often it has gone to sleep by itself: each wake-up ends in one."""
    with open(f"/proc/{proc['pid']}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("voluntary_ctxt_switches")).split()[1])


def assert_idle(vm, seconds):
    now = vm.processes()
    vmm = os.pidfd_open(now["vmm"]["pid"])
    try:
        # A ready VM may still have a timer or two of its start: the first second is theirs.
        assert not select.select([vmm], [], [], 1)[0], "the VMM ended"
        before = {who: wake_ups(now[who]) for who in ("keeper", "monitor")}
        assert not select.select([vmm], [], [], seconds)[0], "the VMM ended"
        assert {who: wake_ups(now[who]) for who in before} == before
    finally:
        os.close(vmm)


def test_an_idle_keeper_and_monitor_never_wake_up(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    assert_idle(vm, 10)


def test_a_paused_vm_is_no_busier(root):
    vm = root.fake("web", "ready after=1ms; line every=5ms")
    vm("start", "--wait")
    vm("pause")
    assert_idle(vm, 3)


@pytest.mark.stress
def test_a_minute_without_a_wake_up(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    assert_idle(vm, 60)
