"""What the world does to us: full disks, few descriptors, corrupt records, other owners, hung and lying VMMs."""

import json
import os
import resource
import select
import signal
import subprocess

import pytest
from vivtest import Root, VM, kill, read_until, until, wait_gone


def test_a_corrupt_record_is_listed_and_never_touched_by_reading(root):
    vm = root.fake("web")
    path = os.path.join(vm.dir, "state.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write("{ not json")
    r = root("ps")
    assert "broken" in r.out and "web" in r.out
    assert open(path, encoding="utf-8").read() == "{ not json"
    assert "broken record" in r.err and "nothing deleted" in r.err


def test_a_broken_vm_leaves_by_rm(root):
    vm = root.fake("web")
    with open(os.path.join(vm.dir, "config.json"), "w", encoding="utf-8") as f:
        f.write("]")
    root("ps")
    vm("rm", "-f")
    assert not os.path.exists(vm.dir)


def test_a_newer_record_is_read_only_with_a_named_error(root):
    vm = root.fake("web")
    state = vm.state()
    state["schema"] = 99
    with open(os.path.join(vm.dir, "state.json"), "w", encoding="utf-8") as f:
        json.dump(state, f)
    r = vm("start", code=5)
    assert "schema 99 is newer" in r.err
    assert vm.state()["schema"] == 99


def test_unknown_fields_of_a_record_are_kept(root):
    vm = root.fake("web", "ready after=1ms")
    state = vm.state()
    state["from_the_future"] = {"a": 1}
    with open(os.path.join(vm.dir, "state.json"), "w", encoding="utf-8") as f:
        json.dump(state, f)
    vm("start", "--wait")
    assert vm.state()["from_the_future"] == {"a": 1}
    vm("stop", "-t", "0")
    assert vm.state()["from_the_future"] == {"a": 1}


def test_a_state_root_that_is_not_ours_is_refused(root):
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    root.fake("web")
    os.chown(root.home, 12345, 12345)
    try:
        assert "owned by user 12345" in root("ps", code=7).err
    finally:
        os.chown(root.home, 0, 0)


def test_a_root_whose_sockets_would_not_fit_is_refused_when_it_is_opened(root, tmp_path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    r = Root(root.viv, deep / "home", root.env)
    answer = r("create", "--name", "web", "--driver", "fake", code=2)
    assert "the limit is 103" in answer.err and "VIV_RUN" in answer.err


def test_stopping_twice_is_success_and_says_so(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    vm("stop", "-t", "0")
    r = vm("stop", "-o", "json")
    answer = r.json()
    assert (answer[0] if isinstance(answer, list) else answer)["changed"] is False


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request, tmp_path):
    """A small file system of its own, which a test may fill."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    path, image = tmp_path / "small", tmp_path / "image"
    path.mkdir()
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", path], check=True)
    else:
        with open(image, "wb") as f:
            f.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, path], check=False, capture_output=True).returncode != 0:
            pytest.skip("needs a loop device")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    """Takes all space there is; what is removed to give it back."""
    with open(path / "ballast", "wb", buffering=0) as f:
        for size in (65536, 1):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                pass
    return path / "ballast"


def test_a_full_disk_loses_no_serial_byte_and_no_vm(root, small):
    r = Root(root.viv, small / "h", root.env)
    vm = r.fake("web", "ready after=1ms; line every=1ms size=4000", serial={"log_limit": "64MiB"})
    vm("start", "--wait")
    with r.popen("events", "--since", "0", "-o", "json") as following:
        ballast = fill(small)
        read_until(following.stdout, '"type":"lost","stream":"serial.log","errno":"ENOSPC"', deadline=20)
        following.terminate()
    assert vm.info()["state"] == "running"
    size = vm.serial_size()
    os.unlink(ballast)
    vm.until("logging goes on", lambda: vm.serial_size() > size + 100_000, deadline=30)
    vm("kill")
    numbers = [int(line.split()[1].rstrip(b".")) for line in vm.serial().split(b"\n")[:-1] if line.startswith(b"line ")]
    assert numbers == list(range(1, len(numbers) + 1))
    vm("rm", "-f")


def test_a_guest_that_powers_off_on_a_full_disk_is_heard_at_once(root, small):
    """Its end is told by the VMM's events, for which there is room beforehand; its last lines wait in the FIFO."""
    r = Root(root.viv, small / "h", root.env)
    vm = r.fake("web", "ready after=1ms; line every=20ms size=40")
    vm("start", "--wait")
    ballast = fill(small)
    answer = vm("stop", "-o", "json", deadline=20).json()
    assert (answer["state"], answer["rung"]) == ("stopped", "acpi")
    os.unlink(ballast)
    vm.until("it is recorded", lambda: vm.state()["state"] == "stopped")
    assert vm.info()["reason"]["code"] == "stop"
    vm("rm")


def test_a_guest_that_powers_off_by_itself_on_a_full_disk_is_heard_by_who_waits(root, small):
    r = Root(root.viv, small / "h", root.env)
    vm = r.fake("web", "ready after=1ms; keys")
    vm("start", "--wait")
    with r.popen("wait", "web", "exit", "-o", "json") as waiting, vm.console() as console:
        ballast = fill(small)
        console.send("p")
        out, err = waiting.communicate(timeout=20)
        assert waiting.returncode == 0, err
        assert json.loads(out)["reason"]["code"] == "guest-poweroff"
    os.unlink(ballast)
    vm.until("it is recorded", lambda: vm.state()["state"] == "stopped")


def test_a_start_on_a_full_disk_says_so_and_leaves_no_process(root, small):
    r = Root(root.viv, small / "h", root.env)
    vm = r.fake("web", "ready after=1ms")
    ballast = fill(small)
    answer = vm("start", code=1)
    assert "no space left on device" in answer.err.lower(), answer
    assert not vm.processes()
    os.unlink(ballast)
    vm("start", "--wait")
    vm("kill")


def test_a_vmm_that_floods_its_stderr_does_not_fill_the_disk(root):
    """The guest is silent, so nobody but the keeper is awake to see it."""
    vm = root.fake("loud", "no-banner; no-ready; complain size=4000")
    path = os.path.join(vm.dir, "vmm.log")
    vm("start")
    vm.until("64 MiB went by", lambda: os.path.exists(path) and os.stat(path).st_size > 64 << 20, deadline=60)
    used = os.stat(path).st_blocks * 512
    assert used < 2 << 20, f"{used} bytes on disk"
    assert "line " in vm("logs", "--vmm", "-n", "3").out
    vm("kill")


def test_a_vmm_whose_stderr_nobody_reads_goes_on(root):
    """Keeper and monitor stand still, the FIFO is full: the VMM loses words, its guest goes on."""
    vm = root.fake("web", "ready after=1ms; complain after=50ms n=200 size=4000; print after=400ms text=alive\\n")
    vm("start", "--wait")
    procs = vm.processes()
    for who in ("keeper", "monitor"):
        kill(procs[who], signal.SIGSTOP)
    try:
        fifo = os.open(os.path.join(root.home, "run", vm.info()["uuid"][:8], "serial.out"), os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert select.select([fifo], [], [], 20)[0], "the guest printed nothing"
        finally:
            os.close(fifo)
    finally:
        for who in ("keeper", "monitor"):
            kill(procs[who], signal.SIGCONT)
    vm.until("its line is logged", lambda: b"alive" in vm.serial())
    lines = vm("logs", "--vmm", "-n", "1000").out.splitlines()
    assert lines[0].startswith("line 1.") and len(lines) < 200, "the FIFO holds less than it said"
    vm("kill")


def test_few_descriptors_are_a_named_error(root):
    root.fake("web", "ready after=1ms")
    p = subprocess.run([root.viv, "start", "web"], env=root.env, capture_output=True, text=True, timeout=30, check=False,
                       stdin=subprocess.DEVNULL, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6)))
    assert p.returncode == 1, p
    assert "too many open files" in p.stderr.lower()
    root("start", "web")


def test_a_vmm_that_ends_at_once_is_quoted(root):
    vm = root.fake("web", 'refuse-start code=1 text="no such machine"')
    r = vm("start", code=1)
    assert "ended at once with exit code 1" in r.err and "no such machine" in r.err
    assert vm.info()["state"] == "failed"


def test_a_hung_vmm_is_killed_at_the_start_deadline(root):
    vm = root.fake("web", "hang verb=run")
    vm("start", "-t", "1s", code=6)
    vm("wait", "exit", "-t", "20", code=None)
    info = vm.info()
    assert (info["state"], info["reason"]["code"]) == ("failed", "start-timeout")
    assert vm.processes().get("vmm") is None


def test_a_hung_api_is_busy_and_can_be_killed(root):
    vm = root.fake("web", "ready after=1ms; hang-api after=20ms; ignore-button")
    vm("start", "--wait")
    assert vm.info()["state"] == "running"
    vm("kill")
    info = vm.info()
    assert (info["state"], info["reason"]["code"]) == ("stopped", "kill")


def test_a_guest_that_ignores_the_button_is_stopped_by_the_next_rung(root):
    vm = root.fake("web", "ready after=1ms; ignore-button")
    vm("start", "--wait")
    r = vm("stop", "-t", "300ms", "-o", "json").json()
    r = r[0] if isinstance(r, list) else r
    assert r["rung"] == "vmm"
    assert vm.info()["stop"]["rung"] == "vmm"


def test_a_stop_that_must_not_kill_gives_up(root):
    vm = root.fake("web", "ready after=1ms; ignore-button")
    vm("start", "--wait")
    vm("stop", "-t", "200ms", "--no-kill", code=6)
    assert vm.info()["state"] == "running"


def test_rm_of_a_running_vm_is_refused(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start")
    assert "running" in vm("rm", code=4).err
    vm("rm", "--force")
    root("rm", "web", code=3)
    root("rm", "web", "--ignore-missing")


def test_pausing_stops_the_guest_and_resuming_goes_on(root):
    vm = root.fake("web", "ready after=1ms; line every=2ms")
    vm("start", "--wait")
    vm("pause")
    assert vm.info()["state"] == "paused" and vm.info()["ready"]
    size = vm.serial_size()
    assert vm("pause", "-o", "json").json()
    vm("resume")
    vm.until("it prints again", lambda: vm.serial_size() > size + 500)
    assert vm.info()["state"] == "running"


def test_a_detached_run_with_rm_is_removed_by_its_monitor(root):
    root("run", "-d", "--rm", "-f", root.config("gone", driver="fake", fake={"script": "ready after=1ms; poweroff after=200ms"}))
    vm = VM(root, "gone")
    until("it is gone", lambda: not os.path.exists(vm.dir), root.home, os.path.join(root.home, "vms"), deadline=20)
    assert [e["type"] for e in root.events() if e["vm"] == "gone"][-1] == "removed"


def test_a_foreground_run_whose_client_is_killed_is_stopped(root):
    p = root.popen("run", root.config("fg", driver="fake", fake={"script": "ready after=1ms"}))
    vm = VM(root, "fg")
    read_until(p.stderr, "ready")
    vmm = vm.info()["vmm"]
    p.kill()
    p.communicate()
    wait_gone(vmm)
    vm("wait", "exit", "-t", "20", code=None)
    assert vm.info()["state"] == "stopped"
    assert kill(vmm) is False


def test_a_guest_asked_to_stop_before_it_listens_is_asked_again(root, guest):
    """A button pressed while the kernel still boots is lost; the marker says when the guest is up."""
    root("create", "-f", root.config("web", driver="qemu", accel="tcg", memory="160MiB", nets=[], boot={
        "kernel": str(guest / "vmlinuz"), "initramfs": str(guest / "initramfs"), "cmdline": "console=ttyS0"}))
    root("start", "web")
    r = root("stop", "web", "-o", "json", deadline=90).json()
    assert (r[0] if isinstance(r, list) else r)["rung"] == "acpi"
