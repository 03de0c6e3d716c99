/*
 * Where the user networks of a running QEMU listen.
 *
 * A forward from host port 0 gets a free port from the system when QEMU binds it; choosing one
 * beforehand would be a race. QEMU tells it by "info usernet" alone, a table for people:
 *
 *   Hub -1 (net0):
 *     Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
 *     TCP[HOST_FORWARD]  11       127.0.0.1 41079       10.0.2.15    80     0     0
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/qemu/qemu.h"

#define LINE_MAX_BYTES 160
#define ROWS_MAX       256 /* connections of the guest stand in the table, too */

struct row {
    unsigned net;
    struct vivi_forward f;
    bool taken;
};

struct table {
    struct row rows[ROWS_MAX];
    size_t n;
};

/* Whether the line is a forward of network net. */
static bool parse_row(const char *line, unsigned net, struct row *ret)
{
    char proto[16], source[46];
    unsigned host_port, guest_port;

    if (sscanf(line, " %15[A-Z][HOST_FORWARD] %*d %45s %5u %*45s %5u", proto, source, &host_port,
               &guest_port) != 4 ||
        host_port > UINT16_MAX || guest_port > UINT16_MAX)
        return false;
    *ret = (struct row){.net = net,
                        .f = {.udp = strcmp(proto, "UDP") == 0,
                              .host_port = (uint16_t)host_port,
                              .guest_port = (uint16_t)guest_port}};
    (void)snprintf(ret->f.host_ip, sizeof(ret->f.host_ip), "%s",
                   strcmp(source, "*") == 0 ? "0.0.0.0" : source);
    return true;
}

static void parse(const char *text, struct table *ret)
{
    unsigned net = UINT32_MAX;

    ret->n = 0;
    while (*text && ret->n < ROWS_MAX) {
        size_t len = strcspn(text, "\n");
        char line[LINE_MAX_BYTES];

        (void)snprintf(line, sizeof(line), "%.*s",
                       len < sizeof(line) ? (int)len : (int)sizeof(line) - 1, text);
        if (sscanf(line, "%*s %*d (net%5u)", &net) != 1 && parse_row(line, net, &ret->rows[ret->n]))
            ret->n++;
        text += len + (text[len] == '\n');
    }
}

/* A row that is f as QEMU has it, not given to another forward yet; any port stands for port 0. */
static struct row *take_row(struct table *t, unsigned net, const struct vivi_forward *f)
{
    for (size_t i = 0; i < t->n; i++) {
        struct row *r = &t->rows[i];

        if (r->taken || r->net != net || r->f.udp != f->udp || r->f.guest_port != f->guest_port ||
            strcmp(r->f.host_ip, f->host_ip) != 0 ||
            (f->host_port && f->host_port != r->f.host_port))
            continue;
        r->taken = true;
        return r;
    }
    return NULL;
}

/* Those with a number take their rows first, so that none of them is shown as a free one. */
static void take_numbered(const struct vivi_config *c, struct table *t)
{
    for (unsigned i = 0; i < c->n_nets; i++)
        for (size_t k = 0; k < c->nets[i].n_forwards; k++)
            if (c->nets[i].forwards[k].host_port)
                (void)take_row(t, c->nets[i].slot - 1, &c->nets[i].forwards[k]);
}

static json_t *port_json(const struct vivi_net *n, const struct vivi_forward *f, uint16_t port)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:i}", "net", n->id, "protocol", f->udp ? "udp" : "tcp",
                     "host_ip", f->host_ip, "host_port", port ? json_integer(port) : json_null(),
                     "guest_port", (int)f->guest_port);
}

bool qemu_wants_ports(const struct vivi_config *c)
{
    for (size_t i = 0; i < c->n_nets; i++)
        for (size_t k = 0; k < c->nets[i].n_forwards; k++)
            if (c->nets[i].forwards[k].host_port == 0)
                return true;
    return false;
}

json_t *qemu_ports(const struct vivi_config *c, const char *usernet)
{
    struct table *t = malloc(sizeof(*t));
    json_t *list = t ? json_array() : NULL;

    if (list) {
        parse(usernet, t);
        take_numbered(c, t);
    }
    for (unsigned i = 0; list && i < c->n_nets; i++) {
        for (size_t k = 0; list && k < c->nets[i].n_forwards; k++) {
            const struct vivi_forward *f = &c->nets[i].forwards[k];
            const struct row *r = f->host_port ? NULL : take_row(t, c->nets[i].slot - 1, f);

            if (json_array_append_new(
                    list, port_json(&c->nets[i], f, r ? r->f.host_port : f->host_port)) < 0) {
                json_decref(list);
                list = NULL;
            }
        }
    }
    free(t);
    return list;
}
