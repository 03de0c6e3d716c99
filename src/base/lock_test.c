#include "base/lock.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/testing.h"

static void a_held_lock_is_busy_for_others_and_seen_by_a_test(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    int a, b = -1, other;
    struct stat st;

    assert_int_equal(vivi_lock_test(d->fd, "lock", NULL), 0);
    assert_int_equal(faccessat(d->fd, "lock", F_OK, 0), -1); /* testing creates nothing */
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &a, NULL), 0);
    assert_int_equal(fstat(a, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(vivi_lock_test(d->fd, "lock", NULL), 1);
    assert_int_equal(vivi_lock_take(a, "lock", NULL), 0); /* again, by its holder */
    other = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(vivi_lock_take(other, "lock", NULL), -VIV_E_BUSY);
    vivi_close(&other);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &b, &err), -VIV_E_BUSY);
    assert_int_equal(err.flags & VIV_ERR_RETRY, VIV_ERR_RETRY);
    assert_string_equal(err.message, "lock: is held by another process");
    assert_int_equal(b, -1);
    vivi_close(&a);
    assert_int_equal(vivi_lock_test(d->fd, "lock", NULL), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &b, NULL), 0);
    vivi_close(&b);
}

static void a_duplicate_in_another_process_keeps_the_lock(void **state)
{
    struct test_dir *d = *state;
    int a, go[2], wstatus;
    char byte;
    pid_t pid;

    assert_int_equal(vivi_pipe(go, NULL), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &a, NULL), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(go[1]);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    vivi_close(&a);
    assert_int_equal(vivi_lock_test(d->fd, "lock", NULL), 1);
    vivi_close(&go[1]);
    assert_int_equal(waitpid(pid, &wstatus, 0), pid);
    assert_int_equal(vivi_lock_test(d->fd, "lock", NULL), 0);
    vivi_close(&go[0]);
}

static void waiting_for_a_lock_ends_at_its_deadline_or_with_the_lock(void **state)
{
    struct test_dir *d = *state;
    uint64_t before = vivi_mono_us();
    int a, b = -1, held[2];
    pid_t pid;
    char byte;

    assert_int_equal(vivi_pipe(held, NULL), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &a, NULL), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 30, &b, NULL), -VIV_E_BUSY);
    assert_true(vivi_mono_us() - before >= 30000);
    pid = fork();
    if (pid == 0) { /* waits for ever, says so when it has it */
        int mine;

        (void)close(a); /* a duplicate of the description would keep the lock from going free */
        (void)!write(held[1], vivi_lock_open(d->fd, "lock", -1, &mine, NULL) == 0 ? "y" : "n", 1);
        _exit(0);
    }
    vivi_close(&a);
    assert_int_equal(vivi_read_full(held[0], &byte, 1, -1, NULL), 0);
    assert_int_equal(byte, 'y');
    assert_int_equal(vivi_lock_open(d->fd, "lock", TEST_DEADLINE_MS, &b, NULL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    vivi_close(&b);
    vivi_close(&held[0]);
    vivi_close(&held[1]);
}

static void a_lock_whose_name_was_removed_or_replaced_is_not_current(void **state)
{
    struct test_dir *d = *state;
    int a, b;

    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &a, NULL), 0);
    assert_int_equal(vivi_lock_is_current(a, d->fd, "lock", NULL), 1);
    assert_int_equal(unlinkat(d->fd, "lock", 0), 0);
    assert_int_equal(vivi_lock_is_current(a, d->fd, "lock", NULL), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &b, NULL), 0);
    assert_int_equal(vivi_lock_is_current(a, d->fd, "lock", NULL), 0);
    assert_int_equal(vivi_lock_is_current(b, d->fd, "lock", NULL), 1);
    vivi_close(&a);
    vivi_close(&b);
}

static void a_link_is_not_followed_to_a_lock(void **state)
{
    struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    int a = -1;

    assert_int_equal(symlinkat("elsewhere", d->fd, "lock"), 0);
    assert_int_equal(vivi_lock_open(d->fd, "lock", 0, &a, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ELOOP);
    assert_int_equal(a, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_held_lock_is_busy_for_others_and_seen_by_a_test),
        test_in_dir(a_duplicate_in_another_process_keeps_the_lock),
        test_in_dir(waiting_for_a_lock_ends_at_its_deadline_or_with_the_lock),
        test_in_dir(a_lock_whose_name_was_removed_or_replaced_is_not_current),
        test_in_dir(a_link_is_not_followed_to_a_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
