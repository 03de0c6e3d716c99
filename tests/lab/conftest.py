"""The KVM lab: one boot of a guest that has this host's root file system and a real /dev/kvm runs every test of inside/.

Outside there is one test per test inside, so that each is counted, named and told apart.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest
from vivtest import until

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
REQUIRED = os.environ.get("VIV_TEST_REQUIRE", "").split(",")
LAB_DEADLINE = float(os.environ.get("VIV_LAB_DEADLINE", "1500"))  # a busy host takes twice what a quiet one does
WORKERS = 2  # as many as the lab has CPUs
UP_DEADLINE = float(os.environ.get("VIV_LAB_UP_DEADLINE", "90"))  # until the tests begin inside; later it stands still
STILL = 240  # seconds without a verdict after which it stands still, too
BOOTS = 5
collect_ignore = [] if os.environ.get("VIV_LAB") else ["inside"]  # those run in the lab only


def need(what, present):
    if not present:
        (pytest.fail if "lab" in REQUIRED else pytest.skip)(f"needs lab: no {what}")


def prefix():
    return os.environ.get("VIV_PREFIX", os.path.join(TOP, "build/stage/usr/local"))


def build_images(cache):
    builder = os.path.join(prefix(), "libexec/vivarium/viv-guest-build")
    need("viv-guest-build", os.access(builder, os.X_OK))
    for image in ("lab", "demo"):
        r = subprocess.run([builder, image, "--cache", cache, "-q"], capture_output=True, text=True, check=False)
        need(f"the {image} image ({r.stderr.strip()})", r.returncode == 0)
    return os.path.join(cache, "images")


class Share:
    """One virtiofsd: a directory of the host for the lab."""

    def __init__(self, tag, source, work):
        self.tag, self.socket = tag, os.path.join(work, f"{tag}.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)  # of a lab before
        exe = next((p for p in VIRTIOFSD if os.access(p, os.X_OK)), None)
        need("virtiofsd", exe)
        self.process = subprocess.Popen([exe, f"--socket-path={self.socket}", "-o", f"source={source}", "-o", "cache=auto",
                                         "-o", "sandbox=chroot"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("virtiofsd listens", lambda: os.path.exists(self.socket), work, deadline=10)

    def args(self):
        return ["-chardev", f"socket,id={self.tag},path={self.socket}",
                "-device", f"vhost-user-fs-pci,chardev={self.tag},tag={self.tag}"]

    def close(self):
        self.process.terminate()
        self.process.wait()


def search_path():
    """The lab's PATH: the directories of what the caller would run come first."""
    found = [os.path.dirname(os.path.abspath(p)) for p in map(shutil.which, ("cloud-hypervisor", "ch-remote")) if p]
    return ":".join(dict.fromkeys(found + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".split(":")))


def boot(images, work, results):
    """Boots the lab, runs the tests inside, returns the console's text."""
    script = os.path.join(results, "run")
    passed_on = "".join(f"export {k}='{os.environ[k]}'\n" for k in ("VIV_TEST_REQUIRE", "VIV_TEST_CH_OLD", "VIV_TEST_SEED",
                                                                        "VIV_BUILD_DIR") if k in os.environ)
    only = f"-k '{os.environ['VIV_LAB_ONLY']}'" if "VIV_LAB_ONLY" in os.environ else ""
    with open(script, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nexport HOME=/root LC_ALL=C.UTF-8 VIV_LAB=1 VIV_TEST_DEADLINE=90 PYTHONDONTWRITEBYTECODE=1\n"
                f"export VIV_PREFIX='{prefix()}' VIV_IMAGES='{images}' VIV_LAB_VERDICTS=/results/verdicts\n{passed_on}"
                f"export PYTHONPATH='{HERE}/inside'\n"
                f"export PATH='{search_path()}'\n"
                # a file system that tells of what splice(2) writes: overlayfs of this kernel does not
                "export TMPDIR=/run/t && mkdir $TMPDIR\n"
                f"cd '{TOP}' || exit\n"
                f"for n in {' '.join(map(str, range(WORKERS)))}; do\n"
                f"/usr/bin/python3 -m pytest -q -p no:cacheprovider -p verdicts -o faulthandler_timeout=120 "
                f"--confcutdir='{TOP}/tests' {only} '{HERE}/inside' '{TOP}/tests/stub' >/results/log.$n 2>&1 &\n"
                "done\nwait\n")
    os.chmod(script, 0o755)
    nvme = os.path.join(work, "nvme.img")
    with open(nvme, "wb") as f:
        f.truncate(16 << 20)
    argv = ["qemu-system-x86_64", "-M", "q35,kernel-irqchip=split,hpet=off", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt",
            "-smp", str(WORKERS), "-m", "4096", "-object", "memory-backend-memfd,id=mem,size=4096M,share=on", "-numa", "node,memdev=mem",
            "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio",
            "-kernel", f"{images}/lab/vmlinuz", "-initrd", f"{images}/lab/initramfs",
            # for VFIO: a device of its own behind an IOMMU whose addresses are as wide as a guest's
            "-device", "intel-iommu,intremap=on,aw-bits=48", "-drive", f"if=none,id=nvme,format=raw,file={nvme}",
            "-device", "nvme,drive=nvme,serial=vivlab,addr=0x10",
            "-append", "console=ttyS0 cryptomgr.notests quiet intel_iommu=on tsc=reliable "
            "panic=-1 oops=panic softlockup_panic=1 watchdog_thresh=30 "  # then QEMU ends
            "viv.lab_modules=loop,xfs,veth,bridge,vfio-pci,vfio_iommu_type1 "
            "viv.lab=/results/run viv.lab_mount=results:/results"]
    end = time.monotonic() + LAB_DEADLINE
    console = ""
    for _ in range(BOOTS):
        console += run_lab(argv, work, results, end)
        if "VIV_LAB_EXIT" in console or time.monotonic() > end:
            break
        give_back(results)
    return console


def give_back(results):
    """What a lab has not finished that crashed, is for the next: the files of tests that it had begun, and their verdicts."""
    begun = {n.removeprefix("verdicts.") for n in os.listdir(results) if n.startswith("verdicts.")}
    open_files = {n for n in begun if not n.endswith(".done") and n + ".done" not in begun}
    for name in open_files:
        os.unlink(os.path.join(results, f"verdicts.{name}"))
    path = os.path.join(results, "verdicts")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            kept = [line for line in f if line.endswith("\n") and json.loads(line).get("file") not in open_files]
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(kept)


def size_of(results):
    """How much the tests have said so far; None: they have not begun."""
    names = [n for n in os.listdir(results) if n.startswith("log.") or n == "verdicts"]
    return sum(os.path.getsize(os.path.join(results, n)) for n in names) if "log.0" in names else None


def wait_for_end(qemu, results, end):
    """Waits for the end of a lab that goes on; how it ended."""
    seen, since = None, time.monotonic()
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"qemu ended with exit code {qemu.wait(5)}"
        now = size_of(results)
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > (STILL if now else UP_DEADLINE):
            return f"it stood still for {time.monotonic() - since:.0f} s"
    return f"not done within {LAB_DEADLINE:.0f} s"


def run_lab(argv, work, results, end):
    """
    One lab, from its boot to its end: the console's text. Emulated SVM makes its kernel stand still or crash now and then
    (a page fault on the nested guest's own GS, an interrupt that is lost): the next one goes on with what is left.
    """
    for n in range(WORKERS):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(results, f"log.{n}"))
    shares = [Share("vivlab", "/", work), Share("results", results, work)]  # each ends with its only client
    argv = argv + [a for s in shares for a in s.args()]
    with open(os.path.join(work, "console"), "wb+") as out, \
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT) as qemu:
        how = "broken off"
        try:
            how = wait_for_end(qemu, results, end)
        finally:
            qemu.kill()
            qemu.wait()
            for s in shares:
                s.close()
            out.seek(0)
            text = out.read().decode(errors="replace")
    # TCG lacks some features of the CPU model: one line each, of no interest
    return "".join(w for w in text.splitlines(True) if "TCG doesn't support" not in w) + f"\n({how})\n"


class Lab:
    """What one lab found: verdicts as they came, the end of its log and of its console."""

    def __init__(self, results, console):
        self.verdicts, self.text, self.console = [], "", console
        for name in ("verdicts", *(f"log.{n}" for n in range(WORKERS))):
            path = os.path.join(results, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    if name == "verdicts":
                        self.verdicts = [json.loads(line) for line in f if line.endswith("\n")]
                    else:
                        self.text += f.read()
        if not self.verdicts and "VIV_LAB_EXIT" not in console and ("stood still" in console or "not done within" in console):
            need("lab that got as far as its tests (its emulated CPU stood still, or this host is too busy)", False)

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
    results = os.path.join(work, "results")
    os.mkdir(results)
    try:
        images, begin = build_images(cache), time.monotonic()
        found = Lab(results, boot(images, work, results))
        keep = os.environ.get("VIV_LAB_RESULT")
        if keep:
            shutil.copy(os.path.join(results, "verdicts"), keep)
            with open(keep, "a", encoding="utf-8") as f:
                f.write(json.dumps({"lab": {"seconds": round(time.monotonic() - begin)}}) + "\n")
            with open(keep + ".log", "w", encoding="utf-8") as f:
                f.write(found.text)
        yield found
    finally:
        shutil.rmtree(work, ignore_errors=True)
