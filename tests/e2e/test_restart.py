"""Restart policies: each × how a VM ends; back-off values; counters; a host reboot."""

import json
import os
import signal

import pytest
from vivtest import kill, wait_gone

ENDS = {
    "poweroff": "ready after=1ms; poweroff after=80ms boot=1",
    "panic": "ready after=1ms; panic after=80ms boot=1",
    "killed": "ready after=1ms",
    "stopped": "ready after=1ms",
}
RESTARTS = {  # policy → the ends after which a VM comes back
    "never": set(),
    "on-failure": {"panic", "killed"},
    "always": {"poweroff", "panic", "killed"},
}
STATE = {"poweroff": "stopped", "stopped": "stopped", "panic": "failed", "killed": "failed"}


def end(vm, how):
    if how == "killed":
        kill(vm.info()["vmm"])
    elif how == "stopped":
        vm("stop")


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("policy", RESTARTS)
def test_policy_decides_what_comes_back(root, policy, how):
    vm = root.fake("web", ENDS[how].replace(" boot=1", ""), restart={"policy": policy, "backoff": "50ms"})
    vm("start")
    vmm = vm.info()["vmm"]
    end(vm, how)
    wait_gone(vmm)
    if how in RESTARTS[policy]:
        info = vm.until("it was started again", lambda: restarted(vm), deadline=20)
        assert info["restarts"] >= 1
        vm("stop", "-t", "0")
        assert vm.info()["state"] in ("stopped", STATE[how])  # it may just have ended by itself again
        assert vm.info()["next_start_at"] is None
    else:
        vm("wait", "exit", "-t", "20", code=None)
        info = vm.info()
        assert (info["state"], info["run"], info["restarts"]) == (STATE[how], 1, 0)
        assert info["next_start_at"] is None


def restarted(vm):
    info = vm.info()
    return info if info["run"] >= 2 and info["restarts"] >= 1 else None


def test_back_off_doubles_and_is_told(root):
    vm = root.fake("web", "ready after=1ms; exit code=3 after=10ms", restart={"policy": "always", "backoff": "40ms"})
    vm("start")
    vm.until("four restarts", lambda: vm.info()["restarts"] >= 4, deadline=30)
    starts = [e["time"] for e in root.events() if e["type"] == "state" and e["state"] == "starting"]
    ends = [e["time"] for e in root.events() if e["type"] == "state" and e["state"] in ("failed", "stopped")]
    vm("stop", "-t", "0", code=None)
    waits = [seconds(s) - seconds(e) for e, s in zip(ends, starts[1:])]
    for wait, least in zip(waits, (0.040, 0.080, 0.160, 0.320)):
        assert least - 0.005 <= wait <= least + 1.0, waits
    assert vm.info()["state"] in ("stopped", "failed")
    assert vm.info()["next_start_at"] is None


def seconds(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_stop_between_two_runs_cancels_the_next_start(root):
    vm = root.fake("web", "ready after=1ms; exit code=3 after=5ms", restart={"policy": "always", "backoff": "60s"})
    vm("start")
    vm.until("it waits for its next start", lambda: vm.info()["next_start_at"], deadline=20)
    assert vm.info()["state"] == "failed"
    vm("stop")
    assert vm.info()["next_start_at"] is None
    vm.until("its keeper has left", lambda: vm.processes() == {}, deadline=10)


def test_a_pending_restart_survives_the_death_of_monitor_and_keeper(root):
    vm = root.fake("web", "ready after=1ms; exit code=3 after=5ms", restart={"policy": "always", "backoff": "2s"})
    vm("start")
    vm.until("it waits for its next start", lambda: vm.info()["next_start_at"], deadline=20)
    kill(vm.info()["monitor"])
    vm.until("it was started again", lambda: restarted(vm), deadline=20)
    vm("stop", "-t", "0", code=None)


def test_after_a_host_reboot_a_vm_is_stopped_and_says_why(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    info = vm.info()
    for who in ("keeper", "monitor"):  # each would bring the other back, and tell of the VMM's end
        os.kill(info[who]["pid"], signal.SIGSTOP)
    for who in ("keeper", "monitor", "vmm"):
        kill(info[who])
        wait_gone(info[who])
    state = vm.state()
    state["host_boot_id"] = "00000000-0000-4000-8000-000000000000"
    with open(os.path.join(vm.dir, "state.json"), "w", encoding="utf-8") as f:
        json.dump(state, f)
    now = vm.info()
    assert (now["state"], now["reason"]["code"]) == ("stopped", "host-reboot")
    vm("start", "--wait")
    assert vm.info()["run"] == 2


def test_a_ready_time_out_is_no_failure(root):
    vm = root.fake("web", "no-ready", ready={"timeout": "200ms"}, restart={"policy": "on-failure", "backoff": "10ms"})
    r = vm("start", "--wait", code=6)
    assert "not ready after" in r.err and "it goes on running" in r.err
    info = vm.info()
    assert (info["state"], info["run"], info["restarts"]) == ("running", 1, 0)
