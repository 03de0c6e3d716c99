/* Snapshots as they lie on the disk: listed and removed without a monitor. */
#include "manager/manager.h"
#include "store/snapshots.h"

/* Times as people and JSON have them. */
static void with_time(json_t *j)
{
    (void)json_object_set_new(
        j, "created_at",
        vivi_time_json((int64_t)json_integer_value(json_object_get(j, "created_at_ms"))));
    (void)json_object_del(j, "created_at_ms");
}

int viv_vm_snapshots(viv_vm *m, viv_list **ret, viv_error *err)
{
    cleanup_viv_list viv_list *l = NULL;
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    json_t *found = NULL;
    int r = vivi_vm_dir(m, &d, err);

    if (r == 0)
        r = vivi_snapshots_list(&d, &found, err);
    if (r == 0)
        r = vivi_list_new(&l, err);
    for (size_t i = 0; r == 0 && i < json_array_size(found); i++) {
        json_t *j = json_array_get(found, i);

        with_time(j);
        r = vivi_list_add(l, json_incref(j), err);
    }
    json_decref(found);
    if (r < 0) {
        vivi_error_vm(err, viv_vm_name(m));
        return r;
    }
    *ret = l;
    l = NULL;
    return 0;
}

int viv_vm_snapshot_remove(viv_vm *m, const char *name, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    int r = vivi_vm_dir(m, &d, err);

    if (r == 0 && m->v->root.readonly)
        r = vivi_fail(err, VIV_E_DENIED, "state root %s: opened for reading only", m->v->root.path);
    if (r == 0)
        r = vivi_snapshot_remove(&d, name, err);
    if (r < 0)
        vivi_error_vm(err, viv_vm_name(m));
    return r;
}
