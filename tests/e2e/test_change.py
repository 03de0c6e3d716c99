"""Changing VMs: two documents, what waits, editors, several at once, and deaths at every step."""

import json
import os
import random
import shutil
import stat
import subprocess

import pytest
from vivtest import kill, wait_gone

from test_kill_points import armed, killed_client, was_cut  # noqa: F401  (armed is a fixture)
from test_schemas import conforms

STEP = int(os.environ.get("VIV_TEST_KILL_STEP", "4"))
ROUNDS = int(os.environ.get("VIV_TEST_CHANGES", "40"))
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: it is not installed")


def pending(vm):
    """{path: (op, from, to)} of what waits."""
    return {e["path"]: (e["op"], e["from"], e["to"]) for e in vm.info()["pending"] or []}


def applied(result):
    return {e["path"]: e["applied"] for e in result["changes"]}


def run_config(vm):
    with open(os.path.join(vm.dir, "running.json"), encoding="utf-8") as f:
        return json.load(f)["config"]


def editor(tmp_path, root, text):
    """An editor that is a script of ours: sh with the file as $1."""
    path = tmp_path / "editor"
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    root.env.update(VISUAL=f"{path} ", EDITOR="false")
    return path


# ---- two documents

def test_what_runs_keeps_what_it_has_and_the_next_start_gets_the_rest(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    result = vm("set", "boot.cmdline=quiet", "labels.job=42", "-o", "json").json()
    conforms(result, "apply")
    assert applied(result) == {"labels.job": "now", "boot.cmdline": "next-start"}
    info = vm.info()
    conforms(info, "inspect")
    assert info["config"]["boot"]["cmdline"] == "quiet" and run_config(vm)["boot"]["cmdline"] is None
    assert pending(vm) == {"boot.cmdline": ("add", None, "quiet")}
    conforms(root("config", "show", "--pending", "web", "-o", "json").json(), "pending")
    vm("reboot")
    assert vm.info()["pending"] is None and run_config(vm)["boot"]["cmdline"] == "quiet"
    vm("rm", "-f")


def test_a_real_guest_gets_at_its_next_start_what_was_changed(root, guest):
    vm = root.qemu("web", guest).boot()
    cmdline = vm.info()["config"]["boot"]["cmdline"]
    assert applied(vm("set", f"boot.cmdline={cmdline} changed=yes", "labels.a=b", "-o", "json").json()) == {
        "labels.a": "now", "boot.cmdline": "next-start"}
    with vm.console() as c:
        c.line("")
        assert "changed=yes" not in c.run("cat /proc/cmdline")
    vm("reboot")
    vm("wait", "ready")
    assert vm.info()["pending"] is None
    with vm.console() as c:
        c.line("")
        assert "changed=yes" in c.run("cat /proc/cmdline")
    vm("kill")
    vm("rm")


def test_the_restart_policy_of_a_running_vm_can_be_changed(root):
    vm = root.fake("web", "ready after=1ms; panic after=200ms boot=1", restart={"policy": "never"})
    vm("start", "--wait")
    vm("set", "restart.policy=on-failure", "restart.backoff=1ms")
    vm.until("it has been started again", lambda: vm.info()["restarts"] >= 1)
    vm("rm", "-f")


def test_apply_creates_updates_and_leaves_alone(root, tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("name: web\ndriver: fake\nlabels: {a: b}\n")
    first = root("apply", "-f", str(path), "-o", "json").json()
    conforms(first, "apply")
    assert first["created"] and first["changed"]
    again = root("apply", "-f", str(path), "-o", "json").json()
    assert not again["created"] and not again["changed"] and again["changes"] == []
    path.write_text("name: web\ndriver: fake\nnets: []\n")
    second = root("apply", "-f", str(path), "-o", "json").json()
    conforms(second, "apply")
    assert applied(second) == {"labels.a": "now", "nets.n0": "now"}
    root("rm", "web")


def test_a_kept_dead_vm_and_an_orphan_are_changed_too(root):
    vm = root.fake("web", "ready after=1ms")
    vm("start", "--wait")
    for proc in ("keeper", "monitor"):  # both at once: the lock is free while the VMM lives
        kill(vm.info()[proc], 19)
    info = vm.info()
    for proc in ("keeper", "monitor"):
        kill(info[proc])
        wait_gone(info[proc])
    assert applied(vm("set", "labels.a=b", "boot.cmdline=x", "-o", "json").json()) == {
        "labels.a": "now", "boot.cmdline": "next-start"}
    assert vm.info()["vmm"]["pid"] == info["vmm"]["pid"]
    vm("rm", "-f")


# ---- several at once

def test_two_who_set_at_once_both_get_their_way(root):
    for running in (False, True):
        vm = root.fake(f"w{int(running)}", "ready after=1ms")
        if running:
            vm("start", "--wait")
        asked = [root.popen("set", vm.name, f"labels.k{n}=v", stderr=subprocess.PIPE) for n in range(12)]
        for p in asked:
            _, err = p.communicate(timeout=60)
            assert p.returncode == 0, err
        labels = vm.info()["labels"]
        assert labels == {f"k{n}": "v" for n in range(12)}
        if running:
            assert run_config(vm)["labels"] == labels
        vm("rm", "-f")


# ---- edit

def test_edit_changes_what_was_edited(root, tmp_path):
    vm = root.fake("web", "ready after=1ms")
    editor(tmp_path, root, "sed -i 's/count: 1/count: 3/' \"$1\"")
    assert "cpus.count: 1 → 3" in vm("edit").out
    assert vm.info()["config"]["cpus"]["count"] == 3
    vm("rm")


def test_edit_without_a_change_or_with_an_empty_text_does_nothing(root, tmp_path):
    vm = root.fake("web")
    before = vm.info()["config"]
    editor(tmp_path, root, "touch \"$1\"")
    assert vm("edit").out == "web: unchanged\n"
    editor(tmp_path, root, ": >\"$1\"")
    assert vm("edit").out == "web: unchanged\n"
    editor(tmp_path, root, "echo 'cpus: 7' >>\"$1\"; exit 3")
    assert "the editor failed; nothing was changed" in vm("edit", code=130).err
    root.env["VISUAL"] = "/no/such/editor"
    assert "cannot run the editor" in vm("edit", code=3).err
    assert vm.info()["config"] == before
    vm("rm")


def test_a_key_that_interrupts_is_the_editors(root, tmp_path):
    """The terminal sends it to both; the editor has its own use for it."""
    vm = root.fake("web")
    editor(tmp_path, root, "trap 'sed -i \"s/count: 1/count: 4/\" \"$1\"; exit 0' INT; kill -INT 0; exit 1")
    p = root.popen("edit", "web", start_new_session=True)
    out, err = p.communicate(timeout=60)
    assert (p.returncode, err) == (0, "") and "cpus.count: 1 → 4" in out
    assert vm.info()["config"]["cpus"]["count"] == 4
    vm("rm")


def test_edit_shows_the_mistake_on_top_with_its_line_and_lets_it_be_mended(root, tmp_path):
    vm = root.fake("web")
    count = tmp_path / "count"
    editor(tmp_path, root, f"""cp "$1" {tmp_path}/seen.$(cat {count} 2>/dev/null | wc -l)
echo x >>{count}
if [ $(wc -l <{count}) = 1 ]; then sed -i 's/^cpus:/cpsu:/' "$1"; else sed -i 's/^cpsu:/cpus:/;s/count: 1/count: 2/' "$1"; fi""")
    vm("edit")
    assert vm.info()["config"]["cpus"]["count"] == 2
    second = (tmp_path / "seen.1").read_text().splitlines()
    wrong = next(n for n, line in enumerate(second, 1) if line.startswith("cpsu:"))
    assert f"# not taken: config line {wrong}: cpsu: unknown field" in second
    assert '# hint: did you mean "cpus"?' in second
    vm("rm")


def test_a_mistake_that_is_saved_again_ends_the_edit_and_changes_nothing(root, tmp_path):
    vm = root.fake("web")
    editor(tmp_path, root, "sed -i 's/^driver: fake/driver: qemu/' \"$1\"")
    before = vm.info()["config"]
    assert "driver: is fixed when the VM is created (fake)" in vm("edit", code=2).err
    assert vm.info()["config"] == before
    assert [p for p in os.listdir("/tmp") if p.startswith("viv-web-")] == []
    vm("rm")


def test_an_edit_that_somebody_overtook_is_refused_and_its_text_kept(root, tmp_path):
    vm = root.fake("web")
    editor(tmp_path, root, f"{root.viv} set web labels.fast=1 >/dev/null; sed -i 's/count: 1/count: 3/' \"$1\"")
    r = vm("edit", code=9)
    assert "changed by somebody else meanwhile" in r.err
    kept = r.err.rsplit("kept in ", 1)[1].strip()
    with open(kept, encoding="utf-8") as f:
        assert "count: 3" in f.read()
    os.unlink(kept)
    assert vm.info()["config"]["cpus"]["count"] == 1 and vm.info()["labels"] == {"fast": "1"}
    vm("rm")


# ---- selection

def test_labels_select_on_every_command_that_takes_several(root):
    for n in range(4):
        root.fake(f"w{n}", labels={"job": str(n % 2), "all": "yes"})
    assert root("ps", "-q", "--label", "job=1").out.split() == ["w1", "w3"]
    assert root("ps", "-q", "--label", "job=1", "--filter", "name=w3").out.split() == ["w3"]
    root("start", "--label", "job=0")
    assert root("ps", "-q", "--filter", "state=running,labels.all=yes").out.split() == ["w0", "w2"]
    assert [r["name"] for r in root("inspect", "--label", "job=0", "-o", "json").json()] == ["w0", "w2"]
    root("stop", "-t", "0", "--label", "all=yes")
    assert root("ps", "-q", "--filter", "state=stopped").out.split() == ["w0", "w2"]
    root("rm", "--label", "job=1")
    assert root("ps", "-q").out.split() == ["w0", "w2"]
    seen = [json.loads(line) for line in root("events", "--since", "0", "--no-follow", "--label", "job=0", "-o", "json").out.splitlines()]
    assert {e["vm"] for e in seen} == {"w0", "w2"} and len(seen) > 6
    root("rm", "--all")


# ---- deaths

def agree(vm, asked, before):
    """Whole or not at all; and what this run lacks is what waits."""
    root_doc = vm.info()
    assert root_doc["config"] in (before, asked), "half of a change is stored"
    return root_doc["config"]


def wanted(vm, n):
    """A change of what is live and of what waits, and the configuration it leads to."""
    before = vm.info()["config"]
    asked = json.loads(json.dumps(before))
    asked["labels"]["n"] = str(n)
    asked["cpus"]["count"] = 2 + n % 3
    asked["stop"]["timeout"] = 5000 + n
    return before, asked, ["set", vm.name, f"labels.n={n}", f"cpus={2 + n % 3}", f"stop.timeout={5000 + n}ms"]


@needs_strace
@pytest.mark.parametrize("running", [False, True])
def test_the_client_dies_at_every_step_of_a_set(root, running):
    vm = root.fake("web", "ready after=1ms")
    if running:
        vm("start", "--wait")
    n, cut_points, cut = 3, 0, True
    while cut:
        before, asked, argv = wanted(vm, n)
        cut = killed_client(root, n, *argv)
        now = agree(vm, asked, before)
        root(*argv)  # the same again does it, or finds it done
        assert vm.info()["config"] == asked, (n, now == asked)
        check_run(vm, running)
        cut_points += cut
        n += max(1, STEP // 2)
    assert cut_points > 10
    vm("rm", "-f")


def check_run(vm, running):
    if not running:
        return
    have = run_config(vm)
    config = vm.info()["config"]
    assert have["labels"] == config["labels"] and have["stop"] == config["stop"]
    assert set(pending(vm)) <= {"cpus.count"}
    assert ("cpus.count" in pending(vm)) == (have["cpus"] != config["cpus"])


@needs_strace
def test_the_monitor_dies_at_every_step_of_a_set_and_the_client_gets_its_answer(armed):  # noqa: F811
    vm = armed.fake("web", "ready after=1ms")
    vm("start", "--wait")
    vmm, cut = vm.info()["vmm"]["pid"], 0
    for n in range(20, 150, 4 * STEP):
        armed.arm("monitor", n)
        # The one before may just be dying of its own arm.
        kill(vm.until("a monitor lives", lambda: vm.info()["monitor"]))  # the next one is the armed one: it adopts, and dies in what it is asked
        _, asked, argv = wanted(vm, n)
        result = armed(*argv, "-o", "json").json()
        assert result["changed"] and applied(result)["labels.n"] == "now"
        armed.disarm()
        cut += os.path.exists(armed.note) and was_cut(armed)
        assert vm.info()["config"] == asked
        check_run(vm, True)
    assert cut > 1
    assert vm.info()["vmm"]["pid"] == vmm
    vm("rm", "-f")


def test_random_changes_with_deaths_between_are_stored_as_asked(root):
    rng = random.Random(7)
    vm = root.fake("web", "ready after=1ms")
    running = False
    for n in range(ROUNDS):
        sets = rng.sample([f"labels.a={n}", f"cpus={1 + n % 5}", f"memory={256 + n}MiB", f"ready.timeout={n + 1}s",
                           f"boot.cmdline=n={n}", f"nets.+x{n % 3}.type=nat", f"restart.backoff={n + 1}ms"], 3)
        doc = vm.info()["config"]
        gone = rng.choice([None, *[f"nets.{d['id']}-" for d in doc["nets"]]])
        argv = ["set", "web", *sets, *([gone] if gone and f"nets.+{gone[5:-1]}.type=nat" not in sets else [])]
        asked = expected(root, doc, argv[2:])
        p = root.popen(*argv, stderr=subprocess.PIPE)
        if running and rng.random() < 0.5:
            kill(vm.info()[rng.choice(["monitor", "keeper"])])
        _, err = p.communicate(timeout=60)
        assert p.returncode == 0, err
        assert vm.info()["config"] == asked
        if running:
            check_pending(vm)
        if n % 8 == 7:
            vm(*(["stop", "-t", "0"] if running else ["start", "--wait"]))
            running = not running
            assert vm.info()["pending"] is None
    vm("rm", "-f")


def expected(root, doc, settings):
    """The configuration that the settings lead to, by the program's own dry run."""
    changes = root("set", "web", "--dry-run", "-o", "json", *settings).json()["changes"]
    doc = json.loads(json.dumps(doc))
    for c in changes:
        make(doc, c)
    return doc


def make(doc, change):
    words = change["path"].split(".")
    at, last = doc, words[-1]
    for w in words[:-1]:
        at = next(e for e in at if e["id"] == w) if isinstance(at, list) else at[w]
    if isinstance(at, list):
        at[:] = [e for e in at if e["id"] != last] + ([change["to"]] if change["op"] == "add" else [])
    elif change["op"] == "remove" and words[0] == "labels":
        del at[last]
    else:
        at[last] = change["to"]


def check_pending(vm):
    """This run, and what waits made in it, is what is stored."""
    run = run_config(vm)
    for c in vm.info()["pending"] or []:
        assert c["path"].split(".")[0] not in ("labels", "restart", "ready", "stop", "serial"), c
        make(run, c)
    assert run == vm.info()["config"]
