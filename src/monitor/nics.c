#include "monitor/nics.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "driver/tap_linux.h"
#include "model/fields.h"
#include "monitor/monitor.h"

static void name_of(const char *id, char ret[VIVI_KEEPER_NAME_MAX])
{
    (void)snprintf(ret, VIVI_KEEPER_NAME_MAX, VIVI_NIC_FD "%s", id);
}

static int in_field(viv_error *err, const char *id, int r)
{
    char field[100];

    (void)snprintf(field, sizeof(field), "nets.%.64s.fd", id);
    return vivi_in_field(err, r, field);
}

static int hold(struct vivi_monitor *m, const char *id, int *fd_consume, viv_error *err)
{
    struct vivi_fd_entry e = {.fd = take_fd(fd_consume)};
    int r = vivi_tap_check(e.fd, err);

    name_of(id, e.name);
    if (r == 0)
        r = vivi_keeper_hold(&m->keeper, e.name, e.fd, err);
    if (r < 0) {
        vivi_close(&e.fd);
        return in_field(err, id, r);
    }
    return vivi_fds_put(&m->fds, &e, err);
}

int vivi_nics_take(struct vivi_monitor *m, const json_t *args, struct vivi_frame *f, size_t first,
                   viv_error *err)
{
    const json_t *ids = json_object_get(args, "nics");
    int r = 0;

    for (size_t i = 0; i < json_array_size(ids) && r == 0; i++) {
        const char *id = json_string_value(json_array_get(ids, i));

        if (!id || vivi_parse_name(id, NULL) < 0 ||
            strlen(id) + sizeof(VIVI_NIC_FD) > VIVI_KEEPER_NAME_MAX || first + i >= f->n_fds)
            return vivi_fail(err, VIV_E_INVALID, "args.nics: not a name and a descriptor for each");
        r = hold(m, id, &f->fds[first + i], err);
    }
    return r;
}

static const struct vivi_net *find(const struct vivi_config *c, const char *id)
{
    for (size_t i = 0; i < c->n_nets; i++)
        if (strcmp(c->nets[i].id, id) == 0)
            return c->nets[i].type == VIVI_NET_FD ? &c->nets[i] : NULL;
    return NULL;
}

void vivi_nics_drop_others(struct vivi_monitor *m, const struct vivi_config *c)
{
    size_t head = strlen(VIVI_NIC_FD);

    for (size_t i = m->fds.n; i-- > 0;) {
        char name[VIVI_KEEPER_NAME_MAX];

        (void)snprintf(name, sizeof(name), "%s", m->fds.items[i].name);
        if (strncmp(name, VIVI_NIC_FD, head) != 0 || (c && find(c, name + head)))
            continue;
        (void)vivi_keeper_drop(&m->keeper, name, NULL); /* the keeper's death is told elsewhere */
        vivi_fds_drop(&m->fds, name);
    }
}

/* Whoever stays on for a while, as keeper and monitor do, would keep the devices from others. */
void vivi_nics_let_go(struct vivi_monitor *m)
{
    enum vivi_verb verb = m->op.verb;

    if (m->st.next_start_at_ms == 0 && (verb == VIVI_VERB_NONE || verb == VIVI_VERB_STOP ||
                                        verb == VIVI_VERB_KILL || verb == VIVI_VERB_REMOVE))
        vivi_nics_drop_others(m, NULL);
}

int vivi_nics_check(const struct vivi_monitor *m, const struct vivi_config *c, bool up,
                    viv_error *err)
{
    char name[VIVI_KEEPER_NAME_MAX], field[100];
    int fd;

    for (size_t i = 0; i < c->n_nets; i++) {
        const struct vivi_net *n = &c->nets[i];

        if (n->type != VIVI_NET_FD)
            continue;
        name_of(n->id, name);
        fd = vivi_fds_get(&m->fds, name);
        if (fd >= 0 && up && vivi_tap_is_up(fd, err) < 0)
            return in_field(err, n->id, -VIV_E_INVALID);
        if (fd >= 0)
            continue;
        (void)snprintf(field, sizeof(field), "nets.%.64s.fd", n->id);
        (void)vivi_fail_field(err, VIV_E_INVALID, field,
                              "its TAP device did not come with this start, and none is held from "
                              "an earlier one");
        if (n->fd > 0)
            vivi_hint(err, "open it for the command: viv start %s %u<>/dev/tapN", m->dir.name,
                      (unsigned)n->fd);
        return -VIV_E_INVALID;
    }
    return 0;
}

int vivi_nics_may_save(const struct vivi_config *c, viv_error *err)
{
    char field[100];

    for (size_t i = 0; i < c->n_nets; i++) {
        if (c->nets[i].type != VIVI_NET_FD)
            continue;
        (void)snprintf(field, sizeof(field), "nets.%.64s", c->nets[i].id);
        return vivi_fail_field(err, VIV_E_UNSUPPORTED, field,
                               "a NIC that was given as a descriptor cannot be saved: nobody could "
                               "give it back");
    }
    return 0;
}

bool vivi_nics_is_given(const struct vivi_config *now, const char *id, const json_t *change)
{
    const char *type = json_string_value(json_object_get(change, "type"));

    return find(now, id) || (type && strcmp(type, "fd") == 0);
}

int vivi_nics_fd(void *ctx, const char *name)
{
    const struct vivi_monitor *m = ctx;

    return vivi_fds_get(&m->fds, name);
}
