"""A real Cloud Hypervisor by its command line alone."""

import os

import chlab
import pytest

NEEDS = "it needs API mode (cloud_hypervisor.mode: api)"


@pytest.fixture(scope="module")
def plain(module_root):
    chlab.binary()
    disk = os.path.join(os.path.dirname(module_root.home), "with,comma.img")
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    return chlab.ready(chlab.create(module_root, "plain", cpus=2, disks=[{"id": "data", "path": disk}],
                                    cloud_hypervisor={"mode": "cli"}))


def test_it_is_the_machine_of_the_configuration(plain):
    info = plain.info()
    assert (info["state"], info["ready"]["proof"], info["timeline"]["api_us"]) == ("running", "marker", None)
    with open(f"/proc/{info['vmm']['pid']}/cmdline", "rb") as f:
        words = f.read().split(b"\0")
    assert b"--kernel" in words and b"--api-socket" not in words
    with chlab.shell(plain) as c:
        assert c.run("grep -c ^processor /proc/cpuinfo").strip() == "2"
        assert c.run("cat /sys/block/vda/size /sys/block/vda/serial").split() == ["16384", "data"]


def test_what_needs_an_api_is_refused(plain):
    for words in (["pause"], ["reboot", "--hard"], ["api", "GET", "vm.info"]):
        assert NEEDS in plain(*words, code=5, deadline=chlab.STEP).err


def test_a_reset_by_the_guest(plain):
    boot = plain.info()["boot"]
    with chlab.shell(plain) as c:
        c.line("reboot -f")
        plain.until("the reset is seen", lambda: plain.info()["boot"] > boot, deadline=chlab.STEP)
    chlab.ready_again(plain, boot + 1)


def test_a_power_off_by_the_guest(plain):
    with chlab.shell(plain) as c:
        c.line("poweroff -f")
        assert plain.ended() == ("stopped", "guest-poweroff")


def test_stop_is_sigterm_and_kill_is_sigkill(plain):
    for verb, rung in (("stop", "sigterm"), ("kill", "sigkill")):
        plain("start", deadline=chlab.STEP)
        r = plain(verb, "-o", "json", deadline=2 * chlab.STEP).json()
        assert (r["state"], r["rung"]) == ("stopped", rung)
