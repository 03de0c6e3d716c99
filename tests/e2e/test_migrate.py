"""Live migration end to end, with the double of Cloud Hypervisor: two state roots of one host, and whoever may die meanwhile."""

import itertools
import json
import os
import random
import re
import shlex
import socket

import pytest
import vivtest
from conftest import state_root
from test_ch_double import SEED, Lab
from test_schemas import conforms

SLOW = {"migration": {"step": 150, "iterations": 6}}  # a second on the way
ENV = ("VIV_HOME", "VIV_CLOUD_HYPERVISOR", "CH_DOUBLE_CONF", "VIV_UNIT_DIR", "VIV_LIBEXEC")


class Pair:
    """Two state roots: a VM of one can go to the other."""

    def __init__(self, here, there):
        self.here, self.there = here, there

    def dest(self):
        env = [f"{k}={self.there.root.env[k]}" for k in ENV if k in self.there.root.env]
        return "exec:exec env " + shlex.join([*env, self.there.root.viv, "migrate", "receive", "--stdio"])

    def does(self, here=None, there=None, **both):
        self.here.does(**both, **(here or {}))
        self.there.does(**both, **(there or {}))

    def vm(self, **fields):
        return self.here.vm(**fields).boot()

    def move(self, *flags, code=0):
        return self.here.root("migrate", *flags, "web", self.dest(), code=code)

    def vm_there(self):
        return vivtest.VM(self.there.root, "web")

    def running(self):
        """Where the VM's machine runs: its VMM lives, and is not only waiting or leaving."""
        found = []
        for lab in (self.here, self.there):
            listed = {v["name"]: v for v in lab.root("ps", "-o", "json").json()}
            if "web" in listed and listed["web"]["state"] in ("running", "paused"):
                found.append(lab)
        return found


@pytest.fixture
def pair(root, viv):
    with state_root(viv) as other:
        yield Pair(Lab(root), Lab(other))


def counts(vm, expected):
    with vm.console() as c:
        c.send("n")
        c.expect(f"count {expected}")


def count_to(vm, n):
    with vm.console() as c:
        c.send("n" * n)
        c.expect(f"count {n}")


@pytest.mark.parametrize("version", ["51.0", "52.0", "53.0", "head"])
@pytest.mark.parametrize("via", ["unix", "tcp:127.0.0.1"])
def test_the_guest_goes_on_there(pair, version, via):
    pair.does(version=version)
    vm = pair.vm()
    count_to(vm, 2)
    before = vm.info()
    assert pair.move("--via", via).out == f"web: runs at {pair.dest()}\n"
    there = pair.vm_there()
    info = there.info()
    assert (info["state"], info["ready"]["proof"], info["ip"]) == ("running", "inherited", before["ip"])
    assert (info["uuid"], info["config"]["nets"], info["moving"]) == (before["uuid"], before["config"]["nets"], None)
    counts(there, 3)
    left = vm.info()
    assert (left["state"], left["reason"]["code"], left["moving"]["phase"]) == ("stopped", "migrated", "gone")
    assert left["reason"]["text"].startswith("exec:") and pair.here.left() == []
    r = vm("start", code=4)
    assert "it was migrated to" in r.err and "hint: viv rm web" in r.err
    assert there("stop", "-o", "json").json()["rung"] == "acpi"
    there.boot()  # there it is a VM like any other
    there("kill")
    vm("rm")


def test_another_state_root_of_this_host(pair):
    vm = pair.vm()
    count_to(vm, 1)
    assert pair.here.root("migrate", "web", f"root:{pair.there.root.home}").out == f"web: runs at root:{pair.there.root.home}\n"
    counts(pair.vm_there(), 2)


def test_there_and_back_again(pair):
    vm = pair.vm()
    count_to(vm, 1)
    pair.move()
    vm("rm")
    back = Pair(pair.there, pair.here)
    assert back.move().out
    counts(vm, 2)
    assert vm.info()["state"] == "running"


def test_a_paused_vm_stays_paused(pair):
    vm = pair.vm()
    vm("pause")
    pair.move()
    assert pair.vm_there().info()["state"] == "paused"
    pair.vm_there()("resume")
    assert pair.vm_there().info()["ready"]["proof"] == "inherited"


def test_an_old_release_would_let_a_paused_vm_run_there(pair):
    pair.does(version="51.0")
    vm = pair.vm()
    vm("pause")
    assert "Cloud Hypervisor 51 lets a paused VM run where it arrives" in pair.move(code=5).err
    assert (vm.info()["state"], vm.info()["moving"]) == ("paused", None)


def test_progress_is_told(pair):
    pair.does(**SLOW)
    pair.vm()
    r = pair.move("-o", "json", "--downtime", "50ms", "--timeout", "60s")
    conforms(r.json(), "migrate")
    told = [json.loads(line)["progress"] for line in r.err.splitlines()]
    doing = [t["doing"] for t in told]
    assert [d for d in dict.fromkeys(doing)] == ["sending", *(f"memory, round {i}" for i in range(6)), "handed over"]
    elapsed = [t["elapsed_ms"] for t in told]
    assert elapsed == sorted(elapsed) and {t["vm"] for t in told} == {"web"}
    conforms(pair.here.root.inspect("web"), "inspect")
    states = [e["state"] for e in pair.here.root.events() if e["type"] == "state"]
    assert states == ["starting", "running", "outgoing", "stopped"]
    steps = [(e["phase"], e["to"]) for e in pair.here.root.events() if e["type"] == "migration"]
    assert steps == [(phase, pair.dest()) for phase in ("sending", "handed-over", "gone")]
    assert [e["state"] for e in pair.there.root.events() if e["type"] == "state"] == ["incoming", "running"]


def test_progress_is_told_without_a_terminal(pair):
    pair.does(**SLOW)
    pair.vm()
    r = pair.move()
    assert r.out.startswith("web: runs at ")
    assert re.findall(r"^web: memory, round ([0-5]) \(\d+\.\d s\)$", r.err, re.M)[-1] == "5", r.err
    assert pair.there.root("ps", "-q").out == "web\n"


@pytest.mark.parametrize("version", ["51.0", "53.0"])
@pytest.mark.parametrize("side, at", [("here", "iteration"), ("there", "receive")])
def test_a_failure_leaves_it_here(pair, version, side, at):
    pair.does(version=version, **{side: {"migration": {"fail": at}}})
    vm = pair.vm()
    r = pair.move(code=1)
    assert "it goes on here" in r.err
    info = vm.info()
    assert (info["state"], info["moving"], info["ready"]["proof"]) == ("running", None, "marker")
    assert pair.there.root("ps", "-q").out == "" and pair.there.left() == []
    count_to(vm, 1)
    pair.does(version=version)
    pair.there.root("ps")
    vm("reboot")
    vm("wait", "ready")


def test_what_cannot_be_migrated_says_why(pair):
    vm = pair.here.vm()
    assert "only a running or paused VM can be migrated (it is created)" in pair.move(code=4).err
    vm.boot()
    assert "SIGSYS" in pair.move("--local", code=5).err
    for via in ("tpc:127.0.0.1", "tcp:", "tcp::1", "tcp:127.0.0.1:abc", "tcp:127.0.0.1:70000"):
        assert f"--via {via}: neither unix nor tcp:HOST[:PORT]" in pair.move("--via", via, code=2).err
    for nowhere in ("moon", "ssh://", "ssh://root@", "ssh://root@:22", "exec:"):
        assert f'"{nowhere}" is no destination' in pair.here.root("migrate", "web", nowhere, code=2).err
    assert "the other end: it ended without an answer (exit code 0)" in pair.here.root("migrate", "web", "exec:true", code=1).err
    assert vm.info()["state"] == "running" and vm.info()["moving"] is None


def test_what_an_old_release_does_not_know_is_refused(pair):
    pair.does(version="51.0")
    vm = pair.vm()
    assert "downtime: needs Cloud Hypervisor 52 or later" in pair.move("--downtime", "1s", code=5).err
    assert "needs memory.shared" in pair.move("--local", code=5).err
    assert "tls: needs Cloud Hypervisor 53" in pair.move("--tls", pair.here.base, code=5).err
    assert vm.info()["state"] == "running" and vm.info()["moving"] is None


def test_what_another_process_serves_stays(pair):
    path = os.path.join(pair.here.base, "tpm")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        pair.vm(tpm={"socket": path})
        r = pair.move(code=5)
    assert r.err == "viv: migrate web: tpm: a TPM cannot be migrated: its state is in another process\n"


def test_the_other_end_looks_before_anything_is_sent(pair):
    vm = pair.vm()
    pair.there.does(version="52.0")
    assert "52.0 here cannot take over from 53.0" in pair.move(code=5).err
    pair.there.does()
    pair.there.vm()
    assert "exists already" in pair.move(code=8).err
    pair.there.root("rm", "web")
    other = vivtest.VM(pair.there.root, "web")
    os.unlink(pair.here.kernel)
    assert "boot.kernel" in pair.move(code=2).err
    assert not os.path.exists(other.dir) and vm.info()["state"] == "running"


def test_local_needs_shared_memory_and_an_old_release(pair):
    pair.does(version="51.0")
    vm = pair.vm(memory={"size": "256MiB", "shared": "on"})
    count_to(vm, 1)
    pair.move("--local")
    counts(pair.vm_there(), 2)


def test_a_filter_that_kills_the_source_is_named(pair):
    """Should it happen all the same: the VM is lost, nothing runs twice, and both ends say so."""
    pair.does(here={"faults": [{"at": "vm.send-migration", "do": "signal", "number": 31}]})
    vm = pair.vm()
    r = pair.move(code=1)
    assert "its VMM ended while it was on its way (vmm-signal: cloud-hypervisor ended by signal 31 (its seccomp filter forbids" in r.err
    assert vm.info()["state"] == "failed" and vm.info()["moving"] is None  # the other end was asked
    assert pair.there.root("ps", "-q").out == ""
    pair.here.does()
    for p in vm.processes().values():
        vivtest.wait_gone(p)
    vm.boot()


# ---- who dies meanwhile, at any moment; test_migrate_phases.py goes through them in order ----

VICTIMS = [("here", "monitor"), ("here", "keeper"), ("here", "vmm"), ("there", "monitor"), ("there", "keeper"), ("there", "vmm"),
           ("cli", "cli")]


def storm(pair, version, side, who, delay):
    """One victim, at one moment on the way; then what is left of it is looked at."""
    pair.does(version=version, migration={"step": 100, "iterations": 4})
    vm = pair.vm()
    there = pair.vm_there()
    with pair.here.root.popen("migrate", "web", pair.dest()) as moving:
        vm.until("it is on its way, or was", lambda: vm.state()["state"] in ("outgoing", "stopped", "failed"))
        with vivtest.Inotify() as clock:
            clock.wait(delay)
        if side == "cli":
            moving.kill()
        else:
            one = vm if side == "here" else there
            proc = one.processes().get(who) if os.path.exists(one.dir) else None
            if proc:
                vivtest.kill(proc)
        moving.wait(vivtest.DEADLINE)
    finish(pair, vm, there)
    assert len(pair.running()) == 1, (version, side, who, delay, vm.info(), there.root("ps").out)
    pair.here.root("rm", "--force", "--all")
    pair.there.root("rm", "--force", "--all")


def finish(pair, vm, there):
    """What anybody would do next: wait for what is under way, resolve what is not known, start what is down."""
    for one in (vm, there):
        if os.path.exists(one.dir):
            one("wait", "running", "-t", "1", code=None)
            one.until("nothing is on its way", lambda one=one: not os.path.exists(one.dir) or one.info()["state"] not in
                      ("outgoing", "incoming", "starting"))
    if vm.info()["moving"] and vm.info()["moving"]["phase"] == "sending":
        pair.here.root("migrate", "--resolve", "web")
    if not pair.running():
        (there if (vm.info()["moving"] or {}).get("phase") == "gone" else vm).boot()


@pytest.mark.stress
@pytest.mark.parametrize("version", ["51.0", "52.0", "53.0", "head"])
def test_kill_9_storm_on_the_way(pair, version):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for (side, who), _ in itertools.product(VICTIMS, range(6)):
        storm(pair, version, side, who, rng.random() * 0.7)


@pytest.mark.parametrize("line, says", [("garbage", "not a line of a migration: garbage"), ('{"do":"fly"}', '"fly" is not expected now')])
def test_what_is_no_migration_is_told(root, line, says):
    r = root("migrate", "receive", "--stdio", stdin=line + "\n", code=1)
    assert r.err == f"viv: migrate: {says}\n"
    answer = json.loads(r.out)
    assert (answer["do"], answer["error"]["message"]) == ("no", says)


@pytest.mark.parametrize("flags, says", [
    (("--tls", "/keys"), "--tls: only TCP is encrypted: --via tcp:HOST"),
    (("--tls", "keys", "--via", "tcp:127.0.0.1"), '--tls: "keys": not an absolute path'),
    (("--remote-tls", "/keys"), '--remote-tls: "/keys": goes with --tls'),
    (("--connections", "0"), "--connections: not from 1 to 128"),
    (("--connections", "129", "--via", "tcp:127.0.0.1"), "--connections: not from 1 to 128"),
    (("--connections", "2"), "--connections: more than one need TCP: --via tcp:HOST"),
    (("--downtime", "0"), "--downtime: must be longer than 0"),
    (("--timeout", "0s"), "--timeout: must be longer than 0")], ids=lambda x: x[0] if isinstance(x, tuple) else "")
def test_flags_that_no_vmm_takes_are_refused_before_anybody_is_asked(pair, flags, says):
    vm = pair.vm()
    assert pair.move(*flags, code=2).err == f"viv: migrate web: {says}\n"
    assert (vm.info()["state"], vm.info()["moving"]) == ("running", None)
    assert pair.there.root("ps", "-q").out == ""


def test_words_that_are_no_migration_say_what_is(pair):
    r = pair.here.root("migrate", "--resolve", "web", "ssh://moon", code=2)
    assert r.err == "viv: migrate: --resolve needs the VM alone: viv migrate --resolve web\n"
    pair.vm()
    r = pair.here.root("migrate", "web", "root:there", code=2)
    assert r.err == 'viv: migrate web: "root:there": the directory must be absolute\n'
    r = pair.here.root("upgrade", "--vmm", "nowhere", "web", code=2)
    assert r.err == 'viv: upgrade: --vmm: "nowhere": no such file\n'
