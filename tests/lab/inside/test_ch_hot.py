"""What changes while a guest of a real Cloud Hypervisor runs, as the guest itself sees it."""

import contextlib
import os

import chlab
import pytest
import vivtest


MIB = 1 << 20


@pytest.fixture(scope="module")
def web(module_root):
    chlab.binary()
    return chlab.ready(chlab.create(module_root, "web", "loglevel=7", agent={"enabled": "on"}, cpus={"count": 1, "max": 4},
                                    memory={"size": "256MiB", "max": "1GiB", "shared": "on"},
                                    disks=[{"id": "first", "path": chlab.image(module_root, "first.img")}]))


def test_serial_is_complete_from_the_first_byte(web):
    """All that the kernel has told its console is in the log."""
    log = web.serial()
    assert b"Linux version" in log[:400], log[:400]
    ring = chlab.run(web, "dmesg -r").encode().splitlines()
    # "<6>[    0.000000] text": what is only for debugging (7) does not go to the console
    told = [w.strip().split(b">", 1) for w in ring if w.startswith(b"<") and b">[    0." in w]
    told = [text for level, text in told if int(level[1:]) & 7 < 7]
    assert len(told) > 50 and [w for w in told if w not in log] == []


def sees(vm, what, command, predicate):
    chlab.again(f"the guest sees {what}", lambda: predicate(chlab.run(vm, command)))


def test_a_disk_comes_grows_and_goes(web):
    path = chlab.image(web.root, "hot.img")
    assert "disks.data: added" in chlab.change(web, f"disks.+data.path={path}").out
    sees(web, "the disk", "cat /proc/partitions", lambda t: "vdb" in t)
    assert chlab.run(web, "cat /sys/block/vdb/serial; echo; cat /sys/block/vdb/size").split() == ["data", "16384"]
    chlab.change(web, "disks.data.size=16MiB")
    sees(web, "its new size", "cat /sys/block/vdb/size", lambda t: t == "32768")
    assert os.path.getsize(path) == 16 << 20
    assert "disks.data: removed" in chlab.change(web, "disks.data-").out
    assert "vdb" not in chlab.run(web, "cat /proc/partitions")
    assert [d["id"] for d in web.info()["config"]["disks"]] == ["first"] and web.info()["pending"] is None


def test_a_disk_of_the_start_can_go_and_come_back(web):
    assert "disks.first: removed" in chlab.change(web, "disks.first-").out
    assert "vda" not in chlab.run(web, "cat /proc/partitions")
    chlab.change(web, f"disks.+first.path={os.path.join(os.path.dirname(web.root.home), 'first.img')}")
    sees(web, "the disk", "cat /proc/partitions", lambda t: "vda" in t)


def test_a_nic_comes_and_goes_with_its_tap(web):
    assert not os.path.exists("/sys/class/net/vivhot0")
    chlab.change(web, "nets.+n1.type=tap", "nets.n1.tap=vivhot0")
    sees(web, "the NIC", "ls /sys/class/net", lambda t: "eth0" in t)
    assert os.path.exists("/sys/class/net/vivhot0")
    mac = next(n["mac"] for n in web.info()["config"]["nets"] if n["id"] == "n1")
    assert mac in (chlab.run(web, "cat /sys/class/net/eth0/address"), None, "auto")
    chlab.change(web, "nets.n1-")
    assert "eth0" not in chlab.run(web, "ls /sys/class/net")
    assert not os.path.exists("/sys/class/net/vivhot0")


def test_changes_survive_a_killed_monitor(web):
    """A device is added, the monitor dies, the next one removes it."""
    path = chlab.image(web.root, "kept.img")
    chlab.change(web, f"disks.+kept.path={path}")
    now = web.processes()
    vivtest.kill(now["monitor"])
    web.until("the next monitor", lambda: web.processes().get("monitor", now["monitor"]) != now["monitor"], deadline=chlab.STEP)
    assert "disks.kept: removed" in chlab.change(web, "disks.kept-").out
    assert web.info()["vmm"] == now["vmm"] and web.info()["state"] == "running"


def test_what_is_refused_leaves_it_as_it_was(web):
    before = web.info()["config"]
    r = chlab.change(web, "disks.+x.path=/nowhere.img", code=2)
    assert "/nowhere.img" in r.err
    first = next(d["path"] for d in before["disks"] if d["id"] == "first")
    r = chlab.change(web, f"disks.+again.path={first}", code=None)
    assert r.code != 0, r
    assert web.info()["config"] == before and web.info()["state"] == "running"


# ---- sizes

def memory_mib(vm):
    return int(chlab.run(vm, "grep MemTotal /proc/meminfo").split()[1]) >> 10


def test_cpus_come_and_go(web):
    assert chlab.run(web, "nproc") == "1"
    chlab.change(web, "cpus=3")
    sees(web, "three", "nproc", lambda t: t == "3")
    chlab.change(web, "cpus=2")
    sees(web, "two", "nproc", lambda t: t == "2")
    r = chlab.change(web, "cpus=5", code=2)
    assert "cpus.max" in r.err or "4" in r.err, r
    assert chlab.run(web, "nproc") == "2" and web.info()["pending"] is None


def test_memory_comes_and_goes_by_virtio_mem(web):
    before = memory_mib(web)
    chlab.change(web, "memory=512MiB")
    sees(web, "more memory", "grep MemTotal /proc/meminfo", lambda t: int(t.split()[1]) >> 10 > before + 200)
    chlab.change(web, "memory=256MiB")
    sees(web, "less again", "grep MemTotal /proc/meminfo", lambda t: int(t.split()[1]) >> 10 < before + 50)
    assert "memory.max" in chlab.change(web, "memory=2GiB", code=2).err
    assert web.info()["state"] == "running"


def resident_mib(vm):
    with open(f"/proc/{vm.info()['vmm']['pid']}/smaps_rollup", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("Rss:")).split()[1]) >> 10


def test_a_balloon_gives_the_host_its_memory_back(web):
    """What the guest has used and freed is the host's again, and what it wants later it gets."""
    chlab.run(web, "dd if=/dev/zero of=/tmp/fill bs=1M count=100 2>/dev/null; rm /tmp/fill")
    full = resident_mib(web)
    free = int(chlab.run(web, "grep MemFree /proc/meminfo").split()[1]) >> 10
    chlab.change(web, "memory.balloon=160MiB")
    left = int(chlab.run(web, "grep MemFree /proc/meminfo").split()[1]) >> 10
    assert left < free - 60, (free, left)
    assert resident_mib(web) < full - 40, (full, resident_mib(web))
    chlab.change(web, "memory.balloon=256MiB")
    sees(web, "its memory again", "grep MemFree /proc/meminfo", lambda t: int(t.split()[1]) >> 10 > free - 40)


def test_memory_comes_by_acpi(module_root):
    chlab.binary()
    vm = chlab.ready(chlab.create(module_root, "acpi", agent={"enabled": "on"},
                                  memory={"size": "256MiB", "max": "1GiB", "hotplug": "acpi"}))
    before = memory_mib(vm)
    chlab.change(vm, "memory=384MiB")
    sees(vm, "more memory", "grep MemTotal /proc/meminfo", lambda t: int(t.split()[1]) >> 10 > before + 100)
    vm("kill", deadline=chlab.STEP)


# ---- devices of other kinds

def test_persistent_memory_comes_and_goes(web):
    path = chlab.image(web.root, "pmem.img", 4 * MIB)
    chlab.change(web, f"pmem.+p.path={path}")
    sees(web, "it", "ls /sys/block", lambda t: "pmem0" in t)
    chlab.change(web, "pmem.p-")
    assert "pmem0" not in chlab.run(web, "ls /sys/block") and web.info()["pending"] is None


def test_a_share_comes_and_goes(web):
    base = os.path.dirname(web.root.home)
    share, fs = os.path.join(base, "share"), os.path.join(base, "fs.sock")
    os.mkdir(share)
    with contextlib.ExitStack() as stack:
        stack.enter_context(chlab.virtiofsd(fs, share))
        chlab.change(web, f"shares.+s.socket={fs}", "shares.+s.tag=host")
        chlab.run(web, "mkdir -p /mnt; mount -t virtiofs host /mnt && echo written > /mnt/file && umount /mnt")
        with open(os.path.join(share, "file"), encoding="utf-8") as f:
            assert f.read() == "written\n"
        chlab.change(web, "shares.s-")
    assert chlab.run(web, "mount -t virtiofs host /mnt 2>&1 || echo gone").endswith("gone")
    assert web.info()["pending"] is None


def test_the_same_by_device_and_resize(web):
    path = chlab.image(web.root, "extra.img")
    web.root("device", "add", "web", "disk", f"path={path}", "id=extra", deadline=chlab.STEP)
    sees(web, "the disk", "cat /sys/block/vd*/serial", lambda t: "extra" in t)
    listed = web.root("device", "ls", "web", "-o", "json", deadline=chlab.STEP).out
    assert '"extra"' in listed
    web.root("resize", "web", "--disk", "extra=16MiB", "--cpus", "1", deadline=chlab.STEP)
    sees(web, "both", "nproc; cat /sys/block/vd*/size", lambda t: t.split()[0] == "1" and "32768" in t.split())
    web.root("device", "rm", "web", "disk", "extra", deadline=chlab.STEP)
    assert "extra" not in chlab.run(web, "cat /sys/block/vd*/serial")
