/*
 * viv port. A host port that is "any" is a free one that the next start takes.
 */
#include <string.h>

#include "cli/look.h"
#include "cli/out.h"

static const char *word(const json_t *port, const char *key)
{
    const char *s = json_string_value(json_object_get(port, key));

    return s ? s : "?";
}

/* "80/tcp -> 127.0.0.1:8080" */
static void print_forward(const char *name, bool several, const json_t *port)
{
    const json_t *host_port = json_object_get(port, "host_port");
    const char *ip = word(port, "host_ip");
    bool v6 = strchr(ip, ':');
    char host[12] = "any";

    if (json_is_integer(host_port))
        (void)snprintf(host, sizeof(host), "%d", (int)json_integer_value(host_port));
    (void)printf("%s%s%d/%s -> %s%s%s:%s\n", several ? name : "", several ? ": " : "",
                 (int)json_integer_value(json_object_get(port, "guest_port")),
                 word(port, "protocol"), v6 ? "[" : "", ip, v6 ? "]" : "", host);
}

static int print_ports(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    cleanup_json json_t *doc = vivi_rec_to_json(info);
    json_t *ports = json_object_get(doc, "ports"), *port;
    size_t i;

    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s, s:O}", "name", name, "ports", ports));
    json_array_foreach(ports, i, port)
    {
        print_forward(name, c->args.n_words != 1, port);
    }
    return 0;
}

int vivi_cmd_port(struct vivi_cli *c)
{
    return vivi_look(c, print_ports);
}
