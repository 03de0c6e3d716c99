"""Live migration between two doubles. On the wire: one JSON line there (configuration and state) and a byte back
when it is taken; then a byte to complete it, on which the machine goes on there, and a byte back.

As the real one does: a receiver resumes before it answers, and a sender that hears no answer resumes, too.
Since 53 the sender answers at once and a worker goes on, with the VM frozen for everybody else; before, the
call lasted as long as the migration. The receiver is deaf from bind to end."""
import json
import os
import signal
import socket

from . import loop as lp
from . import schema, snapshot
from .api import Refused

DONE, COMPLETE = b"k", b"c"
TEXT = "Failed to receive migratable component snapshot"
GATE_LOOK = 2


def address(url):
    if url.startswith("unix:"):
        return socket.AF_UNIX, url[5:]
    if url.startswith("tcp:"):
        host, _, port = url[4:].rpartition(":")
        if port.isdigit() and host.startswith("[") and host.endswith("]"):
            host, _, link = host[1:-1].partition("%")
            return socket.AF_INET6, (host, int(port), 0, int(link or 0))
        if port.isdigit():
            return socket.AF_INET, (host, int(port))
    raise Refused("Failed to receive migratable component snapshot", f"Invalid migration URL: {url}")


def gate(vmm, at, go_on):
    """A test that named this point learns that it is reached, and lets it go on."""
    plan = vmm.conf["migration"]["gate"]
    if not plan or plan["at"] != at:
        go_on()
        return
    with open(os.path.join(plan["dir"], "reached"), "w", encoding="utf-8"):
        pass

    def look():
        if os.path.exists(os.path.join(plan["dir"], "go")):
            go_on()
        else:
            vmm.process.loop.timer(GATE_LOOK, look)

    look()


# ---- sending ----

def send(vmm, want):
    vm = vmm.vm
    if vm is None:
        raise Refused("VM is not running")
    if want["local"] and not vmm.config["memory"]["shared"] and not vmm.config["memory"]["hugepages"]:
        raise Refused("Failed to send migratable component snapshot", "Local migration requires shared memory or hugepages")
    if any(n.get("fds") for n in vmm.config.get("net") or []):
        raise Refused("Failed to send migratable component snapshot", "Devices backed by FDs cannot be migrated")
    where = address(want["destination_url"])
    if vmm.version >= 53:
        vmm.leaving = vmm.vm_info()
        vmm.process.loop.timer(vmm.conf["migration"]["step"], Sender(vmm, want, where, lambda _: None).start)
        return None
    return wait_for_sender(vmm, want, where)


def wait_for_sender(vmm, want, where):
    failed = []
    vmm.leaving = vmm.vm_info()
    yield lambda go_on: Sender(vmm, want, where, lambda error: (failed.append(error), go_on())).start()
    if failed[0]:
        raise Refused("Failed to send migratable component snapshot", failed[0])


class Sender:
    def __init__(self, vmm, want, where, finished):
        self.vmm, self.vm, self.want, self.where, self.finished = vmm, vmm.vm, want, where, finished
        self.loop, self.plan = vmm.process.loop, vmm.conf["migration"]
        self.was, self.sock = self.vm.state, None

    def event(self, name, properties=None):
        if self.vmm.version >= 52 or not name.startswith("migration"):
            self.vmm.process.event("vm", name, properties)

    def start(self):
        self.event("migration-started")
        self.sock = socket.socket(self.where[0], socket.SOCK_STREAM)
        try:
            self.sock.connect(self.where[1])
        except OSError as e:
            self.fail(f"{e.strerror} (os error {e.errno})")
            return
        gate(self.vmm, "connected", lambda: self.iterate(0))

    def iterate(self, i):
        if self.plan["fail"] == "iteration":
            self.fail("Migration was aborted")
        elif i < self.plan["iterations"] and not self.want["local"]:
            self.event("migration-memory-iteration", {"id": str(i)})
            self.loop.timer(self.plan["step"], lambda: self.iterate(i + 1))
        else:
            gate(self.vmm, "memory", self.stand_still)

    def stand_still(self):
        if self.was == "Running":
            self.vm.move("Paused")
        gate(self.vmm, "paused", self.hand_over)

    def hand_over(self):
        self.event("snapshotting")
        if self.want["local"] and self.vmm.version == 53 and self.vmm.conf["seccomp_migration"] \
                and self.vmm.process.options.seccomp == "true":
            os.kill(os.getpid(), signal.SIGSYS)
        self.event("snapshotted")
        self.vm.devices.release_locks()
        data = {"config": self.vmm.config, "state": snapshot.state_of(self.vm), "running": self.was == "Running"}
        lp.write_all(self.sock.fileno(), json.dumps(data).encode() + b"\n")
        self.on_ok(lambda: gate(self.vmm, "sent", self.complete))

    def complete(self):
        lp.write_all(self.sock.fileno(), COMPLETE)
        gate(self.vmm, "completing", lambda: self.on_ok(lambda: gate(self.vmm, "finished", self.leave)))

    def on_ok(self, go_on):
        """The answer to what was just sent: go_on, or the end of it."""
        def on_answer(_):
            self.loop.unwatch(self.sock.fileno())
            try:
                answer = self.sock.recv(1)
            except OSError:
                answer = b""
            if answer == DONE:
                go_on()
            else:
                self.fail("Migration was aborted")

        self.loop.watch(self.sock.fileno(), lp.IN, on_answer)

    def leave(self):
        self.sock.close()
        self.event("migration-finished")
        self.vmm.leaving = None
        self.finished(None)
        self.vm.close()
        self.vmm.vm = None
        self.vmm.vm_delete()
        self.vmm.process.event("vmm", "shutdown")
        self.vmm.process.end(0)

    def fail(self, text):
        self.sock.close()
        self.event("migration-failed")
        self.vmm.leaving = None
        if self.was == "Running" and self.vm.state == "Paused":
            self.vm.move("Running")
        self.finished(text)


# ---- receiving ----

class Receiver:
    """Waits for one peer and what it says, without the VMM thread."""

    def __init__(self, vmm, where):
        self.vmm, self.loop, self.where, self.data = vmm, vmm.process.loop, where, b""
        self.sock = socket.socket(where[0], socket.SOCK_STREAM)
        self.peer, self.go_on = None, None
        try:
            if where[0] == socket.AF_INET:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(where[1])
        except OSError as e:
            self.sock.close()
            raise Refused(TEXT, "Error binding to the migration socket",
                          f"{e.strerror} (os error {e.errno})") from e
        self.sock.listen(1)

    def wait(self, go_on):
        self.go_on = go_on
        self.loop.watch(self.sock.fileno(), lp.IN, self.accept)

    def accept(self, _):
        self.loop.unwatch(self.sock.fileno())
        self.peer, _ = self.sock.accept()
        if self.vmm.version >= 52:
            self.vmm.process.event("vm", "migration-receive-started")
        self.go_on()

    def gate(self, at):
        return lambda go_on: gate(self.vmm, at, go_on)

    def line(self, go_on):
        """Until all of a line, or a byte of a command, or the end of the connection is there."""
        def on_data(_):
            try:
                more = self.peer.recv(65536)
            except OSError:
                more = b""
            self.data += more
            if not more or self.data.endswith((b"\n", COMPLETE)):
                self.loop.unwatch(self.peer.fileno())
                go_on()

        self.data = b""
        self.loop.watch(self.peer.fileno(), lp.IN, on_data)

    def answer(self):
        if not lp.write_all(self.peer.fileno(), DONE):
            raise Refused(TEXT, "Broken pipe (os error 32)")

    def close(self):
        self.sock.close()
        if self.peer:
            self.peer.close()
        if self.where[0] == socket.AF_UNIX:
            os.unlink(self.where[1])


def receive(vmm, want):
    if vmm.vm:
        raise Refused("VM is already created")
    receiver = Receiver(vmm, address(want["receiver_url"]))
    if vmm.version >= 53:
        vmm.process.event("vm", "migration-receive-ready")
    yield receiver.wait
    try:
        yield receiver.gate("accepted")
        running = yield from take_over(vmm, receiver)
        yield from complete(vmm, receiver, running)
        yield receiver.gate("answered")
    finally:
        if vmm.conf["migration"]["fail"] == "silent":  # a network that has gone leaves no end of a connection
            vmm.kept, receiver.peer = receiver.peer, None
        receiver.close()
    if vmm.version >= 52:
        vmm.process.event("vm", "migration-receive-finished")


def take_over(vmm, receiver):
    """Configuration and state; what goes wrong is answered, and leaves nothing."""
    try:
        yield receiver.line
        if not receiver.data.endswith(b"\n"):
            raise Refused(TEXT, "failed to fill whole buffer")
        sent = json.loads(receiver.data)
        config = schema.Reader(vmm.version, 0).object(sent["config"], "VmConfig")
        snapshot.check_cpu(vmm, sent["state"])
        if vmm.conf["migration"]["fail"] == "receive":
            raise Refused(TEXT, "Migration was aborted")
        vmm.process.event("vm", "restoring")
        yield from snapshot.rebuild(vmm, config, sent["state"])
        vmm.process.event("vm", "restored")
        yield receiver.gate("restored")
    except Refused:
        vmm.close_console()
        vmm.config = None
        if vmm.version >= 52:
            vmm.process.event("vm", "migration-receive-failed")
        raise
    return sent["running"]


def complete(vmm, receiver, running):
    """From here on a sender that has gone leaves a machine that stands still, and an answer that cannot be given one that runs."""
    receiver.answer()
    yield receiver.line
    if receiver.data != COMPLETE:
        raise Refused(TEXT, "failed to fill whole buffer")
    if running or vmm.version < 52:
        vmm.vm.move("Running")
    yield receiver.gate("resumed")
    if vmm.conf["migration"]["fail"] == "cut":
        raise Refused(TEXT, "Broken pipe (os error 32)")
    if vmm.conf["migration"]["fail"] != "silent":
        receiver.answer()
