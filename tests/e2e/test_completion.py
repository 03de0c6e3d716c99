"""Completion: what viv answers, that it answers in time, and what the real shells make of it."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest
import vivtest


@pytest.fixture
def shells(root, tmp_path):
    """A root with two VMs, an image, and viv on PATH for the shells."""
    (tmp_path / "images" / "alpine").mkdir(parents=True)
    (tmp_path / "images" / "alpine" / "image.yaml").write_text("driver: fake\n")
    (tmp_path / "web.yaml").write_text("driver: fake\n")
    root.env["VIV_IMAGES"] = str(tmp_path / "images")
    root.env["PATH"] = os.path.dirname(root.viv) + ":" + root.env["PATH"]
    root.env["HOME"] = str(tmp_path)
    root.fake("webserver")("start", "--wait")
    root.fake("worker")
    root.cwd = tmp_path
    return root


def candidates(root, *words):
    """Candidates without descriptions, and the lines for the script."""
    lines = root("__complete", *words).out.splitlines()
    return [w.split("\t")[0] for w in lines if not w.startswith(":")], \
        [w for w in lines if w.startswith(":")]


@pytest.mark.parametrize("words, expected", [
    (["st"], ["start", "stop", "stats"]),
    (["start", ""], ["worker"]),
    (["stop", ""], ["webserver"]),
    (["inspect", "w"], ["webserver", "worker"]),
    (["inspect", "webserver", "wo"], ["worker"]),
    (["stop", "--no"], ["--no-kill"]),
    (["run", "--memo"], ["--memory"]),
    (["run", "--driver", "q"], ["qemu"]),
    (["run", "--driver=q"], ["--driver=qemu"]),
    (["ps", "-o", ""], ["table", "json", "yaml"]),
    (["ps", "--output=y"], ["--output=yaml"]),
    (["-o", "json", "sto"], ["stop"]),
    (["run", "--set", "restart.p"], ["restart.policy="]),
    (["run", "--set", "restart.policy="], ["restart.policy=never", "restart.policy=on-failure",
                                           "restart.policy=always"]),
    (["run", "--set", "nets.n0.m"], ["nets.n0.mtu=", "nets.n0.mac="]),
    (["run", "--set=disks.data.read"], ["--set=disks.data.readonly="]),
    (["set", "web"], ["webserver"]),
    (["set", "webserver", "restart.p"], ["restart.policy="]),
    (["set", "webserver", "cpus=2", "restart.policy=al"], ["restart.policy=always"]),
    (["edit", "wo"], ["worker"]),
    (["device", ""], ["add", "rm", "ls"]),
    (["device", "add", "webs"], ["webserver"]),
    (["device", "add", "webserver", "ne"], ["net"]),
    (["device", "add", "webserver", "vsock", ""], ["cid="]),
    (["device", "add", "webserver", "net", "ma"], ["mac="]),
    (["device", "add", "webserver", "net", "type=t"], ["type=tap"]),
    (["device", "add", "--live", "webserver", "disk", "path=x", "limit."], ["limit.bandwidth=", "limit.ops=", "limit.group="]),
    (["device", "rm", "webserver", "net", ""], ["n0"]),
    (["device", "rm", "webserver", "disk", ""], []),
    (["device", "ls", "webserver", ""], []),
    (["stats", ""], ["webserver"]),
    (["stats", "--pro"], ["--prometheus"]),
    (["resize", "wo"], ["worker"]),
    (["resize", "worker", "--ball"], ["--balloon"]),
    (["config", "show", "--pend"], ["--pending"]),
    (["ps", "--filter", "st"], ["state="]),
    (["ps", "--filter", "state=re"], ["state=ready", "state=restoring"]),
    (["ps", "--filter", "name=x,state=pau"], ["name=x,state=paused"]),
    (["run", "alp"], ["alpine"]),
    (["wait", "webserver", "rea"], ["ready"]),
    (["completion", ""], ["bash", "zsh", "fish"]),
    (["config", "s"], ["show", "schema"]),
    (["config", "show", "wo"], ["worker"]),
    (["caps", "fa"], ["fake"]),
    (["help", "ver"], ["version"]),
    (["nonsense", ""], []),
    (["console", "webserver", ""], []),
])
def test_answers(shells, words, expected):
    assert candidates(shells, *words)[0] == expected


def test_files_are_left_to_the_shell(shells):
    assert ":files" in candidates(shells, "run", "")[1]
    assert candidates(shells, "device", "add", "webserver", "disk", "path=")[1] == [":files"]
    assert candidates(shells, "run", "--kernel", "")[1] == [":files"]
    assert candidates(shells, "--root", "")[1] == [":dirs"]


def test_another_state_root_is_heeded(shells):
    assert candidates(shells, "--root", shells.home + "2", "inspect", "")[0] == []
    assert candidates(shells, "inspect", "--root", shells.home + "2", "")[0] == []


def test_it_answers_while_somebody_is_typing(shells):
    for n in range(20):
        shells.fake(f"vm{n}")
    best = 1.0
    for _ in range(10):
        begin = time.monotonic()
        subprocess.run([shells.viv, "__complete", "inspect", ""], env=shells.env, check=True,
                       stdout=subprocess.DEVNULL)
        best = min(best, time.monotonic() - begin)
    assert best <= 0.030


# ---- bash ----

BASH = r"""
source <(viv completion bash)
line=$1
COMP_LINE=$line COMP_POINT=${#line} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
compopt() { :; }
_viv
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("line, expected", [
    ("viv sto", ["stop"]),
    ("viv inspect w", ["webserver", "worker"]),
    ("viv inspect webserver wor", ["worker"]),
    ("viv run --driver=q", ["qemu"]),             # bash has "--driver=" on the line already
    ("viv run --set restart.policy=on", ["on-failure"]),
    ("viv run web", ["web.yaml"]),
    ("viv run al", ["alpine"]),
    ("viv wait webserver ex", ["exit"]),
])
def test_bash(shells, line, expected):
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    r = subprocess.run(["bash", "--norc", "-c", BASH, "bash", line], env=shells.env, cwd=shells.cwd,
                       capture_output=True, text=True, check=False, timeout=30)
    assert (r.stdout.split(), r.stderr) == (expected, ""), r


class Shell:
    """An interactive shell on a terminal."""

    def __init__(self, argv, env, cwd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(argv[0], argv, dict(env, TERM="dumb", COLUMNS="200"))
            finally:
                os._exit(127)
        self.text = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, text, deadline=30):
        end = time.monotonic() + deadline
        while text not in self.text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise vivtest.Timeout(f"{text!r} is not in {self.text!r}")
            self.text += os.read(self.fd, 65536).decode(errors="replace")
        self.text = self.text.split(text, 1)[1]

    def close(self):
        os.close(self.fd)  # the shell gets a hangup
        os.waitpid(self.pid, 0)


def test_bash_interactively(shells):
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    sh = Shell(["bash", "--norc", "--noprofile", "-i"], dict(shells.env, PS1="$ "), shells.cwd)
    try:
        sh.type("source <(viv completion bash); echo rea''dy\n")
        sh.wait("\nready")
        sh.type("viv inspect wor\t; echo do''ne\n")
        sh.wait("worker ;")
        sh.wait("name: worker")
        sh.wait("\ndone")
        sh.type("viv config show --set restart.pol\talw\t web.yaml; echo do''ne\n")
        sh.wait("restart.policy=always")
        sh.wait("\ndone")
    finally:
        sh.close()


# ---- zsh ----

def test_zsh(shells):
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    sh = Shell(["zsh", "-f", "-i"], dict(shells.env, PS1="$ "), shells.cwd)
    try:
        sh.type("autoload -U compinit; compinit -u -D; unsetopt zle_bracketed_paste; "
                "source <(viv completion zsh); echo rea''dy\n")
        sh.wait("ready")
        sh.type("viv inspect wor\t; echo do''ne\n")
        sh.wait("name: worker")
        sh.wait("done")
        sh.type("viv completion ba\t| head -1; echo do''ne\n")
        sh.wait("# bash completion")
        sh.wait("done")
        sh.type("viv config show --set restart.pol\talw\t web.yaml; echo do''ne\n")
        sh.wait("policy: always")
        sh.wait("done")
    finally:
        sh.close()


# ---- fish ----

@pytest.mark.parametrize("line, expected", [
    ("viv sto", ["stop"]),
    ("viv inspect w", ["webserver", "worker"]),
    ("viv run --driver=q", ["--driver=qemu"]),
    ("viv run --set restart.policy=on", ["restart.policy=on-failure"]),
    ("viv run al", ["alpine"]),
    ("viv wait webserver ex", ["exit"]),
])
def test_fish(shells, line, expected):
    if not shutil.which("fish"):
        pytest.skip("needs fish")
    script = f"viv completion fish | source; complete -C'{line}'"
    r = subprocess.run(["fish", "--no-config", "-c", script], env=shells.env, cwd=shells.cwd,
                       capture_output=True, text=True, check=False, timeout=30)
    assert [w.split("\t")[0] for w in r.stdout.splitlines()] == expected, r
    assert r.stderr == ""


def test_the_installed_scripts_are_those_that_are_printed(root):
    prefix = os.environ.get("VIV_PREFIX")
    if not prefix:
        pytest.skip("needs an installed tree: VIV_PREFIX")
    for shell, path in (("bash", "bash-completion/completions/viv"), ("zsh", "zsh/site-functions/_viv"),
                        ("fish", "fish/vendor_completions.d/viv.fish")):
        with open(os.path.join(prefix, "share", path), encoding="utf-8") as f:
            assert f.read() == root("completion", shell).out
