/* Finding a VM by name or by the head of its uuid; see vivarium.h. */
#include "manager/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MIN 8

int vivi_vm_new(viv *v, const struct vivi_vmdir *d, viv_vm **ret, viv_error *err)
{
    viv_vm *m = calloc(1, sizeof(*m));

    if (!m)
        return vivi_fail_oom(err);
    m->v = v;
    memcpy(m->name, d->name, sizeof(m->name));
    memcpy(m->uuid, d->uuid, sizeof(m->uuid));
    *ret = m;
    return 0;
}

void viv_vm_free(viv_vm *m)
{
    if (m)
        vivi_given_done(&m->given);
    free(m);
}

const char *viv_vm_name(const viv_vm *m)
{
    return m->name;
}

const char *viv_vm_uuid(const viv_vm *m)
{
    return m->uuid;
}

int vivi_vm_dir(const viv_vm *m, struct vivi_vmdir *ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    int r = vivi_vmdir_open(&m->v->root, m->name, &d, err);

    if (r < 0)
        return r;
    if (strcmp(d.uuid, m->uuid) != 0) { /* another one has the name now */
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
        vivi_error_vm(err, m->name);
        return -VIV_E_NOT_FOUND;
    }
    *ret = d;
    d = (struct vivi_vmdir)VIVI_VMDIR_EMPTY;
    return 0;
}

static bool may_be_prefix(const char *s)
{
    size_t n = strlen(s);

    return n >= PREFIX_MIN && n < VIVI_UUID_SIZE && strspn(s, "0123456789abcdef-") == n;
}

/* Adds name to "web, db". */
static void enumerate(char *list, size_t size, const char *name)
{
    size_t n = strlen(list);

    (void)snprintf(list + n, size - n, "%s%s", n ? ", " : "", name);
}

/* Looks at every VM's uuid. 1 and *ret, 0 none, INVALID ambiguous. */
static int find_prefix(viv *v, const char *prefix, struct vivi_vmdir *ret, viv_error *err)
{
    struct vivi_vmdir found = VIVI_VMDIR_EMPTY;
    char **names = NULL, list[300] = "";
    size_t n = 0, hits = 0;
    int r = vivi_vm_names(&v->root, &names, &n, err);

    for (size_t i = 0; r == 0 && i < n; i++) {
        struct vivi_vmdir d = VIVI_VMDIR_EMPTY;

        if (vivi_vmdir_open(&v->root, names[i], &d, NULL) < 0)
            continue; /* removed this very moment */
        if (strncmp(d.uuid, prefix, strlen(prefix)) == 0) {
            hits++;
            enumerate(list, sizeof(list), d.name);
            vivi_vmdir_done(&found);
            found = d;
        } else {
            vivi_vmdir_done(&d);
        }
    }
    vivi_names_free(names, n);
    if (r == 0 && hits > 1)
        r = vivi_fail(err, VIV_E_INVALID, "\"%s\" is the head of more than one uuid (%s)", prefix,
                      list);
    if (r < 0 || hits == 0) {
        vivi_vmdir_done(&found);
        return r;
    }
    *ret = found;
    return 1;
}

int viv_lookup(viv *v, const char *name_or_uuid, viv_vm **ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    viv_error not_found = VIV_ERROR_INIT;
    int r = vivi_vmdir_open(&v->root, name_or_uuid, &d, &not_found);

    if (r == -VIV_E_NOT_FOUND && may_be_prefix(name_or_uuid)) {
        int hit = find_prefix(v, name_or_uuid, &d, err);

        if (hit < 0)
            return hit;
        r = hit > 0 ? 0 : r;
    }
    if (r < 0) {
        if (err)
            *err = not_found;
        return r;
    }
    return vivi_vm_new(v, &d, ret, err);
}
