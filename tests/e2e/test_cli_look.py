"""The verbs that read: tables, JSON, YAML, templates, logs, console, events, completion of output."""

import datetime
import errno
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
import vivtest


def test_ps_shows_every_column(root):
    web = root.fake("web", "ready after=5ms ip=192.0.2.7", cpus=2, memory="256MiB")
    root.fake("db")
    web("start", "--wait")
    lines = [re.split(r"  +", line) for line in root("ps").out.splitlines()]
    assert lines[0] == ["NAME", "STATE", "READY", "IP", "CPUS", "MEM", "DRIVER", "AGE"]
    rows = {row[0]: row for row in lines[1:]}
    assert rows["web"][1] == "ready"
    assert re.fullmatch(r"\d+\.\d\ds", rows["web"][2])
    assert rows["web"][3].strip("()") == "192.0.2.7"
    assert rows["web"][4:7] == ["2", "256MiB", "fake"]
    assert re.fullmatch(r"\d+[smhd]", rows["web"][7])
    assert rows["db"][1:4] == ["created", "-", "-"]
    assert root("ls", "-a").out.splitlines()[0] == root("ps").out.splitlines()[0]


def test_ps_selects(root):
    root.fake("a", labels={"job": "42"})("start", "--wait")
    root.fake("b", labels={"job": "42"})
    root.fake("c")
    assert root("ps", "-q").out == "a\nb\nc\n"
    assert root("ps", "-q", "--running").out == "a\n"
    assert root("ps", "-q", "--filter", "labels.job=42").out == "a\nb\n"
    assert root("ps", "-q", "--filter", "state=ready,labels.job=42").out == "a\n"
    r = root("ps", "--filter", "staet=ready", code=2)
    assert "did you mean \"state\"?" in r.err


def test_nothing_is_an_empty_list(root):
    assert root("ps", "-o", "json").json() == []
    assert root("ps", "-o", "yaml").out == "[]\n"
    assert root("events", "--no-follow", "-o", "json").out == ""


INSPECT = ["name", "uuid", "run", "boot", "driver", "machine", "accel", "accel_reason", "state", "ready",
           "ip", "reason", "labels", "config", "pending", "keeper", "monitor", "vmm", "stop",
           "restarts", "created_at", "started_at", "next_start_at", "timeline", "capabilities"]


def test_inspect_has_every_key_in_every_state(root):
    vm = root.fake("web", "ready after=5ms ip=192.0.2.7")
    fresh = vm.info()
    vm("start", "--wait")
    running = vm.info()
    vm("stop")
    for info in (fresh, running, vm.info()):
        assert info["schema"] == 1
        assert set(INSPECT) <= set(info), set(INSPECT) - set(info)
    assert fresh["ready"] is None and fresh["vmm"] is None
    assert running["ready"]["proof"] == "marker"
    assert {"pid", "start_time", "version", "path"} <= set(running["vmm"])
    assert {"pid", "start_time", "version"} <= set(running["monitor"])
    assert {"pid", "start_time"} <= set(running["keeper"])
    assert isinstance(running["timeline"]["ready_us"], int)


def test_one_is_an_object_and_two_are_an_array(root):
    root.fake("a")
    root.fake("b")
    assert root("inspect", "a", "-o", "json").json()["name"] == "a"
    assert [x["name"] for x in root("inspect", "b", "a", "-o", "json").json()] == ["b", "a"]
    assert [x["name"] for x in root("inspect", "--all", "-o", "json").json()] == ["a", "b"]
    assert root("inspect", "a").out.startswith("schema: 1\nname: a\n")


def test_templates(root):
    root.fake("web", "ready after=5ms ip=192.0.2.7")("start", "--wait")
    assert root("ps", "--format", "{name} {ip}").out == "web 192.0.2.7\n"
    assert root("inspect", "--format", "{ready.proof}\\t{pending}", "web").out == "marker\t-\n"
    r = root("ps", "--format", "{nmae}", code=2)
    assert r.err == "viv: ps: --format: {nmae}: unknown key\nhint: did you mean \"name\"?\n"


def test_ip_and_port(root):
    web = root.fake("web", "ready after=5ms ip=192.0.2.7",
                    nets=[{"id": "n0", "forward": ["127.0.0.1:18080:80/tcp", "53:53/udp"]}])
    r = web("ip", code=4)
    assert r.err == ("viv: ip web: no address is known (it is created)\n"
                     "hint: viv start --wait web\n")
    web("start", "--wait")
    assert web("ip").out == "192.0.2.7\n"
    assert web("ip", "-o", "json").json()["ip"] == "192.0.2.7"
    assert web("port").out == "80/tcp -> 127.0.0.1:18080\n53/udp -> 127.0.0.1:53\n"
    assert web("port", "-o", "json").json()["ports"][0] == {
        "net": "n0", "protocol": "tcp", "host_ip": "127.0.0.1", "host_port": 18080, "guest_port": 80}


# ---- logs ----

LINES = 'no-banner; ready after=1ms nonce=none ip=192.0.2.7; print text="one\\ntwo\\nthree\\n" after=5ms'


def test_logs_from_both_ends(root):
    vm = root.fake("web", LINES)
    vm("start", "--wait")
    vm.until("it printed all", lambda: b"three" in vm.serial())
    assert vm("logs").out == "VMRS_READY 192.0.2.7\none\ntwo\nthree\n"
    assert vm("logs", "-n", "2").out == "two\nthree\n"
    assert vm("logs", "-n0").out == ""
    assert vm("logs", "-n", "99").out == vm("logs").out
    assert vm("logs", "--since", "1h").out == vm("logs").out
    assert vm("logs", "--since", "2199-01-01").out == ""
    assert vm("logs", "--boot", "-1").out == vm("logs").out
    assert "state running" in vm("logs", "--monitor").out
    assert vm("logs", "--monitor", "-t").out == vm("logs", "--monitor").out  # they have theirs
    assert vm("logs", "--vmm").code == 0
    assert vm("logs", "--vmm", "--boot", "1", code=2).out == ""
    assert vm("logs", "--vmm", "-t", code=2).err == "viv: logs: --timestamps: what the VMM writes has no times\n"
    assert vm("logs", "--vmm", "--since", "1h", code=2).err == "viv: logs: --since: what the VMM writes has no times\n"


def stamped(vm, *argv):
    """What logs -t prints: times and lines. A time that is not known begins with ~."""
    lines = [line.split(" ", 1) for line in vm("logs", "-t", *argv).out.splitlines()]
    assert all(re.fullmatch(r"~?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time, _ in lines), lines
    return [time for time, _ in lines], [line for _, line in lines]


def test_logs_say_when_a_line_was_seen(root):
    vm = root.fake("web", 'no-banner; ready after=1ms nonce=none; print text="early\\n" after=100ms; print text="late\\n" after=500ms')
    vm("start", "--wait")
    with root.popen("logs", "-f", "-t", "web") as p:
        followed = vivtest.read_until(p.stdout, "late\n").splitlines()
        p.terminate()
    times, lines = stamped(vm)
    assert lines[1:] == ["early", "late"] and times == sorted(times) and "~" not in "".join(times)
    seen = [datetime.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in times]
    assert (seen[2] - seen[1]).total_seconds() >= 0.3
    assert [line.split(" ", 1)[1] for line in followed] == lines
    assert vm("logs", "--since", times[2]).out == "late\n"
    assert vm("logs", "--since", times[1]).out == "early\nlate\n"
    assert vm("logs", "--since", times[1], "-n", "1").out == "late\n"
    assert stamped(vm, "--since", times[2], "--boot", "-1") == ([times[2]], ["late"])


def test_the_times_of_a_log_go_on_when_the_monitor_is_killed(root):
    vm = root.fake("web", "no-banner; ready after=1ms nonce=none; line every=2ms n=300")
    vm("start", "--wait")
    for n in (50, 120, 200):
        vm.until(f"line {n}", lambda n=n: b"line %d\n" % n in vm.serial().replace(b"\r", b""))
        assert vivtest.kill(vm.info()["monitor"])
    vm.until("the last line", lambda: b"line 300" in vm.serial())
    vm("kill")
    times, lines = stamped(vm)
    assert lines == vm("logs").out.splitlines()
    assert times == sorted(times) and "~" not in "".join(times)


def test_a_log_without_times_is_told_by_its_run(root):
    """As a version left it that kept none."""
    vm = root.fake("web", LINES)
    vm("start", "--wait")
    vm.until("it printed all", lambda: b"three" in vm.serial())
    started = vm.info()["started_at"]
    vm("kill")
    os.unlink(os.path.join(vm.dir, "serial.times"))
    times, lines = stamped(vm)
    assert lines == vm("logs").out.splitlines()
    assert set(times) == {"~" + started}
    assert vm("logs", "--since", "1h").out == vm("logs").out
    assert vm("logs", "--since", "2199-01-01").out == ""
    before = vm.serial_size()
    vm("start", "--wait")
    vm.until("it printed all again", lambda: vm.serial_size() == 2 * before)
    times, lines = stamped(vm)
    assert [t[0] == "~" for t in times] == [True] * 4 + [False] * 4
    assert vm("logs", "--since", times[4]).out.splitlines() == lines[4:]


def test_logs_follow_across_reboots_until_the_end(root):
    vm = root.fake("web", "line every=1ms n=50; reboot after=150ms boot=1; poweroff after=300ms boot=2")
    with root.popen("logs", "-f", "web") as early:  # nothing runs yet: there is nothing to follow
        assert early.wait(vivtest.DEADLINE) == 0
    vm("start")
    with root.popen("logs", "-f", "web") as p:
        out, _ = p.communicate(timeout=vivtest.DEADLINE)
    assert p.returncode == 0
    assert [w for w in out.splitlines() if w.startswith("line ")] == \
        [f"line {n}" for n in range(1, 101)]
    assert out == vm.serial().decode().replace("\r\n", "\n")  # as text


def test_logs_of_a_reader_that_goes_away_are_quiet(root):
    vm = root.fake("web", "fill size=4000000")
    vm("start", "--wait")
    vm.until("it printed much", lambda: vm.serial_size() > 3000000)
    p = subprocess.Popen([root.viv, "logs", "web"], env=root.env, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    p.stdout.read(10)
    p.stdout.close()
    assert p.wait(vivtest.DEADLINE) in (-signal.SIGPIPE, 0)
    assert p.stderr.read() == b""
    p.stderr.close()


def test_output_that_cannot_be_written_is_an_error(root):
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([root.viv, "help"], env=root.env, stdout=full, stderr=subprocess.PIPE,
                           text=True, check=False, timeout=30)
    assert (r.returncode, r.stderr) == (1, "viv: help: cannot write the output\n")


# ---- terminals ----

class Terminal:
    """viv on a terminal of its own."""

    def __init__(self, root, *argv, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(root.viv, [root.viv, *map(str, argv)], dict(root.env, TERM="xterm", **(env or {})))
            finally:
                os._exit(127)
        self.text = ""

    def read(self, until=None, deadline=vivtest.DEADLINE):
        """What the terminal shows, until a text is there or the program has ended."""
        end = time.monotonic() + deadline
        while until is None or until not in self.text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise vivtest.Timeout(f"{until!r} is not in {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError as e:
                assert e.errno == errno.EIO
                data = b""
            if not data:
                assert until is None, f"{until!r} is not in {self.text!r}"
                break
            self.text += data.decode(errors="replace")
        return self.text

    def write(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        """The exit code."""
        self.read()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_escape_sequences_are_visible_on_a_terminal_only(root):
    vm = root.fake("web", 'no-banner; no-ready; print text="\\e[2Jevil\\n"')
    vm("start")
    vm.until("it printed", lambda: b"evil" in vm.serial())
    assert vm("logs").out == "\033[2Jevil\n"  # a pipe gets the guest's bytes
    t = Terminal(root, "logs", "web")
    assert t.close() == 0
    assert t.text == "^[[2Jevil\r\n"
    t = Terminal(root, "logs", "--raw", "web")
    assert t.close() == 0
    assert t.text == "\033[2Jevil\r\n"


def test_colors_only_on_a_terminal_that_wants_them(root):
    root.fake("web")("start", "--wait")
    assert "\033" not in root("ps").out
    t = Terminal(root, "ps", env={"NO_COLOR": ""})
    t.close()
    assert "\033[32mready\033[0m" in t.text
    t = Terminal(root, "ps", env={"NO_COLOR": "1"})
    t.close()
    assert "\033" not in t.text


def test_a_terminal_sees_that_something_goes_on(root):
    vm = root.fake("web", "no-ready", ready={"timeout": "1500ms"})
    vm("start")
    begin = time.monotonic()
    t = Terminal(root, "wait", "web")
    t.read("waiting for web…")
    assert time.monotonic() - begin < 1.0  # generous: a busy machine; the program's own figure is 150 ms
    t.read("waiting for web… 1 s")
    assert t.close() == 6
    assert "not ready after 1.5 s" in t.text
    r = vm("wait", code=6)
    assert "…" not in r.err  # a pipe sees the result only


def test_console_types_reads_and_leaves(root):
    vm = root.fake("web", "ready after=1ms; echo")
    vm("start", "--wait")
    t = Terminal(root, "console", "web")
    t.read("connected to web; Ctrl-] leaves")
    t.write("hello\r")
    t.read("hello")
    t.write("\x1d")
    assert t.close() == 0
    assert "left web" in t.text
    assert vm.info()["state"] == "running"


def test_one_console_writes_and_another_may_steal(root):
    vm = root.fake("web", "ready after=1ms; echo")
    vm("start", "--wait")
    first = Terminal(root, "console", "web")
    first.read("connected to web;")
    second = Terminal(root, "console", "web")
    second.read("read-only: another console writes (--steal takes over)")
    second.write("\x1d")
    assert second.close() == 0
    thief = Terminal(root, "console", "--steal", "web")
    thief.read("connected to web;")
    thief.write("mine\r")
    thief.read("mine")
    for t in (thief, first):
        t.write("\x1d")
        assert t.close() == 0


def test_console_ends_with_the_vm(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    t = Terminal(root, "console", "web")
    t.read("connected to web")
    vm("stop")
    assert t.close() == 0
    assert "web: stopped (stop)" in t.text


def test_a_console_survives_its_monitor(root):
    vm = root.fake("web", "ready after=1ms; echo")
    vm("start", "--wait")
    t = Terminal(root, "console", "web")
    t.read("connected to web")
    vivtest.kill(vm.info()["monitor"])
    vm.until("it is adopted", lambda: any(e["type"] == "adopted" for e in root.events()))
    t.write("still\r")
    t.read("still")
    t.write("\x1d")
    assert t.close() == 0


def test_console_gives_the_terminal_back(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    master, slave = pty.openpty()
    import termios
    before = termios.tcgetattr(slave)
    for end in (lambda p: os.write(master, b"\x1d"), lambda p: p.send_signal(signal.SIGTERM)):
        p = subprocess.Popen([root.viv, "console", "web"], env=root.env, stdin=slave,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stderr.readline()
        raw = False
        while not raw:  # the banner comes just before it
            raw = not termios.tcgetattr(slave)[3] & termios.ICANON
        end(p)
        assert p.wait(vivtest.DEADLINE) == 0
        p.stdout.close()
        p.stderr.close()
        assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_console_of_a_stopped_vm_is_refused(root):
    r = root.fake("web")("console", code=4)
    assert r.err.startswith("viv: console web: ")


# ---- events ----

def test_events_follow_vms_that_come_later(root):
    root.fake("old")
    with root.popen("events", "--since", "0", "-o", "json") as p:
        first = json.loads(p.stdout.readline())
        assert (first["type"], first["vm"], first["seq"], first["schema"]) == ("created", "old", 1, 1)
        root.fake("new", "ready after=1ms ip=192.0.2.7")("start", "--wait")
        seen = []
        while not any(e["type"] == "ready" for e in seen):
            seen.append(json.loads(p.stdout.readline()))
        p.send_signal(signal.SIGINT)
        assert p.wait(vivtest.DEADLINE) == 130
        assert p.stderr.read() == ""
    assert [e["state"] for e in seen if e["type"] == "state"] == ["starting", "running"]
    assert [e["seq"] for e in [first] + seen] == list(range(1, len(seen) + 2))
    for event in seen:
        assert {"seq", "time", "vm", "uuid", "run", "boot", "type"} <= set(event)


def test_events_since_and_filter(root):
    root.fake("a")
    root.fake("b")
    assert [e["vm"] for e in root.events(1)] == ["b"]
    out = root("events", "--no-follow", "--filter", "vm=a").out
    assert re.fullmatch(r"\S+Z 1 a created.*\n", out)
    assert root("events", "--since", "-3", code=2).out == ""


# ---- the host, the tool ----

def test_caps_and_doctor(root):
    table = root("caps", "fake").out.splitlines()
    assert table[0].split()[:3] == ["CAPABILITY", "DRIVER", "HERE"]
    rows = root("caps", "fake", "-o", "json").json()
    assert rows and all(r["schema"] == 1 for r in rows)
    assert all(r["ok"] or r["reason"] for r in rows)
    assert root("caps", "quemu", code=None).code in (2, 3)
    r = root("doctor", "-o", "json", code=None)
    assert all({"check", "ok", "required", "message", "hint"} <= set(row) for row in r.json())
    assert r.code == (0 if all(row["ok"] or not row["required"] for row in r.json()) else 1)
    assert [row["required"] for row in r.json() if row["check"] == "kvm"] == [False]


def test_config_check_show_schema_docs(root, tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("name: web\ndriver: fake\nmemory: 64MiB\n")
    assert root("config", "check", path).out == "ok\n"
    assert root("config", "show", path, "-c", "2").out == \
        "name: web\ndriver: fake\nmemory:\n  size: \"64MiB\"\ncpus:\n  count: 2\n"
    assert root("config", "show", path, "-o", "json").json()["memory"]["size"] == 64 << 20
    bad = root("config", "check", "--driver", "qemu", "--kernel", "/x", "--initrd", "/y", code=2)
    assert bad.err == ("viv: config: boot.kernel: /x: no such file\n"
                       "viv: config: boot.initramfs: /y: no such file\n")
    assert "properties" in root("config", "schema").json()
    assert "cpus.count" in root("config", "docs").out
    root("create", path)
    shown = root("config", "show", "web").out
    assert root("config", "show", "web", "-c", "2", code=2).err == \
        "viv: config: web is a VM: it takes no fields\n"
    path.write_text(shown)
    root("create", path)  # what is shown is that very configuration


def test_version_and_help(root):
    assert re.fullmatch(r"viv \d+\.\d+\.\d+\n", root("version").out)
    assert root("--version").out == root("version").out
    assert root("version", "-o", "json").json()["schema"] == 1
    overview = root("help").out
    assert root("--help").out == overview
    for command in re.findall(r"^  ([a-z]+)", overview, re.M):
        text = root("help", command).out
        assert text.startswith(f"viv {command}: ")
        assert root(command, "--help").out == text
    assert root(code=2).err == overview
    assert root("help", "strat", code=2).err.endswith("hint: did you mean \"start\"?\n")


def test_flags_may_stand_before_the_command(root):
    root.fake("web")
    assert root("-q", "ps").out == "web\n"
    assert root("-o", "json", "ps").json()[0]["name"] == "web"
    assert root("--root", root.home + "2", "ps", "-q").out == ""
