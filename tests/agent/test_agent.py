"""viv-agent itself, driven over a unix socket as a host drives it: $VIV_AGENT is the program, which
$VIV_AGENT_RUNNER may run."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wire  # noqa: E402

AGENT = os.environ.get("VIV_AGENT", "")
RUNNER = os.environ.get("VIV_AGENT_RUNNER", "").split() # of a program for another architecture
vfork = pytest.mark.skipif(bool(RUNNER), reason="needs vfork, of which the emulator makes a fork")
lending = pytest.mark.skipif(bool(RUNNER), reason="needs preadv2, which the emulator does not know")
pytestmark = pytest.mark.skipif(not AGENT, reason="needs VIV_AGENT: the program to test")


def wait_for(true, deadline_s=wire.DEADLINE_S):
    """Until something of the system, which sends no event to us, is so."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "the deadline is over"
        os.sched_yield()


def sessions(leader):
    """Processes of a session."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (p / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(stat[3]) == leader and stat[0] != "Z":
            found.append(int(p.name))
    return found


class Agent:
    def __init__(self, folder):
        self.path = str(folder / "agent.sock")
        self.log = open(folder / "agent.log", "ab")
        self.peers = []
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.proc = subprocess.Popen([*RUNNER, AGENT, "--unix", self.path, "--state", self.path + ".state"], stderr=self.log,
                                     stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.path) or self.proc.poll() is not None)
        assert self.proc.poll() is None

    def connect(self, **how):
        self.peers.append(wire.Peer(wire.connect(self.path), **how))
        return self.peers[-1]

    def meet(self, **how):
        return self.connect(**how).meet()

    def fds(self):
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
        return self.proc.wait(wire.DEADLINE_S)


@pytest.fixture(autouse=True)
def no_socket_left(tmp_path):
    """pytest keeps the directories of a run."""
    yield
    for left in tmp_path.rglob("*.sock"):
        left.unlink()


@pytest.fixture
def agent(tmp_path):
    a = Agent(tmp_path)
    yield a
    assert a.stop() == 0, pathlib.Path(tmp_path / "agent.log").read_text()
    for p in a.peers:
        p.sock.close()


@pytest.fixture
def host(agent):
    return agent.meet()


def test_it_introduces_itself_and_is_ready(host):
    assert host.about["name"] == "viv-agent"
    assert host.about["release"]
    host.until(lambda: host.events)
    assert host.events[0][1]["event"] == "ready" and host.events[0][1]["address"]


def test_a_command_gives_output_and_status(host):
    s = host.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (s.stdout, s.stderr, s.result) == (b"out\n", b"err\n", {"exit": "3"})
    assert int(s.started["pid"]) > 0


def test_words_environment_directory_and_user_arrive_unchanged(host):
    s = host.run("sh", "-c", 'printf "%s|" "$@" "$A" "$PWD"; id -u', "x", "a b", "", "'\"$\\", "\n",
                 A="ignored", cwd="/usr", user="65534:65534", env="A=b c=d")
    assert s.result == {"exit": "0"}
    assert s.stdout == b"a b||'\"$\\|\n|b c=d|/usr|65534\n"


def test_of_a_variable_that_is_given_twice_the_later_one_counts(host):
    s = host.open("exec", ("arg", "env"), *[("env", e) for e in ("A=1", "HOME=/else", "B=", "A=2", "=x", "none")])
    s.wait()
    found = s.stdout.decode().splitlines()
    assert [v for v in found if v.split("=")[0] in ("", "A", "B", "HOME", "none")] == ["HOME=/else", "A=2", "B="]


@vfork
def test_the_path_that_is_given_is_searched(host, tmp_path):
    for folder, mode in (("no", 0o644), ("yes", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "tool").chmod(mode)
    at = f"PATH={tmp_path}/none:{tmp_path}/no:{tmp_path}/yes:/bin"
    assert host.run("tool", env=at).stdout == b"yes\n"
    assert host.run("tool", env=f"PATH={tmp_path}/no").result["text"] == "tool: permission denied"
    assert host.run("", env=at).result["exit"] == "127"


@pytest.mark.parametrize("command", ["cat {}", "dd if={} bs=64k", "dd if={} bs=100"])
def test_much_output_comes_byte_for_byte(host, command, tmp_path):
    """Moved from pipe to channel without a copy, among frames that are copied."""
    data = os.urandom(300_000 if "100" in command else 10_000_000)
    (tmp_path / "data").write_bytes(data)
    s = host.exec("sh", "-c", command.format(tmp_path / "data"))
    small = [host.exec("echo", str(i)) for i in range(20)]
    assert s.wait() == {"exit": "0"} and s.stdout == data
    assert [x.wait() and x.stdout for x in small] == [b"%d\n" % i for i in range(20)]


def test_nothing_of_the_agent_is_inherited(host):
    assert host.run("sh", "-c", "ls /proc/$$/fd").stdout.split() == [b"0", b"1", b"2"]
    s = host.run("cat", "/proc/self/status")
    masks = dict(x.split(":\t", 1) for x in s.stdout.decode().splitlines() if ":\t" in x)
    assert int(masks["SigBlk"], 16) == 0 and int(masks["SigIgn"], 16) == 0
    assert b"VIV" not in host.run("env").stdout


@vfork
@pytest.mark.parametrize("program, code, words", [
    ("no-such-command", "127", "no-such-command: not found in the guest"),
    ("/no/such", "127", "/no/such: no such file"),
    ("/etc/passwd", "126", "/etc/passwd: permission denied"),
])
def test_what_cannot_be_run_is_127_or_126_with_its_words(host, program, code, words):
    assert host.run(program).result == {"exit": code, "text": words}


def test_a_missing_directory_or_user_is_named(host):
    assert host.run("true", cwd="/no/such").result["text"] == \
        "cannot change to /no/such: no such file"
    r = host.run("true", user="nobody-here").result
    assert (r["error"], r["text"]) == ("NOT_FOUND", "there is no user 'nobody-here' in the guest")


def test_input_goes_through_byte_for_byte_and_ends(host):
    data = os.urandom(1 << 20)
    s = host.exec("cat", stdin=1)
    s.write(data)
    s.close()
    assert s.wait() == {"exit": "0"}
    assert s.stdout == data


def test_without_input_there_is_none(host):
    assert host.run("cat").result == {"exit": "0"}


def test_a_command_that_does_not_read_its_input_ends(host):
    s = host.exec("true", stdin=1)
    s.wait()
    assert s.result == {"exit": "0"}


def test_a_reader_that_gives_no_credit_stops_its_command_only(host):
    slow = host.exec("cat", "/dev/zero")
    slow.give_credit = False
    host.until(lambda: len(slow.stdout) == wire.WINDOW)
    assert host.run("echo", "others").stdout == b"others\n"
    assert len(slow.stdout) == wire.WINDOW
    slow.kill()


def test_input_that_is_not_taken_is_bounded_by_the_window(agent, host):
    s = host.exec("sleep", "1000", stdin=1)
    s.write(b"x" * wire.WINDOW)
    for _ in range(2): # more than a pipe and a window hold
        host.frame(wire.DATA, s.id, b"y" * 65536)
    host.until(lambda: s.reset is not None)
    assert s.reset == {"error": "PROTOCOL", "text": "more data than credit"}
    assert host.run("true").result == {"exit": "0"}


def test_the_last_output_is_not_lost_and_a_daemon_left_behind_does_not_hold_the_end(host):
    s = host.run("sh", "-c", "sleep 30 & head -c 300000 /dev/zero; echo $!")
    assert s.result == {"exit": "0"} and len(s.stdout) > 300000
    os.kill(int(s.stdout[300000:]), signal.SIGKILL)


def test_signals_reach_the_process_group(host):
    s = host.exec("sh", "-c", "trap 'echo got' USR1; echo up; while :; do read x; done", stdin=1)
    host.until(lambda: s.stdout == b"up\n")
    s.control(signal="USR1")
    host.until(lambda: s.stdout == b"up\ngot\n")
    s.control(signal="KILL")
    assert s.wait() == {"signal": "9"}


def test_a_timeout_ends_the_command_and_is_told(host):
    assert host.run("sleep", "1000", timeout_ms=100).result == {"signal": "15", "timeout": "1"}
    s = host.run("sh", "-c", "trap '' TERM; while :; do :; done", timeout_ms=100)
    assert s.result == {"signal": "9", "timeout": "1"}


def test_a_terminal_has_its_size_and_its_signals(host):
    s = host.exec("sh", "-c", "tty; stty size; trap 'stty size' WINCH; echo up; while :; do read x || :; done",
                  tty=1, rows=33, cols=77)
    host.until(lambda: b"up\r\n" in s.stdout)
    assert s.stdout.startswith(b"/dev/pts/") and b"33 77\r\n" in s.stdout
    s.control(rows=40, cols=100)
    host.until(lambda: b"40 100\r\n" in s.stdout)
    s.write(b"\x03")
    assert s.wait() == {"signal": "2"}


def test_a_terminal_loses_no_output(host):
    s = host.run("seq", "1", "20000", tty=1)
    assert s.stdout == b"".join(b"%d\r\n" % i for i in range(1, 20001))


def test_a_terminal_ends_at_the_end_of_input(host):
    s = host.exec("cat", tty=1)
    s.write(b"line\n")
    host.until(lambda: s.stdout.count(b"line") == 2)
    s.close()
    assert s.wait() == {"exit": "0"}


def test_a_login_shell(host):
    s = host.open("shell", stdin=1)
    s.write(b"echo $0; exit 7\n")
    assert s.wait() == {"exit": "7"}
    assert s.stdout.startswith(b"-")


def test_a_hundred_commands_at_once(agent, host):
    before = agent.fds()
    all_of_them = [host.exec("sh", "-c", "read x; echo $x", stdin=1) for _ in range(100)]
    for i, s in enumerate(all_of_them):
        s.write(b"%d\n" % i)
    for i, s in enumerate(all_of_them):
        assert s.wait() == {"exit": "0"} and s.stdout == b"%d\n" % i
    host.ping()
    assert agent.fds() == before


def test_more_streams_than_allowed_are_busy_and_the_others_go_on(host):
    all_of_them = [host.exec("cat", stdin=1) for _ in range(256)]
    extra = host.run("true")
    assert extra.result["error"] == "BUSY"
    for s in all_of_them:
        s.close()
    assert all(s.wait() == {"exit": "0"} for s in all_of_them)


def test_a_reset_ends_the_whole_session_of_a_command(host):
    s = host.exec("sh", "-c", "trap '' HUP; sleep 1000 & sleep 1000 & echo up; wait")
    host.until(lambda: s.stdout == b"up\n")
    leader = int(s.started["pid"])
    assert len(sessions(leader)) == 3
    s.kill()
    wait_for(lambda: not sessions(leader))


@pytest.mark.parametrize("tty", [{}, {"tty": 1}])
def test_a_host_that_goes_away_leaves_no_process(agent, tty):
    host = agent.meet()
    s = host.exec("sh", "-c", "sleep 1000 & echo up; wait", **tty)
    host.until(lambda: b"up" in s.stdout)
    leader = int(s.started["pid"])
    host.sock.close()
    wait_for(lambda: not sessions(leader))
    assert agent.meet().run("echo", "again").stdout == b"again\n"


def test_a_second_host_replaces_the_first(agent):
    first = agent.meet()
    s = first.exec("sleep", "1000")
    first.until(lambda: s.started)
    second = agent.meet()
    assert second.run("echo", "second").stdout == b"second\n"
    wait_for(lambda: not sessions(int(s.started["pid"])))


@pytest.mark.parametrize("tty", [{}, {"tty": 1}])
def test_an_agent_that_is_killed_leaves_no_process(agent, tty):
    host = agent.meet()
    s = host.exec("sh", "-c", "sleep 1000 & echo up; wait", **tty)
    host.until(lambda: b"up" in s.stdout)
    leader = int(s.started["pid"])
    agent.proc.kill()
    agent.proc.wait()
    agent.start() # as its service does
    wait_for(lambda: not sessions(leader))
    assert agent.meet().run("true").result == {"exit": "0"}


def test_a_host_that_begins_anew_in_the_same_stream_is_met(agent, host):
    s = host.exec("sleep", "1000")
    host.until(lambda: s.started)
    host.raw(b"\x04\0\0\0" + b"\1\0\0\0" + b"\0\1\0\0" + b"half") # a frame of a host that died
    again = wire.Peer(host.sock, pad=65552)
    again.meet()
    assert again.run("echo", "again").stdout == b"again\n"
    wait_for(lambda: not sessions(int(s.started["pid"])))


@pytest.mark.parametrize("junk", [
    b"login: root\n", b"\0" * 100, b"\x04\0\0\0\1\0\0\0\xff\xff\xff\xff", os.urandom(200000),
    b"\x0d" * 50, wire.SYNC + b"junk" * 20],
                         ids=["text", "zeros", "length", "random", "returns", "sync"])
def test_garbage_costs_the_session_only(agent, host, junk):
    s = host.exec("sleep", "1000")
    host.until(lambda: s.started)
    host.raw(junk)
    host.up = False
    host.buffer.clear()
    host.hello()
    host.meet()
    host.next_id = 1
    assert host.run("echo", "on").stdout == b"on\n"
    wait_for(lambda: not sessions(int(s.started["pid"])))


def test_a_host_of_a_later_version_learns_what_this_agent_speaks(agent):
    p = agent.connect(version=9, version_min=8)
    p.until(lambda: p.about)
    assert p.theirs == (1, 1)
    p.frame(wire.OPEN, 1, wire.fields("exec", ("arg", "true")))
    p.until(lambda: p.up) # it answers, and gives no stream
    assert not p.streams


def test_a_hostile_host_breaks_its_streams_only(host):
    s = host.exec("cat", stdin=1)
    host.until(lambda: s.started)
    host.frame(wire.CREDIT, s.id, b"\xff\xff\xff\x7f")
    host.until(lambda: s.reset is not None)
    assert s.reset["text"] == "more credit than the window"
    host.frame(wire.OPEN, 99, b"exec\0\0")
    host.frame(wire.OPEN, 1, wire.fields("info")) # an id used before
    host.frame(wire.DATA, 12345, b"nobody")
    for kind in (wire.STARTED, wire.RESULT, wire.EVENT, wire.PONG):
        host.frame(kind, 0, b"x")
    host.next_id = 200
    assert host.ask("no-such-kind")["error"] == "UNSUPPORTED"
    assert host.exec().wait()["text"] == "no command is given"
    assert host.run("true", rows=70000).result["text"] == "rows: more than 65535"
    assert host.run("true").result == {"exit": "0"}


def test_a_host_that_does_not_read_costs_bounded_memory(agent, host):
    def rss_kib():
        return int(next(x for x in open(f"/proc/{agent.proc.pid}/status") if "VmRSS" in x).split()[1])
    floods = [host.exec("cat", "/dev/zero") for _ in range(64)]
    before = rss_kib()
    host.sock.setblocking(False)
    sent = 0
    try:
        for _ in range(20000):
            host.frame(wire.PING, 0, b"p" * 64)
            sent += 1
    except BlockingIOError:
        pass
    assert sent < 20000 # it stopped reading as nobody took its answers
    assert rss_kib() < before + 4096
    assert len(floods) == 64


def test_info_is_json_about_this_system(host):
    s = host.open("info")
    assert s.wait() == {}
    i = json.loads(s.stdout)
    assert i["hostname"] == os.uname().nodename and i["kernel"] == os.uname().release
    assert i["cpus"]["online"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert i["memory"]["total"] > 0 and i["uptime_ms"] > 0
    assert any(m["path"] == "/" for m in i["mounts"])
    assert all(isinstance(d["used"], list) for d in i["disks"])
    assert {"os", "nics", "disks", "load", "boot_id", "address", "agent"} <= set(i)


@pytest.mark.parametrize("family, address, where", [
    (socket.AF_INET, "0.0.0.0", "any"), (socket.AF_INET, "127.0.0.1", "loopback"), (socket.AF_INET6, "::", "any"),
    (socket.AF_INET6, "::1", "loopback"), (socket.AF_INET6, "::ffff:127.0.0.2", "loopback")])
def test_who_listens_at_a_port_is_told(host, family, address, where):
    with socket.socket(family) as s:
        s.bind((address, 0))
        port = s.getsockname()[1]
        assert host.ask("port", port=port) == {"listening": "no"}
        s.listen()
        assert host.ask("port", port=port) == {"listening": where}
    assert host.ask("port", port=port) == {"listening": "no"}
    assert host.ask("port")["text"] == "port: missing"
    assert host.ask("port", port=65536)["error"] == "INVALID"


def test_stat_read_and_write(host, tmp_path):
    f = tmp_path / "file"
    data = os.urandom(300000)
    w = host.open("write", path=str(tmp_path), name="file", mode=0o640)
    w.write(data)
    assert not f.exists()
    w.close()
    assert w.wait() == {"bytes": "300000"}
    assert f.read_bytes() == data and f.stat().st_mode & 0o7777 == 0o640
    r = host.open("read", path=str(f), offset=1000, length=200000)
    assert r.wait() == {}
    assert r.stdout == data[1000:201000] and r.started["size"] == "300000"
    st = host.ask("stat", path=str(f))
    assert (st["type"], st["size"], st["mode"]) == ("file", "300000", str(0o640))
    a = host.open("write", path=str(f), append=1)
    a.write(b"more")
    a.close()
    assert a.wait() == {"bytes": "4"} and f.read_bytes() == data + b"more"


def holds(agent, path):
    """Does the agent itself hold that file open?"""
    for fd in pathlib.Path(f"/proc/{agent.proc.pid}/fd").iterdir():
        try:
            if os.readlink(fd) == str(path):
                return True
        except FileNotFoundError:
            pass
    return False


def children(agent):
    return pathlib.Path(f"/proc/{agent.proc.pid}/task/{agent.proc.pid}/children").read_text().split()


@pytest.fixture
def in_memory():
    """A long file that no disk is behind: the agent reads such by itself."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as f:
        f.write(os.urandom(1_000_000))
        f.flush()
        yield pathlib.Path(f.name)


def held_up(agent, host, kind, path):
    """A request that waits for credit, while the agent has its file."""
    s = host.open(kind, path=str(path))
    s.give_credit = False
    wait_for(lambda: host.ping() and holds(agent, path))
    return s


def go_on(host, s):
    host.until(lambda: s.received > wire.WINDOW // 2)
    s.give_credit = True
    host.frame(wire.CREDIT, s.id, struct.pack("<I", s.received))
    s.received = 0


@lending
@pytest.mark.parametrize("kind", ["read", "tree-read"])
def test_a_long_file_that_is_in_memory_is_read_by_the_agent_itself(agent, host, kind, in_memory):
    before = agent.fds()
    s = held_up(agent, host, kind, in_memory)
    go_on(host, s)
    assert "error" not in s.wait()
    if kind == "read":
        assert s.stdout == in_memory.read_bytes()
    else:
        w = host.open("tree-write", path=str(in_memory) + ".copy")
        copy = pathlib.Path(str(in_memory) + ".copy")
        w.write(s.stdout)
        w.close()
        try:
            assert w.wait() == {"entries": "1", "bytes": "1000000"}
            assert copy.read_bytes() == in_memory.read_bytes()
        finally:
            copy.unlink(missing_ok=True)
    assert agent.fds() == before


def test_a_part_of_a_long_file_is_just_that_part(host, in_memory):
    r = host.open("read", path=str(in_memory), offset=300_001, length=400_003)
    assert r.wait() == {} and r.stdout == in_memory.read_bytes()[300_001:700_004]
    r = host.open("read", path=str(in_memory), offset=800_000)
    assert r.wait() == {} and r.stdout == in_memory.read_bytes()[800_000:]


@lending
@pytest.mark.parametrize("kind", ["read", "tree-read"])
def test_a_file_that_becomes_shorter_meanwhile_ends_where_it_does(agent, host, kind, in_memory):
    s = held_up(agent, host, kind, in_memory)
    os.truncate(in_memory, 200_000)
    go_on(host, s)
    assert s.wait().get("bytes", "200000") == "200000"
    if kind == "read":
        assert s.stdout == in_memory.read_bytes()


@lending
@pytest.mark.parametrize("kind", ["read", "tree-read"])
def test_a_worker_that_is_killed_ends_its_request_by_name(agent, host, kind, in_memory):
    before = agent.fds()
    s = held_up(agent, host, kind, in_memory)
    (worker,) = children(agent)
    os.kill(int(worker), signal.SIGKILL)
    go_on(host, s)
    assert s.wait() == {"error": "INTERNAL", "text": "the agent's own process for it was killed"}
    assert not holds(agent, in_memory) and agent.fds() == before
    assert kind == "tree-read" or in_memory.read_bytes().startswith(s.stdout)


@lending
def test_an_agent_that_is_killed_leaves_no_worker_that_waits_for_it(agent, host, in_memory):
    held_up(agent, host, "read", in_memory)
    (worker,) = children(agent)
    agent.proc.kill()
    agent.proc.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"))
    agent.start()


def test_a_link_is_written_through(host, tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    w = host.open("write", path=str(tmp_path / "link"))
    w.write(b"new")
    w.close()
    assert w.wait() == {"bytes": "3"}
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("request_fields, code, words", [
    ({"path": "relative"}, "INVALID", "a path in the guest begins with /"),
    ({"path": "/no/such/file"}, "NOT_FOUND", "there is no directory /no/such in the guest"),
    ({"path": "/etc/passwd", "excl": 1}, "EXISTS", "/etc/passwd exists"),
    ({"path": "/etc"}, "EXISTS", "/etc is a directory"),
    ({"path": "/etc", "name": "../x"}, "INVALID", "name: not the name of a file"),
])
def test_a_write_that_cannot_be_is_refused_with_its_reason(host, request_fields, code, words):
    r = host.ask("write", **request_fields)
    assert (r["error"], r["text"]) == (code, words)


def test_a_read_that_cannot_be_is_refused_with_its_reason(host):
    assert host.ask("read", path="/no/such")["errno"] == "ENOENT"
    assert host.ask("read", path="/etc")["text"] == "/etc is a directory"
    assert host.ask("stat", path="/no/such")["error"] == "NOT_FOUND"


@pytest.mark.parametrize("how", ["reset", "host", "agent"])
def test_a_write_that_is_given_up_changes_nothing_and_leaves_nothing(agent, how, tmp_path):
    host = agent.meet()
    d = tmp_path / "d"
    d.mkdir()
    (d / "file").write_bytes(b"old")
    w = host.open("write", path=str(d / "file"))
    w.write(b"x" * 100000)
    wait_for(lambda: len(list(d.iterdir())) == 2)
    if how == "reset":
        w.kill()
    elif how == "host":
        host.sock.close()
    else:
        agent.proc.kill()
        agent.proc.wait()
    wait_for(lambda: len(list(d.iterdir())) == 1)
    assert (d / "file").read_bytes() == b"old"
    if how == "agent":
        agent.start()


@pytest.fixture
def small(tmp_path):
    """A file system with little room."""
    d = tmp_path / "small"
    d.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", d],
                                           stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs root: a mount")
    yield d
    subprocess.run(["umount", "-l", d], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(host, small):
    w = host.open("write", path=str(small / "file"))
    w.write(b"x" * 1000000)
    r = w.wait()
    assert (r["error"], r["errno"]) == ("IO", "ENOSPC")
    assert r["text"] == f"cannot write {small}/file: no space left on device"
    assert list(small.iterdir()) == []


def tree_copy(host, source, target, **more):
    """Out of the guest and in again: the bytes of the tree, and what was said."""
    out = host.open("tree-read", path=str(source))
    said = out.wait()
    back = host.open("tree-write", path=str(target), **more)
    back.write(out.stdout)
    back.close()
    return said, back.wait()


def test_a_tree_goes_out_and_in_again(host, tmp_path):
    t = tmp_path / "t"
    (t / "sub" / "deeper").mkdir(parents=True)
    (t / "file").write_bytes(os.urandom(200000))
    (t / "sub" / "script").write_text("#!/bin/sh\n")
    (t / "sub" / "script").chmod(0o751)
    (t / "sub" / "link").symlink_to("../file")
    os.link(t / "file", t / "sub" / "same")
    with open(t / "sparse", "wb") as f:
        f.truncate(50 << 20)
    os.utime(t / "file", ns=(1, 1234567890123456789))
    (tmp_path / "into").mkdir()
    out, back = tree_copy(host, t, tmp_path / "into", name="copy")
    c = tmp_path / "into" / "copy"
    assert out == back == {"entries": "8", "bytes": str(200000 + 10)}
    assert (c / "file").read_bytes() == (t / "file").read_bytes()
    assert (c / "file").stat().st_mtime_ns == 1234567890123456789
    assert (c / "sub" / "script").stat().st_mode & 0o7777 == 0o751
    assert os.readlink(c / "sub" / "link") == "../file"
    assert (c / "sub" / "same").stat().st_ino == (c / "file").stat().st_ino
    assert (c / "sparse").stat().st_size == 50 << 20 and (c / "sparse").stat().st_blocks < 100


def test_a_tree_does_not_go_through_a_link_that_is_there(host, tmp_path):
    (tmp_path / "t" / "etc").mkdir(parents=True)
    (tmp_path / "t" / "etc" / "passwd").write_text("hostile")
    (tmp_path / "outside").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "etc").symlink_to(tmp_path / "outside")
    _, back = tree_copy(host, tmp_path / "t", tmp_path / "copy")
    assert back["error"] == "EXISTS"
    assert back["text"] == "cannot make copy/etc: it is there, and no directory"
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_no_tree_is_refused(host, tmp_path):
    w = host.open("tree-write", path=str(tmp_path / "x"))
    w.write(b"hello" * 100)
    w.close()
    assert w.wait() == {"error": "PROTOCOL", "text": "damaged tree: a record that is none"}
    assert not (tmp_path / "x").exists()
    assert host.ask("tree-read", path="/no/such")["errno"] == "ENOENT"
    assert host.ask("tree-write", path="/")["error"] == "INVALID"


def test_a_tree_that_does_not_fit_is_told_and_leaves_no_half_file(host, small, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 1000000)
    _, back = tree_copy(host, tmp_path / "big", small, name="big")
    assert (back["error"], back["errno"]) == ("IO", "ENOSPC")
    assert list(small.iterdir()) == []


def test_load_is_told_as_long_as_somebody_watches(host):
    w = host.open("watch", load_ms=100)
    host.until(lambda: [e for e in host.events if e[1]["event"] == "load"])
    number, event = next(e for e in host.events if e[1]["event"] == "load")
    assert number == w.id and int(event["memory_total"]) > 0
    w.kill()
    host.ping()
    assert host.ask("watch", load_ms=1)["text"] == "load_ms: less than 100"


def test_numbers_and_words_of_requests_are_checked(host):
    assert host.ask("clock")["text"] == "realtime_ns: missing"
    assert host.ask("renew", hostname="-bad")["text"] == "hostname: not a name"
    assert host.ask("renew", machine_id="xyz")["error"] == "INVALID"
    assert host.ask("renew", mac="eth0")["text"] == "mac: INTERFACE=AA:BB:CC:DD:EE:FF is wanted"
    assert host.ask("renew", entropy="zz")["error"] == "INVALID"
    assert host.ask("renew") == {}


def test_an_idle_agent_sleeps(agent, host):
    host.until(lambda: host.events)
    host.ping()

    def switches():
        return sum(int(x.split()[1]) for x in open(f"/proc/{agent.proc.pid}/status")
                   if "ctxt_switches" in x)
    before = switches()
    end = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() >= end)
    assert switches() - before <= 1 # the host's own address or kernel log may have changed


def test_what_is_wrong_on_the_command_line_is_said():
    for words, text in ((["--fd", "x"], "not a number"), (["x"], "no operands"),
                        (["--tcp", "nowhere"], "ADDRESS:PORT"), (["--unix", "/no/such/x"], "cannot bind")):
        p = subprocess.run([*RUNNER, AGENT, *words], capture_output=True, text=True, timeout=20)
        assert p.returncode != 0 and text in p.stderr
    p = subprocess.run([*RUNNER, AGENT, "--version"], capture_output=True, text=True, timeout=20)
    assert p.stdout.startswith("viv-agent ") and "protocol 1" in p.stdout
