"""`viv api`: every endpoint of Cloud Hypervisor, against the double, which checks each body by its schema."""

import json
import os
import pty
import time

import pytest
import vivtest
from test_ch_double import Lab

GIB = 1 << 30
GET = ("vmm.ping", "vm.info", "vm.counters")
CREATED = "VM is already created"


@pytest.fixture
def lab(root):
    return Lab(root)


def made(lab, **conf):
    """A running VM whose every request is in a journal."""
    journal = os.path.join(lab.base, "journal")
    disk = os.path.join(lab.base, "data.img")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    lab.does(journal=journal, features=["guest_debug"], **conf)
    return lab.vm(cpus=2, disks=[{"id": "data", "path": disk}], sandbox={"landlock": "off"}).boot()


def again(what, predicate):
    """Until it is true, by calls that each end by a deadline of their own."""
    end = time.monotonic() + vivtest.DEADLINE
    while not predicate():
        assert time.monotonic() < end, what


def entries(lab, endpoint):
    with open(os.path.join(lab.base, "journal"), encoding="utf-8") as f:
        found = [json.loads(line) for line in f]
    return [e for e in found if e["path"] == "/api/v1/" + endpoint]


def calls(lab):
    """endpoint → (body or None, what the VMM says to it when it says no). Those that end the VM come last."""
    at = lab.base
    return {
        "vmm.ping": (None, None), "vm.info": (None, None), "vm.counters": (None, None),
        "vm.create": ({"payload": {"kernel": lab.kernel}}, CREATED), "vm.boot": (None, CREATED),
        "vm.pause": (None, None), "vm.resume": (None, None), "vm.nmi": (None, None), "vm.power-button": (None, None),
        "vm.resize": ({"desired_vcpus": 2}, None),
        "vm.resize-disk": ({"id": "disk-data", "desired_size": 2 << 20}, None),
        "vm.resize-zone": ({"id": "none", "desired_ram": GIB}, "could not be resized"),
        "vm.add-disk": ({"id": "more", "path": at + "/data2.img", "readonly": True, "image_type": "Raw"}, None),
        "vm.add-net": ({"id": "n9", "num_queues": 2}, None),
        "vm.add-fs": ({"id": "f9", "tag": "t", "socket": at + "/fs"}, "shared memory"),
        "vm.add-device": ({"id": "v9", "path": at + "/none"}, None),
        "vm.add-vsock": ({"id": "s9", "cid": 9, "socket": at + "/vs"}, "vsock"),
        "vm.add-pmem": ({"id": "p9", "file": at + "/pmem.img", "size": 2 << 20}, None),
        "vm.add-vdpa": ({"id": "d9", "path": at + "/vdpa", "num_queues": 1}, None),
        "vm.add-user-device": ({"id": "u9", "socket": at + "/user"}, "shared memory"),
        "vm.add-generic-vhost-user": ({"id": "g9", "socket": at + "/g", "queue_sizes": [64], "device_type": 26},
                                      "shared memory"),
        "vm.remove-device": ({"id": "disk-data"}, None),
        "vm.snapshot": ({"destination_url": f"file://{at}/snap"}, None),
        "vm.coredump": ({"destination_url": f"file://{at}/core"}, None),
        "vm.restore": ({"source_url": f"file://{at}/snap"}, CREATED),
        "vm.send-migration": ({"destination_url": f"unix:{at}/nobody"}, None),
        "vm.receive-migration": ({"receiver_url": f"unix:{at}/mig"}, CREATED),
        "vm.reboot": (None, None), "vm.shutdown": (None, None), "vm.delete": (None, None), "vmm.shutdown": (None, None),
    }


def test_the_list_is_the_whole_api(lab):
    assert len(calls(lab)) == 31


@pytest.mark.parametrize("endpoint", [
    "vmm.ping", "vm.info", "vm.counters", "vm.create", "vm.boot", "vm.pause", "vm.resume", "vm.nmi", "vm.power-button",
    "vm.resize", "vm.resize-disk", "vm.resize-zone", "vm.add-disk", "vm.add-net", "vm.add-fs", "vm.add-device", "vm.add-vsock",
    "vm.add-pmem", "vm.add-vdpa", "vm.add-user-device", "vm.add-generic-vhost-user", "vm.remove-device", "vm.snapshot",
    "vm.coredump", "vm.restore", "vm.send-migration", "vm.receive-migration", "vm.reboot", "vm.shutdown", "vm.delete",
    "vmm.shutdown"])
def test_every_endpoint(lab, endpoint):
    """It reaches the VMM once, as its own schema wants it; the VMM's answer, or its words, come back."""
    vm = made(lab, button=None)
    for name, size in (("data2.img", 1 << 20), ("pmem.img", 2 << 20), ("vdpa", 0)):
        with open(os.path.join(lab.base, name), "wb") as f:
            f.truncate(size)
    os.mkdir(lab.base + "/snap")
    os.mkdir(lab.base + "/none")
    body, refusal = calls(lab)[endpoint]
    if endpoint in ("vm.snapshot", "vm.resume"):
        vm("api", "PUT", "vm.pause")
    before = len(entries(lab, endpoint))
    words = ["GET" if endpoint in GET else "PUT", endpoint] + ([json.dumps(body)] if body is not None else [])
    r = vm("api", *words, code=None)
    made_now = entries(lab, endpoint)[before:]
    assert [e["fds"] for e in made_now] == [0] and made_now[0].get("complaints", []) == [], made_now
    assert made_now[0].get("body") == body
    status = made_now[0]["status"]
    if refusal:
        assert status >= 400 and r.code == (4 if refusal == CREATED else r.code) and r.code, r
        assert r.err.startswith(f"viv: api web: cloud-hypervisor: {endpoint}: ") and refusal in r.err, r
    elif status in (200, 204):
        assert r.code == 0 and r.err == "", r
        assert (r.out == "") == (status == 204 or endpoint == "vmm.shutdown"), r
        if r.out:
            json.loads(r.out)
    else:
        assert r.code == 1 and r.err.startswith(f"viv: api web: cloud-hypervisor: {endpoint}: "), r


def test_what_was_done_is_noticed(lab):
    vm = made(lab)
    vm("api", "PUT", "vm.pause")
    vm.until("the pause is seen", lambda: vm.info()["state"] == "paused")
    vm("api", "PUT", "vm.resume")
    vm.until("the resume is seen", lambda: vm.info()["state"] == "running")
    vm("api", "PUT", "vm.reboot")
    vm.until("the reset is seen", lambda: vm.info()["boot"] == 2)
    vm("wait", "ready")
    assert vm.info()["run"] == 1


@pytest.mark.parametrize("endpoint", ["vm.shutdown", "vm.delete", "vmm.shutdown"])
def test_an_end_over_the_api_is_one_by_wish(lab, endpoint):
    vm = made(lab)
    vm("api", "PUT", endpoint)
    assert vm.ended() == ("stopped", "stop")
    assert vm.info()["reason"]["text"] == f"{endpoint} over its API" and lab.left() == []


def test_a_refused_end_is_none(lab):
    lab.does(faults=[{"at": "vm.shutdown", "do": "error", "text": ["Error from API", "The VM could not shutdown", "no mood"]}],
             guest={"do": [[600, "p"]]})
    vm = lab.vm().boot()
    assert "no mood" in vm("api", "PUT", "vm.shutdown", code=1).err
    assert vm.ended() == ("stopped", "guest-poweroff")


@pytest.mark.parametrize("version, code", [("51.0", 4), ("53.0", 4), ("head", 4)])
def test_exit_codes_do_not_hang_on_the_release(lab, version, code):
    lab.does(version=version)
    vm = lab.vm().boot()
    vm("api", "PUT", "vm.boot", code=code)
    vm("api", "GET", "vm.no-such", code=5)
    vm("api", "PUT", "vm.resize", '{"desired_vcpus": "two"}', code=2)
    vm("api", "PUT", "vm.resize", code=2)
    vm("api", "PUT", "vm.pause", "{}", code=2)


def test_what_is_refused_before_the_vmm_hears_of_it(lab):
    vm = made(lab)
    before = len(entries(lab, "vm.resize"))
    assert "neither GET nor PUT" in vm("api", "POST", "vm.info", code=2).err
    assert "not JSON (line 1, column" in vm("api", "PUT", "vm.resize", "{", code=2).err
    assert "is no endpoint" in vm("api", "PUT", "../vm.resize", "{}", code=2).err
    assert "takes no more than" in vm("api", "PUT", "vm.resize", json.dumps({"x": "y" * 60000}), code=2).err
    vm("api", "GET", code=2)
    vm("stop")
    assert "only a running VM has an API (it is stopped)" in vm("api", "GET", "vm.info", code=4).err
    assert len(entries(lab, "vm.resize")) == before


def test_a_body_from_a_file_and_from_standard_input(lab):
    vm = made(lab)
    path = os.path.join(lab.base, "body.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"desired_vcpus": 2}, f)
    vm("api", "PUT", "vm.resize", "@" + path)
    vm("api", "PUT", "vm.resize", "-", stdin='{"desired_vcpus": 2}')
    assert [e["body"] for e in entries(lab, "vm.resize")] == [{"desired_vcpus": 2}] * 2
    assert "no such file" in vm("api", "PUT", "vm.resize", "@/no/such", code=3).err


def test_how_an_answer_is_printed(lab):
    vm = made(lab)
    raw = vm("api", "GET", "vmm.ping").out
    assert raw.count("\n") == 1 and vm("api", "GET", "vmm.ping", "-o", "json").out == raw
    assert vm("api", "GET", "vmm.ping", "--format", "{version}").out == json.loads(raw)["version"] + "\n"
    assert f"version: \"{json.loads(raw)['version']}\"\n" in vm("api", "GET", "vmm.ping", "-o", "yaml").out
    e = json.loads(vm("api", "PUT", "vm.boot", "-o", "json", code=4).err)["error"]
    assert (e["code"], e["vm"]) == ("WRONG_STATE", "web") and CREATED in e["message"]
    master, slave = pty.openpty()
    with vm.root.popen("api", "web", "GET", "vmm.ping", stdout=slave) as p:
        assert p.wait(vivtest.DEADLINE) == 0
    os.close(slave)
    assert b'\r\n  "version": "' in os.read(master, 65536)
    os.close(master)


@pytest.mark.parametrize("do, says", [
    ({"do": "garbage"}, "not an HTTP answer"), ({"do": "huge"}, "more than"), ({"do": "half"}, "closed its API socket"),
    ({"do": "close"}, "closed its API socket")], ids=lambda v: v["do"] if isinstance(v, dict) else "")
def test_an_answer_that_is_none(lab, do, says):
    """It fails alone: the VM goes on, and so does our own use of the API."""
    vm = made(lab, faults=[{"at": "vm.counters", **do}])
    assert says in vm("api", "GET", "vm.counters", code=1).err
    assert vm("pause").out == "web: paused\n"


def test_a_large_answer_comes_whole(lab):
    vm = made(lab, faults=[{"at": "vm.counters", "do": "huge", "bytes": 700_000}])
    assert len(vm("api", "GET", "vm.counters").out) == 700_000 + 5
    vm = lab.vm("two")
    lab.does(faults=[{"at": "vm.counters", "do": "huge", "bytes": 1_200_000}])
    vm.boot()
    assert "an answer of more than 1044480 bytes" in vm("api", "GET", "vm.counters", code=1).err


def test_a_deadline_ends_the_waiting_only(lab):
    vm = made(lab, faults=[{"at": "vm.counters", "do": "delay", "ms": 2000}])
    r = vm("api", "GET", "vm.counters", "-t", "200ms", code=6)
    assert "vm.counters: no answer after 0.2 s; the VMM goes on with it" in r.err
    assert vm.info()["state"] == "running"
    assert vm("pause").out == "web: paused\n"  # waits behind it in the VMM, not in the monitor


def test_calls_beside_each_other_and_a_caller_that_goes(lab):
    """Four at a time; one whose caller was killed is no longer one of them."""
    vm = made(lab, faults=[{"at": "vm.counters", "nth": 1, "do": "delay", "ms": 8000}])
    waiting = [lab.root.popen("api", "web", "GET", "vm.counters") for _ in range(4)]
    try:
        again("all four are under way", lambda: vm("api", "GET", "vmm.ping", "-t", "50ms", code=None).code == 9)
        waiting[0].kill()
        waiting[0].wait()
        again("there is room again", lambda: vm("api", "GET", "vmm.ping", "-t", "50ms", code=None).code == 6)
        assert [p.wait(vivtest.DEADLINE) for p in waiting[1:]] == [0, 0, 0]
    finally:
        for p in waiting:
            if p.poll() is None:
                p.kill()
            p.communicate()


def test_a_monitor_that_dies_meanwhile(lab):
    """Nothing is asked twice: what the VMM did with it is not known, and that is said."""
    vm = made(lab, faults=[{"at": "vm.resize", "do": "delay", "ms": 2000}])
    before = len(entries(lab, "vm.resize"))
    with lab.root.popen("api", "web", "PUT", "vm.resize", '{"desired_vcpus": 2}') as p:
        again("it is under way", lambda: vm("api", "GET", "vmm.ping", "-t", "50ms", code=None).code == 6)
        vivtest.kill(vm.info()["monitor"])
        assert p.wait(vivtest.DEADLINE) == 1
        assert "what the VMM did is not known" in p.stderr.read()
    vm("wait", "running")
    vm("api", "GET", "vmm.ping")
    assert len(entries(lab, "vm.resize")) - before == 1
