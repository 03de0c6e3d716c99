"""What cannot work under Cloud Hypervisor is refused beforehand, precisely: the field, the reason, what to do."""

import json
import os
import stat

import pytest
from test_ch_double import Lab
from test_ch_devices import back_end, booted, file, lab  # noqa: F401  (lab is a fixture)
from test_ch_sizes import asked, change

MIB = 1 << 20


def refused(lab, code=2, name="web", **fields):
    fields.setdefault("boot", {"kernel": lab.kernel})
    fields.setdefault("nets", [])
    return lab.root("create", "-f", lab.root.config(name, driver="cloud-hypervisor", **fields), code=code).err


def test_no_binary(lab):
    lab.root.env["VIV_CLOUD_HYPERVISOR"] = os.path.join(lab.base, "nothing")
    assert f"{lab.base}/nothing: not found" in refused(lab, code=5)


def test_a_binary_that_is_too_old_or_something_else(lab):
    lab.does(version="45.0")
    assert "cloud-hypervisor 45.0 is too old: 46.0 is needed" in refused(lab, code=5)
    lab.root.env["VIV_CLOUD_HYPERVISOR"] = "/bin/true"
    assert "/bin/true: does not tell its version" in refused(lab, code=5)


def test_a_kvm_that_others_may_use_names_the_group(user_root):
    if not os.path.exists("/dev/kvm") or os.stat("/dev/kvm").st_mode & stat.S_IWOTH or os.geteuid() != 0:
        pytest.skip("needs a /dev/kvm that an ordinary user may not open, and root to become one")
    lab = Lab(user_root)
    lab.does(features=["io_uring", "kvm"])
    err = refused(lab, code=5)
    assert "cloud-hypervisor: no usable KVM (/dev/kvm: permission denied)" in err
    assert "sudo usermod -aG kvm $USER, then log in again" in err


def test_a_vmm_that_finds_no_kvm_says_so_itself(lab):
    lab.does(no_kvm="ENOENT")
    r = lab.vm()("start", code=1)
    assert ("cloud-hypervisor: Failed to open hypervisor interface (is hypervisor interface available?): "
            "Error creating a hypervisor instance: No such file or directory (os error 2)") in r.err
    assert lab.left() == []


def test_a_kernel_without_a_pvh_note(lab):
    path = os.path.join(lab.base, "vmlinux")
    with open(path, "wb") as f:  # an ELF for x86-64 without any segment
        f.write(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0\x01\0\0\0" + bytes(40))
    err = refused(lab, boot={"kernel": path})
    assert f"boot.kernel: {path}: not a Linux kernel (" in err and "PVH" in err


def test_an_initramfs_with_firmware(lab):
    err = refused(lab, boot={"firmware": lab.kernel, "initramfs": lab.kernel})
    assert "boot.initramfs: needs a kernel: firmware finds its own" in err


@pytest.mark.parametrize("fields, field", [
    ({"shares": [{"id": "s", "socket": "/nothing/s"}]}, "shares.s.socket"),
    ({"user_devices": [{"id": "u", "socket": "/nothing/s"}]}, "user_devices.u.socket"),
    ({"vhost_user": [{"id": "g", "socket": "/nothing/s", "device": 29}]}, "vhost_user.g.socket"),
    ({"nets": [{"id": "n", "type": "vhost-user", "socket": "/nothing/s"}]}, "nets.n.socket"),
    ({"tpm": {"socket": "/nothing/s"}}, "tpm.socket"),
])
def test_a_socket_that_nobody_made(lab, fields, field):
    err = refused(lab, **fields)
    assert f"{field}: /nothing/s: no such socket" in err and "start what listens there first" in err


def test_a_share_makes_memory_shared_unless_that_was_forbidden(lab):
    share = [{"id": "s", "socket": back_end(lab, "s")}]
    err = refused(lab, shares=share, memory={"size": "256MiB", "shared": "off"})
    assert "memory.shared: is off, but a device is served by another process" in err
    booted(lab, shares=share)
    assert asked(lab, "vm.create")[0]["memory"]["shared"] is True


def test_huge_pages_that_are_not_there(lab):
    err = refused(lab, memory={"size": "1GiB", "hugepages": "1GiB"})
    assert "memory.hugepages: 1GiB are needed in pages of 1GiB, and this host has " in err and " free" in err
    assert "nr_hugepages" in err


def test_a_disk_that_another_vm_holds_names_it(lab):
    path = file(lab, "d.img")
    booted(lab, name="one", disks=[{"id": "d", "path": path}])
    two = lab.vm("two", disks=[{"id": "x", "path": path}])
    r = two("start", code=1)
    assert "Error locking disk images" in r.err
    assert f"hint: one, which runs, has it too (disks.x.path: {path})" in r.err
    assert two.info()["state"] == "failed" and two.info()["vmm"] is None


def test_two_may_read_one_disk(lab):
    path = file(lab, "d.img")
    booted(lab, name="one", disks=[{"id": "d", "path": path, "readonly": True}])
    lab.vm("two", disks=[{"id": "d", "path": path, "readonly": True}]).boot()


def test_a_tap_that_another_vm_holds_names_it(lab):
    nets = [{"id": "n", "type": "tap", "tap": "tap7"}]
    booted(lab, name="one", nets=nets)
    busy = ["Error from API", "The VM could not boot", "Error from device manager", "Open tap device failed",
            "Unable to configure tap interface: Device or resource busy (os error 16)"]
    lab.does(journal=lab.journal, faults=[{"at": "vm.boot", "do": "error", "text": busy}])
    r = lab.vm("two", nets=nets)("start", code=1)
    assert "Device or resource busy" in r.err and "hint: one, which runs, has it too (nets.n.tap: tap7)" in r.err


@pytest.mark.parametrize("version, lacks", [("49.0", {"disk-resize", "nested"}), ("51.0", set()), ("head", set())])
def test_what_a_release_lacks_is_told_with_the_release_that_has_it(lab, version, lacks):
    lab.does(version=version)
    rows = lab.root("caps", "cloud-hypervisor", "-o", "json").json()
    why = {r["capability"]: r["reason"] for r in rows if not r["ok"]}
    assert {c for c, text in why.items() if text == "needs Cloud Hypervisor 50 or later"} == lacks
    assert "this host does not allow it" not in why.values()


def test_a_field_that_is_newer_than_the_release(lab):
    lab.does(version="49.0")
    assert "cpus.nested: needs Cloud Hypervisor 50 or later (this is 49.0)" in refused(lab, code=5, cpus={"nested": "on"})
    err = refused(lab, code=5, vhost_user=[{"id": "g", "socket": back_end(lab, "s"), "device": 29}])
    assert "vhost_user.g: needs Cloud Hypervisor 52 or later (this is 49.0)" in err


def test_a_verb_that_is_newer_than_the_release(lab):
    path = file(lab, "d.img")
    vm = booted(lab, {"version": "49.0"}, disks=[{"id": "d", "path": path}])
    what, why = change(vm, "disks.d.size=8MiB")["disks.d.size"]
    assert what == "next-start" and why.endswith("needs Cloud Hypervisor 50 or later")
    assert os.path.getsize(path) == 4 * MIB


@pytest.mark.parametrize("version", ["46.0", "49.0", "51.0", "52.0", "53.0", "head"])
def test_every_device_in_the_words_of_each_release(lab, version):
    """The double's schema knows since when each field is there; what it would ignore is a complaint."""
    sock, disk = back_end(lab, "s"), file(lab, "f")
    lab.does(version=version, journal=lab.journal)
    more = {} if version in ("46.0", "49.0") else {"cpus": {"count": 2, "max": 4, "nested": "off"}}
    vm = lab.vm(**{"cpus": {"count": 2, "max": 4}, "memory": {"size": "512MiB", "max": "1GiB", "balloon": "256MiB"},
                   "disks": [{"id": "d", "path": disk, "limit": {"group": "slow"}}], "disk_limits": [{"id": "slow", "ops": 100}],
                   "nets": [{"id": "n", "type": "tap", "tap": "tap7", "mtu": 9000, "queues": 2, "offload": "none"}],
                   "shares": [{"id": "s", "socket": sock}], "user_devices": [{"id": "u", "socket": sock}],
                   "pmem": [{"id": "p", "path": file(lab, "g")}], "watchdog": True, "tpm": {"socket": sock}, **more}).boot()
    vm("pause")
    vm("stop")
    with open(lab.journal, encoding="utf-8") as f:
        entries = [json.loads(line) for line in f]
    assert [e["complaints"] for e in entries if e.get("complaints")] == []
    assert any(e["path"].endswith("vm.boot") and e["status"] == 204 for e in entries)


def test_the_way_out_of_the_sandbox_is_logged(lab):
    vm = booted(lab, sandbox={"landlock": "off"})
    with open(os.path.join(vm.dir, "monitor.log"), encoding="utf-8") as f:
        assert "sandbox.landlock: off: the VMM may open whatever its user may" in f.read()
    assert "landlock_enable" not in asked(lab, "vm.create")[0]


def test_what_the_sandbox_is_made_of(lab):
    """The configuration's own files are the VMM's to find; the rest stands in rules, each of a path that is there."""
    booted(lab, nets=[{"id": "n", "type": "tap", "tap": "tap7"}], sandbox={"landlock": "on", "allow": [lab.base]})
    body = asked(lab, "vm.create")[0]
    rules = {r["path"]: r["access"] for r in body["landlock_rules"]}
    assert body["landlock_enable"] is True
    own = "/proc/self/fd/9/"  # the VM's directory, wherever that is: a machine takes its rules along when it moves
    assert rules == {own + "snapshots": "rw", own + "hotplug": "rw", "/sys/devices/virtual/net": "r", lab.base: "rw"}
