"""Programs and files in a real guest: the demo guest's own agent under QEMU."""

import hashlib
import os
import re
import signal
import subprocess
import time

import pytest
import vivtest

DEADLINE = vivtest.BOOT_DEADLINE


@pytest.fixture
def vm(root, guest):
    return root.qemu("web", guest, agent={"enabled": "on"}).boot()


def run(vm, *argv, **kw):
    return vm("exec", "--", *argv, deadline=DEADLINE, **kw)


def test_a_command_of_a_real_guest(vm):
    assert run(vm, "uname", "-sr").out.startswith("Linux ")
    r = run(vm, "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (r.out, r.err) == ("out\n", "err\n")
    assert run(vm, "sh", "-c", "kill -9 $$", code=137).out == ""
    assert run(vm, "nosuch", code=127).err.startswith("viv: exec web: nosuch")
    r = vm.root("exec", "-e", "A=b c", "-w", "/tmp", "web", "--", "sh", "-c", "echo $A; pwd", deadline=DEADLINE)
    assert r.out == "b c\n/tmp\n"
    info = vm.info()
    assert info["guest"]["hostname"] and info["guest"]["cpus"]["online"] == 1
    # The bytes of a few MB, both ways.
    data = os.urandom(3_000_000)
    p = subprocess.run([vm.root.viv, "exec", "-i", "web", "--", "cat"], env=vm.root.env, input=data,
                       capture_output=True, timeout=DEADLINE, check=True)
    assert hashlib.sha256(p.stdout).digest() == hashlib.sha256(data).digest()
    # Many at once.
    many = [vm.root.popen("exec", "web", "--", "echo", str(i)) for i in range(20)]
    assert [p.communicate(timeout=DEADLINE)[0] for p in many] == [f"{i}\n" for i in range(20)]
    assert vm("stop", deadline=DEADLINE).out == "web: stopped (agent)\n"


def much_goes_both_ways(vm, tmp_path, mib):
    """Through exec's input and output, by cp into the guest and back, and to cp's output: each byte arrives."""
    data, back = tmp_path / "data", tmp_path / "back"
    block = os.urandom(1 << 20)
    with open(data, "wb") as f:
        for i in range(mib):
            f.write(i.to_bytes(4, "big") + block[4:])
    wanted = hashlib.sha256(data.read_bytes()).hexdigest()
    with open(data, "rb") as i:
        subprocess.run([vm.root.viv, "exec", "-i", "web", "--", "sh", "-c", "cat > /tmp/in"], env=vm.root.env, stdin=i,
                       timeout=10 * DEADLINE, check=True)
    assert run(vm, "sha256sum", "/tmp/in").out.split()[0] == wanted
    with open(back, "wb") as o:
        subprocess.run([vm.root.viv, "exec", "web", "--", "cat", "/tmp/in"], env=vm.root.env, stdout=o,
                       timeout=10 * DEADLINE, check=True)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == wanted
    run(vm, "rm", "/tmp/in")
    vm.root("cp", data, "web:/tmp/copy", deadline=10 * DEADLINE)
    assert run(vm, "sha256sum", "/tmp/copy").out.split()[0] == wanted
    back.unlink()
    vm.root("cp", "web:/tmp/copy", back, deadline=10 * DEADLINE)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == wanted
    with subprocess.Popen([vm.root.viv, "cp", "web:/tmp/copy", "-"], env=vm.root.env, stdout=subprocess.PIPE) as p:
        assert hashlib.file_digest(p.stdout, "sha256").hexdigest() == wanted and p.wait(DEADLINE) == 0


def many_at_once(vm, n):
    many = [vm.root.popen("exec", "web", "--", "sh", "-c", f"echo {i}; exit {i % 7}") for i in range(n)]
    for i, p in enumerate(many):
        out, err = p.communicate(timeout=10 * DEADLINE)
        assert (out, err, p.returncode) == (f"{i}\n", "", i % 7)


def test_ten_megabytes_go_both_ways(vm, tmp_path):
    much_goes_both_ways(vm, tmp_path, 10)
    many_at_once(vm, 10)
    most = run(vm, "sh", "-c", "grep VmHWM /proc/$(pidof viv-agent)/status").out.split()
    assert int(most[1]) <= 1024  # KiB, whatever went through it


@pytest.mark.stress
def test_a_hundred_megabytes_and_a_hundred_commands_at_once(root, guest, tmp_path):
    vm = root.qemu("web", guest, agent={"enabled": "on"}, memory="1GiB").boot()
    much_goes_both_ways(vm, tmp_path, 100)
    many_at_once(vm, 100)


def test_ready_is_a_port_of_the_real_guest(root, guest):
    vm = root.qemu("web", guest, agent={"enabled": "on"}, ready={"by": "tcp:8080"})
    vm("start", deadline=DEADLINE)
    run(vm, "sh", "-c", "httpd -p 127.0.0.1:8080 -h /tmp")  # nobody outside could reach that one
    assert vm("wait", "ready", "-t", "1s", code=6, deadline=DEADLINE)
    assert vm.info()["ready"] is None
    run(vm, "sh", "-c", "killall httpd; httpd -p 8080 -h /tmp")
    vm("wait", "ready", deadline=DEADLINE)
    assert vm.info()["ready"]["proof"] == "tcp" and vm.info()["ip"]


# ---- what ends a program or a copy in the middle ----


class Exec:
    """A program of the guest that runs until somebody ends it."""

    verb = "exec"

    def begin(self, vm, *flags):
        p = vm.root.popen("exec", "-i", *flags, vm.name, "--", "sh", "-c", "echo here; exec sleep 987654")
        vivtest.read_until(p.stdout, "here", DEADLINE)
        return p

    def nothing_is_left(self, vm):
        return "987654" not in run(vm, "ps").out


class Copy:
    """A copy into the guest that ends when its input does."""

    verb = "cp"

    def begin(self, vm, *flags):
        run(vm, "mkdir", "-p", "/tmp/part")
        p = vm.root.popen("cp", *flags, "-", f"{vm.name}:/tmp/part/file", stdin=subprocess.PIPE)
        p.stdin.write("x" * 200_000)
        p.stdin.flush()
        run(vm, "sh", "-c", "until ls -A /tmp/part | grep -q .; do :; done")
        return p

    def nothing_is_left(self, vm):
        """What was written in part goes with the stream."""
        return run(vm, "sh", "-c", "mkdir -p /tmp/part; while ls -A /tmp/part | grep -q .; do :; done; ls -A /tmp/part").out == ""


def kill_of(who):
    return lambda vm, p: vivtest.kill(vm.info()[who])


def signal_of(sig):
    return lambda vm, p: p.send_signal(sig)


def kill_agent(vm, _):
    run(vm, "killall", "-9", "viv-agent", code=125)


def pause(vm, p):
    vm("pause")
    begin = time.monotonic()
    p.wait(DEADLINE)
    assert time.monotonic() - begin < 10
    vm("resume")


def reboot(vm, _):
    vm("reboot", "--hard", deadline=DEADLINE)


# What happens, with which flags; the exit codes of exec and cp; what they say, a pattern.
GONE = "viv: {verb} web: its monitor ended in the middle of it\n"  # also to take the place of its keeper
ENDS = {
    "monitor": (kill_of("monitor"), (), (125, 1), GONE),
    "keeper": (kill_of("keeper"), (), (125, 1), GONE),
    "client": (signal_of(signal.SIGKILL), (), (-9, -9), ""),
    "agent": (kill_agent, (), (125, 1), ".*agent in the guest.*\n"),
    "pause": (pause, ("--timeout", "3s"), (125, 6), "viv: {verb} web: not over after 3 s: ended\n"),
    "reboot": (reboot, (), (125, 1), "viv: {verb} web: the guest rebooted\n"),
}


@pytest.fixture(scope="module")
def shared(module_root, guest):
    return module_root.qemu("web", guest, agent={"enabled": "on"}).boot()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("job", [Exec(), Copy()], ids=["exec", "cp"])
def test_every_end_in_the_middle_has_a_name_and_leaves_nothing(shared, job, end):
    happens, flags, codes, says = ENDS[end]
    with job.begin(shared, *flags) as p:
        happens(shared, p)
        assert p.wait(DEADLINE) == codes[job.verb == "cp"]
        assert re.fullmatch(says.format(verb=job.verb), p.stderr.read())
    shared("wait", "ready", deadline=DEADLINE)
    assert job.nothing_is_left(shared)


def test_an_interrupt_is_the_programs_and_ends_a_copy(shared):
    """The guest's own status is known then; a copy has none."""
    with Exec().begin(shared) as p:
        p.send_signal(signal.SIGTERM)
        assert (p.wait(DEADLINE), p.stderr.read()) == (143, "")
    with Copy().begin(shared) as p:
        p.send_signal(signal.SIGINT)
        assert (p.wait(DEADLINE), p.stderr.read()) == (130, "viv: cp web: interrupted: what was begun is undone\n")
    assert Exec().nothing_is_left(shared) and Copy().nothing_is_left(shared)


def test_files_and_trees_go_both_ways(vm, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_bytes(os.urandom(200_000))
    (tree / "sub" / "run").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub" / "run").chmod(0o755)
    (tree / "link").symlink_to("sub/run")
    vm.root("cp", tree, "web:/tmp", deadline=DEADLINE)
    assert run(vm, "/tmp/tree/link").out == "ran\n"
    vm.root("cp", "web:/tmp/tree", tmp_path / "back", deadline=DEADLINE)
    back = tmp_path / "back"
    assert (back / "a").read_bytes() == (tree / "a").read_bytes()
    assert os.readlink(back / "link") == "sub/run"
    assert os.stat(back / "sub" / "run").st_mode & 0o777 == 0o755
    assert int(os.stat(back / "a").st_mtime) == int(os.stat(tree / "a").st_mtime)
    p = subprocess.run([vm.root.viv, "cp", "-", "web:/tmp/one"], env=vm.root.env, input=b"x" * 100_000,
                       timeout=DEADLINE, check=True, capture_output=True)
    p = subprocess.run([vm.root.viv, "cp", "web:/tmp/one", "-"], env=vm.root.env, timeout=DEADLINE, check=True,
                       capture_output=True)
    assert p.stdout == b"x" * 100_000
    r = vm.root("cp", "web:/nosuch", tmp_path, code=3, deadline=DEADLINE)
    assert r.err.startswith("viv: cp web: /nosuch")
    r = vm.root("cp", tree / "a", "web:/no/such/dir/a", code=3, deadline=DEADLINE)
    assert "/no/such/dir" in r.err
    vm.root("cp", "--mkdir", tree / "a", "web:/no/such/dir/a", deadline=DEADLINE)
    # What the guest has no room for leaves nothing there; what leads out of a target here is not followed.
    run(vm, "sh", "-c", "mkdir /tmp/small && mount -t tmpfs -o size=64k none /tmp/small")
    r = vm.root("cp", tree / "a", "web:/tmp/small", code=1, deadline=DEADLINE)
    assert "no space left on device" in r.err
    assert run(vm, "ls", "/tmp/small").out == ""
    (tmp_path / "outside").mkdir()
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "tree").symlink_to(tmp_path / "outside")
    r = vm.root("cp", "web:/tmp/tree", tmp_path / "trap", code=8, deadline=DEADLINE)
    assert r.err == "viv: cp web: cannot make tree: it is there, and no directory\n"
    assert os.listdir(tmp_path / "outside") == []
