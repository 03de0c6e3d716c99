/* Changing VMs that nobody keeps, asking the monitors of others, and choosing VMs by labels. */
#include "manager/testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static viv_config *config_of(viv_vm *m)
{
    viv_config *c = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_vm_config(m, 0, &c, &err) < 0)
        fail_msg("%s", err.message);
    return c;
}

static void set(viv_config *c, const char *path, const char *value)
{
    viv_error err = VIV_ERROR_INIT;

    if (viv_config_set(c, path, value, &err) < 0)
        fail_msg("%s", err.message);
}

/* "cpus.count now; labels.a now" of a result; the caller frees. */
static char *told(viv_rec *result)
{
    struct vivi_buf out = VIVI_BUF(4096);
    char path[64];

    for (int i = 0;; i++) {
        const char *where, *applied;

        (void)snprintf(path, sizeof(path), "changes.%d.path", i);
        where = viv_rec_str(result, path);
        (void)snprintf(path, sizeof(path), "changes.%d.applied", i);
        applied = viv_rec_str(result, path);
        if (!where)
            break;
        (void)vivi_buf_printf(&out, "%s%s %s", i ? "; " : "", where, applied ? applied : "?");
    }
    (void)vivi_buf_str(&out, "");
    return vivi_buf_take(&out);
}

/* Applies c and frees it. */
static void applies(viv_vm *m, viv_config *c, const char *opts, int changed, const char *wanted)
{
    viv_rec *result = NULL;
    viv_opts *o = opts ? some_opts(opts) : NULL;
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *text = NULL;
    int is = 7;

    if (viv_vm_apply(m, c, o, NULL, &result, &err) < 0)
        fail_msg("%s", err.message);
    text = told(result);
    assert_string_equal(text ? text : "", wanted);
    assert_int_equal(viv_rec_bool(result, "changed", &is), 0);
    assert_int_equal(is, changed);
    viv_rec_free(result);
    viv_opts_free(o);
    viv_config_free(c);
}

static void refuses(viv_vm *m, viv_config *c, const char *opts, int code, const char *message)
{
    viv_opts *o = opts ? some_opts(opts) : NULL;
    viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(viv_vm_apply(m, c, o, NULL, &result, &err), -code);
    assert_string_equal(err.message, message);
    assert_string_equal(err.vm, viv_vm_name(m));
    assert_null(result);
    viv_opts_free(o);
    viv_config_free(c);
}

static void is_at(viv_vm *m, const char *path, const char *wanted)
{
    viv_rec *info = NULL;

    assert_int_equal(viv_vm_info(m, &info, NULL), 0);
    if (wanted)
        assert_string_equal(viv_rec_str(info, path), wanted);
    else
        assert_true(viv_rec_is_null(info, path));
    viv_rec_free(info);
}

static size_t count(struct fixture *f, const char *filter)
{
    viv_list *l = NULL;
    viv_error err = VIV_ERROR_INIT;
    size_t n;

    if (viv_ls(f->v, filter, &l, &err) < 0)
        fail_msg("%s", err.message);
    n = viv_list_len(l);
    viv_list_free(l);
    return n;
}

/* ---- nobody keeps it ---- */

static void fields_of_a_vm_that_does_not_run_change_at_once(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c = config_of(m);
    viv_list *l = NULL;
    int64_t cpus = 0;

    set(c, "cpus", "4");
    set(c, "labels.job", "42");
    set(c, "disks.+data.path", "/dev/null");
    applies(m, c, NULL, 1, "labels.job now; cpus.count now; disks.data now");
    is_at(m, "config.disks.data.path", "/dev/null");
    is_at(m, "pending", NULL);
    assert_int_equal(viv_ls(f->v, "labels.job=42", &l, NULL), 0);
    assert_int_equal(viv_list_len(l), 1);
    assert_int_equal(viv_rec_i64(viv_list_at(l, 0), "cpus", &cpus), 0);
    assert_int_equal(cpus, 4);
    viv_list_free(l);
    c = config_of(m);
    set(c, "disks.data-", NULL);
    applies(m, c, NULL, 1, "disks.data now");
    applies(m, config_of(m), NULL, 0, "");
    viv_vm_free(m);
}

static void what_a_configuration_leaves_to_us_stays_as_it_is(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c = config_of(m);

    set(c, "nets.+mine.mac", "02:00:00:00:00:07");
    set(c, "labels.gone", "soon");
    applies(m, c, NULL, 1, "labels.gone now; nets.mine now");
    applies(m, some_config("{name: web, cpus: 2, nets: [{id: n0}, {id: mine}]}"), NULL, 1,
            "labels.gone now; cpus.count now");
    is_at(m, "config.nets.mine.mac", "02:00:00:00:00:07");
    is_at(m, "config.driver", "fake");
    applies(m, some_config("{cpus: 2, nets: [{id: n0}, {id: mine}]}"), NULL, 0, "");
    viv_vm_free(m);
}

static void what_is_fixed_is_refused_before_anything_else(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c = config_of(m);

    set(c, "driver", "qemu");
    set(c, "cpus", "3");
    refuses(m, c, NULL, VIV_E_INVALID, "driver: is fixed when the VM is created (fake)");
    c = config_of(m);
    set(c, "name", "other");
    refuses(m, c, NULL, VIV_E_INVALID, "name: is fixed when the VM is created (web)");
    c = config_of(m);
    set(c, "driver", "qemu");
    set(c, "cpus", "3");
    applies(m, c, "dry_run=true", 1, "driver refused; cpus.count now");
    applies(m, config_of(m), NULL, 0, "");
    viv_vm_free(m);
}

static void a_dry_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    struct vivi_vmdir d = some_dir(f, "web");
    char before[48], after[48];
    viv_config *c = config_of(m);

    vivi_config_stamp(d.fd, VIVI_CONFIG_FILE, before);
    set(c, "cpus", "3");
    applies(m, c, "dry_run=true", 1, "cpus.count now");
    vivi_config_stamp(d.fd, VIVI_CONFIG_FILE, after);
    assert_string_equal(before, after);
    vivi_vmdir_done(&d);
    viv_vm_free(m);
}

static void of_two_who_change_at_once_the_second_is_told(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *a = config_of(m), *b = config_of(m), *text = NULL;
    viv_error err = VIV_ERROR_INIT;

    set(a, "labels.a", "1");
    set(b, "labels.b", "2");
    text = some_config("{name: web, driver: fake, labels: {c: d}}");
    assert_int_equal(viv_config_set_base(text, a, NULL), 0);
    applies(m, a, NULL, 1, "labels.a now");
    assert_int_equal(viv_vm_apply(m, b, NULL, NULL, NULL, &err), -VIV_E_BUSY);
    assert_true(err.flags & VIV_ERR_RETRY);
    viv_config_free(b);
    refuses(m, text, NULL, VIV_E_BUSY, "the configuration was changed by somebody else meanwhile");
    b = some_config("{}");
    assert_int_equal(viv_config_set_base(b, b, &err), -VIV_E_INVALID);
    viv_config_free(b);
    is_at(m, "labels.a", "1");
    is_at(m, "labels.b", NULL);
    viv_vm_free(m);
}

/* As if the file that a disk is made of were gone: something that stops the next start. */
static void break_script(struct fixture *f, const char *name)
{
    struct vivi_vmdir d = some_dir(f, name);
    json_t *doc = NULL;

    assert_int_equal(vivi_json_read(d.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, NULL),
                     0);
    assert_int_equal(json_object_set_new(doc, "fake", json_pack("{s:s}", "script", "nonsense")), 0);
    assert_int_equal(vivi_json_write(d.fd, VIVI_CONFIG_FILE, doc, VIVI_FAST, NULL), 0);
    json_decref(doc);
    vivi_vmdir_done(&d);
}

static void only_what_is_newly_wrong_is_refused(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c;
    viv_error err = VIV_ERROR_INIT;

    break_script(f, "web");
    c = config_of(m);
    set(c, "labels.a", "b");
    applies(m, c, NULL, 1, "labels.a now");
    c = config_of(m);
    set(c, "fake.script", "other nonsense");
    assert_int_equal(viv_vm_apply(m, c, NULL, NULL, NULL, &err), -VIV_E_INVALID);
    assert_string_equal(err.field, "fake.script");
    viv_config_free(c);
    is_at(m, "config.fake.script", "nonsense");
    viv_vm_free(m);
}

static void what_needs_a_run_says_so(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c = NULL;
    viv_error err = VIV_ERROR_INIT;

    refuses(m, config_of(m), "live=true", VIV_E_WRONG_STATE,
            "only a running VM can be changed for this run alone (it is created)");
    refuses(m, config_of(m), "live=true next=true", VIV_E_INVALID,
            "next, live and strict exclude each other");
    assert_int_equal(viv_vm_config(m, VIV_CONFIG_RUNNING, &c, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message,
                        "only a running VM has a configuration of this run (it is created)");
    assert_null(c);
    assert_int_equal(viv_vm_config(m, 8, &c, &err), -VIV_E_INVALID);
    viv_vm_free(m);
}

static void a_full_disk_leaves_the_old_configuration(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    struct vivi_vmdir d = some_dir(f, "web");
    viv_config *c = config_of(m);
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(mkdirat(d.fd, VIVI_CONFIG_FILE ".tmp", 0700),
                     0); /* in the temporary's place */
    set(c, "cpus", "4");
    assert_true(viv_vm_apply(m, c, NULL, NULL, NULL, &err) < 0);
    viv_config_free(c);
    assert_int_equal(unlinkat(d.fd, VIVI_CONFIG_FILE ".tmp", AT_REMOVEDIR), 0);
    c = config_of(m);
    set(c, "cpus", "4");
    applies(m, c, NULL, 1, "cpus.count now");
    vivi_vmdir_done(&d);
    viv_vm_free(m);
}

/* ---- a monitor keeps it ---- */

static void a_kept_vm_is_changed_by_its_monitor(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_config *c = config_of(m);
    cleanup_free char *seen = NULL;

    double_start(f, "web",
                 &(struct double_how){.result = "{\"changed\":true,\"changes\":[{\"path\":\"x\","
                                                "\"applied\":\"next-start\"}]}"});
    set(c, "disks.+data.path", "/dev/null");
    set(c, "labels.+", "a=b");
    applies(m, c, "strict=true timeout_ms=500", 1, "x next-start");
    seen = double_seen(f, "web");
    assert_non_null(strstr(seen, "\"verb\":\"apply\""));
    assert_non_null(strstr(seen, "\"mode\":\"strict\""));
    assert_non_null(strstr(seen, "\"paths\":[\"disks.data.path\",\"labels\"]"));
    assert_non_null(strstr(seen, "\"base\":\""));
    assert_non_null(strstr(seen, "\"timeout_ms\":500"));
    viv_vm_free(m);
}

/* ---- devices and sizes ---- */

typedef int verb(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                 viv_error *err);

static void does(viv_vm *m, verb *v, const char *opts, const char *wanted)
{
    viv_opts *o = some_opts(opts);
    viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *text = NULL;

    if (v(m, o, NULL, &result, &err) < 0)
        fail_msg("%s: %s", opts, err.message);
    text = told(result);
    assert_string_equal(text ? text : "", wanted);
    viv_rec_free(result);
    viv_opts_free(o);
}

static void fails(viv_vm *m, verb *v, const char *opts, int code, const char *message)
{
    viv_opts *o = some_opts(opts);
    viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(v(m, o, NULL, &result, &err), -code);
    assert_string_equal(err.message, message);
    assert_string_equal(err.vm, viv_vm_name(m));
    assert_null(result);
    viv_opts_free(o);
}

/* "disk data 1; net n0 1": kind, id and place of each. */
static void has_devices(viv_vm *m, const char *wanted)
{
    struct vivi_buf out = VIVI_BUF(4096);
    viv_list *l = NULL;

    assert_int_equal(viv_vm_devices(m, &l, NULL), 0);
    for (size_t i = 0; i < viv_list_len(l); i++) {
        const viv_rec *r = viv_list_at(l, i);
        int64_t place = 0;
        int live = 7, next = 7;

        assert_int_equal(viv_rec_i64(r, "place", &place), 0);
        (void)vivi_buf_printf(&out, "%s%s %s %d", i ? "; " : "", viv_rec_str(r, "kind"),
                              viv_rec_str(r, "id"), (int)place);
        assert_int_equal(viv_rec_bool(r, "live", &live) | viv_rec_bool(r, "next", &next), 0);
        assert_true(!live && next && viv_rec_is_null(r, "pending")); /* it does not run */
    }
    (void)vivi_buf_str(&out, "");
    assert_string_equal(out.data, wanted);
    vivi_buf_done(&out);
    viv_list_free(l);
}

static void devices_of_a_vm_that_does_not_run_come_and_go_in_its_configuration(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");

    has_devices(m, "net n0 1");
    does(m, viv_vm_device_add, "kind=disk id=data set=path=/dev/null set=readonly=true",
         "disks.data now");
    does(m, viv_vm_device_add, "kind=disk set=path=/dev/zero", "disks.d1 now");
    does(m, viv_vm_device_add, "kind=net", "nets.n1 now");
    has_devices(m, "disk data 1; disk d1 2; net n0 1; net n1 2");
    does(m, viv_vm_device_remove, "kind=disk id=data", "disks.data now; disks.d1.slot now");
    has_devices(m, "disk d1 2; net n0 1; net n1 2");
    is_at(m, "config.disks.d1.path", "/dev/zero");
    viv_vm_free(m);
}

static void a_device_that_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");

    fails(m, viv_vm_device_add, "kind=net id=n0", VIV_E_INVALID, "nets.n0: id is used twice");
    fails(m, viv_vm_device_add, "kind=dsk", VIV_E_INVALID, "kind: \"dsk\" is no kind of device");
    fails(m, viv_vm_device_add, "id=x", VIV_E_INVALID, "kind: \"\" is no kind of device");
    fails(m, viv_vm_device_add, "kind=vsock", VIV_E_INVALID, "needs at least cid=…");
    fails(m, viv_vm_device_add, "kind=vsock id=x set=cid=4", VIV_E_INVALID,
          "id: a vsock device has no name: there is one");
    fails(m, viv_vm_device_add, "kind=vsock set=cid=4", VIV_E_UNSUPPORTED,
          "vsock.cid: driver fake has no such thing (cloud-hypervisor has)");
    fails(m, viv_vm_device_remove, "kind=vsock", VIV_E_NOT_FOUND, "there is no vsock");
    fails(m, viv_vm_device_add, "kind=disk", VIV_E_INVALID, "needs at least path=…");
    fails(m, viv_vm_device_add, "kind=disk set=path", VIV_E_INVALID, "\"path\" is not KEY=VALUE");
    fails(m, viv_vm_device_add, "kind=disk set=colour=red", VIV_E_INVALID,
          "disks.d0.colour: unknown field");
    fails(m, viv_vm_device_add, "kind=net live=true", VIV_E_WRONG_STATE,
          "only a running VM has a configuration of this run (it is created)");
    fails(m, viv_vm_device_remove, "kind=disk id=data", VIV_E_NOT_FOUND,
          "no disk is called \"data\"");
    fails(m, viv_vm_device_add, "kind=net until=ready", VIV_E_INVALID,
          "until: is no option of apply");
    has_devices(m, "net n0 1");
    viv_vm_free(m);
}

static void sizes_of_a_vm_that_does_not_run_are_those_of_its_next_start(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");

    does(m, viv_vm_device_add, "kind=disk id=data set=path=/dev/null", "disks.data now");
    does(m, viv_vm_resize, "cpus=4 memory=2GiB balloon=1GiB disk=data=1GiB",
         "cpus.count now; memory.size now; memory.balloon now; disks.data.size now");
    does(m, viv_vm_resize, "balloon=all", "memory.balloon now");
    fails(m, viv_vm_resize, "next=false", VIV_E_INVALID,
          "no size is given (cpus, memory, balloon, disk, zone)");
    fails(m, viv_vm_resize, "disk=1GiB", VIV_E_INVALID, "disk: \"1GiB\" is not ID=SIZE");
    fails(m, viv_vm_resize, "memory=huge", VIV_E_INVALID,
          "memory.size: \"huge\" is not a size (examples: 512MiB, 2GiB)");
    viv_vm_free(m);
}

static void a_monitor_is_asked_to_change_both_or_nothing_and_maybe_at_its_leisure(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    cleanup_free char *seen = NULL;

    double_start(f, "web", &(struct double_how){.result = "{\"changed\":true,\"op\":\"1-2\"}"});
    does(m, viv_vm_resize, "cpus=4 async=true", "");
    seen = double_seen(f, "web");
    assert_non_null(strstr(seen, "\"mode\":\"strict\""));
    assert_non_null(strstr(seen, "\"async\":true"));
    assert_non_null(strstr(seen, "\"paths\":[\"cpus.count\"]"));
    viv_vm_free(m);
}

/* ---- events and labels ---- */

static char *types_of(struct fixture *f)
{
    struct vivi_buf out = VIVI_BUF(4096);
    viv_rec *e = NULL;

    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    while (viv_next(f->v, &e, NULL) > 0) {
        (void)vivi_buf_printf(&out, "%s%s:%s", out.len ? " " : "", viv_rec_str(e, "vm"),
                              viv_rec_str(e, "type"));
        viv_rec_free(e);
        e = NULL;
    }
    (void)vivi_buf_str(&out, "");
    return vivi_buf_take(&out);
}

static void events_follow_the_labels_that_vms_have_now(void **state)
{
    struct fixture *f = *state;
    viv_vm *web = some_vm(f, "web"), *db = some_vm(f, "db");
    viv_config *c = config_of(web);
    cleanup_free char *first = NULL, *second = NULL;

    set(c, "labels.job", "4,2");
    applies(web, c, NULL, 1, "labels.job now");
    assert_int_equal(viv_subscribe(f->v, "labels.job=4,,2", 0, NULL), 0);
    assert_int_equal(viv_vm_remove(web, NULL, NULL, NULL, NULL), 0);
    c = config_of(db);
    set(c, "labels.job", "4,2");
    applies(db, c, NULL, 1, "labels.job now");
    first = types_of(f);
    assert_string_equal(first, "web:removed db:config");
    c = config_of(db);
    set(c, "labels.job", "other");
    applies(db, c, NULL, 1, "labels.job now");
    second = types_of(f);
    assert_string_equal(second ? second : "", "");
    assert_int_equal(count(f, "labels.job=other"), 1);
    assert_int_equal(count(f, "labels.job=4,,2"), 0);
    viv_vm_free(web);
    viv_vm_free(db);
}

static void events_are_chosen_by_what_they_tell(void **state)
{
    struct fixture *f = *state;
    viv_vm *web = some_vm(f, "web");
    viv_config *c = NULL;
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *all = NULL, *none = NULL;

    assert_int_equal(viv_subscribe(f->v, "name=web,type=config", VIV_EVENTS_ALL, NULL), 0);
    c = config_of(web);
    set(c, "cpus", "2");
    applies(web, c, NULL, 1, "cpus.count now");
    all = types_of(f);
    assert_string_equal(all, "web:config");
    assert_int_equal(viv_subscribe(f->v, "state=running", VIV_EVENTS_ALL, NULL), 0);
    none = types_of(f);
    assert_string_equal(none ? none : "", "");
    assert_int_equal(viv_subscribe(f->v, "state=runing", 0, &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "did you mean \"running\"?");
    assert_int_equal(viv_subscribe(f->v, "label=x", 0, &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "did you mean \"labels.KEY\"?");
    viv_vm_free(web);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fields_of_a_vm_that_does_not_run_change_at_once),
        TEST(what_a_configuration_leaves_to_us_stays_as_it_is),
        TEST(what_is_fixed_is_refused_before_anything_else),
        TEST(a_dry_run_changes_nothing),
        TEST(of_two_who_change_at_once_the_second_is_told),
        TEST(only_what_is_newly_wrong_is_refused),
        TEST(what_needs_a_run_says_so),
        TEST(a_full_disk_leaves_the_old_configuration),
        TEST(a_kept_vm_is_changed_by_its_monitor),
        TEST(devices_of_a_vm_that_does_not_run_come_and_go_in_its_configuration),
        TEST(a_device_that_makes_no_sense_is_refused),
        TEST(sizes_of_a_vm_that_does_not_run_are_those_of_its_next_start),
        TEST(a_monitor_is_asked_to_change_both_or_nothing_and_maybe_at_its_leisure),
        TEST(events_follow_the_labels_that_vms_have_now),
        TEST(events_are_chosen_by_what_they_tell),
    };

    return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
