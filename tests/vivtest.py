"""What the end-to-end tests stand on: a state root of their own, processes by identity, waiting by events.

Nothing here sleeps: waiting is poll(2) on a descriptor (inotify, pidfd, pipe) with a deadline.
"""

import codecs
import contextlib
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
import tty

DEADLINE = float(os.environ.get("VIV_TEST_DEADLINE", "30"))
BOOT_DEADLINE = max(120, DEADLINE)  # of an emulated guest, on a busy host

_libc = ctypes.CDLL(None, use_errno=True)
IN_MODIFY, IN_CREATE, IN_MOVED_TO, IN_CLOSE_WRITE, IN_DELETE = 0x2, 0x100, 0x80, 0x8, 0x200


class Timeout(AssertionError):
    """A deadline passed; the message says what was waited for."""


class Inotify:
    """Wakes when something in the given directories changes."""

    def __init__(self, *paths):
        self.fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE
        for p in paths:
            _libc.inotify_add_watch(self.fd, os.fsencode(p), mask)

    def wait(self, timeout):
        if select.select([self.fd], [], [], max(0, timeout))[0]:
            os.read(self.fd, 65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def until(what, predicate, *paths, deadline=DEADLINE):
    """Waits until predicate() is true, looking again whenever something below one of paths changes."""
    end = time.monotonic() + deadline
    with Inotify(*paths) as changes:
        while True:
            result = predicate()
            if result:
                return result
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(f"not within {deadline} s: {what}")
            changes.wait(left)


TUNSETIFF = 0x400454ca
TAP, NO_PI, VNET_HDR = 0x2, 0x1000, 0x4000


@contextlib.contextmanager
def tap(flags=TAP | NO_PI | VNET_HDR, up=True):
    """An open TAP device and its name; it is gone when nobody holds it any more."""
    with open("/dev/net/tun", "rb+", buffering=0) as f:
        name = fcntl.ioctl(f, TUNSETIFF, struct.pack("16sH22x", b"vivt%d", flags))[:16].rstrip(b"\0").decode()
        if up:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield f.fileno(), name


def start_time(pid):
    """Field 22 of /proc/<pid>/stat, or None when there is no such process or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(proc):
    return proc is not None and start_time(proc["pid"]) == proc["start_time"]


def kill(proc, sig=signal.SIGKILL):
    """Sends sig to exactly this process (pid and start time); False when it is gone."""
    assert proc["pid"] > 1, proc
    try:
        fd = os.pidfd_open(proc["pid"])
    except ProcessLookupError:
        return False
    try:
        if not alive(proc):
            return False
        signal.pidfd_send_signal(fd, sig)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def wait_gone(proc, deadline=DEADLINE):
    """Waits for the end of exactly this process (a zombie counts as ended)."""
    if proc is None or not alive(proc):
        return
    try:
        fd = os.pidfd_open(proc["pid"])
    except ProcessLookupError:
        return
    try:
        if alive(proc) and not select.select([fd], [], [], deadline)[0]:
            raise Timeout(f"process {proc['pid']} did not end within {deadline} s")
    finally:
        os.close(fd)


def read_until(stream, text, deadline=DEADLINE):
    """Reads lines of a pipe until one contains text; returns what was read."""
    end, seen = time.monotonic() + deadline, ""
    while text not in seen:
        if not select.select([stream], [], [], max(0, end - time.monotonic()))[0]:
            raise Timeout(f"not within {deadline} s: {text!r}; read: {seen!r}")
        more = os.read(stream.fileno(), 65536).decode(errors="replace")
        if not more:
            raise Timeout(f"ended without {text!r}: {seen!r}")
        seen += more
    return seen


LINE = re.compile(rb"(?:^|\r)line (\d+)\r?$")  # behind what the console echoed


def numbered(log):
    """The numbers of the complete 'line N' lines, cut into boots (a boot starts again at 1)."""
    boots = []
    for line in log.split(b"\n")[:-1]:
        m = LINE.search(line)
        if m:
            n = int(m.group(1))
            if n == 1:
                boots.append([])
            boots[-1].append(n)
    return boots


@contextlib.contextmanager
def mounted(where, size, *mkfs):
    """A file system of its own in a file beside the directory, which is made; mkfs makes it."""
    file = where + ".img"
    with open(file, "wb") as f:
        f.truncate(size)
    subprocess.run([*mkfs, file], check=True, capture_output=True)
    os.mkdir(where)
    subprocess.run(["mount", "-o", "loop", file, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)
        os.unlink(file)


def extents(path):
    """[(where on its device, flags)] of a file, as FIEMAP has them."""
    out = subprocess.run(["filefrag", "-v", path], check=True, capture_output=True, text=True).stdout
    rows = [re.split(r":\s*", line.strip()) for line in out.splitlines() if re.match(r"\s*\d+:", line)]
    return [(row[2].split("..")[0].strip(), row[-1].split(",")) for row in rows]


class Result:
    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"{self.argv} → {self.code}\n{self.out}{self.err}"


class Process(subprocess.Popen):
    """As a context manager it does not wait for ever for a process that a failed test leaves behind."""

    def __exit__(self, kind, *rest):
        if kind is not None and self.poll() is None:
            self.kill()
        return super().__exit__(kind, *rest)


class Root:
    """One state root and the viv that works on it."""

    def __init__(self, viv, home, env=None):
        self.viv, self.home = str(viv), str(home)
        self.env = {**os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8", **(env or {}), "VIV_HOME": self.home,
                    "VIV_UNIT_DIR": os.path.join(os.path.dirname(self.home), "units")}
        self.env.pop("VIV_RUN", None)
        self.prefix = []  # in front of every command, to run it as somebody else

    def __call__(self, *argv, code=0, deadline=DEADLINE, stdin=None, pass_fds=()):
        """Runs viv to its end; code None accepts any exit status."""
        r = subprocess.run([*self.prefix, self.viv, *map(str, argv)], env=self.env, capture_output=True, text=True,
                           timeout=deadline, input=stdin, pass_fds=pass_fds,
                           stdin=None if stdin is not None else subprocess.DEVNULL)
        result = Result(argv, r.returncode, r.stdout, r.stderr)
        if code is not None:
            assert r.returncode == code, result
        return result

    def popen(self, *argv, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return Process([*self.prefix, self.viv, *map(str, argv)], env=self.env, text=True, **kw)

    def config(self, name, **fields):
        """Writes a configuration file and returns its path."""
        path = os.path.join(os.path.dirname(self.home), f"{name}.yaml")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(dict(name=name, **fields), f)
        return path

    def fake(self, name, script="", **fields):
        """Creates a VM of the fake driver."""
        self("create", "-f", self.config(name, driver="fake", fake={"script": script}, **fields))
        return VM(self, name)

    def qemu(self, name, guest, *options, **fields):
        """
        Creates a VM of the qemu driver, emulated: the demo guest with options for its command line. Without a channel
        to its agent unless asked for one, so that the console proves readiness and the power button stops it.
        """
        fields.setdefault("memory", "160MiB")
        fields.setdefault("agent", {"enabled": "off"})
        boot = {"kernel": str(guest / "vmlinuz"), "initramfs": str(guest / "initramfs"),
                "cmdline": " ".join(("console=ttyS0 cryptomgr.notests", *options))}
        self("create", "-f", self.config(name, driver="qemu", accel="tcg", boot=boot, **fields))
        return VM(self, name)

    def inspect(self, name):
        return self("inspect", name, "-o", "json").json()

    def events(self, since=0):
        out = self("events", "--since", since, "--no-follow", "-o", "json").out
        return [json.loads(line) for line in out.splitlines() if line.strip()]


class VM:
    """One VM of a root."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.dir = os.path.join(root.home, "vms", name)

    def __call__(self, verb, *argv, **kw):
        return self.root(verb, self.name, *argv, **kw)

    def info(self):
        return self.root.inspect(self.name)

    def serial(self):
        try:
            with open(os.path.join(self.dir, "serial.log"), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def serial_size(self):
        try:
            return os.stat(os.path.join(self.dir, "serial.log")).st_size
        except FileNotFoundError:
            return 0

    def state(self):
        """state.json as it stands in the file."""
        with open(os.path.join(self.dir, "state.json"), encoding="utf-8") as f:
            return json.load(f)

    def until(self, what, predicate, deadline=DEADLINE):
        return until(f"{self.name}: {what}", predicate, self.dir, self.root.home, deadline=deadline)

    def processes(self):
        """keeper, monitor and VMM of now, by identity; those that are alive."""
        info = self.info()
        return {k: info[k] for k in ("keeper", "monitor", "vmm") if alive(info[k])}

    def boot(self):
        """Starts it, up to ready."""
        self("start", "--wait", deadline=BOOT_DEADLINE)
        return self

    def ended(self):
        """Waits for its end and returns (state, reason)."""
        self("wait", "exit", code=None, deadline=BOOT_DEADLINE)
        info = self.info()
        return info["state"], info["reason"]["code"]

    def console(self, *flags):
        return Console(self, *flags)


class Console:
    """`viv console` on a pseudo-terminal, as at a keyboard: types, and expects text within a deadline."""

    def __init__(self, vm, *flags, banner="connected to "):
        self.vm, self.text, self.at, self.runs = vm, "", 0, 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.process = vm.root.popen("console", vm.name, *flags, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.banner = self.expect(re.escape(banner) + r".*\n").group(0).strip()

    def send(self, text):
        os.write(self.master, text.encode())

    def line(self, text):
        self.send(text + "\r")

    def expect(self, pattern, deadline=DEADLINE):
        """Reads on until the pattern is found behind what was found before; returns the match."""
        end = time.monotonic() + deadline
        regex = re.compile(pattern)
        while True:
            m = regex.search(self.text, self.at)
            if m:
                self.at = m.end()
                return m
            left = end - time.monotonic()
            if left <= 0 or not self.read(left):
                raise Timeout(f"{self.vm.name}: not on the console within {deadline} s: {pattern}\n"
                              f"---- console ----\n{self.text[-3000:]}")

    def read(self, timeout):
        """Takes what is there; False when the time is over or the console has ended."""
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.text += self.decoder.decode(data)
        return bool(data)

    def run(self, command, code=0, deadline=DEADLINE):
        """Runs a command in the guest's shell and returns what it printed, with plain line ends."""
        self.runs += 1
        mark = f"{self.runs}"  # broken by quotes where it is typed, so that the echo is no match
        self.line(f"echo '<'{mark}'<'; {command}; echo '>'{mark}'>' $?")
        m = self.expect(rf"(?s)<{mark}<\r?\n(.*?)>{mark}> (\d+)\r?\n", deadline)
        assert code is None or int(m.group(2)) == code, f"{command} → {m.group(2)}\n{m.group(1)}"
        return m.group(1).replace("\r", "")

    def leave(self):
        """Ctrl-], and the exit code."""
        self.send("\x1d")
        return self.process.wait(DEADLINE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
