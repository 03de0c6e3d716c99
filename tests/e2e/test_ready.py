"""Readiness: only a complete, valid line of this boot makes a VM ready."""

import pytest

MARKER = "VMRS_READY 192.0.2.7"


@pytest.mark.parametrize("script", [
    "ready after=1ms ip=192.0.2.7 split=200us",
    'print text="\\x00\\xff\\xfe garbage \\x1b[31m"; ready after=5ms ip=192.0.2.7',
    'print text="[    1.0] kernel: "; ready after=5ms ip=192.0.2.7',
    "fill size=10000000; ready after=5ms ip=192.0.2.7",
], ids=["byte by byte", "after garbage", "inside a line", "after a 10 MB line"])
def test_a_marker_is_found(root, script):
    vm = root.fake("web", script)
    vm("start", "--wait", deadline=60)
    assert vm.info()["ip"] == "192.0.2.7"
    assert vm.info()["ready"]["proof"] == "marker"


@pytest.mark.parametrize("text", [
    "VMRS_READY 192.0.2.7",                                  # no end of line
    "VMRS_READY 192.0.2.7 0123456789abcdef\\n",              # another nonce
    "VMRS_READY 999.0.2.7\\n",
    "VMRS_READY\\n",
    "VMRS_READY 192.0.2.7 x y\\n",
    "VMRS_READY  192.0.2.7\\n",
    "XVMRS_READ Y 192.0.2.7\\n",
], ids=["half a line", "wrong nonce", "bad address", "no address", "more behind it", "two spaces", "broken word"])
def test_what_is_not_a_marker_makes_nothing_ready(root, text):
    vm = root.fake("web", f'no-ready; print text="{text}" after=1ms', ready={"timeout": "400ms"})
    vm("start", "--wait", code=6)
    assert vm.info()["ready"] is None
    assert vm.info()["state"] == "running"


def test_a_reboot_clears_ready_and_the_next_boot_proves_it_again(root):
    vm = root.fake("web", "ready after=5ms ip=192.0.2.1 boot=1; reboot after=100ms boot=1; ready after=5ms ip=192.0.2.2 boot=2")
    vm("start", "--wait")
    vm.until("the second boot is ready", lambda: vm.info()["ip"] == "192.0.2.2", deadline=20)
    info = vm.info()
    assert (info["run"], info["boot"]) == (1, 2)
    ready = [(e["boot"], e["ip"]) for e in root.events() if e["type"] == "ready"]
    assert ready == [(1, "192.0.2.1"), (2, "192.0.2.2")]


def test_an_older_boots_marker_counts_for_nothing(root):
    vm = root.fake("web", "ready after=5ms boot=1; reboot after=60ms boot=1")
    vm("start", "--wait")
    vm.until("it rebooted", lambda: vm.info()["boot"] == 2, deadline=20)
    assert vm.info()["ready"] is None


def test_a_flood_neither_fills_the_disk_nor_slows_another(root):
    loud = root.fake("loud", "ready after=1ms; flood after=5ms", serial={"log_limit": "1MiB"})
    loud("start", "--wait")
    quiet = root.fake("quiet", "ready after=1ms")
    loud.until("16 MiB went by", lambda: loud.serial_size() > 16 << 20, deadline=60)
    quiet("start", "--wait", deadline=10)
    import os
    used = os.stat(os.path.join(loud.dir, "serial.log")).st_blocks * 512
    assert used < 4 << 20, f"{used} bytes on disk with a limit of 1 MiB"
    root("kill", "loud", "quiet")
