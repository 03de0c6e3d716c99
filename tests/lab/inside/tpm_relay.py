#!/usr/bin/python3
"""
Stands between a VMM and swtpm, and has the TPM test itself before the VMM's guest asks for it.

    tpm_relay.py LISTEN SWTPM

Cloud Hypervisor waits 100 ms for an answer of swtpm, and then for none again until the next reset (SO_RCVTIMEO in
tpm/src/emulator.rs; the error bit of its CRB stays). The first that Linux wants of a TPM is TPM2_SelfTest, which takes swtpm
40 ms on a real CPU and ten times that in the lab. A second one finds nothing left to test and is answered at once. So the one
command that is added here is a self-test right behind the initialisation; all others pass as they are.
"""

import os
import socket
import struct
import sys
import threading

INIT, SET_DATA = 2, 16  # of the control channel
STARTUP = bytes.fromhex("80010000000c000001440000")
SELF_TEST = bytes.fromhex("80010000000b0000014300")


def command(data, request):
    """The whole answer to one command of the TPM: its length stands behind its tag."""
    data.sendall(request)
    answer = data.recv(4096)
    while len(answer) < 6 or len(answer) < struct.unpack(">I", answer[2:6])[0]:
        answer += data.recv(4096)
    return answer


def relay(vmm, data):
    while request := vmm.recv(4096):
        vmm.sendall(command(data, request))


def serve(vmm, tpm):
    """One VMM, up to its end; the TPM's own channel for data is made anew for it."""
    data = None
    while True:
        request, fds, _, _ = socket.recv_fds(vmm, 4096, 1)
        if not request:
            return
        code = struct.unpack(">I", request[:4])[0]
        if code == SET_DATA:
            data, theirs = socket.socketpair()
            socket.send_fds(tpm, [request], [theirs.fileno()])
            theirs.close()
            threading.Thread(target=relay, args=(socket.socket(fileno=fds[0]), data), daemon=True).start()
        else:
            tpm.sendall(request)
        answer = tpm.recv(4096)
        if code == INIT and answer == bytes(4):
            command(data, STARTUP)  # the VMM's own one then finds it done, which it takes
            command(data, SELF_TEST)
        vmm.sendall(answer)


def main(listen, swtpm):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as tpm:
        tpm.connect(swtpm)
        server.bind(listen + ".new")
        server.listen(1)
        os.rename(listen + ".new", listen)  # who sees it can connect
        while True:  # a VMM comes anew when its guest is reset
            vmm, _ = server.accept()
            with vmm:
                serve(vmm, tpm)


if __name__ == "__main__":
    main(*sys.argv[1:])
