"""What the tests of a real Cloud Hypervisor share: a VM of the demo guest, and patience with emulated SVM."""

import contextlib
import os
import shutil
import subprocess
import time

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
    """
    A VM of the demo guest under Cloud Hypervisor. Without a channel to its agent unless asked for one, so that the
    console proves readiness and the power button stops it. Its kernel says little, since each letter on the UART costs two
    exits of emulated SVM: three quarters of a boot. With a code it is not made: what was said.
    """
    fields.setdefault("agent", {"enabled": "off"})
    images = os.environ["VIV_IMAGES"] + "/demo"
    boot = fields.pop("boot", {"kernel": f"{images}/vmlinuz", "initramfs": f"{images}/initramfs",
                               "cmdline": " ".join(("console=ttyS0 cryptomgr.notests quiet", *cmdline))})
    fields.setdefault("memory", "256MiB")
    fields.setdefault("nets", [])
    code = fields.pop("code", 0)
    r = root("create", "-f", root.config(name, driver="cloud-hypervisor", boot=boot, **fields), code=code)
    if code:
        return r
    return vivtest.VM(root, name)


def ready(vm, pass_fds=()):
    """Starts it, up to ready. Emulated SVM loses an interrupt now and then and the nested kernel stands still: one
    more try, and then it is no fault of what is tested here."""
    for _ in range(2):
        r = vm("start", "--wait", "-t", f"{READY}s", code=None, deadline=READY + 20, pass_fds=pass_fds)
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


def steady(vm, test, *args):
    """Runs a test that must see no reset; where emulated SVM has reset the nested guest meanwhile, once more."""
    for _ in range(2):
        boot = vm.info()["boot"]
        try:
            return test(vm, *args)
        except AssertionError:
            if vm.info()["boot"] == boot:
                raise
            ready_again(vm, boot + 1)
    return pytest.skip("the nested guest reset itself twice (emulated SVM)")


def boots(vm):
    """How often a guest has begun to print: by what process 1 says first."""
    return vm.serial().count(b"vivarium-guest: Linux")


def run(vm, command, code=0):
    """What a command says in the guest, through its agent."""
    return vm("exec", "--", "sh", "-c", command, code=code, deadline=STEP).out.strip()


def change(vm, *what, code=0):
    return vm("set", *what, code=code, deadline=STEP)


def image(root, name, size=8 << 20):
    path = os.path.join(os.path.dirname(root.home), name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def again(what, predicate):
    """Until it is true of the guest, which wakes nobody here: by calls that each take their time."""
    end = time.monotonic() + STEP
    while not predicate():
        assert time.monotonic() < end, f"not within {STEP} s: {what}"


@contextlib.contextmanager
def helper(socket, *argv):
    """A process that serves a socket: virtiofsd, swtpm."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        vivtest.until(f"{argv[0]} listens", lambda: os.path.exists(socket), os.path.dirname(socket))
        yield process
    finally:
        process.kill()
        process.wait()


def virtiofsd(socket, source):
    exe = next((p for p in ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd") if os.access(p, os.X_OK)), None)
    if not exe:
        pytest.skip("needs virtiofsd: it is not installed")
    return helper(socket, exe, f"--socket-path={socket}", "-o", f"source={source}", "-o", "sandbox=chroot")


def threads(pid):
    """{name: [status lines]} of a process's threads; those of one name together."""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
            name = f.read().strip()
        with open(f"/proc/{pid}/task/{tid}/status", encoding="utf-8") as f:
            found.setdefault(name, []).extend(f.read().splitlines())
    return found


def shell(vm):
    c = vm.console()
    c.line("")
    return c
