"""Routes, versions, error bodies, faults: between the HTTP server and the VM."""
import json
import os
import signal

from . import schema
from .http import response

ROOT = "/api/v1/"
GET = {"vmm.ping", "vm.info", "vm.counters"}
PLAIN = {"vmm.shutdown", "vm.delete", "vm.boot", "vm.pause", "vm.resume", "vm.shutdown", "vm.reboot", "vm.power-button",
         "vm.nmi"}
BODY = {"vm.create": "VmConfig", "vm.resize": "Resize", "vm.resize-disk": "ResizeDisk", "vm.resize-zone": "ResizeZone",
        "vm.add-disk": "Disk", "vm.add-net": "Net", "vm.add-fs": "Fs", "vm.add-pmem": "Pmem", "vm.add-vdpa": "Vdpa",
        "vm.add-vsock": "Vsock", "vm.add-device": "Device", "vm.add-user-device": "UserDevice",
        "vm.add-generic-vhost-user": "GenericVhostUser", "vm.remove-device": "RemoveDevice", "vm.snapshot": "Snapshot",
        "vm.coredump": "Coredump", "vm.restore": "Restore", "vm.receive-migration": "Receive",
        "vm.send-migration": "Send"}
SINCE = {"vm.resize-disk": 50, "vm.add-generic-vhost-user": 52}
# Endpoints with a handler of their own: every method that is not theirs gets ["Bad Request"].
OWN = {"vm.create", "vm.info", "vmm.ping", "vmm.shutdown"}
HEAD = 54


class Refused(Exception):
    """An error chain below the endpoint's own text; kind decides the status."""

    def __init__(self, *chain, kind="other"):
        super().__init__(*chain)
        self.chain, self.kind = list(chain), kind


def status_of(kind, version):
    if kind == "busy":
        return 429
    if version >= HEAD:
        return {"missing": 404, "no-device": 404, "config": 400, "duplicate": 409}.get(kind, 500)
    return 404 if kind == "missing" and version >= 53 else 500


def level(endpoint, version):
    """The second string of an error: what the endpoint was about."""
    verb = endpoint.split(".", 1)[1]
    if verb.startswith("add-"):
        what = {"device": "device", "user-device": "user device", "disk": "disk", "fs": "fs", "pmem": "pmem device",
                "generic-vhost-user": "generic vhost-user device", "net": "network device", "vdpa": "vDPA device",
                "vsock": "vsock device"}[verb[4:]]
        return f"The {what} could not be added to the VM"
    return {
        "boot": "The VM could not boot", "create": "The VM could not be created", "delete": "The VM could not be deleted",
        "info": "The VM info is not available", "counters": "The VM info is not available",
        "pause": "The VM could not be paused", "resume": "The VM could not resume",
        "shutdown": "The VMM could not shutdown" if endpoint.startswith("vmm") else "The VM could not shutdown",
        "reboot": "The VM could not reboot", "snapshot": "The VM could not be snapshotted",
        "restore": "The VM could not be restored", "coredump": "The VM could not be coredumped",
        "resize": "The VM could not be resized", "resize-disk": "The disk could not be resized",
        "resize-zone": "The memory zone could not be resized",
        "remove-device": "The device could not be removed from the VM",
        "power-button": "Error triggering power button", "nmi": "Error triggering NMI",
        "receive-migration": "Error receiving migration" if version >= 53 else "Error starting migration receiver",
        "send-migration": ("Error dispatching the migration worker" if version >= 53 else
                           "Error starting migration sender"),
    }[verb]


def to_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def chain(status, *texts):
    return response(status, to_json(list(texts)))


class Api:
    """Takes requests from the HTTP server, gives them to the VM, and answers."""

    def __init__(self, process):
        self.process, self.vmm = process, process.vmm
        self.version, self.conf = process.version, process.conf
        self.counts = {}

    def known(self, endpoint):
        if endpoint == "vm.coredump" and "guest_debug" not in self.conf["features"]:
            return False
        return ((endpoint in GET or endpoint in PLAIN or endpoint in BODY)
                and SINCE.get(endpoint, 0) <= self.version)

    def handle(self, request, answer, connection):
        endpoint = request.path[len(ROOT):] if request.path.startswith(ROOT) else None
        entry = {"method": request.method, "path": request.path, "fds": len(request.fds)}

        def journalled(data):
            self.write_journal(entry, data)
            answer(data)

        n = self.counts[endpoint] = self.counts.get(endpoint, 0) + 1
        for fault in self.conf["faults"]:
            if fault["at"] in (endpoint, "*") and fault.get("nth", n) == n:
                if self.fault(fault, request, endpoint, entry, journalled, connection):
                    return
        self.serve(request, endpoint, entry, journalled)

    def serve(self, request, endpoint, entry, answer):
        if endpoint is None or not self.known(endpoint):
            answer(chain(404, "Not Found"))
        elif request.method not in ("GET", "PUT"):
            answer(chain(400, "Bad Request") if endpoint in OWN else response(400, b""))
        elif request.method != ("GET" if endpoint in GET else "PUT"):
            answer(chain(400, "Bad Request"))
        elif endpoint in BODY and request.body is None:
            answer(response(400, b"") if endpoint == "vm.create" else chain(400, "Bad Request"))
        elif endpoint in PLAIN and request.body is not None and endpoint != "vmm.shutdown":
            answer(chain(400, "Bad Request"))
        else:
            self.act(request, endpoint, entry, answer)

    def body(self, request, endpoint, entry):
        if endpoint not in BODY:
            return None
        reader = schema.Reader(self.version, len(request.body))
        try:
            value = json.loads(request.body)
        except (ValueError, RecursionError) as e:
            raise schema.Wrong(f"expected value{reader.at}") from e
        entry["body"] = value
        entry["complaints"] = reader.complaints
        return reader.object(value, BODY[endpoint])

    def act(self, request, endpoint, entry, answer):
        try:
            body = self.body(request, endpoint, entry)
        except schema.Wrong as e:
            answer(chain(400, "Failed to deserialize JSON", str(e)))
            return

        def done(result, error=None):
            if error is None:
                answer(self.success(endpoint, result))
            elif error.kind in ("busy", "fds"):
                answer(chain(429, "Too Many Requests") if error.kind == "busy" else chain(400, "Bad Request"))
            else:
                answer(chain(status_of(error.kind, self.version), "Error from API", level(endpoint, self.version),
                             *error.chain))

        try:
            self.vmm.call(endpoint, body, request.fds, done)
        except Refused as e:
            done(None, e)
        except VmmPanic:
            answer(chain(500, "Error from API", "API response receive error", "receiving on a closed channel"))
            self.process.end(1)

    @staticmethod
    def success(endpoint, result):
        if endpoint == "vmm.shutdown":
            return response(200, b"")
        return response(204) if result is None else response(200, to_json(result))

    def write_journal(self, entry, data):
        entry["status"] = int(data[9:12]) if data and data.startswith(b"HTTP/1.1 ") else None
        self.process.journal(entry)

    # ---- faults: {"at": endpoint or "*", "nth": 1, "do": …} ----

    def fault(self, fault, request, endpoint, entry, answer, connection):
        """True: the request is dealt with. do: hang, delay {ms}, error {status, text}, garbage, huge, half
        (close in the middle of an answer, after the verb was done), close (before it), slow {ms} (an answer
        byte by byte), exit {code}, signal {number}."""
        loop, do = self.process.loop, fault["do"]
        if do == "hang":
            loop.block()
        elif do == "delay":
            loop.block()
            loop.timer(fault["ms"], lambda: (loop.unblock(), self.serve(request, endpoint, entry, answer)))
        elif do == "error":
            answer(chain(fault.get("status", 500), *fault["text"]))
        elif do == "garbage":
            answer(bytes(range(256)) * 8)
        elif do == "huge":
            answer(response(200, b'["' + b"x" * fault.get("bytes", 5 << 20) + b'"]'))
        elif do == "close":
            connection.hang_up()
            answer(None)
        elif do in ("half", "slow"):
            self.serve(request, endpoint, entry, lambda data: self.dribble(fault, data, answer, connection))
        elif do == "exit":
            self.process.end(fault["code"], flush=False)
        elif do == "signal":
            os.kill(os.getpid(), fault.get("number", signal.SIGSYS))
        else:
            raise KeyError(do)
        return True

    def dribble(self, fault, data, answer, connection):
        if fault["do"] == "half":
            connection.sock.send(data[:len(data) // 2])
            connection.hang_up()
            answer(None)
            return
        rest = [data[i:i + 1] for i in range(len(data))]

        def one():
            if not rest or connection.closed:
                answer(None)
                return
            connection.out.append(rest.pop(0))
            connection.settle()
            self.process.loop.timer(fault.get("ms", 1), one)

        one()


class VmmPanic(Exception):
    """The VMM thread would have panicked."""
