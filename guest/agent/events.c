/*
 * events.c: what the agent tells unasked: ready, address, oom; and load while a host watches.
 *
 * Nothing here polls: addresses come by rtnetlink, kills by /dev/kmsg. A notice is a flag, not a
 * queue: whatever happens while there is no room is told once, with what is true then.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define ADDRESS_WAIT_MS 15000
#define LOAD_MIN_MS     100
#define NO_NIC_ADDRESS  "127.0.0.1"

static void begin(struct vivi_aw_writer *w, const char *name)
{
    w->len = 0;
    vivi_aw_put(w, "event", name);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void look_at_address(struct agent *a)
{
    char now[64];

    sys_address(now);
    if (strcmp(now, a->address) == 0)
        return;
    memcpy(a->address, now, sizeof(now));
    a->address_due = true;
}

static void route_ready(struct agent *a, struct source *s, uint32_t events)
{
    char buf[8192];

    while (recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        continue; /* what changed does not matter: the state is read */
    look_at_address(a);
}

static void open_route(struct agent *a)
{
    const struct sockaddr_nl at = {.nl_family = AF_NETLINK,
                                   .nl_groups =
                                       RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        vivi_close(&fd);
    source_open(&a->route, fd, a, route_ready);
    source_arm(a, &a->route, EPOLLIN);
}

/* ---- out of memory -----------------------------------------------------------------------------
 */

/* "…: Killed process 123 (name) …" */
static bool parse_kill(const char *line, unsigned *ret_pid, char ret_name[32])
{
    const char *at = strstr(line, "Killed process ");

    return at != NULL && sscanf(at, "Killed process %u (%31[^)])", ret_pid, ret_name) == 2;
}

static void kmsg_ready(struct agent *a, struct source *s, uint32_t events)
{
    char line[1024], buf[160];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);
    ssize_t n;

    while ((n = read(s->fd, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
        unsigned pid = 0;
        char name[32] = "";

        line[n > 0 ? n : 0] = '\0';
        if (!parse_kill(line, &pid, name) || !channel_has_room(a, 2 * AGENT_REPLY_MAX))
            continue;
        begin(&w, "oom");
        vivi_aw_put_u64(&w, "pid", pid);
        vivi_aw_put(&w, "name", name);
        channel_send_fields(a, VIVI_AW_EVENT, 0, &w);
    }
}

static void open_kmsg(struct agent *a)
{
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        (void)lseek(fd, 0, SEEK_END); /* only what comes from now on */
    source_open(&a->kmsg, fd, a, kmsg_ready);
    source_arm(a, &a->kmsg, EPOLLIN);
}

/* ---- ready ------------------------------------------------------------------------------------
 */

void events_init(struct agent *a)
{
    a->route.fd = a->kmsg.fd = -1;
    a->ready_until_ms = loop_now_ms() + ADDRESS_WAIT_MS;
    (void)sys_cmdline("vmrs.nonce", a->nonce, sizeof(a->nonce));
    open_route(a);
    open_kmsg(a);
    look_at_address(a);
    if (a->address[0] == '\0' && !sys_has_nic())
        a->ready_until_ms = AGENT_NEVER;
}

void events_done(struct agent *a)
{
    source_close(a, &a->route);
    source_close(a, &a->kmsg);
}

void events_session(struct agent *a)
{
    a->ready_due = true;
    a->address_due = false;
}

static void send_address(struct agent *a, const char *name)
{
    char buf[320];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    begin(&w, name);
    vivi_aw_put(&w, "address", a->address[0] != '\0' ? a->address : NO_NIC_ADDRESS);
    if (strcmp(name, "ready") == 0 && a->nonce[0] != '\0')
        vivi_aw_put(&w, "nonce", a->nonce);
    channel_send_fields(a, VIVI_AW_EVENT, 0, &w);
}

/* With an address, without any network card, or when waiting for one took too long. */
static bool may_be_ready(struct agent *a)
{
    if (a->address[0] != '\0' || loop_now_ms() >= a->ready_until_ms)
        a->ready_until_ms = AGENT_NEVER;
    return a->ready_until_ms == AGENT_NEVER;
}

void events_tell(struct agent *a)
{
    if (!a->channel.aw.up || !channel_has_room(a, 2 * AGENT_REPLY_MAX))
        return;
    if (a->ready_due && may_be_ready(a)) {
        send_address(a, "ready");
        a->ready_due = a->address_due = false;
    }
    if (a->address_due && !a->ready_due) {
        send_address(a, "address");
        a->address_due = false;
    }
}

uint64_t events_next_ms(const struct agent *a)
{
    return a->ready_due && a->channel.aw.up ? a->ready_until_ms : AGENT_NEVER;
}

/* ---- load -------------------------------------------------------------------------------------
 */

struct watch {
    struct stream s; /* first */
    uint64_t every_ms;
};

static void watch_expire(struct stream *s, uint64_t now_ms)
{
    const struct watch *watch = (const struct watch *)s;
    char buf[200];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);
    struct sysinfo info = {0};

    s->due_ms = now_ms + watch->every_ms;
    if (!channel_has_room(s->agent, 2 * AGENT_REPLY_MAX) || sysinfo(&info) < 0)
        return;
    begin(&w, "load");
    vivi_aw_put_u64(&w, "load1", (uint64_t)info.loads[0] * 100 >> SI_LOAD_SHIFT);
    vivi_aw_put_u64(&w, "memory_free", (uint64_t)info.freeram * info.mem_unit);
    vivi_aw_put_u64(&w, "memory_total", (uint64_t)info.totalram * info.mem_unit);
    channel_send_fields(s->agent, VIVI_AW_EVENT, s->id, &w);
}

static void watch_stop(struct stream *s)
{
    s->over = true;
}

static void watch_done(struct stream *s)
{
}

int watch_open(struct agent *a, const struct vivi_aw_frame *f, viv_error *err)
{
    static const struct stream_ops ops = {
        .expire = watch_expire, .stop = watch_stop, .done = watch_done};
    uint64_t every_ms = 5000;
    int r = vivi_aw_field_u64(f, "load_ms", 3600000, &every_ms, err);
    struct watch *w;

    if (r < 0)
        return r;
    if (every_ms < LOAD_MIN_MS)
        return vivi_fail(err, VIV_E_INVALID, "load_ms: less than %d", LOAD_MIN_MS);
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return vivi_fail_oom(err);
    w->every_ms = every_ms;
    streams_add(a, &w->s, &ops, f->stream);
    w->s.due_ms = loop_now_ms();
    return 0;
}
