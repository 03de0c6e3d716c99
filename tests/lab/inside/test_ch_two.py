"""Two guests of a real Cloud Hypervisor beside each other: on one bridge, and each to its own end."""

import os
import subprocess

import chlab
import pytest

BRIDGE = "vivbr0"
TAPS = ("vivtap1", "vivtap2")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def bridge():
    """A bridge with two TAP devices of ours in it."""
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", "10.78.0.1/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    for tap in TAPS:
        ip("tuntap", "add", tap, "mode", "tap", "vnet_hdr")
        ip("link", "set", tap, "master", BRIDGE, "up")
    yield
    for name in (*TAPS, BRIDGE):
        ip("link", "del", name)


@pytest.fixture(scope="module")
def pair(module_root, bridge):
    """Booted at the same time, each by its own processes."""
    chlab.binary()
    vms = [chlab.create(module_root, name, f"ip=10.78.0.{n}::10.78.0.1:255.255.255.0::eth0:off",
                        nets=[{"id": "n0", "type": "tap", "tap": tap}])
           for n, (name, tap) in enumerate(zip(("one", "two"), TAPS), 2)]
    clients = [vm.root.popen("start", "--wait", "-t", f"{chlab.READY}s", vm.name) for vm in vms]
    codes = [c.wait(chlab.READY + 20) for c in clients]
    if 6 in codes:
        pytest.skip("a nested guest stood still in its boot (emulated SVM)")
    assert codes == [0, 0]
    return vms


def test_two_at_once(pair):
    infos = [vm.info() for vm in pair]
    assert len({info["vmm"]["pid"] for info in infos}) == 2
    assert [info["ip"] for info in infos] == ["10.78.0.2", "10.78.0.3"]


def test_they_and_the_host_are_on_one_bridge(pair):
    for vm, other in zip(pair, ("10.78.0.3", "10.78.0.2")):
        with chlab.shell(vm) as c:
            for address in ("10.78.0.1", other):
                assert "1 packets received" in c.run(f"ping -c 1 -W 20 {address}", deadline=chlab.STEP)


def test_the_guest_powers_off(pair):
    with chlab.shell(pair[0]) as c:
        c.line("poweroff -f")
        assert pair[0].ended() == ("stopped", "guest-poweroff")


def test_the_guest_panics(pair):
    with chlab.shell(pair[1]) as c:
        c.line("echo c > /proc/sysrq-trigger")
        assert pair[1].ended() == ("failed", "guest-panic")


def test_a_tap_that_was_there_stays(pair):
    assert all(os.path.exists(f"/sys/class/net/{tap}/master") for tap in TAPS)
