"""How a real guest under QEMU ends, reboots, and what its serial log holds of all of its boots."""

import os
import re
import time

import vivtest

LINES = 300
LIMIT = 1 << 20


def guest_boot_id(console):
    return console.run("cat /proc/sys/kernel/random/boot_id").strip()


def uptime_s(console):
    return float(console.run("cat /proc/uptime").split()[0])


def fresh_shell(vm):
    c = vm.console()
    c.line("")
    return c


def numbered(text):
    """The numbers of the whole lines of vivguest.count in a piece of the log."""
    return [int(n) for n in re.findall(rb"(?m)^line (\d{8})\r?$", text)]


def new_boot(console, asked):
    """The guest's kernel began after the reboot was asked for; returns the guest's own word for this boot."""
    assert uptime_s(console) < time.monotonic() - asked
    return guest_boot_id(console)


def test_every_way_to_reboot(root, guest):
    """Graceful: a new VMM of the same record. --hard and by the guest itself: the same VMM."""
    vm = root.qemu("web", guest).boot()
    first = vm.info()
    with fresh_shell(vm) as c:
        ids = [guest_boot_id(c)]

    asked = time.monotonic()
    assert vm("reboot", deadline=120).out == "web: rebooted\n"
    vm("wait", "ready", "-t", "120", deadline=130)
    graceful = vm.info()
    with fresh_shell(vm) as c:
        ids.append(new_boot(c, asked))
    assert (graceful["uuid"], graceful["created_at"]) == (first["uuid"], first["created_at"])
    assert (graceful["run"], graceful["boot"]) == (2, 2)
    assert graceful["vmm"] != first["vmm"] and not vivtest.alive(first["vmm"])
    assert b"vivarium-guest: power button, shutting down" in vm.serial()

    size, asked = vm.serial_size(), time.monotonic()
    vm("reboot", "--hard", deadline=120)
    vm("wait", "ready", "-t", "120", deadline=130)
    hard = vm.info()
    assert (hard["run"], hard["boot"], hard["vmm"]) == (2, 3, graceful["vmm"])
    assert b"shutting down" not in vm.serial()[size:]
    with fresh_shell(vm) as c:
        ids.append(new_boot(c, asked))
        asked = time.monotonic()
        c.line("reboot")
        c.expect("VMRS_READY", vivtest.BOOT_DEADLINE)  # the console goes on through a reboot
        c.line("")
        ids.append(new_boot(c, asked))
        own = vm.info()
        assert (own["run"], own["boot"], own["vmm"], own["state"]) == (2, 4, graceful["vmm"], "running")
        assert b"vivarium-guest: reboot asked for, shutting down" in vm.serial()
        c.line("poweroff")
        assert vm.ended() == ("stopped", "guest-poweroff")
    assert len(set(ids)) == 4
    events = [(e["type"], e["boot"]) for e in root.events() if e["type"] in ("ready", "reboot")]
    assert events == [("ready", 1), ("ready", 2), ("reboot", 3), ("ready", 3), ("reboot", 4), ("ready", 4)]


def test_the_serial_log_is_complete_over_boots(root, guest):
    vm = root.qemu("web", guest, "vivguest.noshell", "vivguest.count", f"vivguest.reboot_every={LINES}")
    vm("start")
    vm.until("the third boot is ready", lambda: vm.serial().count(b"VMRS_READY") == 3, deadline=vivtest.BOOT_DEADLINE)
    for boot in (1, 2):
        text = vm("logs", "--raw", "--boot", boot).out.encode()
        assert numbered(text) == list(range(1, LINES + 1))
        assert text.count(b"VMRS_READY") == 1
        assert b"Linux version" in text and b"restarting" in text
    vm("kill")
    log = vm.serial()
    assert log.count(b"Linux version") == log.count(b"VMRS_READY") == 3
    third = numbered(log)[2 * LINES:]
    assert third == list(range(1, len(third) + 1))


def test_the_serial_log_of_a_flood_is_bounded(root, guest):
    vm = root.qemu("web", guest, "vivguest.noshell", "vivguest.flood", serial={"log_limit": "256KiB"})
    vm.boot()
    vm.until("a megabyte went by", lambda: vm.serial_size() > LIMIT, deadline=60)
    path = os.path.join(vm.dir, "serial.log")
    assert os.stat(path).st_blocks * 512 < LIMIT // 2
    tail = vm("logs", "--raw", "-n", "50").out
    numbers = [int(n) for n in re.findall(r"(?m)^flood (\d{8}) x+\r?$", tail)]
    assert len(numbers) >= 48 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert vm.info()["ready"] is not None
    vm("kill")


def test_a_kernel_panic_is_a_failure_and_the_policy_starts_it_again(root, guest):
    vm = root.qemu("web", guest, restart={"policy": "on-failure", "backoff": "50ms"}).boot()
    with fresh_shell(vm) as c:
        c.line("echo c > /proc/sysrq-trigger")
        c.expect(r"web: failed \(guest-panic\)")
    assert b"Kernel panic - not syncing: sysrq triggered crash" in vm.serial()
    assert [e["state"] for e in root.events() if e.get("reason") == "guest-panic"] == ["failed"]
    vm.until("the second run is ready", lambda: vm.info()["ready"], deadline=vivtest.BOOT_DEADLINE)
    info = vm.info()
    assert (info["state"], info["run"], info["boot"], info["restarts"]) == ("running", 2, 2, 1)
    with fresh_shell(vm) as c:
        c.line("poweroff")
        assert vm.ended() == ("stopped", "guest-poweroff")  # no failure: it stays so
    assert vm.info()["next_start_at"] is None


def test_a_guest_that_ignores_its_button_is_stopped_all_the_same(root, guest):
    vm = root.qemu("web", guest, "vivguest.nobutton").boot()
    vmm = vm.info()["vmm"]
    r = vm("stop", "-t", "500ms", "--no-kill", code=6)
    assert r.err.startswith("viv: stop web: ")
    assert vivtest.alive(vmm) and vm.info()["state"] == "running"
    begin = time.monotonic()
    r = vm("stop", "-t", "1s", "-o", "json").json()
    assert 1 <= time.monotonic() - begin < 6  # one rung higher within the grace time of the next
    assert (r["state"], r["rung"]) == ("stopped", "vmm")
    assert not vivtest.alive(vmm)
    assert vm.serial().count(b"vivarium-guest: power button, ignored") == 2
    assert vm.info()["reason"]["code"] == "stop"
