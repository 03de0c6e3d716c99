/*
 * The command line of one run of QEMU. Pure and deterministic.
 *
 * What must not change between versions of ours, because guests see it: machine type, the PCI
 * slots, serials, MACs. Each disk and NIC sits behind a root port of its own, because only there
 * can it come and go while the guest runs; each place has its port at a fixed address, eight in a
 * slot, so that one more disk moves no NIC. A reset, a shutdown and a panic all stop the machine
 * and wait for us (-action): what happened is then never lost, whoever was watching; see effects.c.
 * -S: the guest does not run before the event stream is open.
 *
 * Strings that come from a user go into QEMU's option syntax with their commas doubled.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/agent_wire.h"
#include "base/buf.h"
#include "driver/qemu/qemu.h"

#define OPTION_MAX_BYTES 65536
#define SLOT_RNG         0x01
#define SLOT_PVPANIC     0x02
#define SLOT_AGENT       0x03
#define SLOT_DISK_PORTS  0x04 /* and 0x05 */
#define SLOT_NET_PORTS   0x06
#define SLOT_BALLOON     0x07
#define SLOT_MEMORY      0x08
#define PORTS_PER_SLOT   8
#define CHASSIS_NETS     QEMU_MAX_DISKS /* chassis of the ports: disks 1 …, then NICs */
/* A fifth level of page tables only costs emulated walks; and told that copying by bytes is fast, a
 * kernel copies by bytes, each of which is emulated: with words it is four times as fast. */
#define TCG_CPU    "max,la57=off,erms=off"
#define CONTROL_FD 3
#define AGENT_FD   4
#define NIC_FD     16 /* and those after it: NICs of type fd, by their places */

static int pair(struct vivi_plan *p, const char *option, const char *value)
{
    int r = vivi_plan_arg(p, "%s", option);

    return r < 0 ? r : vivi_plan_arg(p, "%s", value);
}

static int VIVI_PRINTF(3, 4) pairf(struct vivi_plan *p, const char *option, const char *fmt, ...)
{
    struct vivi_buf text = VIVI_BUF(OPTION_MAX_BYTES);
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = vivi_buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (r == 0)
        r = pair(p, option, text.data ? text.data : "");
    vivi_buf_done(&text);
    return r;
}

/* "a,b" → "a,,b": a comma in an option's value. The caller frees. */
static char *escape(const char *s)
{
    struct vivi_buf out = VIVI_BUF(OPTION_MAX_BYTES);

    (void)vivi_buf_str(&out, "");
    for (; *s; s++)
        (void)vivi_buf_add(&out, *s == ',' ? ",," : s, *s == ',' ? 2 : 1);
    return vivi_buf_take(&out);
}

static int plan_process(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    int r;

    if ((r = vivi_plan_arg(p, "qemu-system-x86_64")) < 0 ||
        (r = pair(p, "-name", in->config->name)) < 0 || (r = pair(p, "-uuid", in->uuid)) < 0 ||
        (r = vivi_plan_arg(p, "-nodefaults")) < 0 ||
        (r = vivi_plan_arg(p, "-no-user-config")) < 0 || (r = pair(p, "-display", "none")) < 0 ||
        (r = vivi_plan_arg(p, "-S")) < 0 ||
        (r = pair(p, "-action", "reboot=shutdown,shutdown=pause,panic=pause")) < 0)
        return r;
    return in->facts->probe.sandbox ? pair(p, "-sandbox", QEMU_SANDBOX) : 0;
}

static int plan_cpus(const struct vivi_config *c, struct vivi_plan *p)
{
    if (c->cpus_max <= c->cpus)
        return pairf(p, "-smp", "%" PRIu32, c->cpus);
    return pairf(p, "-smp", "cpus=%" PRIu32 ",maxcpus=%" PRIu32, c->cpus, c->cpus_max);
}

static int plan_memory(const struct vivi_config *c, struct vivi_plan *p)
{
    if (c->memory_max_bytes <= c->memory_bytes)
        return pairf(p, "-m", "size=%" PRIu64 "M", c->memory_bytes >> 20);
    return pairf(p, "-m", "size=%" PRIu64 "M,maxmem=%" PRIu64 "M", c->memory_bytes >> 20,
                 c->memory_max_bytes >> 20);
}

/* What may come later is a device of its own; the host gives memory only for what is plugged. */
static int plan_more_memory(const struct vivi_config *c, struct vivi_plan *p)
{
    int r;

    if (c->memory_max_bytes <= c->memory_bytes)
        return 0;
    r = pairf(p, "-object", "memory-backend-ram,id=ram1,reserve=off,size=%" PRIu64,
              c->memory_max_bytes - c->memory_bytes);
    if (r < 0)
        return r;
    return pairf(p, "-device",
                 "virtio-mem-pci,id=memory,bus=pcie.0,addr=0x%x,memdev=ram1,block-size=%u,"
                 "requested-size=0",
                 SLOT_MEMORY, QEMU_PAGE_BYTES);
}

static int plan_machine(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_config *c = in->config;
    bool kvm = in->facts->probe.accel == VIVI_ACCEL_KVM;
    int r;

    if ((r = pairf(p, "-machine", "%s,accel=%s,memory-backend=ram0,usb=off,sata=off,smbus=off",
                   qemu_machine(c->machine), kvm ? "kvm" : "tcg")) < 0 ||
        (r = pair(p, "-cpu", kvm ? "host" : TCG_CPU)) < 0 || (r = plan_cpus(c, p)) < 0 ||
        (r = plan_memory(c, p)) < 0)
        return r;
    return pairf(p, "-object", "memory-backend-ram,id=ram0,size=%" PRIu64, c->memory_bytes);
}

static int plan_boot(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_config *c = in->config;
    const char *cmdline = c->cmdline && *c->cmdline ? c->cmdline : QEMU_DEFAULT_CMDLINE;
    int r = pair(p, "-kernel", c->kernel);

    if (r == 0 && c->initramfs)
        r = pair(p, "-initrd", c->initramfs);
    if (r < 0)
        return r;
    if (!in->nonce || !*in->nonce)
        return pair(p, "-append", cmdline);
    return pairf(p, "-append", "%s vmrs.nonce=%s", cmdline, in->nonce);
}

static size_t ports(uint32_t last, size_t spare, size_t most)
{
    size_t n = (size_t)last + spare;

    return n < most ? n : most;
}

size_t qemu_disk_ports(const struct vivi_config *c)
{
    uint32_t last = 0;

    for (size_t i = 0; i < c->n_disks; i++)
        last = c->disks[i].slot > last ? c->disks[i].slot : last;
    return ports(last, QEMU_SPARE_DISKS, QEMU_MAX_DISKS);
}

size_t qemu_net_ports(const struct vivi_config *c)
{
    uint32_t last = 0;

    for (size_t i = 0; i < c->n_nets; i++)
        last = c->nets[i].slot > last ? c->nets[i].slot : last;
    return ports(last, QEMU_SPARE_NETS, QEMU_MAX_NETS);
}

/* A port of one device; without I/O space, of which a machine has enough for 15 of them. */
struct port_row {
    const char *name;
    unsigned slot, chassis;
    size_t n;
};

static int plan_root_ports(const struct port_row *row, struct vivi_plan *p)
{
    for (size_t i = 0; i < row->n; i++) {
        int r = pairf(p, "-device",
                      "pcie-root-port,id=%s-%zu,bus=pcie.0,addr=0x%zx.%zu%s,chassis=%zu,"
                      "io-reserve=0",
                      row->name, i, row->slot + i / PORTS_PER_SLOT, i % PORTS_PER_SLOT,
                      i % PORTS_PER_SLOT == 0 ? ",multifunction=on" : "", row->chassis + i + 1);

        if (r < 0)
            return r;
    }
    return 0;
}

static int plan_disk(const struct vivi_plan_input *in, size_t i, struct vivi_plan *p)
{
    const struct vivi_disk *d = &in->config->disks[i];
    const struct vivi_path_fact *fact = vivi_fact_of(in->facts, d->path);
    const char *ro = d->readonly ? "on" : "off";
    cleanup_free char *path = escape(d->path);
    cleanup_free char *id = escape(d->id);
    size_t at = d->slot - 1;
    int r;

    if (!path || !id)
        return -VIV_E_NO_MEMORY;
    r = pairf(p, "-blockdev",
              "driver=%s,node-name=disk%zu-file,read-only=%s,auto-read-only=off,locking=auto,"
              "discard=unmap,filename=%s",
              fact && S_ISBLK(fact->mode) ? "host_device" : "file", at, ro, path);
    if (r < 0)
        return r;
    r = pairf(p, "-blockdev",
              "driver=raw,node-name=disk%zu,read-only=%s,discard=unmap,file=disk%zu-file", at, ro,
              at);
    if (r < 0)
        return r;
    return pairf(p, "-device",
                 "virtio-blk-pci,id=disk-%zu,bus=disk-port-%zu,disable-legacy=on,drive=disk%zu,"
                 "serial=%s",
                 at, at, at, id);
}

/* Each user network has a subnet of its own, so that a guest with two has no conflict. */
static int plan_netdev(const struct vivi_net *n, struct vivi_plan *p)
{
    struct vivi_buf text = VIVI_BUF(OPTION_MAX_BYTES);
    size_t i = n->slot - 1;
    int r;

    (void)vivi_buf_printf(&text, "user,id=net%zu", i);
    if (i > 0)
        (void)vivi_buf_printf(&text, ",net=10.0.%zu.0/24", 2 + i);
    for (size_t k = 0; k < n->n_forwards; k++) {
        const struct vivi_forward *f = &n->forwards[k];

        (void)vivi_buf_printf(&text, ",hostfwd=%s:%s:%u-:%u", f->udp ? "udp" : "tcp", f->host_ip,
                              (unsigned)f->host_port, (unsigned)f->guest_port);
    }
    r = vivi_buf_check(&text, NULL);
    if (r == 0)
        r = pair(p, "-netdev", text.data);
    vivi_buf_done(&text);
    return r;
}

/* A TAP that came as a descriptor. */
static int plan_given_netdev(const struct vivi_net *n, struct vivi_plan *p)
{
    int fd = NIC_FD + (int)n->slot - 1;
    char name[80];
    int r;

    (void)snprintf(name, sizeof(name), VIVI_NIC_FD "%.64s", n->id);
    r = vivi_plan_port(
        p, &(struct vivi_port){
               .kind = VIVI_PORT_HELD, .name = name, .child_fd = fd, .child_fd_rw = -1});
    return r < 0 ? r : pairf(p, "-netdev", "tap,id=net%" PRIu32 ",fd=%d", n->slot - 1, fd);
}

void qemu_mac(const struct vivi_net *n, const char *uuid, char ret[18])
{
    uint8_t derived[6];

    (void)snprintf(ret, 18, "%s", n->mac);
    if (*ret)
        return;
    vivi_mac_derive(uuid, n->id, derived);
    vivi_format_mac(derived, ret);
}

static int plan_net(const struct vivi_plan_input *in, size_t i, struct vivi_plan *p)
{
    const struct vivi_net *n = &in->config->nets[i];
    size_t at = n->slot - 1;
    char mac[18];
    int r = n->type == VIVI_NET_FD ? plan_given_netdev(n, p) : plan_netdev(n, p);

    if (r < 0)
        return r;
    qemu_mac(n, in->uuid, mac);
    return pairf(p, "-device",
                 "virtio-net-pci,id=nic-%zu,bus=net-port-%zu,disable-legacy=on,romfile=,"
                 "netdev=net%zu,mac=%s",
                 at, at, at, mac);
}

/* free-page-reporting: what the guest frees goes back to the host without being asked for. */
static int plan_balloon(struct vivi_plan *p)
{
    return pairf(p, "-device",
                 "virtio-balloon-pci,id=balloon,bus=pcie.0,addr=0x%x,disable-legacy=on,"
                 "deflate-on-oom=on,free-page-reporting=on",
                 SLOT_BALLOON);
}

static int plan_devices(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct port_row disk_ports = {"disk-port", SLOT_DISK_PORTS, 0,
                                        qemu_disk_ports(in->config)};
    const struct port_row net_ports = {"net-port", SLOT_NET_PORTS, CHASSIS_NETS,
                                       qemu_net_ports(in->config)};
    int r;

    if ((r = pair(p, "-object", "rng-builtin,id=rng0")) < 0 ||
        (r = pairf(p, "-device",
                   "virtio-rng-pci,id=rng,bus=pcie.0,addr=0x%x,disable-legacy=on,rng=rng0",
                   SLOT_RNG)) < 0 ||
        (r = pairf(p, "-device", "pvpanic-pci,id=pvpanic,bus=pcie.0,addr=0x%x", SLOT_PVPANIC)) <
            0 ||
        (r = plan_balloon(p)) < 0 || (r = plan_more_memory(in->config, p)) < 0 ||
        (r = plan_root_ports(&disk_ports, p)) < 0 || (r = plan_root_ports(&net_ports, p)) < 0)
        return r;
    for (size_t i = 0; i < in->config->n_disks; i++)
        if ((r = plan_disk(in, i, p)) < 0)
            return r;
    for (size_t i = 0; i < in->config->n_nets; i++)
        if ((r = plan_net(in, i, p)) < 0)
            return r;
    return 0;
}

/* The event monitor stands before the control monitor: its handshake is then seen first. */
static int plan_streams(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    cleanup_free char *run_dir = escape(in->run_dir);
    int r;

    if (!run_dir)
        return -VIV_E_NO_MEMORY;
    if ((r = pairf(p, "-chardev", "pipe,id=serial,path=%s/serial", run_dir)) < 0 ||
        (r = pair(p, "-serial", "chardev:serial")) < 0 ||
        (r = pairf(p, "-chardev", "pipe,id=events,path=%s/events", run_dir)) < 0 ||
        (r = pair(p, "-mon", "chardev=events,mode=control")) < 0 ||
        (r = pairf(p, "-chardev", "socket,id=control,fd=%d,server=on,wait=off", CONTROL_FD)) < 0)
        return r;
    return pair(p, "-mon", "chardev=control,mode=control");
}

/* Port 0 of a virtio-serial device is kept for consoles. */
static int plan_agent(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_port port = {.kind = VIVI_PORT_LISTEN,
                                   .name = QEMU_AGENT_SOCKET,
                                   .child_fd = AGENT_FD,
                                   .child_fd_rw = -1};
    int r;

    if (in->config->agent == VIVI_AGENT_OFF)
        return 0;
    if ((r = pairf(p, "-device",
                   "virtio-serial-pci,id=agent-bus,bus=pcie.0,addr=0x%x,disable-legacy=on,"
                   "max_ports=2",
                   SLOT_AGENT)) < 0 ||
        (r = pairf(p, "-chardev", "socket,id=agent,fd=%d,server=on,wait=off", AGENT_FD)) < 0 ||
        (r = pair(p, "-device",
                  "virtserialport,id=agent-port,bus=agent-bus.0,nr=1,chardev=agent,"
                  "name=" VIVI_AW_PORT_NAME)) < 0)
        return r;
    return vivi_plan_port(p, &port);
}

static int plan_ports(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_port control = {
        .kind = VIVI_PORT_LISTEN, .name = "qmp", .child_fd = CONTROL_FD, .child_fd_rw = -1};
    const struct vivi_port events_in = {
        .kind = VIVI_PORT_FIFO_IN, .name = "events.in", .child_fd = -1, .child_fd_rw = -1};
    int r = vivi_plan_port(p, &control);

    if (r == 0)
        r = vivi_plan_streams(p, in->config);
    if (r == 0)
        r = vivi_plan_port(p, &events_in);
    return r < 0 ? r : vivi_plan_stderr(p);
}

int qemu_plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err)
{
    cleanup_plan struct vivi_plan p = {0};

    if (in->how != VIVI_HOW_BOOT)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "the qemu driver can only boot");
    p.exe = strdup(in->facts->probe.exe);
    if (!p.exe || plan_process(in, &p) < 0 || plan_machine(in, &p) < 0 || plan_boot(in, &p) < 0 ||
        plan_devices(in, &p) < 0 || plan_streams(in, &p) < 0 || plan_ports(in, &p) < 0 ||
        plan_agent(in, &p) < 0)
        return vivi_fail_oom(err);
    *ret = p;
    memset(&p, 0, sizeof(p));
    return 0;
}
