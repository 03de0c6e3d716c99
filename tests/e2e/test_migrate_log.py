"""What a guest said before it was migrated stands in front of its log where it is now: whole, in order, and whoever dies meanwhile.

Between the two ends stands a relay that can stop at a line of the channel, or kill one of them there."""

import glob
import json
import os
import re
import stat
import sys
import textwrap

import pytest
import vivtest
from test_migrate import Pair, count_to, counts, pair  # noqa: F401  (a fixture)
from test_migrate_phases import Gate

RELAY = """
import json, os, select, signal, subprocess, sys, threading

plan, there = json.load(open(sys.argv[1])), None
os.unlink(sys.argv[1])  # once: whoever comes again, as --resolve does, passes
there = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
open(plan["pid"], "w").write(str(there.pid))

def passes(line, out, seen):
    whole = line.endswith("\\n")  # or whoever wrote it was killed meanwhile
    word = json.loads(line).get("do", "") if whole else ""
    seen[word] = seen.get(word, 0) + 1
    if [word, seen[word]] == plan.get("at"):
        if plan.get("gate"):
            go = os.path.join(plan["gate"], "go")
            os.mkfifo(go)
            wait = select.poll()
            wait.register(os.open(go, os.O_RDONLY | os.O_NONBLOCK))
            wait.register(0, 0)  # whoever is here ends
            open(os.path.join(plan["gate"], "reached"), "w").close()
            wait.poll()
        if plan.get("kill") == "there":
            there.kill()
            os._exit(1)
        if plan.get("kill") == "here":
            os.kill(os.getppid(), signal.SIGKILL)
    if word in plan.get("without_log", []):
        j = json.loads(line)
        j.pop("log", None)
        j.get("offer", {}).pop("log", None)
        line = json.dumps(j) + "\\n"
    try:
        out.write(line)
        out.flush()
    except BrokenPipeError:
        pass

seen = {}
def back():
    for line in there.stdout:
        passes(line, sys.stdout, seen)
    os._exit(there.wait())
threading.Thread(target=back).start()
for line in sys.stdin:
    passes(line, there.stdin, seen)
there.stdin.close()
"""


class Relayed(Pair):
    """A pair with the relay between its ends."""

    def __init__(self, other):
        super().__init__(other.here, other.there)
        self.script, self.plan_file = os.path.join(self.here.base, "relay.py"), os.path.join(self.here.base, "relay.json")
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(textwrap.dedent(RELAY))

    def plan(self, at=None, **more):
        with open(self.plan_file, "w", encoding="utf-8") as f:
            json.dump({"at": at, "pid": os.path.join(self.here.base, "there.pid"), **more}, f)

    def dest(self):
        script = os.path.join(self.here.base, "there.sh")
        direct = super().dest().removeprefix("exec:exec ")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"[ -e {self.plan_file} ] && exec {sys.executable} {self.script} {self.plan_file} {direct}\nexec {direct}\n")
        return f"exec:exec sh {script}"


@pytest.fixture
def relayed(pair):  # noqa: F811
    return Relayed(pair)


def logs(vm, *flags):
    return vm("logs", *flags).out


def wordy(lab, lines, **fields):
    """A VM that has said much, in a run before: 22 bytes a line."""
    vm = lab.vm(**fields)
    with open(os.path.join(vm.dir, "serial.log"), "w", encoding="utf-8") as f:
        f.write("".join(f"line {i:06} abcdefgh\r\n" for i in range(lines)))
    return vm.boot()


def long_log(lab, **fields):
    """More than a few pieces of the channel hold."""
    return wordy(lab, 30000, **fields)


def assert_whole(vm, there, said_there):
    """What the source has is the beginning of what is there, byte for byte."""
    before, after = logs(vm), logs(there)
    assert before and after == before + said_there
    assert there.serial().lstrip(b"\0").startswith(vm.serial().lstrip(b"\0"))
    return after


def lost(lab):
    return [e for e in lab.root.events() if e["type"] == "lost"]


@pytest.mark.parametrize("via", ["unix", "tcp:127.0.0.1"])
def test_the_log_is_whole_and_in_order(pair, via):  # noqa: F811
    vm = wordy(pair.here, 3)
    count_to(vm, 2)
    r = pair.move("--via", via)
    assert r.err == ""
    there = pair.vm_there()
    counts(there, 3)
    after = assert_whole(vm, there, logs(there)[len(logs(vm)):])
    assert re.findall(r"count (\d)", after)[:2] == ["1", "2"] and "count 3" in after
    assert "\0" not in after and after.count("line 000002") == 1
    assert logs(there, "-n", "3") == "".join(after.splitlines(keepends=True)[-3:])
    assert logs(there, "--since", "1h") == after and all(line.startswith("~") for line in logs(there, "-t").splitlines()[:2])
    assert lost(pair.here) == lost(pair.there) == []


def test_between_state_roots_of_one_host(pair):  # noqa: F811
    vm = wordy(pair.here, 3)
    pair.here.root("migrate", "web", f"root:{pair.there.root.home}")
    assert_whole(vm, pair.vm_there(), "")


def test_boots_are_numbered_on(pair):  # noqa: F811
    vm = wordy(pair.here, 2)
    vm("reboot", "--hard")
    vm("wait", "ready")
    boots = [logs(vm, "--boot", str(n)) for n in (1, 2)]
    assert logs(vm).endswith(boots[0] + boots[1])
    pair.move()
    there = pair.vm_there()
    assert there.info()["boot"] == 2
    assert [logs(there, "--boot", n) for n in ("1", "2", "-1", "-2", "0")] == [*boots, boots[1], boots[0], boots[0]]
    assert there("logs", "--boot", "3", code=3).err.startswith("viv: logs web: boot 3 is not recorded")
    there("reboot", "--hard")
    there("wait", "ready")
    assert there.info()["boot"] == 3
    assert [logs(there, "--boot", n) for n in ("1", "2", "0")] == [*boots, boots[0]]
    assert logs(there, "--boot", "3") == logs(there)[len(logs(vm)):] and logs(there, "--boot", "3")
    there("stop", "-t", "0")
    there.boot()  # of another run they are not, here as elsewhere
    assert logs(there, "--boot", "0") == logs(there, "--boot", "-1")
    there("logs", "--boot", "2", code=3)


def test_there_and_back_again(pair):  # noqa: F811
    vm = wordy(pair.here, 5)
    first = logs(vm)
    pair.move()
    vm("rm")
    there = pair.vm_there()
    count_to(there, 1)
    both = logs(there)
    assert both.startswith(first) and len(both) > len(first)
    Pair(pair.there, pair.here).move()
    counts(vm, 2)
    assert logs(vm).startswith(both) and logs(vm)[len(both):].endswith("count 2\n")


def test_what_is_said_meanwhile_comes_behind_it(relayed):
    gate = Gate(relayed, "")
    vm, there = long_log(relayed.here), relayed.vm_there()
    relayed.plan(at=["piece", 2], gate=gate.dir)
    with relayed.here.root.popen("migrate", "web", relayed.dest()) as moving:
        gate.reached()
        assert (vm.info()["reason"]["code"], there.info()["state"]) == ("migrated", "running")  # it does not wait for its log
        assert logs(there) == ""
        count_to(there, 1)
        said = logs(there)
        assert said.endswith("count 1\n") and "line" not in said
        with there.root.popen("logs", "-f", "web") as following:
            vivtest.read_until(following.stdout, "count 1")
            gate.open()
            assert moving.wait(vivtest.DEADLINE) == 0
            counts(there, 2)
            assert "line" not in vivtest.read_until(following.stdout, "count 2")
            following.terminate()
            following.wait(vivtest.DEADLINE)
    assert_whole(vm, there, logs(there)[len(logs(vm)):])
    assert logs(there)[len(logs(vm)):].startswith(said)


@pytest.mark.parametrize("at", [["log", 1], ["piece", 1], ["piece", 3], ["end", 1], ["logged", 1]], ids=lambda at: "-".join(map(str, at)))
@pytest.mark.parametrize("who", ["there", "here"])
def test_kill_9_of_an_end_at(relayed, who, at):
    vm, there = long_log(relayed.here), relayed.vm_there()
    relayed.plan(at=at, kill=who)
    r = relayed.here.root("migrate", "web", relayed.dest(), code=None)
    assert (vm.info()["reason"]["code"], there.info()["state"]) == ("migrated", "running")
    whole, text = vm.serial_size(), logs(vm)
    if who == "there":
        assert r.code == 0 and f"web: {whole} bytes of its log so far are here only, not at the other end" in r.err
        assert r.err.endswith("hint: viv migrate --resolve web\n")
        assert [(e["stream"], e["count"]) for e in lost(relayed.here)] == [("serial.log", whole)]
    else:
        assert r.code == -9
        with open(os.path.join(relayed.here.base, "there.pid"), encoding="utf-8") as f:
            vivtest.until("the other end is gone, too", lambda pid=int(f.read()): not os.path.exists(f"/proc/{pid}"))
    assert logs(there) in ("", text)  # all or none of it
    count_to(there, 1)
    said = logs(there)[-len(logs(there, "-n", "1")):]
    for _ in range(2):
        assert relayed.here.root("migrate", "--resolve", "web").err == ""
        assert assert_whole(vm, there, logs(there)[len(text):]).endswith(said)
    assert (vm.info()["state"], there.info()["state"]) == ("stopped", "running")


@pytest.mark.parametrize("who", ["monitor", "keeper"])
@pytest.mark.parametrize("side", ["here", "there"])
def test_kill_9_of_who_has_no_part_in_it(relayed, side, who):
    gate = Gate(relayed, "")
    vm, there = long_log(relayed.here), relayed.vm_there()
    relayed.plan(at=["piece", 2], gate=gate.dir)
    with relayed.here.root.popen("migrate", "web", relayed.dest()) as moving:
        gate.reached()
        proc = (vm if side == "here" else there).processes().get(who)
        if proc:  # at the source they may have ended
            vivtest.kill(proc)
        gate.open()
        assert moving.wait(vivtest.DEADLINE) == 0
    count_to(there, 1)
    assert_whole(vm, there, logs(there)[len(logs(vm)):])


def test_its_machine_may_end_before_its_log_comes(relayed):
    gate = Gate(relayed, "")
    vm, there = long_log(relayed.here), relayed.vm_there()
    relayed.plan(at=["log", 1], gate=gate.dir)
    with relayed.here.root.popen("migrate", "web", relayed.dest()) as moving:
        gate.reached()
        count_to(there, 1)
        there("stop", "-t", "0")
        gate.open()
        assert moving.wait(vivtest.DEADLINE) == 0
    assert_whole(vm, there, logs(there)[len(logs(vm)):])


@pytest.mark.parametrize("word", ["take", "arrived"])
def test_an_end_of_an_older_release_takes_no_log(relayed, word):
    vm, there = wordy(relayed.here, 3), relayed.vm_there()
    relayed.plan(without_log=[word])
    r = relayed.here.root("migrate", "web", relayed.dest())
    n = vm.serial_size()
    assert r.err == f"web: {n} bytes of its log so far are here only, not at the other end: the viv there takes none\n"
    assert [(e["stream"], e["count"]) for e in lost(relayed.here)] == [("serial.log", n)]
    count_to(there, 1)
    assert logs(there).endswith("count 1\n") and "line" not in logs(there)


def test_a_log_that_is_past_its_limit_takes_nothing_in_front(relayed):
    gate = Gate(relayed, "")
    vm, there = wordy(relayed.here, 3, serial={"log_limit": "64KiB"}), relayed.vm_there()
    relayed.plan(at=["log", 1], gate=gate.dir)
    before = vm.serial_size()
    with relayed.here.root.popen("migrate", "web", relayed.dest(), stderr=-1) as moving:
        gate.reached()
        floods(there, 300000)
        gate.open()
        assert moving.wait(vivtest.DEADLINE) == 0
        said = moving.stderr.read()
    assert f"web: {before} bytes of its log so far are here only" in said and "the log of here has passed its limit already" in said
    assert "line" not in logs(there) and "\0" not in logs(there)


def floods(vm, n):
    """So many bytes come from its VMM: they are written where that writes."""
    size = vm.serial_size()
    fifo = next(p for p in glob.glob(os.path.join(vm.root.home, "run", "*", "serial*")) if stat.S_ISFIFO(os.stat(p).st_mode) and "in" not in p[-3:])
    with open(fifo, "wb", buffering=0) as f:
        for _ in range(n // 1000):
            f.write(b"x" * 999 + b"\n")
    vm.until("all of it is there", lambda: vm.serial_size() >= size + n)


def test_a_log_that_moved_is_bounded_as_any_other(pair):  # noqa: F811
    vm = wordy(pair.here, 3000, serial={"log_limit": "64KiB"})  # 66 KB
    pair.move()
    there = pair.vm_there()
    assert_whole(vm, there, "")
    floods(there, 150000)
    used = os.stat(os.path.join(there.dir, "serial.log")).st_blocks * 512
    assert used <= (64 + 64 + 64 + 64) * 1024, used
    assert "\0" not in logs(there) and "line" not in logs(there)
