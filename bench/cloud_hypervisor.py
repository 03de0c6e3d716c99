"""What the control plane of Cloud Hypervisor costs: beside a bare client of the same socket, and beside ch-remote."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
STUB = os.path.join(os.path.dirname(HERE), "tests", "stub")
sys.path.insert(0, STUB)
from vmmtest import Ch  # noqa: E402

MEMORY = 256  # MiB of a real guest
GUEST = 150  # seconds that it may take for what it is asked, under emulation
CONF = {"features": ["io_uring"]}  # built without KVM: it needs none


def kernel(base):
    """What a bzImage begins with."""
    head = bytearray(0x400)
    head[0x1fe:0x200], head[0x202:0x206], head[0x206:0x208] = b"\x55\xaa", b"HdrS", b"\x0f\x02"
    head[0x1f1], head[0x211], head[0x236] = 1, 1, 3
    path = os.path.join(base, "vmlinuz")
    with open(path, "wb") as f:
        f.write(head)
    return path


def use_double(r, base):
    """The state root's Cloud Hypervisor is the double."""
    conf = os.path.join(base, "double.json")
    with open(conf, "w", encoding="utf-8") as f:
        json.dump(CONF, f)
    r.env.update(VIV_CLOUD_HYPERVISOR=os.path.join(STUB, "cloud-hypervisor"), CH_DOUBLE_CONF=conf)


def body_of(r, name):
    """What viv would send to vm.create."""
    plan = r("start", "--dry-run", name, "-o", "json").json()["plan"]
    return next(q["body"] for q in plan["requests"] if q["verb"] == "vm.create")


def bare_start_ms(base, body, binary=None):
    """The same process with the same streams, and the same three calls, from its spawn to the last answer."""
    work = tempfile.mkdtemp(dir=base)
    body = dict(body, vsock=dict(body["vsock"], socket=os.path.join(work, "vsock")))
    begin = time.perf_counter_ns()
    vmm = Ch(work, binary=binary) if binary else Ch(work, conf=CONF)
    vmm.get("vmm.ping")
    vmm.put("vm.create", body, status=204)
    vmm.put("vm.boot", status=204)
    ms = (time.perf_counter_ns() - begin) / 1e6
    vmm.close()
    return ms


def start(b):
    """viv start above the same calls by a bare client, in turns."""
    with b.root() as r:
        base = os.path.dirname(r.home)
        use_double(r, base)
        starts(b, r, {"kernel": kernel(base)}, 2 * b.ROUNDS, "Cloud Hypervisor's double")


def starts(b, r, boot, rounds, of_what, binary=None):
    base, ours, bare, sticks = os.path.dirname(r.home), [], [], []
    for i in range(rounds):
        name = f"c{i}"
        # the VMM's sandbox is no part of what is compared
        r("create", "-f", r.config(name, driver="cloud-hypervisor", boot=boot, nets=[], sandbox={"landlock": "off"}))
        body = body_of(r, name)
        ours.append(b.timed_ms([b.VIV, "start", name], b.env_of(r)))
        r("kill", name)
        bare.append(bare_start_ms(base, body, binary))
        sticks.append(b.yardstick_ms(base))
    above = statistics.median(ours) - statistics.median(bare)
    stick = statistics.median(sticks)
    # The budget is one for a real CPU; an emulated one makes what we do dearer than what the yardstick does.
    emulated = "VIV_LAB" in os.environ
    b.row(f"viv start of {of_what}, above the same calls by a bare client, median", f"{above:.2f} ms = {above / stick:.1f}×",
          f"bare {statistics.median(bare):.1f} ms; a start without contents {stick:.2f} ms", "–" if emulated else "≤ 5 ms or ≤ 6×",
          None if emulated else above <= 5 or above <= 6 * stick)


class Pair:
    """viv --async and ch-remote for the same verbs of one VM, in turns."""

    def __init__(self, b, r, remote, name):
        self.b, self.r, self.name = b, r, name
        self.remote = [remote, "--api-socket", os.path.join(r.home, "run", r.inspect(name)["uuid"][:8], "api")]
        self.ours, self.theirs = [], []

    def viv(self, *words):
        """words: the command up to the VM's name, and what stands behind it, as two lists."""
        before, behind = words
        self.ours.append(self.b.timed_ms([self.b.VIV, *before, "--async", self.name, *behind], self.b.env_of(self.r)))

    def ch_remote(self, *words):
        self.theirs.append(self.b.timed_ms([*self.remote, *words]))

    def gone(self, device):
        """Takes a device away again that ch-remote has added: the guest lets go of it in its own time."""
        subprocess.run([*self.remote, "remove-device", device], check=True)
        end = time.monotonic() + GUEST
        while f'"{device}"' in subprocess.run([*self.remote, "info"], capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < end, f"{device} does not leave"

    def row(self, what):
        a, c = statistics.median(self.ours), statistics.median(self.theirs)
        self.b.row(what, f"{a:.2f} ms", f"ch-remote {c:.2f} ms", "≤ 2×", a <= 2 * c)


def pause_and_resume(b, r, remote, rounds, of_what):
    p = Pair(b, r, remote, "v")
    for _ in range(rounds):
        for verb, other, state in (("pause", "resume", "paused"), ("resume", "pause", "running")):
            p.viv([verb], [])
            r("wait", "-t", "60s", "v", state, deadline=GUEST)
            r(other, "v", deadline=GUEST)
            p.ch_remote(verb)
            r("wait", "-t", "60s", "v", state, deadline=GUEST)
    p.row(f"viv pause and resume --async ({of_what})")


def verbs(b):
    """viv pause and resume, not waited for, beside ch-remote for the same verb on the same socket."""
    remote = shutil.which("ch-remote")
    if not remote:
        print("skip ch-remote: not on PATH", flush=True)
        return
    with b.root() as r:
        base = os.path.dirname(r.home)
        use_double(r, base)
        r("create", "-f", r.config("v", driver="cloud-hypervisor", boot={"kernel": kernel(base)}, nets=[]))
        r("start", "v", deadline=GUEST)
        pause_and_resume(b, r, remote, b.ROUNDS, "the double")


# ---- a real one, with a guest that takes part ----


def disk(base, name):
    path = os.path.join(base, name + ".img")
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    return path


def add_a_disk(b, r, remote, rounds):
    p, base = Pair(b, r, remote, "v"), os.path.dirname(r.home)
    mine, other = disk(base, "mine"), disk(base, "other")
    for _ in range(rounds):
        p.viv(["device", "add"], ["disk", f"path={mine}", "id=mine"])
        r("device", "rm", "v", "disk", "mine", deadline=GUEST)
        p.ch_remote("add-disk", f"path={other},id=other,image_type=raw")
        p.gone("other")
    p.row("viv device add --async of a disk (a real VMM)")


def resize(b, r, remote, rounds):
    """Of the balloon, which the guest fills and empties as often as it is asked to."""
    p = Pair(b, r, remote, "v")
    for _ in range(rounds):
        for left in (MEMORY - 16, MEMORY):
            p.viv(["resize", "--balloon", f"{left}MiB"], [])
            r("resize", "--balloon", f"{left}MiB", "v", deadline=GUEST)
        for left in (MEMORY - 16, MEMORY):
            p.ch_remote("resize", "--balloon", str(MEMORY - left << 20))
    p.row("viv resize --balloon --async (a real VMM)")


def real(b):
    """A real Cloud Hypervisor on a real /dev/kvm, with the demo guest: starts, and verbs beside ch-remote."""
    binary, remote = shutil.which("cloud-hypervisor"), shutil.which("ch-remote")
    with b.root() as r:
        kvm = [c for c in r("doctor", "-o", "json", code=None).json() if c["check"] == "kvm"]
        if not (binary and remote and kvm and kvm[0]["ok"]):
            print("skip ch_real: needs /dev/kvm, cloud-hypervisor and ch-remote; `bench/run lab` brings the first", flush=True)
            return
        image, rounds = b.demo_image(), max(7, b.ROUNDS // 3)
        boot = {"kernel": f"{image}/vmlinuz", "initramfs": f"{image}/initramfs", "cmdline": "console=ttyS0 cryptomgr.notests quiet"}
        starts(b, r, boot, rounds, "a real Cloud Hypervisor", binary)
        r("create", "-f", r.config("v", driver="cloud-hypervisor", boot=boot, nets=[], memory=f"{MEMORY}MiB"))
        r("start", "--wait", "-t", f"{GUEST}s", "v", deadline=GUEST)
        pause_and_resume(b, r, remote, rounds, "a real VMM")
        add_a_disk(b, r, remote, rounds)
        resize(b, r, remote, rounds)
