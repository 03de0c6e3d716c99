/* viv ip */
#include <string.h>

#include "cli/look.h"

static int no_address(struct vivi_cli *c, const char *name, const char *state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "no address is known (it is %s)", state);
    if (!strcmp(state, "running") || !strcmp(state, "starting"))
        vivi_hint(&err, "viv wait %s ready", name);
    else
        vivi_hint(&err, "viv start --wait %s", name);
    return vivi_cli_fail(c, name, &err);
}

static int print_ip(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    const char *ip = viv_rec_str(info, "ip"), *state = viv_rec_str(info, "state");
    cleanup_json json_t *guest = NULL;
    int reachable = 1;

    if (!ip) { /* not ready by any proof that names one, but its agent may know */
        guest = vivi_look_guest(c, name, info);
        ip = json_string_value(json_object_get(guest, "address"));
        if (ip && !*ip)
            ip = NULL;
    }
    if (!ip)
        return no_address(c, name, state ? state : "unknown");
    (void)viv_rec_bool(info, "ip_reachable", &reachable);
    if (vivi_cli_structured(c))
        return vivi_cli_record(
            c, json_pack("{s:s, s:s, s:b}", "name", name, "ip", ip, "ip_reachable", reachable));
    (void)printf("%s\n", ip);
    if (!reachable)
        vivi_cli_note(c, "%s: this host cannot reach it; ports that lead to it: viv port %s", name,
                      name);
    return 0;
}

int vivi_cmd_ip(struct vivi_cli *c)
{
    return vivi_look(c, print_ip);
}
