"""Programs in the guest, on the fake's pretended agent: streams, signals, terminals, and what ends them."""

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import tty

import pytest
import vivtest

AGENT = "agent; ready after=1ms"


@pytest.fixture
def vm(root):
    vm = root.fake("web", AGENT)
    vm("start", "--wait")
    return vm


def run(vm, *argv, **kw):
    return vm.root("exec", *argv[: argv.index("--")], vm.name, *argv[argv.index("--"):], **kw)


def pattern(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


def started(vm, *command, **kw):
    """An exec that runs until somebody ends it: cat is known to run when it has sent a line back."""
    p = vm.root.popen("exec", "-i", *command, vm.name, "--", "cat", stdin=subprocess.PIPE, **kw)
    p.stdin.write("here\n")
    p.stdin.flush()
    vivtest.read_until(p.stdout, "here")
    return p


def test_output_and_exit_code_are_the_guests(vm):
    assert run(vm, "--", "echo", "a b", "c").out == "a b c\n"
    r = run(vm, "--", "err", "oh")
    assert (r.out, r.err) == ("", "oh\n")
    assert run(vm, "--", "true").code == 0
    assert run(vm, "--", "false", code=1).out == ""
    assert run(vm, "--", "exit", "42", code=42).err == ""
    assert run(vm, "--", "signal", "9", code=137).err == ""
    r = run(vm, "--", "nosuch", code=127)
    assert r.err == "viv: exec web: nosuch: command not found\n"


def test_what_is_asked_for_reaches_the_guest(vm):
    out = run(vm, "-e", "A=1", "--env", "B=x=y", "-w", "/tmp", "-u", "1000:100", "--timeout", "90s", "--", "env").out
    assert out.splitlines() == ["env=A=1", "env=B=x=y", "cwd=/tmp", "user=1000:100"]


def test_input_is_passed_on_only_when_asked(vm):
    assert run(vm, "-i", "--", "cat", stdin="hello\nworld").out == "hello\nworld"
    assert run(vm, "--", "cat", stdin="hello").out == ""
    assert vm.root("shell", "web", stdin="as a script\n").out == "as a script\n"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 10_000_000])
def test_bytes_come_through_unchanged(vm, size):
    out = subprocess.run([vm.root.viv, "exec", "web", "--", "zeros", str(size)], env=vm.root.env,
                         capture_output=True, timeout=60, check=True).stdout
    assert hashlib.sha256(out).digest() == hashlib.sha256(pattern(size)).digest() and len(out) == size
    out = subprocess.run([vm.root.viv, "exec", "-i", "web", "--", "cat"], env=vm.root.env, input=pattern(size),
                         capture_output=True, timeout=60, check=True).stdout
    assert out == pattern(size)
    out = subprocess.run([vm.root.viv, "exec", "-i", "web", "--", "count"], env=vm.root.env, input=pattern(size),
                         capture_output=True, timeout=60, check=True).stdout
    assert out == b"%d\n" % size


def test_files_may_be_input_and_output(vm, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(pattern(1_000_000))
    with open(source, "rb") as i, open(target, "wb") as o:
        subprocess.run([vm.root.viv, "exec", "-i", "web", "--", "cat"], env=vm.root.env, stdin=i, stdout=o,
                       timeout=60, check=True)
    assert target.read_bytes() == pattern(1_000_000)


def test_a_reader_that_stops_holds_the_program_up_and_loses_nothing(vm):
    with subprocess.Popen([vm.root.viv, "exec", "web", "--", "zeros", "3000000"], env=vm.root.env,
                          stdout=subprocess.PIPE) as p:
        # Others are not held up meanwhile.
        for _ in range(20):
            assert run(vm, "--", "echo", "still here").out == "still here\n"
        data = p.stdout.read()
        assert data == pattern(3000000) and p.wait(30) == 0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waiting_for_a_reader_costs_nothing(vm):
    """The program is over, its channel closed; what it said waits for whoever reads."""
    with subprocess.Popen([vm.root.viv, "exec", "web", "--", "zeros", "100000"], env=vm.root.env,
                          stdout=subprocess.PIPE) as p:
        select.select([p.stdout], [], [], 30)
        before = cpu_seconds(p.pid)
        run(vm, "--timeout", "2s", "--", "wait", code=125)  # meanwhile
        assert cpu_seconds(p.pid) - before < 0.5
        assert p.stdout.read() == pattern(100000) and p.wait(30) == 0


def test_a_reader_that_goes_away_ends_the_program(vm):
    p = subprocess.run(f"{vm.root.viv} exec web -- zeros 100000000 | head -c 5", shell=True, env=vm.root.env,
                       capture_output=True, timeout=60, check=True)
    assert p.stdout == pattern(5) and p.stderr == b""


def test_a_hundred_at_once(vm):
    n = 20 if os.environ.get("VIV_TEST_QUICK") else 100
    all_of_them = [subprocess.Popen([vm.root.viv, "exec", vm.name, "--", "zeros", str(100_000 + i)], env=vm.root.env,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE) for i in range(n)]
    for i, p in enumerate(all_of_them):
        out, err = p.communicate(timeout=120)
        assert (out == pattern(100_000 + i), p.returncode, err) == (True, 0, b"")


def test_signals_reach_the_program(vm):
    for sig, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with started(vm) as p:
            p.send_signal(sig)
            assert p.wait(30) == code
            assert p.stderr.read() == ""


def test_a_timeout_ends_it(vm):
    begin = time.monotonic()
    r = run(vm, "--timeout", "300ms", "--", "wait", code=125)
    assert r.err == "viv: exec web: not over after 0.3 s: ended\n"
    assert 0.3 <= time.monotonic() - begin < 5


def test_a_deaf_agent_costs_no_more_than_the_deadline(root):
    vm = root.fake("deaf", "agent-deaf; " + AGENT)
    vm("start", "--wait")
    assert run(vm, "--timeout", "200ms", "--", "true", code=125).err.endswith("ended\n")
    assert vm("stop").out == "deaf: stopped (acpi)\n"  # and falls through on the ladder


# ---- terminals ----


class Terminal:
    """viv on a pseudo-terminal."""

    def __init__(self, vm, *argv, rows=33, cols=101):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = tty.tcgetattr(slave)
        self.resize(rows, cols)
        # as at a terminal, also when these tests run under nohup, which has a hang-up ignored
        self.process = vm.root.popen(*argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                     preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        self.text = ""

    def resize(self, rows, cols):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def expect(self, text, deadline=30):
        end = time.monotonic() + deadline
        while text not in self.text:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], f"no {text!r} in {self.text!r}"
            self.text += os.read(self.master, 65536).decode()

    def send(self, text):
        """Types it, once the terminal is raw: what comes before that is echoed by the terminal itself."""
        end = time.monotonic() + 30
        while tty.tcgetattr(self.slave)[3] & termios.ECHO:
            assert time.monotonic() < end, "the terminal never got raw"
            select.select([self.master], [], [], 0.01)  # nobody tells
        os.write(self.master, text.encode())

    def end(self, code):
        assert self.process.wait(30) == code, self.text
        assert tty.tcgetattr(self.slave) == self.before  # the terminal is as it was
        os.close(self.master)
        os.close(self.slave)


def test_a_terminal_is_raw_and_given_back(vm):
    t = Terminal(vm, "exec", "-it", vm.name, "--", "cat")
    t.send("abc")
    t.expect("abc")
    t.send("\x03")  # reaches the guest, which makes a signal of it
    t.end(130)


def resized(t):
    """The size is told with the request; later ones by SIGWINCH, once the program runs."""
    t.resize(40, 120)
    deadline = time.monotonic() + 30
    while "40 120" not in t.text:
        assert time.monotonic() < deadline, t.text
        os.kill(t.process.pid, signal.SIGWINCH)
        if select.select([t.master], [], [], 0.05)[0]:
            t.text += os.read(t.master, 65536).decode()


def test_the_window_size_follows(vm):
    t = Terminal(vm, "exec", "-t", vm.name, "--", "size")
    resized(t)
    t.send("\x04")
    t.end(0)
    assert "rows=33" in run_env(vm)


def run_env(vm):
    t = Terminal(vm, "exec", "-t", "-e", "X=1", vm.name, "--", "env")
    t.expect("cols=101")
    t.end(0)
    return t.text


def test_the_terminal_is_given_back_when_a_signal_ends_it(vm):
    t = Terminal(vm, "exec", "-it", vm.name, "--", "size")
    resized(t)  # the guest has said it: what is typed the terminal itself may echo, before there is an exec
    t.process.send_signal(signal.SIGHUP)
    t.end(129)


def test_a_terminal_over_pipes_is_refused(vm):
    r = run(vm, "-t", "--", "cat", code=125)
    assert r.err == ("viv: exec: a terminal is needed, but standard input is none\n"
                     "hint: without -t, programs are run over pipes\n")


# ---- what ends it ----


def test_every_way_out_has_a_name(root):
    vm = root.fake("web", AGENT + "; keys")
    vm("start", "--wait")
    with started(vm) as p:
        vm("reboot", "--hard")
        assert p.wait(30) == 125
        assert p.stderr.read() == "viv: exec web: the guest rebooted\n"
    vm("wait", "ready")
    with started(vm) as p:
        vm("kill")
        assert p.wait(30) == 125
        assert p.stderr.read() == "viv: exec web: the VM has ended: kill\n"
    vm("start", "--wait")
    with started(vm) as p:
        vivtest.kill(vm.info()["monitor"])
        assert p.wait(30) == 125
        assert p.stderr.read() == "viv: exec web: its monitor ended in the middle of it\n"
    assert run(vm, "--", "echo", "again").out == "again\n"  # the next monitor has the channel


def test_an_agent_that_is_killed_ends_what_it_ran(root):
    vm = root.fake("web", "agent; ready after=1ms; agent-gone after=1s; agent after=4s")
    vm("start", "--wait")
    begin = time.monotonic()
    r = run(vm, "--", "wait", code=125)
    assert r.err == "viv: exec web: the agent in the guest has ended\n"
    assert time.monotonic() - begin < 10
    assert run(vm, "--", "echo", "again").out == "again\n"  # waits for the next one


def test_a_paused_guest_ends_by_the_deadline(vm):
    with started(vm, "--timeout", "1s") as p:
        vm("pause")
        assert p.wait(30) == 125
        assert p.stderr.read() == "viv: exec web: not over after 1 s: ended\n"
    r = run(vm, "--", "true", code=125)
    assert r.err == "viv: exec web: a paused guest answers nothing\nhint: viv resume web\n"
    vm("resume")
    assert run(vm, "--", "echo", "on").out == "on\n"


def test_a_client_that_is_killed_leaves_nothing_running(vm):
    for _ in range(10):
        with started(vm) as p:
            p.kill()
    assert run(vm, "--", "echo", "ok").out == "ok\n"


def test_without_an_agent_it_says_how_to_get_one(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    begin = time.monotonic()
    r = run(vm, "--connect-timeout", "200ms", "--", "true", code=125)
    assert r.err == ("viv: exec web: no agent answers in the guest after 0.2 s\n"
                     "hint: put one into it: viv agent install web\n")
    assert time.monotonic() - begin < 5
    off = root.fake("off", AGENT, agent="off")
    off("start")
    assert run(off, "--", "true", code=125).err.startswith(
        "viv: exec off: agent.enabled: this VM has no channel to an agent\n")
    stopped = root.fake("idle")
    r = run(stopped, "--", "true", code=125)
    assert re.match(r"viv: exec idle: only a running VM has an agent \(it is created\)\n", r.err)


def test_the_order_of_words_is_told(vm):
    for argv in (("exec", "web"), ("exec", "--", "true"), ("exec", "web", "true")):
        assert vm.root(*argv, code=125).err.startswith("viv: exec: needs one VM, then -- and the command\n")
    assert vm.root("exec", "nob", "--", "true", code=125).err.startswith("viv: exec nob: no such VM\n")


# ---- what else the agent is for ----


def test_stop_asks_the_agent_first(vm):
    assert vm("stop").out == "web: stopped (agent)\n"


def test_ready_is_told_by_the_agent(root):
    vm = root.fake("web", "no-ready; agent-ready after=5ms ip=192.0.2.9", ready={"by": "agent"})
    assert vm("start", "--wait").out.startswith("web: ready 192.0.2.9 after ")
    info = vm.info()
    assert (info["ready"]["proof"], info["ip"]) == ("agent", "192.0.2.9")
    other = root.fake("other", "no-ready; agent-ready after=5ms nonce=wrong", ready={"by": "agent"})
    other("start")
    assert other("wait", "ready", "-t", "300ms", code=6).err.startswith("viv: wait other: not ready after 0.3 s")
    marker = root.fake("marker", "ready after=1s; agent-ready after=5ms", ready={"by": "marker"})
    marker("start", "--wait")
    assert marker.info()["ready"]["proof"] == "marker"


def test_ready_is_a_port_at_which_somebody_listens(root):
    vm = root.fake("web", "ready after=1ms; agent-ready after=5ms ip=192.0.2.9; listen n=80 after=300ms",
                   ready={"by": "tcp:80"})
    assert vm("start", "--wait").out.startswith("web: ready 192.0.2.9 after ")
    info = vm.info()
    assert (info["ready"]["proof"], info["ip"], info["config"]["ready"]["by"]) == ("tcp", "192.0.2.9", "tcp:80")
    vivtest.kill(info["monitor"])
    assert vm.info()["ready"]["proof"] == "tcp"
    other = root.fake("other", "ready after=1ms; agent-ready after=1ms; listen n=81", ready={"by": "tcp:80"})
    other("start")
    assert other("wait", "ready", "-t", "300ms", code=6).err.startswith("viv: wait other: not ready after 0.3 s")
    vivtest.kill(other.info()["monitor"])  # the next one goes on looking
    assert other("wait", "ready", "-t", "300ms", code=6)
    deaf = root.fake("deaf", "agent-deaf; agent-ready after=1ms; listen n=80", ready={"by": "tcp:80"})
    assert deaf("start", "--wait", "--timeout", "300ms", code=6).err.startswith("viv: start deaf: not ready after 0.3 s")


def test_a_reboot_proves_its_port_anew(root):
    vm = root.fake("web", "agent-ready; listen n=80; reboot after=500ms boot=1", ready={"by": "tcp:80"})
    vm("start", "--wait")
    vm.until("the second boot is ready", lambda: vm.info()["boot"] == 2 and vm.info()["ready"], deadline=20)
    assert vm.info()["ready"]["proof"] == "tcp"


@pytest.mark.parametrize("value", ["tcp:0", "tcp:65536", "tcp:022", "tcp:", "tcp", "tcp:PORT", "udp:22"])
def test_a_port_that_is_none_is_refused(root, value):
    assert root("create", "--name", "web", "--driver", "fake", "--set", f"ready.by={value}", code=2).err.startswith(
        f'viv: create: ready.by: "{value}" is not one of auto, marker, agent, tcp:PORT, none\n')


def test_a_port_cannot_be_looked_at_without_an_agent(root):
    r = root("create", "--name", "web", "--driver", "fake", "--set", "ready.by=tcp:22", "--set", "agent.enabled=off",
             code=2)
    assert r.err == ("viv: create: ready.by: tcp:22: the guest's agent looks at the port, and agent.enabled is off\n"
                     "hint: agent.enabled: auto, or ready.by: marker\n")


def test_a_command_without_an_agent_is_refused_before_anything_is_made(root):
    r = root("run", "--name", "web", "--driver", "fake", "--set", "agent.enabled=off", "--", "true", code=125)
    assert r.err == ("viv: run: agent.enabled: off: a command needs the guest's agent\n"
                     "hint: agent.enabled: auto, or no command\n")
    assert root("ps", "-q").out == ""


def test_run_is_for_one_command(root):
    config = root.config("job", driver="fake", fake={"script": AGENT})
    r = root("run", "--rm", config, "--", "echo", "done")
    assert r.out == "done\n"
    assert root("run", "--rm", config, "--", "exit", "7", code=7).out == ""
    assert root("ps", "-q").out == ""
    root("run", config, "--", "true")
    assert root.inspect("job")["state"] == "stopped"
    assert root("run", "-d", config, "--", "true", code=2).err.startswith("viv: run: -d and a command")
