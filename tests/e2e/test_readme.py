"""The first five minutes: what README says to type, line by line, on a machine where it has just been installed."""

import os
import re
import signal
import time

import pytest
import vivtest

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "README.md")
ANSWER = 30  # seconds from the first line to what the guest says, emulated
DEADLINE = vivtest.BOOT_DEADLINE


def lines():
    """What is typed after `make install`, without comments."""
    with open(README, encoding="utf-8") as f:
        block = re.search(r"\n    make install PREFIX=~/.local\n(.*?)\n\n", f.read(), re.S).group(1)
    typed = [re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines()]
    assert typed[0] == "export PATH=~/.local/bin:$PATH"
    return typed[1:]


@pytest.fixture
def typed(root, guest):
    """Runs a line as its reader does, in a shell; returns what was said."""
    root.env["VIV_IMAGES"] = str(guest.parent)
    root.env["PATH"] = os.path.dirname(root.viv) + ":" + root.env["PATH"]

    def run(line):
        p = vivtest.Process(["sh", "-ec", line], env=root.env, text=True, stdin=vivtest.subprocess.DEVNULL,
                            stdout=vivtest.subprocess.PIPE, stderr=vivtest.subprocess.PIPE)
        out, err = p.communicate(timeout=3 * DEADLINE)
        assert p.returncode == 0, (line, p.returncode, out, err)
        return out
    return run


def test_a_guest_answers_half_a_minute_after_the_first_line(root, typed):
    begin = time.monotonic()
    typed("viv run -d --name web demo")
    assert typed("viv exec web -- uname -a").startswith("Linux ")
    assert time.monotonic() - begin <= ANSWER
    begin = time.monotonic()
    assert typed("viv run demo -- uname -a").startswith("Linux ")
    assert time.monotonic() - begin <= ANSWER
    assert {"viv run -d --name web demo", "viv exec web -- uname -a", "viv run demo -- uname -a"} <= set(lines())


def test_each_line_does_what_its_comment_says(root, typed):
    said = {}
    for line in lines():
        if line == "viv run demo":
            said[line] = in_the_foreground(root)
        elif line == "viv console web":
            at_the_console(root)
        else:
            said[line] = typed(line)
    assert said["viv run -d --name web demo"] == "web\n"
    assert said["viv set web labels.job=42"] == "web: changed\n  labels.job: (none) → 42\n"
    seen = said["viv ps; viv ip web; viv logs -n 5 web"]
    assert re.search(r"^web +ready ", seen, re.M) and "10.0.2.15\n" in seen
    assert said["viv stop web; viv rm web"] == "web: stopped (agent)\nweb: removed\n"
    assert said["viv run demo -- uname -a"].startswith("Linux ")


def in_the_foreground(root):
    with root.popen("run", "demo") as p:
        vivtest.read_until(p.stderr, "ready", DEADLINE)
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=DEADLINE)
        assert p.returncode == 0
    return out


def at_the_console(root):
    with vivtest.VM(root, "web").console() as c:
        c.line("")
        c.expect(r"# ", DEADLINE)
        assert c.leave() == 0
