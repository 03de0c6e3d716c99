"""The life of a VM under a real Cloud Hypervisor. Tests follow one another on the same VM: a nested boot is dear."""

import contextlib
import os
import random
import signal

import chlab
import pytest
import vivtest

SEED = int(os.environ.get("VIV_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
CYCLES = 20
COUNT = "i=0; while :; do i=$((i+1)); echo line $i; done"


@contextlib.contextmanager
def counting(console):
    """The guest prints numbered lines meanwhile."""
    console.line(COUNT)
    console.expect("line 1\r?\n", chlab.STEP)
    yield
    console.send("\x03")
    console.run("true", deadline=chlab.STEP)


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
        assert c.leave() == 0


def test_serial_is_complete_from_the_first_byte(web):
    log = web.serial()
    assert b"Linux version" in log[:400], log[:400]
    with chlab.shell(web) as c:
        ring = c.run("dmesg -r").encode().splitlines()
    # "<6>[    0.000000] text": what is only for debugging (7) does not go to the console
    told = [w.strip().split(b">", 1) for w in ring if w.startswith(b"<") and b">[    0." in w]
    told = [text for level, text in told if int(level[1:]) & 7 < 7]
    assert len(told) > 50 and [w for w in told if w not in log] == []


def test_pause_and_resume(web):
    """Nothing comes from a guest that prints all the time, and then it goes on."""
    with chlab.shell(web) as c, counting(c):
        assert web("pause", deadline=chlab.STEP).out == "web: paused\n"
        assert web.info()["state"] == "paused"
        with web.console("--read-only") as other:  # what was printed before has arrived
            while other.read(1):
                pass
        size = web.serial_size()
        for _ in range(5):
            web.info()
        assert web.serial_size() == size
        assert web("resume", deadline=chlab.STEP).out == "web: running\n"
        web.until("it prints again", lambda: web.serial_size() > size, deadline=chlab.STEP)


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",), ("keeper", "monitor")], ids=["monitor", "keeper", "both"])
def test_kill_9_storm(web, victims):
    """Whoever dies, the guest's numbered lines are all there, once each, and nothing is told twice."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    before, start = web.info(), web.serial_size()
    with chlab.shell(web) as c:
        c.line(COUNT)
        c.expect("line 1\r?\n", chlab.STEP)
    for _ in range(4):
        size = web.serial_size() + rng.randrange(1, 200)
        web.until("the log grows", lambda size=size: web.serial_size() > size, deadline=chlab.STEP)
        now = web.processes()
        for who in victims:
            vivtest.kill(now[who])
        for who in victims:
            vivtest.wait_gone(now[who])
        if len(victims) == 2:
            web("wait", "running", "-t", "60", deadline=chlab.STEP)
        web.until("it is adopted", lambda now=now: all(web.processes().get(v, now[v]) != now[v] for v in victims),
                  deadline=chlab.STEP)
    info = web.info()
    assert (info["vmm"], info["run"], info["boot"], info["ready"]) == (before["vmm"], 1, before["boot"], before["ready"])
    assert info["state"] == "running"
    with chlab.shell(web) as c:
        c.send("\x03")
        c.run("true", deadline=chlab.STEP)
    numbers = vivtest.numbered(web.serial()[start:])[0]
    assert len(numbers) > 100 and numbers == list(range(1, len(numbers) + 1)), "a gap or a duplicate in serial.log"


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
    assert (web.info()["run"], web.info()["vmm"]) == (1, before["vmm"])
    assert [e for e in web.root.events() if e["type"] == "reboot"]


def test_a_hard_reboot(web):
    before = web.info()
    web("reboot", "--hard", deadline=chlab.STEP)
    chlab.ready_again(web, before["boot"] + 1)
    assert (web.info()["run"], web.info()["vmm"]) == (1, before["vmm"])


def test_a_graceful_reboot(web):
    before = web.info()
    assert web("reboot", deadline=2 * chlab.STEP).out == "web: rebooted\n"
    chlab.ready_again(web, before["boot"] + 1)
    assert web.info()["run"] == 2 and not vivtest.alive(before["vmm"])
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


def test_the_guest_powers_off(module_root):
    chlab.binary()
    vm = chlab.ready(chlab.create(module_root, "off", "vivguest.poweroff=1"))
    assert vm.ended() == ("stopped", "guest-poweroff")


def test_the_guest_panics(module_root):
    chlab.binary()
    vm = chlab.ready(chlab.create(module_root, "panic", "vivguest.panic=1"))
    assert vm.ended() == ("failed", "guest-panic")


def test_an_older_release(root):
    """The same life under the release that VIV_TEST_CH_OLD names."""
    old = chlab.old_binary()
    where = os.path.join(os.path.dirname(root.home), "bin")
    os.mkdir(where)
    os.symlink(old, os.path.join(where, "cloud-hypervisor"))
    root.env["PATH"] = where + ":" + root.env["PATH"]
    vm = chlab.ready(chlab.create(root, "old"))
    info = vm.info()
    assert os.path.realpath(info["vmm"]["path"]) == os.path.realpath(old)
    vm("pause", deadline=chlab.STEP)
    vm("resume", deadline=chlab.STEP)
    now = vm.processes()
    vivtest.kill(now["monitor"])
    vm.until("the next monitor", lambda: vm.processes().get("monitor", now["monitor"]) != now["monitor"], deadline=chlab.STEP)
    r = vm("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")
