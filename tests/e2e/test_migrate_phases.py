"""Who may die at which point of a migration: every point, every process, and never two machines that run.

A double of Cloud Hypervisor stops at the named point until the test lets it go on, so nothing here depends on
how fast anything is. Until the machine was completed there it is here; from then on it is there; whoever dies,
the two records say so, or one of them says that it has to be asked."""

import os
import tempfile

import pytest
import vivtest
from test_migrate import Pair, count_to, counts, pair  # noqa: F401  (a fixture)

# (where the double stops, at what): in the order of events
BEFORE = [("here", "connected"), ("there", "accepted"), ("here", "memory"), ("here", "paused"), ("there", "restored"), ("here", "sent")]
AFTER = [("there", "resumed"), ("here", "completing"), ("there", "answered"), ("here", "finished")]
VICTIMS = ["here-vmm", "here-monitor", "here-keeper", "command", "receiver", "there-monitor", "there-keeper", "there-vmm"]


class Gate:
    """A point that a double waits at."""

    def __init__(self, pair, at):
        self.at, self.dir = at, tempfile.mkdtemp(prefix="gate", dir=pair.here.base)

    def conf(self, **more):
        return {"migration": {"gate": {"at": self.at, "dir": self.dir}, **more}}

    def reached(self):
        path = os.path.join(self.dir, "reached")
        vivtest.until(f"a double is at {self.at}", lambda: os.path.exists(path), self.dir)

    def open(self):
        with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
            pass


def exists(vm):
    return os.path.exists(vm.dir)


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        child = int(f.read().split()[0])
    return {"pid": child, "start_time": vivtest.start_time(child)}


def begin(pair, side, gate, version, **more):
    """A VM that counted to one, and the command that moves it, stopped at the gate."""
    pair.does(version=version, **{side: gate.conf(**more)})
    vm = pair.vm()
    count_to(vm, 1)
    moving = pair.here.root.popen("migrate", "web", pair.dest())
    gate.reached()
    return vm, pair.vm_there(), moving


def kill_victim(victim, vm, there, moving):
    """Ends one process, and waits for its end: what comes next is what its successors do."""
    if victim == "command":
        moving.kill()
        moving.wait(vivtest.DEADLINE)
        return
    side, who = victim.split("-") if "-" in victim else (None, None)
    proc = child_of(moving.pid) if victim == "receiver" else (vm if side == "here" else there).processes().get(who)
    if proc is None:  # of a source that was answered: it has left
        assert vm.state()["state"] == "stopped" and side == "here"
        return
    vivtest.kill(proc)
    vivtest.wait_gone(proc)


def on_the_way(vm):
    return exists(vm) and vm.info()["state"] in ("outgoing", "incoming", "starting")


def runs(vm):
    return exists(vm) and vm.info()["state"] == "running" and vivtest.alive(vm.info()["vmm"])


def at_rest(pair, vm, there):
    """What anybody does next: have an eye on both, and resolve what is not known. Never do two run."""
    def settled():
        both = runs(vm) and runs(there)
        assert not both or on_the_way(vm), "two that run"
        return not on_the_way(vm) and not on_the_way(there)

    vivtest.until("nothing is on its way", settled, pair.here.root.home, pair.there.root.home)
    if (vm.info()["moving"] or {}).get("phase") in ("sending", "handed-over"):
        pair.here.root("migrate", "--resolve", "web")


def is_at(pair, vm, there, place, running):
    """The VM is at that place, and only there may it be started."""
    assert not (runs(vm) and runs(there))
    assert not on_the_way(vm) and not on_the_way(there)
    if place is there:
        assert (vm.info()["moving"]["phase"], vm.info()["reason"]["code"]) == ("gone", "migrated"), vm.info()
        assert there.info()["moving"] is None
        vm("start", code=4)
    else:
        assert vm.info()["moving"] is None and not exists(there), (vm.info(), exists(there))
    assert runs(place) == running, place.info()
    if running:
        counts(place, 2)
    else:
        place.boot()
    assert [runs(vm), runs(there)] == [place is vm, place is there]


def one_death(pair, version, side, at, victim):
    gate = Gate(pair, at)
    vm, there, moving = begin(pair, side, gate, version)
    with moving:
        if at in ("completing", "finished"):
            there.until("it runs there", lambda: there.state()["state"] == "running")
        elif at == "answered":
            vm.until("it has left", lambda: vm.state()["state"] == "stopped")
        kill_victim(victim, vm, there, moving)
        gate.open()
        moving.wait(vivtest.DEADLINE)
    at_rest(pair, vm, there)
    stays = (side, at) in BEFORE and victim in ("here-vmm", "there-vmm")
    dead = victim == ("here-vmm" if stays else "there-vmm")
    is_at(pair, vm, there, vm if stays else there, running=not dead)
    for root in (pair.here.root, pair.there.root):
        root("rm", "--force", "--all")


# Until 52 the two ends tell each other by one call that lasts: what differs are these.
POINTS = [("53.0", *p) for p in BEFORE + AFTER] + [("51.0", *p) for p in (*BEFORE[2:6:3], *AFTER[:2])]


@pytest.mark.parametrize("version, side, at", POINTS, ids=[f"{v}-{at}" for v, _, at in POINTS])
def test_kill_9_at(pair, version, side, at):  # noqa: F811
    for victim in VICTIMS:
        print(victim)
        one_death(pair, version, side, at, victim)


# ---- a connection that breaks between hand-over and receipt ----

def alone(moving):
    """The command is gone, and its other end: nobody is left who could ask."""
    receiver = child_of(moving.pid)
    moving.kill()
    moving.wait(vivtest.DEADLINE)
    vivtest.kill(receiver)
    vivtest.wait_gone(receiver)


def in_doubt(vm):
    """It stands still, says why, and nothing but an answer lets it go on."""
    vm.until("it is in doubt", lambda: (vm.info()["reason"] or {}).get("code") == "in-doubt")
    info = vm.info()
    assert (info["state"], info["moving"]["phase"]) == ("paused", "handed-over")
    for verb in ("resume web", "start web", "stop web", "reboot web", "snapshot create web one", "upgrade web", "migrate web root:/nowhere"):
        r = vm.root(*verb.split(), code=4)
        assert "it stands still, in doubt: it may run at exec:" in r.err and "hint: viv migrate --resolve web" in r.err, verb
    assert vm.info()["state"] == "paused"


@pytest.mark.parametrize("version", ["51.0", "52.0", "53.0", "head"])
def test_a_break_after_the_other_side_runs_is_asked_about(pair, version):  # noqa: F811
    pair.does(version=version, there={"migration": {"fail": "cut"}})
    vm, there = pair.vm(), pair.vm_there()
    count_to(vm, 1)
    assert pair.move().out.startswith("web: runs at exec:")
    is_at(pair, vm, there, there, running=True)


@pytest.mark.parametrize("version", ["51.0", "53.0"])
def test_a_break_that_nobody_asks_about_leaves_it_in_doubt(pair, version):  # noqa: F811
    gate = Gate(pair, "resumed")
    vm, there, moving = begin(pair, "there", gate, version, fail="cut")
    with moving:
        alone(moving)
    gate.open()
    in_doubt(vm)
    vivtest.kill(vm.processes()["monitor"])  # the next one knows as much
    in_doubt(vm)
    assert [e["reason"] for e in pair.here.root.events() if e["type"] == "state" and e["state"] == "paused"] == ["in-doubt"]
    assert pair.here.root("migrate", "--resolve", "web").out.startswith("web: runs at exec:")
    is_at(pair, vm, there, there, running=True)


@pytest.mark.parametrize("paused", [False, True])
def test_in_doubt_and_not_there(pair, paused):  # noqa: F811
    gate = Gate(pair, "sent")
    pair.does(here=gate.conf())
    vm, there = pair.vm(), pair.vm_there()
    count_to(vm, 1)
    if paused:
        vm("pause")
    with pair.here.root.popen("migrate", "web", pair.dest()) as moving:
        gate.reached()
        alone(moving)
    vivtest.kill(there.processes()["vmm"])
    gate.open()
    in_doubt(vm)
    r = pair.here.root("migrate", "--resolve", "web")
    assert "web is not at exec:" in r.err and "it goes on here" in r.err
    if paused:
        assert vm.info()["state"] == "paused"
        vm("resume")
    is_at(pair, vm, there, vm, running=True)


def test_in_doubt_it_can_be_killed_and_is_still_resolved(pair):  # noqa: F811
    gate = Gate(pair, "resumed")
    vm, there, moving = begin(pair, "there", gate, "53.0", fail="cut")
    with moving:
        alone(moving)
    gate.open()
    in_doubt(vm)
    vm("kill")
    assert "where it may run" in vm("start", code=4).err
    pair.here.root("migrate", "--resolve", "web")
    is_at(pair, vm, there, there, running=True)


def test_a_network_that_goes_in_between(pair):  # noqa: F811
    """No end of the connection reaches the source: it is stopped before it would believe in a failure, and never runs again."""
    gate = Gate(pair, "resumed")
    vm, there, moving = begin(pair, "there", gate, "53.0", fail="silent")
    with moving:
        alone(moving)
    gate.open()
    in_doubt(vm)
    with open(f"/proc/{vm.processes()['vmm']['pid']}/stat", encoding="utf-8") as f:
        assert f.read().rsplit(")", 1)[1].split()[0] == "T"
    pair.here.root("migrate", "--resolve", "web")
    is_at(pair, vm, there, there, running=True)


def test_a_network_that_goes_and_a_machine_that_never_came(pair):  # noqa: F811
    gate = Gate(pair, "restored")
    vm, there, moving = begin(pair, "there", gate, "53.0")
    with moving:
        alone(moving)
    in_doubt(vm)  # nothing is heard of it
    vivtest.kill(there.processes()["vmm"])
    pair.here.root("migrate", "--resolve", "web")
    vm.until("its VMM has given up", lambda: vm.info()["state"] == "running")
    is_at(pair, vm, there, vm, running=True)
