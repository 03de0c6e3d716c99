"""Fixtures of the end-to-end tests: the viv under test, and a state root for each test that must be
empty of processes when the test is over."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vivtest  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REQUIRED = set(filter(None, os.environ.get("VIV_TEST_REQUIRE", "").split(",")))  # qemu, lab, ch, root


LONGEST = ("test_systemd.py", "test_migrate_phases.py")  # begun first: nobody waits for them at the end


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Of several test processes each has its own, as short as can be: a socket's path has room for 104 bytes.
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker:
        config.option.basetemp = os.path.dirname(config.option.basetemp) + worker.removeprefix("gw")
    # A shell without job control starts what stands before "&" with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "stress: a long storm, run by `make check-stress`")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda i: i.path.name not in LONGEST)


def missing(what, reason):
    """Skips, or fails where VIV_TEST_REQUIRE says that this machine must have it."""
    (pytest.fail if what in REQUIRED else pytest.skip)(reason)


@pytest.fixture(scope="session")
def guest():
    """The demo guest's directory (kernel and initramfs), made from cached packages; for tests under real QEMU."""
    if not shutil.which("qemu-system-x86_64"):
        missing("qemu", "qemu-system-x86_64 is not installed")
    prefix = os.environ.get("VIV_PREFIX", os.path.join(TOP, "build/stage/usr/local"))
    builder = os.path.join(prefix, "libexec/vivarium/viv-guest-build")
    cache = os.environ.get("VIV_CACHE", "/var/cache/vivarium")
    r = subprocess.run([builder, "demo", "--cache", cache, "-q"], capture_output=True, text=True, check=False)
    if r.returncode != 0:
        missing("qemu", f"no demo guest: {r.stderr.strip()}")
    return pathlib.Path(cache) / "images/demo"


def find_viv():
    """An installed tree (VIV_PREFIX), else a build directory (VIV_BUILD), else build/."""
    if "VIV_PREFIX" in os.environ:
        return os.path.join(os.environ["VIV_PREFIX"], "bin", "viv"), None
    build = os.environ.get("VIV_BUILD", os.path.join(TOP, "build"))
    return os.path.join(build, "src", "cli", "viv"), os.path.join(build, "libexec")


@pytest.fixture(scope="session")
def viv():
    path, _ = find_viv()
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is not built")
    return path


@contextlib.contextmanager
def state_root(viv, owner=None, folder=None):
    """A state root, made empty and left empty: what is still running at the end is a failure."""
    # short: the path of a socket has room for 104 bytes
    base = tempfile.mkdtemp(prefix="viv", dir=folder or os.environ.get("TMPDIR", "/tmp"))
    _, libexec = find_viv()
    r = vivtest.Root(viv, os.path.join(base, "h"), {"VIV_LIBEXEC": libexec} if libexec else None)
    if owner is not None:
        os.chown(base, owner, owner)
        r.prefix = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
    yield r
    r("rm", "--force", "--all", code=None)
    left = processes(r.home)
    for proc in left:
        with contextlib.suppress(vivtest.Timeout):
            vivtest.wait_gone(proc, 10)
    left = processes(r.home)
    for proc in left:
        vivtest.kill(proc)
    shutil.rmtree(base, ignore_errors=True)
    assert not left, f"left behind: {left}"


@pytest.fixture
def root(viv):
    with state_root(viv) as r:
        yield r


@pytest.fixture(scope="module")
def folder():
    """Where module_root lies; a file that needs another file system has its own."""
    return None


@pytest.fixture(scope="module")
def module_root(viv, folder):
    """One state root for all tests of a file, where they share a guest."""
    with state_root(viv, folder=folder) as r:
        yield r


@pytest.fixture(scope="module")
def other_root(viv):
    """A second state root beside module_root, as another host would have one."""
    with state_root(viv) as r:
        yield r


@pytest.fixture
def user_root(viv):
    """A state root that belongs to an ordinary user, and a viv that runs as that user."""
    if os.geteuid() != 0:
        with state_root(viv) as r:
            yield r
        return
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    with state_root(viv, owner=pwd.getpwnam("nobody").pw_uid) as r:
        yield r


def processes(home):
    """Processes that have the state root in their arguments."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        start = vivtest.start_time(int(name))
        if home + "/" in words and start:
            found.append({"pid": int(name), "start_time": start, "words": words.strip()})
    return found
