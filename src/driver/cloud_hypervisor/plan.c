/*
 * One run of Cloud Hypervisor: a short command line, and the requests that make the machine; or,
 * without an API, one command line that says it all. Pure and deterministic.
 *
 * Streams. The VMM's own console modes lose output when a reader goes, or stop the guest when a
 * reader stays away, so serial is its stdout: a FIFO opened without blocking, whose other end the
 * VMM holds as well (a spare descriptor that it never looks at), so that it outlives its readers.
 * It takes input from a terminal only: stdin is the slave of a pseudo-terminal whose master it
 * holds too. Events go to a FIFO in the same way. The API socket is bound by us: no file to race
 * for, and nothing to clean up.
 */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/ch.h"

enum child_fd {
    FD_STDIN,
    FD_STDOUT,
    FD_API = 3,
    FD_SERIAL_RW,
    FD_TERMINAL_RW,
    FD_EVENTS,
    FD_EVENTS_RW,
    FD_RUN = CH_FD_RUN,
    FD_VM = CH_FD_VM
};

static bool has_api(const struct vivi_config *c)
{
    return c->ch_mode == VIVI_CH_API;
}

static int plan_argv(const struct vivi_config *c, struct vivi_plan *p)
{
    int r = vivi_plan_arg(p, "%s", p->exe);

    if (r == 0 && has_api(c))
        r = vivi_plan_arg(p, "--api-socket");
    if (r == 0 && has_api(c))
        r = vivi_plan_arg(p, "fd=%d", FD_API);
    if (r == 0)
        r = vivi_plan_arg(p, "--event-monitor");
    if (r == 0)
        r = vivi_plan_arg(p, "fd=%d", FD_EVENTS);
    if (r == 0)
        r = vivi_plan_arg(p, "--seccomp");
    return r < 0 ? r : vivi_plan_arg(p, "true");
}

/* Without an API they are inherited; with one they go with requests. */
static int plan_nics(const struct vivi_config *c, struct vivi_plan *p)
{
    char name[CH_ID_BYTES];
    int r = 0;

    for (size_t i = 0; i < c->n_nets && r == 0 && !has_api(c); i++) {
        if (c->nets[i].type != VIVI_NET_FD)
            continue;
        (void)snprintf(name, sizeof(name), VIVI_NIC_FD "%.64s", c->nets[i].id);
        r = vivi_plan_port(p, &(struct vivi_port){.kind = VIVI_PORT_HELD,
                                                  .name = name,
                                                  .child_fd = CH_FD_NETS + (int)i,
                                                  .child_fd_rw = -1});
    }
    return r;
}

static int plan_ports(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_port ports[] = {
        {.kind = VIVI_PORT_LISTEN, .name = CH_PORT_API, .child_fd = FD_API, .child_fd_rw = -1},
        {.kind = VIVI_PORT_FIFO_OUT,
         .name = CH_PORT_SERIAL,
         .log = "serial.log",
         .log_limit_bytes = in->config->serial_log_limit_bytes,
         .child_fd = FD_STDOUT,
         .child_fd_rw = FD_SERIAL_RW},
        {.kind = VIVI_PORT_PTY,
         .name = "serial.in",
         .child_fd = FD_STDIN,
         .child_fd_rw = FD_TERMINAL_RW},
        {.kind = VIVI_PORT_FIFO_OUT,
         .name = CH_PORT_EVENTS,
         .log = "vmm-events.log",
         .log_limit_bytes = VIVI_EVENTS_LOG_LIMIT,
         .child_fd = FD_EVENTS,
         .child_fd_rw = FD_EVENTS_RW,
         .to_driver = true},
        {.kind = VIVI_PORT_DIR, .name = VIVI_DIR_RUN, .child_fd = FD_RUN, .child_fd_rw = -1},
        {.kind = VIVI_PORT_DIR, .name = VIVI_DIR_VM, .child_fd = FD_VM, .child_fd_rw = -1},
        {.kind = VIVI_PORT_SOCKET, .name = CH_PORT_VSOCK, .child_fd = -1, .child_fd_rw = -1},
        {.kind = VIVI_PORT_SOCKET, .name = CH_PORT_MOVE, .child_fd = -1, .child_fd_rw = -1},
    };
    int r = 0;

    for (size_t i = has_api(in->config) ? 0 : 1; i < ARRAY_SIZE(ports) && r == 0; i++)
        r = vivi_plan_port(p, &ports[i]);
    if (r == 0)
        r = plan_nics(in->config, p);
    if (r == 0)
        r = vivi_plan_stderr(p);
    if (r == 0)
        p->ports[p->n_ports - 1].to_driver = true; /* tells apart what exit codes do not */
    return r;
}

/* What was saved goes on; older releases leave it standing, and are told to resume it. */
static int plan_restore(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    struct ch_version v = {.major = CH_MIN_MAJOR};
    json_t *url = json_sprintf("file://%s", in->restore_dir);
    bool resumes;

    (void)ch_version_parse(in->facts->probe.version, &v);
    resumes = ch_version_since(&v, 52, 0);
    if (url && resumes)
        p->requests = json_pack("[{s:s, s:{s:o, s:b, s:s*}}]", "verb", "vm.restore", "body",
                                "source_url", url, "resume", 1, "memory_restore_mode",
                                in->restore_on_demand ? CH_ON_DEMAND : NULL);
    else if (url)
        p->requests = json_pack("[{s:s, s:{s:o}}, {s:s}]", "verb", "vm.restore", "body",
                                "source_url", url, "verb", "vm.resume");
    return p->requests ? 0 : -VIV_E_NO_MEMORY;
}

/* Whoever sends tells the rest. */
static int plan_incoming(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    p->requests = json_pack("[{s:s, s:{s:s, s:s*}}]", "verb", "vm.receive-migration", "body",
                            "receiver_url", in->incoming_url, "tls_dir", in->incoming_tls);
    return p->requests ? 0 : -VIV_E_NO_MEMORY;
}

/* vm.create closes every descriptor that comes with it: these NICs are added before the boot. */
static int add_nics(const struct vivi_plan_input *in, json_t *requests)
{
    const struct vivi_config *c = in->config;
    struct ch_version v = {.major = CH_MIN_MAJOR};
    json_t *body;

    (void)ch_version_parse(in->facts->probe.version, &v);
    for (size_t i = 0; i < c->n_nets; i++) {
        if (c->nets[i].type != VIVI_NET_FD)
            continue;
        body = ch_device_config(
            &(struct vivi_device){.kind = VIVI_DEV_NET, .config = c, .index = i, .uuid = in->uuid},
            &v);
        if (!body ||
            json_array_append_new(
                requests, json_pack("{s:s, s:o, s:o}", "verb", "vm.add-net", "body", body, "fd",
                                    json_sprintf(VIVI_NIC_FD "%s", c->nets[i].id))) < 0)
            return -VIV_E_NO_MEMORY;
    }
    return 0;
}

static int plan_boot(const struct vivi_plan_input *in, json_t *body_consume, struct vivi_plan *p)
{
    p->requests = json_pack("[{s:s, s:o}]", "verb", "vm.create", "body", body_consume);
    if (!p->requests || add_nics(in, p->requests) < 0)
        return -VIV_E_NO_MEMORY;
    return json_array_append_new(p->requests, json_pack("{s:s}", "verb", "vm.boot")) < 0
               ? -VIV_E_NO_MEMORY
               : 0;
}

static int plan_requests(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    json_t *body;

    if (in->how == VIVI_HOW_RESTORE)
        return plan_restore(in, p);
    if (in->how == VIVI_HOW_INCOMING)
        return plan_incoming(in, p);
    body = ch_vm_config(in);
    if (body && !has_api(in->config)) {
        int r = ch_command_line(body, p);

        json_decref(body);
        return r;
    }
    return body ? plan_boot(in, body, p) : -VIV_E_NO_MEMORY;
}

int ch_plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err)
{
    cleanup_plan struct vivi_plan p = {0};
    struct ch_version v = {.major = CH_MIN_MAJOR};

    if (in->how != VIVI_HOW_BOOT && !has_api(in->config))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "a snapshot or a migration: " CH_NEEDS_API);
    (void)ch_version_parse(in->facts->probe.version, &v);
    if (in->how == VIVI_HOW_RESTORE && in->restore_on_demand && !ch_version_since(&v, 52, 0))
        return vivi_fail(err, VIV_E_UNSUPPORTED,
                         "on demand needs Cloud Hypervisor 52 or later (here is %s)",
                         in->facts->probe.version);
    p.exe = strdup(in->facts->probe.exe);
    if (!p.exe || plan_argv(in->config, &p) < 0 || plan_ports(in, &p) < 0 ||
        plan_requests(in, &p) < 0)
        return vivi_fail_oom(err);
    *ret = p;
    memset(&p, 0, sizeof(p));
    return 0;
}
