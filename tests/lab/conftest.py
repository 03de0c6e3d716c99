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
from vivtest import Timeout, until

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
REQUIRED = os.environ.get("VIV_TEST_REQUIRE", "").split(",")
LAB_DEADLINE = float(os.environ.get("VIV_LAB_DEADLINE", "600"))
UP_DEADLINE = float(os.environ.get("VIV_LAB_UP_DEADLINE", "90"))  # until the tests begin inside; later it stands still
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
                f"cd '{TOP}' && exec /usr/bin/python3 -m pytest -q -p no:cacheprovider -p verdicts -o faulthandler_timeout=120 "
                f"--confcutdir='{TOP}/tests' "
                f"{only} '{HERE}/inside' '{TOP}/tests/stub' >/results/log 2>&1\n")
    os.chmod(script, 0o755)
    nvme = os.path.join(work, "nvme.img")
    with open(nvme, "wb") as f:
        f.truncate(16 << 20)
    argv = ["qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt",
            "-smp", "2", "-m", "4096", "-object", "memory-backend-memfd,id=mem,size=4096M,share=on", "-numa", "node,memdev=mem",
            "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio",
            "-kernel", f"{images}/lab/vmlinuz", "-initrd", f"{images}/lab/initramfs",
            # for VFIO: a device of its own behind an IOMMU whose addresses are as wide as a guest's
            "-device", "intel-iommu,intremap=on,aw-bits=48", "-drive", f"if=none,id=nvme,format=raw,file={nvme}",
            "-device", "nvme,drive=nvme,serial=vivlab,addr=0x10",
            "-append", "console=ttyS0 cryptomgr.notests quiet intel_iommu=on viv.lab_modules=loop,veth,vfio-pci,vfio_iommu_type1 "
            "viv.lab=/results/run viv.lab_mount=results:/results"]
    return run_lab(argv, work, results) or run_lab(argv, work, results, again=False)


def run_lab(argv, work, results, again=True):
    """One lab, from its boot to its end: the console's text; None where it never got as far as the tests and another may."""
    end = time.monotonic() + LAB_DEADLINE
    shares = [Share("vivlab", "/", work), Share("results", results, work)]  # each ends with its only client
    argv = argv + [a for s in shares for a in s.args()]
    with open(os.path.join(work, "console"), "wb+") as out, \
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT) as qemu:
        how = f"not done within {LAB_DEADLINE:.0f} s"
        try:
            until("the tests begin", lambda: os.path.exists(os.path.join(results, "log")) or qemu.poll() is not None, results, work,
                  deadline=UP_DEADLINE)
            how = f"qemu ended with exit code {qemu.wait(end - time.monotonic())}"
        except Timeout:
            if again:
                return None
        except subprocess.TimeoutExpired:
            pass
        finally:
            qemu.kill()
            qemu.wait()
            for s in shares:
                s.close()
            out.seek(0)
            text = out.read().decode(errors="replace")
    # TCG lacks some features of the CPU model: one line each, of no interest
    return "".join(w for w in text.splitlines(True) if "TCG doesn't support" not in w) + f"\n({how})"


class Lab:
    """What one lab found: verdicts as they came, the end of its log and of its console."""

    def __init__(self, results, console):
        self.verdicts, self.text, self.console = [], "", console
        for name in ("verdicts", "log"):
            path = os.path.join(results, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    if name == "verdicts":
                        self.verdicts = [json.loads(line) for line in f if line.endswith("\n")]
                    else:
                        self.text = f.read()
        if not self.verdicts and "VIV_LAB_EXIT" not in console and "not done within" in console:
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
        found = Lab(results, boot(build_images(cache), work, results))
        keep = os.environ.get("VIV_LAB_RESULT")
        if keep:
            shutil.copy(os.path.join(results, "verdicts"), keep)
            shutil.copy(os.path.join(results, "log"), keep + ".log")
        yield found
    finally:
        shutil.rmtree(work, ignore_errors=True)
