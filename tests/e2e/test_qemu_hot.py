"""What changes while a real guest runs, seen by the guest itself through its agent."""

import os
import subprocess

import pytest
import vivtest

DEADLINE = vivtest.BOOT_DEADLINE


def run(vm, command):
    return vm("exec", "--", "sh", "-c", command, deadline=DEADLINE).out.strip()


def change(vm, *what, code=0):
    return vm("set", *what, code=code, deadline=DEADLINE)


def memory_kib(vm):
    return int(run(vm, "grep MemTotal /proc/meminfo").split()[1])


@pytest.fixture
def image(root):
    path = os.path.join(os.path.dirname(root.home), "hot.img")
    with open(path, "wb") as f:
        f.truncate(8 << 20)
    return path


@pytest.fixture
def vm(root, guest):
    return root.qemu("web", guest, cpus={"count": 1, "max": 4}, memory={"size": "256MiB", "max": "1GiB"},
                     agent={"enabled": "on"}).boot()


def test_a_disk_comes_grows_and_goes(vm, image):
    assert "disks.data: added" in change(vm, f"disks.+data.path={image}").out
    vm.until("the guest sees the disk", lambda: "vda" in run(vm, "cat /proc/partitions"), deadline=DEADLINE)
    assert run(vm, "cat /sys/block/vda/serial; echo; cat /sys/block/vda/size").split() == ["data", "16384"]
    assert change(vm, "disks.data.size=16MiB").code == 0
    assert run(vm, "cat /sys/block/vda/size") == "32768" and os.path.getsize(image) == 16 << 20
    assert vm.info()["pending"] is None
    assert "disks.data: removed" in change(vm, "disks.data-").out
    assert "vda" not in run(vm, "cat /proc/partitions")
    assert vm.info()["config"]["disks"] == [] and vm.info()["state"] == "running"


def test_a_disk_that_the_guest_uses_stays(vm, image):
    subprocess.run(["mkfs.ext2", "-q", image], check=True, env={"PATH": "/sbin:/usr/sbin:/bin:/usr/bin"})
    change(vm, f"disks.+data.path={image}")
    vm.until("the guest sees the disk", lambda: "vda" in run(vm, "cat /proc/partitions"), deadline=DEADLINE)
    run(vm, "mkdir /tmp/data && mount /dev/vda /tmp/data")
    r = change(vm, "--live", "disks.data-", code=9)
    assert r.err == ("viv: set web: disks.data: the guest has mounted it at /tmp/data\n"
                     "hint: viv exec web -- umount /tmp/data; or viv device rm --force: what the guest has not "
                     "written yet is lost\n")
    assert [(d["name"], d["used"]) for d in vm.info()["guest"]["disks"]] == [("vda", ["/tmp/data"])]
    run(vm, "umount /tmp/data && mkswap /dev/vda && swapon /dev/vda")
    r = change(vm, "--live", "disks.data-", code=9)
    assert r.err == ("viv: set web: disks.data: the guest swaps to it\nhint: viv exec web -- swapoff -a; or viv device "
                     "rm --force: what the guest has not written yet is lost\n")
    assert "(next start: the guest swaps to it)" in change(vm, "disks.data-").out
    assert "vda" in run(vm, "swapoff /dev/vda; cat /proc/partitions")
    change(vm, "--live", "disks.data-")
    assert "vda" not in run(vm, "cat /proc/partitions")


def test_what_the_guest_uses_goes_and_shrinks_by_force_only(vm, image):
    subprocess.run(["mkfs.ext2", "-q", image], check=True, env={"PATH": "/sbin:/usr/sbin:/bin:/usr/bin"})
    change(vm, f"disks.+data.path={image}")
    vm.until("the guest sees the disk", lambda: "vda" in run(vm, "cat /proc/partitions"), deadline=DEADLINE)
    cut = ["resize", vm.name, "--disk", "data=4MiB"]
    assert "4MiB is less than the image has (8MiB)" in vm.root(*cut, code=2, deadline=DEADLINE).err
    vm.root(*cut, "--force", deadline=DEADLINE)
    assert run(vm, "cat /sys/block/vda/size") == "8192" and os.path.getsize(image) == 4 << 20
    vm.root("resize", vm.name, "--disk", "data=8MiB", deadline=DEADLINE)
    run(vm, "mkdir /tmp/data && mount /dev/vda /tmp/data")
    assert "the guest has mounted it" in vm.root("device", "rm", vm.name, "disk", "data", code=9, deadline=DEADLINE).err
    vm.root("device", "rm", "--force", vm.name, "disk", "data", deadline=DEADLINE)
    assert "vda" not in run(vm, "cat /proc/partitions") and vm.info()["config"]["disks"] == []


def test_cpus_come_but_an_emulated_one_stays(vm):
    change(vm, "cpus=3")
    assert run(vm, "nproc") == "3"
    r = change(vm, "cpus=2")  # QEMU would not survive it
    if vm.info()["accel"] == "tcg":
        assert "(next start: an emulated CPU cannot be taken away)" in r.out
        assert run(vm, "nproc") == "3"
        assert [p["path"] for p in vm.info()["pending"]] == ["cpus.count"]
    change(vm, "nets.+n1.type=nat")  # and goes on living
    vm.until("the guest sees the NIC", lambda: "eth1" in run(vm, "ls /sys/class/net"), deadline=DEADLINE)
    change(vm, "nets.n1-")
    assert "eth1" not in run(vm, "ls /sys/class/net") and vm.info()["state"] == "running"


def test_memory_comes_and_goes_up_to_its_most(vm):
    before = memory_kib(vm)
    change(vm, "memory=768MiB")
    assert memory_kib(vm) - before > 400 << 10
    r = change(vm, "memory=2GiB", code=2)
    assert "memory.max" in r.err
    assert memory_kib(vm) - before < 600 << 10 and vm.info()["state"] == "running"
