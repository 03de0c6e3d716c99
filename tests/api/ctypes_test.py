#!/usr/bin/python3
"""The library through ctypes, with nothing but what the header says.

    ctypes_test.py LIBRARY
"""
import contextlib
import ctypes as c
import fcntl
import json
import os
import select
import shutil
import struct
import sys
import tempfile


class Error(c.Structure):
    _fields_ = [("size", c.c_uint32), ("code", c.c_int32), ("sys_errno", c.c_int32),
                ("flags", c.c_uint32), ("vm", c.c_char * 64), ("field", c.c_char * 128),
                ("message", c.c_char * 512), ("hint", c.c_char * 200),
                ("reserved", c.c_uint8 * 104)]


lib = c.CDLL(sys.argv[1])
P, S = c.c_void_p, c.c_char_p
for name, result, *args in [
        ("viv_version", S), ("viv_code_name", S, c.c_int), ("viv_code_exit", c.c_int, c.c_int),
        ("viv_open", c.c_int, S, c.c_uint64, P, P), ("viv_close", None, P), ("viv_fd", c.c_int, P),
        ("viv_dispatch", c.c_int, P, P), ("viv_wake", None, P),
        ("viv_config_parse", c.c_int, S, c.c_size_t, S, P, P), ("viv_config_free", None, P),
        ("viv_config_set_fd", c.c_int, P, S, c.c_int, P),
        ("viv_create", c.c_int, P, P, c.c_uint64, P, P, P), ("viv_vm_free", None, P),
        ("viv_lookup", c.c_int, P, S, P, P), ("viv_vm_name", S, P),
        ("viv_ls", c.c_int, P, S, P, P), ("viv_list_len", c.c_size_t, P),
        ("viv_list_at", P, P, c.c_size_t), ("viv_list_free", None, P),
        ("viv_vm_info", c.c_int, P, P, P), ("viv_rec_json", S, P), ("viv_rec_free", None, P),
        ("viv_rec_str", S, P, S), ("viv_vm_start", c.c_int, P, P, P, P, P),
        ("viv_vm_stop", c.c_int, P, P, P, P, P), ("viv_vm_remove", c.c_int, P, P, P, P, P),
        ("viv_opts_new", c.c_int, P, P), ("viv_opts_set_str", c.c_int, P, S, S, P),
        ("viv_opts_set_i64", c.c_int, P, S, c.c_int64, P),
        ("viv_vm_exec", c.c_int, P, P, P, P, P, P), ("viv_exec_signal", c.c_int, P, c.c_int, P),
        ("viv_op_done", c.c_int, P), ("viv_op_wait", c.c_int, P, c.c_int64, P, P),
        ("viv_op_free", None, P), ("viv_vm_guest_info", c.c_int, P, P, P, P, P),
        ("viv_opts_free", None, P)]:
    function = getattr(lib, name)
    function.restype, function.argtypes = result, args


class VivError(Exception):
    pass


def call(function, *args, out=False):
    """Calls function; with out, a pointer to its result stands before the error."""
    err = Error(size=c.sizeof(Error))
    ret = P()
    if getattr(lib, function)(*args, *([c.byref(ret)] if out else []), c.byref(err)) < 0:
        raise VivError(err.code, err.message.decode(), err.hint.decode())
    return ret


def run_in_guest(v, vm):
    """A program in the guest, with a pipe for its output; and one that is ended by a signal."""
    err, result, op = Error(size=c.sizeof(Error)), P(), P()
    reader, writer = os.pipe()
    opts = call("viv_opts_new", out=True)
    call("viv_opts_set_i64", opts, b"stdout_fd", writer)
    argv = (S * 4)(b"echo", b"hello", b"guest", None)
    assert lib.viv_vm_exec(vm, argv, opts, None, c.byref(result), c.byref(err)) == 0, err.message
    os.close(writer)
    assert os.read(reader, 100) == b"hello guest\n"
    os.close(reader)
    assert json.loads(lib.viv_rec_json(result)) == {"exit": 0, "signal": None, "text": None}
    lib.viv_rec_free(result)
    lib.viv_opts_free(opts)
    argv = (S * 2)(b"wait", None)
    assert lib.viv_vm_exec(vm, argv, None, c.byref(op), None, c.byref(err)) == 0, err.message
    while lib.viv_exec_signal(op, 15, None) != 0:  # until it runs
        assert lib.viv_op_done(op) == 0
        select.select([lib.viv_fd(v)], [], [], 30)
        assert lib.viv_dispatch(v, c.byref(err)) == 0, err.message
    assert lib.viv_op_wait(op, 30000, c.byref(result), c.byref(err)) == 0, err.message
    assert json.loads(lib.viv_rec_json(result))["signal"] == 15
    lib.viv_rec_free(result)
    lib.viv_op_free(op)
    assert lib.viv_vm_guest_info(vm, None, None, c.byref(result), c.byref(err)) == 0, err.message
    assert json.loads(lib.viv_rec_json(result))["hostname"] == "fake"
    lib.viv_rec_free(result)


def call_its_vmm(vm):
    """An interrupt, a core, and a VMM that has no API."""
    err, result = Error(size=c.sizeof(Error)), P()
    assert lib.viv_vm_nmi(vm, None, None, c.byref(result), c.byref(err)) == 0, err.message
    assert json.loads(lib.viv_rec_json(result))["changed"] is True
    lib.viv_rec_free(result)
    with tempfile.TemporaryFile() as f:
        assert lib.viv_vm_coredump(vm, f.fileno(), None, None, c.byref(result), c.byref(err)) == 0, err.message
        assert f.read(4) == b"\x7fELF"
        assert lib.viv_vm_coredump(vm, f.fileno(), None, None, None, c.byref(err)) == -2, err.message
    lib.viv_rec_free(result)
    assert lib.viv_vm_coredump(vm, -1, None, None, None, c.byref(err)) == -2, err.message
    assert lib.viv_vm_api(vm, b"GET", b"vm.info", None, None, None, c.byref(result), c.byref(err)) == -5, err.message
    assert lib.viv_vm_api(vm, b"POST", b"vm.info", None, None, None, c.byref(result), c.byref(err)) == -2
    assert err.field == b"method"


def open_tap():
    """An open TAP device and its name; None where there can be none."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        ifr = fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"vivp%d", 0x5002))
    except OSError:
        return None
    return fd, ifr[:16].rstrip(b"\0").decode()


def has_tap(pid, name):
    where = f"/proc/{pid}/fdinfo"
    for fd in os.listdir(where):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(where, fd), encoding="utf-8") as f:
            if f"iff:\t{name}\n" in f.read():
                return True
    return False


def give_a_nic(v):
    """A descriptor goes with the configuration to the VM, and with its start to the VM's keeper."""
    err, vm, result = Error(size=c.sizeof(Error)), P(), P()
    yaml = b"name: nic\ndriver: fake\nfake: {script: ready}\n"
    config = call("viv_config_parse", yaml, len(yaml), None, out=True)
    assert lib.viv_config_set_fd(config, b"nets.n0.mac", 0, c.byref(err)) == -2 and err.field == b"nets.n0.mac"
    assert lib.viv_config_set_fd(config, b"nets.+n0.fd", 99999, c.byref(err)) == -2
    assert err.message == b"nets.+n0.fd: 99999 is not an open descriptor", err.message
    tap = open_tap()
    if tap is None:
        lib.viv_config_free(config)
        return "ok 7 # SKIP needs /dev/net/tun and the right to make a TAP device"
    assert lib.viv_config_set_fd(config, b"nets.+n0.fd", tap[0], c.byref(err)) == 0, err.message
    os.close(tap[0])
    assert lib.viv_create(v, config, 0, c.byref(vm), None, c.byref(err)) == 0, err.message
    lib.viv_config_free(config)
    assert lib.viv_vm_start(vm, None, None, c.byref(result), c.byref(err)) == 0, err.message
    lib.viv_rec_free(result)
    info = call("viv_vm_info", vm, out=True)
    record = json.loads(lib.viv_rec_json(info))
    assert [n["type"] for n in record["config"]["nets"]] == ["fd"]
    assert has_tap(record["keeper"]["pid"], tap[1]) and has_tap(os.getpid(), tap[1])
    lib.viv_rec_free(info)
    assert lib.viv_vm_stop(vm, None, None, None, c.byref(err)) == 0, err.message
    assert lib.viv_vm_remove(vm, None, None, None, c.byref(err)) == 0, err.message
    lib.viv_vm_free(vm)
    assert not has_tap(os.getpid(), tap[1])
    return "ok 7 - a NIC is given as a descriptor"


def main():
    root = tempfile.mkdtemp(prefix="vivp.")
    print("1..8")
    try:
        assert c.sizeof(Error) == 1024
        assert lib.viv_code_name(-3) == b"NOT_FOUND" and lib.viv_code_exit(3) == 3
        assert lib.viv_version().count(b".") == 2
        print("ok 1 - constants and the size of an error")
        v = call("viv_open", root.encode(), 1, out=True)
        yaml = b"name: web\ndriver: fake\nlabels: {job: \"42\"}\n" \
            b"fake: {script: \"agent; ready\"}\n"
        config = call("viv_config_parse", yaml, len(yaml), None, out=True)
        vm, err = P(), Error(size=c.sizeof(Error))
        assert lib.viv_create(v, config, 0, c.byref(vm), None, c.byref(err)) == 0, err.message
        assert lib.viv_vm_name(vm) == b"web"
        print("ok 2 - a VM is created")
        opts = call("viv_opts_new", out=True)
        call("viv_opts_set_str", opts, b"wait", b"ready")
        result = P()
        assert lib.viv_vm_start(vm, opts, None, c.byref(result), c.byref(err)) == 0, err.message
        assert json.loads(lib.viv_rec_json(result))["changed"] is True
        info = call("viv_vm_info", vm, out=True)
        assert lib.viv_rec_str(info, b"ready.proof") == b"marker"
        print("ok 3 - it gets ready")
        rows = call("viv_ls", v, b"state=ready,labels.job=42", out=True)
        assert lib.viv_list_len(rows) == 1
        assert json.loads(lib.viv_rec_json(lib.viv_list_at(rows, 0)))["name"] == "web"
        try:
            call("viv_lookup", v, b"wep", out=True)
            raise AssertionError("found")
        except VivError as e:
            assert e.args == (3, "no such VM", 'did you mean "web"?'), e.args
        print("ok 4 - it is listed, and what is not there is not found")
        run_in_guest(v, vm)
        print("ok 5 - programs run in its guest, and end")
        call_its_vmm(vm)
        print("ok 6 - its VMM does what it can")
        print(give_a_nic(v))
        assert lib.viv_vm_stop(vm, None, None, None, c.byref(err)) == 0, err.message
        assert lib.viv_vm_remove(vm, None, None, None, c.byref(err)) == 0, err.message
        for free, handle in (("viv_list_free", rows), ("viv_rec_free", info),
                             ("viv_rec_free", result), ("viv_opts_free", opts),
                             ("viv_vm_free", vm), ("viv_config_free", config), ("viv_close", v)):
            getattr(lib, free)(handle)
        print("ok 8 - it is stopped and removed")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
