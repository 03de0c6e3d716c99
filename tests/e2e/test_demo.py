"""`make demo` without the building: what a stranger runs first."""

import os
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_demo_shows_a_whole_life(guest):
    assert guest  # the image that it boots
    build = os.environ.get("VIV_BUILD_DIR", os.path.join(TOP, "build"))
    r = subprocess.run([os.path.join(TOP, "tools/demo"), "--no-build"], env=dict(os.environ, VIV_BUILD=build), capture_output=True,
                       text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)
    assert r.returncode == 0, r.stdout + r.stderr
    for said in ("ready at ", "took over", "stopped after", "0 VMs, 0 processes, 0 sockets"):
        assert said in r.stdout, r.stdout
