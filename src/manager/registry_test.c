/* Creating, finding, listing, looking at and removing VMs, with nobody running them. */
#include "manager/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static int create(struct fixture *f, const char *yaml, viv_vm **ret, int *changed, viv_error *err)
{
    viv_config *c = some_config(yaml);
    int r = viv_create(f->v, c, 0, ret, changed, err);

    viv_config_free(c);
    return r;
}

static viv_list *list(struct fixture *f, const char *filter)
{
    viv_list *l = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_ls(f->v, filter, &l, &err) < 0)
        fail_msg("%s", err.message);
    return l;
}

static size_t count(struct fixture *f, const char *filter)
{
    viv_list *l = list(f, filter);
    size_t n = viv_list_len(l);

    viv_list_free(l);
    return n;
}

static void put(struct fixture *f, const char *name, const char *file, const char *text)
{
    struct vivi_vmdir d = some_dir(f, name);

    assert_int_equal(vivi_write_file_at(d.fd, file, text, strlen(text), VIVI_FAST, NULL), 0);
    vivi_vmdir_done(&d);
}

static void what_is_created_is_recorded_with_all_that_was_left_to_us(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = NULL;
    viv_rec *info = NULL;
    int changed = 0;
    const char *mac;

    assert_int_equal(
        create(f, "name: web\ndriver: fake\nlabels: {job: \"42\"}\n", &m, &changed, NULL), 0);
    assert_int_equal(changed, 1);
    assert_string_equal(viv_vm_name(m), "web");
    assert_int_equal(strlen(viv_vm_uuid(m)), 36);
    assert_int_equal(viv_vm_info(m, &info, NULL), 0);
    assert_string_equal(viv_rec_str(info, "state"), "created");
    assert_string_equal(viv_rec_str(info, "driver"), "fake");
    assert_string_not_equal(viv_rec_str(info, "machine"), "auto");
    assert_string_equal(viv_rec_str(info, "labels.job"), "42");
    mac = viv_rec_str(info, "config.nets.n0.mac");
    assert_non_null(mac);
    assert_int_equal(strlen(mac), 17);
    viv_rec_free(info);
    viv_vm_free(m);
}

static void the_same_again_is_a_success_and_another_one_exists(void **state)
{
    struct fixture *f = *state;
    viv_vm *a = NULL, *b = NULL;
    viv_error err = VIV_ERROR_INIT;
    int changed = 7;

    assert_int_equal(create(f, "name: web\ndriver: fake\n", &a, NULL, NULL), 0);
    assert_int_equal(create(f, "driver: fake\ncpus: {count: 1}\nname: web\n", &b, &changed, NULL),
                     0);
    assert_int_equal(changed, 0);
    assert_string_equal(viv_vm_uuid(a), viv_vm_uuid(b));
    viv_vm_free(b);
    b = NULL;
    changed = 7;
    assert_int_equal(create(f, "name: web\ndriver: fake\ncpus: 2\n", &b, &changed, &err),
                     -VIV_E_EXISTS);
    assert_string_equal(err.message, "exists already, with another configuration");
    assert_string_equal(err.vm, "web");
    assert_null(b);
    assert_int_equal(changed, 7);
    assert_int_equal(
        create(f, "name: web\ndriver: fake\nnets: [{id: n0, mac: \"02:00:00:00:00:01\"}]\n", &b,
               NULL, &err),
        -VIV_E_EXISTS);
    viv_vm_free(a);
}

static void the_first_problem_is_the_error_and_nothing_is_made(void **state)
{
    struct fixture *f = *state;
    viv_error err = VIV_ERROR_INIT;
    viv_list *problems = NULL;
    viv_config *c = some_config("name: web\ndriver: fake\nfake: {script: frobnicate}\n");

    assert_int_equal(viv_create(f->v, c, 0, NULL, NULL, &err), -VIV_E_INVALID);
    assert_true(err.field[0]);
    assert_string_equal(err.vm, "");
    assert_int_equal(count(f, NULL), 0);
    assert_int_equal(viv_config_check(f->v, c, &problems, NULL), 0);
    assert_int_equal(viv_list_len(problems), 1);
    assert_string_equal(viv_rec_str(viv_list_at(problems, 0), "message"), err.message);
    assert_string_equal(viv_rec_str(viv_list_at(problems, 0), "field"), err.field);
    assert_string_equal(viv_rec_str(viv_list_at(problems, 0), "code"), "INVALID");
    viv_list_free(problems);
    viv_config_free(c);

    c = some_config("driver: fake\n");
    assert_int_equal(viv_create(f->v, c, 0, NULL, NULL, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "name: is missing");
    viv_config_free(c);
}

static void a_vm_is_found_by_name_and_by_the_head_of_its_uuid(void **state)
{
    struct fixture *f = *state;
    viv_vm *a = some_vm(f, "bob"), *b = NULL;
    viv_error err = VIV_ERROR_INIT;
    char head[9];

    (void)snprintf(head, sizeof(head), "%s", viv_vm_uuid(a));
    assert_int_equal(viv_lookup(f->v, head, &b, NULL), 0);
    assert_string_equal(viv_vm_name(b), "bob");
    viv_vm_free(b);
    assert_int_equal(viv_lookup(f->v, viv_vm_uuid(a), &b, NULL), 0);
    viv_vm_free(b);
    b = NULL;
    head[7] = '\0';
    assert_int_equal(viv_lookup(f->v, head, &b, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_lookup(f->v, "nob", &b, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    assert_string_equal(err.hint, "did you mean \"bob\"?");
    assert_int_equal(viv_lookup(f->v, "ffffffffffff", &b, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    assert_null(b);
    viv_vm_free(a);
}

/* Gives a VM another uuid, as if chance had made it. */
static void set_uuid(struct fixture *f, const char *name, const char *uuid)
{
    struct vivi_vmdir d = some_dir(f, name);
    struct vivi_state s;

    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    (void)snprintf(s.uuid, sizeof(s.uuid), "%s", uuid);
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    vivi_state_done(&s);
    vivi_vmdir_done(&d);
}

static void an_ambiguous_head_of_a_uuid_is_refused_with_the_names(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = NULL;
    viv_error err = VIV_ERROR_INIT;

    viv_vm_free(some_vm(f, "web"));
    viv_vm_free(some_vm(f, "db"));
    set_uuid(f, "web", "0123abcd-0000-4000-8000-000000000001");
    set_uuid(f, "db", "0123abcd-0000-4000-8000-000000000002");
    assert_int_equal(viv_lookup(f->v, "0123abcd", &m, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"0123abcd\" is the head of more than one uuid (db, web)");
    assert_int_equal(viv_lookup(f->v, "0123abcd-0000-4000-8000-000000000002", &m, &err), 0);
    assert_string_equal(viv_vm_name(m), "db");
    viv_vm_free(m);
}

static void a_handle_is_pinned_to_its_uuid(void **state)
{
    struct fixture *f = *state;
    viv_vm *old = some_vm(f, "web"), *new;
    viv_rec *info = NULL;
    viv_error err = VIV_ERROR_INIT;
    uint64_t a, b;
    int fd = -1;

    assert_int_equal(viv_vm_remove(old, NULL, NULL, NULL, NULL), 0);
    new = some_vm(f, "web");
    assert_int_equal(viv_vm_info(old, &info, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    assert_int_equal(viv_vm_start(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_stop(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_kill(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_reboot(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_pause(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_resume(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_wait(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_remove(old, NULL, NULL, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_console(old, 0, &fd, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_log_open(old, "serial", &fd, NULL, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_log_boot(old, 0, &a, &b, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_log_wait(old, 0, 0, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_vm_info(new, &info, NULL), 0);
    viv_rec_free(info);
    viv_vm_free(old);
    viv_vm_free(new);
}

static void inspect_has_every_key_and_no_other(void **state)
{
    static const char *const keys[] = {
        "name",     "uuid",         "run",      "boot",       "driver",     "machine",
        "accel",    "accel_reason", "state",    "ready",      "ip",         "ip_reachable",
        "reason",   "labels",       "config",   "pending",    "keeper",     "monitor",
        "vmm",      "stop",         "restarts", "created_at", "started_at", "next_start_at",
        "timeline", "capabilities", "desired",  "cgroup",     "autostart",  "ports",
        "moving",
    };
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *info = NULL;
    cleanup_json json_t *j = NULL;

    assert_int_equal(viv_vm_info(m, &info, NULL), 0);
    j = json_loads(viv_rec_json(info), 0, NULL);
    assert_int_equal(json_object_size(j), ARRAY_SIZE(keys));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_non_null(json_object_get(j, keys[i]));
    assert_int_equal(json_object_size(json_object_get(j, "timeline")), VIVI_STEP_COUNT_);
    assert_true(json_is_null(json_object_get(j, "pending")));
    assert_true(json_is_null(json_object_get(j, "vmm")));
    assert_true(json_array_size(json_object_get(j, "capabilities")) > 3);
    viv_rec_free(info);
    viv_vm_free(m);
}

static void three_vms(struct fixture *f)
{
    assert_int_equal(create(f, "name: a\ndriver: fake\nlabels: {job: \"42\"}\n", NULL, NULL, NULL),
                     0);
    assert_int_equal(
        create(f, "name: b\ndriver: fake\nlabels: {job: \"42\", org.x: y}\n", NULL, NULL, NULL), 0);
    assert_int_equal(create(f, "name: c\ndriver: fake\n", NULL, NULL, NULL), 0);
}

static void filters_select(void **state)
{
    static const struct {
        const char *filter;
        size_t n;
    } cases[] = {
        {NULL, 3},
        {"", 3},
        {"name=a", 1},
        {"state=created", 3},
        {"driver=fake", 3},
        {"driver=qemu", 0},
        {"state=ready", 0},
        {"state=running", 0},
        {"labels.job=42", 2},
        {"labels.job=42,name=b", 1},
        {"labels.job=", 0},
        {"labels.org.x=y", 1},
    };
    struct fixture *f = *state;

    three_vms(f);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(count(f, cases[i].filter), cases[i].n);
}

static void ready_is_a_running_vm_that_is_ready(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d;
    struct vivi_host_now now;
    struct vivi_state s;

    three_vms(f);
    d = some_dir(f, "c");
    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    assert_int_equal(vivi_host_now(&now, NULL), 0);
    s.state = VIV_ST_RUNNING;
    vivi_proc_self(&s.vmm); /* a process that lives stands for a VMM */
    memcpy(s.host_boot_id, now.boot_id, sizeof(now.boot_id));
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    assert_int_equal(count(f, "state=running"), 1);
    assert_int_equal(count(f, "state=ready"), 0);
    s.ready = true;
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    assert_int_equal(count(f, "state=running"), 1);
    assert_int_equal(count(f, "state=ready"), 1);
    s.state = VIV_ST_PAUSED;
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    assert_int_equal(count(f, "state=ready"), 0);
    vivi_state_done(&s);
    vivi_vmdir_done(&d);
}

static void mistakes_in_filters_are_told(void **state)
{
    static const struct {
        const char *filter, *message, *hint;
    } bad[] = {
        {"stat=ready", "filter: \"stat\" is not a key (name, uuid, state, driver, labels.KEY)",
         "did you mean \"state\"?"},
        {"state=reddy", "filter: \"reddy\" is not a state", "did you mean \"ready\"?"},
        {"name", "filter: \"name\" is not KEY=VALUE", ""},
        {"labels.=x", "filter: \"labels.\" is not a key (name, uuid, state, driver, labels.KEY)",
         "did you mean \"labels.KEY\"?"},
        {"label=x", "filter: \"label\" is not a key (name, uuid, state, driver, labels.KEY)",
         "did you mean \"labels.KEY\"?"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        viv_list *l = NULL;
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(viv_ls(f->v, bad[i].filter, &l, &err), -VIV_E_INVALID);
        assert_string_equal(err.message, bad[i].message);
        assert_string_equal(err.hint, bad[i].hint);
        assert_null(l);
    }
}

static void many_labels_are_listed_although_they_do_not_fit_beside_the_state(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct vivi_buf yaml = VIVI_BUF(1u << 16);
    viv_list *l;

    (void)vivi_buf_str(&yaml, "name: web\ndriver: fake\nlabels:\n");
    for (int i = 0; i < 40; i++)
        (void)vivi_buf_printf(&yaml, "  key%d: value%d\n", i, i);
    assert_int_equal(create(f, yaml.data, NULL, NULL, NULL), 0);
    l = list(f, "labels.key39=value39");
    assert_int_equal(viv_list_len(l), 1);
    assert_string_equal(viv_rec_str(viv_list_at(l, 0), "labels.key0"), "value0");
    viv_list_free(l);
}

static void a_broken_state_is_listed_with_the_reason_and_left_alone(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d;
    viv_list *l;
    viv_vm *m = NULL;
    viv_rec *info = NULL;
    viv_error err = VIV_ERROR_INIT;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(100);

    viv_vm_free(some_vm(f, "a"));
    viv_vm_free(some_vm(f, "x"));
    put(f, "x", "state.json", "{oops");
    l = list(f, NULL);
    assert_int_equal(viv_list_len(l), 2);
    assert_string_equal(viv_rec_str(viv_list_at(l, 1), "name"), "x");
    assert_string_equal(viv_rec_str(viv_list_at(l, 1), "state"), "broken");
    assert_int_equal(
        strncmp(viv_rec_str(viv_list_at(l, 1), "reason.text"), "state.json: line 1: ", 20), 0);
    assert_int_equal(strlen(viv_rec_str(viv_list_at(l, 1), "uuid")), 36);
    viv_list_free(l);
    assert_int_equal(count(f, "state=broken"), 1);
    assert_int_equal(viv_lookup(f->v, "x", &m, NULL), 0);
    assert_int_equal(viv_vm_info(m, &info, NULL), 0);
    assert_string_equal(viv_rec_str(info, "state"), "broken");
    assert_string_equal(viv_rec_str(info, "config.driver"), "fake");
    viv_rec_free(info);
    assert_int_equal(viv_vm_stop(m, NULL, NULL, NULL, &err), -VIV_E_WRONG_STATE);
    assert_int_equal(strncmp(err.message, "broken record (state.json: line 1: ", 34), 0);
    assert_string_equal(err.hint, "viv start x repairs it, viv rm x removes it");
    d = some_dir(f, "x");
    assert_int_equal(vivi_read_file_at(d.fd, "state.json", &buf, NULL), 0);
    assert_string_equal(buf.data, "{oops");
    vivi_vmdir_done(&d);
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(count(f, NULL), 1);
    viv_vm_free(m);
}

static void a_broken_configuration_is_listed_too(void **state)
{
    struct fixture *f = *state;
    viv_list *l;
    viv_vm *m = some_vm(f, "x");
    viv_error err = VIV_ERROR_INIT;

    put(f, "x", "config.json", "{\"name\": \"x\",}");
    l = list(f, NULL);
    assert_string_equal(viv_rec_str(viv_list_at(l, 0), "state"), "broken");
    assert_int_equal(
        strncmp(viv_rec_str(viv_list_at(l, 0), "reason.text"), "config.json: line 1: ", 21), 0);
    viv_list_free(l);
    assert_int_equal(create(f, "name: x\ndriver: fake\n", NULL, NULL, &err), -VIV_E_PROTOCOL);
    assert_int_equal(strncmp(err.message, "exists already, with a broken record: config.json", 49),
                     0);
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, NULL), 0);
    viv_vm_free(m);
}

static void a_newer_record_is_shown_and_nothing_changes_it(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d;
    viv_vm *m = some_vm(f, "web");
    cleanup_buf struct vivi_buf buf = VIVI_BUF(4096), after = VIVI_BUF(4096);
    viv_error err = VIV_ERROR_INIT;
    viv_list *l;

    d = some_dir(f, "web");
    assert_int_equal(vivi_read_file_at(d.fd, "state.json", &buf, NULL), 0);
    assert_int_equal(strncmp(buf.data, "{\"schema\":1,", 12), 0);
    buf.data[10] = '7';
    put(f, "web", "state.json", buf.data);
    l = list(f, NULL);
    assert_string_equal(viv_rec_str(viv_list_at(l, 0), "state"), "created");
    viv_list_free(l);
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "state.json: schema 7 is newer than this viv understands (1)");
    assert_string_equal(err.vm, "web");
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, &err), -VIV_E_UNSUPPORTED);
    assert_int_equal(vivi_read_file_at(d.fd, "state.json", &after, NULL), 0);
    assert_string_equal(after.data, buf.data);
    vivi_vmdir_done(&d);
    viv_vm_free(m);
}

static void what_is_at_rest_needs_no_monitor_to_be_stopped(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_rec *r = NULL;
    viv_op *op = NULL;
    int changed = 1;

    assert_int_equal(viv_vm_stop(m, NULL, NULL, &r, NULL), 0);
    assert_int_equal(viv_rec_bool(r, "changed", &changed), 0);
    assert_int_equal(changed, 0);
    assert_string_equal(viv_rec_str(r, "state"), "created");
    viv_rec_free(r);
    assert_int_equal(viv_vm_kill(m, NULL, &op, NULL, NULL), 0);
    assert_int_equal(viv_op_done(op), 1);
    assert_int_equal(viv_timeout_ms(f->v), 0); /* the fd is readable for it */
    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    assert_int_equal(viv_timeout_ms(f->v), -1);
    viv_op_free(op);
    viv_vm_free(m);
}

static void a_vm_whose_vmm_lives_is_not_removed_although_nobody_keeps_it(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    struct vivi_vmdir d = some_dir(f, "web");
    struct vivi_host_now now;
    struct vivi_state s;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    assert_int_equal(vivi_host_now(&now, NULL), 0);
    s.state = VIV_ST_RUNNING;
    vivi_proc_self(&s.vmm);
    memcpy(s.host_boot_id, now.boot_id, sizeof(now.boot_id));
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "only a stopped VM can be removed (it is running)");
    assert_string_equal(err.hint, "viv rm --force web");
    s.vmm = (struct vivi_proc_id){4194303, 1}; /* gone */
    assert_int_equal(vivi_state_write(d.fd, &s, VIVI_FAST, NULL), 0);
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, &err), 0);
    vivi_state_done(&s);
    vivi_vmdir_done(&d);
    viv_vm_free(m);
}

static void a_read_only_root_changes_nothing(void **state)
{
    struct fixture *f = *state;
    viv *ro = NULL;
    viv_vm *m = NULL;
    viv_error err = VIV_ERROR_INIT;
    viv_config *c = some_config("name: other\ndriver: fake\n");

    viv_vm_free(some_vm(f, "web"));
    assert_int_equal(viv_open(f->dir, VIV_OPEN_READONLY, &ro, NULL), 0);
    assert_int_equal(viv_lookup(ro, "web", &m, NULL), 0);
    assert_int_equal(viv_vm_start(m, NULL, NULL, NULL, &err), -VIV_E_DENIED);
    assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, &err), -VIV_E_DENIED);
    assert_int_equal(viv_create(ro, c, 0, NULL, NULL, &err), -VIV_E_DENIED);
    viv_vm_free(m);
    viv_close(ro);
    assert_int_equal(viv_open("/nonexistent/viv", VIV_OPEN_READONLY, &ro, NULL), 0);
    assert_int_equal(viv_lookup(ro, "web", &m, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_subscribe(ro, NULL, 0, &err), -VIV_E_NOT_FOUND);
    viv_close(ro);
    viv_config_free(c);
}

/* ---- two processes at once ---- */

#define ROUNDS 100

/* 0 made, 1 was there, 2 exists otherwise, 3 anything else. */
static int try_create(const char *dir, const char *yaml)
{
    viv *v = NULL;
    viv_config *c = NULL;
    int changed = 0, r;

    if (viv_open(dir, VIV_OPEN_CREATE, &v, NULL) < 0 ||
        viv_config_parse(yaml, strlen(yaml), NULL, &c, NULL) < 0)
        return 3;
    r = viv_create(v, c, 0, NULL, &changed, NULL);
    viv_config_free(c);
    viv_close(v);
    return r == -VIV_E_EXISTS ? 2 : r < 0 ? 3 : changed ? 0 : 1;
}

static int race(struct fixture *f, const char *a, const char *b, int *ret_b)
{
    int go[2], status = -1, mine;
    char byte;
    pid_t pid;

    assert_int_equal(vivi_pipe(go, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)vivi_read_full(go[0], &byte, 1, DEADLINE_MS, NULL);
        _exit(try_create(f->dir, b));
    }
    (void)vivi_write_full(go[1], "x", 1, -1, NULL);
    mine = try_create(f->dir, a);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    *ret_b = WEXITSTATUS(status);
    vivi_close(&go[0]);
    vivi_close(&go[1]);
    return mine;
}

static void of_two_creates_at_once_one_wins(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < ROUNDS; i++) {
        bool same = i % 2;
        viv_vm *m = NULL;
        int a, b;

        a = race(f, "name: web\ndriver: fake\ncpus: 1\n",
                 same ? "name: web\ndriver: fake\ncpus: 1\n" : "name: web\ndriver: fake\ncpus: 2\n",
                 &b);
        if (same)
            assert_true((a == 0 && b == 1) || (a == 1 && b == 0));
        else
            assert_true((a == 0 && b == 2) || (a == 2 && b == 0));
        assert_int_equal(count(f, NULL), 1);
        assert_int_equal(viv_lookup(f->v, "web", &m, NULL), 0);
        assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, NULL), 0);
        viv_vm_free(m);
    }
}

/* ---- events ---- */

static void events_reach_a_subscriber_through_the_one_descriptor(void **state)
{
    struct fixture *f = *state;
    viv_rec *e = NULL;
    viv_error err = VIV_ERROR_INIT;
    viv_vm *m;
    cleanup_json json_t *j = NULL;

    assert_int_equal(viv_next(f->v, &e, &err), -VIV_E_INVALID);
    assert_int_equal(viv_subscribe(f->v, "type=what,vm=web", 0, NULL), 0);
    assert_int_equal(viv_subscribe(f->v, "color=red", 0, &err), -VIV_E_INVALID);
    assert_string_equal(
        err.message,
        "filter: \"color\" is not a key of events (vm, uuid, type, state, labels.KEY)");
    assert_int_equal(viv_subscribe(f->v, "vm=web", 0, NULL), 0);
    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    assert_int_equal(viv_next(f->v, &e, NULL), 0);
    assert_int_equal(vivi_wait_fd(viv_fd(f->v), 1 /* POLLIN */, 0, NULL), 0);
    viv_vm_free(some_vm(f, "other"));
    m = some_vm(f, "web");
    assert_int_equal(vivi_wait_fd(viv_fd(f->v), 1, DEADLINE_MS, NULL), 1);
    assert_int_equal(viv_dispatch(f->v, NULL), 0);
    assert_int_equal(viv_next(f->v, &e, NULL), 1);
    assert_string_equal(viv_rec_str(e, "type"), "created");
    assert_string_equal(viv_rec_str(e, "uuid"), viv_vm_uuid(m));
    viv_rec_free(e);
    assert_int_equal(viv_next(f->v, &e, NULL), 0);

    /* all that is kept, of all VMs */
    assert_int_equal(viv_subscribe(f->v, NULL, VIV_EVENTS_ALL, NULL), 0);
    assert_int_equal(viv_next(f->v, &e, NULL), 1);
    assert_string_equal(viv_rec_str(e, "vm"), "other");
    j = json_loads(viv_rec_json(e), 0, NULL);
    assert_int_equal(json_object_size(j), 7);
    viv_rec_free(e);
    viv_vm_free(m);
}

static void logs_are_opened_and_boots_found(void **state)
{
    struct fixture *f = *state;
    viv_vm *m = some_vm(f, "web");
    viv_error err = VIV_ERROR_INIT;
    uint64_t a = 0, b = 0;
    int fd = -1;

    assert_int_equal(viv_vm_log_open(m, "serial", &fd, NULL, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no serial log: it was never started");
    assert_int_equal(viv_vm_log_open(m, "qemu", &fd, NULL, &err), -VIV_E_INVALID);
    assert_int_equal(viv_vm_log_boot(m, 0, &a, &b, &err), -VIV_E_NOT_FOUND);
    put(f, "web", "serial.log", "one\ntwo\n");
    put(f, "web", "running.json",
        "{\"schema\":1,\"run\":2,\"streams\":[{\"name\":\"serial.out\",\"log\":\"serial.log\","
        "\"start\":100}],\"boots\":[{\"boot\":1,\"offset\":0},{\"boot\":2,\"offset\":100},"
        "{\"boot\":3,\"offset\":150}]}");
    assert_int_equal(viv_vm_log_open(m, "serial", &fd, &a, NULL), 0);
    assert_int_equal(a, 0);
    vivi_close(&fd);
    assert_int_equal(viv_vm_log_boot(m, 0, &a, &b, NULL), 0);
    assert_int_equal(a, 100);
    assert_int_equal(b, 150);
    assert_int_equal(viv_vm_log_boot(m, -1, &a, &b, NULL), 0);
    assert_int_equal(a, 150);
    assert_true(b == UINT64_MAX);
    assert_int_equal(viv_vm_log_boot(m, 1, &a, &b, NULL), 0);
    assert_int_equal(a, 0);
    assert_int_equal(b, 100);
    assert_int_equal(viv_vm_log_boot(m, -4, &a, &b, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "boot -4 is not recorded (any more)");
    assert_int_equal(viv_vm_log_wait(m, 3, 0, NULL), 1);
    assert_int_equal(viv_vm_log_wait(m, 8, 0, NULL), 0); /* at rest: nothing more will come */
    viv_vm_free(m);
}

static void doctor_and_caps_have_their_rows(void **state)
{
    struct fixture *f = *state;
    viv_list *l = NULL;
    viv_error err = VIV_ERROR_INIT;
    bool pause = false;

    assert_int_equal(viv_doctor(f->v, &l, NULL), 0);
    assert_int_equal(viv_list_len(l), 10);
    for (size_t i = 0; i < viv_list_len(l); i++) {
        assert_non_null(viv_rec_str(viv_list_at(l, i), "check"));
        assert_non_null(viv_rec_str(viv_list_at(l, i), "message"));
    }
    viv_list_free(l);
    assert_int_equal(viv_caps(f->v, "fake", &l, NULL), 0);
    assert_int_equal(viv_list_len(l), VIVI_CAP_COUNT_);
    for (size_t i = 0; i < viv_list_len(l); i++) {
        const viv_rec *r = viv_list_at(l, i);
        int ok = -1;

        assert_string_equal(viv_rec_str(r, "driver"), "fake");
        assert_int_equal(viv_rec_bool(r, "ok", &ok), 0);
        assert_true(ok == viv_rec_is_null(r, "reason"));
        if (strcmp(viv_rec_str(r, "capability"), "pause") == 0)
            pause = ok;
    }
    assert_true(pause);
    viv_list_free(l);
    assert_int_equal(viv_caps(f->v, "fak", &l, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.hint, "did you mean \"fake\"?");
    assert_int_equal(viv_caps(f->v, "vz", &l, &err), -VIV_E_UNSUPPORTED);
}

static void configurations_are_made_set_merged_and_shown(void **state)
{
    struct fixture *f = *state;
    viv_config *c = NULL, *lower = some_config("cpus: 4\nmemory: 1GiB\n");
    viv_rec *r = NULL;
    viv_error err = VIV_ERROR_INIT;
    int64_t n = 0;

    assert_int_equal(viv_config_new(&c, NULL), 0);
    assert_int_equal(viv_config_set(c, "name", "web", NULL), 0);
    assert_int_equal(viv_config_set(c, "driver", "fake", NULL), 0);
    assert_int_equal(viv_config_set(c, "cpus", "2", NULL), 0);
    assert_int_equal(viv_config_set(c, "memroy", "1", &err), -VIV_E_INVALID);
    assert_int_equal(viv_config_merge_under(c, lower, NULL), 0);
    assert_int_equal(viv_config_get(c, "cpus.count", &r, NULL), 0);
    assert_int_equal(viv_rec_i64(r, "", &n), 0);
    assert_int_equal(n, 2);
    viv_rec_free(r);
    assert_int_equal(viv_config_get(c, "memory.size", &r, NULL), 0);
    assert_int_equal(viv_rec_i64(r, "", &n), 0);
    assert_int_equal(n, 1 << 30);
    viv_rec_free(r);
    assert_int_equal(viv_config_get(c, "boot.kernel", &r, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(viv_config_show(c, &r, NULL), 0);
    assert_string_equal(viv_rec_str(r, "name"), "web");
    viv_rec_free(r);
    assert_int_equal(viv_config_plan(f->v, c, &r, NULL), 0);
    assert_string_equal(viv_rec_str(r, "driver"), "fake");
    assert_non_null(viv_rec_str(r, "plan.exe"));
    assert_string_equal(viv_rec_str(r, "config.nets.0.id"), "n0");
    viv_rec_free(r);
    viv_config_free(c);
    viv_config_free(lower);
    viv_config_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_created_is_recorded_with_all_that_was_left_to_us),
        TEST(the_same_again_is_a_success_and_another_one_exists),
        TEST(the_first_problem_is_the_error_and_nothing_is_made),
        TEST(a_vm_is_found_by_name_and_by_the_head_of_its_uuid),
        TEST(an_ambiguous_head_of_a_uuid_is_refused_with_the_names),
        TEST(a_handle_is_pinned_to_its_uuid),
        TEST(inspect_has_every_key_and_no_other),
        TEST(filters_select),
        TEST(ready_is_a_running_vm_that_is_ready),
        TEST(mistakes_in_filters_are_told),
        TEST(many_labels_are_listed_although_they_do_not_fit_beside_the_state),
        TEST(a_broken_state_is_listed_with_the_reason_and_left_alone),
        TEST(a_broken_configuration_is_listed_too),
        TEST(a_newer_record_is_shown_and_nothing_changes_it),
        TEST(what_is_at_rest_needs_no_monitor_to_be_stopped),
        TEST(a_vm_whose_vmm_lives_is_not_removed_although_nobody_keeps_it),
        TEST(a_read_only_root_changes_nothing),
        TEST(of_two_creates_at_once_one_wins),
        TEST(events_reach_a_subscriber_through_the_one_descriptor),
        TEST(logs_are_opened_and_boots_found),
        TEST(doctor_and_caps_have_their_rows),
        TEST(configurations_are_made_set_merged_and_shown),
    };

    return cmocka_run_group_tests_name("manager: registry", tests, NULL, NULL);
}
