/* Launch plans as data: building one step by step, and showing it as JSON. */
#include "driver/plan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

#define PLAN_MAX_ARGS  1024
#define PLAN_MAX_PORTS 64

/* Owned strings that everybody else only reads. */
static void free_const(const char *s)
{
    free((void *)(uintptr_t)s);
}

static void port_done(struct vivi_port *port)
{
    free_const(port->name);
    free_const(port->log);
}

void vivi_plan_done(struct vivi_plan *p)
{
    if (!p)
        return;
    free(p->exe);
    for (size_t i = 0; i < p->n_argv; i++)
        free(p->argv[i]);
    free(p->argv);
    for (size_t i = 0; i < p->n_ports; i++)
        port_done(&p->ports[i]);
    free(p->ports);
    json_decref(p->requests);
    memset(p, 0, sizeof(*p));
}

int vivi_plan_arg(struct vivi_plan *p, const char *fmt, ...)
{
    char **grown;
    char *arg = NULL;
    va_list ap;
    int n;

    if (p->n_argv >= PLAN_MAX_ARGS)
        return -VIV_E_NO_MEMORY;
    grown = realloc(p->argv, (p->n_argv + 2) * sizeof(*grown));
    if (!grown)
        return -VIV_E_NO_MEMORY;
    p->argv = grown;
    p->argv[p->n_argv] = NULL;

    va_start(ap, fmt);
    n = vasprintf(&arg, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -VIV_E_NO_MEMORY;
    p->argv[p->n_argv++] = arg;
    p->argv[p->n_argv] = NULL;
    return 0;
}

int vivi_plan_port(struct vivi_plan *p, const struct vivi_port *port)
{
    struct vivi_port copy = *port;
    struct vivi_port *grown;

    if (p->n_ports >= PLAN_MAX_PORTS)
        return -VIV_E_NO_MEMORY;
    grown = realloc(p->ports, (p->n_ports + 1) * sizeof(*grown));
    if (!grown)
        return -VIV_E_NO_MEMORY;
    p->ports = grown;

    copy.name = strdup(port->name);
    copy.log = port->log ? strdup(port->log) : NULL;
    if (!copy.name || (port->log && !copy.log)) {
        port_done(&copy);
        return -VIV_E_NO_MEMORY;
    }
    p->ports[p->n_ports++] = copy;
    return 0;
}

int vivi_plan_streams(struct vivi_plan *p, const struct vivi_config *c)
{
    const struct vivi_port ports[] = {
        {.kind = VIVI_PORT_FIFO_OUT,
         .name = "serial.out",
         .log = "serial.log",
         .log_limit_bytes = c->serial_log_limit_bytes,
         .child_fd = -1,
         .child_fd_rw = -1},
        {.kind = VIVI_PORT_FIFO_IN, .name = "serial.in", .child_fd = -1, .child_fd_rw = -1},
        {.kind = VIVI_PORT_FIFO_OUT,
         .name = "events.out",
         .log = "vmm-events.log",
         .log_limit_bytes = VIVI_EVENTS_LOG_LIMIT,
         .child_fd = -1,
         .child_fd_rw = -1,
         .to_driver = true},
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ports) && r == 0; i++)
        r = vivi_plan_port(p, &ports[i]);
    return r;
}

int vivi_plan_stderr(struct vivi_plan *p)
{
    return vivi_plan_port(p, &(struct vivi_port){.kind = VIVI_PORT_FIFO_OUT,
                                                 .name = "stderr.out",
                                                 .log = VIVI_VMM_LOG,
                                                 .log_limit_bytes = VIVI_VMM_LOG_LIMIT,
                                                 .child_fd = -1,
                                                 .child_fd_rw = 2});
}

static const char *port_kind_name(enum vivi_port_kind k)
{
    switch (k) {
    case VIVI_PORT_LISTEN: return "listen";
    case VIVI_PORT_FIFO_OUT: return "fifo-out";
    case VIVI_PORT_FIFO_IN: return "fifo-in";
    case VIVI_PORT_PTY: return "pty";
    case VIVI_PORT_SOCKET: return "socket";
    case VIVI_PORT_HELD: return "held";
    case VIVI_PORT_DIR: return "dir";
    }
    return "?";
}

/* A descriptor that the child does not get is null, not −1. */
static json_t *fd_to_json(int fd)
{
    return fd < 0 ? json_null() : json_integer(fd);
}

static json_t *port_to_json(const struct vivi_port *port)
{
    return json_pack("{s:s, s:s, s:s?, s:I, s:o, s:o, s:b}", "kind", port_kind_name(port->kind),
                     "name", port->name, "log", port->log, "log_limit",
                     (json_int_t)port->log_limit_bytes, "child_fd", fd_to_json(port->child_fd),
                     "child_fd_rw", fd_to_json(port->child_fd_rw), "to_driver",
                     (int)port->to_driver);
}

static int append_new(json_t *array, json_t *value_consume)
{
    return json_array_append_new(array, value_consume) < 0 ? -VIV_E_NO_MEMORY : 0;
}

int vivi_plan_to_json(const struct vivi_plan *p, json_t **ret, viv_error *err)
{
    json_t *argv = json_array(), *ports = json_array(), *doc;
    int r = argv && ports ? 0 : -VIV_E_NO_MEMORY;

    for (size_t i = 0; r == 0 && i < p->n_argv; i++)
        r = append_new(argv, json_string(p->argv[i]));
    for (size_t i = 0; r == 0 && i < p->n_ports; i++)
        r = append_new(ports, port_to_json(&p->ports[i]));
    if (r < 0) {
        json_decref(argv);
        json_decref(ports);
        return vivi_fail_oom(err);
    }
    doc = json_pack("{s:s, s:o, s:o, s:O?}", "exe", p->exe, "argv", argv, "ports", ports,
                    "requests", p->requests);
    if (!doc)
        return vivi_fail_oom(err);
    *ret = doc;
    return 0;
}
