/* find.c: which channel there is: a virtio-serial port by its name, vsock, or what the options say.
 */
#include "agent.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define PORTS_DIR "/sys/class/virtio-ports"
#define BY_NAME   "/dev/virtio-ports/" VIVI_AW_PORT_NAME

/* "vport1p1" of the port with our name: udev's link is not there in every guest. */
static bool port_by_name(char ret_path[64])
{
    cleanup_closedir DIR *d = opendir(PORTS_DIR);

    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[300], name[128];

        if (e->d_name[0] == '.' || strlen(e->d_name) > 32)
            continue;
        (void)snprintf(path, sizeof(path), PORTS_DIR "/%s/name", e->d_name);
        sys_read_text(path, name, sizeof(name));
        if (strcmp(name, VIVI_AW_PORT_NAME) == 0) {
            (void)snprintf(ret_path, 64, "/dev/%.32s", e->d_name);
            return true;
        }
    }
    return false;
}

static int open_port(struct channel *c, const char *path, viv_error *err)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    c->stream = (struct source){.fd = fd};
    c->is_port = true;
    return 0;
}

static int listen_at(struct channel *c, int family, const void *address, socklen_t len,
                     viv_error *err)
{
    cleanup_close int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot make a socket");
    if (family == AF_INET)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, address, len) < 0)
        return vivi_fail_errno(err, errno, "cannot bind");
    if (listen(fd, 4) < 0)
        return vivi_fail_errno(err, errno, "cannot listen");
    c->listener = (struct source){.fd = take_fd(&fd)};
    return 0;
}

static int listen_vsock(struct channel *c, uint32_t port, viv_error *err)
{
    const struct sockaddr_vm to = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};

    return listen_at(c, AF_VSOCK, &to, sizeof(to), err);
}

static int listen_unix(struct channel *c, const char *path, viv_error *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(to.sun_path))
        return vivi_fail(err, VIV_E_INVALID, "%s: too long for a socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    return listen_at(c, AF_UNIX, &to, sizeof(to), err);
}

static int listen_tcp(struct channel *c, const char *where, viv_error *err)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *colon = strrchr(where, ':');
    char address[64], *end;
    unsigned long port;

    if (colon == NULL || (size_t)(colon - where) >= sizeof(address))
        return vivi_fail(err, VIV_E_INVALID, "--tcp: ADDRESS:PORT is wanted");
    memcpy(address, where, (size_t)(colon - where));
    address[colon - where] = '\0';
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || end == colon + 1 || port == 0 || port > 65535 ||
        inet_pton(AF_INET, address, &to.sin_addr) != 1)
        return vivi_fail(err, VIV_E_INVALID, "--tcp: ADDRESS:PORT is wanted");
    to.sin_port = htons((uint16_t)port);
    return listen_at(c, AF_INET, &to, sizeof(to), err);
}

/* Tells of new devices, as udev hears of them. */
static void open_uevents(struct channel *c)
{
    const struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd;

    if (c->uevents.fd >= 0)
        return;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        vivi_close(&fd);
    c->uevents = (struct source){.fd = fd};
}

/* A port, vsock, or both: the host chooses. */
static int look_around(struct channel *c, viv_error *err)
{
    char path[64];
    int r = 0;

    open_uevents(c); /* before looking: what comes in between is not missed */
    if (c->stream.fd < 0) {
        if (port_by_name(path))
            r = open_port(c, path, err);
        else if (access(BY_NAME, F_OK) == 0)
            r = open_port(c, BY_NAME, err);
    }
    if (r == 0 && c->listener.fd < 0 && access("/dev/vsock", F_OK) == 0)
        (void)listen_vsock(c, VIVI_AW_VSOCK_PORT, NULL);
    if (r == 0 && c->stream.fd < 0 && c->listener.fd < 0 && c->uevents.fd < 0)
        r = vivi_fail(err, VIV_E_NOT_FOUND, "no virtio-serial port %s and no vsock",
                      VIVI_AW_PORT_NAME);
    return r;
}

int channel_find(struct agent *a, viv_error *err)
{
    const struct agent_options *o = a->options;
    struct channel *c = &a->channel;

    if (o->fd >= 0) {
        c->stream = (struct source){.fd = o->fd};
        return 0;
    }
    if (o->port != NULL)
        return open_port(c, o->port, err);
    if (o->unix_path == NULL && o->tcp == NULL && o->vsock < 0)
        return look_around(c, err);
    if (c->listener.fd >= 0)
        return 0;
    if (o->unix_path != NULL)
        return listen_unix(c, o->unix_path, err);
    return o->tcp != NULL ? listen_tcp(c, o->tcp, err) : listen_vsock(c, (uint32_t)o->vsock, err);
}

int channel_accept(int listener, int *ret_fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_vm vm;
        struct sockaddr_storage room;
    } from = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof(from);
    int on = 1, fd;

    for (;;) {
        fd = accept4(listener, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return 0;
        /* By vsock only the host is let in, not what else runs in this guest. */
        if (from.any.sa_family != AF_VSOCK || from.vm.svm_cid == VMADDR_CID_HOST)
            break;
        vivi_close(&fd);
    }
    if (from.any.sa_family == AF_INET)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    *ret_fd = fd;
    return 1;
}
