"""viv migrate to ssh://: a real sshd of this test's own, on loopback, with keys and configuration of its own."""

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest
import vivtest
from conftest import missing
from test_migrate import ENV, count_to, counts, pair  # noqa: F401  (a fixture)

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")
SERVER = """HostKey {dir}/host
AuthorizedKeysFile {dir}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {env}
"""
CLIENT = """Host *
IdentityFile {dir}/{key}
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile {dir}/known
GlobalKnownHostsFile /dev/null
BatchMode yes
"""


class Server:
    """Listens by itself and runs an sshd for each connection: no port is guessed, and no daemon is left."""

    def __init__(self, base, env, address="127.0.0.1"):
        self.dir, self.env, self.address = base, env, address
        for key in ("host", "right", "wrong"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{base}/{key}"], check=True)
        shutil.copy(f"{base}/right.pub", f"{base}/authorized")
        v6 = ":" in address
        self.listener = socket.create_server(("::" if v6 else address, 0), family=socket.AF_INET6 if v6 else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        with open(f"{base}/host.pub", encoding="utf-8") as f, open(f"{base}/known", "w", encoding="utf-8") as known:
            known.write(f"[{address}]:{self.port} {f.read()}")
        self.children, self.thread = [], threading.Thread(target=self.serve)
        self.path(os.path.dirname(env["viv"]))
        self.thread.start()

    def path(self, first):
        """What a shell there finds: viv is in the directory first."""
        env = {"PATH": f"{first}:/usr/bin:/bin", **{k: self.env[k] for k in ENV if k in self.env}}
        with open(f"{self.dir}/sshd_config", "w", encoding="utf-8") as f:
            f.write(SERVER.format(dir=self.dir, env=" ".join(f'"{k}={v}"' for k, v in env.items())))

    def serve(self):
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                conn, _ = self.listener.accept()
                with conn:
                    self.children.append(subprocess.Popen([SSHD, "-i", "-e", "-f", f"{self.dir}/sshd_config"], stdin=conn, stdout=conn,
                                                          stderr=subprocess.DEVNULL))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for child in self.children:
            child.wait(vivtest.DEADLINE)

    @property
    def dest(self):
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"ssh://{getpass.getuser()}@{host}:{self.port}"

    def client(self, root, key="right"):
        """The ssh of that root's viv: the real one, with a configuration and a key of this test."""
        with open(f"{self.dir}/ssh_config", "w", encoding="utf-8") as f:
            f.write(CLIENT.format(dir=self.dir, key=key))
        os.makedirs(f"{self.dir}/bin", exist_ok=True)
        with open(f"{self.dir}/bin/ssh", "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.dir}/ssh_config "$@"\n')
        os.chmod(f"{self.dir}/bin/ssh", 0o755)
        root.env["PATH"] = f"{self.dir}/bin:{os.environ['PATH']}"


def addresses_v6():
    """::1, and one of a link with its interface, of those that this host has."""
    with contextlib.suppress(FileNotFoundError), open("/proc/net/if_inet6", encoding="utf-8") as f:
        found = [(":".join(a[i:i + 4] for i in range(0, 32, 4)), scope, dev) for a, _, _, scope, _, dev in map(str.split, f)]
        text = {scope: socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, a)) + (f"%{dev}" if scope == "20" else "")
                for a, scope, dev in found}
        return {"loopback": text.get("10"), "link": text.get("20")}
    return {}


@contextlib.contextmanager
def serving(pair, base, *address):  # noqa: F811
    if not SSHD or not shutil.which("ssh"):
        missing("ssh", "openssh-server and openssh-client are not installed")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's, as its unit makes it
    s = Server(str(base), {**pair.there.root.env, "viv": pair.there.root.viv}, *address)
    s.client(pair.here.root)
    yield s
    s.close()


@pytest.fixture
def server(pair, tmp_path):  # noqa: F811
    with serving(pair, tmp_path) as s:
        yield s


def move(pair, dest, code=0):  # noqa: F811
    return pair.here.root("migrate", "web", dest, code=code)


def goes_on(vm):
    """Nothing has happened to it."""
    assert (vm.info()["state"], vm.info()["moving"]) == ("running", None)
    counts(vm, 2)


def test_the_guest_goes_on_there(pair, server):  # noqa: F811
    vm = pair.vm()
    count_to(vm, 1)
    r = move(pair, server.dest)
    assert (r.out, r.err) == (f"web: runs at {server.dest}\n", "")
    counts(pair.vm_there(), 2)
    left = vm.info()
    assert (left["state"], left["reason"]["code"], left["reason"]["text"]) == ("stopped", "migrated", server.dest)
    before = vm("logs").out
    assert "count 1" in before and pair.vm_there()("logs").out.startswith(before)


@pytest.mark.parametrize("scope, tail", [("loopback", ""), ("loopback", "/"), ("link", "")], ids=["loopback", "slash", "link"])
def test_an_ipv6_address(pair, tmp_path, scope, tail):  # noqa: F811
    address = addresses_v6().get(scope)
    if not address:
        missing("ipv6", f"no IPv6 address of scope {scope} here")
    with serving(pair, tmp_path, address) as server6:
        vm = pair.vm()
        count_to(vm, 1)
        r = move(pair, server6.dest + tail)
        assert (r.out, r.err) == (f"web: runs at {server6.dest}{tail}\n", "")
        counts(pair.vm_there(), 2)
        assert receiver_url(pair.vm_there()).startswith("tcp:[::1]:" if scope == "loopback" else "tcp:[::]:")


def receiver_url(vm):
    with open(os.path.join(vm.dir, "running.json"), encoding="utf-8") as f:
        return next(q["body"]["receiver_url"] for q in json.load(f)["plan"]["requests"] if "receiver_url" in (q.get("body") or {}))


def test_what_is_in_doubt_is_resolved_over_ssh(pair, server):  # noqa: F811
    pair.does(there={"migration": {"fail": "cut"}})
    vm = pair.vm()
    count_to(vm, 1)
    assert move(pair, server.dest).out == f"web: runs at {server.dest}\n"
    assert vm.info()["moving"]["phase"] == "gone"
    counts(pair.vm_there(), 2)


def test_a_key_that_is_not_known_there(pair, server):  # noqa: F811
    server.client(pair.here.root, "wrong")
    vm = pair.vm()
    count_to(vm, 1)
    r = move(pair, server.dest, code=1)
    assert r.err == f"viv: migrate web: {server.dest}: ssh failed: {getpass.getuser()}@127.0.0.1: Permission denied (publickey).\n"
    goes_on(vm)


def test_a_host_without_viv(pair, server):  # noqa: F811
    server.path("/nonexistent")
    vm = pair.vm()
    count_to(vm, 1)
    r = move(pair, server.dest, code=3)
    assert r.err.startswith(f"viv: migrate web: {server.dest}: viv cannot be run there: ") and "viv" in r.err
    assert "hint: viv must be on the PATH of what ssh starts there" in r.err
    goes_on(vm)


def test_a_host_that_is_not_there(pair, server):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    vm = pair.vm()
    count_to(vm, 1)
    r = move(pair, f"ssh://127.0.0.1:{port}", code=1)
    assert r.err == f"viv: migrate web: ssh://127.0.0.1:{port}: ssh failed: ssh: connect to host 127.0.0.1 port {port}: Connection refused\n"
    for nowhere in ("ssh://[::1", "ssh://[]", "ssh://[moon]", "ssh://::1", "ssh://[::1]:x", "ssh://moon/crater"):
        assert f'"{nowhere}" is no destination' in move(pair, nowhere, code=2).err
    goes_on(vm)


def test_a_host_key_that_has_changed(pair, server):  # noqa: F811
    with open(f"{server.dir}/wrong.pub", encoding="utf-8") as f, open(f"{server.dir}/known", "w", encoding="utf-8") as known:
        known.write(f"[127.0.0.1]:{server.port} {f.read()}")
    vm = pair.vm()
    count_to(vm, 1)
    r = move(pair, server.dest, code=1)
    assert r.err == f"viv: migrate web: {server.dest}: ssh failed: Host key verification failed.\n"
    goes_on(vm)


def test_no_ssh_here(pair, server):  # noqa: F811
    vm = pair.vm()
    count_to(vm, 1)
    pair.here.root.env["PATH"] = server.dir
    assert move(pair, server.dest, code=1).err == f"viv: migrate web: {server.dest}: ssh failed: cannot run ssh: No such file or directory\n"
    goes_on(vm)
