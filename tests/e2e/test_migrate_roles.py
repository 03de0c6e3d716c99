"""What a VMM is to the machine while that moves: exactly one is where it runs."""

import pytest
from conftest import state_root
from test_ch_double import Lab
from test_migrate import Pair

ON_ITS_WAY = {"migration": {"step": 400, "iterations": 10}}  # four seconds


@pytest.fixture
def pair(root, viv):
    with state_root(viv) as other:
        yield Pair(Lab(root), Lab(other))


def role(vm):
    return (vm.info()["vmm"] or {}).get("role")


def test_the_record_tells_who_leaves_and_who_is_waited_for(pair):
    pair.does(**ON_ITS_WAY)
    vm = pair.vm()
    assert role(vm) == "active"
    with vm.root.popen("migrate", "web", pair.dest()) as moving:
        vm.until("it is on its way", lambda: vm.state()["state"] == "outgoing")
        there = pair.vm_there()
        assert role(vm) == "outgoing" and role(there) == "incoming"
        assert moving.wait(60) == 0
    assert role(vm) is None and role(there) == "active"
    there("kill")
