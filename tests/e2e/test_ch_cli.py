"""Cloud Hypervisor without an API: one command line, the process, and the events. Against the double."""

import json
import os
import signal

import pytest
import vivtest
from test_ch_double import Lab

NEEDS = "it needs API mode (cloud_hypervisor.mode: api)"
CLI = {"cloud_hypervisor": {"mode": "cli"}}


@pytest.fixture
def lab(root):
    return Lab(root)


def disk(lab, name, size=1 << 20):
    path = os.path.join(lab.base, name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def test_the_whole_life(lab):
    vm = lab.vm(**CLI).boot()
    info = vm.info()
    assert (info["driver"], info["state"], info["ready"]["proof"]) == ("cloud-hypervisor", "running", "marker")
    assert info["timeline"]["api_us"] is None and info["timeline"]["running_us"] > 0
    with open(f"/proc/{info['vmm']['pid']}/cmdline", "rb") as f:
        words = f.read().split(b"\0")
    row = [v for v in lab.root("ps", "-o", "json").json() if v["name"] == "web"][0]
    assert {**row["vmm"], "role": "active"} == info["vmm"] and row["vmm"]["version"].startswith("53.0") and row["vmm"]["pid"] > 1
    assert b"--api-socket" not in words and b"--kernel" in words
    assert not os.path.exists(os.path.join(lab.root.home, "run", info["uuid"][:8], "api"))
    with vm.console() as c:
        c.send("~")
        c.expect("~")
        c.send("r")
        vm.until("the reboot is told", lambda: vm.info()["boot"] == 2)
    vm("wait", "ready")
    vm("reboot")
    vm("wait", "ready")
    assert vm.info()["run"] == 2
    r = vm("stop", "-o", "json").json()
    assert (r["state"], r["rung"], r["reason"]["code"]) == ("stopped", "sigterm", "stop")
    vm.boot()
    r = vm("kill", "-o", "json").json()
    assert (r["state"], r["rung"], r["reason"]["code"]) == ("stopped", "sigkill", "kill")
    assert vm.serial().count(b"VMRS_READY") == 4 and lab.left() == []


def test_it_is_the_same_machine(lab):
    """What the command line says is what vm.create would say, member by member."""
    journal = os.path.join(lab.base, "journal")
    fields = {"cpus": {"count": 4, "topology": {"threads": 2, "cores": 2}, "affinity": ["0=0-1", "3=0"]}, "memory": {"size": "1GiB", "max": "2GiB"},
              "disks": [{"id": "a", "path": disk(lab, "with,comma \"[x]\".img"), "limit": {"bandwidth": "10MiB", "ops": 500}},
                        {"id": "b", "path": disk(lab, "b.img"), "readonly": True, "cache": "none"}],
              "pmem": [{"id": "p", "path": disk(lab, "p.img", 2 << 20)}], "watchdog": True, "vsock": {"cid": 7},
              "sandbox": {"landlock": "on", "allow": [lab.base]}}
    lab.does(journal=journal)
    one = lab.vm("one", **fields).boot()
    one("kill")
    lab.root("rm", "one")
    lab.vm("one", **fields, **CLI).boot()("kill")
    with open(journal, encoding="utf-8") as f:
        entries = [json.loads(line) for line in f]
    api = next(e for e in entries if e["path"].endswith("/vm.create"))
    cli = next(e for e in entries if e["path"] == "(command line)")
    assert api["complaints"] == cli["complaints"] == []
    for body in (api["body"], cli["body"]):  # what differs from run to run
        body["payload"]["cmdline"] = body["payload"]["cmdline"].rpartition("vmrs.nonce=")[0]
        body["vsock"]["socket"] = os.path.basename(body["vsock"]["socket"])
    assert cli["body"] == api["body"]


@pytest.mark.parametrize("words", [
    ["pause"], ["resume"], ["reboot", "--hard"], ["nmi"], ["coredump", "c.core"], ["api", "GET", "vm.info"],
    ["snapshot create", "before"], ["set", "--live", "disks.+more.path={more}"]], ids=lambda w: w[0])
def test_what_needs_an_api_is_refused(lab, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    vm = lab.vm(**CLI).boot()
    before = vm.info()
    verb = words[0].split()
    rest = [w.format(more=disk(lab, "more.img")) for w in words[1:]]
    if words[0] == "resume":  # a running one needs no resuming
        assert vm("resume").code == 0
        return
    r = lab.root(*verb, "web", *rest, code=None)
    assert r.code == 5 and NEEDS in r.err, r
    after = vm.info()
    assert (after["state"], after["vmm"]) == (before["state"], before["vmm"]) and list(tmp_path.iterdir()) == []


def test_capabilities_follow_the_mode(lab):
    vm = lab.vm(**CLI)
    other = lab.vm("other")
    gone = set(other.info()["capabilities"]) - set(vm.info()["capabilities"])
    assert {"pause", "power-button", "reset", "snapshot", "disk-hotplug", "counters", "nmi"} <= gone
    assert {"state", "kill", "agent", "adopt", "cli-mode", "console"} <= set(vm.info()["capabilities"])


@pytest.mark.parametrize("conf, state, reason", [
    ({"guest": {"do": [[300, "p"]]}}, "stopped", "guest-poweroff"), ({"guest": {"do": [[300, "k"]]}}, "failed", "guest-panic"),
    ({"exit": {"after": 600, "code": 1}}, "failed", "vmm-exit"), ({"exit": {"after": 600, "signal": 9}}, "failed", "vmm-signal")])
def test_every_way_to_end(lab, conf, state, reason):
    lab.does(**conf)
    vm = lab.vm(**CLI)
    vm("start")
    assert vm.ended() == (state, reason) and lab.left() == []


def test_a_boot_that_fails(lab):
    """The VMM's own last words, and nothing is left."""
    path = disk(lab, "d.img")
    lab.vm("one", disks=[{"id": "d", "path": path}]).boot()
    r = lab.vm("two", disks=[{"id": "d", "path": path}], **CLI)("start", code=1)
    assert "cloud-hypervisor ended at once with exit code 1" in r.err and "lock" in r.err, r
    lab.root("kill", "one")
    assert lab.left() == []


def test_a_boot_without_end(lab):
    lab.does(start_delay=10**6)
    vm = lab.vm(**CLI)
    assert vm("start", "-t", "1", code=6).code == 6
    vm("kill")
    assert lab.left() == []


@pytest.mark.parametrize("victims", [("monitor",), ("keeper",), ("keeper", "monitor")], ids=["monitor", "keeper", "both"])
def test_kill_9(lab, victims):
    """The VM outlives us here, too: nothing of its console is lost, and its next events count."""
    lab.does(guest={"print": [[300 + 10 * n, f"line {n}\r\n"] for n in range(1, 200)]})
    vm = lab.vm(**CLI).boot()
    before = vm.info()
    for _ in range(3):
        now = vm.processes()
        for who in victims:
            vivtest.kill(now[who])
        for who in victims:
            vivtest.wait_gone(now[who])
        vm("wait", "running", "-t", "20")
        vm.until("it is adopted", lambda now=now: all(vm.processes().get(v, now[v]) != now[v] for v in victims))
    vm.until("the last line", lambda: b"line 199\r\n" in vm.serial())
    assert [int(w.split()[1]) for w in vm.serial().splitlines() if w.startswith(b"line ")] == list(range(1, 200))
    info = vm.info()
    assert (info["vmm"], info["run"], info["boot"], info["ready"]) == (before["vmm"], 1, 1, before["ready"])
    with vm.console() as c:
        c.send("p")
        assert vm.ended() == ("stopped", "guest-poweroff")
    assert lab.left() == []


def test_a_vmm_that_ignores_sigterm(lab):
    lab.does(faults=[])
    vm = lab.vm(**CLI).boot()
    vivtest.kill(vm.info()["vmm"], signal.SIGSTOP)  # as good as deaf
    r = vm("stop", "-o", "json").json()
    assert (r["state"], r["rung"]) == ("stopped", "sigkill")


def test_the_mode_is_one_for_the_next_start(lab):
    vm = lab.vm().boot()
    vm("set", "cloud_hypervisor.mode=cli")
    assert "cloud_hypervisor.mode" in json.dumps(vm.info()["pending"])
    vm("pause")
    vm("resume")
    vm("reboot")
    assert NEEDS in vm("pause", code=5).err
    assert "mode" in lab.root("create", "--set", "cloud_hypervisor.mode=rest", "-f", lab.root.config(
        "bad", driver="cloud-hypervisor", boot={"kernel": lab.kernel}, nets=[]), code=2).err
