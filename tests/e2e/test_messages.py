"""The messages that are fixed: byte for byte, with their exit codes, as text and as JSON."""

import gzip
import json
import os
import re
import shutil
import subprocess

import pytest


def says(result, code, text):
    assert result.code == code, result
    assert result.err == text, result
    assert result.out == "", result


def kernel(path):
    """Something that the kernel check takes for a bzImage."""
    head = bytearray(4096)
    head[0x1F1] = 4
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    head[0x206:0x208] = (0x20F).to_bytes(2, "little")
    head[0x211] = 1
    with open(path, "wb") as f:
        f.write(head)
    return path


@pytest.fixture
def qemu(root):
    """run with the qemu driver, which looks at files; QEMU itself need not be there to be refused."""
    def run(*argv, verb="run", **kw):
        return root(verb, "--driver", "qemu", *argv, code=None, **kw)
    return run


def test_a_kernel_that_is_not_there(qemu):
    says(qemu("--kernel", "/x"), 2, "viv: run: boot.kernel: /x: no such file\n")


def test_a_kernel_that_is_none(qemu, tmp_path):
    path = tmp_path / "k.gz"
    path.write_bytes(gzip.compress(b"not a kernel" * 99))
    says(qemu("--kernel", path), 2,
         f"viv: run: boot.kernel: {path}: not a Linux kernel (gzip data)\n")


def test_an_unknown_field(root, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: web\ndriver: fake\nmemroy: 1GiB\n")
    says(root("run", path, code=None), 2,
         f"viv: run: config {path}:3: memroy: unknown field\nhint: did you mean \"memory\"?\n")


def test_a_size_that_is_none(root, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: web\ndriver: fake\nmemory:\n  size: 1 cow\n")
    says(root("run", path, code=None), 2,
         f"viv: run: config {path}:4: memory.size: \"1 cow\" is not a size (examples: 512MiB, 2GiB)\n")


def test_more_memory_than_the_host_has(qemu, tmp_path):
    r = qemu("--kernel", kernel(tmp_path / "k"), "-m", "900TiB")
    assert r.code == 2, r
    assert re.fullmatch(r"viv: run: memory\.size: 900TiB is more than this host has \([0-9.]+[KMGT]iB\)\n",
                        r.err), r


def test_a_disk_that_may_not_be_read(user_root):
    base = os.path.dirname(user_root.home)
    disk = os.path.join(base, "d.img")
    with open(disk, "wb") as f:
        f.write(b"\0" * 512)
    os.chmod(disk, 0)
    k = kernel(os.path.join(base, "k"))
    os.chmod(k, 0o644)
    says(user_root("run", "--driver", "qemu", "--kernel", k, "--disk", f"{disk},id=data", code=None), 7,
         f"viv: run: disks.data.path: {disk}: permission denied\n")


def test_a_disk_id_that_is_used_twice(root, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: web\ndriver: fake\ndisks:\n"
                    "- {id: data, path: a.img}\n- {id: data, path: b.img}\n")
    says(root("run", path, code=None), 2, "viv: run: disks.data: id is used twice\n")


def test_a_name_that_is_none(root):
    says(root("run", "--driver", "fake", "--name", "a/b", code=None), 2,
         "viv: run: name: \"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)\n")


def test_a_name_that_is_taken(root):
    root("create", "--driver", "fake", "--name", "web")
    says(root("create", "--driver", "fake", "--name", "web", "-c", "2", code=None), 8,
         "viv: create web: exists already, with another configuration\n")


def test_a_vm_that_is_not_there(root):
    root("create", "--driver", "fake", "--name", "bob")
    says(root("start", "nob", code=None), 3,
         "viv: start nob: no such VM\nhint: did you mean \"bob\"?\n")


@pytest.mark.parametrize("verb", ["start", "stop", "kill", "reboot", "pause", "resume", "rm", "wait",
                                  "inspect", "ip", "port", "logs", "console"])
def test_every_verb_says_the_same_about_a_missing_vm(root, verb):
    says(root(verb, "nobody", code=None), 3, f"viv: {verb} nobody: no such VM\n")


def test_a_driver_whose_program_is_missing(root):
    root.env["PATH"] = "/nowhere"
    root.fake("web")
    path = os.path.join(root.home, "vms", "web", "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    config["driver"] = "cloud-hypervisor"  # as if created where there was one
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    says(root("start", "web", code=None), 5,
         "viv: start web: cloud-hypervisor: not found on PATH\n")


def test_a_driver_whose_program_has_vanished(root, tmp_path):
    """Created while it was there: the start that misses it says the same, and the VM stays as it was."""
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n")
    qemu.chmod(0o755)
    root.env["PATH"] = str(tmp_path)
    root("create", "--driver", "qemu", "--accel", "tcg", "--name", "web", "--kernel", kernel(tmp_path / "k"))
    qemu.unlink()
    r = root("start", "web", code=5)
    assert r.err.startswith("viv: start web: qemu-system-x86_64: not found on PATH\n"), r
    assert root.inspect("web")["state"] == "created"


def test_a_vmm_that_ends_at_once(root, tmp_path):
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\ncase \"$*\" in *-version*) echo 'QEMU emulator version 7.2.0'; exit 0;; esac\n"
                    "echo first >&2\necho 'out of cows' >&2\nexit 1\n")
    qemu.chmod(0o755)
    root.env["VIV_QEMU"] = str(qemu)
    root("create", "--driver", "qemu", "--accel", "tcg", "--name", "web", "--kernel", kernel(tmp_path / "k"))
    r = root("start", "web", code=None)
    assert r.code == 1, r
    assert "viv: start web: qemu ended at once with exit code 1: out of cows\n" in r.err, r


def test_pausing_what_does_not_run(root):
    vm = root.fake("web", "poweroff after=1ms")
    vm("start")
    vm("wait", "exit")
    says(vm("pause", code=None), 4,
         "viv: pause web: only a running VM can be paused (it is stopped)\n")


def test_a_guest_that_is_not_ready_in_time(root):
    vm = root.fake("web", 'no-ready; no-banner; print text="one\\ntwo\\nthree\\nfour\\nfive\\nsix\\n"')
    vm("start")
    vm.until("it printed all", lambda: b"six" in vm.serial())
    r = vm("wait", "-t", "500ms", code=None)
    assert r.code == 6, r
    first, *rest = r.err.splitlines()
    assert first == "viv: wait web: not ready after 0.5 s; it goes on running"
    assert rest[0] in ("last step: running", "last step: first")  # the latter if it is recorded yet
    assert rest[1:] == ["| two", "| three", "| four", "| five", "| six"], r
    assert vm.info()["state"] == "running"


def test_the_ready_timeout_of_the_configuration_holds_without_one_of_the_command_line(root):
    vm = root.fake("web", "no-ready", ready={"timeout": "300ms"})
    vm("start")
    r = vm("wait", code=6)
    assert r.err.splitlines()[0] == "viv: wait web: not ready after 0.3 s; it goes on running"


def test_a_broken_record_is_listed_and_never_deleted(root):
    root.fake("web")
    root.fake("x")
    path = os.path.join(root.home, "vms", "x", "config.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write("{broken")
    r = root("ps", code=None)
    assert r.code == 0
    assert re.fullmatch(r"viv: ps: x: broken record \(config\.json: line 1: .+\); nothing deleted\n",
                        r.err), r
    assert [line.split()[:2] for line in r.out.splitlines()] == \
        [["NAME", "STATE"], ["web", "created"], ["x", "broken"]]
    with open(path, encoding="utf-8") as f:
        assert f.read() == "{broken"


# ---- the form of all others ----

def test_an_error_is_one_json_object_with_o_json(root):
    root("create", "--driver", "fake", "--name", "bob")
    r = root("start", "nob", "-o", "json", code=3)
    assert r.out == ""
    assert json.loads(r.err) == {"schema": 1, "error": {
        "code": "NOT_FOUND", "errno": None, "vm": "nob", "field": None,
        "message": "no such VM", "hint": "did you mean \"bob\"?"}}


def test_a_field_error_as_json_names_the_field(qemu):
    r = qemu("--kernel", "/x", "-o", "json")
    error = json.loads(r.err)["error"]
    assert (error["code"], error["field"], error["vm"]) == ("INVALID", "boot.kernel", None)
    assert error["message"] == "boot.kernel: /x: no such file"


def test_all_problems_are_told_at_once(qemu):
    r = qemu("--kernel", "/x", "--initrd", "/y")
    assert r.code == 2
    assert r.err == ("viv: run: boot.kernel: /x: no such file\n"
                     "viv: run: boot.initramfs: /y: no such file\n")


@pytest.mark.parametrize("argv, text", [
    (["strat", "web"], "viv: strat: unknown command\nhint: did you mean \"start\"?\n"),
    (["frobnicate"], "viv: frobnicate: unknown command\nhint: viv help\n"),
    (["start", "--wiat", "web"], "viv: start: --wiat: unknown flag\nhint: did you mean \"--wait\"?\n"),
    (["run", "--memroy", "1GiB"], "viv: run: --memroy: unknown flag\nhint: did you mean \"--memory\"?\n"),
    (["stop", "-t"], "viv: stop: -t: needs a value\n"),
    (["ps", "-o", "xml"], "viv: ps: -o: \"xml\" is none of table, json, yaml\n"),
    (["start"], "viv: start: needs the name of a VM, or --all\nhint: viv ps lists them\n"),
    (["run"], "viv: run: needs a configuration, an image, or --kernel FILE\nhint: viv run demo\n"),
    (["run", "--driver", "fake", "--set", "memroy=1GiB"],
     "viv: run: memroy: unknown field\nhint: did you mean \"memory\"?\n"),
    (["ps", "web"], "viv: ps: takes no words\nhint: viv inspect shows single VMs\n"),
    (["config", "shwo"], "viv: config: \"shwo\" is none of check, show, schema, docs\n"
                         "hint: did you mean \"show\"?\n"),
    (["logs", "a", "b"], "viv: logs: needs the name of one VM\nhint: viv ps lists them\n"),
    (["stop", "-t", "soon", "web"], None),
    (["stop", "--all", "web"], "viv: stop: names exclude --all, --filter and --label\n"),
    (["completion", "tcsh"], "viv: completion: \"tcsh\" is none of bash, zsh, fish\n"),
])
def test_usage_errors(root, argv, text):
    r = root(*argv, code=None)
    assert r.code == 2, r
    assert r.out == ""
    if text is None:
        assert r.err.startswith("viv: stop: --timeout: ")
    else:
        assert r.err == text


def test_a_command_for_the_guest_needs_an_agent(root):
    """Found before anything is made."""
    says(root("run", "--driver", "fake", "--name", "f", "--set", "agent.enabled=off", "--", "true", code=None), 125,
         "viv: run: agent.enabled: off: a command needs the guest's agent\nhint: agent.enabled: auto, or no command\n")
    assert root("ps", "-q").out == ""


def test_the_demo_guest_before_it_is_built(root, tmp_path):
    root.env["VIV_CACHE"] = str(tmp_path)
    root.env["VIV_IMAGES"] = str(tmp_path)
    r = root("run", "demo", code=None)
    if r.code != 3:
        pytest.skip("needs a tree without the demo image: this one has it installed")
    message, hint = r.err.splitlines()
    assert message == "viv: run: the image \"demo\" is not built yet"
    assert hint.startswith("hint: ") and hint.endswith("viv-guest-build")


def test_an_unknown_image_names_the_alternatives(root, tmp_path):
    root.env["VIV_CACHE"] = str(tmp_path / "none")
    root.env["VIV_IMAGES"] = str(tmp_path)
    for name in ("alpine", "debian"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.yaml").write_text("driver: fake\n")
    r = root("run", "debain", code=None)
    assert (r.code, r.err) == (3, "viv: run: debain: no such image\nhint: did you mean \"debian\"?\n")
    r = root("run", "windows", code=None)
    assert r.code == 3
    assert r.err.startswith("viv: run: windows: no such image\nhint: there are: alpine, debian")


def test_a_missing_configuration_file(root):
    says(root("run", "nowhere.yaml", code=None), 3, "viv: run: config nowhere.yaml: no such file\n")


def test_a_state_root_of_somebody_else(root, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root: to give a directory away")
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    r = root("--root", theirs, "ps", code=None)
    assert r.code == 7, r
    assert r.err.startswith("viv: ps: ") and str(theirs) in r.err


def test_a_state_root_that_cannot_be_written(user_root):
    user_root.fake("web")
    os.chmod(user_root.home, 0o500)
    try:
        r = user_root("create", "--driver", "fake", "--name", "new", code=None)
        assert r.code == 7, r
        assert f"{user_root.home}: not writable: permission denied" in r.err
        assert user_root("ps", "-q").out == "web\n"
    finally:
        os.chmod(user_root.home, 0o700)


def test_a_state_root_whose_sockets_would_not_fit(root, tmp_path):
    r = root("--root", tmp_path / ("x" * 90), "create", "--driver", "fake", "--name", "web", code=None)
    assert r.code == 2, r
    assert "the limit is 103" in r.err and "hint: " in r.err and "VIV_RUN=" in r.err


def test_control_characters_in_a_message_are_visible(root):
    r = root("start", "\033[2Jevil\n", code=None)
    assert r.code in (2, 3), r
    assert "\033" not in r.err
    assert "^[[2Jevil^J" in r.err


def test_ps_under_sudo_says_where_the_others_are(root, tmp_path):
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root: to put another /etc/passwd in place")
    home = tmp_path / "alice"
    for name in ("web", "db"):
        (home / ".local/state/vivarium/vms" / name).mkdir(parents=True)
    passwd = tmp_path / "passwd"
    passwd.write_text(f"root:x:0:0:root:/root:/bin/sh\nalice:x:1234:1234::{home}:/bin/sh\n")
    env = {k: v for k, v in root.env.items() if k not in ("VIV_HOME", "XDG_STATE_HOME")}
    script = f"mount --bind {passwd} /etc/passwd && mount -t tmpfs none /var/lib && exec \"$0\" ps"
    r = subprocess.run(["unshare", "--mount", "sh", "-c", script, root.viv], capture_output=True,
                       text=True, env=dict(env, SUDO_USER="alice"), check=False, timeout=30)
    if "mount:" in r.stderr or "unshare:" in r.stderr:
        pytest.skip("needs root: that may mount")
    assert r.returncode == 0
    assert len(r.stdout.splitlines()) == 1  # the head of the table
    assert r.stderr == ("hint: none here (/var/lib/vivarium); "
                        f"2 in {home}/.local/state/vivarium\n")
