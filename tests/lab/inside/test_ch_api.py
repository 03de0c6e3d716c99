"""Every endpoint of a real Cloud Hypervisor by `viv api`; an interrupt and a core of a real guest."""

import json
import os
import stat
import subprocess

import chlab
import pytest

GET = ("vmm.ping", "vm.info", "vm.counters")
SEEN = set()  # endpoints that the real one has answered


@pytest.fixture(scope="module")
def web(module_root):
    chlab.binary()
    at = os.path.dirname(module_root.home)
    for name, size in (("data.img", 8 << 20), ("more.img", 8 << 20), ("pmem.img", 2 << 20)):
        with open(os.path.join(at, name), "wb") as f:
            f.truncate(size)
    vm = chlab.create(module_root, "web", "nmi_watchdog=0", cpus=2, disks=[{"id": "data", "path": at + "/data.img"}],
                      sandbox={"landlock": "off"}, agent={"enabled": "off"})
    vm.at = at
    return chlab.ready(vm)


def call(vm, endpoint, body=None, code=0, says=""):
    """One call; what it says where it is refused is the VMM's own."""
    words = [json.dumps(body)] if body is not None else []
    r = vm("api", "GET" if endpoint in GET else "PUT", endpoint, *words, code=None, deadline=chlab.STEP)
    SEEN.add(endpoint)
    if code is None:
        assert r.code != 0, r
    else:
        assert r.code == code, r
    if r.code:
        assert r.err.startswith(f"viv: api web: cloud-hypervisor: {endpoint}: ") and says in r.err, r
    return json.loads(r.out) if r.out else None


def test_what_it_says_of_itself(web):
    ping = call(web, "vmm.ping")
    assert ping["version"].startswith(web.info()["vmm"]["version"].split("-")[0]) and ping["pid"] == web.info()["vmm"]["pid"]
    info = call(web, "vm.info")
    assert (info["state"], info["config"]["cpus"]["boot_vcpus"]) == ("Running", 2)
    assert "read_bytes" in call(web, "vm.counters")["disk-data"]


def test_pause_and_resume_are_noticed(web):
    assert call(web, "vm.pause") is None
    web.until("the pause is seen", lambda: web.info()["state"] == "paused", deadline=chlab.STEP)
    at = web.at + "/snap"
    os.mkdir(at)
    call(web, "vm.snapshot", {"destination_url": f"file://{at}"})
    assert sorted(os.listdir(at)) == ["config.json", "memory-ranges", "state.json"]
    call(web, "vm.resume")
    web.until("the resume is seen", lambda: web.info()["state"] == "running", deadline=chlab.STEP)


def test_the_guest_sees_an_interrupt(web):
    web("nmi", deadline=chlab.STEP)
    call(web, "vm.nmi")
    web.until("Linux says so", lambda: b"NMI received for unknown reason" in web.serial(), deadline=chlab.STEP)


def test_a_core_of_the_guest(web):
    if "guest_debug" not in call(web, "vmm.ping")["features"]:
        pytest.skip("this Cloud Hypervisor was built without guest_debug")
    core = web.at + "/web.core"
    web("coredump", core, deadline=2 * chlab.STEP)
    text = subprocess.run(["readelf", "-h", core], capture_output=True, text=True, check=True).stdout
    assert "Core file" in text and stat.S_IMODE(os.stat(core).st_mode) == 0o600
    assert os.stat(core).st_size > 256 << 20
    os.unlink(core)
    call(web, "vm.coredump", {"destination_url": f"file://{web.at}/raw.core"})
    os.unlink(web.at + "/raw.core")
    web.until("it runs again", lambda: web.info()["state"] == "running", deadline=chlab.STEP)


def test_sizes(web):
    call(web, "vm.resize", {"desired_vcpus": 2})
    call(web, "vm.resize", {"desired_vcpus": 200}, code=None, says="exceed")
    call(web, "vm.resize-disk", {"id": "disk-data", "desired_size": 16 << 20})
    assert os.stat(web.at + "/data.img").st_size == 16 << 20
    call(web, "vm.resize-zone", {"id": "none", "desired_ram": 1 << 30}, code=None)


def test_devices_come_and_go(web):
    more = {"id": "more", "path": web.at + "/more.img", "image_type": "Raw"}
    assert call(web, "vm.add-disk", more)["id"] == "more"
    assert call(web, "vm.add-net", {"id": "n9"})["id"] == "n9"
    assert call(web, "vm.add-vsock", {"id": "v9", "cid": 9, "socket": web.at + "/vsock"})["id"] == "v9"
    assert call(web, "vm.add-pmem", {"id": "p9", "file": web.at + "/pmem.img"})["id"] == "p9"
    call(web, "vm.remove-device", {"id": "more"})
    web.until("it has left", lambda: "more" not in json.dumps(call(web, "vm.info")["device_tree"]), deadline=chlab.STEP)
    assert web.info()["state"] == "running"


@pytest.mark.parametrize("endpoint, body", [
    ("vm.add-fs", {"tag": "t", "socket": "/no/such"}), ("vm.add-device", {"path": "/no/such"}),
    ("vm.add-vdpa", {"path": "/no/such", "num_queues": 1}), ("vm.add-user-device", {"socket": "/no/such"}),
    ("vm.add-generic-vhost-user", {"socket": "/no/such", "queue_sizes": [64], "device_type": 26})])
def test_devices_that_are_not_there(web, endpoint, body):
    """Their back ends are proven elsewhere: here that the request is understood, and refused in the VMM's words."""
    call(web, endpoint, body, code=None, says="added to the VM")
    assert web.info()["state"] == "running"


@pytest.mark.parametrize("endpoint, body", [
    ("vm.create", {"payload": {"kernel": "/boot/none"}}), ("vm.boot", None), ("vm.restore", {"source_url": "file:///none"}),
    ("vm.receive-migration", {"receiver_url": "unix:/tmp/none"})])
def test_what_makes_no_sense_while_it_lives(web, endpoint, body):
    call(web, endpoint, body, code=4, says="VM is already created")


def test_a_migration_to_nobody_leaves_it_running(web):
    web("api", "PUT", "vm.send-migration", json.dumps({"destination_url": f"unix:{web.at}/nobody"}), code=None, deadline=chlab.STEP)
    SEEN.add("vm.send-migration")
    web.until("it runs", lambda: call(web, "vm.info")["state"] == "Running" and web.info()["state"] == "running", deadline=chlab.STEP)


def test_what_it_does_not_know(web):
    call(web, "vm.no-such", code=5, says="Not Found")
    call(web, "vm.resize", {"desired_vcpus": "two"}, code=2, says="Failed to deserialize JSON")
    call(web, "vm.resize", code=2)
    SEEN.discard("vm.no-such")


def test_a_reboot_is_noticed(web):
    boot = web.info()["boot"]
    call(web, "vm.reboot")
    web.until("the reset is seen", lambda: web.info()["boot"] > boot, deadline=chlab.STEP)
    chlab.ready_again(web, boot + 1)
    assert web.info()["run"] == 1


@pytest.mark.parametrize("endpoint", ["vm.shutdown", "vm.delete", "vmm.shutdown"])
def test_an_end_over_the_api(web, endpoint):
    if web.info()["state"] != "running":
        web("start", deadline=chlab.STEP)
    call(web, endpoint)
    assert web.ended() == ("stopped", "stop") and web.info()["reason"]["text"] == f"{endpoint} over its API"


def test_the_power_button(web):
    chlab.ready(web)
    call(web, "vm.power-button")
    assert web.ended() == ("stopped", "guest-poweroff")


def test_nothing_was_left_out():
    chlab.binary()
    assert len(SEEN) == 31 or "vm.coredump" not in SEEN and len(SEEN) == 30, sorted(SEEN)
