"""The process: command line, start, events, signals, end."""
import errno
import json
import os
import signal
import socket
import sys
import time

from . import conf as configuration
from . import loop as lp
from .api import Api, Refused
from .cli import Usage, parse
from .devices import ofd_lock
from .http import Server
from .vmm import Vmm

class Fatal(Exception):
    """The start fails: the error chain on stderr, exit code 1."""


def os_error(number):
    return f"{os.strerror(number)} (os error {number})"


class Process:
    def __init__(self, argv, conf):
        self.born = time.monotonic()
        self.argv, self.conf = argv, conf
        self.release = "54.0" if conf["version"] == "head" else conf["version"]
        self.version = int(self.release.split(".")[0])
        self.options = parse(argv[1:], self.version)
        self.loop = lp.Loop()
        self.event_fd, self.log_fd = -1, 2
        self.server, self.socket_path, self.socket_lock = None, None, -1
        self.code, self.status = 0, None
        self.vmm = Vmm(self)
        self.api = Api(self)

    # ---- log and events ----

    def log(self, level, text, thread="vmm"):
        names = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]
        if level <= 1 + self.options.verbose:
            line = f"cloud-hypervisor: {time.monotonic() - self.born:10.6f}s: <{thread}> {names[level]}:double -- {text}\n"
            lp.write_all(self.log_fd, line.encode())

    def event(self, source, name, properties=None):
        lost = self.conf["lose_events"]
        if self.version >= 50:
            more = "".join(f" {k} = {v}" for k, v in (properties or {}).items())
            self.log(2, f"Event: source = {source} event = {name}{more}")
        if self.event_fd < 0 or name in lost or "*" in lost:
            return
        now = time.monotonic() - self.born
        text = json.dumps({"timestamp": {"secs": int(now), "nanos": int(now % 1 * 1e9)}, "source": source, "event": name,
                           "properties": properties}, indent=2)
        for part in (self.conf["event_noise"].encode(), text.encode(), b"\n\n"):  # two writes: either may be lost
            if part:
                try:
                    os.write(self.event_fd, part)
                except OSError:
                    pass

    # ---- start ----

    def open_log(self):
        if self.options.log_file:
            try:
                self.log_fd = os.open(self.options.log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            except OSError as e:
                raise Fatal("Error creating log file", os_error(e.errno)) from e

    def open_hypervisor(self):
        if self.conf["no_kvm"]:
            raise Fatal("Failed to open hypervisor interface (is hypervisor interface available?)",
                        "Error creating a hypervisor instance", os_error(getattr(errno, self.conf["no_kvm"])))

    def open_events(self):
        path, fd = self.options.event_path, self.options.event_fd
        if path:
            try:
                self.event_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            except OSError as e:
                raise Fatal("Error doing event monitor I/O", os_error(e.errno)) from e
        elif fd is not None:
            self.event_fd = fd
            os.set_inheritable(fd, False)
        if self.event_fd >= 0:
            os.set_blocking(self.event_fd, False)

    def bind(self):
        path = self.options.api_path
        if self.version >= 53:
            self.socket_lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not ofd_lock(self.socket_lock, True):
                raise Fatal("Failed to start the VMM thread",
                            f'API socket "{path}" is already in use by another running instance')
            if os.path.lexists(path):
                os.unlink(path)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.bind(path)
        except OSError as e:
            if self.version == 52 and e.errno == errno.EADDRINUSE:
                os.unlink(path)
            raise Fatal("Failed to start the VMM thread", "Error creation API server's socket", os_error(e.errno)) from e
        s.listen(128)
        self.socket_path = path
        return s

    def serve(self):
        if self.options.api_fd is not None:
            try:
                sock = socket.socket(fileno=self.options.api_fd)
            except OSError:
                os.kill(os.getpid(), signal.SIGSYS)  # the thread's panic handler trips over the filter
            os.set_inheritable(self.options.api_fd, False)
        else:
            try:
                sock = self.bind()
            except FileNotFoundError as e:
                raise Fatal("Failed to start the VMM thread", "Error creation API server's socket",
                            os_error(e.errno)) from e
        limit = self.conf["max_body"] or (51200 if self.version <= 53 else 4 << 20)
        methods = {"GET", "PUT", "PATCH"} | ({"DELETE"} if self.version > 53 else set())
        self.server = Server(self.loop, sock, self.api.handle, limit, methods)

    def handle_signals(self):
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for s in (signal.SIGTERM, signal.SIGINT):
            signal.signal(s, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

        def on_signal(_):
            os.read(read, 64)
            self.event_of_end()

        self.loop.watch(read, lp.IN, on_signal, vmm=True)

    def event_of_end(self):
        try:
            self.vmm.forget()
        except Refused:
            self.end(1)
            return
        self.event("vmm", "shutdown")
        self.end(0)

    def ends_by_itself(self):
        plan = self.conf["exit"]
        if plan:
            def now():
                if "signal" in plan:
                    os.kill(os.getpid(), plan["signal"])
                self.end(plan["code"], flush=False)
            self.loop.timer(plan["after"], now)

    def start(self):
        os.umask(0o077)
        self.open_log()
        self.open_hypervisor()
        self.open_events()
        self.event("vmm", "starting")
        if self.conf["start_delay"]:
            self.loop.timer(self.conf["start_delay"], self.go)
        else:
            self.go()

    def go(self):
        self.handle_signals()
        if self.options.api_path or self.options.api_fd is not None:
            self.serve()
        self.ends_by_itself()
        if self.options.config is not None:
            try:
                self.vmm.begin(self.options.config)
            except Refused as e:
                raise Fatal("Error booting VM", "The VM could not boot", *e.chain) from e

    def journal(self, entry):
        if self.conf["journal"]:
            fd = os.open(self.conf["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(fd, (json.dumps(entry) + "\n").encode())
            os.close(fd)

    def end(self, code, flush=True):
        """Ends the loop; flush: as an orderly end does, the socket's file included."""
        self.code, self.status = code, flush
        self.loop.running = False
        if flush:
            # the answer that is being made now is still to be queued
            self.loop.later(self.leave, vmm=False)
            self.loop.running = True

    def leave(self):
        if self.server:
            self.server.flush()
        if self.socket_path and self.code == 0:
            os.unlink(self.socket_path)
        self.loop.running = False

    def run(self):
        self.start()
        self.loop.run()
        return self.code


def main(argv):
    try:
        process = Process(argv, configuration.load(argv[0]))
    except Usage as e:
        print(e.text, file=sys.stderr if e.code else sys.stdout)
        return e.code
    if process.options.show_version:
        print(version_text(process))
        return 0
    try:
        return process.run()
    except Fatal as e:
        print("Error: Cloud Hypervisor exited with the following chain of errors:", file=sys.stderr)
        for i, text in enumerate(e.args):
            print(f"  {i}: {text}", file=sys.stderr)
        return 1


def version_text(process):
    text = f"cloud-hypervisor v{process.release}"
    if process.version >= 52:
        text += "\nMigration Protocol Versions: 0"
    if process.options.verbose:
        text += "\nEnabled features: " + json.dumps(process.conf["features"])
    return text
