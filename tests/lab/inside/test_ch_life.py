"""The life of a VM under a real Cloud Hypervisor. Tests follow one another on the same VM: a nested boot is dear."""

import os
import random
import re
import signal
import time

import chlab
import pytest
import vivtest

SEED = int(os.environ.get("VIV_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
CYCLES = 20
# In bursts, so that a guest that counts leaves some of the emulated host to those who look at it.
COUNT = "i=0; while :; do i=$((i+1)); echo line $i; [ $((i%20)) = 0 ] && usleep 100000; done"


@pytest.fixture(scope="module")
def web(module_root):
    chlab.binary()
    disk = os.path.join(os.path.dirname(module_root.home), "data.img")
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    return chlab.ready(chlab.create(module_root, "web", cpus=2, disks=[{"id": "data", "path": disk}]))


def test_auto_takes_cloud_hypervisor(module_root):
    """A usable KVM and a binary on PATH are all it needs."""
    chlab.binary()
    module_root("create", "-f", module_root.config("plain", boot={"kernel": os.environ["VIV_IMAGES"] + "/demo/vmlinuz"}, nets=[]))
    info = module_root.inspect("plain")
    module_root("rm", "plain")
    assert info["driver"] == "cloud-hypervisor", info


def test_start_to_ready(web):
    info = web.info()
    assert (info["driver"], info["accel"], info["state"]) == ("cloud-hypervisor", "kvm", "running")
    assert info["ready"]["proof"] == "marker" and info["vmm"]["path"] == chlab.binary()
    steps = info["timeline"]
    order = [steps[f"{s}_us"] for s in ("requested", "exec", "api", "created", "running", "first_byte", "marker", "ready")]
    assert order == sorted(order), steps


def test_the_guest_knows_its_hypervisor_cpus_and_disk(web):
    with chlab.shell(web) as c:
        assert "Hypervisor detected: KVM" in c.run("dmesg | grep 'Hypervisor detected'")
        assert c.run("cat /sys/class/dmi/id/sys_vendor").strip() == "Cloud Hypervisor"
        assert c.run("grep -c ^processor /proc/cpuinfo").strip() == "2"
        assert c.run("cat /sys/block/vda/size /sys/block/vda/serial").split() == ["16384", "data"]
        assert "svm" in c.run("grep -m 1 flags /proc/cpuinfo").split(), "it can have virtual machines of its own"
        assert c.leave() == 0


def still(vm):
    """
    Nothing comes from a guest that counts while it is paused, and then it goes on with the next number. From release 53 on
    its clock is set to what it would show without the pause where KVM can (the host's clock is its TSC), or stands still.
    Up to 51 its CPUs are let go before the clock is put back to where it stood: what it shows is what they have read first.
    """
    tick = r"tick-(\d+) (\d+\.\d+)\r?\n"
    with chlab.shell(vm) as c:
        c.line("n=0; while usleep 100000; do n=$((n+1)); read now _ < /proc/uptime; echo tick-$n $now; done &")
        c.expect(tick, chlab.STEP)
        assert vm("pause", deadline=chlab.STEP).out == f"{vm.name}: paused\n"
        begin = time.monotonic()
        assert vm.info()["state"] == "paused"
        while c.read(1):  # what was printed before has arrived
            pass
        size = vm.serial_size()
        assert not c.read(4) and vm.serial_size() == size
        last = list(re.finditer(tick, c.text))[-1]
        n, before = last.groups()
        c.at = last.end()  # half a line may have been printed since
        paused = time.monotonic() - begin
        assert vm("resume", deadline=chlab.STEP).out == f"{vm.name}: running\n"
        m = c.expect(tick, chlab.STEP)
        passed = float(m.group(2)) - float(before)
        assert int(m.group(1)) == int(n) + 1
        if int(vm.info()["vmm"]["version"].partition(".")[0]) >= 53:
            assert passed >= paused or passed < 1, f"paused for {paused:.1f} s, {passed:.1f} s by the guest's clock"
        c.line("kill %1")
        c.run("true", deadline=chlab.STEP)


def test_a_paused_guest_stands_still(web):
    chlab.steady(web, still)


def storm(vm, victims, rounds):
    """Whoever dies, the guest's numbered lines are all there, once each, and nothing is told twice."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    before, start = vm.info(), vm.serial_size()
    with chlab.shell(vm) as c:
        c.line(COUNT)
        c.expect("line 1\r?\n", chlab.STEP)
    for _ in range(rounds):
        size = vm.serial_size() + rng.randrange(1, 200)
        vm.until("the log grows", lambda size=size: vm.serial_size() > size, deadline=chlab.STEP)
        now = vm.processes()
        for who in victims:
            vivtest.kill(now[who])
        for who in victims:
            vivtest.wait_gone(now[who])
        if len(victims) == 2:
            vm("wait", "running", "-t", "60", deadline=chlab.STEP)
        vm.until("it is adopted", lambda now=now: all(vm.processes().get(v, now[v]) != now[v] for v in victims),
                 deadline=chlab.STEP)
    info = vm.info()
    assert (info["vmm"], info["run"], info["boot"], info["ready"]) == (before["vmm"], before["run"], before["boot"],
                                                                        before["ready"])
    assert info["state"] == "running"
    with chlab.shell(vm) as c:
        c.send("\x03")
        c.run("true", deadline=chlab.STEP)
    numbers = vivtest.numbered(vm.serial()[start:])[0][:-1]  # the guest's terminal cuts the one that it was interrupted in
    assert len(numbers) > 100 and numbers == list(range(1, len(numbers) + 1)), "a gap or a duplicate in serial.log"


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",), ("keeper", "monitor")], ids=["monitor", "keeper", "both"])
def test_kill_9_storm(web, victims):
    chlab.steady(web, storm, victims, 4)


def test_adopted_paused(web):
    web("pause", deadline=chlab.STEP)
    now = web.processes()
    vivtest.kill(now["monitor"])
    web.until("the next monitor", lambda: web.processes().get("monitor", now["monitor"]) != now["monitor"], deadline=chlab.STEP)
    web.until("adopted is told", lambda: [e for e in web.root.events() if e["type"] == "adopted"], deadline=chlab.STEP)
    assert web.info()["state"] == "paused" and web.info()["vmm"] == now["vmm"]
    web("resume", deadline=chlab.STEP)
    assert web.info()["state"] == "running"


def test_a_reboot_by_the_guest(web):
    before = web.info()
    with chlab.shell(web) as c:
        c.line("reboot -f")
        web.until("the reboot is told", lambda: web.info()["boot"] > before["boot"], deadline=chlab.STEP)
    chlab.ready_again(web, before["boot"] + 1)
    assert (web.info()["run"], web.info()["vmm"]) == (before["run"], before["vmm"])
    assert [e for e in web.root.events() if e["type"] == "reboot"]


def test_a_hard_reboot(web):
    before = web.info()
    web("reboot", "--hard", deadline=chlab.STEP)
    chlab.ready_again(web, before["boot"] + 1)
    assert (web.info()["run"], web.info()["vmm"]) == (before["run"], before["vmm"])


def test_a_graceful_reboot(web):
    before = web.info()
    assert web("reboot", deadline=2 * chlab.STEP).out == "web: rebooted\n"
    chlab.ready_again(web, before["boot"] + 1)
    assert web.info()["run"] == before["run"] + 1 and not vivtest.alive(before["vmm"])
    assert b"vivarium-guest: power button, shutting down" in web.serial()


def test_stop_by_the_power_button(web):
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["changed"], r["state"], r["rung"]) == (True, "stopped", "acpi")
    assert web.info()["reason"]["code"] == "stop"


def test_a_vmm_that_is_killed(web):
    web("start", deadline=chlab.STEP)
    vivtest.kill(web.info()["vmm"])
    state, reason = web.ended()
    assert (state, reason) == ("failed", "vmm-signal")


def test_death_by_seccomp_is_told(web):
    web("start", deadline=chlab.STEP)
    vivtest.kill(web.info()["vmm"], signal.SIGSYS)
    state, reason = web.ended()
    assert state == "failed" and reason in ("vmm-signal", "vmm-seccomp"), reason
    assert "SYS" in web.info()["reason"]["text"] or "31" in web.info()["reason"]["text"]


def test_kill_is_quick(web):
    web("start", deadline=chlab.STEP)
    vmm = web.info()["vmm"]
    web("kill", deadline=chlab.STEP)
    assert not vivtest.alive(vmm) and web.info()["state"] == "stopped" and web.info()["reason"]["code"] == "kill"


def left_of(web):
    """Files of the run, processes, and our own descriptors: what must not grow."""
    base = os.path.join(web.root.home, "run")
    files = sorted(os.path.join(where[len(base):], n) for where, _, names in os.walk(base) for n in names
                   if n not in ("uuid", "control.sock"))
    return files, len(os.listdir("/proc/self/fd"))


def test_cycles_leave_nothing(web):
    web("start", deadline=chlab.STEP)
    web("kill", deadline=chlab.STEP)
    before = left_of(web)
    gone = []
    for _ in range(CYCLES):
        web("start", deadline=chlab.STEP)
        gone += web.processes().values()
        web("kill", deadline=chlab.STEP)
    for p in gone:
        vivtest.wait_gone(p, chlab.STEP)
    assert left_of(web) == before


def test_what_is_no_firmware_is_told(module_root):
    """As a variable store of OVMF would be, or its code, which is made for QEMU: no image with an entry for PVH."""
    chlab.binary()
    image = chlab.image(module_root, "OVMF.fd", 64 << 10)
    module_root("create", "-f", module_root.config("uefi", driver="cloud-hypervisor", boot={"firmware": image}, nets=[]))
    r = module_root("start", "uefi", code=None, deadline=chlab.STEP)
    assert r.code != 0 and "cloud-hypervisor: vm.boot: " in r.err and "kernel" in r.err.lower(), r
    assert vivtest.VM(module_root, "uefi").info()["state"] == "failed"
