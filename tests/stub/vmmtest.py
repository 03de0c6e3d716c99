"""A bare client of a cloud-hypervisor process, for tests of the double and of the real one alike: starts it with
the streams that Vivarium uses, speaks HTTP byte by byte, reads events. It waits by poll(2) with deadlines."""
import fcntl
import json
import os
import pty
import select
import socket
import subprocess
import time
import tty

DEADLINE = float(os.environ.get("VIV_TEST_DEADLINE", "30"))
TICK = 0.05  # how often to look at what wakes nobody: an answer, a path that somebody may bind
DOUBLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cloud-hypervisor")


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.line, self.raw = lines[0], raw
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        self.status = int(self.line.split()[1])

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.line}{self.body[:400]!r}"


def receive(sock, deadline=DEADLINE):
    """One answer; None: the other side closed without one."""
    end, data = time.monotonic() + deadline, b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            length = [int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")]
            if len(body) >= (length[0] if length else 0):
                return Answer(data)
        if not select.select([sock], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError(f"no answer within {deadline} s: {data[:200]!r}")
        try:
            more = sock.recv(65536)
        except ConnectionResetError:  # closed with something of ours unread
            more = b""
        if not more:
            return Answer(data) if found else None
        data += more


def request(method, endpoint, body=None):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    length = f"Content-Length: {len(data)}\r\n" if body is not None else ""
    path = endpoint if endpoint.startswith(("/", "http:")) else f"/api/v1/{endpoint}"
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode() + data


class Ch:
    """One process. conf: the double's configuration; api: "fd", "path" or None (no API)."""

    def __init__(self, work, binary=DOUBLE, conf=None, api="fd", argv=(), bare=False, name="ch", blocking=False):
        self.dir = os.path.join(work, name)
        os.mkdir(self.dir)
        self.binary, self.socket = binary, os.path.join(self.dir, "api")
        self.serial, self.raw_events, self.held = b"", b"", []
        env = dict(os.environ)
        if conf is not None:
            env["CH_DOUBLE_CONF"] = os.path.join(self.dir, "conf.json")
            with open(env["CH_DOUBLE_CONF"], "w", encoding="utf-8") as f:
                json.dump(conf, f)
        words = [binary]
        pass_fds = []
        if api == "fd":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(self.socket)
            listener.listen(16)
            words += ["--api-socket", f"fd={listener.fileno()}"]
            pass_fds.append(listener.fileno())
        elif api == "path":
            words += ["--api-socket", self.socket]
        event_write = self.fifo("events", pass_fds)
        if not bare:
            words += ["--event-monitor", f"fd={event_write}"]
        out = self.fifo("out", pass_fds)
        os.set_blocking(out, blocking)
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "ab") as err:
            self.process = subprocess.Popen(words + list(argv), stdin=slave, stdout=out, stderr=err, env=env,
                                            pass_fds=pass_fds, start_new_session=True)
        self.pidfd = os.pidfd_open(self.process.pid)
        os.close(slave)
        for fd in (out, event_write):
            os.close(fd)
        if api == "fd":
            listener.close()

    def fifo(self, name, pass_fds):
        path = os.path.join(self.dir, name)
        os.mkfifo(path)
        read = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 1 << 20)
        setattr(self, name + "_fd", read)
        write = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        pass_fds += [read, write]
        return write

    # ---- waiting ----

    def pump(self, timeout=0.0):
        for fd in select.select([self.out_fd, self.events_fd], [], [], timeout)[0]:
            data = os.read(fd, 1 << 16)
            if fd == self.out_fd:
                self.serial += data
            else:
                self.raw_events += data

    def until(self, what, predicate, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while True:
            result = predicate()
            if result:
                return result
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {deadline} s: {what}\nserial: {self.serial[-500:]!r}\n"
                                     f"events: {self.names()}\nlog: {self.log_text()[-1500:]}")
            fds = [self.out_fd, self.events_fd] + ([] if self.process.poll() is not None else [self.pidfd])
            select.select(fds, [], [], min(left, TICK))
            self.pump()

    def said(self, text, after=0, deadline=DEADLINE):
        self.until(f"{text!r} on the serial port", lambda: text.encode() in self.serial[after:], deadline)

    def event(self, name, nth=1, deadline=DEADLINE):
        """Waits for the nth event called so; its properties."""
        return self.until(f"event {name}",
                          lambda: [e for e in self.events() if e["event"] == name][nth - 1:nth], deadline)[0]

    def end(self, deadline=DEADLINE):
        """Waits for the end of the process; its exit code, negative for a signal."""
        if not select.select([self.pidfd], [], [], deadline)[0]:
            raise AssertionError(f"it did not end within {deadline} s: {self.log_text()[-1500:]}")
        code = self.process.wait()
        self.pump()
        return code

    # ---- events, log, console ----

    def events(self):
        self.pump()
        text, at, found, decoder = self.raw_events.decode(), 0, [], json.JSONDecoder()
        while True:
            while at < len(text) and text[at].isspace():
                at += 1
            if at == len(text):
                return found
            try:
                value, at = decoder.raw_decode(text, at)
            except ValueError:
                return found  # the rest of it is under way
            found.append(value)

    def names(self):
        return [f"{e['source']}/{e['event']}" for e in self.events()]

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def type(self, keys):
        os.write(self.master, keys.encode())

    # ---- API ----

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(self.socket)
        return s

    def raw(self, data, deadline=DEADLINE):
        with self.connect() as s:
            s.sendall(data)
            return receive(s, deadline)

    def call(self, method, endpoint, body=None, fds=(), deadline=DEADLINE):
        with self.connect() as s:
            data = request(method, endpoint, body)
            if fds:
                n = socket.send_fds(s, [data[:20]], list(fds))
                data = data[n:]
            s.sendall(data)
            return receive(s, deadline)

    def get(self, endpoint, **kw):
        return self.call("GET", endpoint, **kw)

    def put(self, endpoint, body=None, status=None, **kw):
        a = self.call("PUT", endpoint, body, **kw)
        assert status is None or a.status == status, (endpoint, a)
        return a

    def info(self):
        return self.get("vm.info").json()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.pidfd, self.out_fd, self.events_fd, self.master):
            os.close(fd)
