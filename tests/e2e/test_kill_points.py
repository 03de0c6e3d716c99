"""SIGKILL at every step of start, stop and rm: the next command repairs, nothing is orphaned, no record is lost.

strace delivers the signal when its tracee enters its Nth system call, so the points need no hook in the product: the client is traced
directly; keeper and monitor through a wrapper in a directory of helpers of the test's own, armed for one life.
"""

import os
import shutil
import signal
import stat
import subprocess

import pytest
from vivtest import Root, VM, kill, start_time, until, wait_gone

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
STEP = int(os.environ.get("VIV_TEST_KILL_STEP", "4"))  # every system call, or each STEPth

POINTS = {"keeper": range(1, 50, max(1, STEP - 1)), "monitor": range(2, 140, 2 * STEP)}

WRAPPER = """#!/bin/sh
# Runs {real}; once, when armed, with a SIGKILL at its Nth system call.
if [ -e {arm} ] && mv {arm} {arm}.$$ 2>/dev/null; then
    n=$(cat {arm}.$$)
    echo $$ >{note}
    exec strace -D -qq -o /dev/null -e trace=all -e inject=all:signal=KILL:when=$n {real} "$@"
fi
exec {real} "$@"
"""


@pytest.fixture
def armed(root, tmp_path):
    """The root with wrapped helpers; arm(who, n) before the command that starts them."""
    libexec = find_libexec(root)
    mine = tmp_path / "libexec"
    mine.mkdir()
    for name in os.listdir(libexec):
        real, ours = os.path.join(libexec, name), mine / name
        if name in ("viv-keeper", "viv-monitor"):
            ours.write_text(WRAPPER.format(real=real, arm=tmp_path / f"arm-{name}", note=tmp_path / "note"))
            ours.chmod(ours.stat().st_mode | stat.S_IXUSR)
        else:
            ours.symlink_to(real)
    r = Root(root.viv, root.home, {**root.env, "VIV_LIBEXEC": str(mine)})
    r.note = tmp_path / "note"
    r.arm = lambda who, n: (tmp_path / f"arm-viv-{who}").write_text(str(n))
    r.disarm = lambda: [p.unlink() for p in tmp_path.glob("arm-*")]
    return r


def find_libexec(root):
    if root.env.get("VIV_LIBEXEC"):
        return root.env["VIV_LIBEXEC"]
    return os.path.join(os.path.dirname(os.path.dirname(root.viv)), "libexec/vivarium")


def vmms(root):
    """Live VMM processes of this root."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words and words[0].endswith(b"viv-fake") and root.home.encode() in b" ".join(words) and start_time(pid):
            found.append(int(pid))
    return found


def killed_client(root, n, *argv):
    """Runs viv with a SIGKILL at its nth system call; True if it lived that long."""
    p = subprocess.run(["strace", "-D", "-qq", "-o", "/dev/null", "-e", "trace=all", "-e", f"inject=all:signal=KILL:when={n}",
                        root.viv, *argv], env=root.env, capture_output=True, timeout=60, check=False)
    return p.returncode in (-9, 137)


def assert_repaired(root, vm, verb):
    """The next command of the same kind does the work or finds it done; nothing is left over."""
    root.disarm()
    if verb == "rm":
        assert vm("rm", "-f", code=None).code in (0, 3)
        assert not os.path.exists(vm.dir)
    else:
        vm(verb, *(["-t", "0"] if verb == "stop" else []))
        assert vm.info()["state"] == ("running" if verb == "start" else "stopped")
    assert len(vmms(root)) == (1 if verb == "start" else 0), "an orphan, or two VMMs"
    if verb != "rm":
        vm("rm", "-f")
    assert vmms(root) == []
    root.fake("next")("rm")  # the armed process may have died in the middle of that rm: the next command repairs
    place = os.path.join(root.home, "vms")
    until("nothing of it is left", lambda: os.listdir(place) == [], place)


def was_cut(root):
    """Whether the signal came: the traced process, whose pid the wrapper noted, runs no more."""
    pid = int(root.note.read_text())
    root.note.unlink()
    return start_time(pid) is None or not root.home.encode() in open(f"/proc/{pid}/cmdline", "rb").read()


def prepare(root, name, verb):
    vm = root.fake(name, "ready after=1ms")
    if verb != "start":
        vm("start", "--wait")
    if verb == "rm":
        vm("stop", "-t", "0")
    return vm


@pytest.mark.parametrize("verb", ["start", "stop", "rm"])
def test_the_client_dies_at_every_step(armed, verb):
    n, points = 3, 0
    while True:
        vm = prepare(armed, f"c{n}", verb)
        cut = killed_client(armed, n, verb, vm.name, *(["-t", "0"] if verb == "stop" else []))
        assert_repaired(armed, vm, verb)
        if not cut:
            break
        points += 1
        n += STEP
    assert points >= 5, "too few points: is strace cutting at all?"


@pytest.mark.parametrize("who", ["keeper", "monitor"])
def test_the_keeper_or_monitor_dies_at_every_step_of_a_start(armed, who):
    cuts = 0
    for n in POINTS[who]:
        vm = prepare(armed, f"s{n}", "start")
        armed.arm(who, n)
        armed("start", vm.name, code=None, deadline=60)
        cuts += was_cut(armed)
        assert_repaired(armed, vm, "start")
    assert cuts >= 5, "too few points: is strace cutting at all?"


@pytest.mark.parametrize("who", ["keeper", "monitor"])
def test_the_keeper_or_monitor_dies_at_every_step_of_a_stop(armed, who):
    cuts = 0
    for n in POINTS[who]:
        vm = prepare(armed, f"p{n}", "stop")
        # The next monitor (or keeper, which a client starts when both are gone) is the armed one.
        armed.arm(who, n)
        now = vm.info()
        served = ("monitor",) if who == "monitor" else ("keeper", "monitor")
        for w in served:
            kill(now[w], signal.SIGSTOP)
        for w in served:
            kill(now[w])
            wait_gone(now[w])
        armed("stop", vm.name, "-t", "0", code=None, deadline=60)
        cuts += was_cut(armed)
        assert_repaired(armed, vm, "stop")
    assert cuts >= 5, "too few points: is strace cutting at all?"


def test_a_start_whose_monitor_died_is_finished_by_the_next_one(armed):
    """The client that asked gets its answer although the first monitor never lived to give it."""
    vm = prepare(armed, "web", "start")
    armed.arm("monitor", 200)
    r = armed("start", "web", "--wait", code=None, deadline=60)
    assert r.code == 0, r
    assert VM(armed, "web").info()["ready"]
