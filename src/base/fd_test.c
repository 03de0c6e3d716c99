#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/testing.h"

static bool is_cloexec(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static void pairs_are_close_on_exec_and_above_the_standard_ones(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(is_cloexec(fds[i]));
        assert_true(fds[i] >= 3);
        vivi_close(&fds[i]);
        assert_int_equal(fds[i], -1);
    }
    assert_int_equal(vivi_socketpair(fds, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(is_cloexec(fds[i]));
        vivi_close(&fds[i]);
    }
}

static void a_process_without_stdin_still_gets_numbers_above_it(void **state)
{
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 10), fds[2];

    (void)state;
    (void)close(0);
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    assert_true(fds[0] >= 3 && fds[1] >= 3);
    assert_true(fcntl(0, F_GETFD) < 0);
    assert_true(is_cloexec(fds[0]));
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
    if (saved >= 0) {
        assert_int_equal(dup2(saved, 0), 0);
        (void)close(saved);
    }
}

static void who_is_at_the_other_end_can_only_be_asked_of_a_socket(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    uid_t uid = 77;
    pid_t pid = 77;
    int fds[2];

    (void)state;
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    assert_int_equal(vivi_peer_uid(fds[0], &uid, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ENOTSOCK);
    assert_int_equal(vivi_peer_pid(fds[0], &pid, &err), -VIV_E_IO);
    assert_true(uid == 77 && pid == 77);
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
}

static void moving_a_bad_descriptor_is_an_error(void **state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_fd_above_stdio(-1, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, EBADF);
    assert_int_equal(vivi_fd_nonblock(-1, true, &err), -VIV_E_IO);
    assert_int_equal(vivi_fd_cloexec(-1, true, &err), -VIV_E_IO);
}

static void all_of_a_long_text_goes_through_a_full_pipe(void **state)
{
    static char out[300000], in[300000];
    int fds[2];
    pid_t pid;

    (void)state;
    memset(out, 'x', sizeof(out));
    out[299999] = 'y';
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(fds[1], true, NULL), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(fds[1]);
        _exit(vivi_read_full(fds[0], in, sizeof(in), -1, NULL) == 0 &&
                      memcmp(in, out, sizeof(in)) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(vivi_write_full(fds[1], out, sizeof(out), TEST_DEADLINE_MS, NULL), 0);
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
    {
        int wstatus;

        assert_int_equal(waitpid(pid, &wstatus, 0), pid);
        assert_int_equal(wstatus, 0);
    }
}

static void reading_and_writing_end_at_their_deadline(void **state)
{
    uint64_t before = vivi_mono_us();
    viv_error err = VIV_ERROR_INIT;
    static char big[1 << 20];
    int fds[2], s[2];
    char byte;

    (void)state;
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(fds[0], true, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(fds[1], true, NULL), 0);
    assert_int_equal(vivi_read_full(fds[0], &byte, 1, 20, &err), -VIV_E_TIMEOUT);
    assert_string_equal(err.message, "timed out after 20 ms");
    assert_true(vivi_mono_us() - before >= 20000);
    assert_int_equal(vivi_write_full(fds[1], big, sizeof(big), 20, &err), -VIV_E_TIMEOUT);
    assert_int_equal(vivi_wait_fd(fds[0], POLLIN, 0, NULL), 1);
    assert_int_equal(vivi_wait_fd(fds[1], POLLOUT, 0, NULL), 0);
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);

    /* A socket in blocking mode keeps the deadline, too. */
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_write_full(s[0], big, sizeof(big), 20, &err), -VIV_E_TIMEOUT);
    vivi_close(&s[0]);
    vivi_close(&s[1]);
}

static void end_of_file_and_a_closed_peer_are_errors_not_signals(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char two[2] = "";
    int s[2];

    (void)state;
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_write_full(s[1], "x", 1, -1, NULL), 0);
    vivi_close(&s[1]);
    assert_int_equal(vivi_read_full(s[0], two, 2, -1, &err), -VIV_E_IO);
    assert_string_equal(err.message, "unexpected end of file");
    assert_int_equal(vivi_write_full(s[0], "x", 1, -1, &err),
                     -VIV_E_IO); /* SIGPIPE would kill us */
    assert_int_equal(err.sys_errno, EPIPE);
    assert_int_equal(vivi_send_fds(s[0], "x", 1, NULL, 0, &err), -VIV_E_IO);
    vivi_close(&s[0]);
}

/* ---- sockets by path ---- */

static void a_listener_is_reached_by_its_path_and_by_nobody_else(void **state)
{
    struct test_dir *d = *state;
    int listener, c, a = -1;
    char path[160];
    struct stat st;
    uid_t uid = (uid_t)-1;
    pid_t pid = -1;
    mode_t old = umask(0);

    (void)snprintf(path, sizeof(path), "%s/s", d->path);
    assert_int_equal(vivi_unix_listen(path, 5, &listener, NULL), 0);
    (void)umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(is_cloexec(listener));
    assert_int_equal(vivi_fd_nonblock(listener, true, NULL), 0);
    assert_int_equal(vivi_accept(listener, &a, NULL), 0);
    assert_int_equal(a, -1);
    assert_int_equal(vivi_unix_connect(path, &c, NULL), 0);
    assert_int_equal(vivi_accept(listener, &a, NULL), 1);
    assert_true(is_cloexec(a) && is_cloexec(c));
    assert_false(fcntl(c, F_GETFL) & O_NONBLOCK);
    assert_int_equal(vivi_peer_uid(a, &uid, NULL), 0);
    assert_int_equal(uid, geteuid());
    assert_int_equal(vivi_peer_pid(a, &pid, NULL), 0);
    assert_int_equal(pid, getpid());
    vivi_close(&a);
    vivi_close(&c);
    vivi_close(&listener);
}

static void connecting_tells_missing_from_refused_from_overrun(void **state)
{
    struct test_dir *d = *state;
    int listener, c = -1, waiting[8];
    viv_error err = VIV_ERROR_INIT;
    char path[160];
    int n = 0, r;

    (void)snprintf(path, sizeof(path), "%s/s", d->path);
    assert_int_equal(vivi_unix_connect(path, &c, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(err.flags & VIV_ERR_RETRY, 0);
    assert_int_equal(vivi_unix_listen(path, 1, &listener, NULL), 0);
    while ((r = vivi_unix_connect(path, &c, &err)) == 0 && n < 8)
        waiting[n++] = take_fd(&c);
    assert_int_equal(r, -VIV_E_BUSY); /* the backlog is full: told at once */
    assert_int_equal(err.flags & VIV_ERR_RETRY, VIV_ERR_RETRY);
    while (n > 0)
        vivi_close(&waiting[--n]);
    vivi_close(&listener);
    assert_int_equal(vivi_unix_connect(path, &c, &err), -VIV_E_BUSY);
    assert_int_equal(err.code, VIV_E_BUSY);
    assert_int_equal(err.sys_errno, ECONNREFUSED);
    assert_int_equal(err.flags & VIV_ERR_RETRY, VIV_ERR_RETRY);
    assert_int_equal(vivi_unix_connect(path, &c, NULL), -VIV_E_BUSY);
    assert_int_equal(c, -1);
}

static void a_stale_socket_is_replaced_and_a_file_is_not(void **state)
{
    struct test_dir *d = *state;
    int a, b, c = -1;
    viv_error err = VIV_ERROR_INIT;
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/s", d->path);
    assert_int_equal(vivi_unix_listen(path, 5, &a, NULL), 0);
    vivi_close(&a);
    assert_int_equal(vivi_unix_listen(path, 5, &b, NULL), 0);
    assert_int_equal(vivi_unix_connect(path, &c, NULL), 0);
    vivi_close(&b);
    vivi_close(&c);
    assert_int_equal(vivi_write_file_at(d->fd, "f", "x", 1, VIVI_FAST, NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/f", d->path);
    assert_int_equal(vivi_unix_listen(path, 5, &b, &err), -VIV_E_EXISTS);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_path_that_does_not_fit_is_refused_whole(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char path[VIVI_SUN_PATH_MAX + 1];
    int fd = -1;

    (void)state;
    memset(path, 'x', sizeof(path));
    path[VIVI_SUN_PATH_MAX] = '\0';
    assert_int_equal(vivi_unix_listen(path, 1, &fd, &err), -VIV_E_INVALID);
    assert_int_equal(vivi_unix_connect(path, &fd, &err), -VIV_E_INVALID);
    assert_non_null(strstr(err.message, "socket path is longer than 103 bytes"));
    assert_int_equal(fd, -1);
}

/* ---- descriptors in messages ---- */

static void descriptors_arrive_close_on_exec_with_their_bytes(void **state)
{
    struct test_dir *d = *state;
    int s[2], got[4] = {-1, -1, -1, -1};
    char text[8] = "";
    struct stat a, b;
    size_t n = 99;

    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_send_fds(s[0], "hi", 2, (int[]){d->fd, 0}, 2, NULL), 2);
    assert_int_equal(vivi_recv_fds(s[1], text, sizeof(text), got, 4, &n, NULL), 2);
    assert_int_equal(n, 2);
    assert_string_equal(text, "hi");
    assert_int_equal(fstat(d->fd, &a), 0);
    assert_int_equal(fstat(got[0], &b), 0);
    assert_true(a.st_ino == b.st_ino && is_cloexec(got[0]) && is_cloexec(got[1]));
    vivi_close(&got[0]);
    vivi_close(&got[1]);
    assert_int_equal(vivi_fd_nonblock(s[1], true, NULL), 0);
    assert_int_equal(vivi_recv_fds(s[1], text, sizeof(text), got, 4, &n, NULL), -VIV_E_BUSY);
    vivi_close(&s[0]);
    assert_int_equal(vivi_recv_fds(s[1], text, sizeof(text), got, 4, &n, NULL), 0);
    vivi_close(&s[1]);
}

/* Sends n copies of fd by hand, past our own limit. */
static void send_many(int socket, int fd, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 200)];
    } control;
    struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};

    memset(&control, 0, sizeof(control));
    m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(sizeof(int) * n);
    for (size_t i = 0; i < n; i++)
        memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(fd));
    assert_int_equal(sendmsg(socket, &m, 0), 1);
}

static void too_many_descriptors_are_an_error_and_none_is_leaked(void **state)
{
    static const size_t counts[] = {2, 3, 16, 17, 18, 19, 100, 200};
    struct test_dir *d = *state;

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        int s[2], got[VIVI_MAX_FDS] = {0}, before;
        viv_error err = VIV_ERROR_INIT;
        size_t n = 99, cap = counts[i] == 2 || counts[i] == 3 ? 1 : VIVI_MAX_FDS;
        char byte;
        ssize_t r;

        assert_int_equal(vivi_socketpair(s, NULL), 0);
        before = vivi_fd_count();
        send_many(s[0], d->fd, counts[i]);
        r = vivi_recv_fds(s[1], &byte, 1, got, cap, &n, &err);
        if (counts[i] == 16) {
            assert_int_equal(r, 1);
            assert_int_equal(n, 16);
            for (size_t k = 0; k < n; k++)
                vivi_close(&got[k]);
        } else {
            assert_int_equal(r, -VIV_E_PROTOCOL);
            assert_int_equal(n, 99);
        }
        assert_int_equal(vivi_fd_count(), before);
        vivi_close(&s[0]);
        vivi_close(&s[1]);
    }
    assert_int_equal(vivi_send_fds(0, "x", 1, (int[17]){0}, 17, NULL), -VIV_E_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_close_on_exec_and_above_the_standard_ones),
        cmocka_unit_test(a_process_without_stdin_still_gets_numbers_above_it),
        cmocka_unit_test(who_is_at_the_other_end_can_only_be_asked_of_a_socket),
        cmocka_unit_test(moving_a_bad_descriptor_is_an_error),
        cmocka_unit_test(all_of_a_long_text_goes_through_a_full_pipe),
        cmocka_unit_test(reading_and_writing_end_at_their_deadline),
        cmocka_unit_test(end_of_file_and_a_closed_peer_are_errors_not_signals),
        test_in_dir(a_listener_is_reached_by_its_path_and_by_nobody_else),
        test_in_dir(connecting_tells_missing_from_refused_from_overrun),
        test_in_dir(a_stale_socket_is_replaced_and_a_file_is_not),
        cmocka_unit_test(a_path_that_does_not_fit_is_refused_whole),
        test_in_dir(descriptors_arrive_close_on_exec_with_their_bytes),
        test_in_dir(too_many_descriptors_are_an_error_and_none_is_leaked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
