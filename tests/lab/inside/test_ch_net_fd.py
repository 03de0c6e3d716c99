"""A NIC of a real Cloud Hypervisor that viv is given as an open TAP descriptor: packets go both ways, and it outlives a reset."""

import os
import select
import socket
import subprocess

import chlab
import pytest
import vivtest

HOST, GUEST = "10.79.0.1", "10.79.0.2"


@pytest.fixture(scope="module")
def tap():
    """Its name is known when the guest runs; from then on nobody here holds it."""
    return {}


@pytest.fixture(scope="module")
def web(module_root, tap):
    chlab.binary()
    with vivtest.tap() as (fd, name):
        tap["name"] = name
        vm = chlab.create(module_root, "web", f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off", agent={"enabled": "on"},
                          nets=[{"id": "n0", "type": "fd", "fd": fd, "mac": "52:54:00:ab:cd:02"}])
        chlab.ready(vm, pass_fds=[fd])
    subprocess.run(["ip", "addr", "add", f"{HOST}/24", "dev", name], check=True)
    return vm


def there(tap):
    return os.path.exists(f"/sys/class/net/{tap['name']}")


def talk(vm):
    """A word from the guest to the host, and one back, by one connection."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        client = vm.root.popen("exec", vm.name, "--", "sh", "-c", f"echo from the guest | nc -w 20 {HOST} {port}")
        assert select.select([server], [], [], chlab.STEP)[0], "the guest connects"
        s, peer = server.accept()
        with s, s.makefile("rwb") as f:
            s.settimeout(chlab.STEP)
            said = f.readline()
            f.write(b"from the host\n")
        out, _ = client.communicate(timeout=chlab.STEP)
    assert (peer[0], said, out) == (GUEST, b"from the guest\n", "from the host\n")


def test_guest_and_host_reach_each_other(web, tap):
    assert chlab.run(web, "cat /sys/class/net/eth0/address") == "52:54:00:ab:cd:02"
    assert "1 packets received" in chlab.run(web, f"ping -c 1 -W 20 {HOST}")
    talk(web)


def test_a_reset_keeps_it(web, tap):
    """The VMM makes its machine anew, with the descriptor that it has."""
    boot = web.info()["boot"]
    web("reboot", "--hard", deadline=chlab.STEP)
    chlab.ready_again(web, boot + 1)
    talk(web)


def test_it_goes_with_those_who_hold_it(web, tap):
    assert there(tap)
    now = web.processes()
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "agent")
    for p in now.values():
        vivtest.wait_gone(p, chlab.STEP)
    assert not there(tap)
