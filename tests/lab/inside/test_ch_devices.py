"""What a guest of a real Cloud Hypervisor is made of, as the guest itself sees it: one boot with one of everything."""

import contextlib
import glob
import os
import select
import shutil
import socket
import subprocess
import time

import chlab
import pytest
import vivtest

MIB = 1 << 20
HUGE = 2 * MIB
MEMORY = 256 * MIB    # in two zones of the same size
POOL = MEMORY // HUGE + 40   # less than the zones and what one of them grows by: what the VM has counts as free for it
BANDWIDTH = 4 * MIB   # bytes a second
OPS = 40              # requests a second
NET = 2 * MIB         # bytes a second
MAC = "52:54:00:ab:cd:01"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def free_huge_pages():
    return int(read(f"/sys/kernel/mm/hugepages/hugepages-{HUGE >> 10}kB/free_hugepages"))


@contextlib.contextmanager
def huge_pages(n):
    """So many of them in the host's pool."""
    path = f"/sys/kernel/mm/hugepages/hugepages-{HUGE >> 10}kB/nr_hugepages"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{n}\n")
    try:
        yield
    finally:
        with open(path, "w", encoding="utf-8") as f:
            f.write("0\n")


@contextlib.contextmanager
def second_cpu():
    """The lab's kernel leaves it alone otherwise (tests/lab/conftest.py)."""
    path = "/sys/devices/system/cpu/cpu1/online"
    with open(path, "w", encoding="utf-8") as f:
        f.write("1\n")
    try:
        yield
    finally:
        with open(path, "w", encoding="utf-8") as f:
            f.write("0\n")


@contextlib.contextmanager
def read_only(folder):
    """The same directory, where nobody can write."""
    where = folder + "-ro"
    os.mkdir(where)
    subprocess.run(["mount", "--bind", "-o", "ro", folder, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@pytest.fixture(scope="module")
def base(module_root):
    return os.path.dirname(module_root.home)


@pytest.fixture(scope="module")
def web(module_root, base):
    chlab.binary()
    missing = [p for p in ("qemu-img", "mkfs.ext4", "swtpm") if not shutil.which(p)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: not installed")
    with contextlib.ExitStack() as stack:
        stack.enter_context(second_cpu())
        stack.enter_context(huge_pages(POOL))
        if free_huge_pages() < POOL:
            pytest.skip("the lab's kernel could not make the huge pages")
        # what the lab has in memory does not know O_DIRECT
        ext4 = stack.enter_context(vivtest.mounted(base + "/ext4", 96 * MIB, "mkfs.ext4", "-q", "-O", "^has_journal"))
        direct = os.path.join(ext4, "direct.img")
        with open(direct, "wb") as f:
            f.write(b"d" * (32 * MIB))
        qcow2 = os.path.join(base, "q.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "24M"], check=True)
        share = os.path.join(base, "share")
        os.mkdir(share)
        with open(os.path.join(share, "hello"), "w", encoding="utf-8") as f:
            f.write("from the host\n")
        fs, ro, swtpm, tpm, state = (os.path.join(base, n) for n in ("fs.sock", "ro.sock", "swtpm.sock", "tpm.sock", "tpm"))
        os.mkdir(state)
        stack.enter_context(chlab.virtiofsd(fs, share))
        stack.enter_context(chlab.virtiofsd(ro, stack.enter_context(read_only(share))))
        # first of all that wait for a CPU: the VMM gives them 100 ms for an answer, which is little under emulation
        first = ("chrt", "-f", "50")
        stack.enter_context(chlab.helper(swtpm, *first, "swtpm", "socket", "--tpm2", "--flags", "startup-clear", "--tpmstate",
                                         f"dir={state}", "--ctrl", f"type=unixio,path={swtpm}"))
        relay = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tpm_relay.py")
        stack.enter_context(chlab.helper(tpm, *first, "/usr/bin/python3", relay, tpm, swtpm))
        zones = [{"id": "a", "size": MEMORY // 2, "cpus": ["0"], "distances": ["b=21"]},
                 {"id": "b", "size": MEMORY // 2, "max": MEMORY, "cpus": ["1"], "distances": ["a=21"]}]
        vm = chlab.create(
            module_root, "web", "ip=off", agent={"enabled": "on"},  # nobody answers a DHCP client here
            cpus={"count": 2, "topology": {"threads": 1, "cores": 1, "dies": 1, "packages": 2}, "affinity": ["0=1", "1=0"],
                  "nested": "off"},
            memory={"hugepages": HUGE, "zones": zones},
            disks=[{"id": "plain", "path": chlab.image(module_root, "plain.img", 8 * MIB)},
                   {"id": "direct", "path": direct, "cache": "none", "limit": {"bandwidth": BANDWIDTH}},
                   {"id": "qcow", "path": qcow2, "format": "qcow2"},
                   {"id": "slow", "path": chlab.image(module_root, "slow.img"), "readonly": True, "limit": {"ops": OPS}}],
            nets=[{"id": "n0", "type": "tap", "tap": "vivt0", "mac": MAC, "mtu": 1400, "queues": 2,
                   "limit": {"bandwidth": NET}}],
            pmem=[{"id": "p", "path": chlab.image(module_root, "pmem.img", 8 * MIB)}],
            shares=[{"id": "s", "tag": "host", "socket": fs}, {"id": "ro", "socket": ro}], tpm={"socket": tpm}, vsock={"cid": 77},
            watchdog=True)
        yield chlab.ready(vm)
        vm("kill", code=None, deadline=chlab.STEP)


def test_two_cpus_in_two_packages(web):
    where = "/sys/devices/system/cpu/cpu%d/topology/physical_package_id"
    assert chlab.run(web, "nproc") == "2"
    assert len({chlab.run(web, f"cat {where % i}") for i in (0, 1)}) == 2


def test_zones_are_nodes_with_their_distances(web):
    got = chlab.run(web, "cd /sys/devices/system/node; cat node*/cpulist node*/distance; awk '/^Node/ { n = $2 } "
                    "/ present / { pages[n+0] += $2 } END { print pages[0], pages[1] }' /proc/zoneinfo").splitlines()
    assert got[:4] == ["0", "1", "10 21", "21 10"], got
    assert all(MEMORY // 2 - MIB <= int(n) << 12 <= MEMORY // 2 for n in got[4].split()), got


def test_a_zone_grows_and_shrinks_for_itself(web):
    """By virtio-mem, out of the same pool of huge pages."""
    def total(node):
        return int(chlab.run(web, f"grep MemTotal /sys/devices/system/node/node{node}/meminfo").split()[-2]) >> 10

    before = total(0), total(1)
    chlab.change(web, f"memory.zones.b.size={(MEMORY // 2 >> 20) + 64}MiB")
    chlab.again("the node has more", lambda: total(1) > before[1] + 50)
    chlab.change(web, f"memory.zones.b.size={MEMORY // 2 >> 20}MiB")
    chlab.again("the node has what it had", lambda: total(1) < before[1] + 10)
    assert total(0) == before[0]


def test_no_virtual_machines_of_its_own(web):
    assert "svm" not in chlab.run(web, "grep -m 1 flags /proc/cpuinfo").split()


def test_virtual_cpus_are_bound(web):
    found = chlab.threads(web.info()["vmm"]["pid"])
    for vcpu, host in (("vcpu0", "1"), ("vcpu1", "0")):
        allowed = [line.split()[1] for line in found[vcpu] if line.startswith("Cpus_allowed_list:")]
        assert allowed == [host], (vcpu, allowed)


def test_memory_is_of_huge_pages(web):
    kib = int(chlab.run(web, "grep MemTotal /proc/meminfo").split()[1])
    assert 120 << 10 < kib <= MEMORY >> 10  # the kernel keeps 64 MiB for bounce buffers, since memory may come high above
    assert free_huge_pages() < POOL - 28, "what the guest has touched is out of the host's pool"


def test_too_few_huge_pages_are_told(web, module_root):
    r = chlab.create(module_root, "big", memory={"size": 4 * MEMORY, "hugepages": HUGE}, code=2)
    assert "memory.hugepages: 1GiB are needed in pages of 2MiB" in r.err, r


def test_disks_in_order_with_size_and_serial(web):
    got = chlab.run(web, "cd /sys/block; for d in vd*; do echo $d $(cat $d/serial) $(cat $d/size) $(cat $d/ro); done")
    assert got.splitlines() == [f"vda plain {8 * 2048} 0", f"vdb direct {32 * 2048} 0", f"vdc qcow {24 * 2048} 0",
                                f"vdd slow {8 * 2048} 1"]


def test_what_is_written_is_in_the_image(web, base):
    chlab.run(web, "echo to the host | dd of=/dev/vda bs=512 count=1 conv=sync,fsync 2>/dev/null")
    with open(os.path.join(base, "plain.img"), "rb") as f:
        assert f.read(12) == b"to the host\n"
    assert chlab.run(web, "dd if=/dev/zero of=/dev/vdd bs=512 count=1 conv=fsync 2>&1 || echo refused").endswith("refused")


def test_a_qcow2_image_stays_one(web, base):
    chlab.run(web, "echo kept in qcow2 | dd of=/dev/vdc bs=512 seek=4096 count=1 conv=sync,fsync 2>/dev/null")
    assert chlab.run(web, "dd if=/dev/vdc bs=512 skip=4096 count=1 2>/dev/null | head -n 1") == "kept in qcow2"
    with open(os.path.join(base, "q.qcow2"), "rb") as f:
        assert f.read(4) == b"QFI\xfb"


def test_cache_none_bypasses_the_hosts(web):
    pid = web.info()["vmm"]["pid"]
    flags = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            name = os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}"))
            if name.endswith(".img"):
                flags[name] = int(read(f"/proc/{pid}/fdinfo/{fd}").split("flags:")[1].split()[0], 8)
    assert flags["direct.img"] & os.O_DIRECT and not flags["plain.img"] & os.O_DIRECT, flags


def seconds(vm, command):
    """How long it takes in the guest, by the guest's own clock."""
    begin, end = chlab.run(vm, f"cut -d' ' -f1 /proc/uptime; {command} 2>/dev/null && cut -d' ' -f1 /proc/uptime").split()
    return float(end) - float(begin)


def within(rate, limit):
    assert 0.8 * limit < rate < 1.2 * limit, f"{rate:.1f} a second, not {limit}"


def test_the_bandwidth_of_a_disk_is_limited(web):
    """Within 20 %, behind a second's worth that may go at once."""
    at_once = BANDWIDTH >> 18
    chlab.run(web, f"dd if=/dev/vdb of=/dev/null bs=256k count={at_once} iflag=direct 2>/dev/null")
    took = seconds(web, f"dd if=/dev/vdb of=/dev/null bs=256k skip={at_once} iflag=direct")
    within((32 * MIB - BANDWIDTH) / took, BANDWIDTH)


def test_the_requests_to_a_disk_are_limited(web):
    """By several at a time: then it is the limit that they wait for, and not each other."""
    chlab.run(web, f"dd if=/dev/vdd of=/dev/null bs=4k count={OPS} iflag=direct 2>/dev/null")
    took = seconds(web, f"for i in 0 1 2 3; do dd if=/dev/vdd of=/dev/null bs=4k skip=$((i*100)) count={OPS * 6 // 4} iflag=direct & "
                   "done; wait")
    within(6 * OPS / took, OPS)


def test_counters_move(web):
    def now():
        disk = web.root("stats", "web", "-o", "json", deadline=chlab.STEP).json()["disks"]["plain"]
        return [disk[key] for key in ("read_bytes", "reads", "written_bytes", "writes")]

    before = now()
    chlab.run(web, "dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null; "
              "dd if=/dev/zero of=/dev/vda bs=64k seek=16 count=8 oflag=direct 2>/dev/null")
    moved = [n - b for n, b in zip(now(), before)]
    assert moved[0] >= MIB and moved[1] >= 16 and moved[2] >= MIB // 2 and moved[3] >= 8, moved


def test_a_tap_of_the_vmms_own(web):
    assert os.path.exists("/sys/class/net/vivt0"), "made by the VMM"
    got = chlab.run(web, "cd /sys/class/net/eth0; cat address mtu; ls -d queues/rx-* | wc -l").split()
    assert got == [MAC, "1400", "2"]


@pytest.fixture(scope="module")
def link(web):
    """Host and guest on one network."""
    subprocess.run("ip addr add 10.77.0.1/24 dev vivt0; ip link set vivt0 up", shell=True, check=True)
    chlab.run(web, "ip addr flush dev eth0; ip addr add 10.77.0.2/24 dev eth0; ip link set eth0 up")


def test_guest_and_host_reach_each_other(web, link):
    assert "1 packets received" in chlab.run(web, "ping -c 1 -W 20 10.77.0.1")


def test_the_bandwidth_of_a_nic_is_limited(web, link):
    """After a second's worth that may go at once."""
    size, got = 5 * NET, 0
    with socket.create_server(("10.77.0.1", 0)) as server:
        client = web.root.popen("exec", web.name, "--", "sh", "-c", f"dd if=/dev/zero bs=64k count={size >> 16} 2>/dev/null | "
                                f"nc 10.77.0.1 {server.getsockname()[1]}")
        assert select.select([server], [], [], chlab.STEP)[0], "the guest connects"
        s, _ = server.accept()
        begin = time.monotonic()
        with s:
            s.settimeout(chlab.STEP)
            while data := s.recv(1 << 18):
                got += len(data)
        took = time.monotonic() - begin
        assert client.wait(chlab.STEP) == 0
    assert got == size and took > 0.8 * (size - NET) / NET, f"{took:.1f} s"


def test_persistent_memory(web, base):
    assert chlab.run(web, "cat /sys/block/pmem0/size") == str(8 * 2048)
    chlab.run(web, "echo persistent | dd of=/dev/pmem0 bs=4096 count=1 conv=sync,fsync 2>/dev/null")
    with open(os.path.join(base, "pmem.img"), "rb") as f:
        assert f.read(11) == b"persistent\n"


def test_a_share_is_read_and_written(web, base):
    assert chlab.run(web, "mkdir -p /mnt; mount -t virtiofs host /mnt && cat /mnt/hello") == "from the host"
    chlab.run(web, "echo from the guest > /mnt/answer; umount /mnt")
    assert read(os.path.join(base, "share", "answer")) == "from the guest\n"


def test_a_share_of_what_is_read_only(web, base):
    """The side that has the files decides."""
    assert chlab.run(web, "mount -t virtiofs ro /mnt && cat /mnt/hello") == "from the host"
    said = chlab.run(web, "{ echo no > /mnt/hello || echo no > /mnt/new || echo refused; } 2>&1; umount /mnt")
    assert said.endswith("refused") and "Read-only file system" in said, said
    assert read(os.path.join(base, "share", "hello")) == "from the host\n"


def test_a_tpm(web):
    said = chlab.run(web, "dmesg | grep -i tpm; cat /sys/class/tpm/tpm0/tpm_version_major", code=None)
    assert said.split()[-1] == "2", said
    assert chlab.run(web, "ls -c /dev/tpm0") == "/dev/tpm0"
    assert len(chlab.run(web, "cat /sys/class/tpm/tpm0/pcr-sha256/0")) == 64, "it is asked, and answers"


def test_a_watchdog(web):
    """Debian's kernels have no driver for it: the guest sees the device of that kind (35), and nothing happens."""
    assert "0x0023" in chlab.run(web, "cat /sys/bus/virtio/devices/*/device").split()


def test_random_numbers_of_the_host(web):
    assert chlab.run(web, "cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    assert len(chlab.run(web, "head -c 16 /dev/hwrng | hexdump -ve '1/1 \"%02x\"'")) == 32


def test_programs_run_over_vsock(web):
    assert "virtio_transport" in chlab.run(web, "cat /proc/modules")
    assert chlab.run(web, "echo out; echo err >&2; exit 3", code=3) == "out"
    assert web.info()["guest"]["cpus"]["online"] == 2


def test_the_agent_ends_it_and_nothing_stays(web):
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "agent")
    assert not os.path.exists("/sys/class/net/vivt0"), "its own TAP goes with the VMM"
    assert free_huge_pages() == POOL
    assert not glob.glob(os.path.join(web.root.home, "run", "*", "vsock*"))
