"""viv agent install: into root directories of three kinds, and as user-data for cloud-init."""

import base64
import os
import platform
import re

import pytest

PROGRAM = "usr/local/sbin/viv-agent"


def installed(viv):
    """The agent that belongs to the viv under test."""
    return os.path.join(os.path.dirname(viv), "../libexec/vivarium/agent", platform.machine(), "viv-agent")


@pytest.fixture
def rootfs(tmp_path):
    d = tmp_path / "rootfs"
    (d / "etc").mkdir(parents=True)
    return d


def program_is_there(root, d):
    with open(installed(root.viv), "rb") as f:
        assert (d / PROGRAM).read_bytes() == f.read()
    assert (d / PROGRAM).stat().st_mode & 0o7777 == 0o755


def test_the_program_is_small_and_needs_nothing(root):
    assert os.path.getsize(installed(root.viv)) <= 300 << 10
    with open(installed(root.viv), "rb") as f:
        assert b"/ld-" not in f.read()  # no interpreter: static


def test_what_is_missing_is_named_once(root, rootfs):
    assert root("agent", "install", "/missing", code=3).err == "viv: agent: /missing: no such file\n"
    r = root("agent", "install", rootfs, "--init", "systemd", "--agent", "/missing", code=3)
    assert r.err == f"viv: agent: {rootfs}: /missing: no such file\n"


def test_systemd_gets_a_unit_that_is_enabled(root, rootfs):
    (rootfs / "usr/lib/systemd").mkdir(parents=True)
    (rootfs / "usr/lib/systemd/systemd").write_text("")
    for _ in range(2): # doing it again changes nothing
        assert root("agent", "install", rootfs).out == f"{rootfs}: viv-agent is installed, for systemd\n"
        program_is_there(root, rootfs)
        unit = (rootfs / "etc/systemd/system/viv-agent.service").read_text()
        assert "ExecStart=/usr/local/sbin/viv-agent --quiet\n" in unit and "Restart=always" in unit
        assert os.readlink(rootfs / "etc/systemd/system/multi-user.target.wants/viv-agent.service") == \
            "/etc/systemd/system/viv-agent.service"


def test_openrc_gets_a_script_in_its_runlevel(root, rootfs):
    (rootfs / "sbin").mkdir()
    (rootfs / "sbin/openrc-run").write_text("")
    root("agent", "install", rootfs)
    program_is_there(root, rootfs)
    assert (rootfs / "etc/init.d/viv-agent").stat().st_mode & 0o777 == 0o755
    assert os.readlink(rootfs / "etc/runlevels/default/viv-agent") == "/etc/init.d/viv-agent"


def test_busybox_gets_one_line(root, rootfs):
    (rootfs / "etc/inittab").write_text("::sysinit:/etc/rc")
    for _ in range(2):
        said = root("agent", "install", rootfs, "-o", "json").json()
        assert said["init"] == "busybox"
        assert (rootfs / "etc/inittab").read_text() == \
            "::sysinit:/etc/rc\n::respawn:/usr/local/sbin/viv-agent --quiet\n"


def test_a_link_in_the_directory_leads_nowhere(root, rootfs, tmp_path):
    (tmp_path / "outside").mkdir()
    (rootfs / "etc/inittab").write_text("")
    (rootfs / "usr").symlink_to(tmp_path / "outside")
    r = root("agent", "install", rootfs, code=7)
    assert "usr/local/sbin in it is no plain directory" in r.err
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_missing_is_said(root, rootfs):
    r = root("agent", "install", rootfs, code=3)
    assert "no init system that is known is in it" in r.err and "--init systemd|openrc|busybox" in r.err
    root("agent", "install", "--init", "systemd", rootfs)
    assert root("agent", "install", rootfs / "missing", code=3).err
    assert "needs one directory or one VM" in root("agent", "install", code=2).err
    assert "needs the word install" in root("agent", code=2).err
    assert root("agent", "install", "nobody", code=3).err


def test_a_vm_gets_user_data(root):
    root("create", "--name", "web", "--set", "driver=fake")
    text = root("agent", "install", "web").out
    assert text.startswith("#cloud-config\nwrite_files:\n- path: /usr/local/sbin/viv-agent\n")
    data = re.search(r"content: \|\n((?:    [A-Za-z0-9+/=]+\n)+)", text)[1]
    with open(installed(root.viv), "rb") as f:
        assert base64.b64decode(data.replace("\n", "").replace(" ", "")) == f.read()
    assert text.endswith("runcmd:\n- [systemctl, enable, --now, viv-agent.service]\n")
