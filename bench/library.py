"""libvivarium through ctypes: what a program that is not C sees."""

import ctypes
import os
import select
import time


class Error(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("code", ctypes.c_int32), ("sys_errno", ctypes.c_int32), ("flags", ctypes.c_uint32),
                ("vm", ctypes.c_char * 64), ("field", ctypes.c_char * 128), ("message", ctypes.c_char * 512),
                ("hint", ctypes.c_char * 200), ("reserved", ctypes.c_uint8 * 104)]


class Library:
    """One state root, opened for its events."""

    def __init__(self, prefix, home):
        for d in ("lib/x86_64-linux-gnu", "lib", "lib64"):
            path = os.path.join(prefix, d, "libvivarium.so.1")
            if os.path.exists(path):
                break
        self.so = ctypes.CDLL(path)
        self.so.viv_rec_json.restype = ctypes.c_char_p
        self.err = Error(size=ctypes.sizeof(Error))
        self.v = ctypes.c_void_p()
        self.check(self.so.viv_open(home.encode(), ctypes.c_uint64(1), ctypes.byref(self.v), ctypes.byref(self.err)))
        self.fd = self.so.viv_fd(self.v)

    def check(self, r):
        if r < 0:
            raise RuntimeError(self.err.message.decode())
        return r

    def subscribe(self, text):
        self.check(self.so.viv_subscribe(self.v, text.encode(), ctypes.c_uint64(0), ctypes.byref(self.err)))

    def next(self):
        """The next event's JSON, or None."""
        rec = ctypes.c_void_p()
        if self.check(self.so.viv_next(self.v, ctypes.byref(rec), ctypes.byref(self.err))) == 0:
            return None
        text = self.so.viv_rec_json(rec)
        self.so.viv_rec_free(rec)
        return text

    def next_event_at(self, deadline):
        """CLOCK_MONOTONIC ns when the descriptor told of the next event."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if not select.select([self.fd], [], [], end - time.monotonic())[0]:
                break
            at = time.monotonic_ns()
            self.check(self.so.viv_dispatch(self.v, ctypes.byref(self.err)))
            if self.next():
                return at
        raise RuntimeError("no event came")

    def gives_up_after_ms(self, name, timeout_ms):
        """How long waiting for a VM that never gets ready takes."""
        vm, opts = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.so.viv_lookup(self.v, name.encode(), ctypes.byref(vm), ctypes.byref(self.err)))
        self.check(self.so.viv_opts_new(ctypes.byref(opts), ctypes.byref(self.err)))
        self.check(self.so.viv_opts_set_i64(opts, b"timeout_ms", ctypes.c_int64(timeout_ms), ctypes.byref(self.err)))
        begin = time.monotonic_ns()
        r = self.so.viv_vm_wait(vm, opts, None, None, ctypes.byref(self.err))
        took = (time.monotonic_ns() - begin) / 1e6
        self.so.viv_opts_free(opts)
        self.so.viv_vm_free(vm)
        assert r == -6, f"a wait that must time out ended with {r}"
        return took

    def drain(self):
        while self.check(self.so.viv_dispatch(self.v, ctypes.byref(self.err))) >= 0 and self.next():
            pass

    def close(self):
        self.so.viv_close(self.v)
