"""What a real guest under QEMU finds in its machine: CPUs, memory, disks, addresses, random numbers.

One guest for all tests of this file; it is stopped and started once.
"""

import hashlib
import os
import re
import subprocess

import pytest
import vivtest

MAC = "02:00:5e:10:20:30"
DISK_TEST = "/dev/vdb"
MIB = 1 << 20


def make_root_disk(path, source):
    """An ext4 file system with one file in it."""
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "motto").write_text("all is well\n")
    tool = next((p for p in ("/usr/sbin/mke2fs", "/sbin/mke2fs") if os.access(p, os.X_OK)), None)
    if not tool:
        pytest.skip("needs mke2fs")
    subprocess.run([tool, "-q", "-t", "ext4", "-d", source, path, "24M"], check=True)


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disks")
    make_root_disk(folder / "root.img", folder / "source")
    (folder / "data.img").write_bytes(bytes(8 * MIB))
    (folder / "fixed.img").write_bytes(b"do not touch" + bytes(4 * MIB - 12))
    (folder / "a, b.img").write_bytes(bytes(2 * MIB))
    return folder


@pytest.fixture(scope="module")
def web(module_root, guest, disks):
    vm = module_root.qemu("web", guest, f"vivguest.disk_test={DISK_TEST}", cpus=2, memory="192MiB", disks=[
        {"id": "root", "path": str(disks / "root.img")},
        {"id": "data", "path": str(disks / "data.img")},
        {"id": "fixed", "path": str(disks / "fixed.img"), "readonly": True},
        {"id": "last", "path": str(disks / "a, b.img")},
    ], nets=[{"id": "lan", "mac": MAC}, {"id": "more"}])
    return vm.boot()


@pytest.fixture(scope="module")
def shell(web):
    with web.console() as c:
        c.line("")
        yield c


def macs(console):
    return [console.run(f"cat /sys/class/net/eth{n}/address").strip() for n in (0, 1)]


def test_a_guest_with_a_root_disk_reaches_ready(web):
    info = web.info()
    assert (info["state"], info["driver"], info["accel"]) == ("running", "qemu", "tcg")
    assert info["ready"]["proof"] == "marker"
    assert info["ip"] in ("10.0.2.15", "10.0.3.15")  # of the NIC whose network answered first
    stamps = [info["timeline"][k] for k in ("exec_us", "api_us", "created_us", "running_us", "first_byte_us",
                                            "marker_us", "ready_us")]
    assert stamps == sorted(stamps) and stamps[0] > 0


def test_the_root_file_system_is_on_its_disk(shell):
    shell.run("mkdir -p /tmp/root && mount -t ext4 /dev/vda /tmp/root")
    assert shell.run("cat /tmp/root/etc/motto") == "all is well\n"
    shell.run("mkdir -p /tmp/root/bin && cp /bin/busybox /tmp/root/bin/")
    assert shell.run("chroot /tmp/root /bin/busybox sed s/well/fine/ /etc/motto") == "all is fine\n"
    shell.run("echo was here > /tmp/root/etc/guest && umount /tmp/root")


def test_the_guest_sees_its_cpus(shell):
    assert shell.run("nproc") == "2\n"


def test_the_guest_sees_its_memory(web, shell):
    total_kib = int(re.search(r"MemTotal: *(\d+) kB", shell.run("cat /proc/meminfo")).group(1))
    assert 140 << 10 < total_kib < 192 << 10  # the kernel keeps some for itself
    end = int(shell.run("grep 'System RAM' /proc/iomem | tail -n 1").split(" :")[0].split("-")[1], 16)
    assert 191 * MIB < end <= 192 * MIB


def test_the_guest_sees_disks_in_order_with_size_and_serial(web):
    found = re.findall(r"vivarium-guest: disk (\w+) (\d+) bytes serial (\S*)", web.serial().decode(errors="replace"))
    assert found[:4] == [("vda", str(24 * MIB), "root"), ("vdb", str(8 * MIB), "data"),
                         ("vdc", str(4 * MIB), "fixed"), ("vdd", str(2 * MIB), "last")]


def test_a_read_only_disk_cannot_be_written(shell, disks):
    before = hashlib.sha256((disks / "fixed.img").read_bytes()).digest()
    assert shell.run("cat /sys/block/vdc/ro /sys/block/vdb/ro").split() == ["1", "0"]
    assert shell.run("head -c 12 /dev/vdc") == "do not touch"
    shell.run("echo something else > /dev/vdc", code=1)
    shell.run("sync")
    assert hashlib.sha256((disks / "fixed.img").read_bytes()).digest() == before


def test_the_guest_has_a_random_number_generator(shell):
    assert shell.run("cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    numbers = {shell.run("head -c 16 /dev/hwrng | xxd -p").strip() for _ in range(2)}
    assert len(numbers) == 2 and all(len(n) == 32 for n in numbers)


def test_the_guest_sees_the_macs_of_its_configuration(web, shell):
    planned = [n["mac"] for n in web.info()["config"]["nets"]]
    assert planned[0] == MAC and planned[1] != MAC
    assert macs(shell) == planned


def test_disks_and_macs_are_the_same_after_stop_and_start(web, shell, disks):
    before = macs(shell)
    r = web("stop", "-o", "json", deadline=90).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")
    assert b"vivarium-guest: power button, shutting down" in web.serial()
    assert (disks / "data.img").read_bytes()[:1] == b"1"
    web.boot()
    counts = re.findall(rf"disk test {DISK_TEST}: count (\d+)", web.serial().decode(errors="replace"))
    assert counts == ["1", "2"]
    with web.console() as c:
        c.line("")
        assert macs(c) == before
        c.run("mkdir -p /tmp/root && mount -t ext4 /dev/vda /tmp/root")
        assert c.run("cat /tmp/root/etc/guest") == "was here\n"
    info = web.info()
    assert (info["run"], info["boot"]) == (2, 2)


def test_a_guest_without_disks_and_nics_reaches_ready(root, guest):
    vm = root.qemu("bare", guest, "vivguest.noshell", nets=[]).boot()
    assert vm.info()["ip"] == "127.0.0.1"
    assert b"vivarium-guest: disk" not in vm.serial()
    vmm = vm.info()["vmm"]
    assert vm("kill").out == "bare: killed\n"
    assert not vivtest.alive(vmm)
    assert (vm.info()["state"], vm.info()["reason"]["code"]) == ("stopped", "kill")
    vm("rm")
    assert os.listdir(os.path.join(root.home, "vms")) == []
