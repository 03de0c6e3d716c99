"""What the tests of a real Cloud Hypervisor share: a VM of the demo guest, and patience with emulated SVM."""

import os
import shutil

import pytest
import vivtest

REQUIRED = os.environ.get("VIV_TEST_REQUIRE", "").split(",")
READY = 150    # seconds that a nested boot may take on a busy host
STEP = 90      # what one verb may take there


def need(present, what):
    if not present:
        (pytest.fail if "ch" in REQUIRED else pytest.skip)(f"needs ch: {what}")


def binary():
    path = shutil.which("cloud-hypervisor")
    need(path, "cloud-hypervisor is not on PATH")
    return path


def old_binary():
    path = os.environ.get("VIV_TEST_CH_OLD")
    need(path and os.access(path, os.X_OK), "VIV_TEST_CH_OLD names no older cloud-hypervisor")
    return path


def create(root, name, *cmdline, **fields):
    """A VM of the demo guest under Cloud Hypervisor."""
    images = os.environ["VIV_IMAGES"] + "/demo"
    boot = {"kernel": f"{images}/vmlinuz", "initramfs": f"{images}/initramfs",
            "cmdline": " ".join(("console=ttyS0 cryptomgr.notests", *cmdline))}
    fields.setdefault("memory", "256MiB")
    fields.setdefault("nets", [])
    root("create", "-f", root.config(name, driver="cloud-hypervisor", boot=boot, **fields))
    return vivtest.VM(root, name)


def ready(vm):
    """Starts it, up to ready. Emulated SVM loses an interrupt now and then and the nested kernel stands still: one
    more try, and then it is no fault of what is tested here."""
    for _ in range(2):
        r = vm("start", "--wait", "-t", f"{READY}s", code=None, deadline=READY + 20)
        if r.code == 0:
            return vm
        assert r.code == 6, f"{r}\n{vm.serial()[-2000:].decode(errors='replace')}"
        vm("kill", deadline=STEP)
    return pytest.skip("the nested guest stood still in its boot twice (emulated SVM)")


def ready_again(vm, boot):
    """Waits until the given boot of a VM that reboots is ready, or skips as above."""
    r = vm("wait", "ready", "-t", f"{READY}s", code=None, deadline=READY + 20)
    if r.code == 6:
        pytest.skip("the nested guest stood still in its boot (emulated SVM)")
    assert r.code == 0, r
    vm.until(f"boot {boot} is ready", lambda: vm.info()["boot"] >= boot and vm.info()["ready"], deadline=READY)


def shell(vm):
    c = vm.console()
    c.line("")
    return c
