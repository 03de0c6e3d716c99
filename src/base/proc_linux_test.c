#include "base/proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/testing.h"

/* A child that lives until its pipe is closed, under a name that tries to confuse. */
static pid_t make_child(int ret_fds[2])
{
    pid_t pid;
    char byte;

    assert_int_equal(vivi_pipe(ret_fds, NULL), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(ret_fds[1]);
        (void)prctl(PR_SET_NAME, ") Z 1 (x");
        (void)!read(ret_fds[0], &byte, 1);
        _exit(7);
    }
    vivi_close(&ret_fds[0]);
    return pid;
}

static void a_descriptor_is_taken_from_another_process(void **state)
{
    int fds[2], pidfd, copy = -1, own[2];
    pid_t pid;
    struct vivi_proc_id id;
    viv_error err = VIV_ERROR_INIT;
    char byte;

    (void)state;
    assert_int_equal(vivi_pipe(own, NULL), 0);
    pid = make_child(fds);
    assert_int_equal(vivi_proc_identify(pid, &id, NULL), 0);
    assert_int_equal(vivi_proc_open(&id, &pidfd, NULL), 0);
    assert_true(vivi_proc_take_fd(pidfd, 999, &copy, &err) < 0);
    assert_int_equal(copy, -1);
    if (vivi_proc_take_fd(pidfd, own[1], &copy, &err) < 0)
        assert_int_equal(err.code, VIV_E_DENIED); /* Yama or a sandbox */
    else
        assert_int_equal(write(copy, "x", 1), 1);
    if (copy >= 0)
        assert_int_equal(read(own[0], &byte, 1), 1);
    vivi_close(&copy);
    vivi_close(&pidfd);
    vivi_close(&fds[1]);
    vivi_close(&own[0]);
    vivi_close(&own[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_a_process_uses_is_told_whatever_its_name(void **state)
{
    struct vivi_proc_usage mine = {0}, other = {0};
    viv_error err = VIV_ERROR_INIT;
    volatile unsigned turns = 0;
    int fds[2];
    pid_t pid;

    (void)state;
    pid = make_child(fds);
    do {
        turns++;
        assert_int_equal(vivi_proc_usage(getpid(), &mine, &err), 0);
    } while (mine.cpu_ms == 0); /* looking costs time, too */
    assert_true(mine.rss_bytes > 100000 && turns > 0);
    assert_int_equal(vivi_proc_usage(pid, &other, &err), 0);
    assert_true(other.rss_bytes > 0 && other.cpu_ms < 60000);
    vivi_close(&fds[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(vivi_proc_usage(pid, &other, &err), -VIV_E_NOT_FOUND);
}

static void a_process_is_named_by_pid_and_start_time(void **state)
{
    struct vivi_proc_id self, again, child;
    int fds[2];
    pid_t pid = make_child(fds);

    (void)state;
    vivi_proc_self(&self);
    assert_int_equal(self.pid, getpid());
    assert_true(self.start_time > 0);
    assert_int_equal(vivi_proc_identify(getpid(), &again, NULL), 0);
    assert_true(again.start_time == self.start_time);
    assert_true(vivi_proc_alive(&self));
    assert_int_equal(vivi_proc_identify(pid, &child, NULL), 0);
    assert_true(vivi_proc_alive(&child));
    child.start_time++; /* the same number, another process */
    assert_false(vivi_proc_alive(&child));
    {
        int fd = -1;

        assert_int_equal(vivi_proc_open(&child, &fd, NULL), -VIV_E_NOT_FOUND);
        assert_int_equal(fd, -1);
    }
    vivi_close(&fds[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_zombie_is_dead(void **state)
{
    struct vivi_proc_id id, untouched = {.pid = 1, .start_time = 2};
    viv_error err = VIV_ERROR_INIT;
    siginfo_t info;
    int fds[2], fd = -1;
    pid_t pid = make_child(fds);

    (void)state;
    assert_int_equal(vivi_proc_identify(pid, &id, NULL), 0);
    vivi_close(&fds[1]);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(vivi_proc_alive(&id));
    assert_int_equal(vivi_proc_identify(pid, &untouched, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(untouched.pid, 1);
    assert_int_equal(vivi_proc_open(&id, &fd, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(vivi_proc_identify(pid, &untouched, &err), -VIV_E_NOT_FOUND);
}

static void no_process_is_not_found(void **state)
{
    struct vivi_proc_id id = {0};
    viv_error err = VIV_ERROR_INIT;
    int fd = -1;

    (void)state;
    assert_false(vivi_proc_alive(&id));
    assert_int_equal(vivi_proc_identify(0, &id, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_proc_identify(-5, &id, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "process -5: no such process");
    assert_int_equal(vivi_proc_open(&id, &fd, &err), -VIV_E_NOT_FOUND);
    id.pid = 0x7ffffff0;
    id.start_time = 1;
    assert_int_equal(vivi_proc_open(&id, &fd, &err), -VIV_E_NOT_FOUND);
}

static void a_pidfd_tells_the_end_and_the_status_of_a_reaped_process(void **state)
{
    struct vivi_proc_id id;
    int fds[2], fd, wstatus = 99, known;
    pid_t pid = make_child(fds);

    (void)state;
    assert_int_equal(vivi_proc_identify(pid, &id, NULL), 0);
    assert_int_equal(vivi_proc_open(&id, &fd, NULL), 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(vivi_wait_fd(fd, POLLIN, 0, NULL), 0);
    known = vivi_proc_exit_status(fd, &wstatus);
    assert_true(known == 0 || known == -VIV_E_UNSUPPORTED);
    assert_int_equal(wstatus, 99);
    assert_int_equal(vivi_proc_signal(fd, SIGKILL, NULL), 0);
    assert_int_equal(vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(vivi_proc_signal(fd, SIGKILL, NULL), 0); /* gone: no error */
    known = vivi_proc_exit_status(fd, &wstatus);
    if (known == 1)
        assert_int_equal(wstatus, SIGKILL);
    else
        assert_int_equal(wstatus, 99);
    vivi_close(&fd);
    vivi_close(&fds[1]);
}

static void host_boot_and_pid_namespace_stay_the_same(void **state)
{
    char a[VIVI_BOOT_ID_SIZE], b[VIVI_BOOT_ID_SIZE];
    uint64_t x = 0, y = 1;

    (void)state;
    assert_int_equal(vivi_host_boot_id(a, NULL), 0);
    assert_int_equal(vivi_host_boot_id(b, NULL), 0);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(vivi_pid_namespace(&x, NULL), 0);
    assert_int_equal(vivi_pid_namespace(&y, NULL), 0);
    assert_true(x == y && x != 0);
}

static void private_memory_grows_with_what_is_touched(void **state)
{
    uint64_t before = 0, after = 0;
    size_t size = (size_t)64 << 20;
    cleanup_free char *block = NULL;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_proc_private_kib(getpid(), &before, NULL), 0);
    block = malloc(size);
    assert_non_null(block);
    memset(block, 'x', size);
    __asm__ volatile("" : : "r"(block) : "memory");
    assert_int_equal(vivi_proc_private_kib(getpid(), &after, NULL), 0);
    /* A host that reclaims memory by itself may have taken some of what we had before. */
    assert_true(after >= before + 32 * 1024);
    assert_int_equal(vivi_proc_private_kib(0x7ffffff0, &after, &err), -VIV_E_NOT_FOUND);
}

static void our_own_path_is_absolute_and_bounded(void **state)
{
    char path[4096], small[8] = "x";
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_proc_exe(path, sizeof(path), NULL), 0);
    assert_int_equal(path[0], '/');
    assert_int_equal(access(path, X_OK), 0);
    assert_int_equal(vivi_proc_exe(small, sizeof(small), &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ENAMETOOLONG);
    assert_string_equal(small, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_process_uses_is_told_whatever_its_name),
        cmocka_unit_test(a_process_is_named_by_pid_and_start_time),
        cmocka_unit_test(a_descriptor_is_taken_from_another_process),
        cmocka_unit_test(a_zombie_is_dead),
        cmocka_unit_test(no_process_is_not_found),
        cmocka_unit_test(a_pidfd_tells_the_end_and_the_status_of_a_reaped_process),
        cmocka_unit_test(host_boot_and_pid_namespace_stay_the_same),
        cmocka_unit_test(private_memory_grows_with_what_is_touched),
        cmocka_unit_test(our_own_path_is_absolute_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
