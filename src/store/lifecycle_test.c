#include "store/testing.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t count_vms(const struct vivi_root *r)
{
    char **names = NULL;
    size_t n = 0;

    assert_int_equal(vivi_vm_names(r, &names, &n, NULL), 0);
    vivi_names_free(names, n);
    return n;
}

static bool is_there(int dir_fd, const char *name)
{
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* How often an event of this type stands in the log. */
static unsigned told(const struct vivi_root *r, const char *type)
{
    struct vivi_events e;
    json_t *j = NULL;
    unsigned n = 0;

    assert_int_equal(vivi_events_open(r, 0, &e, NULL), 0);
    while (vivi_events_next(&e, &j, NULL) > 0) {
        n += strcmp(json_string_value(json_object_get(j, "type")), type) == 0;
        json_decref(j);
    }
    vivi_events_done(&e);
    return n;
}

static void a_created_vm_has_its_records_and_is_told(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(100);
    struct vivi_state s;
    char path[128], stamp[48];

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_string_equal(d.uuid, UUID_A);
    (void)snprintf(path, sizeof(path), "%s/vms/web", f->dir);
    assert_string_equal(d.path, path);
    (void)snprintf(path, sizeof(path), "%s/run/11111111", f->dir);
    assert_string_equal(d.run_dir, path);
    assert_int_equal(vivi_read_file_at(d.fd, "lock", &buf, NULL), 0);
    assert_string_equal(buf.data, UUID_A);
    assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
    vivi_config_stamp(d.fd, VIVI_CONFIG_FILE, stamp);
    assert_true(stamp[0]);
    assert_string_equal(s.config_stamp, stamp);
    assert_int_equal(told(&f->root, "created"), 1);
    vivi_vmdir_done(&d);
}

static void a_taken_name_is_refused_and_nothing_stays(void **state)
{
    struct fixture *f = *state;
    cleanup_json json_t *config = json_pack("{s:s}", "name", "web");
    viv_error err = VIV_ERROR_INIT;
    struct vivi_state s;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;

    some_vm(&f->root, "web", UUID_A);
    some_state(&s, "web", UUID_B);
    assert_int_equal(vivi_vm_create(&f->root, config, &s, &err), -VIV_E_EXISTS);
    assert_string_equal(err.message, "exists already");
    assert_string_equal(err.vm, "web");
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_string_equal(d.uuid, UUID_A);
    vivi_vmdir_done(&d);
    assert_int_equal(told(&f->root, "created"), 1);
    /* no temporary is left: the directory holds ., .. and web */
    struct stat st;
    assert_int_equal(fstat(f->root.vms_fd, &st), 0);
    assert_int_equal(st.st_nlink, 3);
}

static void a_missing_vm_is_not_found_and_the_nearest_name_is_told(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    viv_error err = VIV_ERROR_INIT;

    some_vm(&f->root, "bob", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "nob", &d, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    assert_string_equal(err.hint, "did you mean \"bob\"?");
    assert_string_equal(err.vm, "nob");
    assert_int_equal(d.fd, -1);
    err = (viv_error)VIV_ERROR_INIT;
    assert_int_equal(vivi_vmdir_open(&f->root, "../vms/bob", &d, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_vmdir_open(&f->root, ".", &d, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_vmdir_open(&f->root, "", &d, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(symlinkat("bob", f->root.vms_fd, "link"), 0);
    assert_int_equal(vivi_vmdir_open(&f->root, "link", &d, &err), -VIV_E_NOT_FOUND);
}

static void names_are_sorted_and_without_temporaries(void **state)
{
    struct fixture *f = *state;
    char **names = NULL;
    size_t n = 0;

    some_vm(&f->root, "zeta", UUID_A);
    some_vm(&f->root, "alpha", UUID_B);
    assert_int_equal(mkdirat(f->root.vms_fd, ".new-1-2-3-x", 0700), 0);
    assert_int_equal(mkdirat(f->root.vms_fd, "Not A Name", 0700), 0);
    assert_int_equal(vivi_vm_names(&f->root, &names, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "alpha");
    assert_string_equal(names[1], "zeta");
    vivi_names_free(names, n);
}

static void a_removed_vm_is_gone_with_its_sockets_and_told_once(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY, again = VIVI_VMDIR_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    int lock = -1;

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &again, NULL), 0);
    assert_int_equal(vivi_vmdir_ensure_run(&d, NULL), 0);
    assert_int_equal(vivi_vmdir_ensure_run(&d, NULL), 0); /* is no change */
    assert_int_equal(vivi_vmdir_is_current(&d, NULL), 1);
    assert_int_equal(vivi_lock_open(d.fd, "lock", 0, &lock, NULL), 0);
    assert_int_equal(vivi_vm_remove(&d, lock, &err), 0);
    assert_int_equal(access(d.run_dir, F_OK), -1);
    assert_int_equal(count_vms(&f->root), 0);
    assert_int_equal(told(&f->root, "removed"), 1);
    vivi_close(&lock);

    /* Another one that had opened it before comes too late. */
    assert_int_equal(vivi_vmdir_is_current(&again, NULL), 0);
    assert_int_equal(vivi_lock_open(again.fd, "lock", 0, &lock, &err), -VIV_E_NOT_FOUND);
    vivi_vmdir_done(&d);
    vivi_vmdir_done(&again);
}

static void a_vm_that_took_the_name_is_not_removed_for_the_old_one(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    int lock = -1;

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_int_equal(vivi_lock_open(d.fd, "lock", 0, &lock, NULL), 0);
    assert_int_equal(renameat(f->root.vms_fd, "web", f->root.vms_fd, "elsewhere"), 0);
    some_vm(&f->root, "web", UUID_B);
    assert_int_equal(vivi_vm_remove(&d, lock, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "no such VM");
    assert_int_equal(count_vms(&f->root), 2);
    vivi_close(&lock);
    vivi_vmdir_done(&d);
}

static void the_uuid_is_known_without_state_json(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;

    some_vm(&f->root, "web", UUID_A);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    put_file(d.fd, "state.json", "{");
    vivi_vmdir_done(&d);
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_string_equal(d.uuid, UUID_A);
    put_file(d.fd, "lock", "garbage");
    vivi_vmdir_done(&d);
    d = (struct vivi_vmdir)VIVI_VMDIR_EMPTY;
    assert_int_equal(vivi_vmdir_open(&f->root, "web", &d, NULL), 0);
    assert_string_equal(d.uuid, "");
    assert_null(d.run_dir);
    vivi_vmdir_done(&d);
}

static void a_run_directory_of_another_uuid_is_not_shared(void **state)
{
    struct fixture *f = *state;
    struct vivi_vmdir a = VIVI_VMDIR_EMPTY, b = VIVI_VMDIR_EMPTY;
    viv_error err = VIV_ERROR_INIT;

    some_vm(&f->root, "a", UUID_A);
    some_vm(&f->root, "b", "11111111-9999-4333-8444-555555555555");
    assert_int_equal(vivi_vmdir_open(&f->root, "a", &a, NULL), 0);
    assert_int_equal(vivi_vmdir_open(&f->root, "b", &b, NULL), 0);
    assert_int_equal(vivi_vmdir_ensure_run(&a, NULL), 0);
    assert_int_equal(vivi_vmdir_ensure_run(&b, &err), -VIV_E_EXISTS);
    assert_non_null(strstr(err.message, UUID_A));
    vivi_vmdir_done(&a);
    vivi_vmdir_done(&b);
}

static void interrupted_removals_are_finished_and_told_once(void **state)
{
    struct fixture *f = *state;
    int lock = -1;

    some_vm(&f->root, "a", UUID_A);
    assert_int_equal(renameat(f->root.vms_fd, "a", f->root.vms_fd, ".rm-" UUID_A), 0);
    /* while its remover lives, it is left alone */
    cleanup_close int fd = -1;
    assert_int_equal(vivi_open_dir(f->root.vms_fd, ".rm-" UUID_A, &fd, NULL), 0);
    assert_int_equal(vivi_lock_open(fd, "lock", 0, &lock, NULL), 0);
    assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
    assert_true(is_there(f->root.vms_fd, ".rm-" UUID_A));
    assert_int_equal(told(&f->root, "removed"), 0);
    vivi_close(&lock);

    assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
    assert_false(is_there(f->root.vms_fd, ".rm-" UUID_A));
    assert_int_equal(told(&f->root, "removed"), 1);

    /* killed after the event: it is not told twice */
    some_vm(&f->root, "b", UUID_A);
    assert_int_equal(renameat(f->root.vms_fd, "b", f->root.vms_fd, ".rm-" UUID_A), 0);
    assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
    assert_false(is_there(f->root.vms_fd, ".rm-" UUID_A));
    assert_int_equal(told(&f->root, "removed"), 1);
}

static void interrupted_creations_are_removed_but_not_those_of_the_living(void **state)
{
    struct fixture *f = *state;
    struct vivi_proc_id self;
    uint64_t ns;
    char mine[100], dead[100];

    vivi_proc_self(&self);
    assert_int_equal(vivi_pid_namespace(&ns, NULL), 0);
    (void)snprintf(mine, sizeof(mine), ".new-%llu-%d-%llu-12345678", (unsigned long long)ns,
                   (int)self.pid, (unsigned long long)self.start_time);
    (void)snprintf(dead, sizeof(dead), ".new-%llu-%d-%llu-12345678", (unsigned long long)ns,
                   (int)self.pid, (unsigned long long)self.start_time + 1);
    assert_int_equal(mkdirat(f->root.vms_fd, mine, 0700), 0);
    assert_int_equal(mkdirat(f->root.vms_fd, dead, 0700), 0);
    assert_int_equal(mkdirat(f->root.vms_fd, ".new-what", 0700), 0);
    assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
    assert_true(is_there(f->root.vms_fd, mine));
    assert_false(is_there(f->root.vms_fd, dead));
    assert_false(is_there(f->root.vms_fd, ".new-what"));
}

/* The child is killed at a random instant of a loop of creates and removes. */
static void torture(const char *dir)
{
    struct vivi_root r = VIVI_ROOT_EMPTY;

    if (vivi_root_open(dir, false, false, &r, NULL) < 0)
        _exit(1);
    for (;;) {
        struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
        cleanup_json json_t *config = json_pack("{s:s}", "name", "t");
        struct vivi_state s;
        int lock = -1;

        some_state(&s, "t", UUID_A);
        if (vivi_vm_create(&r, config, &s, NULL) < 0 || vivi_vmdir_open(&r, "t", &d, NULL) < 0 ||
            vivi_lock_open(d.fd, "lock", 0, &lock, NULL) < 0 || vivi_vm_remove(&d, lock, NULL) < 0)
            _exit(1);
        vivi_close(&lock);
        vivi_vmdir_done(&d);
    }
}

static void kill_after(const char *dir, unsigned events)
{
    struct vivi_root r = VIVI_ROOT_EMPTY;
    struct vivi_events e;
    pid_t pid;
    int status = 0;

    assert_int_equal(vivi_root_open(dir, false, true, &r, NULL), 0);
    assert_int_equal(vivi_events_open(&r, VIVI_EVENTS_NEW, &e, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        torture(dir);
    while (events > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        json_t *j = NULL;

        if (vivi_events_next(&e, &j, NULL) > 0)
            events--;
        json_decref(j);
    }
    assert_int_equal(events, 0); /* it did not end by itself */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    vivi_events_done(&e);
    vivi_root_done(&r);
}

static void sigkill_at_any_step_leaves_a_whole_vm_or_none(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 40; i++) {
        struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
        struct vivi_state s;
        struct stat st;

        kill_after(f->dir, 1 + i % 5);
        assert_int_equal(vivi_root_repair(&f->root, NULL), 0);
        assert_int_equal(fstat(f->root.vms_fd, &st), 0);
        assert_int_equal(st.st_nlink, 2 + count_vms(&f->root)); /* no temporaries */
        if (count_vms(&f->root) == 1) {
            int lock = -1;

            assert_int_equal(vivi_vmdir_open(&f->root, "t", &d, NULL), 0);
            assert_int_equal(vivi_state_read(d.fd, &s, NULL), 0);
            assert_int_equal(vivi_lock_open(d.fd, "lock", 0, &lock, NULL), 0);
            assert_int_equal(vivi_vm_remove(&d, lock, NULL), 0);
            vivi_close(&lock);
            vivi_vmdir_done(&d);
        }
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_created_vm_has_its_records_and_is_told),
        T(a_taken_name_is_refused_and_nothing_stays),
        T(a_missing_vm_is_not_found_and_the_nearest_name_is_told),
        T(names_are_sorted_and_without_temporaries),
        T(a_removed_vm_is_gone_with_its_sockets_and_told_once),
        T(a_vm_that_took_the_name_is_not_removed_for_the_old_one),
        T(the_uuid_is_known_without_state_json),
        T(a_run_directory_of_another_uuid_is_not_shared),
        T(interrupted_removals_are_finished_and_told_once),
        T(interrupted_creations_are_removed_but_not_those_of_the_living),
        T(sigkill_at_any_step_leaves_a_whole_vm_or_none),
    };

    return cmocka_run_group_tests_name("store: lifecycle", tests, NULL, NULL);
}
