"""
Inside the lab: which tests run here, by whom, and a verdict for each as soon as it is known, whatever happens to the rest.

Several labs work side by side: each takes the next file that nobody has taken, those first that take longest. A file's tests share a guest and stay together, in their order.

A plugin, since a conftest.py is told only of the tests beside and below it, and those of the double are elsewhere.
"""

import contextlib
import glob
import itertools
import json
import os
import platform
import shutil
import subprocess
import threading

RESULTS = os.environ.get("VIV_LAB_RESULTS")  # the same directory for all
NUMBER = os.environ.get("VIV_LAB", "")
REAL = {"real", "old"}
LONG = [f"test_{n}.py" for n in ("ch_life", "contract", "ch_migrate", "ch_hot", "ch_api", "double", "ch_devices", "ch_old", "ch_snapshot",
                                 "qemu_kvm")]
LOOK = 10  # seconds in which any Linux wakes up, also one that idles
AGAIN = 75  # what this ends with when the lab is to be booted anew (labguest.py)
SETUP = {}  # seconds that a test has waited for its guest


def write(entry):
    if RESULTS:
        with open(f"{RESULTS}/verdicts.{NUMBER}", "a", encoding="utf-8") as f:
            f.write(json.dumps(entry) + "\n")


def version(path):
    if not path:
        return None
    r = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
    return r.stdout.split("\n", maxsplit=1)[0].rpartition(" ")[2] or None


def pytest_sessionstart():
    write({"lab": {"kernel": platform.release(), "cloud_hypervisor": version(shutil.which("cloud-hypervisor")),
                   "older": version(os.environ.get("VIV_TEST_CH_OLD"))}})


def pytest_collection_modifyitems(config, items):
    """Of the double's tests those that a real one passes, too."""
    kept, off = [], []
    for item in items:
        params = getattr(item, "callspec", None)
        real = params is not None and REAL & {str(v) for v in params.params.values()}
        (kept if "/stub/" not in str(item.path) or real else off).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=off)


def taken(name):
    """Whether somebody else has this file already; if not, it is ours now."""
    if not RESULTS:
        return False
    try:
        with open(f"{RESULTS}/taken.{name}", "x", encoding="utf-8") as f:
            f.write(NUMBER)
    except FileExistsError:
        return True
    return False


def pytest_runtestloop(session):
    if session.testsfailed or session.config.option.collectonly:
        return None  # as pytest does it
    files = {k: list(g) for k, g in itertools.groupby(session.items, lambda item: item.path.name)}
    for name in sorted(files, key=lambda n: LONG.index(n) if n in LONG else len(LONG)):
        if taken(name):
            continue
        for item, following in zip(files[name], files[name][1:] + [None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if RESULTS:
            os.close(os.open(f"{RESULTS}/done.{name}", os.O_CREAT))
    return True


def scheduled():
    """{process: how often each of its virtual CPUs has been given a CPU}"""
    found = {}
    for path in glob.glob("/proc/[0-9]*/task/[0-9]*"):
        with contextlib.suppress(OSError), open(path + "/comm", encoding="utf-8") as comm, \
                open(path + "/status", encoding="utf-8") as status:
            if comm.read().startswith(("vcpu", "CPU ")):
                found.setdefault(path.split("/")[2], []).append([line for line in status if "ctxt_switches" in line])
    return found


def stands_still():
    """Whether a guest does nothing at all: emulated SVM has lost an interrupt of it, or it is paused."""
    before = scheduled()
    threading.Event().wait(LOOK)
    after = scheduled()
    return any(after.get(pid) == counts for pid, counts in before.items())


def failed(file):
    """Where a guest stands still this lab is given up, once for each file: the next boot begins with the file anew."""
    mark = f"{RESULTS}/still.{file}"
    if RESULTS and not os.path.exists(mark) and stands_still():
        os.close(os.open(mark, os.O_CREAT))
        print(f"{file}: a guest stands still: once more", flush=True)
        os._exit(AGAIN)


def pytest_runtest_logreport(report):
    if report.when == "setup":
        SETUP[report.nodeid] = report.duration
    if report.when == "call" or report.outcome != "passed":
        text = report.longreprtext if report.failed else str(report.longrepr[2]) if report.skipped else ""
        seconds = report.duration + (SETUP.get(report.nodeid, 0) if report.when == "call" else 0)
        write({"file": os.path.basename(report.nodeid.split("::")[0]), "test": report.nodeid.split("::")[-1],
               "outcome": report.outcome, "seconds": round(seconds, 1), "text": text})
    if report.failed:
        failed(os.path.basename(report.nodeid.split("::")[0]))
