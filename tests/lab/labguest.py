"""
A guest that has this host's root file system and a real /dev/kvm, on any host: QEMU emulates its CPU with nested SVM.

QEMU's SVM is not sound between threads: VMRUN and #VMEXIT change what is asked of a CPU (interrupt_request) without the lock
that the thread of the timers holds, and an interrupt is lost; with two virtual CPUs about every third lab crashed. So a lab's
kernel runs one CPU (its second one is there for tests that want two), and all threads of a QEMU share one CPU of this host,
where none of them can come between another's reading and writing of a word. Two labs side by side then use two CPUs.
"""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time

from vivtest import until

VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
UP_DEADLINE = float(os.environ.get("VIV_LAB_UP_DEADLINE", "90"))  # until its command says something; later it stands still
STILL = 240  # seconds without a word after which it stands still, too
BOOTS = 5  # at most
DONE = re.compile(r"^VIV_LAB_EXIT (?!75\b)", re.M)  # 75: to be booted anew, says the command
MEMORY = 3072  # MiB


class Missing(Exception):
    """What a lab needs and is not there."""


def build_images(prefix, cache):
    builder = os.path.join(prefix, "libexec/vivarium/viv-guest-build")
    if not os.access(builder, os.X_OK):
        raise Missing("viv-guest-build")
    for image in ("lab", "demo"):
        r = subprocess.run([builder, image, "--cache", cache, "-q"], capture_output=True, text=True, check=False)
        if r.returncode != 0:
            raise Missing(f"{image} image ({r.stderr.strip()})")
    return os.path.join(cache, "images")


def virtiofsd():
    exe = next((p for p in VIRTIOFSD if os.access(p, os.X_OK)), None)
    if not exe:
        raise Missing("virtiofsd")
    return exe


class Share:
    """One virtiofsd: a directory of the host for the lab."""

    def __init__(self, tag, source, work):
        self.tag, self.socket = tag, os.path.join(work, f"{tag}.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)  # of a lab before
        self.process = subprocess.Popen([virtiofsd(), f"--socket-path={self.socket}", "-o", f"source={source}", "-o",
                                         "cache=auto", "-o", "sandbox=chroot"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


def write_script(path, *lines, **env):
    """A script for the lab's shell, with the PATH of who runs it."""
    env = {"HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PATH": search_path(), **env}
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + "".join(f"export {k}='{v}'\n" for k, v in env.items()) +
                # a file system that tells of what splice(2) writes: overlayfs of this kernel does not
                "export VIV_LAB=$1 TMPDIR=/run/t && mkdir $TMPDIR\n" + "".join(f"{line}\n" for line in lines))
    os.chmod(path, 0o755)


class Guest:
    """
    One lab, by a thread of its own: boots, runs `results/run NUMBER` with its results at /results, and where it crashes,
    or the command wants it, boots again. What the command writes to its log.NUMBER and verdicts.NUMBER there tells that it goes on.
    """

    def __init__(self, number, images, work, results, deadline):
        self.number, self.images, self.results, self.deadline = number, images, results, deadline
        self.work, self.console, self.boots, self.end = os.path.join(work, str(number)), "", 0, time.monotonic() + deadline
        virtiofsd()  # or it is missing here and now
        os.mkdir(self.work)
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu = cpus[number % len(cpus)]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def argv(self):
        nvme = os.path.join(self.work, "nvme.img")
        with open(nvme, "wb") as f:
            f.truncate(16 << 20)
        return ["taskset", "-c", str(self.cpu), "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split,hpet=off",
                "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt", "-smp", "2",
                "-m", str(MEMORY), "-object", f"memory-backend-memfd,id=mem,size={MEMORY}M,share=on", "-numa", "node,memdev=mem",
                "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio",
                "-kernel", f"{self.images}/lab/vmlinuz", "-initrd", f"{self.images}/lab/initramfs",
                # for VFIO: a device of its own behind an IOMMU whose addresses are as wide as a guest's
                "-device", "intel-iommu,intremap=on,aw-bits=48", "-drive", f"if=none,id=nvme,format=raw,file={nvme}",
                "-device", "nvme,drive=nvme,serial=vivlab,addr=0x10",
                "-append", "console=ttyS0 cryptomgr.notests quiet intel_iommu=on tsc=reliable maxcpus=1 "
                "mitigations=off "  # retpolines are dear under emulation
                "no_timer_check "  # a QEMU that waits for its CPU of the host fails it
                "panic=-1 oops=panic softlockup_panic=1 watchdog_thresh=30 "  # then QEMU ends
                "viv.lab_modules=loop,xfs,veth,bridge,vfio-pci,vfio_iommu_type1 "
                f'"viv.lab=/results/run {self.number}" viv.lab_mount=results:/results']

    def run(self):
        for _ in range(BOOTS):
            self.boots += 1
            text = self.boot()
            self.console += text
            if DONE.search(text) or time.monotonic() > self.end:
                break
            self.crashed()

    def close(self):
        """Ends it where it has not ended by itself."""
        self.end = 0
        self.thread.join()

    def crashed(self):
        """What is to be done before the next boot."""

    def size(self):
        """How much the tests have said so far; None: they have not begun."""
        paths = [os.path.join(self.results, f"{n}.{self.number}") for n in ("log", "verdicts")]
        return sum(os.path.getsize(p) for p in paths if os.path.exists(p)) if os.path.exists(paths[0]) else None

    def wait_for_end(self, qemu):
        """Waits for the end of a lab that goes on; how it ended."""
        seen, since = None, time.monotonic()
        while time.monotonic() < self.end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return f"qemu ended with exit code {qemu.wait(5)}"
            now = self.size()
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > (STILL if now else UP_DEADLINE):
                return f"it stood still for {time.monotonic() - since:.0f} s"
        return f"not done within {self.deadline:.0f} s"

    def boot(self):
        """One lab, from its boot to its end: the console's text."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.results, f"log.{self.number}"))
        shares = [Share("vivlab", "/", self.work), Share("results", self.results, self.work)]  # each ends with its only client
        argv = self.argv() + [a for s in shares for a in s.args()]
        with open(os.path.join(self.work, "console"), "wb+") as out, \
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT) as qemu:
            how = "broken off"
            try:
                how = self.wait_for_end(qemu)
            finally:
                qemu.kill()
                qemu.wait()
                for s in shares:
                    s.close()
                out.seek(0)
                text = out.read().decode(errors="replace")
        # TCG lacks some features of the CPU model: one line each, of no interest
        return "".join(w for w in text.splitlines(True) if "TCG doesn't support" not in w) + f"\n(lab {self.number}: {how})\n"
