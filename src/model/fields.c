/*
 * THE table of configuration fields, in the order of reports. Nothing else lists fields: parser,
 * messages, flags, --set, schema, documents, completion and the typed form follow from it.
 */
#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/fields.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)
#define SEC INT64_C(1000)
#define DAY (24 * 3600 * SEC)

const struct vivi_field vivi_fields[] = {
    {.path = "name",
     .type = VIVI_T_NAME,
     .flag = "--name",
     .arg = "NAME",
     .help = "name of the VM: a DNS label",
     .when = VIVI_WHEN_FIXED,
     .drivers = "all"},
    {.path = "driver",
     .type = VIVI_T_ENUM,
     .choices = "auto|cloud-hypervisor|vz|qemu|fake",
     .def = "auto",
     .flag = "--driver",
     .arg = "DRIVER",
     .help = "what runs the VM; auto is resolved when the VM is created",
     .when = VIVI_WHEN_FIXED,
     .drivers = "all"},
    {.path = "machine",
     .type = VIVI_T_STR,
     .def = "auto",
     .help = "machine type as the driver calls it, for example q35",
     .when = VIVI_WHEN_FIXED,
     .drivers = "qemu"},
    {.path = "accel",
     .type = VIVI_T_ENUM,
     .choices = "auto|kvm|tcg|hvf",
     .def = "auto",
     .flag = "--accel",
     .arg = "ACCEL",
     .help = "how the CPUs run; auto takes KVM where it is usable, else emulates and says so",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "qemu"},
    {.path = "labels",
     .type = VIVI_T_MAP,
     .flag = "--label",
     .arg = "KEY=VALUE",
     .help = "words to find the VM by",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "boot.kernel",
     .type = VIVI_T_PATH,
     .flag = "--kernel",
     .arg = "FILE",
     .help = "Linux kernel to boot (bzImage, or ELF with a PVH note)",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "boot.initramfs",
     .type = VIVI_T_PATH,
     .flag = "--initrd",
     .arg = "FILE",
     .help = "initial RAM file system of the kernel",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "boot.cmdline",
     .type = VIVI_T_STR,
     .flag = "--cmdline",
     .arg = "TEXT",
     .help = "kernel command line",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "cpus.count",
     .type = VIVI_T_INT,
     .min = 1,
     .max = 1024,
     .def = "1",
     .flag = "--cpus",
     .short_flag = 'c',
     .arg = "N",
     .help = "virtual CPUs",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all",
     .shorthand = true},
    {.path = "cpus.max",
     .type = VIVI_T_INT,
     .min = 1,
     .max = 1024,
     .help = "so many virtual CPUs it can have while it runs; as many as it starts with by default",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "memory.size",
     .type = VIVI_T_SIZE,
     .unit = "bytes",
     .min = MIB,
     .max = 1024 * TIB,
     .def = "512MiB",
     .flag = "--memory",
     .short_flag = 'm',
     .arg = "SIZE",
     .help = "memory of the guest",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all",
     .shorthand = true},
    {.path = "memory.max",
     .type = VIVI_T_SIZE,
     .unit = "bytes",
     .min = MIB,
     .max = 1024 * TIB,
     .help = "so much memory it can have while it runs; what it starts with by default",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "memory.balloon",
     .type = VIVI_T_SIZE,
     .unit = "bytes",
     .min = MIB,
     .max = 1024 * TIB,
     .help = "so much of the memory is left to the guest, the host gets the rest; all by default",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "disks",
     .type = VIVI_T_OBJECT_LIST,
     .flag = "--disk",
     .arg = "FILE[,ro][,id=ID]",
     .help = "raw disks, in the order the guest sees them",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "disks.*.id",
     .type = VIVI_T_NAME,
     .help = "name of the disk in this configuration; d0, d1, … by default",
     .when = VIVI_WHEN_FIXED,
     .drivers = "all"},
    {.path = "disks.*.path",
     .type = VIVI_T_PATH,
     .help = "raw image file or block device",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all",
     .shorthand = true,
     .required = true},
    {.path = "disks.*.readonly",
     .type = VIVI_T_BOOL,
     .def = "false",
     .help = "the guest cannot write to it",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "disks.*.size",
     .type = VIVI_T_SIZE,
     .unit = "bytes",
     .min = 512,
     .max = 1024 * TIB,
     .help = "a smaller image grows to it; as large as the image is by default",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "disks.*.slot",
     .type = VIVI_T_INT,
     .min = 1,
     .max = 64,
     .help = "its place among the disks; the first free one by default, kept when others leave",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "nets",
     .type = VIVI_T_OBJECT_LIST,
     .def = "n0",
     .flag = "--net",
     .arg = "nat|none|tap,tap=NAME",
     .help = "network interfaces; without any in the configuration there is one, n0, of type nat",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "nets.*.id",
     .type = VIVI_T_NAME,
     .help = "name of the NIC in this configuration; n0, n1, … by default",
     .when = VIVI_WHEN_FIXED,
     .drivers = "all"},
    {.path = "nets.*.type",
     .type = VIVI_T_ENUM,
     .choices = "nat|tap",
     .def = "nat",
     .help = "what the NIC is connected to: nat needs no privileges; tap is a TAP device by name, "
             "made by you or, with privileges, by the VMM",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all",
     .shorthand = true},
    {.path = "nets.*.tap",
     .type = VIVI_T_STR,
     .help = "name of the TAP device of a NIC of type tap",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "cloud-hypervisor"},
    {.path = "nets.*.slot",
     .type = VIVI_T_INT,
     .min = 1,
     .max = 64,
     .help = "its place among the NICs; the first free one by default, kept when others leave",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "nets.*.mac",
     .type = VIVI_T_MAC,
     .def = "auto",
     .help = "address of the NIC; auto derives one from the VM that stays the same",
     .when = VIVI_WHEN_FIXED,
     .drivers = "all"},
    {.path = "nets.*.forward",
     .type = VIVI_T_FORWARD_LIST,
     .flag = "--publish",
     .short_flag = 'p',
     .arg = "[IP:]HOST:GUEST[/udp]",
     .help = "host ports that lead to the guest, on 127.0.0.1 unless an address is given; host "
             "port 0 takes a free one",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "serial.log",
     .type = VIVI_T_ENUM,
     .choices = "auto",
     .def = "auto",
     .help = "where the serial console is logged: serial.log in the VM's directory",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "serial.log_limit",
     .type = VIVI_T_SIZE,
     .unit = "bytes",
     .min = 64 * KIB,
     .max = TIB,
     .def = "16MiB",
     .help = "about this much of the end of the log is kept",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "agent.enabled",
     .type = VIVI_T_ENUM,
     .choices = "auto|on|off",
     .def = "auto",
     .help = "a channel to viv-agent in the guest, for exec, cp and shell; auto: where the driver "
             "can give one",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all",
     .shorthand = true},
    {.path = "ready.by",
     .type = VIVI_T_ENUM,
     .choices = "auto|marker|agent|none",
     .def = "auto",
     .help = "what proves that the guest is ready: its line VMRS_READY on the console, the word of "
             "its agent, or nothing; auto: whichever comes first",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "all"},
    {.path = "ready.timeout",
     .type = VIVI_T_DURATION,
     .unit = "ms",
     .min = 1,
     .max = 7 * DAY,
     .def = "120s",
     .help = "how long waiting for ready lasts; three times as long when emulated",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "stop.timeout",
     .type = VIVI_T_DURATION,
     .unit = "ms",
     .min = 0,
     .max = 7 * DAY,
     .def = "60s",
     .help = "how long the guest may take to shut down before it is killed; 0 kills at once",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "restart.policy",
     .type = VIVI_T_ENUM,
     .choices = "never|on-failure|always",
     .def = "never",
     .help = "whether a VM that ended by itself is started again",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "restart.backoff",
     .type = VIVI_T_DURATION,
     .unit = "ms",
     .min = 1,
     .max = 60 * SEC,
     .def = "1s",
     .help = "wait before the first restart; doubles up to 60s, starts anew after 60s of running",
     .when = VIVI_WHEN_LIVE,
     .drivers = "all"},
    {.path = "fake.script",
     .type = VIVI_T_TEXT,
     .help = "what the guest of the fake driver plays",
     .when = VIVI_WHEN_NEXT_START,
     .drivers = "fake"},
};

size_t vivi_fields_count(void)
{
    return ARRAY_SIZE(vivi_fields);
}

/* Compares one segment; both move behind its dot. A * in the pattern is any one segment. */
static bool segment_matches(const char **pattern, const char **path)
{
    size_t n = strcspn(*pattern, "."), m = strcspn(*path, ".");
    bool same = (n == 1 && **pattern == '*') || (n == m && memcmp(*pattern, *path, n) == 0);

    *pattern += n + ((*pattern)[n] == '.');
    *path += m + ((*path)[m] == '.');
    return same && m > 0;
}

/* How much of path the pattern takes: all (2), path goes on behind it (1), no match (0). */
static int match(const char *pattern, const char *path)
{
    while (*pattern != '\0') {
        if (*path == '\0' || !segment_matches(&pattern, &path))
            return 0;
    }
    return *path == '\0' ? 2 : 1;
}

const struct vivi_field *vivi_field_find(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(vivi_fields); i++) {
        int m = match(vivi_fields[i].path, path);

        if (m == 2 || (m == 1 && vivi_fields[i].type == VIVI_T_MAP))
            return &vivi_fields[i];
    }
    return NULL;
}

const char *vivi_field_leaf(const struct vivi_field *f)
{
    const char *dot = strrchr(f->path, '.');

    return dot ? dot + 1 : f->path;
}

bool vivi_field_is_child(const struct vivi_field *f, const char *parent)
{
    size_t n = strlen(parent);

    if (n == 0)
        return true;
    return strncmp(f->path, parent, n) == 0 && f->path[n] == '.';
}

const struct vivi_field *vivi_field_shorthand(const char *parent)
{
    size_t n = strlen(parent);

    for (size_t i = 0; i < ARRAY_SIZE(vivi_fields); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (f->shorthand && vivi_field_is_child(f, parent) && !strchr(f->path + n + 1, '.'))
            return f;
    }
    return NULL;
}

bool vivi_field_is_mapping(const char *pattern)
{
    for (size_t i = 0; i < ARRAY_SIZE(vivi_fields); i++)
        if (vivi_field_is_child(&vivi_fields[i], pattern))
            return true;
    return false;
}

const char *vivi_field_values(const char *path)
{
    const struct vivi_field *f = vivi_field_find(path);

    if (!f)
        return NULL;
    return f->type == VIVI_T_BOOL ? "true|false" : f->choices;
}

void vivi_field_flag_path(const struct vivi_field *f, char ret[128])
{
    bool adds = f->type == VIVI_T_OBJECT_LIST || f->type == VIVI_T_MAP ||
                f->type == VIVI_T_STR_LIST || f->type == VIVI_T_FORWARD_LIST;

    (void)snprintf(ret, 128, "%s%s", f->path, adds ? ".+" : "");
}
