"""The contract suite with a real Cloud Hypervisor: the same cases as with fake and qemu."""

import os
import re
import subprocess

import chlab
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PROGRAM = os.path.join(os.environ.get("VIV_BUILD_DIR", os.path.join(TOP, "build")), "tests/contract/contract_test")
LINE = re.compile(r"^(not )?ok (\d+) - (.*?)(?: # SKIP (.*))?$", re.M)


def names():
    """The names of the cases, as their table has them."""
    with open(os.path.join(TOP, "tests/contract/cases.c"), encoding="utf-8") as f:
        table = f.read().partition("contract_cases[] = {")[2]
    return re.findall(r'^    \{"([^"]*)",', table, re.M)


# The tiny guest has no vsock: test_ch_devices.py has a real agent behind it.
NEEDS_LINUX = "a channel to the agent opens, also after it was closed, and after adoption"


@pytest.mark.parametrize("number, name", enumerate(names(), 1), ids=lambda v: v if isinstance(v, str) else str(v))
def test_case(number, name):
    env = {**os.environ, "VIV_CLOUD_HYPERVISOR": chlab.binary(), "VIV_TEST_GUEST": os.environ["VIV_IMAGES"] + "/demo"}
    if name == NEEDS_LINUX:
        pytest.skip("the suite's own guest has no vsock")
    if not os.access(PROGRAM, os.X_OK):
        pytest.skip("contract_test is not built")
    r = subprocess.run([PROGRAM, "cloud-hypervisor", str(number)], env=env, capture_output=True, text=True, timeout=300,
                       check=False)
    m = LINE.search(r.stdout)
    assert m and m.group(3) == name, r
    assert not m.group(1), r.stdout
    if m.group(4):
        pytest.skip(m.group(4))
