/* sys.c: small readings of the system. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sys_read_text(const char *path, char *buf, size_t size)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    while (fd >= 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    while (len > 0 && (buf[len - 1] == '\n' || buf[len - 1] == ' ' || buf[len - 1] == '\0'))
        len--;
    buf[len] = '\0';
}

int sys_write_text(const char *path, const char *text, viv_error *err)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    if (write(fd, text, strlen(text)) < 0)
        return vivi_fail_errno(err, errno, "cannot write '%s' to %s", text, path);
    return 0;
}

bool sys_cmdline(const char *key, char *ret, size_t size)
{
    char text[4096];
    size_t key_len = strlen(key);

    sys_read_text("/proc/cmdline", text, sizeof(text));
    for (char *p = text; *p != '\0';) {
        size_t len = strcspn(p, " \n");

        if (len > key_len && len - key_len - 1 < size && p[key_len] == '=' &&
            strncmp(p, key, key_len) == 0) {
            memcpy(ret, p + key_len + 1, len - key_len - 1);
            ret[len - key_len - 1] = '\0';
            return true;
        }
        p += len;
        p += strspn(p, " \n");
    }
    return false;
}

/* How good an address is: 0 not at all, 2 IPv4, 1 IPv6. */
static int worth(const struct ifaddrs *i)
{
    if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0)
        return 0;
    if (i->ifa_addr->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)i->ifa_addr;

        return (ntohl(a->sin_addr.s_addr) >> 16) == 0xa9fe ? 0 : 2; /* not 169.254 */
    }
    if (i->ifa_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)i->ifa_addr;

        return IN6_IS_ADDR_LINKLOCAL(&a->sin6_addr) ? 0 : 1;
    }
    return 0;
}

void sys_address(char ret[64])
{
    struct ifaddrs *all = NULL;
    int best = 0;

    ret[0] = '\0';
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        int w = worth(i);

        if (w <= best)
            continue;
        best = w;
        if (w == 2)
            (void)inet_ntop(AF_INET,
                            &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, ret,
                            64);
        else
            (void)inet_ntop(AF_INET6,
                            &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
                            ret, 64);
    }
    freeifaddrs(all);
}

bool sys_has_nic(void)
{
    struct if_nameindex *all = if_nameindex();
    bool found = false;

    for (size_t i = 0; all != NULL && all[i].if_index != 0; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/sys/class/net/%.16s/device", all[i].if_name);
        found = found || access(path, F_OK) == 0;
    }
    if (all != NULL)
        if_freenameindex(all);
    return found;
}

/* "\040" is a space: how /proc/self/mounts writes what would break its lines. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s != '\0'; s++, to++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to = *s;
        }
    }
    *to = '\0';
}

bool sys_mounts_next(struct sys_mounts *m, bool real_only, const char **ret_source,
                     const char **ret_dir, const char **ret_type)
{
    if (m->file == NULL)
        m->file = fopen("/proc/self/mounts", "re");
    while (m->file != NULL && getline(&m->line, &m->cap, m->file) > 0) {
        char *rest = m->line;
        char *source = strsep(&rest, " "), *dir = strsep(&rest, " "), *type = strsep(&rest, " ");

        if (type == NULL || (real_only && strncmp(source, "/dev/", 5) != 0))
            continue;
        unescape(source);
        unescape(dir);
        *ret_source = source;
        *ret_dir = dir;
        *ret_type = type;
        return true;
    }
    return false;
}

void sys_mounts_done(struct sys_mounts *m)
{
    if (m->file != NULL)
        (void)fclose(m->file);
    free(m->line);
    *m = (struct sys_mounts){0};
}
