"""Several processes at once on one state root: exactly one wins, everybody hears the truth."""

import os
import signal

import pytest
from vivtest import VM, alive, kill, wait_gone

ROUNDS = int(os.environ.get("VIV_TEST_ROUNDS", "100"))


def outcomes(processes):
    result = []
    for p in processes:
        out, err = p.communicate(timeout=60)
        result.append((p.returncode, out, err))
    return result


def test_fifty_parallel_starts_make_one_vmm(root):
    vm = root.fake("web", "ready after=5ms")
    done = outcomes([root.popen("start", "web", "-o", "json") for _ in range(50)])
    assert [c for c, _, _ in done] == [0] * 50, [e for _, _, e in done if e][:3]
    with open(os.path.join(vm.dir, "exits.log"), encoding="ascii") as f:
        spawns = [line for line in f if line.startswith("spawn vmm ")]
    assert len(spawns) == 1
    assert sum('"changed": true' in o or '"changed":true' in o for _, o, _ in done) == 1
    assert vm.info()["run"] == 1


def test_two_creates_with_different_configurations_have_one_winner(root):
    for i in range(ROUNDS // 10):
        a = root.config(f"c{i}", driver="fake", cpus=1)
        b = root.config(f"c{i}", driver="fake", cpus=2)  # the same file name: keep both texts
        os.rename(b, b + ".2")
        a = root.config(f"c{i}", driver="fake", cpus=1)
        done = outcomes([root.popen("create", "-f", f) for f in (a, b + ".2")])
        assert sorted(c for c, _, _ in done) == [0, 8], done
        assert "exists already, with another configuration" in "".join(e for _, _, e in done)


def start_against_rm(root, rounds):
    for i in range(rounds):
        name = f"x{i % 7}"
        vm = root.fake(name, "ready after=1ms")
        start, rm = outcomes([root.popen("start", name), root.popen("rm", name)])
        running = os.path.exists(vm.dir)
        if running:
            assert start[0] == 0 and rm[0] in (4, 9), (start, rm)
            root("rm", "-f", name)
        else:
            assert rm[0] == 0 and start[0] in (3, 4, 9), (start, rm)


def test_start_against_rm_has_one_winner(root):
    start_against_rm(root, ROUNDS // 2)


@pytest.mark.stress
def test_start_against_rm_a_thousand_times(root):
    start_against_rm(root, 1000)


def test_a_hundred_fakes_start_list_and_stop(root):
    names = [f"n{i:03}" for i in range(100)]
    for n in names:
        root.fake(n, "ready after=1ms")
    root("start", *names, deadline=120)
    rows = root("ps", "-o", "json").json()
    listed = rows["vms"] if isinstance(rows, dict) else rows
    assert sum(v["state"] == "running" for v in listed) == 100
    vmms = [VM(root, n).info()["vmm"] for n in names[:5]]
    root("stop", "--all", deadline=120)
    for p in vmms:
        wait_gone(p)
    assert not any(alive(p) for p in vmms)
    root("rm", "--all", deadline=120)
    assert root("ps", "-q").out == ""


def test_eight_real_guests_at_once_all_reach_ready(root, guest):
    for i in range(8):
        root("create", "-f", root.config(f"g{i}", driver="qemu", accel="tcg", memory="160MiB", nets=[], boot={
            "kernel": str(guest / "vmlinuz"), "initramfs": str(guest / "initramfs"), "cmdline": "console=ttyS0"}))
    starts = [root.popen("start", f"g{i}", "--wait") for i in range(8)]
    for code, _, err in outcomes_within(starts, 240):
        assert code == 0, err
    states = [VM(root, f"g{i}").info() for i in range(8)]
    assert all(s["ready"] for s in states)
    root("kill", "--all", deadline=60)


def outcomes_within(processes, deadline):
    result = []
    for p in processes:
        out, err = p.communicate(timeout=deadline)
        result.append((p.returncode, out, err))
    return result


def test_a_client_killed_in_the_middle_of_a_start_leaves_a_started_vm(root):
    """The monitor starts it, not the client."""
    vm = root.fake("web", "ready after=50ms")
    p = root.popen("start", "web", "--wait")
    vm.until("starting", lambda: vm.state()["state"] != "created")
    p.send_signal(signal.SIGKILL)
    p.wait()
    vm("wait", "ready", "-t", "20")
    assert kill(vm.info()["vmm"], 0) is True
