"""The verbs that change something: what they say, what they return, several targets, --all."""

import json
import os
import signal

import pytest
import vivtest


def test_a_whole_life_in_text(root):
    config = root.config("web", driver="fake", fake={"script": "ready after=5ms ip=192.0.2.7"})
    assert root("create", config).out == "web: created\n"
    assert root("create", config).out == "web: exists already, unchanged\n"
    assert root("start", "web").out == "web: running\n"
    assert root("start", "web").out == "web: running already\n"
    r = root("wait", "web", "ready")
    assert r.out.startswith("web: ready 192.0.2.7 after 0.") and r.out.endswith(" s\n")
    assert root("pause", "web").out == "web: paused\n"
    assert root("pause", "web").out == "web: paused already\n"
    assert root("resume", "web").out == "web: running\n"
    assert root("reboot", "web").out == "web: rebooted\n"
    assert root("stop", "web").out == "web: stopped (acpi)\n"
    assert root("stop", "web").out == "web: stopped already\n"
    assert root("rm", "web").out == "web: removed\n"
    assert root("rm", "web", code=3).err == "viv: rm web: no such VM\n"
    assert root("rm", "--ignore-missing", "web", "db").out == ""
    r = root("rm", "--ignore-missing", "web", "-o", "json").json()
    assert (r["name"], r["changed"], r["uuid"]) == ("web", False, None)
    assert root("ps", "-q").out == ""


def test_results_as_json(root):
    vm = root.fake("web", "ready after=5ms ip=192.0.2.7")
    r = vm("start", "--wait", "-o", "json").json()
    assert (r["schema"], r["name"], r["changed"], r["state"]) == (1, "web", True, "running")
    assert r["uuid"] == vm.info()["uuid"]
    assert r["ip"] == "192.0.2.7"
    r = vm("stop", "-o", "json").json()
    assert (r["changed"], r["state"], r["rung"]) == (True, "stopped", "acpi")
    assert vm("stop", "-o", "json").json()["changed"] is False


def test_several_targets_give_one_result_each_and_the_first_failure_counts(root):
    for name in ("a", "b"):
        root.fake(name)
    r = root("start", "a", "nobody", "b", code=3)
    assert r.out == "a: running\nb: running\n"
    assert r.err == "viv: start nobody: no such VM\n"
    r = root("pause", "a", "b", "nobody", "-o", "json", code=3)
    assert [x["name"] for x in r.json()] == ["a", "b"]
    assert json.loads(r.err)["error"]["vm"] == "nobody"


def test_all_and_filter_select_what_the_verb_applies_to(root):
    for name, job in (("a", "1"), ("b", "2"), ("c", "2")):
        root.fake(name, labels={"job": job})
    assert root("start", "--filter", "labels.job=2").out == "b: running\nc: running\n"
    assert root("stop", "--all", "-q").out == "b\nc\n"
    assert root("stop", "--all", "-o", "json").json() == []
    assert root("rm", "-a").out == "a: removed\nb: removed\nc: removed\n"


def test_rm_refuses_a_running_vm(root):
    vm = root.fake("web")
    vm("start")
    r = vm("rm", code=4)
    assert r.err.startswith("viv: rm web: ")
    assert vm("rm", "--force").out == "web: removed\n"


def test_a_uuid_prefix_names_a_vm(root):
    vm = root.fake("web")
    uuid = vm.info()["uuid"]
    assert root("start", uuid[:8]).out == "web: running\n"
    assert root("stop", uuid).code == 0


def test_stop_without_grace_kills_and_no_kill_gives_up(root):
    vm = root.fake("web", "ignore-button")
    vm("start")
    r = vm("stop", "-t", "200ms", "--no-kill", code=6)
    assert r.err.startswith("viv: stop web: ")
    assert vm.info()["state"] == "running"
    assert vm("stop", "-t", "0").out == "web: stopped (sigkill)\n"
    vm("start")
    assert vm("kill").out == "web: killed\n"
    assert vm("kill").out == "web: stopped already\n"
    assert vm.info()["reason"]["code"] == "kill"


def test_wait_for_a_state_and_for_the_end(root):
    vm = root.fake("web", "ready after=1ms; poweroff after=500ms")
    assert vm("wait", "exit").out == "web: created\n"  # nothing runs: there is nothing to wait for
    vm("start")
    with root.popen("wait", "web", "exit") as early:
        assert vm("wait", "running").out == "web: running\n"
        assert early.wait(vivtest.DEADLINE) == 0
        assert early.stdout.read() == "web: stopped\n"
    assert vm("wait", "stopped").out == "web: stopped\n"
    assert vm("wait", "ready", code=4).err.startswith("viv: wait web: it stopped (guest-poweroff)")


@pytest.mark.parametrize("argv", [["wait", "web"], ["start", "--wait", "web"],
                                  ["run", "-d", "--name", "web", "--driver", "fake", "--set",
                                   "fake.script=no-ready"]])
def test_an_interrupt_ends_the_waiting_only(root, argv):
    vm = root.fake("web", "no-ready")
    if argv[0] == "wait":
        vm("start")
    with root.popen(*argv) as p:
        vm.until("it runs", lambda: os.path.exists(vm.dir + "/state.json") and
                 vm.state()["state"] == "running")
        signalled = False
        while p.poll() is None and not signalled:
            signalled = wait_sleeping(p.pid)
            p.send_signal(signal.SIGINT)
        assert p.wait(vivtest.DEADLINE) == 130
        assert p.stderr.read() == "web goes on; stop it: viv stop web\n"
    assert vm.info()["state"] == "running"


def wait_sleeping(pid):
    """Is the process waiting in poll(2), so that its handler is there?"""
    end = 200
    while end:
        try:
            with open(f"/proc/{pid}/wchan", encoding="utf-8") as f:
                if "poll" in f.read():
                    return True
        except OSError:
            return True
        end -= 1
    return True


# ---- run ----

def run_lines(root, *argv, **kw):
    r = root("run", *argv, **kw)
    return r, r.err.splitlines()


def test_run_in_the_foreground_shows_states_and_the_guests_output(root):
    config = root.config("web", driver="fake", fake={
        "script": 'print text="hello\\n"; ready after=20ms ip=192.0.2.7; poweroff after=200ms'})
    r, lines = run_lines(root, config)
    assert lines[:3] == ["web: created", "web: starting", "web: running"]
    assert lines[3].startswith("web: ready 192.0.2.7 after 0.")
    assert lines[-1] == "web: stopped (guest-poweroff)"
    assert "hello\n" in r.out
    assert "VMRS_READY 192.0.2.7" in r.out
    with open(os.path.join(root.home, "vms", "web", "serial.log"), encoding="utf-8") as f:
        assert f.read() == r.out  # nothing lost, nothing added
    assert root("ps", "-q").out == "web\n"


def test_run_fails_when_the_vm_fails(root):
    config = root.config("web", driver="fake", fake={"script": "ready after=1ms; crash signal=9 after=100ms"})
    r, lines = run_lines(root, config, code=1)
    assert lines[-1].startswith("web: failed (vmm-signal)")


def test_run_that_cannot_start_says_why_and_removes_with_rm(root):
    config = root.config("web", driver="fake", fake={"script": 'refuse-start code=3 text="no cows"'})
    r, lines = run_lines(root, config, "--rm", code=1)
    assert "viv: run web: fake ended at once with exit code 3: viv-fake: no cows" in lines
    assert root("ps", "-q").out == ""


def test_run_rm_leaves_nothing(root):
    config = root.config("web", driver="fake", fake={"script": "ready after=1ms; poweroff after=50ms"})
    root("run", "--rm", config)
    assert root("ps", "-q").out == ""
    assert os.listdir(os.path.join(root.home, "vms")) == []


def start_foreground(root, script):
    vm = vivtest.VM(root, "web")
    p = root.popen("run", root.config("web", driver="fake", fake={"script": script}))
    vivtest.until("its root", lambda: os.path.isdir(root.home), os.path.dirname(root.home))
    vivtest.until("its folder", lambda: os.path.isdir(root.home + "/vms"), root.home)
    vivtest.until("its VM", lambda: os.path.exists(vm.dir + "/state.json"), root.home + "/vms")
    vm.until("it is ready", lambda: vm.state().get("ready"))
    return vm, p


def test_the_first_interrupt_stops_the_guest_gracefully(root):
    vm, p = start_foreground(root, "ready after=1ms")
    with p:
        p.send_signal(signal.SIGTERM)
        assert p.wait(vivtest.DEADLINE) == 0
        err = p.stderr.read()
    assert "web: stopping; once more kills it\n" in err
    assert err.endswith("web: stopped (stop)\n")
    assert vm.info()["stop"]["rung"] == "acpi"


@pytest.mark.parametrize("line", ["created", "starting", "running"])
def test_an_interrupt_at_any_time_is_not_lost(root, line):
    """Also one that comes before there is anything to stop; and --rm leaves nothing."""
    config = root.config("web", driver="fake", fake={"script": "ready after=1ms"})
    for _ in range(5):
        with root.popen("run", "--rm", config) as p:
            said = vivtest.read_until(p.stderr, f"web: {line}\n")
            p.send_signal(signal.SIGINT)
            _, rest = p.communicate(timeout=vivtest.DEADLINE)
            assert p.returncode == 0, said + rest
        assert root("ps", "-q").out == "", said + rest


def test_the_second_interrupt_kills(root):
    vm, p = start_foreground(root, "ready after=1ms; ignore-button")
    with p:
        p.send_signal(signal.SIGINT)
        for line in p.stderr:
            if "stopping;" in line:
                break
        p.send_signal(signal.SIGINT)
        assert p.wait(vivtest.DEADLINE) == 130
    assert vm.info()["state"] == "stopped"


def test_a_killed_foreground_takes_its_vm_along(root):
    vm, p = start_foreground(root, "ready after=1ms")
    with p:
        p.kill()
        p.wait()
    assert vm("wait", "exit").out == "web: stopped\n"
    assert vm.info()["stop"]["rung"] == "acpi"


def test_a_foreground_survives_its_monitor(root):
    vm, p = start_foreground(root, "ready after=1ms; line every=5ms n=200; poweroff after=1500ms")
    with p:
        vivtest.kill(vm.info()["monitor"])
        out, err = p.communicate(timeout=vivtest.DEADLINE)
    assert p.returncode == 0
    assert [w for w in out.splitlines() if w.startswith("line ")] == \
        [f"line {n}" for n in range(1, 201)]
    assert err.count(": ready") == 1


def test_run_detached_prints_only_the_name(root):
    r = root("run", "-d", root.config("web", driver="fake"))
    assert (r.out, r.err) == ("web\n", "")
    assert root.inspect("web")["ready"] is not None
    assert root("run", "-d", root.config("web", driver="fake")).out == "web\n"  # it is so already
    r = root("run", root.config("web", driver="fake"), code=4)
    assert r.err.startswith("viv: run web: it runs already\nhint: ")


def test_run_without_a_name_makes_one(root, tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "image.yaml").write_text("driver: fake\nmemory: 64MiB\n")
    root.env["VIV_IMAGES"] = str(tmp_path)
    names = {root("run", "-d", "img").out.strip() for _ in range(3)}
    assert len(names) == 3
    assert all(n.startswith("img-") and len(n) == 8 for n in names)
    assert root("create", "--driver", "fake").out.startswith("vm-")
    path = tmp_path / "My_Web.yaml"
    path.write_text("driver: fake\n")
    assert root("create", path).out.startswith("myweb-")


def test_layers_win_in_their_order(root, tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "image.yaml").write_text(
        "driver: fake\nmemory: 64MiB\ncpus: 2\nlabels: {a: image, b: image}\n")
    root.env["VIV_IMAGES"] = str(tmp_path)
    over = tmp_path / "over.yaml"
    over.write_text("memory: 96MiB\ncpus: 3\nlabels: {b: file}\n")
    root("create", "--name", "web", "-f", over, "-c", "4", "--label", "c=flag", "--set",
         "stop.timeout=7s", "img")
    config = root.inspect("web")["config"]
    assert config["memory"]["size"] == 96 << 20
    assert config["cpus"]["count"] == 4
    assert config["labels"] == {"a": "image", "b": "file", "c": "flag"}
    assert config["stop"]["timeout"] == 7000


def test_a_configuration_from_standard_input(root):
    assert root("create", "-", stdin="name: web\ndriver: fake\n").out == "web: created\n"


def test_dry_run_shows_the_plan_and_does_nothing(root):
    config = root.config("web", driver="fake")
    for argv in (["run", "--dry-run", config], ["create", "--dry-run", config]):
        r = root(*argv, "-o", "json").json()
        assert r["schema"] == 1 and r["driver"] == "fake"
        assert r["plan"]["argv"][0] == "viv-fake"
    assert "argv:" in root("run", "--dry-run", config).out
    assert root("ps", "-q").out == ""
    root("create", config)
    assert root("start", "--dry-run", "web", "-o", "json").json()["plan"]["argv"][0] == "viv-fake"
    assert root.inspect("web")["state"] == "created"
