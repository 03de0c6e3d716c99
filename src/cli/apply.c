/* viv apply: there shall be a VM with this configuration. */
#include <string.h>

#include "cli/change.h"
#include "cli/making.h"

#define ROUNDS 8 /* somebody creates and removes the name in between, again and again */

/* Every key of a verb's result, for a VM that was made, or would be. */
static json_t *created_record(const char *name, const viv_vm *vm, bool dry_run)
{
    return json_pack("{s:s,s:s?,s:b,s:s?,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:[],s:b,s:b}", "name",
                     name, "uuid", vm ? viv_vm_uuid(vm) : NULL, "changed", 1, "state",
                     vm ? "created" : NULL, "ready", "ip", "reason", "rung", "run", "boot",
                     "accel_notice", "op", "changes", "created", 1, "dry_run", (int)dry_run);
}

static int say_created(struct vivi_cli *c, const char *name, const viv_vm *vm)
{
    if (c->quiet) {
        (void)printf("%s\n", name);
        return 0;
    }
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, created_record(name, vm, !vm));
    (void)printf("%s: %s\n", name, vm ? "created" : "would be created");
    return 0;
}

/* What a create would say to it. */
static int would_create(struct vivi_cli *c, struct vivi_document *d, const char *name)
{
    cleanup_list viv_list *problems = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code)
        return code;
    if (viv_config_check(c->v, d->config, &problems, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = vivi_problems_print(c, NULL, problems);
    return code ? code : say_created(c, name, NULL);
}

static int of_document(viv_vm *vm, const struct vivi_changing *how, viv_config **ret,
                       viv_error *err)
{
    const struct vivi_document *d = how->ctx;
    cleanup_doc viv_config *copy = NULL;
    int r = viv_config_new(&copy, err);

    (void)vm;
    if (r >= 0)
        r = viv_config_merge_under(copy, d->config, err);
    if (r < 0)
        return r;
    *ret = take_ptr(copy);
    return 0;
}

/* > 0: done, *ret_code; 0: the name came or went meanwhile. */
static int once(struct vivi_cli *c, struct vivi_document *d, const struct vivi_changing *how,
                const char *name, int *ret_code)
{
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;
    int changed = 0, r = viv_lookup(c->v, name, &vm, &err);

    if (r == 0) {
        *ret_code = vivi_changing_run(c, vm, how);
        return 1;
    }
    if (r != -VIV_E_NOT_FOUND) {
        *ret_code = vivi_cli_fail(c, name, &err);
        return 1;
    }
    if (how->dry_run) {
        *ret_code = would_create(c, d, name);
        return 1;
    }
    r = viv_create(c->v, d->config, 0, &vm, &changed, &err);
    if (r == -VIV_E_EXISTS || (r == 0 && !changed))
        return 0;
    *ret_code = r < 0 ? vivi_making_refused(c, d, &err) : say_created(c, name, vm);
    return 1;
}

/* A dry run makes no state root: without one, nothing is there. */
static int open_root(struct vivi_cli *c, bool dry_run)
{
    if (dry_run && viv_open(c->root, 0, &c->v, NULL) < 0)
        return vivi_cli_open(c, VIV_OPEN_READONLY);
    return vivi_cli_open(c, VIV_OPEN_CREATE);
}

int vivi_cmd_apply(struct vivi_cli *c)
{
    cleanup_document struct vivi_document d = {0};
    cleanup_rec viv_rec *rec = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_changing how = {.make = of_document, .ctx = &d};
    const char *name;
    int code = vivi_changing_flags(c, &how);

    if (code == 0)
        code = vivi_making_document(c, &d);
    if (code)
        return code;
    if (viv_config_get(d.config, "name", &rec, NULL) < 0)
        return vivi_cli_usage(c, "name: … in the file, or --name NAME",
                              "the configuration has no name");
    name = viv_rec_str(rec, "");
    code = open_root(c, how.dry_run);
    for (int i = 0; code == 0 && i < ROUNDS; i++)
        if (once(c, &d, &how, name, &code) > 0)
            return code;
    if (code)
        return code;
    (void)vivi_fail(&err, VIV_E_BUSY, "somebody else creates and removes it all the time");
    return vivi_cli_fail(c, name, &err);
}
