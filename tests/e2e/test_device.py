"""viv device and viv resize: devices and sizes of a VM that runs, against the fake and a real guest."""

import os
import time

import pytest
import vivtest

from test_schemas import conforms

DEADLINE = vivtest.BOOT_DEADLINE
MOST = {"cpus": {"count": 1, "max": 4}, "memory": {"size": "256MiB", "max": "1GiB"}}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "hot.img"
    path.write_bytes(bytes(8 << 20))
    return str(path)


def rows(vm):
    """{id: (live, next, pending, place)} of viv device ls."""
    found = vm.root("device", "ls", vm.name, "-o", "json").json()
    conforms(found, "device")
    return {r["id"]: (r["live"], r["next"], r["pending"], r["place"]) for r in found}


def device(vm, verb, *words, **how):
    return vm.root("device", verb, vm.name, *words, **how)


def memory(vm):
    """Of this run."""
    return vm.root("ps", "--filter", f"name={vm.name}", "-o", "json").json()[0]["memory_bytes"]


def pending(vm):
    return {e["path"]: e["op"] for e in vm.info()["pending"] or []}


# ---- against the fake

def test_devices_come_are_listed_and_go(root, image):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    out = device(vm, "add", "disk", f"path={image}", "id=data", "readonly=true").out
    assert out == "web: changed\n  disks.data: added\n"
    device(vm, "add", "net")  # n0 is there
    assert rows(vm) == {"data": (True, True, None, 1), "n0": (True, True, None, 1), "n1": (True, True, None, 2)}
    table = root("device", "ls", "web").out
    assert table.splitlines()[1].split() == ["disk", "data", image, "live", "1"]
    assert vm.info()["config"]["disks"][0]["readonly"] is True
    assert device(vm, "rm", "net", "n0").out.splitlines()[:2] == ["web: changed", "  nets.n0: removed"]
    assert rows(vm)["n1"] == (True, True, None, 2)  # keeps its place
    device(vm, "rm", "disk", "id=data")
    assert vm.info()["pending"] is None
    kinds = [e["kind"] + " " + e["id"] for e in root.events() if e["type"] == "device"]
    assert kinds == ["net n0", "disk data"]
    vm("rm", "-f")


def test_next_and_live_are_one_document_each(root, image):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    assert "(next start)" in device(vm, "add", "--next", "disk", image, "id=later").out
    device(vm, "add", "--live", "disk", "path=/dev/null", "id=now")
    assert rows(vm) == {"later": (False, True, "add", 1), "now": (True, False, "remove", 1),
                        "n0": (True, True, None, 1)}
    text = root("device", "ls", "web").out
    assert "next start" in text and "live, goes at the next start" in text
    device(vm, "rm", "--live", "disk", "now")
    device(vm, "add", "disk", image, "id=later")  # now in this run, too
    assert rows(vm)["later"] == (True, True, None, 1)
    vm("rm", "-f")


def test_a_stopped_vm_has_only_its_next_start(root, image):
    vm = root.fake("web")
    device(vm, "add", "disk", image)
    root("resize", "web", "--cpus", "3", "--memory", "128MiB")
    assert rows(vm) == {"d0": (False, True, None, 1), "n0": (False, True, None, 1)}
    info = vm.info()
    assert (info["config"]["cpus"]["count"], info["config"]["memory"]["size"]) == (3, 128 << 20)
    assert device(vm, "rm", "disk", "d0", "--live", code=4).err.startswith(
        "viv: device web: only a running VM has a configuration of this run")
    device(vm, "rm", "disk", "d0")
    assert device(vm, "rm", "disk", "d0", code=3).err == 'viv: device web: no disk is called "d0"\n'


@pytest.mark.parametrize("argv, text", [
    (["set", "web", "memory.balloon=1GiB"], "memory.balloon: 1GiB is more than memory.size (256MiB)"),
    (["set", "web", "memory.max=128MiB"], "memory.max: 128MiB is less than memory.size (256MiB)"),
    (["set", "web", "memory.max=257MiB"], "memory.max: 257MiB is not a multiple of 2MiB above memory.size (256MiB)"),
    (["resize", "web", "--cpus", "8"], "cpus.max: 4 is less than cpus.count (8)"),
    (["resize", "web", "--memory", "2GiB"], "memory.max: 1GiB is less than memory.size (2GiB)"),
    (["resize", "web", "--balloon", "300MiB"], "memory.balloon: 300MiB is more than memory.size (256MiB)"),
])
def test_sizes_of_a_stopped_vm_have_to_fit_each_other(root, argv, text):
    vm = root.fake("web", **MOST)
    before = vm.info()["config"]
    assert text in root(*argv, code=2).err
    assert vm.info()["config"] == before


def test_a_guest_that_keeps_a_disk_is_told_and_can_be_asked_again(root, image):
    vm = root.fake("web", "ready after=1ms; busy n=1")
    vm("start", "--wait")
    device(vm, "add", "disk", image, "id=data")
    r = device(vm, "rm", "disk", "data", "--timeout", "300ms", code=6)
    assert r.err == ("viv: device web: disks.data: the guest has not let go of it for 0.3 s; it still may, "
                     "and can be asked again\n")
    assert pending(vm) == {"disks.data": "remove"} and rows(vm)["data"] == (True, False, "remove", 1)
    assert device(vm, "rm", "disk", "data").out.splitlines()[1] == "  disks.data: removed"
    assert vm.info()["pending"] is None and "data" not in rows(vm)
    vm("rm", "-f")


def test_a_guest_that_is_late_still_counts(root, image):
    vm = root.fake("web", "ready after=1ms; unplug after=700ms; settle after=700ms", **MOST)
    vm("start", "--wait")
    device(vm, "add", "disk", image, "id=data")
    device(vm, "rm", "disk", "data", "--timeout", "50ms", code=6)
    r = root("resize", "web", "--memory", "512MiB", "--timeout", "50ms", code=6)
    assert r.err.startswith("viv: resize web: memory.size: the guest has not done its part for 0.05 s")
    vm.until("the guest has done its part", lambda: vm.info()["pending"] is None)
    assert "data" not in rows(vm) and memory(vm) == 512 << 20
    vm("rm", "-f")


def test_what_the_vmm_refuses_is_not_stored(root, image):
    vm = root.fake("web", "ready after=1ms; fail verb=add text=\"no room\"")
    vm("start", "--wait")
    r = device(vm, "add", "disk", image, "id=data", code=1)
    assert "no room" in r.err and "disks.data" in r.err
    assert vm.info()["pending"] is None and "data" not in rows(vm)
    vm("rm", "-f")


def test_sizes_change_together(root, image):
    vm = root.fake("web", "ready after=1ms", **MOST)
    vm("start", "--wait")
    device(vm, "add", "disk", image, "id=data")
    result = root("resize", "web", "-c", "4", "-m", "1GiB", "--balloon", "512MiB", "--disk", "data=16MiB",
                  "-o", "json").json()
    conforms(result, "apply")
    assert {c["path"]: c["applied"] for c in result["changes"]} == {
        "cpus.count": "now", "memory.size": "now", "memory.balloon": "now", "disks.data.size": "now"}
    root("resize", "web", "--balloon", "all")
    assert vm.info()["config"]["memory"]["balloon"] is None and vm.info()["pending"] is None
    assert root("resize", "web", "--cpus", "4").out == "web: unchanged\n"
    vm("rm", "-f")


@pytest.mark.parametrize("argv, code, text", [
    (["device", "add", "web", "disk", "path=/dev/null", "id=n0", "color=red"], 2, "disks.n0.color: unknown field"),
    (["device", "add", "web", "net", "id=n0"], 2, "nets.n0: id is used twice"),
    (["device", "add", "web", "disk"], 2, "needs at least path="),
    (["device", "add", "web", "share", "/run/fs.sock"], 5, "shares: driver fake has no such thing"),
    (["device", "add", "web", "vsock", "cid=4"], 5, "vsock.cid: driver fake has no such thing"),
    (["device", "rm", "web", "vsock"], 3, "there is no vsock"),
    (["device", "add", "web", "dsk"], 2, 'did you mean "disk"?'),
    (["device", "rm", "web", "disk", "root"], 5,
     "disks.root: cannot be changed while the VM runs: the guest's root is on it (boot.cmdline: root=)"),
    (["device", "rm", "web", "disk", "data"], 3, 'no disk is called "data"'),
    (["device", "rm", "web", "disk"], 2, "needs a VM, a kind of device and its id"),
    (["device", "lsx"], 2, "needs one of add, rm, ls"),
    (["resize", "web", "--cpus", "8"], 2, "cpus.max: 4 is less than cpus.count (8)"),
    (["resize", "web", "--memory", "2GiB"], 2, "memory.max: 1GiB is less than memory.size (2GiB)"),
    (["resize", "web", "--memory", "1 cow"], 2, 'memory.size: "1 cow" is not a size'),
    (["resize", "web", "--balloon", "300MiB"], 2, "memory.balloon: 300MiB is more than memory.size (256MiB)"),
    (["resize", "web", "--disk", "data=1GiB"], 2, 'disks: there is no "data"'),
    (["resize", "web", "--disk", "1GiB"], 2, 'disk: "1GiB" is not ID=SIZE'),
    (["resize", "web", "--zone", "1GiB"], 2, 'zone: "1GiB" is not ID=SIZE'),
    (["resize", "web"], 2, "no size is given"),
])
def test_bad_input_is_refused_before_anything_happens(root, image, argv, code, text):
    vm = root.fake("web", "ready after=1ms", disks=[{"id": "root", "path": image}],
                   boot={"cmdline": "root=/dev/vda"}, **MOST)
    vm("start", "--wait")
    before = vm.info()
    assert text in root(*argv, code=code).err
    after = vm.info()
    assert (after["config"], after["pending"]) == (before["config"], None)
    vm("rm", "-f")


def test_a_fifth_cpu_of_a_run_that_was_made_for_one(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    r = root("resize", "web", "--cpus", "5", code=5)
    assert r.err == ("viv: resize web: cpus.count: cannot be changed while the VM runs: 5 is more than cpus.max "
                     "of this run (1)\nhint: with --next it is from the next start on\n")
    assert "(next start)" in root("resize", "web", "--cpus", "5", "--next").out
    vm("rm", "-f")


def test_what_the_next_start_may_have_this_run_may_not(root):
    vm = root.fake("web", "ready after=1ms", **MOST)
    vm("start", "--wait")
    root("set", "web", "cpus.max=8", "memory.max=4GiB")
    for flag, size, text in (("--cpus", "8", "cpus.count: cannot be changed while the VM runs: 8 is more than "
                              "cpus.max of this run (4)"),
                             ("--memory", "2GiB", "memory.size: cannot be changed while the VM runs: 2GiB is more "
                              "than memory.max of this run (1GiB)")):
        assert text in root("resize", "web", flag, size, code=5).err
    root("resize", "web", "--memory", "2GiB", "--next")
    r = root("resize", "web", "--balloon", "1536MiB", code=5)
    assert "memory.balloon: cannot be changed while the VM runs: 1.5GiB is more than the memory of this run " \
           "can be (1GiB)" in r.err
    assert root("resize", "web", "--balloon", "512MiB", code=2).err.startswith(
        "viv: resize web: memory.balloon: 512MiB is more than the memory that it has (256MiB)")
    vm("rm", "-f")


def test_an_image_is_cut_by_force_only_and_then_at_once(root, image):
    vm = root.fake("web", "ready after=1ms", disks=[{"id": "data", "path": image}])
    cut = ["resize", "web", "--disk", "data=4MiB"]
    for state in ("stopped", "running"):
        before = vm.info()["config"]
        r = root(*cut, code=2)
        assert r.err == ("viv: resize web: disks.data.size: 4MiB is less than the image has (8MiB)\n"
                         "hint: viv resize --force cuts it: what lies behind is lost for good\n")
        root(*cut, "--force", "--async", "--next", code=2 if state == "running" else 0)
        if state == "running":
            assert os.path.getsize(image) == 8 << 20 and vm.info()["config"] == before
            root(*cut, "--force")
        assert os.path.getsize(image) == 4 << 20 and vm.info()["pending"] is None
        assert vm.info()["config"]["disks"][0]["size"] == 4 << 20
        assert root(*cut, "--force").out == "web: unchanged\n"
        root("resize", "web", "--disk", "data=8MiB")
        vm("start", "--wait") if state == "stopped" else None
        assert os.path.getsize(image) == 8 << 20
    assert root("resize", "web", "--force", "--disk", "data=4097", code=2).err.startswith(
        "viv: resize web: disks.data.size: 4097 bytes are no multiple of 512")
    vm("rm", "-f")


def test_a_kept_vm_that_does_not_run_has_its_image_cut_by_its_monitor(root, image):
    vm = root.fake("web", "ready after=1ms; panic after=20ms", disks=[{"id": "data", "path": image}],
                   restart={"policy": "on-failure", "backoff": "60s"})
    vm("start")
    vm.until("it waits for its restart", lambda: vm.info()["next_start_at"])
    root("resize", "web", "--disk", "data=4MiB", "--force")
    assert os.path.getsize(image) == 4 << 20 and vm.info()["config"]["disks"][0]["size"] == 4 << 20
    vm("rm", "-f")


def test_force_is_for_what_loses_data(root):
    assert "--force is for taking away" in root("device", "add", "web", "disk", "x", "--force", code=2).err


# ---- without waiting

def test_an_accepted_verb_goes_on_and_its_event_tells_the_end(root, image):
    vm = root.fake("web", "ready after=1ms; settle after=200ms", **MOST)
    vm("start", "--wait")
    device(vm, "add", "disk", image, "id=data")

    def accepted(*argv):
        result = root(*argv, "--async", "-o", "json").json()
        assert result["op"] and result["changed"]
        end = vm.until("the operation ended", lambda: next(
            (e for e in root.events() if e["type"] == "op" and e["op"] == result["op"] and "code" in e), None))
        return end["verb"], end["code"]

    assert accepted("resize", "web", "--memory", "1GiB") == ("apply", "OK")
    assert memory(vm) == 1 << 30
    assert accepted("device", "rm", "web", "disk", "data") == ("apply", "OK")
    assert accepted("pause", "web") == ("pause", "OK")
    assert vm.info()["state"] == "paused"
    assert accepted("resume", "web") == ("resume", "OK")
    assert accepted("reboot", "web") == ("reboot", "OK")
    assert accepted("stop", "web") == ("stop", "OK")
    assert vm.info()["state"] == "stopped"
    assert root("stop", "web", "--async", "-o", "json").json()["op"] is None  # nothing was left to do
    assert root("pause", "web", "--async", code=4).err.startswith("viv: pause web: only a running VM can be paused")


def test_a_failure_after_the_acceptance_is_told_by_the_event(root):
    vm = root.fake("web", "ready after=1ms; settle after=1m", **MOST)
    vm("start", "--wait")
    op = root("resize", "web", "--memory", "1GiB", "--timeout", "100ms", "--async", "-o", "json").json()["op"]
    end = vm.until("it ended", lambda: next(
        (e for e in root.events() if e["type"] == "op" and e["op"] == op and "code" in e), None))
    assert end["code"] == "TIMEOUT" and pending(vm) == {"memory.size": "change"}
    assert root("resize", "web", "--memory", "1GiB", "--async").out.startswith("web: changing (op ")
    vm("rm", "-f")


# ---- a real guest

def run(vm, command):
    return vm("exec", "--", "sh", "-c", command, deadline=DEADLINE).out.strip()


def test_a_real_guest_sees_what_comes_and_goes(root, guest, image):
    vm = root.qemu("web", guest, agent={"enabled": "on"}, **MOST).boot()
    device(vm, "add", "disk", image, "id=data", "readonly=true", deadline=DEADLINE)
    device(vm, "add", "net", "id=lan", deadline=DEADLINE)
    vm.until("the guest sees both", lambda: "vda" in run(vm, "cat /proc/partitions") and
             "eth1" in run(vm, "ls /sys/class/net"), deadline=DEADLINE)
    assert run(vm, "cat /sys/block/vda/ro /sys/block/vda/serial").split() == ["1", "data"]
    root("resize", "web", "--cpus", "2", "--memory", "512MiB", deadline=DEADLINE)
    assert run(vm, "nproc") == "2"
    assert int(run(vm, "grep MemTotal /proc/meminfo").split()[1]) > 400 << 10
    before = int(run(vm, "grep MemFree /proc/meminfo").split()[1])
    root("resize", "web", "--balloon", "384MiB", deadline=DEADLINE)
    assert before - int(run(vm, "grep MemFree /proc/meminfo").split()[1]) > 64 << 10
    root("resize", "web", "--balloon", "all", "--memory", "256MiB", deadline=DEADLINE)
    device(vm, "rm", "net", "lan", deadline=DEADLINE)
    device(vm, "rm", "disk", "data", deadline=DEADLINE)
    assert "eth1" not in run(vm, "ls /sys/class/net") and "vda" not in run(vm, "cat /proc/partitions")
    assert vm.info()["pending"] is None and vm.info()["state"] == "running"


def test_a_real_guest_that_does_not_listen_yet_is_told_and_asked_again(root, guest, image):
    vm = root.qemu("web", guest, disks=[{"id": "data", "path": image}], agent={"enabled": "on"})
    vm("start", deadline=DEADLINE)  # its kernel begins just now
    r = device(vm, "rm", "disk", "data", "--timeout", "100ms", code=6, deadline=DEADLINE)
    assert "disks.data: the guest has not let go of it for 0.1 s; it still may, and can be asked again" in r.err
    assert pending(vm) == {"disks.data": "remove"}
    vm("wait", "ready", deadline=DEADLINE)
    assert device(vm, "rm", "disk", "data", code=None, deadline=DEADLINE).code in (0, 3)  # 3: gone by itself
    assert "vda" not in run(vm, "cat /proc/partitions") and vm.info()["pending"] is None
    assert "data" not in rows(vm)


def test_what_cannot_be_in_a_real_machine_is_refused(root, guest, image):
    vm = root.qemu("web", guest, disks=[{"id": "data", "path": image}], **MOST)
    for argv, text in (
            (["device", "add", "web", "disk", "path=/nowhere"], "disks.d1.path: /nowhere: no such file"),
            (["device", "add", "web", "disk", image], "disks.d1.path: " + image + ": is used by disk data already"),
            (["resize", "web", "--cpus", "8"], "cpus.max: 4 is less than cpus.count (8)"),
            (["resize", "web", "--memory", "2GiB"], "memory.max: 1GiB is less than memory.size (2GiB)"),
            (["resize", "web", "--balloon", "300MiB"], "memory.balloon: 300MiB is more than memory.size (256MiB)")):
        assert text in root(*argv, code=2).err
    assert vm.info()["config"]["cpus"]["count"] == 1 and list(rows(vm)) == ["data", "n0"]


def test_a_disk_grows_while_its_vm_is_stopped_and_a_balloon_is_there_from_the_start(root, guest, image):
    vm = root.qemu("web", guest, disks=[{"id": "data", "path": image}], memory={"size": "256MiB", "balloon": "192MiB"},
                   agent={"enabled": "on"})

    def left():
        return root("stats", "web", "-o", "json").json()["balloon_bytes"]

    root("resize", "web", "--disk", "data=16MiB")
    r = root("resize", "web", "--disk", "data=4MiB", code=2)
    assert "disks.data.size: 4MiB is less than the image has (8MiB)" in r.err
    vm.boot()
    assert os.path.getsize(image) == 16 << 20 and run(vm, "cat /sys/block/vda/size") == "32768"
    end = time.monotonic() + DEADLINE
    while left() != 192 << 20 and time.monotonic() < end:
        run(vm, "true")  # its driver is there; it gives page by page
    assert left() == 192 << 20
    root("resize", "web", "--balloon", "all", deadline=DEADLINE)
    assert left() == 256 << 20


def test_a_disk_that_comes_grows_to_its_size(root, image):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    device(vm, "add", "disk", image, "id=data", "size=12MiB")
    assert os.path.getsize(image) == 12 << 20
    vm("rm", "-f")


def test_no_place_is_left_in_a_real_machine(root, guest, image, tmp_path):
    vm = root.qemu("web", guest, "vivguest.noshell").boot()
    for n in range(17):
        path = tmp_path / f"{n}.img"
        path.write_bytes(bytes(1 << 20))
        r = device(vm, "add", "disk", str(path), code=None, deadline=DEADLINE)
        if r.code:
            break
    assert n > 1 and "disks." in r.err, r
    assert vm.info()["pending"] is None and len(vm.info()["config"]["disks"]) == n
