/* Facts and problems as data: looked up, collected, freed. Gathering them is facts_linux.c's. */
#include "driver/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int path_cb(void *arg, const char *path, bool writable);

static int each_served(const struct vivi_config *c, path_cb *cb, void *arg)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->n_shares; i++)
        r = cb(arg, c->shares[i].socket, false);
    for (size_t i = 0; r == 0 && i < c->n_user_devices; i++)
        r = cb(arg, c->user_devices[i].socket, false);
    for (size_t i = 0; r == 0 && i < c->n_vhost_user; i++)
        r = cb(arg, c->vhost_user[i].socket, false);
    for (size_t i = 0; r == 0 && i < c->n_nets; i++)
        if (c->nets[i].socket)
            r = cb(arg, c->nets[i].socket, false);
    if (r == 0 && c->tpm_socket)
        r = cb(arg, c->tpm_socket, false);
    return r;
}

int vivi_config_each_path(const struct vivi_config *c, path_cb *cb, void *arg)
{
    const char *const boot[] = {c->kernel, c->initramfs, c->firmware};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(boot); i++)
        if (boot[i])
            r = cb(arg, boot[i], false);
    for (size_t i = 0; r == 0 && i < c->n_disks; i++)
        r = cb(arg, c->disks[i].path, !c->disks[i].readonly);
    for (size_t i = 0; r == 0 && i < c->n_pmem; i++)
        r = cb(arg, c->pmem[i].path, !c->pmem[i].discard);
    for (size_t i = 0; r == 0 && i < c->n_vdpa; i++)
        r = cb(arg, c->vdpa[i].path, true);
    for (size_t i = 0; r == 0 && i < c->allow.n; i++)
        r = cb(arg, c->allow.items[i], false);
    return r == 0 ? each_served(c, cb, arg) : r;
}

const struct vivi_path_fact *vivi_fact_of(const struct vivi_facts *f, const char *path)
{
    for (size_t i = 0; path && i < f->n_paths; i++)
        if (strcmp(f->paths[i].path, path) == 0)
            return &f->paths[i];
    return NULL;
}

void vivi_facts_done(struct vivi_facts *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_paths; i++) {
        free(f->paths[i].path);
        free(f->paths[i].notes);
    }
    free(f->paths);
    f->paths = NULL;
    f->n_paths = 0;
}

void vivi_accel_notice(const char *accel_reason, const char *accel_fix, char *ret, size_t size)
{
    if (size == 0)
        return;
    ret[0] = '\0';
    if (!accel_reason || !*accel_reason)
        return;
    if (accel_fix && *accel_fix)
        (void)snprintf(ret, size, "%s: emulating, much slower. Fix: %s", accel_reason, accel_fix);
    else
        (void)snprintf(ret, size, "%s: emulating, much slower.", accel_reason);
}

int vivi_problem(struct vivi_problems *p, int code, const char *field, const char *hint,
                 const char *fmt, ...)
{
    viv_error *grown, *e;
    char text[sizeof(e->message)];
    va_list ap;

    if (p->n >= VIVI_PROBLEMS_MAX)
        return 0;
    grown = realloc(p->items, (p->n + 1) * sizeof(*grown));
    if (!grown)
        return -VIV_E_NO_MEMORY;
    p->items = grown;

    e = &p->items[p->n];
    *e = (viv_error)VIV_ERROR_INIT;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (field)
        (void)vivi_fail_field(e, code, field, "%s", text);
    else
        (void)vivi_fail(e, code, "%s", text);
    if (hint)
        vivi_hint(e, "%s", hint);
    p->n++;
    return 0;
}

void vivi_problems_done(struct vivi_problems *p)
{
    if (!p)
        return;
    free(p->items);
    p->items = NULL;
    p->n = 0;
}
