"""Transcripts: what a pipe and what a terminal see, whole, so that every change of it is seen too.

A transcript is a list of commands with what they printed. In NAME.pipe lines of standard error begin
with "! "; NAME.terminal has both as they come on a terminal of 80 columns, with escape characters
shown as "^[". A line "[N]" is an exit code other than 0. What differs from run to run (times, uuids,
durations) is replaced by fixed text. VIV_TRANSCRIPTS=write makes them anew from their commands.
"""

import glob
import os
import pty
import re
import shlex
import subprocess

import pytest
import vivtest

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transcripts")

VOLATILE = (
    (r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)", ""),                      # progress, where the machine is slow
    (r"\r\x1b\[K", ""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-4000-8000-000000000000"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-01-02T03:04:05.678Z"),
    (r"\b\d+\.\d\d( ?s)\b", r"0.00\1"),
    (r"(fake +)\d+[smhd]\b", r"\g<1>0s"),
    (r"(VMRS_READY \S+ )[0-9a-f]{16}", r"\g<1>0123456789abcdef"),
    (r"of this host has \([^)]*\)", "of this host has (16GiB)"),
    (r"(vm|img)-[0-9a-f]{4}\b", r"\1-0000"),
    (r"viv \d+\.\d+\.\d+", "viv 0.0.0"),
)


def settled(text):
    for pattern, fixed in VOLATILE:
        text = re.sub(pattern, fixed, text)
    return text


def commands(path):
    with open(path, encoding="utf-8") as f:
        return re.findall(r"^\$ (.*)$", f.read(), re.M)


def through_pipes(root, line):
    p = subprocess.run(shlex.split(line), env=root.env, cwd=root.cwd, stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, check=False, timeout=vivtest.DEADLINE)
    return p.returncode, p.stdout + "".join(f"! {w}\n" for w in p.stderr.splitlines())


def on_a_terminal(root, line):
    words = shlex.split(line)
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.chdir(root.cwd)
            env = dict(root.env, TERM="xterm", COLUMNS="80", NO_COLOR="")
            os.execvpe(words[0], words, env)
        finally:
            os._exit(127)
    text = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        text += data
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()


def play(root, path):
    terminal = path.endswith(".terminal")
    made = ""
    for line in commands(path):
        code, text = (on_a_terminal if terminal else through_pipes)(root, line)
        text = settled(text).replace("\r\n", "\n").replace("\x1b", "^[").replace("\r", "^M")
        made += f"$ {line}\n{text}"
        if text and not text.endswith("\n"):
            made += "\\\n"
        if code:
            made += f"[{code}]\n"
    return made


@pytest.mark.parametrize("path", sorted(glob.glob(FOLDER + "/*.*")), ids=os.path.basename)
def test_transcript(root, tmp_path, path):
    (tmp_path / "images" / "img").mkdir(parents=True)
    (tmp_path / "images" / "img" / "image.yaml").write_text("driver: fake\nmemory: 64MiB\n")
    files = {
        "web": "fake: {script: 'ready after=5ms ip=192.0.2.7'}",
        "short": "fake: {script: 'no-banner; print text=\"hello\\n\" after=150ms; "
                 "ready after=300ms ip=192.0.2.7; poweroff after=450ms'}",
        "crash": "fake: {script: 'no-banner; ready after=150ms ip=192.0.2.7; crash signal=9 after=300ms'}",
        "slow": "fake: {script: 'no-ready; no-banner; print text=\"one\\ntwo\\n\"'}\nready: {timeout: 300ms}",
        "evil": "fake: {script: 'no-ready; no-banner; print text=\"\\e[2Jevil\\n\"'}\nready: {timeout: 300ms}",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ndriver: fake\n{text}\n")
    (tmp_path / "wrong.yaml").write_text("name: web\nmemroy: 1GiB\n")
    root.env["VIV_IMAGES"] = str(tmp_path / "images")
    root.env["VIV_CACHE"] = str(tmp_path / "cache")
    root.env["PATH"] = os.path.dirname(root.viv) + ":" + root.env["PATH"]
    root.cwd = tmp_path
    made = play(root, path)
    if os.environ.get("VIV_TRANSCRIPTS") == "write":
        with open(path, "w", encoding="utf-8") as f:
            f.write(made)
    with open(path, encoding="utf-8") as f:
        assert made == f.read()
