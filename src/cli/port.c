/*
 * viv port. What a run really has stands in the info's "ports" (host port 0 means that a free one
 * was taken); a VM that does not run shows what its configuration asks for.
 */
#include <string.h>

#include "cli/look.h"
#include "cli/out.h"
#include "model/parse.h"

/* "80/tcp -> 127.0.0.1:8080" */
static void print_forward(const char *name, bool several, const struct vivi_forward *f)
{
    const char *proto = f->udp ? "udp" : "tcp";
    bool v6 = strchr(f->host_ip, ':');
    char host[12] = "any";

    if (f->host_port)
        (void)snprintf(host, sizeof(host), "%u", (unsigned)f->host_port);
    (void)printf("%s%s%u/%s -> %s%s%s:%s\n", several ? name : "", several ? ": " : "",
                 (unsigned)f->guest_port, proto, v6 ? "[" : "", f->host_ip, v6 ? "]" : "", host);
}

static json_t *forward_json(const struct vivi_forward *f)
{
    return json_pack("{s:s, s:s, s:i, s:i}", "protocol", f->udp ? "udp" : "tcp", "host_ip",
                     f->host_ip, "host_port", (int)f->host_port, "guest_port", (int)f->guest_port);
}

static int print_ports(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    cleanup_json json_t *doc = vivi_rec_to_json(info);
    json_t *ports = json_array(), *net, *text;
    bool several = c->args.n_words != 1;
    const json_t *nets;
    size_t i, k;
    bool null;

    nets = vivi_out_at(doc, "running.nets", &null);
    if (!nets)
        nets = vivi_out_at(doc, "config.nets", &null);
    json_array_foreach((json_t *)(uintptr_t)nets, i, net)
    {
        json_array_foreach(json_object_get(net, "forward"), k, text)
        {
            struct vivi_forward f;

            if (!json_is_string(text) || vivi_parse_forward(json_string_value(text), &f, NULL) < 0)
                continue;
            if (vivi_cli_structured(c))
                (void)json_array_append_new(ports, forward_json(&f));
            else
                print_forward(name, several, &f);
        }
    }
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s, s:o}", "name", name, "ports", ports));
    json_decref(ports);
    return 0;
}

int vivi_cmd_port(struct vivi_cli *c)
{
    return vivi_look(c, print_ports);
}
