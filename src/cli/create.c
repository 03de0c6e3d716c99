/* viv create */
#include "cli/making.h"

int vivi_cmd_create(struct vivi_cli *c)
{
    cleanup_document struct vivi_document d = {0};
    cleanup_vm viv_vm *vm = NULL;
    int changed = 1, code;

    code = vivi_making_document(c, &d);
    if (code)
        return code;
    if (vivi_args_has(&c->args, "--dry-run"))
        return vivi_making_plan(c, &d);
    code = vivi_making_create(c, &d, &vm, &changed);
    if (code)
        return code;
    if (c->quiet) {
        (void)printf("%s\n", viv_vm_name(vm));
        return 0;
    }
    if (vivi_cli_structured(c))
        return vivi_cli_record(c,
                               json_pack("{s:s, s:s, s:s, s:b}", "name", viv_vm_name(vm), "uuid",
                                         viv_vm_uuid(vm), "state", "created", "changed", changed));
    (void)printf("%s: %s\n", viv_vm_name(vm), changed ? "created" : "exists already, unchanged");
    return 0;
}
