"""
Inside the lab: which tests run here, and a verdict for each as soon as it is known, whatever happens to the rest.

A plugin, since a conftest.py is told only of the tests beside and below it, and those of the double are elsewhere.
"""

import json
import os
import platform
import shutil
import subprocess

RESULTS = os.environ.get("VIV_LAB_VERDICTS")
REAL = {"real", "old"}


def write(entry):
    if RESULTS:
        with open(RESULTS, "a", encoding="utf-8") as f:
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


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        text = report.longreprtext if report.failed else str(report.longrepr[2]) if report.skipped else ""
        write({"file": os.path.basename(report.nodeid.split("::")[0]), "test": report.nodeid.split("::")[-1],
               "outcome": report.outcome, "seconds": round(report.duration, 1), "text": text})
