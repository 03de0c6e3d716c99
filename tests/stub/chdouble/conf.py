"""How a test tells the double to behave. Times are in milliseconds; null means never."""
import json
import os

DEFAULTS = {
    "version": "53.0",          # "51.0", "52.0", "53.0", "head": dialect of errors, limits, verbs
    "features": ["io_uring", "kvm"],
    "no_kvm": None,             # errno word: opening the hypervisor fails so ("ENOENT", "EACCES")
    "start_delay": 0,           # between the event vmm/starting and the API's socket
    "max_body": None,           # bytes; by version
    "journal": None,            # file that gets one JSON line for each request and what the schema says to it
    "faults": [],               # [{"at": "vm.boot", "nth": 1, "do": …}], see faults in api.py
    "lose_events": [],          # names of events that never reach the monitor's descriptor: ["shutdown"], ["*"]
    "event_noise": "",          # text written in front of each event
    "exit": None,               # {"after": 20, "code": 5} or {"after": 20, "signal": 31}: by itself
    "guest": {
        "banner": "double guest\r\n",
        "ip": "10.0.2.15",      # null: no readiness line
        "ready": 0,             # from the start of the CPUs to the readiness line
        "keys": True,           # obeys keys
        "print": [],            # [[100, "text"]]: said later on
        "do": [],               # [[100, "p"]]: as if that key had been typed
        "echo_nonce": True,
        "quiet_resets": 0,      # so many further resets before the new boot prints a byte
        "end": "i8042",         # how the guest ends by itself; only named in the log
    },
    "button": 0,                # the guest acts on its power button after that; null: ignores it
    "eject": 0,                 # an unplugged device is given back after that; null: never
    "online": 0,                # vCPUs: a removal is finished after that; null: never
    "plug": 0,              # virtio-mem: the guest follows after that; null: never
    "plug_most": None,      # and takes no more bytes than that
    "balloon": 0,               # the balloon reaches its target after that; null: never
    "vhost_timeout": 300,       # the 60 s in which a vhost-user peer is awaited
    "activate_fails": False,    # a device fails to be activated by the guest: the VMM ends with 1
    "seccomp_migration": True,  # local migration kills the source unless its filter only logs (bug of 53)
    # fail: "iteration", "receive" (the receiver says no), "cut" (the connection breaks once the machine runs there,
    # before that is answered), "silent" (that is never answered); gate: {"at": point, "dir": where "reached" is made
    # and "go" awaited}, see gate() in migration.py
    "migration": {"iterations": 2, "step": 5, "fail": None, "gate": None},
    "cpu": "double-1",          # restore and migration need the same
    "agent": None,              # argv of a program that serves vsock port 1024 on its stdin and stdout
    "agent_port": 1024,
    "guest_connects": [],       # [[10, 5000, "text"]]: the guest calls port 5000 of the host
    "userfaultfd": True,
}


def merge(base, more):
    out = dict(base)
    for k, v in more.items():
        if k not in base:
            raise KeyError(f"unknown key in the double's configuration: {k}")
        out[k] = merge(base[k], v) if isinstance(base[k], dict) and isinstance(v, dict) else v
    return out


def load(argv0):
    """The configuration for an executable called as argv0."""
    path = os.environ.get("CH_DOUBLE_CONF") or argv0 + ".json"
    try:
        with open(path, encoding="utf-8") as f:
            more = json.load(f)
    except FileNotFoundError:
        more = {}
    return merge(DEFAULTS, more)
