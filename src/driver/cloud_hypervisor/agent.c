/*
 * The stream to the guest's agent: the VMM serves vsock on a unix socket. Whoever connects says
 * which port he means ("CONNECT 1024\n") and gets "OK <number>\n" once the guest has accepted; what
 * follows is the guest's. Nobody there, or a guest without the driver: the connection is closed
 * without a word, or never answered. The line is read byte by byte: nothing of the agent's may be
 * taken with it.
 *
 * A reset makes all devices anew, and for a moment the socket is not there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "driver/cloud_hypervisor/machine.h"

static void drop(struct ch_agent *a)
{
    a->m->host->loop->unwatch(a->watch);
    a->watch = NULL;
    vivi_close(&a->fd);
    a->op = 0;
}

static void fail(struct ch_agent *a, int code, const char *why)
{
    struct ch_machine *m = a->m;
    uint64_t op = a->op;
    viv_error err = VIV_ERROR_INIT;

    drop(a);
    (void)vivi_fail(&err, code, "cloud-hypervisor: vsock: %s", why);
    if (code == VIV_E_BUSY)
        err.flags |= VIV_ERR_RETRY;
    ch_tell_done(m, op, &err);
}

static void is_open(struct ch_agent *a)
{
    struct ch_machine *m = a->m;
    uint64_t op = a->op;
    int fd = a->fd;

    a->fd = -1;
    drop(a);
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .fd = fd});
}

static void on_agent(void *arg, unsigned events)
{
    struct ch_agent *a = arg;

    (void)events;
    for (;;) {
        ssize_t n = recv(a->fd, a->line + a->len, 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (n <= 0) {
            fail(a, VIV_E_BUSY, "nobody listens in the guest");
            return;
        }
        if (a->line[a->len++] == '\n')
            break;
        if (a->len == sizeof(a->line)) {
            fail(a, VIV_E_PROTOCOL, "an answer without end");
            return;
        }
    }
    if (a->len < 4 || memcmp(a->line, "OK ", 3) != 0)
        fail(a, VIV_E_PROTOCOL, "an answer that is no OK");
    else
        is_open(a);
}

static int say_connect(int fd, viv_error *err)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "CONNECT %d\n", CH_AGENT_PORT);

    if (send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len)
        return vivi_fail_errno(err, errno, "cloud-hypervisor: cannot ask for the agent");
    return 0;
}

/* Whoever wants an agent was started with vsock: a socket that is missing will be back. */
static int reach(const char *run_dir, int *ret_fd, viv_error *err)
{
    char path[512];
    int r;

    (void)snprintf(path, sizeof(path), "%s/" CH_PORT_VSOCK, run_dir);
    r = vivi_unix_connect(path, ret_fd, err);
    if (r != -VIV_E_NOT_FOUND)
        return r;
    r = vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: vsock: the VMM has no socket for it now");
    if (err != NULL)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

int ch_agent_connect(void *priv, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    cleanup_close int fd = -1;
    struct ch_agent *a = NULL;
    int r;

    for (size_t i = 0; i < CH_AGENTS_MAX && !a; i++)
        if (m->agents[i].op == 0)
            a = &m->agents[i];
    if (!a)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: the agent is being asked for already");
    r = reach(m->run_dir, &fd, err);
    if (r >= 0)
        r = vivi_fd_nonblock(fd, true, err);
    if (r >= 0)
        r = say_connect(fd, err);
    *a = (struct ch_agent){.m = m, .fd = -1};
    if (r >= 0)
        r = m->host->loop->watch(m->host->loop->ctx, fd, VIVI_READ, on_agent, a, &a->watch, err);
    if (r < 0)
        return r;
    a->op = op;
    a->fd = take_fd(&fd);
    return 0;
}

void ch_agents_done(struct ch_machine *m)
{
    for (size_t i = 0; i < CH_AGENTS_MAX; i++)
        if (m->agents[i].op != 0)
            drop(&m->agents[i]);
}
