#include "cli/look.h"

#include <string.h>

#include "cli/select.h"

#define GUEST_MS 2000

int vivi_look_at(struct vivi_cli *c, const char *target, vivi_look_one *one)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_rec viv_rec *info = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_lookup(c->v, target, &vm, &err) < 0)
        return vivi_cli_fail(c, target, &err);
    if (viv_vm_info(vm, &info, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    return one(c, viv_vm_name(vm), info);
}

json_t *vivi_look_guest(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_opts viv_opts *o = NULL;
    cleanup_rec viv_rec *guest = NULL;
    const char *state = viv_rec_str(info, "state");

    if (!state || strcmp(state, "running") != 0 || viv_rec_is_null(info, "monitor") ||
        viv_lookup(c->v, name, &vm, NULL) < 0 || viv_opts_new(&o, NULL) < 0 ||
        viv_opts_set_i64(o, "connect_ms", 0, NULL) < 0 ||
        viv_opts_set_i64(o, "timeout_ms", GUEST_MS, NULL) < 0 ||
        viv_vm_guest_info(vm, o, NULL, &guest, NULL) < 0)
        return NULL;
    return vivi_rec_to_json(guest);
}

int vivi_look(struct vivi_cli *c, vivi_look_one *one)
{
    cleanup_selection struct vivi_selection sel = {0};
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code == 0)
        code = vivi_select(c, c->args.words, c->args.n_words, NULL, &sel);
    if (code)
        return code;
    vivi_cli_records(c, sel.several);
    for (size_t i = 0; i < sel.n; i++)
        (void)vivi_cli_code(c, vivi_look_at(c, sel.names[i], one));
    (void)vivi_cli_records_end(c);
    return c->code;
}
