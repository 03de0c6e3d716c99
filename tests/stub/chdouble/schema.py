"""Bodies: which members each object has, of which type, with which default, since which version.

Written as a table, one object a line block: `member:type`, `?` may be absent, `=value` has a default,
otherwise it must be there; `@52` came with that version. Types: u8 u16 u32 u64 i32 bool str, an object's
name, `[T]` a list, `A|B|C` one of these words.

As in the real one unknown members are ignored, except in objects marked `!`. What a client sent that the
version does not know is listed all the same, for the journal (conf.py): a control plane should never send it.
"""


PCI = "id:str? iommu:bool=false pci_segment:u16=0 pci_device_id:u8?@52"
TABLE = f"""
VmConfig  cpus:Cpus=1 memory:Memory=512 payload:Payload? rate_limit_groups:[RateLimitGroup]? disks:[Disk]?
    net:[Net]? rng:Rng=urandom balloon:Balloon? generic_vhost_user:[GenericVhostUser]?@52 fs:[Fs]? pmem:[Pmem]?
    serial:Serial=null console:Console=tty debug_console:DebugConsole=off devices:[Device]?
    user_devices:[UserDevice]? vdpa:[Vdpa]? vsock:Vsock? pvpanic:bool=false iommu:bool=false numa:[Numa]?
    watchdog:bool=false rtc:Rtc?@53 pci_segments:[PciSegment]? platform:Platform? tpm:Tpm?
    landlock_enable:bool=false landlock_rules:[LandlockRule]?
Cpus  boot_vcpus:u32 max_vcpus:u32 topology:Topology? kvm_hyperv:bool=false max_phys_bits:u8=46 nested:bool=true@50
    affinity:[Affinity]? features:CpuFeatures={{}} core_scheduling:Vm|Vcpu|Off=Vm@52 profile:Host=Host@53
Topology  threads_per_core:u16 cores_per_die:u16 dies_per_package:u16 packages:u16
Affinity  vcpu:u32 host_cpus:[u64]
CpuFeatures  amx:bool=false
Memory  size:u64 mergeable:bool=false hotplug_method:Acpi|VirtioMem=Acpi hotplug_size:u64? hotplugged_size:u64?
    shared:bool=false hugepages:bool=false hugepage_size:u64? prefault:bool=false reserve:bool=false@53 thp:bool=true
    zones:[Zone]?
Zone  id:str size:u64 file:str? shared:bool=false hugepages:bool=false hugepage_size:u64? host_numa_node:u32?
    hotplug_size:u64? hotplugged_size:u64? prefault:bool=false reserve:bool=false@53 mergeable:bool=false@52
Payload  firmware:str? kernel:str? cmdline:str? initramfs:str? igvm:str? host_data:str?
Bucket!  size:u64 one_time_burst:u64? refill_time:u64
RateLimiter!  bandwidth:Bucket? ops:Bucket?
RateLimitGroup  id:str rate_limiter_config:RateLimiter
QueueAffinity  queue_index:u16 host_cpus:[u64]
Disk  {PCI} path:str? readonly:bool=false direct:bool=false num_queues:u64=1 queue_size:u16=128
    vhost_user:bool=false vhost_socket:str? rate_limit_group:str? rate_limiter_config:RateLimiter? serial:str?
    queue_affinity:[QueueAffinity]? backing_files:bool=false@51 sparse:bool=true@51
    image_type:Raw|Qcow2|FixedVhd|Vhdx|FlatVmdk|Unknown=Unknown@51 lock_granularity:ByteRange|Full=ByteRange@52
    disable_io_uring:bool=false disable_aio:bool=false
Net  {PCI} tap:str? ip:str? mask:str? mac:str? host_mac:str? mtu:u16? num_queues:u64=2 queue_size:u16=256
    vhost_user:bool=false vhost_socket:str? vhost_mode:Client|Server=Client fds:[i32]?
    rate_limiter_config:RateLimiter? offload_tso:bool=true offload_ufo:bool=true offload_csum:bool=true
Rng  {PCI} src:str
Balloon  {PCI} size:u64 deflate_on_oom:bool=false free_page_reporting:bool=false
GenericVhostUser  {PCI} socket:str queue_sizes:[u16] device_type:u32
Fs  {PCI} tag:str socket:str num_queues:u64=1 queue_size:u16=1024
Pmem  {PCI} file:str size:u64? discard_writes:bool=false
Serial  mode:Off|Pty|Tty|File|Socket|Null file:str? socket:str?
Console  {PCI} mode:Off|Pty|Tty|File|Socket|Null file:str?
DebugConsole  mode:Off|Pty|Tty|File|Null file:str? iobase:u16?
Device  {PCI} path:str? fd:i32?@53 x_nv_gpudirect_clique:u8? x_exclude_mmap_bars:[u64]?@52
UserDevice  {PCI} socket:str
Vdpa  {PCI} path:str num_queues:u64=1
Vsock  {PCI} cid:u32 socket:str
Distance  destination:u32 distance:u8
Numa  guest_numa_id:u32 cpus:[u32]? distances:[Distance]? memory_zones:[str]? pci_segments:[u16]? device_id:str?@51
Rtc  {PCI}
PciSegment  pci_segment:u16 mmio32_aperture_weight:u32=1 mmio64_aperture_weight:u32=1
Platform  num_pci_segments:u16=1 iommu_segments:[u16]? iommu_address_width_bits:u8=64 iommufd:bool=false@52
    vfio_p2p_dma:bool=true@52 oem_strings:[str]? serial_number:str? uuid:str? system_serial_number:str?@53
    system_uuid:str?@53 system_manufacturer:str?@53 system_product_name:str?@53 system_version:str?@53
    system_family:str?@53 system_sku_number:str?@53 chassis_asset_tag:str?@53
Tpm  socket:str
LandlockRule  path:str access:str
Resize  desired_vcpus:u32? desired_ram:u64? desired_balloon:u64?
ResizeDisk  id:str desired_size:u64
ResizeZone  id:str desired_ram:u64
RemoveDevice  id:str
Snapshot  destination_url:str
Coredump  destination_url:str
NetFds  id:str num_fds:u64
Restore  source_url:str prefault:bool=false memory_restore_mode:Copy|OnDemand=Copy@52 net_fds:[NetFds]?
    resume:bool=false@52
Receive  receiver_url:str tls_dir:str?@53 memory_mode:Precopy|Postcopy=Precopy@53
Send  destination_url:str local:bool=false preserve_source:bool=false@54 downtime_ms:u64=300@52
    timeout_s:u64=3600@52 timeout_strategy:Cancel|Ignore=Cancel@52 connections:u32=1@52 tls_dir:str?@53
    memory_mode:Precopy|Postcopy=Precopy@53
"""
OBJECTS = {  # defaults that are objects
    "Cpus=1": {"boot_vcpus": 1, "max_vcpus": 1}, "Memory=512": {"size": 512 << 20}, "Rng=urandom": {"src": "/dev/urandom"},
    "Serial=null": {"mode": "Null"}, "Console=tty": {"mode": "Tty"}, "DebugConsole=off": {"mode": "Off"},
    "CpuFeatures={}": {},
}
LIMITS = {"u8": (0, 255), "u16": (0, 65535), "u32": (0, 2**32 - 1), "u64": (0, 2**64 - 1), "i32": (-2**31, 2**31 - 1)}


class Wrong(Exception):
    """The body cannot be read; the text is what serde would say."""


class Member:
    def __init__(self, text):
        text, _, since = text.partition("@")
        self.name, _, kind = text.partition(":")
        self.since = int(since) if since else 0
        self.kind, has_default, default = kind.partition("=")
        self.optional = self.kind.endswith("?")
        self.kind = self.kind.rstrip("?")
        self.required = not self.optional and not has_default
        key = f"{self.kind}={default}"
        self.object = OBJECTS.get(key)
        words = {"true": True, "false": False}
        self.default = words.get(default, int(default) if default.isdigit() else default)


def read_table():
    objects, strict, name = {}, set(), None
    for line in TABLE.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            name = words.pop(0)
            if name.endswith("!"):
                name = name[:-1]
                strict.add(name)
            objects[name] = {}
        for w in words:
            m = Member(w)
            objects[name][m.name] = m
    return objects, strict


TYPES, STRICT = read_table()


def shown(value):
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return {list: "sequence", dict: "map", type(None): "null"}[type(value)]


class Reader:
    """Reads one body for one version; `complaints` lists what a careful client would not have sent."""

    def __init__(self, version, length):
        self.version, self.at, self.complaints = version, f" at line 1 column {length}", []

    def wrong(self, text):
        raise Wrong(text + self.at)

    def simple(self, value, kind):
        if kind in LIMITS:
            if isinstance(value, bool) or not isinstance(value, int):
                self.wrong(f"invalid type: {shown(value)}, expected {kind}")
            low, high = LIMITS[kind]
            if not low <= value <= high:
                self.wrong(f"invalid value: integer `{value}`, expected {kind}")
        elif kind == "bool" and not isinstance(value, bool):
            self.wrong(f"invalid type: {shown(value)}, expected a boolean")
        elif kind == "str" and not isinstance(value, str):
            self.wrong(f"invalid type: {shown(value)}, expected a string")
        return value

    def value(self, value, kind, path):
        if kind.startswith("["):
            if not isinstance(value, list):
                self.wrong(f"invalid type: {shown(value)}, expected a sequence")
            return [self.value(v, kind[1:-1], f"{path}.{i}") for i, v in enumerate(value)]
        if kind in TYPES:
            return self.object(value, kind, path)
        if kind in LIMITS or kind in ("bool", "str"):
            return self.simple(value, kind)
        words = kind.split("|")
        if value not in words:
            self.wrong(f"unknown variant `{value}`, expected " +
                       (f"one of {', '.join(f'`{w}`' for w in words)}" if len(words) > 1 else f"`{words[0]}`"))
        return value

    def object(self, value, kind, path=""):
        if not isinstance(value, dict):
            self.wrong(f"invalid type: {shown(value)}, expected struct {kind}Config")
        members, out = TYPES[kind], {}
        for key in value:
            member = members.get(key)
            where = f"{path}.{key}".lstrip(".")
            if member is None:
                if kind in STRICT:
                    self.wrong(f"unknown field `{key}`, expected one of {', '.join(f'`{m}`' for m in members)}")
                self.complaints.append(f"{where}: unknown")
            elif member.since > self.version:
                self.complaints.append(f"{where}: needs {member.since}")
        for m in members.values():
            if m.since > self.version:
                continue
            out_value = self.member(m, value.get(m.name), m.name in value, f"{path}.{m.name}".lstrip("."))
            if out_value is not None or self.version < 53:
                out[m.name] = out_value
        return out

    def member(self, m, value, given, path):
        if given and not (value is None and m.optional):
            return self.value(value, m.kind, path)
        if m.required:
            self.wrong(f"missing field `{m.name}`")
        if m.optional:
            return None
        return self.object(m.object, m.kind, path) if m.object is not None else m.default


def strip_defaults(config, version):
    """What newer ones leave out of an answer: `iommu: false` [52]."""
    if version < 52 or not isinstance(config, (dict, list)):
        return config
    if isinstance(config, list):
        return [strip_defaults(c, version) for c in config]
    return {k: strip_defaults(v, version) for k, v in config.items()
            if not (k == "iommu" and v is False and "pci_segment" in config)}


