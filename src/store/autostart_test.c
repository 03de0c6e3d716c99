/* What is recorded for the host's next boot, and that it goes when the VM goes. */
#include "store/testing.h"

#include <sys/stat.h>
#include <unistd.h>

struct made {
    struct vivi_vmdir d;
    struct vivi_autostart a;
};

static void put(const char *path, const char *text)
{
    assert_int_equal(vivi_write_file_at(AT_FDCWD, path, text, strlen(text), VIVI_FAST, NULL), 0);
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* A VM whose unit carries uuid, enabled. */
static void enable(struct fixture *f, struct made *m, const char *uuid)
{
    char text[128];

    *m = (struct made){.d = VIVI_VMDIR_EMPTY};
    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &m->d, NULL), 0);
    (void)snprintf(m->a.unit, sizeof(m->a.unit), "%s/viv-web.service", f->dir);
    (void)snprintf(m->a.link, sizeof(m->a.link), "%s/wants", f->dir);
    (void)snprintf(text, sizeof(text), "[X-Vivarium]\nUUID=%s\n", uuid);
    put(m->a.unit, text);
    assert_int_equal(symlink(m->a.unit, m->a.link), 0);
    assert_int_equal(vivi_autostart_write(m->d.fd, &m->a, NULL), 0);
}

static void the_record_is_read_as_it_was_written(void **state)
{
    struct vivi_autostart got;
    struct made m;

    enable(*state, &m, UUID_A);
    assert_int_equal(vivi_autostart_read(m.d.fd, &got, NULL), 1);
    assert_string_equal(got.unit, m.a.unit);
    assert_string_equal(got.link, m.a.link);
    assert_true(vivi_autostart_is_on(&got));
    assert_int_equal(unlink(m.a.link), 0);
    assert_false(vivi_autostart_is_on(&got));
    vivi_vmdir_done(&m.d);
}

static void a_vm_without_a_record_has_no_autostart(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    struct vivi_autostart got;

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_int_equal(vivi_autostart_read(d.fd, &got, NULL), 0);
    assert_int_equal(vivi_autostart_remove(d.fd, UUID_A, NULL), 0);
    vivi_vmdir_done(&d);
}

static void a_record_without_absolute_paths_is_refused(void **state)
{
    struct vivi_autostart got;
    viv_error err = VIV_ERROR_INIT;
    struct made m;

    enable(*state, &m, UUID_A);
    put_file(m.d.fd, VIVI_AUTOSTART_FILE, "{\"schema\":1,\"unit\":\"x\",\"link\":\"/y\"}");
    assert_int_equal(vivi_autostart_read(m.d.fd, &got, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "autostart.json: unit: not an absolute path");
    assert_true(is_there(m.a.unit));
    vivi_vmdir_done(&m.d);
}

static void off_removes_unit_link_and_record(void **state)
{
    struct made m;

    enable(*state, &m, UUID_A);
    assert_int_equal(vivi_autostart_remove(m.d.fd, UUID_A, NULL), 1);
    assert_false(is_there(m.a.unit));
    assert_false(is_there(m.a.link));
    assert_int_equal(vivi_autostart_remove(m.d.fd, UUID_A, NULL), 0);
    vivi_vmdir_done(&m.d);
}

static void a_unit_of_somebody_else_stays(void **state)
{
    struct made m;

    enable(*state, &m, UUID_B);
    assert_int_equal(vivi_autostart_remove(m.d.fd, UUID_A, NULL), 1);
    assert_true(is_there(m.a.unit));
    assert_true(is_there(m.a.link));
    vivi_vmdir_done(&m.d);
}

static void a_link_that_leads_elsewhere_stays(void **state)
{
    struct made m;

    enable(*state, &m, UUID_A);
    assert_int_equal(unlink(m.a.link), 0);
    assert_int_equal(symlink("/etc/passwd", m.a.link), 0);
    assert_int_equal(vivi_autostart_remove(m.d.fd, UUID_A, NULL), 1);
    assert_false(is_there(m.a.unit));
    assert_true(is_there(m.a.link));
    vivi_vmdir_done(&m.d);
}

static void a_link_that_would_dangle_goes(void **state)
{
    struct made m;

    enable(*state, &m, UUID_A);
    assert_int_equal(unlink(m.a.unit), 0);
    assert_int_equal(vivi_autostart_remove(m.d.fd, UUID_A, NULL), 1);
    assert_false(is_there(m.a.link));
    vivi_vmdir_done(&m.d);
}

static void a_removed_vm_takes_its_unit_along(void **state)
{
    struct fixture *f = *state;
    struct made m;
    int lock = -1;

    enable(f, &m, UUID_A);
    assert_int_equal(vivi_lock_open(m.d.fd, VIVI_LOCK_FILE, 0, &lock, NULL), 0);
    assert_int_equal(vivi_vm_remove(&m.d, lock, NULL), 0);
    assert_false(is_there(m.a.unit));
    assert_false(is_there(m.a.link));
    vivi_close(&lock);
    vivi_vmdir_done(&m.d);
}

static void so_does_one_whose_removal_was_interrupted(void **state)
{
    struct fixture *f = *state;
    struct made m;

    enable(f, &m, UUID_A);
    assert_int_equal(renameat(f->root.vms_fd, "web", f->root.vms_fd, ".rm-" UUID_A), 0);
    assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
    assert_false(is_there(m.a.unit));
    assert_false(is_there(m.a.link));
    vivi_vmdir_done(&m.d);
}

static void what_is_desired_is_recorded_of_a_vm_that_nobody_keeps(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    struct vivi_state s;
    int lock = -1;

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_int_equal(vivi_vm_desire(&d, VIVI_DESIRED_STOPPED, 0, NULL), 0);
    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    assert_string_equal(s.desired, "stopped");
    assert_int_equal(s.cpus, 2); /* the rest is as it was */
    assert_int_equal(vivi_lock_open(d.fd, VIVI_LOCK_FILE, 0, &lock, NULL), 0);
    assert_int_equal(vivi_vm_desire(&d, VIVI_DESIRED_RUNNING, 0, NULL), -VIV_E_BUSY);
    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    assert_string_equal(s.desired, "stopped");
    vivi_close(&lock);
    vivi_vmdir_done(&d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_record_is_read_as_it_was_written),
        TEST(a_vm_without_a_record_has_no_autostart),
        TEST(a_record_without_absolute_paths_is_refused),
        TEST(off_removes_unit_link_and_record),
        TEST(a_unit_of_somebody_else_stays),
        TEST(a_link_that_leads_elsewhere_stays),
        TEST(a_link_that_would_dangle_goes),
        TEST(a_removed_vm_takes_its_unit_along),
        TEST(so_does_one_whose_removal_was_interrupted),
        TEST(what_is_desired_is_recorded_of_a_vm_that_nobody_keeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
