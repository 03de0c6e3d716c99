#include "store/testing.h"

#include <sys/stat.h>
#include <unistd.h>

static int open_fds_before;

static void a_new_root_is_private_and_has_its_folder(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(fstat(f->root.fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(fstat(f->root.vms_fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(f->root.fd >= 3 && f->root.vms_fd >= 3);
    assert_true(fcntl(f->root.fd, F_GETFD) & FD_CLOEXEC);
    assert_string_equal(f->root.path, f->dir);
}

static void a_root_that_others_can_read_is_made_private(void **state)
{
    struct fixture *f = *state;
    struct vivi_root r = VIVI_ROOT_EMPTY;
    struct stat st;

    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(vivi_root_open(f->dir, false, true, &r, NULL), 0);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* readers change nothing */
    vivi_root_done(&r);
    assert_int_equal(vivi_root_open(f->dir, false, false, &r, NULL), 0);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    vivi_root_done(&r);
}

static void a_missing_root_is_made_found_missing_or_empty_as_asked(void **state)
{
    struct fixture *f = *state;
    struct vivi_root r = VIVI_ROOT_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    char path[128];
    char **names = NULL;
    size_t n = 7;

    (void)snprintf(path, sizeof(path), "%s/a/b", f->dir);
    assert_int_equal(vivi_root_open(path, false, false, &r, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(err.code, VIV_E_NOT_FOUND);
    assert_int_equal(r.fd, -1);
    assert_null(r.path);

    assert_int_equal(vivi_root_open(path, false, true, &r, &err), 0);
    assert_int_equal(r.fd, -1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(vivi_vm_names(&r, &names, &n, &err), 0);
    assert_int_equal(n, 0);
    vivi_names_free(names, n);
    vivi_root_done(&r);

    assert_int_equal(vivi_root_open(path, true, false, &r, &err), 0);
    assert_true(r.vms_fd >= 0);
    vivi_root_done(&r);
}

static void a_root_whose_sockets_would_not_fit_is_refused_and_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    struct vivi_root r = VIVI_ROOT_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    char path[300], longest[200];
    size_t rest;

    /* <path>/run/12345678/control.sock and its NUL are exactly 104 bytes */
    rest = 104 - sizeof("/run/12345678/control.sock") - strlen(f->dir) - 1;
    memset(longest, 'x', sizeof(longest));
    (void)snprintf(path, sizeof(path), "%s/%.*s", f->dir, (int)rest, longest);
    assert_int_equal(vivi_root_open(path, true, false, &r, &err), 0);
    vivi_root_done(&r);

    (void)snprintf(path, sizeof(path), "%s/%.*s", f->dir, (int)rest + 1, longest);
    r = (struct vivi_root)VIVI_ROOT_EMPTY;
    assert_int_equal(vivi_root_open(path, true, false, &r, &err), -VIV_E_INVALID);
    assert_non_null(strstr(err.message, "would have paths of 104 bytes, the limit is 103"));
    assert_non_null(strstr(err.hint, "VIV_RUN="));
    assert_int_equal(access(path, F_OK), -1); /* nothing was made */
    assert_null(r.path);

    assert_int_equal(setenv("VIV_RUN", "/tmp/vivr", 1), 0);
    assert_int_equal(vivi_root_open(path, true, false, &r, &err), 0);
    assert_string_equal(r.run, "/tmp/vivr");
    vivi_root_done(&r);
    assert_int_equal(unsetenv("VIV_RUN"), 0);
}

static void a_root_of_another_user_is_denied(void **state)
{
    struct fixture *f = *state;
    struct vivi_root r = VIVI_ROOT_EMPTY;
    viv_error err = VIV_ERROR_INIT;
    char want[200];

    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->dir, 12345, 0), 0);
    assert_int_equal(vivi_root_open(f->dir, true, false, &r, &err), -VIV_E_DENIED);
    (void)snprintf(want, sizeof(want), "state root %s: owned by user 12345, not by you (0)",
                   f->dir);
    assert_string_equal(err.message, want);
    assert_int_equal(vivi_root_open(f->dir, false, true, &r, &err), -VIV_E_DENIED);
    assert_null(r.path);
}

static void a_root_that_cannot_be_written_is_denied(void **state)
{
    struct fixture *f = *state;
    struct vivi_root r = VIVI_ROOT_EMPTY;
    viv_error err = VIV_ERROR_INIT;

    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->dir, 12345, 12345), 0);
    assert_int_equal(chmod(f->dir, 0500), 0);
    assert_int_equal(seteuid(12345), 0);
    int code = vivi_root_open(f->dir, true, false, &r, &err);
    int readonly = vivi_root_open(f->dir, false, true, &r, NULL);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(code, -VIV_E_DENIED);
    assert_non_null(strstr(err.message, "not writable: permission denied"));
    assert_int_equal(readonly, -VIV_E_DENIED); /* vms/ belongs to somebody else here */
}

static void the_default_root_comes_from_the_environment(void **state)
{
    cleanup_free char *path = NULL;

    (void)state;
    assert_int_equal(setenv("VIV_HOME", "/x/y//", 1), 0);
    assert_int_equal(vivi_root_default(&path, NULL), 0);
    assert_string_equal(path, "/x/y");
    assert_int_equal(unsetenv("VIV_HOME"), 0);
    if (geteuid() != 0)
        return;
    free(take_ptr(path));
    assert_int_equal(vivi_root_default(&path, NULL), 0);
    assert_string_equal(path, "/var/lib/vivarium");
}

static void text_that_is_not_utf8_still_becomes_json(void **state)
{
    cleanup_json json_t *a = vivi_json_str("ok \xc3\xa4");
    cleanup_json json_t *b = vivi_json_str("bad \xff\xc3 \xe2\x82 \xed\xa0\x80 \xf0\x9f\x98\x80.");
    cleanup_json json_t *c = vivi_json_str_or_null("");

    (void)state;
    assert_string_equal(json_string_value(a), "ok \xc3\xa4");
    assert_string_equal(json_string_value(b), "bad ?? ?? ??? \xf0\x9f\x98\x80.");
    assert_true(json_is_null(c));
}

static int count_before(void **state)
{
    (void)state;
    (void)unsetenv("VIV_RUN");
    (void)unsetenv("VIV_HOME");
    open_fds_before = vivi_fd_count();
    return 0;
}

static int count_after(void **state)
{
    (void)state;
    return vivi_fd_count() == open_fds_before ? 0 : -1;
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_new_root_is_private_and_has_its_folder),
        T(a_root_that_others_can_read_is_made_private),
        T(a_missing_root_is_made_found_missing_or_empty_as_asked),
        T(a_root_whose_sockets_would_not_fit_is_refused_and_says_what_to_do),
        T(a_root_of_another_user_is_denied),
        T(a_root_that_cannot_be_written_is_denied),
        T(the_default_root_comes_from_the_environment),
        T(text_that_is_not_utf8_still_becomes_json),
    };

    return cmocka_run_group_tests_name("store: root", tests, count_before, count_after);
}
