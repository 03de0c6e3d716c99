"""The double of Cloud Hypervisor, fact by fact; what has the same number belongs together.

A test that takes `vmm` runs against the double as 51, 52, 53 and head, and against real binaries where there are
some (cloud-hypervisor on PATH, VIV_TEST_CH_OLD) and /dev/kvm opens: what both say is what the double must say.
Real ones boot a guest only in the lab. A test that takes `double` needs one that can be told to misbehave."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest
from vmmtest import DEADLINE, DOUBLE, Ch, receive, request

REQUIRED = os.environ.get("VIV_TEST_REQUIRE", "").split(",")
LAB = "VIV_LAB" in os.environ
MIB = 1 << 20
HEAD = 54


def real_binary(which):
    """The real one, or the reason why there is none to be run here."""
    path = shutil.which("cloud-hypervisor") if which == "real" else os.environ.get("VIV_TEST_CH_OLD")
    if not path:
        return None, "needs ch: " + ("cloud-hypervisor is not on PATH" if which == "real" else "VIV_TEST_CH_OLD is not set")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return None, "needs ch: /dev/kvm cannot be opened here (the lab has one)"
    return path, None


class Factory:
    """Starts processes of one binary and version; all of them end with the test."""

    def __init__(self, work, which):
        self.work, self.which, self.made, self.count = str(work), which, [], 0
        self.is_double = which not in ("real", "old")
        self.binary, reason = (DOUBLE, None) if self.is_double else real_binary(which)
        if reason:
            (pytest.fail if "ch" in REQUIRED else pytest.skip)(reason)
        if self.is_double:
            self.version = HEAD if which == "head" else int(which.split(".")[0])
        else:
            out = subprocess.run([self.binary, "-V"], capture_output=True, text=True, check=True).stdout
            self.version = int(re.search(r"v(\d+)\.", out).group(1))
        self.kernel = os.path.join(self.work, "kernel")
        with open(self.kernel, "w", encoding="utf-8") as f:
            f.write("a kernel")

    def __call__(self, conf=None, **kw):
        if self.is_double:
            conf = {"version": self.which if "." in self.which or self.which == "head" else self.which + ".0", **(conf or {})}
        else:
            assert not conf
            conf = None
        self.count += 1
        c = Ch(self.work, self.binary, conf=conf, name=f"ch{self.count}", **kw)
        self.made.append(c)
        return c

    def payload(self):
        if self.is_double:
            return {"kernel": self.kernel, "cmdline": "console=ttyS0 vmrs.nonce=cafe"}
        if not LAB:
            pytest.skip("a real one boots a guest in the lab only")
        return {"kernel": os.environ["VIV_IMAGES"] + "/demo/vmlinuz", "cmdline": "console=ttyS0 quiet"}

    def config(self, **more):
        return {"payload": self.payload(), "memory": {"size": 256 * MIB}, "serial": {"mode": "Tty"},
                "console": {"mode": "Off"}, **more}

    def created(self, conf=None, **more):
        c = self(conf)
        c.put("vm.create", self.config(**more), 204)
        return c

    def booted(self, conf=None, **more):
        c = self.created(conf, **more)
        c.put("vm.boot", status=204)
        return c

    def disk(self, name="disk.img", size=8 * MIB):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def close(self):
        for c in self.made:
            c.close()
        shutil.rmtree(self.work)  # FIFOs and sockets of processes that were killed


def factory(tmp_path, which):
    f = Factory(tmp_path, which)
    yield f
    f.close()


@pytest.fixture(params=["51", "52", "53", "head", "real", "old"])
def vmm(request, tmp_path):
    yield from factory(tmp_path, request.param)


@pytest.fixture
def double(tmp_path):
    yield from factory(tmp_path, "53")


@pytest.fixture(params=["51", "52", "53", "head"])
def doubles(request, tmp_path):
    yield from factory(tmp_path, request.param)


def gone(version):
    return 404 if version >= 53 else 500


# ---- wire ----

def test_01_status_line_and_headers(vmm):
    c = vmm()
    a = c.get("vmm.ping")
    assert a.line == "HTTP/1.1 200 "
    assert [k for k, _ in a.headers] == ["Server", "Connection", "Content-Type", "Content-Length"]
    assert dict(a.headers)["Server"] == "Cloud Hypervisor API" and dict(a.headers)["Connection"] == "keep-alive"
    assert set(a.json()) == {"build_version", "version", "pid", "features"} and a.json()["pid"] == c.process.pid


def test_02_no_content_has_no_length(vmm):
    c = vmm()
    a = c.put("vm.delete", status=204)
    assert a.raw == b"HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n"
    a = c.put("vmm.shutdown", status=200)
    assert dict(a.headers)["Content-Length"] == "0" and a.body == b""
    assert c.end() == 0


def test_03_the_connection_stays_open(vmm):
    with vmm().connect() as s:
        for _ in range(3):
            s.sendall(request("GET", "vmm.ping"))
            assert receive(s).status == 200


def test_04_the_path_is_compared_whole(vmm):
    c = vmm()
    for path in ("vmm.ping?x=1", "vmm.ping/", "vm.nothing", "/", "/api/v1"):
        a = c.get(path)
        assert a.status == 404 and a.json() == ["Not Found"], path
    assert c.get("http://localhost/api/v1/vmm.ping").status == 200


def test_05_methods(vmm):
    c = vmm()
    with c.connect() as s:
        for method in ("POST", "HEAD"):
            s.sendall(request(method, "vmm.ping"))
            a = receive(s)
            assert a.status == 400 and dict(a.headers)["Server"] == "Firecracker API"
            assert a.body == (b'{ "error": "Invalid HTTP Method: Unsupported HTTP method.\n'
                              b'All previous unanswered requests will be dropped." }')
            with pytest.raises(ValueError):
                a.json()
        s.sendall(request("GET", "vmm.ping"))
        assert receive(s).status == 200
    assert (c.get("vm.boot").status, c.get("vm.boot").json()) == (400, ["Bad Request"])
    assert (c.put("vmm.ping").status, c.put("vm.info").json()) == (400, ["Bad Request"])
    patched = c.call("PATCH", "vm.boot")
    assert (patched.status, patched.body) == (400, b"")
    assert c.call("PATCH", "vmm.ping").json() == ["Bad Request"]


def test_06_bodies_where_none_belong_and_the_reverse(vmm):
    c = vmm()
    a = c.put("vm.boot", {"a": 1})
    assert (a.status, a.json()) == (400, ["Bad Request"])
    a = c.put("vm.resize")
    assert (a.status, a.json()) == (400, ["Bad Request"])
    a = c.put("vm.create")
    assert (a.status, a.body) == (400, b"")


def test_07_the_longest_body(vmm):
    c = vmm()
    limit = 4 << 20 if vmm.version >= HEAD else 51200
    a = c.put("vm.resize", b"{}" + b" " * (limit - 2))
    assert a.status != 400
    a = c.raw(f"PUT /api/v1/vm.resize HTTP/1.1\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
    assert a.status == 400 and f"size {limit + 1} is larger than the limit of {limit}".encode() in a.body


def test_08_eleven_connections(vmm):
    c = vmm()
    held = [c.connect() for _ in range(10)]
    for s in held:  # so that all ten are accepted
        s.sendall(request("GET", "vmm.ping"))
        assert receive(s).status == 200
    with c.connect() as s:
        a = receive(s)
        assert a.status == 503 and a.json() == {"error": "Too many open connections"}
        assert ("Server", "Firecracker API") in a.headers and ("Connection", "close") in a.headers
        assert s.recv(1) == b""
    for s in held:
        s.close()
    c.until("a place is free again", lambda: c.get("vmm.ping").status == 200)


def test_09_who_half_closes_gets_no_answer(vmm):
    with vmm().connect() as s:
        s.sendall(request("GET", "vmm.ping"))
        s.shutdown(socket.SHUT_WR)
        assert receive(s) is None


def test_10_chunks_are_not_understood(vmm):
    c = vmm()
    a = c.raw(b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert a.status == 400 and dict(a.headers)["Server"] == "Firecracker API" and b"Invalid request." in a.body


def test_11_one_request_at_a_time(double):
    c = double({"faults": [{"at": "vm.delete", "do": "delay", "ms": 300}]})
    with c.connect() as slow, c.connect() as other:
        slow.sendall(request("PUT", "vm.delete"))
        other.sendall(request("GET", "vmm.ping"))
        late = c.connect()  # into the backlog
        late.sendall(request("GET", "vmm.ping"))
        assert receive(slow).status == 204
        assert receive(other).status == 200 and receive(late).status == 200
        late.close()


def test_12_unknown_members_are_ignored_wrong_types_are_not(vmm):
    c = vmm()
    assert c.put("vm.create", {"no_such": 1, "cpus": {"boot_vcpus": 1, "max_vcpus": 1, "speed": "fast"}}).status == 204
    c.put("vm.delete", status=204)
    for body, text in (({"cpus": {"boot_vcpus": "two", "max_vcpus": 2}}, 'invalid type: string "two", expected u32'),
                       ({"cpus": {"boot_vcpus": -1, "max_vcpus": 2}}, "invalid value: integer `-1`, expected u32"),
                       ({"cpus": {"boot_vcpus": 1}}, "missing field `max_vcpus`"),
                       ({"serial": {"mode": "tty"}}, "unknown variant `tty`, expected one of `Off`, `Pty`, `Tty`")):
        a = c.put("vm.create", body)
        assert a.status == 400 and a.json()[0] == "Failed to deserialize JSON" and text in a.json()[1], a
    a = c.put("vm.create", {"disks": [{"rate_limiter_config": {"bandwith": None}}]})
    assert a.status == 400 and "unknown field `bandwith`" in a.json()[1]


# ---- states ----

def test_13_create_twice(vmm):
    c = vmm()
    c.put("vm.create", {"serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    a = c.put("vm.create", {})
    assert a.status == 500
    assert a.json() == ["Error from API", "The VM could not be created", "VM is already created"]


def test_14_boot_without_a_configuration(vmm):
    a = vmm().put("vm.boot")
    assert (a.status, a.json()) == (gone(vmm.version), ["Error from API", "The VM could not boot", "VM config is missing"])


def test_15_info_in_each_state(vmm):
    c = vmm()
    a = c.get("vm.info")
    assert (a.status, a.json()) == (gone(vmm.version),
                                    ["Error from API", "The VM info is not available", "VM is not created"])
    c.put("vm.create", vmm.config(), 204)
    assert c.info()["state"] == "Created" and c.info().get("device_tree") is None
    assert ("device_tree" in c.info()) == (vmm.version < 53)
    c.put("vm.boot", status=204)
    assert c.info()["state"] == "Running" and "__rng" in c.info()["device_tree"]
    assert c.info()["memory_actual_size"] == 256 * MIB
    c.put("vm.shutdown", status=204)
    assert c.info()["state"] == "Created" and c.info().get("device_tree") is None


def test_16_a_configuration_is_checked_at_boot(vmm):
    c = vmm()
    c.put("vm.create", {"serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    a = c.put("vm.boot")
    assert a.status == (400 if vmm.version >= HEAD else 500)
    assert a.json()[-3:] == ["Failed to validate config", "Payload configuration is not bootable",
                             "No bootitem provided: neither firmware nor kernel"]


def test_17_a_failed_boot_leaves_two_kinds_of_mess(vmm):
    c = vmm.created(disks=[{"path": vmm.disk()}, {"path": "/nowhere/x.img"}])
    assert len(c.info()["config"]["disks"]) == 2
    c.put("vm.boot", status=500)
    assert c.info()["config"].get("disks") is None and c.info()["state"] == "Created"  # lost: a retry would boot without
    c.put("vm.delete", status=204)
    config = vmm.config()
    config["payload"]["kernel"] = "/nowhere/vmlinuz"
    c.put("vm.create", config, 204)
    c.put("vm.boot", status=500)
    assert c.info()["state"] == "Created"
    a = c.put("vm.boot")
    if vmm.version >= 53:
        assert a.json()[-1] == "VM is already created"
    else:
        assert a.status == 204  # and runs nothing: never to be tried again
    c.put("vm.delete", status=204)
    assert c.get("vm.info").status == gone(vmm.version)


def test_18_delete_of_nothing(vmm):
    assert vmm().put("vm.delete").status == 204


def test_19_pause_and_resume(vmm):
    c = vmm()
    for verb, text in (("vm.pause", "The VM could not be paused"), ("vm.resume", "The VM could not resume"),
                       ("vm.shutdown", "The VM could not shutdown"), ("vm.power-button", "Error triggering power button")):
        a = c.put(verb)
        assert (a.status, a.json()) == (500, ["Error from API", text, "VM is not running"])
    assert c.get("vm.counters").json()[1:] == ["The VM info is not available", "VM is not running"]
    c = vmm.booted()
    c.put("vm.pause", status=204)
    assert c.info()["state"] == "Paused"
    a = c.put("vm.pause")
    assert a.status == 500 and a.json()[-1] == "Invalid transition: InvalidStateTransition(Paused, Paused)"
    c.put("vm.resume", status=204)
    a = c.put("vm.resume")
    assert a.status == 500 and a.json()[-1] == "Invalid transition: InvalidStateTransition(Running, Running)"


def test_20_reboot_of_what_never_booted(vmm):
    c = vmm()
    c.put("vm.create", {"serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    a = c.put("vm.reboot")
    assert (a.status, a.json()[-1]) == (gone(vmm.version), "VM is not created")
    c.event("rebooting")  # even then


def test_21_snapshots_that_are_refused(vmm):
    c = vmm.booted()
    target = os.path.join(vmm.work, "snap")
    os.mkdir(target)
    a = c.put("vm.snapshot", {"destination_url": f"file://{target}"})
    assert a.status == 500 and a.json()[-1] == "Trying to snapshot while VM is running"
    c.put("vm.pause", status=204)
    a = c.put("vm.snapshot", {"destination_url": "file:///nowhere"})
    assert a.status == 500 and a.json()[-1].startswith('Destination is not a directory: "/nowhere')
    c.put("vm.snapshot", {"destination_url": f"file://{target}"}, 204)
    assert sorted(os.listdir(target)) == ["config.json", "memory-ranges", "state.json"]
    c.put("vm.snapshot", {"destination_url": f"file://{target}"}, 500)


def test_22_restore(doubles):
    target = os.path.join(doubles.work, "snap")
    os.mkdir(target)
    c = doubles.booted(disks=[{"id": "d", "path": doubles.disk()}])
    c.said("VMRS_READY 10.0.2.15 cafe\r\n")
    c.type("nn")
    c.said("count 2")
    c.put("vm.pause", status=204)
    c.put("vm.snapshot", {"destination_url": f"file://{target}"}, 204)
    a = c.put("vm.restore", {"source_url": f"file://{target}"})
    assert a.status == 500 and a.json()[-1] == "VM is already created"
    c.close()
    doubles.made.remove(c)
    c = doubles()
    assert c.put("vm.restore", {"source_url": "file:///nowhere"}).status == 500
    assert c.get("vm.info").status == gone(doubles.version)
    c.put("vm.restore", {"source_url": f"file://{target}"}, 204)
    assert c.info()["state"] == "Paused" and c.info()["config"]["disks"][0]["id"] == "d"
    c.put("vm.resume", status=204)
    c.type("n")
    c.said("count 3")
    assert b"VMRS_READY" not in c.serial
    if doubles.version >= 52:
        c.put("vm.delete", status=204)
        c.put("vm.restore", {"source_url": f"file://{target}", "resume": True}, 204)
        assert c.info()["state"] == "Running"


def test_22_restore_needs_all_files_the_same_cpu_and_userfaultfd(double):
    target = os.path.join(double.work, "snap")
    os.mkdir(target)
    c = double.booted()
    c.put("vm.pause", status=204)
    c.put("vm.snapshot", {"destination_url": f"file://{target}"}, 204)
    url = {"source_url": f"file://{target}"}
    assert double({"cpu": "older"}).put("vm.restore", url).status == 500
    c = double({"userfaultfd": False})
    a = c.put("vm.restore", {**url, "memory_restore_mode": "OnDemand"})
    assert a.status == 500 and "userfaultfd" in a.json()[-2]
    assert c.get("vm.info").status == 404
    c.put("vm.restore", url, 204)
    c.put("vm.delete", status=204)
    os.unlink(target + "/memory-ranges")
    c.put("vm.restore", url, 500)


def test_23_delete_of_a_running_vm(vmm):
    c = vmm.booted()
    c.put("vm.delete", status=204)
    c.event("deleted")
    assert c.names()[-2:] == ["vm/shutdown", "vm/deleted"]
    assert c.get("vm.info").status == gone(vmm.version)


def test_24_shutdown_of_the_vmm(vmm):
    c = vmm(api="path")
    c.until("the socket is there", lambda: os.path.exists(c.socket))
    c.put("vm.create", {"serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    c.put("vmm.shutdown", status=200)
    assert c.end() == 0
    assert c.names()[-2:] == ["vm/deleted", "vmm/shutdown"] and not os.path.exists(c.socket)


def test_24_shutdown_of_the_vmm_with_a_vm(vmm):
    c = vmm.booted()
    c.put("vmm.shutdown", status=200)
    assert c.end() == 0
    assert c.names()[-3:] == ["vm/shutdown", "vm/deleted", "vmm/shutdown"]


# ---- devices ----

def test_25_adding_cold_and_hot(vmm):
    c = vmm.created()
    a = c.put("vm.add-disk", {"path": vmm.disk("a")}, 204)
    assert a.body == b"" and c.info()["config"]["disks"][0].get("id") is None
    c.put("vm.boot", status=204)
    a = c.put("vm.add-disk", {"path": vmm.disk("b")}, 200)
    assert re.fullmatch(r"_disk\d", a.json()["id"]) and re.fullmatch(r"0000:00:[01][0-9a-f]\.0", a.json()["bdf"])
    tree = c.info()["device_tree"]
    assert tree[f"_virtio-pci-{a.json()['id']}"]["children"] == [a.json()["id"]]
    assert tree[f"_virtio-pci-{a.json()['id']}"]["pci_bdf"] == a.json()["bdf"]


def test_26_identifiers(vmm):
    c = vmm.booted(disks=[{"id": "a", "path": vmm.disk("a")}])
    a = c.put("vm.add-disk", {"id": "a", "path": vmm.disk("b")})
    assert (a.status, a.json()[-1]) == (409 if vmm.version >= HEAD else 500, "Identifier a is not unique")
    a = c.put("vm.add-disk", {"id": "__a", "path": vmm.disk("b")})
    assert (a.status, a.json()[-1]) == ((400, "Identifier __a is not valid") if vmm.version >= HEAD else
                                        (500, "Identifier __a is not invalid"))


def test_26_an_identifier_that_the_guest_still_holds(doubles):
    c = doubles.booted({"eject": None})
    c.put("vm.add-disk", {"id": "a", "path": doubles.disk("a")}, 200)
    c.put("vm.remove-device", {"id": "a"}, 204)
    a = c.put("vm.add-disk", {"id": "a", "path": doubles.disk("b")}, 500)
    assert a.json()[-1] == "Invalid identifier as it is not unique: a"


def test_27_removal_is_asked_of_the_guest(doubles):
    c = doubles.booted({"eject": 50})
    bdf = c.put("vm.add-disk", {"id": "a", "path": doubles.disk()}, 200).json()["bdf"]
    c.put("vm.remove-device", {"id": "a"}, 204)
    assert c.info()["config"].get("disks") is None and "a" in c.info()["device_tree"]
    second = c.put("vm.remove-device", {"id": "a"})
    assert second.status == (500 if doubles.version == 53 else 204)
    assert c.event("device-removed")["properties"] == {"id": "a", "bdf": bdf}
    assert "a" not in c.info()["device_tree"] and "_virtio-pci-a" not in c.info()["device_tree"]
    a = c.put("vm.remove-device", {"id": "a"})
    assert a.status == (404 if doubles.version >= HEAD else 500)
    assert a.json()[-1] == "Failed to find device corresponding to the given identifier: a"


def test_27_removal_from_what_has_not_booted(vmm):
    c = vmm()
    c.put("vm.create", {"disks": [{"id": "a", "path": "/x"}], "serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    c.put("vm.remove-device", {"id": "a"}, 204)
    a = c.put("vm.remove-device", {"id": "a"})
    assert (a.status, a.json()[-1]) == (404 if vmm.version >= HEAD else 500, 'No device with id "a" to remove')


def test_27_what_cannot_be_removed(vmm):
    a = vmm.booted().put("vm.remove-device", {"id": "__rng"})
    assert a.status == 500 and a.json()[-1] == "Not allowed to remove this type of device from the VM: rng"


def test_27_a_paused_guest_gives_nothing_back(double):
    c = double.booted()
    c.put("vm.add-disk", {"id": "a", "path": double.disk()}, 200)
    c.put("vm.pause", status=204)
    c.put("vm.remove-device", {"id": "a"}, 204)
    for _ in range(3):
        assert "a" in c.info()["device_tree"]
    c.put("vm.resume", status=204)
    c.event("device-removed")


def test_28_second_vsock_and_unshared_memory(vmm):
    c = vmm.booted(vsock={"cid": 3, "socket": os.path.join(vmm.work, "v1")})
    a = c.put("vm.add-vsock", {"cid": 4, "socket": os.path.join(vmm.work, "v2")})
    assert a.status == 500 and a.json()[-1] == "Too many virtio-vsock devices"
    a = c.put("vm.add-fs", {"tag": "t", "socket": "/x"})
    assert a.status == (400 if vmm.version >= HEAD else 500)
    assert a.json()[-1] == "Using vhost-user requires using shared memory or huge pages"


def test_29_descriptors(double):
    c = double.created()
    r, w = os.pipe()
    a = c.put("vm.add-net", {"id": "n", "num_queues": 4}, fds=[r])
    assert a.status == 500 and a.json()[-1] == "Number of queues (4) to virtio_net does not match the number of FDs (1)"
    c.put("vm.add-net", {"id": "n", "num_queues": 2}, 204, fds=[r])
    assert len(c.info()["config"]["net"][0]["fds"]) == 1
    c.put("vm.delete", status=204)
    c.put("vm.create", double.config(net=[{"id": "n", "fds": [7]}]), 204, fds=[r])  # ignored, closed
    assert c.info()["config"]["net"][0].get("fds") is None
    os.close(r)
    os.close(w)


def test_29_descriptors_of_a_restore(double):
    target = os.path.join(double.work, "snap")
    os.mkdir(target)
    c = double.created()
    r, w = os.pipe()
    c.put("vm.add-net", {"id": "n", "num_queues": 2}, 204, fds=[r])
    c.put("vm.boot", status=204)
    c.put("vm.pause", status=204)
    c.put("vm.snapshot", {"destination_url": f"file://{target}"}, 204)
    url = {"source_url": f"file://{target}"}
    c = double()
    a = c.put("vm.restore", {**url, "net_fds": [{"id": "n", "num_fds": 2}]}, fds=[r])
    assert (a.status, a.json()) == (400, ["Bad Request"])
    a = c.put("vm.restore", url)
    assert a.status == 500 and a.json()[-1] == "Net id n is associated with FDs and is required"
    c.put("vm.restore", {**url, "net_fds": [{"id": "n", "num_fds": 1}]}, 204, fds=[r])
    os.close(r)
    os.close(w)


def test_30_resize(vmm):
    c = vmm.booted(cpus={"boot_vcpus": 1, "max_vcpus": 2}, memory={"size": 256 * MIB, "hotplug_size": 512 * MIB})
    a = c.put("vm.resize", {"desired_vcpus": 3})
    assert (a.status, a.json()[-1]) == (500, "Requested vCPUs exceed maximum")
    a = c.put("vm.resize", {"desired_vcpus": 0})
    assert (a.status, a.json()[-1]) == (500, "Requested zero vCPUs")
    c.put("vm.resize", {"desired_vcpus": 2}, 204)
    assert c.info()["config"]["cpus"]["boot_vcpus"] == 2
    a = c.put("vm.resize", {"desired_ram": 300 * MIB})
    assert a.status == 500 and a.json()[-1] == "The requested hotplug memory addition is not a valid size"
    c.put("vm.resize", {"desired_ram": 384 * MIB}, 204)
    assert c.info()["config"]["memory"]["size"] == 384 * MIB
    c.put("vm.resize", {"desired_ram": 256 * MIB}, 204)
    assert c.info()["config"]["memory"]["size"] == 256 * MIB
    c.event("resized", nth=3)


def test_30_a_removal_that_is_not_finished(doubles):
    c = doubles.booted({"online": None}, cpus={"boot_vcpus": 2, "max_vcpus": 2})
    c.put("vm.resize", {"desired_vcpus": 1}, 204)
    a = c.put("vm.resize", {"desired_vcpus": 1})
    assert (a.status, a.json()) == (429, ["Too Many Requests"])
    c.put("vm.resize", {"desired_vcpus": 2}, 204)  # as many as there still are: accepted, and not what will be


def test_30_virtio_mem_follows_in_its_own_time(doubles):
    memory = {"size": 256 * MIB, "hotplug_size": 512 * MIB, "hotplug_method": "VirtioMem"}
    c = doubles.booted({"plug_most": 128 * MIB}, memory=memory)
    c.put("vm.resize", {"desired_ram": 512 * MIB}, 204)
    c.until("the guest took what it takes", lambda: c.info()["memory_actual_size"] == 384 * MIB)
    for size, text in ((512, "requested_size are identical"), (1024, "is bigger than region_size"), (513, "is not aligned")):
        a = c.put("vm.resize", {"desired_ram": size * MIB})
        assert a.status == 500 and text in a.json()[-1], a.json()
    c.put("vm.resize", {"desired_ram": 256 * MIB}, 204)
    c.until("it gave it back", lambda: c.info()["memory_actual_size"] == 256 * MIB)
    assert "hotplugged_size" not in c.info()["config"]["memory"] or c.info()["config"]["memory"]["hotplugged_size"] is None


def test_31_a_balloon_that_is_not_there_and_one_that_is(vmm):
    a = vmm.booted().put("vm.resize", {"desired_balloon": MIB})
    assert a.status == 500 and a.json()[-1].startswith("Missing virtio-balloon")
    if vmm.is_double:
        c = vmm.booted(balloon={"size": 0})
        c.put("vm.resize", {"desired_balloon": 64 * MIB}, 204)
        c.until("it gave memory back", lambda: c.info()["memory_actual_size"] == 192 * MIB)


def test_32_consoles(vmm):
    c = vmm()
    c.put("vm.create", vmm.config(serial={"mode": "Pty"}), 204)
    assert c.info()["config"]["serial"]["file"].startswith("/dev/pts/")
    log, path = os.path.join(vmm.work, "serial"), os.path.join(vmm.work, "sock")
    with open(log, "w", encoding="utf-8") as f:
        f.write("an earlier boot")
    c.put("vm.delete", status=204)
    c.put("vm.create", vmm.config(serial={"mode": "File", "file": log}), 204)
    assert os.path.getsize(log) == 0
    c.put("vm.delete", status=204)
    c.put("vm.create", vmm.config(serial={"mode": "Socket", "socket": path},
                                  vsock={"cid": 3, "socket": path + ".v"}), 204)
    assert os.path.exists(path) and not os.path.exists(path + ".v")
    c.put("vm.boot", status=204)
    assert os.path.exists(path + ".v")
    c.put("vm.shutdown", status=204)
    assert not os.path.exists(path + ".v")


def test_32_a_file_is_truncated_by_each_reboot(double):
    log = os.path.join(double.work, "serial")
    c = double.booted({"guest": {"do": [[50, "r"]]}}, serial={"mode": "File", "file": log})
    c.event("rebooted", nth=2)
    c.put("vm.pause", status=204)
    with open(log, encoding="utf-8") as f:
        assert f.read().count("VMRS_READY") <= 1


def test_32_a_file_without_a_name_ends_the_vmm(vmm):
    c = vmm()
    with c.connect() as s:
        s.sendall(request("PUT", "vm.create", {"serial": {"mode": "File"}, "console": {"mode": "Off"}}))
        a = receive(s)
        assert a is None or a.status == 500 and "API response receive error" in a.json()
    assert c.end() == 1


def test_33_a_vhost_user_peer_that_is_not_there(double):
    c = double.created({"vhost_timeout": 200}, memory={"size": 256 * MIB, "shared": True},
                       fs=[{"tag": "t", "socket": os.path.join(double.work, "absent")}])
    with c.connect() as boot, c.connect() as ping:
        boot.sendall(request("PUT", "vm.boot"))
        ping.sendall(request("GET", "vmm.ping"))
        a = receive(boot)
        assert a.status == 500 and a.json()[-1] == "Failed to connect to vhost-user backend"
        assert receive(ping).status == 200
    assert c.info()["config"].get("fs") is None


def test_34_a_tpm_that_is_not_there(vmm):
    c = vmm.created(tpm={"socket": "/nowhere/tpm"})
    assert c.put("vm.boot").status == 500


def test_35_a_disk_that_somebody_else_has(vmm):
    disks = [{"id": "d", "path": vmm.disk(), "image_type": "Raw"}]
    vmm.booted(disks=disks)
    c = vmm.created(disks=disks)
    a = c.put("vm.boot")
    text = " ".join(a.json())
    assert a.status == 500 and "Error locking disk images: Another instance likely holds a lock" in text
    a = c.put("vm.boot", status=500)
    assert (a.json()[-1] == "VM is already created") == (vmm.version >= 53)  # earlier ones try again
    c = vmm.created(disks=[{**disks[0], "readonly": True}])
    assert c.put("vm.boot").status == 500


# ---- process ----

def test_36_a_socket_that_is_there_already(vmm):
    first = vmm(api="path")
    first.until("it answers", lambda: os.path.exists(first.socket) and first.get("vmm.ping").status == 200)
    argv = ["--api-socket", first.socket]
    second = vmm(api=None, argv=argv)
    assert second.end() == 1
    if vmm.version >= 53:
        assert "is already in use by another running instance" in second.log_text()
        assert os.path.exists(first.socket + ".lock")
    else:
        assert "os error 98" in second.log_text()
    first.process.kill()
    first.end()
    third = vmm(api=None, argv=argv)
    third.socket = first.socket
    if vmm.version >= 53:
        third.until("a stale one is replaced", lambda: third.event("starting") and answers(third))
    elif os.path.exists(first.socket):
        assert third.end() == 1


def answers(c):
    try:
        return c.get("vmm.ping").status == 200
    except (ConnectionRefusedError, FileNotFoundError):
        return False


def test_37_it_is_starting_before_it_listens(double):
    c = double({"start_delay": 200}, api="path")
    c.event("starting")
    assert not os.path.exists(c.socket)
    c.until("it listens", lambda: answers(c))


def test_38_the_guest_powers_off(double):
    c = double.booted()
    c.said("VMRS_READY")
    c.type("p")
    assert c.end() == 0
    assert c.names()[-3:] == ["vm/shutdown", "vm/deleted", "vmm/shutdown"]


def test_38_no_shutdown(double):
    c = double(argv=["--no-shutdown"])
    c.put("vm.create", double.config(), 204)
    c.put("vm.boot", status=204)
    c.said("VMRS_READY")
    c.type("p")
    c.event("shutdown")
    assert c.info()["state"] == "Created" and "vm/deleted" not in c.names()
    c.put("vm.boot", status=204)
    assert c.info()["state"] == "Running"


def test_39_the_guest_reboots(double):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        path = os.path.join(double.work, "fs")
        peer.bind(path)
        peer.listen(4)
        c = double.booted(memory={"size": 256 * MIB, "shared": True}, fs=[{"id": "f", "tag": "t", "socket": path}])
        first, _ = peer.accept()
        c.said("VMRS_READY")
        size = len(c.serial)
        c.type("r")
        c.event("rebooted")
        assert first.recv(1) == b""  # it was left, and is met again
        second, _ = peer.accept()
        c.said("VMRS_READY", after=size)
        names = c.names()
        assert names[names.index("vm/rebooting") + 1] == "vm/rebooted" and c.process.poll() is None
        second.close()
        first.close()


def test_39_reboot_by_the_api(double):
    c = double.booted()
    c.said("VMRS_READY")
    size = len(c.serial)
    c.put("vm.reboot", status=204)
    c.said("VMRS_READY 10.0.2.15 cafe\r\n", after=size)
    assert c.names().count("vm/booted") == 1


def test_40_the_power_button(double):
    c = double.booted({"button": 60})
    c.said("VMRS_READY")
    c.put("vm.power-button", status=204)
    assert c.info()["state"] == "Running"
    assert c.end() == 0
    c = double.booted({"button": None})
    c.said("VMRS_READY")
    c.put("vm.power-button", status=204)
    c.type("~")
    c.said("~")
    c = double.booted()
    c.said("VMRS_READY")
    c.type("i")
    c.said("i")
    c.put("vm.power-button", status=204)
    c.type("~")
    c.said("~")


def test_41_signals(vmm):
    c = vmm()
    c.get("vmm.ping")
    c.process.send_signal(signal.SIGTERM)
    assert c.end() == 0 and c.names()[-1] == "vmm/shutdown"
    c = vmm(api="path")
    c.until("it answers", lambda: answers(c))
    c.process.kill()
    assert c.end() == -9 and os.path.exists(c.socket)


def test_41_sigterm_waits_while_the_thread_is_busy(double):
    c = double.created({"vhost_timeout": 150}, memory={"size": 256 * MIB, "shared": True},
                       fs=[{"tag": "t", "socket": os.path.join(double.work, "absent")}])
    with c.connect() as s:
        s.sendall(request("PUT", "vm.boot"))
        c.event("booting")
        c.process.send_signal(signal.SIGTERM)
        assert receive(s).status == 500
    assert c.end() == 0


@pytest.mark.parametrize("plan, code", [({"after": 20, "code": 0}, 0), ({"after": 20, "code": 1}, 1),
                                        ({"after": 20, "signal": 31}, -31)])
def test_41_other_ends(double, plan, code):
    assert double.booted({"exit": plan}).end() == code


def test_42_events(vmm):
    c = vmm()
    c.put("vm.create", {"serial": {"mode": "Null"}, "console": {"mode": "Off"}}, 204)
    c.put("vm.delete", status=204)
    c.event("deleted")
    text = c.raw_events.decode()
    assert text.startswith('{\n  "timestamp": {\n    "secs": ') and text.count("\n\n") == len(c.events()) == 2
    for e in c.events():
        assert set(e) == {"timestamp", "source", "event", "properties"} and e["properties"] is None
    times = [(e["timestamp"]["secs"], e["timestamp"]["nanos"]) for e in c.events()]
    assert times == sorted(times) and times[0][0] < 60


def test_42_events_that_nobody_reads_are_lost(double):
    c = double(conf={"guest": {"ip": None}})
    for _ in range(2600):  # more than a megabyte of two events each
        c.put("vm.pause")
    c.put("vmm.shutdown")
    c.process.wait(DEADLINE)
    data = os.read(c.events_fd, 2 << 20)
    assert len(data) <= 1 << 20


def test_43_vsock(vmm):
    path = os.path.join(vmm.work, "v")
    c = vmm.booted(vsock={"cid": 3, "socket": path})
    if vmm.is_double:
        c.said("VMRS_READY")
        with vsock(path, b"connect 7\n") as s:  # any case; the double's port 7 echoes
            assert read_line(s) == b"OK 1073741824\n"
            s.sendall(b"hello")
            assert s.recv(5) == b"hello"
        for words in (b"CONNECT 9\n", b"HELLO\n", b"CONNECT " + b"9" * 40 + b"\n"):
            with vsock(path, words) as s:
                assert is_closed(s)
    assert os.path.exists(path)  # a real one says nothing there until its guest has a driver: test_ch_devices.py
    c.put("vm.delete", status=204)
    assert not os.path.exists(path)


def is_closed(s):
    try:
        return s.recv(10) == b""
    except ConnectionResetError:
        return True


def vsock(path, words):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(DEADLINE)
    s.connect(path)
    s.sendall(words)
    return s


def read_line(s):
    data = b""
    while not data.endswith(b"\n"):
        data += s.recv(1)
    return data


def test_43_the_guest_calls_the_host(double):
    path = os.path.join(double.work, "v")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as host:
        host.bind(path + "_5000")
        host.listen(1)
        c = double.booted({"guest_connects": [[0, 5000, "hi"], [0, 5001, "hi"]]}, vsock={"cid": 3, "socket": path})
        s, _ = host.accept()
        assert s.recv(2) == b"hi"
        s.close()
        c.said("vsock 5001: reset")


def test_43_an_agent_behind_a_port(double):
    path = os.path.join(double.work, "v")
    argv = [sys.executable, "-c", "import os; os.write(1, os.read(0, 9).upper())"]
    c = double.booted({"agent": argv}, vsock={"cid": 3, "socket": path})
    with vsock(path, b"CONNECT 1024\n") as s:
        assert read_line(s).startswith(b"OK ")
        s.sendall(b"agent")
        assert s.recv(5) == b"AGENT"
        assert s.recv(5) == b""
    c.put("vm.delete", status=204)


def migrate(double, receiver_conf=None, sender_conf=None, **send):
    """Source and destination, and the destination's answer to come."""
    url = f"unix:{os.path.join(double.work, 'm')}"
    target = double(receiver_conf)
    source = double.booted(sender_conf, memory={"size": 256 * MIB, "shared": True})
    source.said("VMRS_READY")
    waiting = target.connect()
    waiting.sendall(request("PUT", "vm.receive-migration", {"receiver_url": url}))
    if double.version >= 53:
        target.event("migration-receive-ready")
    else:
        target.until("it listens", lambda: os.path.exists(url[5:]))
    return source, target, waiting, {"destination_url": url, **send}


def test_44_migration(doubles):
    source, target, waiting, send = migrate(doubles)
    source.put("vm.send-migration", send, 204)
    assert receive(waiting).status == 204
    assert source.end() == 0
    assert target.info()["state"] == "Running"
    target.type("~")
    target.said("~")
    if doubles.version >= 52:
        assert [n for n in source.names() if "migration" in n][0] == "vm/migration-started"
        assert "vm/migration-finished" in source.names() and "vm/migration-receive-finished" in target.names()
    waiting.close()


def test_44_during_a_migration(double):
    source, target, waiting, send = migrate(double, sender_conf={"migration": {"iterations": 40, "step": 10, "fail": None}})
    source.put("vm.send-migration", send, 204)
    a = source.put("vm.pause")
    assert a.status == 500 and a.json()[-1] == "VM is currently migrating and can't be modified"
    assert source.info()["state"] == "Running"  # frozen
    late = target.connect()
    late.sendall(request("GET", "vmm.ping"))    # deaf, from bind to end
    assert receive(waiting).status == 204 and receive(late).status == 200
    late.close()
    waiting.close()


@pytest.mark.parametrize("fail", ["iteration", "receive"])
def test_44_a_migration_that_fails(double, fail):
    conf = {"migration": {"iterations": 1, "step": 1, "fail": fail}}
    source, target, waiting, send = migrate(double, conf if fail == "receive" else None,
                                            conf if fail == "iteration" else None)
    source.put("vm.send-migration", send, 204)
    assert receive(waiting).status == 500
    source.event("migration-failed")
    source.until("it goes on", lambda: source.info()["state"] == "Running")
    source.type("~")
    source.said("~")
    assert target.get("vm.info").status == 404
    waiting.close()


def test_44_a_local_migration_kills_a_filtered_source(double):
    source, target, waiting, send = migrate(double, local=True)
    source.put("vm.send-migration", send, 204)
    assert source.end() == -signal.SIGSYS
    assert receive(waiting).json()[-1] == "failed to fill whole buffer"
    assert "vm/migration-receive-failed" in target.names()
    waiting.close()


def test_45_command_line(vmm):
    def run(*argv):
        r = subprocess.run([vmm.binary, *argv], capture_output=True, text=True, check=False, timeout=DEADLINE, env=env)
        return r.returncode, r.stdout, r.stderr

    env = dict(os.environ)
    if vmm.is_double:
        env["CH_DOUBLE_CONF"] = os.path.join(vmm.work, "conf")
        with open(env["CH_DOUBLE_CONF"], "w", encoding="utf-8") as f:
            json.dump({"version": vmm.which if vmm.which == "head" else vmm.which + ".0"}, f)
    code, out, _ = run("-V")
    assert code == 0 and re.match(rf"cloud-hypervisor v{vmm.version}\.\d", out)
    assert ("Migration Protocol Versions: 0" in out) == (vmm.version >= 52)
    code, out, _ = run("-V", "-v")
    assert code == 0 and re.search(r'^Enabled features: \[.*"kvm".*\]$', out, re.M)
    for argv, text in (([], ""), (["--bogus"], "unexpected argument '--bogus' found"),
                       (["--api-socket"], "a value is required for '--api-socket <api-socket>'"),
                       (["--cpus", "boot=1"], "required arguments were not provided"),
                       (["--seccomp", "maybe", "--api-socket", "/x"], "invalid value 'maybe' for '--seccomp <seccomp>'")):
        code, out, err = run(*argv)
        assert code == 2 and text in err, (argv, out, err)
    code, _, err = run("--api-socket", "path=/nowhere/x")
    assert code == 1 and "exited with the following chain of errors:\n  0: Failed to start the VMM thread\n" in err
    assert "os error 2" in err


def test_45_without_an_api(double):
    """The plain command line: configuration and boot at once; SIGTERM ends it."""
    c = double(api=None, argv=["--kernel", double.kernel, "--cmdline", "console=ttyS0 vmrs.nonce=12", "--cpus", "boot=2,max=4",
                               "--memory", "size=64M,shared=on", "--serial", "tty", "--console", "off", "--disk",
                               f"path={double.disk('a')},image_type=raw,id=a", f"path={double.disk('b')},readonly=on,id=b"])
    c.said("VMRS_READY 10.0.2.15 12")
    c.process.terminate()
    assert c.end() == 0 and c.names()[-1] == "vmm/shutdown"
    c = double(api=None, argv=["--kernel", "/nowhere/vmlinuz", "--serial", "tty", "--console", "off"])
    assert c.end() == 1 and "Cannot open kernel file" in c.log_text()


def test_45_no_hypervisor(double):
    c = double({"no_kvm": "EACCES"})
    assert c.end() == 1
    assert "0: Failed to open hypervisor interface (is hypervisor interface available?)" in c.log_text()
    assert "Permission denied (os error 13)" in c.log_text()


# ---- what a test can tell it ----

@pytest.mark.parametrize("fault, check", [
    ({"do": "garbage"}, lambda raw: raw.startswith(b"\0\1\2")),
    ({"do": "close"}, lambda raw: raw == b""),
    ({"do": "half"}, lambda raw: 0 < len(raw) < 150 and raw.startswith(b"HTTP/1.1 200")),
    ({"do": "slow", "ms": 1}, lambda raw: raw.endswith(b"}")),
    ({"do": "huge"}, lambda raw: len(raw) > 5 << 20),
    ({"do": "error", "status": 500, "text": ["no mood"]}, lambda raw: raw.endswith(b'["no mood"]')),
])
def test_faults(double, fault, check):
    c = double({"faults": [{"at": "vmm.ping", "nth": 2, **fault}]})
    assert c.get("vmm.ping").status == 200
    with c.connect() as s:
        s.sendall(request("GET", "vmm.ping"))
        s.settimeout(DEADLINE)
        raw = b""
        while fault["do"] in ("close", "half") or not check(raw):
            more = s.recv(1 << 20)
            if not more:
                break
            raw += more
        assert check(raw)
    assert c.get("vmm.ping").status == 200


def test_fault_hang(double):
    c = double({"faults": [{"at": "vm.pause", "do": "hang"}]})
    with c.connect() as s:
        s.sendall(request("PUT", "vm.pause"))
        with pytest.raises(AssertionError, match="no answer within"):
            c.get("vmm.ping", deadline=0.2)
    assert c.process.poll() is None


@pytest.mark.parametrize("fault, code", [({"do": "exit", "code": 3}, 3), ({"do": "signal"}, -signal.SIGSYS)])
def test_fault_death(double, fault, code):
    c = double({"faults": [{"at": "vm.boot", **fault}]})
    with c.connect() as s:
        s.sendall(request("PUT", "vm.boot"))
        assert c.end() == code


def test_lost_events_and_noise(double):
    c = double.booted({"lose_events": ["booted"], "event_noise": "?!\n"})
    c.until("noise", lambda: c.pump() or b"?!\n{" in c.raw_events)
    c.put("vm.pause", status=204)
    c.until("paused", lambda: c.pump() or b'"paused"' in c.raw_events)
    assert b'"booted"' not in c.raw_events


@pytest.fixture
def older(tmp_path):
    yield from factory(tmp_path, "51")


def test_the_journal_says_what_the_version_does_not_know(older):
    journal = os.path.join(older.work, "journal")
    c = older({"journal": journal})
    c.put("vm.create", older.config(disks=[{"path": "/x", "lock_granularity": "Full"}], nets=[]), 204)
    c.put("vm.delete", status=204)
    with open(journal, encoding="utf-8") as lines:
        first, second = (json.loads(line) for line in lines)
    assert first["complaints"] == ["nets: unknown", "disks.0.lock_granularity: needs 52"]
    assert (first["path"], first["status"], second["status"]) == ("/api/v1/vm.create", 204, 204)


def test_landlock(double):
    allowed = os.path.join(double.work, "allowed")
    os.mkdir(allowed)
    c = double.booted(landlock_enable=True, landlock_rules=[{"path": allowed, "access": "rw"}])
    a = c.put("vm.add-disk", {"id": "x", "path": double.disk()}, 500)
    assert a.json()[-1] == "Permission denied (os error 13)"
    c.put("vm.add-disk", {"id": "y", "path": double.disk("allowed/d")}, 200)
    c = double()
    a = c.put("vm.create", double.config(landlock_enable=True, landlock_rules=[{"path": "/nowhere", "access": "r"}]))
    assert a.status == 500 and a.json()[2] == "Failed to apply landlock config during vm_create"


def test_many_clients_at_once(double):
    """Threads that come and go: every one is answered or told that the house is full."""
    c = double.booted()
    seen = []

    def client():
        for _ in range(20):
            a = c.get("vm.info")
            seen.append(a.status)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 160 and set(seen) == {200}
