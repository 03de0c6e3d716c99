"""Nothing is lost when we die: kill -9 of monitor, keeper, both, and the VMM at random times.

The guest prints numbered lines; the serial log must hold each exactly once, in order, whatever died meanwhile.
"""

import json
import os
import random
import select
import signal

import pytest
from vivtest import VM, alive, kill, numbered, until, wait_gone

SEED = int(os.environ.get("VIV_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 30)


def assert_whole(log):
    for numbers in numbered(log):
        assert numbers == list(range(1, len(numbers) + 1)), "a gap or a duplicate in serial.log"


def ready_events(root, name):
    return [(e["run"], e["boot"]) for e in root.events() if e["vm"] == name and e["type"] == "ready"]


def storm(root, vm, victims, rounds, waiter=True):
    """Kills victims rounds times, each after a random number of further bytes of the log."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    wait = root.popen("wait", vm.name, "exit", "-t", "600") if waiter else None
    for _ in range(rounds):
        size = vm.serial_size() + rng.randrange(1, 4000)
        vm.until("the log grows", lambda size=size: vm.serial_size() > size, deadline=60)
        now = vm.processes()
        for who in victims:
            if who in now:
                kill(now[who])
        for who in victims:
            wait_gone(now.get(who))
        if set(victims) == {"keeper", "monitor"}:
            vm("wait", "running", "-t", "20")  # a state verb starts a keeper, which adopts
        else:
            vm.until("it is adopted", lambda gone=now: newer(vm, gone, victims), deadline=30)
    info = vm.info()
    assert info["state"] == "running"
    assert alive(info["vmm"]), "the VMM did not survive"
    if wait:
        assert wait.poll() is None, "the running wait died"
    return wait


def newer(vm, gone, victims):
    now = vm.processes()
    return all(w in now and now[w] != gone.get(w) for w in victims if w in gone)


def finish(root, vm, wait, console=True):
    if console:
        console_works(root, vm)
    vm("kill")
    if wait:
        assert wait.wait(timeout=30) == 0
    assert_whole(vm.serial())
    seen = ready_events(root, vm.name)
    assert len(seen) == len(set(seen)), "ready was announced twice for one boot"
    return seen


def console_works(root, vm):
    """Something typed comes back on the console."""
    import pty
    import tty
    master, slave = pty.openpty()
    tty.setraw(slave)
    p = root.popen("console", vm.name, "--steal", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    try:
        os.write(master, b"echo cons$((40+2))ole\r")
        while b"cons42ole" not in seen and b"echo cons" not in seen:
            assert select.select([master], [], [], 20)[0], f"the console is silent: {seen!r}"
            seen += os.read(master, 65536)
        os.write(master, b"\x1d")
        p.wait(timeout=10)
    finally:
        if p.poll() is None:
            p.kill()
        p.wait()
        os.close(master)


VICTIMS = [("monitor",), ("keeper",), ("keeper", "monitor")]
IDS = ["monitor", "keeper", "both"]
COUNTING = "ready after=5ms; line every=1ms; echo"


@pytest.mark.parametrize("victims", VICTIMS, ids=IDS)
def test_no_serial_byte_is_lost_with_the_fake_driver(root, victims):
    vm = root.fake("web", COUNTING)
    vm("start", "--wait")
    wait = storm(root, vm, victims, 5)
    assert finish(root, vm, wait) == [(1, 1)]


@pytest.mark.stress
@pytest.mark.parametrize("victims", VICTIMS, ids=IDS)
def test_no_serial_byte_is_lost_in_fifty_kills(root, victims):
    vm = root.fake("web", COUNTING)
    vm("start", "--wait")
    wait = storm(root, vm, victims, 50)
    assert finish(root, vm, wait) == [(1, 1)]


def counting_guest(root, guest, extra=""):
    root("create", "-f", root.config("tcg", driver="qemu", accel="tcg", memory="160MiB", boot={
        "kernel": str(guest / "vmlinuz"), "initramfs": str(guest / "initramfs"),
        "cmdline": f"console=ttyS0 vivguest.noshell vivguest.count=200 {extra}"}))
    vm = VM(root, "tcg")
    vm("start", "--wait", deadline=120)
    return vm


@pytest.mark.parametrize("victims", VICTIMS, ids=IDS)
def test_no_serial_byte_of_a_real_guest_is_lost(root, guest, victims):
    vm = counting_guest(root, guest)
    wait = storm(root, vm, victims, 5)
    assert finish(root, vm, wait, console=False) == [(1, 1)]


def test_the_console_of_a_real_guest_works_after_the_monitor_died(root, guest):
    root("create", "-f", root.config("tcg", driver="qemu", accel="tcg", memory="160MiB", agent={"enabled": "off"}, boot={
        "kernel": str(guest / "vmlinuz"), "initramfs": str(guest / "initramfs"), "cmdline": "console=ttyS0"}))
    vm = VM(root, "tcg")
    vm("start", "--wait", deadline=120)
    kill(vm.info()["monitor"])
    console_works(root, vm)
    vm("stop", deadline=90)
    assert b"vivarium-guest: power button, shutting down" in vm.serial()


@pytest.mark.stress
@pytest.mark.parametrize("victims", VICTIMS, ids=IDS)
def test_a_rebooting_guest_loses_nothing_in_fifty_kills(root, guest, victims):
    vm = counting_guest(root, guest, "vivguest.reboot_every=400")
    wait = storm(root, vm, victims, 50)
    boots = finish(root, vm, wait, console=False)
    assert len(boots) >= 2, "the guest did not reboot meanwhile"


@pytest.mark.parametrize("code, state, reason", [("exit code=0", "failed", "vmm-exit"), ("exit code=6", "failed", "vmm-exit"),
                                                 ("crash signal=11", "failed", "vmm-signal")])
def test_the_end_of_a_vmm_while_the_monitor_is_dead_is_known_exactly(root, code, state, reason):
    """A keeper was its parent: status and reason are exact although no monitor looked."""
    vm = root.fake("web", f"ready after=1ms; {code} after=300ms")
    vm("start", "--wait")
    info = vm.info()
    assert kill(info["monitor"], signal.SIGSTOP)
    wait_gone(info["vmm"])
    assert kill(info["monitor"])
    vm("wait", "exit", "-t", "20", code=None)
    now = vm.info()
    assert now["state"] == state, now
    assert now["reason"]["code"] == reason


def test_a_vmm_that_ended_while_nobody_could_see_is_unobserved(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    info = vm.info()
    kill(info["keeper"], signal.SIGSTOP)
    kill(info["monitor"], signal.SIGSTOP)
    kill(info["keeper"])
    kill(info["monitor"])
    wait_gone(info["keeper"])
    wait_gone(info["monitor"])
    assert alive(info["vmm"])
    assert kill(info["vmm"])
    wait_gone(info["vmm"])
    assert vm.info()["state"] == "failed"
    assert vm.info()["reason"]["code"] == "unobserved"
    vm("start", "--wait")
    assert vm.info()["run"] == 2


def test_a_vmm_killed_under_a_monitor_is_a_named_failure(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    assert kill(vm.info()["vmm"])
    vm("wait", "exit", "-t", "20", code=None)
    now = vm.info()
    assert (now["state"], now["reason"]["code"]) == ("failed", "vmm-signal")
    assert "9" in now["reason"]["text"] or "KILL" in now["reason"]["text"]


def test_a_stopped_monitor_costs_no_byte_and_stalls_no_guest(root):
    vm = root.fake("web", COUNTING)
    vm("start", "--wait")
    monitor = vm.info()["monitor"]
    assert kill(monitor, signal.SIGSTOP)
    try:
        before = vm.serial_size()
        vm.until("200 KiB of serial without a monitor", lambda: vm.serial_size() > before + 20_000, deadline=60)
    finally:
        kill(monitor, signal.SIGCONT)
    vm("kill")
    assert_whole(vm.serial())


def test_a_running_wait_starts_a_keeper_when_both_died(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    wait = root.popen("wait", "web", "exit", "-t", "60")
    info = vm.info()
    for who in ("keeper", "monitor"):
        kill(info[who], signal.SIGSTOP)
    for who in ("keeper", "monitor"):
        kill(info[who])
        wait_gone(info[who])
    try:
        vm.until("adopted without any further command", lambda: {"keeper", "monitor"} <= set(vm.processes()), deadline=20)
        adopted = [e for e in root.events() if e["type"] == "adopted"]
        assert adopted and adopted[-1]["gap_ms"] >= 0
    finally:
        vm("kill")
    assert wait.wait(timeout=20) == 0


def test_ready_is_told_once_although_it_was_never_recorded(root):
    """A monitor that dies between its event and its record must not make its successor tell again."""
    vm = root.fake("web", "ready after=1ms ip=192.0.2.9")
    vm("start", "--wait")
    info = vm.info()
    for who in ("keeper", "monitor"):
        kill(info[who], signal.SIGSTOP)
    state = vm.state()
    assert state["ready"], state
    for key in [k for k in state if k.startswith("ready")]:
        del state[key]
    with open(os.path.join(vm.dir, "state.json"), "w", encoding="utf-8") as f:
        json.dump(state, f)
    for who in ("keeper", "monitor"):
        kill(info[who])
        wait_gone(info[who])
    vm("wait", "ready", "-t", "20")
    assert vm.info()["ip"] == "192.0.2.9"
    assert ready_events(root, "web") == [(1, 1)]


def test_reading_verbs_adopt_nothing(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    info = vm.info()
    for who in ("keeper", "monitor"):
        kill(info[who], signal.SIGSTOP)
    for who in ("keeper", "monitor"):
        kill(info[who])
        wait_gone(info[who])
    root("ps")
    vm("inspect")
    vm("ip")
    assert set(vm.processes()) == {"vmm"}
    vm("stop", "-t", "0")
    assert vm.info()["state"] == "stopped"
