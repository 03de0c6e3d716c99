"""
The KVM lab: guests that have this host's root file system and a real /dev/kvm (labguest.py) run every test of inside/.

Two of them side by side take one file of tests after the other. Outside there is one test per test inside, so that each is
counted, named and told apart.
"""

import json
import os
import shutil
import tempfile
import time

import labguest
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
REQUIRED = os.environ.get("VIV_TEST_REQUIRE", "").split(",")
LAB_DEADLINE = float(os.environ.get("VIV_LAB_DEADLINE", "1500"))  # a busy host takes three times what a quiet one does
LABS = 2  # side by side
PASSED_ON = ("VIV_TEST_REQUIRE", "VIV_TEST_CH_OLD", "VIV_TEST_CH_FIRMWARE", "VIV_TEST_SEED", "VIV_BUILD_DIR")
collect_ignore = [] if os.environ.get("VIV_LAB") else ["inside"]  # those run in the lab only


def need(what, present):
    if not present:
        (pytest.fail if "lab" in REQUIRED else pytest.skip)(f"needs lab: no {what}")


def prefix():
    return os.environ.get("VIV_PREFIX", os.path.join(TOP, "build/stage/usr/local"))


def write_script(results, images):
    """What each lab runs: the tests, with its own log and verdicts; which files are taken is told in one place for all."""
    only = f"-k '{os.environ['VIV_LAB_ONLY']}'" if "VIV_LAB_ONLY" in os.environ else ""
    labguest.write_script(
        os.path.join(results, "run"),
        f"cd '{TOP}' || exit",
        "/usr/bin/python3 -m pytest -q -p no:cacheprovider -p verdicts -o faulthandler_timeout=120 "
        f"--confcutdir='{TOP}/tests' {only} '{HERE}/inside' '{TOP}/tests/stub' >/results/log.$1 2>&1",
        VIV_PREFIX=prefix(), VIV_IMAGES=images, VIV_LAB_RESULTS="/results", VIV_TEST_DEADLINE="90", PYTHONPATH=f"{HERE}/inside",
        **{k: os.environ[k] for k in PASSED_ON if k in os.environ})


class Guest(labguest.Guest):
    """One of the labs, which go on until there is nothing left to take."""

    def crashed(self):
        """What it had begun and not finished is for the next one: the file of tests, and its verdicts."""
        open_files = {n for n in taken_by(self.results, self.number) if not os.path.exists(os.path.join(self.results, f"done.{n}"))}
        path = os.path.join(self.results, f"verdicts.{self.number}")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                kept = [line for line in f if line.endswith("\n") and json.loads(line).get("file") not in open_files]
            with open(path, "w", encoding="utf-8") as f:
                f.writelines(kept)
        for name in open_files:
            os.unlink(os.path.join(self.results, f"taken.{name}"))


def taken_by(results, number):
    """The files of tests that a lab has taken."""
    found = []
    for name in os.listdir(results):
        if name.startswith("taken."):
            with open(os.path.join(results, name), encoding="utf-8") as f:
                found += [name.removeprefix("taken.")] if f.read() == str(number) else []
    return found


class Lab:
    """What the labs found: verdicts as they came, the end of their logs and of their consoles."""

    def __init__(self, results, guests):
        self.verdicts, self.text, self.console = [], "", "".join(g.console for g in guests)
        self.boots = sum(g.boots for g in guests)
        for number in range(LABS):
            for line in self.lines(os.path.join(results, f"verdicts.{number}")):
                self.verdicts += [json.loads(line)] if line.endswith("\n") else []
            self.text += "".join(self.lines(os.path.join(results, f"log.{number}")))
        if not self.verdicts and "VIV_LAB_EXIT" not in self.console and ("stood still" in self.console or
                                                                         "not done within" in self.console):
            need("lab that got as far as its tests (its emulated CPU stood still, or this host is too busy)", False)

    @staticmethod
    def lines(path):
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.readlines()

    def keep(self, path, seconds):
        """For tools/lab-report."""
        with open(path, "w", encoding="utf-8") as f:
            for entry in [*self.verdicts, {"lab": {"seconds": seconds, "boots": self.boots}}]:
                f.write(json.dumps(entry) + "\n")
        with open(path + ".log", "w", encoding="utf-8") as f:
            f.write(self.text + self.console)

    def of(self, file, name):
        return [v for v in self.verdicts if v.get("file") == file and v["test"].partition("[")[0] == name]

    def log(self):
        return f"---- end of the log ----\n{self.text[-3000:]}\n---- end of the console ----\n{self.console[-3000:]}"


@pytest.fixture(scope="session")
def lab():
    need("qemu-system-x86_64", shutil.which("qemu-system-x86_64"))
    need("root rights (virtiofsd serves /)", os.geteuid() == 0)
    cache = os.environ.get("VIV_CACHE", "/var/cache/vivarium")
    work = tempfile.mkdtemp(prefix="vivlab.")
    results, guests = os.path.join(work, "results"), []
    os.mkdir(results)
    try:
        images, begin = labguest.build_images(prefix(), cache), time.monotonic()
        write_script(results, images)
        for number in range(LABS):
            guests.append(Guest(number, images, work, results, LAB_DEADLINE))
        for g in guests:
            g.thread.join()
        found = Lab(results, guests)
        if "VIV_LAB_RESULT" in os.environ:
            found.keep(os.environ["VIV_LAB_RESULT"], round(time.monotonic() - begin))
        yield found
    except labguest.Missing as e:
        need(str(e), False)
    finally:
        for g in guests:
            g.close()
        shutil.rmtree(work, ignore_errors=True)
