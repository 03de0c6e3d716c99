"""What the control plane of Cloud Hypervisor costs: beside a bare client of the same socket, and beside ch-remote."""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
STUB = os.path.join(os.path.dirname(HERE), "tests", "stub")
sys.path.insert(0, STUB)
from vmmtest import Ch  # noqa: E402

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


def bare_start_ms(base, body):
    """The same process with the same streams, and the same three calls, from its spawn to the last answer."""
    work = tempfile.mkdtemp(dir=base)
    body = dict(body, vsock=dict(body["vsock"], socket=os.path.join(work, "vsock")), landlock_enable=False)
    begin = time.perf_counter_ns()
    vmm = Ch(work, conf=CONF)
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
        path = kernel(base)
        ours, bare, sticks = [], [], []
        for i in range(2 * b.ROUNDS):
            name = f"c{i}"
            r("create", "-f", r.config(name, driver="cloud-hypervisor", boot={"kernel": path}, nets=[]))
            body = body_of(r, name)
            ours.append(b.timed_ms([b.VIV, "start", name], b.env_of(r)))
            r("kill", name)
            bare.append(bare_start_ms(base, body))
            sticks.append(b.yardstick_ms(base))
        above = statistics.median(ours) - statistics.median(bare)
        stick = statistics.median(sticks)
        b.row("viv start of Cloud Hypervisor's double, above the same calls by a bare client, median", f"{above:.2f} ms",
              f"bare {statistics.median(bare):.1f} ms; a start without contents {stick:.2f} ms", "≤ 5 ms or ≤ 6×",
              above <= 5 or above <= 6 * stick)


def verbs(b):
    """viv pause and resume, not waited for, beside ch-remote for the same verb on the same socket."""
    remote = shutil.which("ch-remote")
    if not remote:
        print("skip ch-remote: not on PATH", flush=True)
        return
    real = shutil.which("cloud-hypervisor") if os.environ.get("BENCH_CH") == "real" else None
    with b.root() as r:
        base = os.path.dirname(r.home)
        if not real:
            use_double(r, base)
        r("create", "-f", r.config("v", driver="cloud-hypervisor", boot={"kernel": os.environ.get("BENCH_KERNEL") or kernel(base)},
                                   nets=[]))
        r("start", "v", deadline=120)
        api = os.path.join(r.home, "run", r.inspect("v")["uuid"][:8], "api")
        ours, theirs = [], []
        for _ in range(b.ROUNDS):
            for verb, other in (("pause", "resume"), ("resume", "pause")):
                ours.append(b.timed_ms([b.VIV, verb, "--async", "v"], b.env_of(r)))
                r("wait", "v", {"pause": "paused", "resume": "running"}[verb])
                r(other, "v")
                theirs.append(b.timed_ms([remote, "--api-socket", api, verb]))
                r("wait", "v", {"pause": "paused", "resume": "running"}[verb])
        a, c = statistics.median(ours), statistics.median(theirs)
        b.row(f"viv pause and resume --async ({'a real VMM' if real else 'the double'})", f"{a:.2f} ms", f"ch-remote {c:.2f} ms",
              "≤ 2×", a <= 2 * c)
