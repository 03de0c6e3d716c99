/*
 * net.c: addresses.
 *
 * DHCP is busybox's udhcpc. Its "script" is this very program under another name: it sets what the
 * environment says by ioctl and sends SIGHUP to process 1. A shell script would cost four more
 * program starts, which an emulated CPU feels.
 */
#include "net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "system.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

void guest_nics_find(struct guest_nics *ret_nics)
{
    DIR *dir = opendir("/sys/class/net");
    struct dirent *entry;

    memset(ret_nics, 0, sizeof(*ret_nics));
    while (dir != NULL && ret_nics->n < GUEST_MAX_NICS && (entry = readdir(dir)) != NULL) {
        char path[320];

        (void)snprintf(path, sizeof(path), "/sys/class/net/%s/device", entry->d_name);
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= GUEST_NIC_NAME ||
            access(path, F_OK) < 0)
            continue;
        (void)snprintf(ret_nics->name[ret_nics->n++], GUEST_NIC_NAME, "%.15s", entry->d_name);
    }
    if (dir != NULL)
        (void)closedir(dir);
    qsort(ret_nics->name, ret_nics->n, GUEST_NIC_NAME, compare_names);
}

static bool set_sockaddr(struct sockaddr *to, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    if (inet_pton(AF_INET, text, &in.sin_addr) != 1)
        return false;
    memcpy(to, &in, sizeof(in));
    return true;
}

static bool set_by_ioctl(int fd, const char *nic, unsigned long request, const char *text)
{
    struct ifreq req = {0};

    (void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", nic);
    return set_sockaddr(&req.ifr_addr, text) && ioctl(fd, request, &req) == 0;
}

static void set_up(int fd, const char *nic)
{
    struct ifreq req = {0};

    (void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", nic);
    if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
        return;
    req.ifr_flags = (short)(req.ifr_flags | IFF_UP);
    (void)ioctl(fd, SIOCSIFFLAGS, &req);
}

static void set_gateway(int fd, const char *gateway)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

    if (!set_sockaddr(&route.rt_gateway, gateway))
        return;
    (void)set_sockaddr(&route.rt_dst, "0.0.0.0");
    (void)set_sockaddr(&route.rt_genmask, "0.0.0.0");
    (void)ioctl(fd, SIOCADDRT, &route);
}

/* All of an address that one NIC needs; "" or NULL leaves a part out. */
static bool apply_address(const char *nic, const char *addr, const char *mask, const char *gateway)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    if (fd < 0)
        return false;
    ok = set_by_ioctl(fd, nic, SIOCSIFADDR, addr);
    if (ok && mask != NULL && mask[0] != '\0')
        (void)set_by_ioctl(fd, nic, SIOCSIFNETMASK, mask);
    set_up(fd, nic);
    if (ok && gateway != NULL && gateway[0] != '\0')
        set_gateway(fd, gateway);
    (void)close(fd);
    return ok;
}

static void write_resolv_conf(const char *const servers[], size_t n)
{
    char text[256];
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        if (servers[i] != NULL && servers[i][0] != '\0' && strlen(servers[i]) < 64)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "nameserver %s\n", servers[i]);
    }
    text[len] = '\0';
    (void)unlink("/etc/resolv.conf");
    guest_write_text("/etc/resolv.conf", text);
}

static void links_up(const struct guest_nics *nics)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    set_up(fd, "lo");
    for (size_t i = 0; i < nics->n; i++)
        set_up(fd, nics->name[i]);
    (void)close(fd);
}

void guest_net_begin(struct guest_consoles *c, const struct guest_nics *nics,
                     const struct guest_ip *ip)
{
    links_up(nics);
    if (ip->hostname[0] != '\0')
        (void)sethostname(ip->hostname, strlen(ip->hostname));
    if (ip->off)
        return;
    for (size_t i = 0; i < nics->n; i++) {
        char nic[GUEST_NIC_NAME];
        const char *const udhcpc[] = {
            "/bin/busybox", "udhcpc", "-f", "-i", nic,  "-s", "/sbin/dhcp-event",
            "-t",           "5",      "-T", "1",  "-A", "5",  NULL};
        const char *const dns[] = {ip->dns[0], ip->dns[1]};

        memcpy(nic, nics->name[i], sizeof(nic));
        if (ip->device[0] != '\0' && strcmp(ip->device, nic) != 0)
            continue;
        if (ip->dhcp) {
            (void)guest_spawn(udhcpc);
            continue;
        }
        if (!apply_address(nic, ip->client, ip->netmask, ip->gateway))
            guest_log(c, "%s: cannot set address %s", nic, ip->client);
        write_resolv_conf(dns, 2);
        return; /* one address belongs to one NIC */
    }
}

static bool is_ours(const struct guest_nics *nics, const char *name)
{
    for (size_t i = 0; i < nics->n; i++) {
        if (strcmp(nics->name[i], name) == 0)
            return true;
    }
    return false;
}

static bool usable_address(const struct ifaddrs *a, int family, char ret_addr[GUEST_ADDR_SIZE])
{
    if (a->ifa_addr == NULL || a->ifa_addr->sa_family != family)
        return false;
    if (family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, a->ifa_addr, sizeof(in));
        return inet_ntop(AF_INET, &in.sin_addr, ret_addr, GUEST_ADDR_SIZE) != NULL;
    }
    struct sockaddr_in6 in6;

    memcpy(&in6, a->ifa_addr, sizeof(in6));
    return !IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) &&
           inet_ntop(AF_INET6, &in6.sin6_addr, ret_addr, GUEST_ADDR_SIZE) != NULL;
}

bool guest_net_address(const struct guest_nics *nics, bool v6_too, char ret_addr[GUEST_ADDR_SIZE])
{
    const int families[] = {AF_INET, AF_INET6};
    struct ifaddrs *list = NULL;
    bool found = false;

    if (getifaddrs(&list) < 0)
        return false;
    for (size_t f = 0; f < (v6_too ? 2 : 1) && !found; f++) {
        for (const struct ifaddrs *a = list; a != NULL && !found; a = a->ifa_next)
            found = is_ours(nics, a->ifa_name) && usable_address(a, families[f], ret_addr);
    }
    freeifaddrs(list);
    return found;
}

/* The first word of a list, as udhcpc gives routers. */
static void first_word(const char *list, char *to, size_t size)
{
    size_t len = list != NULL ? strcspn(list, " ") : 0;

    (void)snprintf(to, size, "%.*s", (int)(len < size ? len : 0), list != NULL ? list : "");
}

int guest_dhcp_event(const char *event)
{
    const char *nic = getenv("interface");
    const char *addr = getenv("ip");
    char gateway[64];
    char dns[64];
    const char *const servers[] = {dns};

    if (nic == NULL || addr == NULL || (strcmp(event, "bound") != 0 && strcmp(event, "renew") != 0))
        return 0;
    first_word(getenv("router"), gateway, sizeof(gateway));
    first_word(getenv("dns"), dns, sizeof(dns));
    if (!apply_address(nic, addr, getenv("subnet"), gateway))
        return 1;
    write_resolv_conf(servers, 1);
    return kill(1, SIGHUP) == 0 ? 0 : 1;
}
