/*
 * info.c: what the guest knows of itself, as one JSON object on channel 1.
 *
 * Everything is optional but hostname, kernel, architecture, uptime and memory: a reader takes what
 * is there. Lists are bounded, so that a guest with a thousand mounts stays readable.
 */
#include "agent.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

#define INFO_MAX_BYTES (256u << 10)
#define LIST_MAX       128

static void key(struct vivi_buf *b, const char *name)
{
    if (b->len > 0 && b->data[b->len - 1] != '{' && b->data[b->len - 1] != '[')
        (void)vivi_buf_str(b, ",");
    if (name != NULL) {
        (void)vivi_buf_json_str(b, name);
        (void)vivi_buf_str(b, ":");
    }
}

static void put_text(struct vivi_buf *b, const char *name, const char *value)
{
    key(b, name);
    (void)vivi_buf_json_str(b, value);
}

static void put_number(struct vivi_buf *b, const char *name, uint64_t value)
{
    key(b, name);
    (void)vivi_buf_printf(b, "%" PRIu64, value);
}

static void open_list(struct vivi_buf *b, const char *name, const char *bracket)
{
    key(b, name);
    (void)vivi_buf_str(b, bracket);
}

/* NAME="value" of os-release; quotes are taken off. */
static void os_release_line(struct vivi_buf *b, char *line)
{
    static const char *const wanted[][2] = {
        {"ID", "id"}, {"VERSION_ID", "version"}, {"PRETTY_NAME", "name"}};
    char *value = strchr(line, '=');
    size_t len;

    if (value == NULL)
        return;
    *value++ = '\0';
    value[strcspn(value, "\n")] = '\0';
    len = strlen(value);
    if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0]) {
        value[len - 1] = '\0';
        value++;
    }
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (strcmp(line, wanted[i][0]) == 0)
            put_text(b, wanted[i][1], value);
    }
}

static void put_os(struct vivi_buf *b)
{
    cleanup_fclose FILE *f = fopen("/etc/os-release", "re");
    char line[512];

    open_list(b, "os", "{");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        os_release_line(b, line);
    (void)vivi_buf_str(b, "}");
}

static void put_memory(struct vivi_buf *b)
{
    cleanup_fclose FILE *f = fopen("/proc/meminfo", "re");
    char line[128], name[64];
    uint64_t kib;

    open_list(b, "memory", "{");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%63[^:]: %" SCNu64, name, &kib) != 2)
            continue;
        if (strcmp(name, "MemTotal") == 0)
            put_number(b, "total", kib * 1024);
        else if (strcmp(name, "MemFree") == 0)
            put_number(b, "free", kib * 1024);
        else if (strcmp(name, "MemAvailable") == 0)
            put_number(b, "available", kib * 1024);
        else if (strcmp(name, "SwapTotal") == 0)
            put_number(b, "swap", kib * 1024);
    }
    (void)vivi_buf_str(b, "}");
}

static void put_system(struct vivi_buf *b)
{
    struct utsname u = {0};
    struct sysinfo info = {0};
    struct timespec now = {0}, up = {0};
    char text[128];

    (void)uname(&u);
    (void)sysinfo(&info);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)clock_gettime(CLOCK_BOOTTIME, &up);
    put_text(b, "hostname", u.nodename);
    put_text(b, "kernel", u.release);
    put_text(b, "arch", u.machine);
    sys_read_text("/etc/machine-id", text, sizeof(text));
    put_text(b, "machine_id", text);
    sys_read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));
    put_text(b, "boot_id", text);
    put_number(b, "uptime_ms", (uint64_t)up.tv_sec * 1000 + (uint64_t)up.tv_nsec / 1000000);
    put_number(b, "time_ms", (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    put_number(b, "processes", info.procs);
    open_list(b, "load", "[");
    for (int i = 0; i < 3; i++) {
        key(b, NULL);
        (void)vivi_buf_printf(b, "%.2f", (double)info.loads[i] / (1 << SI_LOAD_SHIFT));
    }
    (void)vivi_buf_str(b, "]");
}

static void put_cpus(struct vivi_buf *b)
{
    open_list(b, "cpus", "{");
    put_number(b, "online", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    put_number(b, "present", (uint64_t)sysconf(_SC_NPROCESSORS_CONF));
    (void)vivi_buf_str(b, "}");
}

static void put_mounts(struct vivi_buf *b)
{
    struct sys_mounts m = {0};
    const char *source, *dir, *type;
    struct statvfs v;
    int n = 0;

    open_list(b, "mounts", "[");
    while (n < LIST_MAX && sys_mounts_next(&m, false, &source, &dir, &type)) {
        if (strncmp(source, "/dev/", 5) != 0 && strcmp(dir, "/") != 0 &&
            strcmp(type, "virtiofs") != 0 && strcmp(type, "9p") != 0)
            continue;
        n++;
        open_list(b, NULL, "{");
        put_text(b, "source", source);
        put_text(b, "path", dir);
        put_text(b, "type", type);
        if (statvfs(dir, &v) == 0) {
            put_number(b, "size", (uint64_t)v.f_blocks * v.f_frsize);
            put_number(b, "available", (uint64_t)v.f_bavail * v.f_frsize);
        }
        (void)vivi_buf_str(b, "}");
    }
    (void)vivi_buf_str(b, "]");
    sys_mounts_done(&m);
}

static bool virtual_disk(const char *name)
{
    return strncmp(name, "loop", 4) == 0 || strncmp(name, "ram", 3) == 0 ||
           strncmp(name, "zram", 4) == 0 || name[0] == '.';
}

/* What "vda1" names: the disk itself, or a partition of it? */
static bool is_on_disk(const char *disk, const char *name)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "/sys/block/%.255s/%.255s/partition", disk, name);
    return strcmp(disk, name) == 0 || access(path, F_OK) == 0;
}

/* The name of the device that a path such as /dev/disk/by-label/x leads to. */
static bool leads_to_disk(const char *disk, const char *source)
{
    char real[PATH_MAX];

    return strncmp(source, "/dev/", 5) == 0 && realpath(source, real) != NULL &&
           is_on_disk(disk, strrchr(real, '/') + 1);
}

static void put_swaps(struct vivi_buf *b, const char *disk)
{
    cleanup_fclose FILE *f = fopen("/proc/swaps", "re");
    char line[512];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, " \t\n")] = '\0';
        if (leads_to_disk(disk, line))
            put_text(b, NULL, "swap");
    }
}

/* What is built upon it: volumes, RAID. */
static void put_holders(struct vivi_buf *b, const char *disk, const char *part)
{
    char path[600];
    cleanup_closedir DIR *d = NULL;
    int n = 0;

    (void)snprintf(path, sizeof(path), "/sys/block/%.255s/%.255s/holders", disk, part);
    d = opendir(path);
    for (const struct dirent *e; d != NULL && n < LIST_MAX && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        put_text(b, NULL, e->d_name);
        n++;
    }
}

/* For whom it may not simply go: directories where it is mounted, "swap", devices upon it. */
static void put_uses(struct vivi_buf *b, const char *disk)
{
    struct sys_mounts m = {0};
    const char *source, *dir, *type;
    char path[300];
    cleanup_closedir DIR *d = NULL;
    int n = 0;

    open_list(b, "used", "[");
    while (n < LIST_MAX && sys_mounts_next(&m, true, &source, &dir, &type)) {
        if (!leads_to_disk(disk, source))
            continue;
        put_text(b, NULL, dir);
        n++;
    }
    sys_mounts_done(&m);
    put_swaps(b, disk);
    put_holders(b, disk, ".");
    (void)snprintf(path, sizeof(path), "/sys/block/%.255s", disk);
    d = opendir(path);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (strncmp(e->d_name, disk, strlen(disk)) == 0)
            put_holders(b, disk, e->d_name);
    }
    (void)vivi_buf_str(b, "]");
}

static void put_disks(struct vivi_buf *b)
{
    cleanup_closedir DIR *d = opendir("/sys/block");
    int n = 0;

    open_list(b, "disks", "[");
    for (const struct dirent *e; d != NULL && n < LIST_MAX && (e = readdir(d)) != NULL;) {
        char path[300], text[128];

        if (virtual_disk(e->d_name))
            continue;
        n++;
        open_list(b, NULL, "{");
        put_text(b, "name", e->d_name);
        (void)snprintf(path, sizeof(path), "/sys/block/%s/size", e->d_name);
        sys_read_text(path, text, sizeof(text));
        put_number(b, "size", strtoull(text, NULL, 10) * 512);
        (void)snprintf(path, sizeof(path), "/sys/block/%s/serial", e->d_name);
        sys_read_text(path, text, sizeof(text));
        if (text[0] == '\0') {
            (void)snprintf(path, sizeof(path), "/sys/block/%s/device/serial", e->d_name);
            sys_read_text(path, text, sizeof(text));
        }
        put_text(b, "serial", text);
        (void)snprintf(path, sizeof(path), "/sys/block/%s/ro", e->d_name);
        sys_read_text(path, text, sizeof(text));
        key(b, "readonly");
        (void)vivi_buf_str(b, text[0] == '1' ? "true" : "false");
        put_uses(b, e->d_name);
        (void)vivi_buf_str(b, "}");
    }
    (void)vivi_buf_str(b, "]");
}

static unsigned prefix_of(const unsigned char *mask, size_t len)
{
    unsigned bits = 0;

    for (size_t i = 0; i < len; i++)
        bits += (unsigned)__builtin_popcount(mask[i]);
    return bits;
}

static void put_addresses(struct vivi_buf *b, const struct ifaddrs *all, const char *name)
{
    open_list(b, "addresses", "[");
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN] = "";
        unsigned bits = 0;

        if (i->ifa_addr == NULL || i->ifa_netmask == NULL || strcmp(i->ifa_name, name) != 0)
            continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            const struct sockaddr_in *at = (const void *)i->ifa_addr;
            const struct sockaddr_in *mask = (const void *)i->ifa_netmask;

            (void)inet_ntop(AF_INET, &at->sin_addr, text, sizeof(text));
            bits = prefix_of((const unsigned char *)&mask->sin_addr, 4);
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            const struct sockaddr_in6 *at = (const void *)i->ifa_addr;
            const struct sockaddr_in6 *mask = (const void *)i->ifa_netmask;

            (void)inet_ntop(AF_INET6, &at->sin6_addr, text, sizeof(text));
            bits = prefix_of((const unsigned char *)&mask->sin6_addr, 16);
        } else {
            continue;
        }
        open_list(b, NULL, "{");
        put_text(b, "address", text);
        put_number(b, "prefix", bits);
        (void)vivi_buf_str(b, "}");
    }
    (void)vivi_buf_str(b, "]");
}

static void put_nics(struct vivi_buf *b)
{
    struct if_nameindex *names = if_nameindex();
    struct ifaddrs *all = NULL;

    (void)getifaddrs(&all);
    open_list(b, "nics", "[");
    for (size_t i = 0; names != NULL && i < LIST_MAX && names[i].if_index != 0; i++) {
        char path[64], text[64];

        if (strcmp(names[i].if_name, "lo") == 0)
            continue;
        open_list(b, NULL, "{");
        put_text(b, "name", names[i].if_name);
        (void)snprintf(path, sizeof(path), "/sys/class/net/%.16s/address", names[i].if_name);
        sys_read_text(path, text, sizeof(text));
        put_text(b, "mac", text);
        (void)snprintf(path, sizeof(path), "/sys/class/net/%.16s/operstate", names[i].if_name);
        sys_read_text(path, text, sizeof(text));
        put_text(b, "state", text);
        put_addresses(b, all, names[i].if_name);
        (void)vivi_buf_str(b, "}");
    }
    (void)vivi_buf_str(b, "]");
    if (names != NULL)
        if_freenameindex(names);
    if (all != NULL)
        freeifaddrs(all);
}

static int write_all(const char *data, size_t len, viv_error *err)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);

        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot answer");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int work_info(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(INFO_MAX_BYTES);
    char address[64];
    int r;

    (void)vivi_buf_str(&b, "{");
    put_text(&b, "agent", VIV_VERSION);
    put_number(&b, "protocol", VIVI_AW_VERSION);
    put_system(&b);
    put_os(&b);
    put_cpus(&b);
    put_memory(&b);
    sys_address(address);
    put_text(&b, "address", address);
    put_nics(&b);
    put_disks(&b);
    put_mounts(&b);
    (void)vivi_buf_str(&b, "}\n");
    r = vivi_buf_check(&b, err);
    return r < 0 ? r : write_all(b.data, b.len, err);
}
