"""The command line: options as clap takes them, and the plain mode in which they are the whole configuration."""
import re

from . import schema

FLAGS = {"--pvpanic", "--watchdog", "--landlock", "--no-shutdown"}
VALUES = {"--api-socket", "--event-monitor", "--log-file", "--log-format", "--seccomp", "--restore", "--cpus", "--memory",
          "--memory-zone", "--kernel", "--firmware", "--initramfs", "--cmdline", "--rate-limit-group", "--disk", "--net",
          "--rng", "--balloon", "--fs", "--generic-vhost-user", "--pmem", "--serial", "--console", "--debug-console",
          "--device", "--user-device", "--vdpa", "--vsock", "--numa", "--pci-segment", "--platform", "--tpm",
          "--landlock-rules", "--gdb"}
LISTS = {"--disk": ("disks", "Disk"), "--net": ("net", "Net"), "--fs": ("fs", "Fs"), "--pmem": ("pmem", "Pmem"),
         "--device": ("devices", "Device"), "--user-device": ("user_devices", "UserDevice"), "--vdpa": ("vdpa", "Vdpa"),
         "--generic-vhost-user": ("generic_vhost_user", "GenericVhostUser"), "--numa": ("numa", "Numa"), "--landlock-rules": ("landlock_rules", "LandlockRule"),
         "--pci-segment": ("pci_segments", "PciSegment")}
OBJECTS = {"--cpus": ("cpus", "Cpus"), "--memory": ("memory", "Memory"), "--rng": ("rng", "Rng"),
           "--balloon": ("balloon", "Balloon"), "--vsock": ("vsock", "Vsock"), "--platform": ("platform", "Platform"),
           "--tpm": ("tpm", "Tpm")}
# What no VM needs: everything else wants a payload beside it.
ALONE = {"--api-socket", "--event-monitor", "--log-file", "--log-format", "--seccomp", "--restore", "--no-shutdown",
         "--gdb"}
RENAMED = {"boot": "boot_vcpus", "max": "max_vcpus", "socket": "socket"}
SINCE = {"--no-shutdown": 52, "--log-format": 52, "--generic-vhost-user": 52}
HINT = "\n\nFor more information, try '--help'."
TOPOLOGY = ("threads_per_core", "cores_per_die", "dies_per_package", "packages")
BUCKETS = {"bw": "bandwidth", "ops": "ops"}
BUCKET_PARTS = ("size", "one_time_burst", "refill_time")
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Usage(Exception):
    """The command line ends here: what is said, and the exit code."""

    def __init__(self, text, code=2):
        super().__init__(text)
        self.text, self.code = text, code


class Options:
    def __init__(self):
        self.api_path = self.api_fd = self.event_path = self.event_fd = self.log_file = None
        self.verbose, self.seccomp, self.no_shutdown = 0, "true", False
        self.show_version = False
        self.restore = None
        self.config = None


def split(text):
    """`a=b,c=[1,2],d` as pairs; brackets and quotes hold commas together, a doubled quote is one."""
    parts, depth, quoted, word, last = [], 0, False, "", ""
    for c in text:
        if c == '"':
            word += '"' if last == '"' and not quoted else ""
            quoted = not quoted
        elif c == "," and depth == 0 and not quoted:
            parts.append(word)
            word = ""
        else:
            depth += 0 if quoted else (c == "[") - (c == "]")
            word += c
        last = c
    return [p.partition("=")[::2] for p in parts + [word] if p]


def affinity(text):
    """`[0@[2,3],1@[4]]`"""
    return [{"vcpu": int(vcpu), "host_cpus": [int(c) for c in cpus.split(",")]}
            for vcpu, cpus in re.findall(r"(\d+)@\[([\d,]+)\]", text)]


def nested(kind, key, value, out):
    """What is flat here and nested in the JSON: True, it was."""
    bucket, _, part = key.partition("_")
    if kind == "Cpus" and key == "topology":
        out[key] = dict(zip(TOPOLOGY, map(int, value.split(":"))))
    elif kind == "Cpus" and key == "affinity":
        out[key] = affinity(value)
    elif bucket in BUCKETS and part in BUCKET_PARTS and "rate_limiter_config" in schema.TYPES[kind]:
        out.setdefault("rate_limiter_config", {}).setdefault(BUCKETS[bucket], {})[part] = int(value)
    else:
        return False
    return True


def number(text):
    unit = text[-1:].upper()
    if unit in SIZES and text[:-1].isdigit():
        return int(text[:-1]) * SIZES[unit]
    return int(text)


def convert(kind, text):
    if kind == "bool":
        return text in ("on", "true")
    if kind in schema.LIMITS:
        return number(text)
    if kind.startswith("["):
        return [convert(kind[1:-1], t) for t in text.strip("[]").split(",") if t]
    if "|" in kind:
        words = {w.lower(): w for w in kind.split("|")}
        words.update({"virtio-mem": "VirtioMem", "byte-range": "ByteRange", "vhd": "FixedVhd"})
        return words.get(text, text)
    return text


def object_of(kind, text, option):
    out = {}
    for key, value in split(text):
        if nested(kind, key, value, out):
            continue
        member = schema.TYPES[kind].get("fds" if key == "fd" and kind == "Net" else RENAMED.get(key, key))
        if key == "socket" and kind in ("Disk", "Net"):
            member = schema.TYPES[kind]["vhost_socket"]
        if member is None:
            raise Usage(f"error: {option}: unknown option: {key}" + HINT, 1)
        out[member.name] = convert(member.kind, value)
    return out


def console(text):
    mode, _, path = text.partition("=")
    if mode not in ("off", "null", "pty", "tty", "file", "socket"):
        raise Usage(f"error: invalid console mode {mode}" + HINT, 1)
    return {"mode": mode.capitalize(), **({mode: path} if path else {})}


def configuration(given):
    """The plain mode: a VmConfig out of all options."""
    config = {"payload": {k: given[f"--{k}"][-1] for k in ("kernel", "firmware", "initramfs", "cmdline")
                          if f"--{k}" in given}}
    for option, values in given.items():
        if option in LISTS:
            key, kind = LISTS[option]
            config[key] = [object_of(kind, v, option) for v in values]
        elif option in OBJECTS:
            key, kind = OBJECTS[option]
            config[key] = object_of(kind, values[-1], option)
        elif option in ("--serial", "--console", "--debug-console"):
            config[option[2:].replace("-", "_")] = console(values[-1])
        elif option in ("--pvpanic", "--watchdog"):
            config[option[2:]] = True
        elif option == "--landlock":
            config["landlock_enable"] = True
    if "cpus" in config:
        config["cpus"].setdefault("boot_vcpus", 1)
        config["cpus"].setdefault("max_vcpus", config["cpus"]["boot_vcpus"])
    return config


def collect(argv, version):
    """option → list of values; checks names as clap does."""
    given, verbose, show = {}, 0, False
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-V", "--version"):
            show = True
        elif name in ("-h", "--help"):
            raise Usage("Launch a cloud-hypervisor VMM.\n\nUsage: cloud-hypervisor [OPTIONS]", 0)
        elif word.startswith("-v") and set(word[1:]) == {"v"}:
            verbose += len(word) - 1
        elif (name not in FLAGS and name not in VALUES) or SINCE.get(name, 0) > version:
            raise Usage(f"error: unexpected argument '{word}' found\n\nUsage: cloud-hypervisor [OPTIONS]" + HINT)
        elif name in FLAGS:
            given.setdefault(name, [])
        else:
            if not equals and (not words or words[0].startswith("--")):
                raise Usage(f"error: a value is required for '{name} <{name[2:]}>' but none was supplied" + HINT)
            given.setdefault(name, []).append(value if equals else words.pop(0))
            while not equals and name in LISTS and words and not words[0].startswith("-"):
                given[name].append(words.pop(0))  # these options take several values
    return given, verbose, show


def parse(argv, version):
    if not argv:
        raise Usage("Launch a cloud-hypervisor VMM.\n\nUsage: cloud-hypervisor [OPTIONS]", 2)
    given, verbose, show = collect(argv, version)
    o = Options()
    o.verbose, o.show_version = verbose, show
    if show:
        return o
    one = {k: v[-1] if v else True for k, v in given.items()}
    o.seccomp = one.get("--seccomp", "true")
    words = ["true", "false", "log"] + (["errno"] if version >= 53 else [])
    if o.seccomp not in words:
        raise Usage(f"error: invalid value '{o.seccomp}' for '--seccomp <seccomp>'\n"
                    f"  [possible values: {', '.join(words)}]" + HINT)
    first = next((g for g in given if g not in ALONE), None)
    if first and "--kernel" not in given and "--firmware" not in given:
        what = "<--firmware <firmware>|--kernel <kernel>>"
        raise Usage(f"error: the following required arguments were not provided:\n  {what}\n\n"
                    f"Usage: cloud-hypervisor {first} <{first[2:]}> {what}" + HINT)
    api = one.get("--api-socket")
    if api:
        o.api_fd = int(api[3:]) if api.startswith("fd=") else None
        o.api_path = None if api.startswith("fd=") else api.removeprefix("path=")
    events = one.get("--event-monitor")
    if events:
        o.event_fd = int(events[3:]) if events.startswith("fd=") else None
        o.event_path = events.removeprefix("path=") if events.startswith("path=") else None
    o.log_file, o.no_shutdown, o.restore = one.get("--log-file"), "--no-shutdown" in given, one.get("--restore")
    if first:
        o.config = configuration(given)
    return o
