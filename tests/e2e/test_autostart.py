"""What is asked of a VM beyond the host's boot: "desired" in its record, and units for systemd."""

import os
import re
import shutil
import subprocess

import pytest
import test_schemas
import vivtest


def unit(root, name="web"):
    """The unit's file and its link, of which exactly one each is there."""
    folder = root.env["VIV_UNIT_DIR"]
    units = [f for f in os.listdir(folder) if re.fullmatch(rf"viv-{name}\.[0-9a-f]{{8}}\.service", f)]
    assert len(units) == 1, os.listdir(folder)
    wants = os.path.join(folder, "multi-user.target.wants" if os.geteuid() == 0 else "default.target.wants")
    return os.path.join(folder, units[0]), os.path.join(wants, units[0])


def test_what_was_asked_for_last_is_recorded(root):
    vm = root.fake("web", "ready after=0ms; poweroff after=100ms")
    assert vm.info()["desired"] is None
    vm("start")
    assert vm.info()["desired"] == "running"
    assert vm.ended() == ("stopped", "guest-poweroff")
    assert vm.info()["desired"] == "running"  # the guest's own end is no wish
    assert vm("stop").out == "web: stopped already\n"
    assert vm.info()["desired"] == "stopped"
    assert root("ps", "-o", "json").json()[0]["desired"] == "stopped"


def test_a_stop_for_now_and_a_kill(root):
    vm = root.fake("web", "ready after=0ms")
    vm("start")
    vm("stop", "--for-now", "-t", "0")
    assert vm.info()["state"] == "stopped" and vm.info()["desired"] == "running"
    assert vm("start", "--unless-stopped").out == "web: running\n"
    vm("kill")
    assert vm.info()["desired"] == "stopped"
    said = vm("start", "--unless-stopped", "--wait").out
    assert said == "web: stays stopped, as it was asked to; viv start web starts it\n"
    assert vm.info()["state"] == "failed" or vm.info()["state"] == "stopped"
    assert vm("start").out == "web: running\n"
    assert vm("start", "--unless-stopped").out == "web: running already\n"


def test_a_stop_that_gives_up_leaves_it_wanted(root):
    vm = root.fake("web", "ready after=0ms; ignore-button")
    vm("start", "--wait")
    vm("stop", "--no-kill", "-t", "200ms", code=6)
    assert vm.info()["state"] == "running" and vm.info()["desired"] == "running"


def test_on_writes_and_enables_a_unit_and_off_removes_it(root):
    vm = root.fake("web", "ready after=0ms")
    assert root("autostart", "status").out == "web: off\n"
    said = root("autostart", "on", "web", "-o", "json").json()
    test_schemas.conforms(said, "result")
    path, link = unit(root)
    assert said["changed"] and said["on"] and said["unit"] == path
    assert os.readlink(link) == path and os.stat(path).st_mode & 0o777 == 0o644
    text = open(path, encoding="utf-8").read()
    assert f'ExecStart="{root.viv}" start --unless-stopped web\n' in text
    assert f"UUID={vm.info()['uuid']}\n" in text
    assert vm.info()["autostart"] == {"on": True, "unit": path}
    assert root("autostart", "status", "-o", "json").json() == [
        {"schema": 1, "name": "web", "on": True, "unit": path, "desired": None}]
    assert not root("autostart", "on", "web", "-o", "json").json()["changed"]
    assert root("autostart", "off", "web").out == "web: does not start with its host\n"
    assert not os.path.lexists(path) and not os.path.lexists(link)
    assert not root("autostart", "off", "web", "-o", "json").json()["changed"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze: not installed")
def test_systemd_has_nothing_against_the_unit(root):
    root.fake("web")
    root("autostart", "on", "web")
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", unit(root)[0]], capture_output=True, text=True,
                       check=False, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    assert "viv-web" not in r.stderr, r.stderr


def test_several_at_once_and_whoever_is_missing(root):
    for name in ("a", "b"):
        root.fake(name)
    r = root("autostart", "on", "a", "nob", "b", code=3)
    assert r.out.count("starts with its host") == 2 and "no such VM" in r.err
    assert root("autostart", "status", "a", "b").out == "a: on\nb: on\n"
    root("autostart", "off", "--all")
    assert root("autostart", "status").out == "a: off\nb: off\n"


def test_on_wants_a_stopped_vm_again(root):
    vm = root.fake("web", "ready after=0ms")
    vm("start")
    root("autostart", "on", "web")
    vm("stop", "-t", "0")
    assert root("autostart", "status").out == "web: on, but it was stopped and stays so\n"
    root("autostart", "on", "web")
    assert vm.info()["desired"] == "running" and vm.info()["state"] == "stopped"
    assert root("autostart", "status").out == "web: on\n"


def test_a_removed_vm_leaves_no_unit(root):
    vm = root.fake("web", "ready after=0ms")
    root("autostart", "on", "web")
    path, link = unit(root)
    vm("start")
    vm("rm", "--force")  # by its monitor
    assert not os.path.lexists(path) and not os.path.lexists(link)


def test_a_file_of_somebody_else_is_never_replaced(root):
    root.fake("web")
    root("autostart", "on", "web")
    path, link = unit(root)
    root("autostart", "off", "web")
    with open(path, "w", encoding="utf-8") as f:
        f.write("[Service]\nExecStart=/bin/true\n")
    r = root("autostart", "on", "web", code=8)
    assert f"{path}: exists already and is not this VM's" in r.err and "--unit-dir" in r.err
    assert "/bin/true" in open(path, encoding="utf-8").read() and not os.path.lexists(link)


def test_another_directory_and_the_unit_moves(root, tmp_path):
    root.fake("web")
    root("autostart", "on", "web")
    before = unit(root)
    said = root("autostart", "on", "--unit-dir", tmp_path / "etc", "web").out
    assert str(tmp_path / "etc") in said
    assert not os.path.lexists(before[0]) and not os.path.lexists(before[1])
    root("autostart", "off", "web")
    assert not any(files for _, _, files in os.walk(tmp_path / "etc"))


def test_wrong_words(root):
    assert "needs one of on, off, status" in root("autostart", code=2).err
    assert 'did you mean "status"?' in root("autostart", "statu", code=2).err
    assert "needs the name of a VM" in root("autostart", "on", code=2).err


def test_a_monitor_that_is_told_of_the_hosts_end_stops_in_order(root):
    """SIGURG: what a scope's processes get when the service manager stops it."""
    vm = root.fake("web", "ready after=0ms; button after=1ms", restart={"policy": "always"})
    vm("start", "--wait")
    assert vivtest.kill(vm.info()["monitor"], vivtest.signal.SIGURG)
    assert vm.ended() == ("stopped", "stop")
    info = vm.info()
    assert info["stop"]["rung"] == "acpi" and info["desired"] == "running" and info["next_start_at"] is None
