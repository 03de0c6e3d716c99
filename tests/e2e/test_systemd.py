"""Autostart and scopes where they belong: in a Debian that systemd runs, booted by viv itself.

One guest, booted twice, in which the fake driver's VMs live; the tests of this file follow each other. What
is typed goes over its serial console, so that logging in and out is what it is for people.
"""

import json
import os
import re
import shutil
import subprocess

import conftest
import pytest
import systemd_guest
import vivtest

BOOT = 300  # seconds; about 20 on an idle machine
FAKE = "--driver fake --set fake.script='ready after=0ms ip=192.0.2.7; button after=10ms'"


class Guest:
    """The guest's console, at which one person at a time is logged in."""

    def __init__(self, vm):
        self.vm, self.console, self.user = vm, None, None

    def attach(self):
        self.console = self.vm.console()
        self.console.line("")

    def login(self, user):
        assert self.user is None
        c = self.console
        c.expect(r"guest login: ", BOOT)
        c.line(user)
        c.expect(r"[#$] ", BOOT)
        # No messages of the kernel among what commands say; only root can ask for that.
        c.line("dmesg -n 1 2>/dev/null; export TERM=dumb LC_ALL=C.UTF-8 SYSTEMD_PAGER=; stty cols 2000; PS1='$ '")
        self.user = user
        self("true")

    def logout(self):
        self.console.line("exit")
        self.user = None

    def __call__(self, command, code=0, deadline=120):
        return self.console.run(command, code, deadline)

    def info(self, name):
        return json.loads(self(f"viv inspect -o json {name}"))

    def unit(self, name, what, user=False):
        out = self(f"systemctl {'--user ' if user else ''}show -P {what} '{name}'")
        return out.strip()


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """The root file system, a copy of its own, and the installed tree."""
    folder = tmp_path_factory.mktemp("systemd")
    prefix = os.environ.get("VIV_PREFIX")
    if not prefix:
        pytest.skip("needs an installed tree: VIV_PREFIX")
    try:
        base = systemd_guest.image(os.environ.get("VIV_CACHE", "/var/cache/vivarium"))
        systemd_guest.ext4(prefix, folder / "product.img", 96)
    except systemd_guest.Unavailable as e:
        conftest.missing("root", f"no Debian guest with systemd: {e}")
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", base, folder / "root.img"], check=True)
    return folder


@pytest.fixture(scope="module")
def guest(module_root, disks):
    if not shutil.which("qemu-system-x86_64"):
        conftest.missing("qemu", "qemu-system-x86_64 is not installed")
    cache = os.environ.get("VIV_CACHE", "/var/cache/vivarium")
    builder = os.path.join(os.environ["VIV_PREFIX"], "libexec/vivarium/viv-guest-build")
    r = subprocess.run([builder, "demo", "--cache", cache, "--out", disks / "demo", "-q"], capture_output=True,
                       text=True, check=False)
    if r.returncode != 0:
        conftest.missing("qemu", f"no demo guest: {r.stderr.strip()}")
    vm = module_root.qemu("debian", disks / "demo", "root=/dev/vda systemd.show_status=0", memory="512MiB",
                          cpus=2, nets=[], ready={"by": "marker", "timeout": "10s"},
                          disks=[{"id": "root", "path": str(disks / "root.img")},
                                 {"id": "product", "path": str(disks / "product.img"), "readonly": True}])
    vm("start")
    g = Guest(vm)
    g.attach()
    with g.console:
        yield g


def test_a_detached_vm_of_root_gets_a_scope(guest):
    guest.login("root")
    guest("loginctl enable-linger ann")
    assert "detached VMs get one from /run/systemd/private" in guest("viv doctor", code=None)
    assert guest(f"viv run -d --name free {FAKE} 2>/dev/null") == "free\n"
    info = guest.info("free")
    scope = f"viv-free-{info['uuid'][:8]}.scope"
    assert info["cgroup"] == f"/system.slice/{scope}"
    assert guest.unit(scope, "ActiveState") == "active"
    assert guest.unit(scope, "Description") == "Virtual machine free"
    processes = set(guest(f"cat /sys/fs/cgroup{info['cgroup']}/cgroup.procs").split())
    assert processes == {str(info[p]["pid"]) for p in ("keeper", "monitor", "vmm")}


def test_a_monitor_and_a_keeper_that_die_stay_in_it(guest):
    info = guest.info("free")
    guest(f"kill -9 {info['keeper']['pid']} {info['monitor']['pid']}; viv wait free ready")
    again = guest.info("free")
    assert again["vmm"] == info["vmm"] and again["keeper"]["pid"] != info["keeper"]["pid"]
    processes = set(guest(f"cat /sys/fs/cgroup{info['cgroup']}/cgroup.procs").split())
    assert processes == {str(again[p]["pid"]) for p in ("keeper", "monitor", "vmm")}


def test_in_the_foreground_everything_stays_in_the_callers_group(guest):
    guest(f"viv run --name front {FAKE} >/dev/null 2>&1 & "
          "until viv wait -t 60s front ready 2>/dev/null; do :; done")  # it has to be created first
    assert re.search(r"/session-\w+\.scope$", guest.info("front")["cgroup"])
    guest("viv stop front; wait; viv rm front")


def test_autostart_units_are_systemds_own(guest):
    for name in ("web", "kept"):
        guest(f"viv create --name {name} {FAKE}; viv autostart on {name}")
        assert guest.unit(f"viv-{name}.service", "UnitFileState") == "enabled"
    assert guest("systemd-analyze verify --man=no viv-web.service 2>&1") == ""
    guest("systemctl start viv-web.service; viv start kept; viv stop kept")
    info = guest.info("web")
    assert info["cgroup"] == "/system.slice/viv-web.service" and info["state"] == "running"
    assert guest.unit("viv-web.service", "ActiveState") == "active"
    # Whoever of them dies, the unit goes on; only when the VM ends it does.
    guest(f"kill -9 {info['keeper']['pid']}; viv wait web ready")
    guest(f"kill -9 {guest.info('web')['monitor']['pid']}; viv wait web ready")
    assert guest.unit("viv-web.service", "ActiveState") == "active"
    assert guest.info("web")["vmm"] == info["vmm"]


def test_systemctl_stops_and_starts_it_for_now(guest):
    guest("systemctl stop viv-web.service")
    info = guest.info("web")
    assert (info["state"], info["stop"]["rung"], info["desired"]) == ("stopped", "acpi", "running")
    guest("systemctl start viv-web.service")
    assert guest.info("web")["state"] == "running"
    guest("viv stop web; systemctl is-active --quiet viv-web.service && "
          "busctl --timeout=1 call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
          "org.freedesktop.systemd1.Manager GetUnit s viv-web.service >/dev/null; true")
    guest("systemctl start viv-web.service")
    assert guest.info("web")["state"] == "stopped"  # what viv stop ended, systemctl does not want
    guest("viv autostart on web; systemctl start viv-web.service")
    assert guest.info("web")["state"] == "running"
    guest.logout()


def test_a_users_vm_outlives_the_log_out(guest):
    guest.login("ann")
    guest(f"viv run -d --name mine {FAKE}; viv create --name db {FAKE}; viv autostart on db; viv start db")
    info = guest.info("mine")
    scope = f"viv-mine-{info['uuid'][:8]}.scope"
    assert re.fullmatch(rf"/user\.slice/user-1000\.slice/user@1000\.service/.*{scope}", info["cgroup"])
    assert guest.unit(scope, "ActiveState", user=True) == "active"
    child = guest("sh -c 'setsid sleep 100000 </dev/null >/dev/null 2>&1 & echo $!'").strip()
    session = guest("echo $XDG_SESSION_ID").strip()
    guest.logout()
    guest.login("root")
    guest(f"while loginctl show-session {session} >/dev/null 2>&1; do :; done")
    guest(f"test ! -e /proc/{child}")  # the session's other processes did end
    guest(f"grep -q . /proc/{info['vmm']['pid']}/cmdline")
    user = "runuser -u ann -- env XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/ann viv"
    after = json.loads(guest(f"{user} inspect -o json mine"))
    assert after["state"] == "running" and after["vmm"] == info["vmm"] and after["monitor"] == info["monitor"]


def test_the_host_boots_again(guest):
    guest("viv inspect -o json web > /root/before")
    guest.console.line("systemctl reboot & exit")
    guest.user = None
    guest.console.expect("root is /dev/vda", BOOT)  # the demo guest's init, in the next boot
    guest.login("root")
    guest("systemctl is-system-running --wait", code=None)
    guest("viv wait -t 60s web ready")
    info, before = guest.info("web"), json.loads(guest("cat /root/before"))
    assert info["run"] == before["run"] + 1 and info["cgroup"] == "/system.slice/viv-web.service"
    assert guest.unit("viv-web.service", "ActiveState") == "active"


def test_what_ran_was_shut_down_in_order(guest):
    """With a unit or in a scope: the guests had their power button, and still are wanted."""
    free = guest.info("free")
    assert (free["state"], free["reason"]["code"], free["stop"]["rung"]) == ("stopped", "stop", "acpi")
    assert free["desired"] == "running"  # but nobody asked for it to start with the host
    events = guest("viv events --since 0 --no-follow -o json --filter vm=web,type=state").splitlines()
    last = [json.loads(e)["state"] for e in events]
    assert last[-4:] == ["stopping", "stopped", "starting", "running"]


def test_what_was_stopped_by_hand_stays_stopped(guest):
    kept = guest.info("kept")
    assert (kept["state"], kept["desired"], kept["autostart"]["on"]) == ("stopped", "stopped", True)
    assert guest.unit("viv-kept.service", "ActiveState") == "inactive"
    assert "stays stopped" in guest("journalctl -q -o cat -u viv-kept.service")


def test_a_lingering_users_vm_came_up_too(guest):
    user = "runuser -u ann -- env XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/ann"
    assert json.loads(guest(f"{user} viv wait -t 60s db ready >/dev/null 2>&1; {user} viv inspect -o json db"))["state"] == "running"
    assert json.loads(guest(f"{user} viv inspect -o json mine"))["state"] == "stopped"


def test_off_is_off(guest):
    guest("viv autostart off web kept")
    assert guest("ls /etc/systemd/system/viv-* /etc/systemd/system/multi-user.target.wants/viv-* 2>/dev/null",
                 code=None) == ""
    assert guest.info("web")["state"] == "running"  # it goes on
    guest("viv stop -a -t 0; viv rm -a")
    guest.logout()
