"""The HTTP server as a client meets it: a parser that works in a buffer of 1024 bytes, ten connections, no
reason phrases. The state after a parse error is what it was before; the connection stays open."""
import array
import os
import select
import socket

from . import loop as lp

BUFFER = 1024
CONNECTIONS = 10
MAX_FDS = 253
FULL = (b"HTTP/1.1 503 \r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
        b'{ "error": "Too many open connections" }')
DROPPED = '{{ "error": "{}\nAll previous unanswered requests will be dropped." }}'
LINE, HEADERS, BODY = range(3)


class ParseError(Exception):
    pass


class Request:
    def __init__(self, method, path):
        self.method, self.path, self.body, self.fds = method, path, None, []

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def response(status, body=None, server="Cloud Hypervisor API"):
    """body None: no length at all (204, 100); b"" is sent as a length of 0."""
    head = f"HTTP/1.1 {status} \r\nServer: {server}\r\nConnection: keep-alive\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + "\r\n").encode() + (body or b"")


def absolute(uri):
    """The path of a request target; the query string is part of it."""
    if uri.startswith("http://"):
        slash = uri.find("/", 7)
        return uri[slash:] if slash > 0 else ""
    return uri if uri.startswith("/") else ""


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.buffer = b""       # what an incomplete line left over
        self.state, self.length, self.expects = LINE, 0, False
        self.body = bytearray()
        self.request, self.parsed, self.fds = None, [], []
        self.out = []
        self.closed = False
        self.waiting = 0        # requests that the API has not answered yet

    # ---- parsing ----

    def receive(self):
        data, ancillary, _, _ = self.sock.recvmsg(BUFFER - len(self.buffer), socket.CMSG_SPACE(MAX_FDS * 4))
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(raw[:len(raw) - len(raw) % fds.itemsize])
                self.fds += fds
        return data

    def line(self, data, what):
        """Cuts a line off, or keeps what is there for the next read."""
        end = data.find(b"\r\n")
        if end >= 0:
            return data[:end], data[end + 2:]
        if len(data) >= BUFFER:
            raise ParseError(what)
        self.buffer = data
        return None, b""

    def start_line(self, line):
        words = line.split(b" ", 2)
        if len(words) != 3:
            raise ParseError("Invalid request.")
        method, uri, version = (w.decode(errors="replace") for w in words)
        if method not in self.server.methods:
            raise ParseError("Invalid HTTP Method: Unsupported HTTP method.")
        if not uri:
            raise ParseError("Invalid URI: Empty URI not allowed.")
        if version not in ("HTTP/1.0", "HTTP/1.1"):
            raise ParseError("Invalid HTTP Version: Unsupported HTTP version.")
        self.request = Request(method, absolute(uri))
        self.state, self.length, self.expects = HEADERS, 0, False

    def header(self, line):
        key, colon, value = line.decode(errors="replace").partition(":")
        if not colon:
            raise ParseError(f"Invalid header. Reason: Header is incorrectly formatted. Key: {key}")
        name, value = key.strip().lower(), value.strip()
        if name == "content-length":
            if not value.isdigit() or int(value) >= 1 << 32:
                raise ParseError(f"Invalid header. Reason: Invalid value. Key:{key}; Value: {value}")
            self.length = int(value)
        elif name == "expect" and value == "100-continue":
            self.expects = True
        elif name == "accept-encoding" and value.replace(" ", "") in ("identity;q=0", "*;q=0"):
            raise ParseError(f"Invalid header. Reason: Invalid value. Key:{key}; Value: {value}")

    def end_of_headers(self):
        if self.length == 0:
            self.ready()
            return
        if self.length > self.server.max_body:
            raise ParseError(f"Request payload with size {self.length} is larger than the limit of "
                             f"{self.server.max_body} allowed by server.")
        if self.expects:
            self.out.append(response(100))
        self.state, self.body = BODY, bytearray()

    def ready(self):
        self.request.fds, self.fds = self.fds, []
        self.parsed.append(self.request)
        self.request, self.state = None, LINE

    def parse(self, data):
        while data:
            if self.state == BODY:
                take = self.length - len(self.body)
                self.body += data[:take]
                data = data[take:]
                if len(self.body) == self.length:
                    self.request.body = bytes(self.body)
                    self.ready()
                continue
            line, data = self.line(data, "Invalid request." if self.state == LINE else
                                   "Invalid header. Reason: Invalid content length. Header: " +
                                   data.decode(errors="replace"))
            if line is None:
                return
            if self.state == LINE:
                self.start_line(line)
            elif line:
                self.header(line)
            else:
                self.end_of_headers()

    def read(self):
        data = self.receive()
        if not data:
            self.closed = True
            return
        kept, self.buffer = self.buffer, b""
        try:
            self.parse(kept + data)
        except ParseError as e:
            for r in self.parsed:
                r.close()
            self.parsed, self.buffer = [], kept
            self.out.append(response(400, DROPPED.format(e).encode(), "Firecracker API"))

    # ---- events ----

    def on_event(self, events):
        if events & lp.BAD:     # looked at first: who half-closes gets no answer
            self.closed, self.out = True, []
        elif events & lp.IN:
            self.read()
        elif events & lp.OUT:
            self.write()
        for r in self.parsed:
            self.waiting += 1
            self.server.queue.append((self, r))
        self.parsed = []
        self.settle()
        self.server.pump()

    def write(self):
        try:
            n = self.sock.send(self.out[0])
        except OSError:
            self.closed, self.out = True, []
            return
        self.out[0] = self.out[0][n:]
        if not self.out[0]:
            self.out.pop(0)

    def answer(self, data):
        self.waiting -= 1
        if not self.closed and data is not None:
            self.out.append(data)
        self.settle()

    def settle(self):
        """What is waited for next; a connection that is over leaves when nothing of it is under way."""
        loop = self.server.loop
        if self.closed:
            loop.unwatch(self.sock.fileno())
            if self.waiting == 0 and self in self.server.connections:
                self.server.connections.remove(self)
                self.sock.close()
            return
        loop.watch(self.sock.fileno(), (lp.OUT if self.out else lp.IN) | lp.RDHUP, self.on_event, vmm=True)

    def hang_up(self):
        self.closed, self.out = True, []
        self.settle()


class Server:
    """handle(request, answer): answer(bytes or None) is called once, at any time; None leaves the client
    without one. While an answer is awaited the handler blocks the loop's VMM thread."""

    def __init__(self, loop, sock, handle, max_body, methods):
        self.loop, self.sock, self.handle = loop, sock, handle
        self.max_body, self.methods = max_body, methods
        self.connections, self.queue, self.busy = [], [], False
        sock.setblocking(False)
        loop.watch(sock.fileno(), lp.IN, self.accept, vmm=True)

    def accept(self, _):
        try:
            sock, _ = self.sock.accept()
        except BlockingIOError:
            return
        if len(self.connections) == CONNECTIONS:
            sock.send(FULL)
            sock.close()
            return
        sock.setblocking(False)
        c = Connection(self, sock)
        self.connections.append(c)
        c.settle()

    def pump(self):
        """One request at a time, of whatever connection."""
        while self.queue and not self.busy:
            connection, request = self.queue.pop(0)
            self.busy = True

            def answer(data, c=connection, r=request):
                r.close()
                self.busy = False
                c.answer(data)
                self.loop.later(self.pump)

            self.handle(request, answer, connection)

    def flush(self):
        """What a server does before it ends: outstanding answers leave."""
        for c in self.connections:
            while c.out and not c.closed:
                select.select([], [c.sock], [], 1)
                c.write()
        self.sock.close()
