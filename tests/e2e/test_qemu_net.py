"""The user network of a real guest under QEMU, in both directions; as root and as an ordinary user."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import threading

import pytest
import vivtest

GATEWAY = "10.0.2.2"  # what the guest calls the host
HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def host_service(answer):
    """A service on the host's loopback: reads one line of each of its callers, answers, hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as s, s.makefile("rb") as f:
                        heard.append(f.readline())
                        s.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(vivtest.DEADLINE)


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=vivtest.DEADLINE)
    s.settimeout(vivtest.DEADLINE)
    return s


def read_all(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def fetch(port, path):
    with connect(port) as s:
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = read_all(s).partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    return body


def serve_in_guest(c):
    """An HTTP server on port 80 and an echo on port 7, both listening."""
    c.run("mkdir -p /tmp/www && echo hello from the guest > /tmp/www/hello && httpd -h /tmp/www")
    c.line("nc -ll -p 7 -e cat &")
    c.run("until netstat -ltn | grep -q ':7 '; do usleep 20000; done")


def host_is_reached(c):
    with host_service(b"hello from the host\n") as (port, heard):
        assert c.run(f"echo hello from the guest | nc -w 20 {GATEWAY} {port}") == "hello from the host\n"
        assert heard == [b"hello from the guest\n"]


@pytest.fixture(scope="module")
def ports():
    return {"http": free_port(), "echo": free_port(), "udp": free_port(socket.SOCK_DGRAM)}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The guest's UDP echo, on a disk."""
    if not shutil.which("cc"):
        pytest.skip("needs cc")
    path = tmp_path_factory.mktemp("udp") / "echo"
    subprocess.run(["cc", "-static", "-s", "-O1", "-o", path, os.path.join(HERE, "udp_echo.c")], check=True)
    path.write_bytes(path.read_bytes().ljust(4 * MIB, b"\0"))
    return path


@pytest.fixture(scope="module")
def web(module_root, guest, ports, program):
    vm = module_root.qemu("web", guest, disks=[{"id": "program", "path": str(program)}], nets=[{"id": "lan", "forward": [
        f"{ports['http']}:80", f"{ports['echo']}:7/tcp", f"{ports['udp']}:7/udp", "0:80"]}])
    return vm.boot()


@pytest.fixture(scope="module")
def shell(web):
    with web.console() as c:
        c.line("")
        serve_in_guest(c)
        yield c


def test_the_guest_has_an_address_of_its_network(web, shell):
    assert "inet 10.0.2.15/24" in shell.run("ip -4 addr show dev eth0")
    assert f"default via {GATEWAY}" in shell.run("ip route")
    assert web("ip").out.split()[0] == "10.0.2.15"


def test_the_guest_reaches_a_service_on_the_hosts_loopback(shell):
    host_is_reached(shell)


def test_a_forwarded_tcp_port_leads_into_the_guest(web, shell, ports):
    assert f"80/tcp -> 127.0.0.1:{ports['http']}\n" in web("port").out
    assert fetch(ports["http"], "/hello") == b"hello from the guest\n"


def test_host_port_0_takes_a_free_one_and_says_which(web, shell, ports):
    free = web.info()["ports"][3]
    assert (free["net"], free["protocol"], free["host_ip"], free["guest_port"]) == ("lan", "tcp", "127.0.0.1", 80)
    assert free["host_port"] not in (0, None, ports["http"])
    assert f"80/tcp -> 127.0.0.1:{free['host_port']}\n" in web("port").out
    assert web("port", "-o", "json").json()["ports"][3] == free
    assert fetch(free["host_port"], "/hello") == b"hello from the guest\n"


def test_the_free_port_is_known_after_the_monitor_died(web, shell):
    before = web.info()
    vivtest.kill(before["monitor"])
    web.until("the next monitor is there", lambda: (web.info()["monitor"] or before["monitor"]) != before["monitor"])
    assert web.info()["ports"] == before["ports"]


def test_a_free_port_is_any_until_it_is_taken(root, guest):
    vm = root.qemu("web", guest, nets=[{"id": "lan", "forward": ["0:80", "0:80", "0:53/udp"]}])
    assert vm("port").out == "80/tcp -> 127.0.0.1:any\n" * 2 + "53/udp -> 127.0.0.1:any\n"
    vm("start")
    taken = [p["host_port"] for p in vm.info()["ports"]]
    assert None not in taken and taken[0] != taken[1]
    vm("kill")
    assert [p["host_port"] for p in vm.info()["ports"]] == [None] * 3


def test_a_megabyte_comes_through_unchanged(shell, ports):
    digest = shell.run("head -c 1048576 /dev/urandom > /tmp/www/big && sha256sum < /tmp/www/big").split()[0]
    assert hashlib.sha256(fetch(ports["http"], "/big")).hexdigest() == digest


def test_half_closed_connections_still_answer(shell, ports):
    with connect(ports["echo"]) as s:
        s.sendall(b"the last word")
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b"the last word"


def test_many_connections_at_once(shell, ports):
    """All are open at the same time; one after the other, since busybox lets only one wait at its door."""
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(20):
            s = stack.enter_context(connect(ports["echo"]))
            s.sendall(b"hello")
            assert s.recv(5, socket.MSG_WAITALL) == b"hello"
            callers.append(s)
        for n, s in enumerate(callers):
            s.sendall(f"caller {n}".encode())
            s.shutdown(socket.SHUT_WR)
        assert [read_all(s) for s in callers] == [f"caller {n}".encode() for n in range(20)]


def test_a_forwarded_udp_port_leads_into_the_guest(web, shell, ports):
    assert f"7/udp -> 127.0.0.1:{ports['udp']}\n" in web("port").out
    shell.run("cat /dev/vda > /run/echo && chmod +x /run/echo")
    shell.line("/run/echo &")
    shell.run("until netstat -lun | grep -q ':7 '; do usleep 20000; done")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(vivtest.DEADLINE)
        s.connect(("127.0.0.1", ports["udp"]))
        for n in range(5):
            s.send(f"datagram {n}".encode())
            assert s.recv(2048) == f"echo: datagram {n}".encode()


def test_a_port_in_use_on_the_host_is_named(root, guest, ports, web):
    vm = root.qemu("late", guest, nets=[{"id": "lan", "forward": [f"{ports['http']}:80"]}])
    r = vm("start", code=None)
    assert r.code == 1 and str(ports["http"]) in r.err, r
    assert vm.info()["state"] == "failed"


def test_an_ordinary_user_has_the_same_network(user_root, guest):
    if user_root.prefix and subprocess.run([*user_root.prefix, "test", "-r", guest / "vmlinuz", "-a", "-x", user_root.viv],
                                           check=False).returncode:
        pytest.skip("needs viv and the demo guest where an ordinary user can read them")
    port = free_port()
    vm = user_root.qemu("web", guest, nets=[{"id": "lan", "forward": [f"{port}:80"]}]).boot()
    owner = os.stat(user_root.home).st_uid
    assert owner != 0
    assert {os.stat(f"/proc/{p['pid']}").st_uid for p in vm.processes().values()} == {owner}
    with vm.console() as c:
        c.line("")
        serve_in_guest(c)
        host_is_reached(c)
        assert fetch(port, "/hello") == b"hello from the guest\n"
    assert vm("stop", "-o", "json", deadline=90).json()["rung"] == "acpi"
