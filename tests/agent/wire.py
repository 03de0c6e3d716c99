"""One side of the agent's wire protocol (src/base/agent_wire.h), for tests: a blocking peer, mostly the host."""
import os
import select
import socket
import struct
import time

SYNC = b"\xf6vivarium agent channel, sync 1\n"
HELLO, OPEN, STARTED, DATA, EOF, CREDIT, CONTROL, RESULT, RESET, EVENT, PING, PONG = range(1, 13)
WINDOW = 65536
DEADLINE_S = 20


def fields(*pairs, **more):
    """fields("exec", ("arg", "ls"), tty=1) → bytes."""
    out = []
    for p in list(pairs) + list(more.items()):
        out.append(p if isinstance(p, str) else f"{p[0]}={p[1]}")
    return b"".join(os.fsencode(s) + b"\0" for s in out)


def parse(payload):
    """A dict of the fields; the last of a name wins."""
    found = {}
    for item in payload.split(b"\0"):
        key, eq, value = item.partition(b"=")
        if eq:
            found[key.decode()] = value.decode(errors="surrogateescape")
    return found


class Stream:
    def __init__(self, peer, number):
        self.peer, self.id = peer, number
        self.out = {1: bytearray(), 2: bytearray()}
        self.eof, self.started, self.result, self.reset = set(), None, None, None
        self.send_credit, self.give_credit = WINDOW, True
        self.received = 0

    def write(self, data, channel=0):
        """All of it, as credit allows."""
        at = 0
        while at < len(data):
            n = min(self.send_credit, 32752, len(data) - at)
            if n == 0:
                self.peer.step()
                if self.result is not None or self.reset is not None:
                    return
                continue
            self.peer.frame(DATA, self.id, data[at:at + n], channel)
            self.send_credit -= n
            at += n

    def close(self, channel=0):
        self.peer.frame(EOF, self.id, b"", channel)

    def control(self, **kw):
        self.peer.frame(CONTROL, self.id, fields(**kw))

    def kill(self):
        self.peer.frame(RESET, self.id, b"")

    def wait(self):
        """The fields of RESULT."""
        self.peer.until(lambda: self.result is not None or self.reset is not None)
        return self.result

    @property
    def stdout(self):
        return bytes(self.out[1])

    @property
    def stderr(self):
        return bytes(self.out[2])


class Peer:
    """One host. version may lie."""

    role = 1  # 2: an agent

    def __init__(self, sock, nonce=None, version=1, version_min=1, pad=0):
        self.sock = sock
        self.nonce = nonce or int.from_bytes(os.urandom(8), "little") | 1
        self.version, self.version_min = version, version_min
        self.buffer, self.streams, self.events, self.pongs = bytearray(), {}, [], []
        self.peer, self.about, self.up, self.closed = 0, {}, False, False
        self.next_id = 1
        if pad:
            self.raw(b"\0" * pad)
        self.hello()

    def raw(self, data):
        self.sock.sendall(data)

    def seal(self):
        return struct.pack("<I", (self.nonce & 0xffffffff) | 1)

    def frame(self, kind, stream=0, payload=b"", channel=0, flags=0):
        self.raw(struct.pack("<BBHII", kind, flags, channel, stream, len(payload)) + payload +
                 self.seal())

    def hello(self):
        payload = struct.pack("<HHB3xQQIIIHH", self.version, self.version_min, self.role, self.nonce,
                              self.peer, WINDOW, 256, 65536, 40, 0) + b"name=test\0"
        self.raw(SYNC)
        self.frame(HELLO, 0, payload)

    def read(self, timeout=None):
        ready, _, _ = select.select([self.sock], [], [], timeout or DEADLINE_S)
        assert ready, "the agent said nothing"
        try:
            got = self.sock.recv(1 << 18)
        except ConnectionResetError:
            got = b""
        if not got:
            self.closed = True
        self.buffer += got

    def take(self):
        """The next frame in the buffer, or None. Drops what comes before a sync when there is one."""
        if self.buffer[:1] == SYNC[:1] or (not self.up and SYNC in self.buffer):
            at = self.buffer.find(SYNC)
            if at < 0:
                return None
            del self.buffer[:at + len(SYNC)]
        if len(self.buffer) < 12:
            return None
        kind, flags, channel, stream, length = struct.unpack_from("<BBHII", self.buffer)
        if not self.up and kind != HELLO:
            return None
        if kind == 0: # a pad: the agent was replaced in the midst of the stream
            self.up, self.streams, self.peer = False, {}, 0
            self.nonce = int.from_bytes(os.urandom(8), "little") | 1
            self.next_id = 1
            self.hello()
            return self.take()
        assert HELLO <= kind <= PONG and flags == 0 and length <= 65536, bytes(self.buffer[:40])
        if len(self.buffer) < 16 + length:
            return None
        payload = bytes(self.buffer[12:12 + length])
        seal = struct.unpack_from("<I", self.buffer, 12 + length)[0]
        del self.buffer[:16 + length]
        if kind != HELLO:
            assert seal == (self.peer & 0xffffffff) | 1, "a wrong seal"
        return kind, channel, stream, payload

    def greeted(self, payload):
        version, low, role, nonce, echo = struct.unpack_from("<HHB3xQQ", payload)
        assert role == 3 - self.role
        self.about = parse(payload[struct.unpack_from("<H", payload, 36)[0]:])
        self.theirs = (low, version)
        if nonce != self.peer:
            self.peer, self.up, self.streams = nonce, False, {}
            self.hello()
        if echo == self.nonce:
            self.up = True

    def handle(self, kind, channel, stream, payload):
        s = self.streams.get(stream)
        if kind == HELLO:
            self.greeted(payload)
        elif kind == EVENT:
            self.events.append((stream, parse(payload)))
        elif kind == PONG:
            self.pongs.append(payload)
        elif s is None:
            pass
        elif kind == DATA:
            s.out[channel] += payload
            s.received += len(payload)
            assert s.received <= WINDOW, "more than a window came without credit"
            if s.give_credit and s.received >= WINDOW // 4:
                self.frame(CREDIT, stream, struct.pack("<I", s.received))
                s.received = 0
        elif kind == STARTED:
            assert s.started is None and not s.out[1]
            s.started = parse(payload)
        elif kind == CREDIT:
            s.send_credit += struct.unpack("<I", payload)[0]
            assert s.send_credit <= WINDOW
        elif kind == EOF:
            s.eof.add(channel)
        elif kind == RESULT:
            assert s.result is None
            s.result = parse(payload)
        elif kind == RESET:
            s.reset = parse(payload)

    def step(self, timeout=None):
        self.read(timeout)
        while (f := self.take()) is not None:
            self.handle(*f)

    def until(self, true, deadline_s=None):
        end = time.monotonic() + (deadline_s or DEADLINE_S)
        while not true():
            assert not self.closed, "the agent closed the channel"
            left = end - time.monotonic()
            assert left > 0, "the deadline is over"
            self.step(left)

    def meet(self):
        self.until(lambda: self.up)
        return self

    def open(self, *request, **more):
        s = Stream(self, self.next_id)
        self.streams[self.next_id] = s
        self.next_id += 1
        self.frame(OPEN, s.id, request[0] if isinstance(request[0], bytes)
                   else fields(*request, **more))
        return s

    def exec(self, *argv, **more):
        return self.open("exec", *[("arg", a) for a in argv], **more)

    def run(self, *argv, **more):
        s = self.exec(*argv, **more)
        s.wait()
        return s

    def ask(self, kind, *pairs, **more):
        return self.open(kind, *pairs, **more).wait()

    def ping(self, data=b"?"):
        """A round trip: all that was sent before has been acted upon."""
        n = len(self.pongs)
        self.frame(PING, 0, data)
        self.until(lambda: len(self.pongs) > n)
        return self.pongs[-1]


def connect(path):
    """As soon as somebody listens there."""
    end = time.monotonic() + DEADLINE_S
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except (ConnectionRefusedError, FileNotFoundError):
            s.close()
            assert time.monotonic() < end, "nobody listens"
            os.sched_yield()
