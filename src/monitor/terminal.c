#include "monitor/terminal.h"

#include <stdio.h>

#include "base/log.h"

json_t *vivi_terminal_json(const struct vivi_plan *p)
{
    for (size_t i = 0; i < p->n_ports; i++) {
        const struct vivi_port *port = &p->ports[i];

        if (port->kind == VIVI_PORT_PTY)
            return json_pack("{s:s, s:i}", "name", port->name, "fd", port->child_fd_rw);
    }
    return json_null();
}

const char *vivi_terminal_name(const struct vivi_monitor *m)
{
    return json_string_value(json_object_get(json_object_get(m->running, "terminal"), "name"));
}

void vivi_terminal_use(struct vivi_monitor *m)
{
    const char *name = vivi_terminal_name(m);

    if (name)
        vivi_consoles_terminal(&m->consoles, vivi_fds_get(&m->fds, name));
}

void vivi_terminal_recover(struct vivi_monitor *m)
{
    const json_t *number = json_object_get(json_object_get(m->running, "terminal"), "fd");
    const char *name = vivi_terminal_name(m);
    struct vivi_fd_entry e = {.fd = -1};
    cleanup_close int pidfd = -1;
    viv_error err = VIV_ERROR_INIT;

    if (!name || !json_is_integer(number) || vivi_fds_get(&m->fds, name) >= 0)
        return;
    if (vivi_proc_open(&m->st.vmm, &pidfd, &err) < 0 ||
        vivi_proc_take_fd(pidfd, (int)json_integer_value(number), &e.fd, &err) < 0) {
        vivi_log(VIVI_LOG_WARN, "console input is lost for the rest of this run: %s", err.message);
        return;
    }
    (void)snprintf(e.name, sizeof(e.name), "%s", name);
    (void)vivi_keeper_hold(&m->keeper, name, e.fd, NULL); /* its death is told elsewhere */
    (void)vivi_fds_put(&m->fds, &e, &err);
}

void vivi_terminal_drop(struct vivi_monitor *m)
{
    const char *name = vivi_terminal_name(m);

    if (!name)
        return;
    (void)vivi_keeper_drop(&m->keeper, name, NULL);
    vivi_fds_drop(&m->fds, name);
}
