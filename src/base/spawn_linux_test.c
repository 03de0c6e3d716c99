#include "base/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/testing.h"

static volatile sig_atomic_t sigchlds;

static void count_sigchld(int sig)
{
    (void)sig;
    sigchlds++;
}

/*
 * What the program under test sees of itself, told through descriptor 5. The glob over its own
 * descriptors opens one, which is the 3 in the list.
 */
static const char script[] = "echo cwd: $(pwd) >&5; cd /proc/$$/fd; echo fds: * >&5; cd /; "
                             "echo env: $PROBE >&5; "
                             "while read -r k v; do case $k in SigBlk:|SigIgn:|SigCgt:) "
                             "echo $k $v >&5;; esac; done < /proc/$$/status; "
                             "set -- $(cat /proc/$$/stat); echo session: $(($6 == $$)) >&5; "
                             "echo one >&1; exit 3";

static void end_process(const struct vivi_proc_id *id)
{
    cleanup_close int fd = -1;

    if (vivi_proc_open(id, &fd, NULL) == 0) {
        assert_int_equal(vivi_proc_signal(fd, SIGKILL, NULL), 0);
        assert_int_equal(vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    }
}

/* Everything until the last writer is gone. */
static char *read_all(int fd)
{
    struct vivi_buf b = VIVI_BUF(100000);

    assert_int_equal(vivi_read_fd(fd, &b, NULL), 0);
    return vivi_buf_take(&b);
}

static char *probe(int extra_fd)
{
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)script,
                    NULL};
    char *envp[] = {(char *)(uintptr_t)"PROBE=seen", (char *)(uintptr_t)"PATH=/usr/bin:/bin", NULL};
    struct vivi_fd_map map[] = {{.child_fd = 5}, {.fd = extra_fd, .child_fd = 9}};
    struct vivi_spawn s = {.path = "/bin/sh", .argv = argv, .envp = envp, .map = map, .n_map = 2};
    struct vivi_proc_id id;
    viv_error err = VIV_ERROR_INIT;
    char *text;
    int p[2];

    assert_int_equal(vivi_pipe(p, NULL), 0);
    map[0].fd = p[1];
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), 0);
    assert_true(id.pid > 0 && id.start_time > 0);
    vivi_close(&p[1]);
    text = read_all(p[0]);
    vivi_close(&p[0]);
    return text;
}

static void a_detached_program_has_exactly_its_map_and_a_clean_signal_state(void **state)
{
    struct test_dir *d = *state;
    int loose = dup(d->fd); /* a host's descriptor without close-on-exec */
    cleanup_free char *text = NULL;
    sigset_t blocked, old;

    assert_int_equal(fcntl(loose, F_GETFD) & FD_CLOEXEC, 0);
    (void)signal(SIGUSR1, SIG_IGN);
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGUSR2);
    (void)sigprocmask(SIG_BLOCK, &blocked, &old);
    text = probe(d->fd);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    (void)signal(SIGUSR1, SIG_DFL);
    (void)close(loose);
    assert_non_null(strstr(text, "fds: 0 1 2 3 5 9\n"));
    assert_non_null(strstr(text, "cwd: /\n"));
    assert_non_null(strstr(text, "env: seen\n"));
    assert_non_null(strstr(text, "SigBlk: 0000000000000000\n"));
    assert_non_null(strstr(text, "SigIgn: 0000000000000000\n"));
    assert_non_null(strstr(text, "session: 1\n"));
}

static void a_map_may_swap_numbers(void **state)
{
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", NULL, NULL};
    struct vivi_fd_map map[2];
    struct vivi_spawn s = {.path = "/bin/sh", .argv = argv, .map = map, .n_map = 2};
    cleanup_free char *a = NULL, *b = NULL;
    struct vivi_proc_id id;
    int p[2], q[2];
    char text[64];

    (void)state;
    assert_int_equal(vivi_pipe(p, NULL), 0);
    assert_int_equal(vivi_pipe(q, NULL), 0);
    map[0] = (struct vivi_fd_map){.fd = p[1], .child_fd = q[1]};
    map[1] = (struct vivi_fd_map){.fd = q[1], .child_fd = p[1]};
    (void)snprintf(text, sizeof(text), "echo P >&%d; echo Q >&%d", q[1], p[1]);
    argv[2] = text;
    assert_int_equal(vivi_spawn_detached(&s, &id, NULL), 0);
    vivi_close(&p[1]);
    vivi_close(&q[1]);
    a = read_all(p[0]);
    b = read_all(q[0]);
    assert_string_equal(a, "P\n");
    assert_string_equal(b, "Q\n");
    vivi_close(&p[0]);
    vivi_close(&q[0]);
}

static void the_caller_sees_no_child_and_no_signal(void **state)
{
    char *argv[] = {(char *)(uintptr_t)"sleep", (char *)(uintptr_t)"1000", NULL};
    struct vivi_spawn s = {.path = "/bin/sleep", .argv = argv};
    struct sigaction act = {.sa_handler = count_sigchld}, old;
    struct vivi_proc_id ids[20];

    (void)state;
    sigchlds = 0;
    assert_int_equal(sigaction(SIGCHLD, &act, &old), 0);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_int_equal(vivi_spawn_detached(&s, &ids[i], NULL), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        assert_true(vivi_proc_alive(&ids[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        end_process(&ids[i]);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(sigchlds, 0);
    assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
}

/* A host that reaps whatever it can, all the time. */
struct reaper {
    int stop[2];
    int reaped;
};

static void *reap_all(void *arg)
{
    struct reaper *r = arg;
    struct pollfd p = {.fd = r->stop[0], .events = POLLIN};

    while (poll(&p, 1, 0) == 0)
        if (waitpid(-1, NULL, WNOHANG) > 0)
            r->reaped++;
    return NULL;
}

static void a_waiting_loop_in_another_thread_steals_nothing(void **state)
{
    char *argv[] = {(char *)(uintptr_t)"true", NULL};
    struct vivi_spawn s = {.path = "/bin/true", .argv = argv};
    struct reaper r = {.reaped = 0};
    struct vivi_proc_id id;
    pthread_t thread;
    int failed = 0;

    (void)state;
    assert_int_equal(vivi_pipe(r.stop, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, reap_all, &r), 0);
    for (int i = 0; i < 50; i++) {
        id = (struct vivi_proc_id){0};
        if (vivi_spawn_detached(&s, &id, NULL) < 0 || id.pid <= 0 || id.start_time == 0)
            failed++;
    }
    vivi_close(&r.stop[1]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    vivi_close(&r.stop[0]);
    assert_int_equal(failed, 0);
    assert_int_equal(r.reaped, 0);
}

static void a_host_that_ignores_sigchld_is_served_too(void **state)
{
    char *argv[] = {(char *)(uintptr_t)"true", NULL};
    struct vivi_spawn s = {.path = "/bin/true", .argv = argv};
    struct vivi_proc_id id = {0};

    (void)state;
    (void)signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(vivi_spawn_detached(&s, &id, NULL), 0);
        assert_true(id.pid > 0);
    }
    s.path = "/nonexistent/program";
    assert_int_equal(vivi_spawn_detached(&s, &id, NULL), -VIV_E_NOT_FOUND);
    (void)signal(SIGCHLD, SIG_DFL);
}

static void what_cannot_be_started_is_told_with_its_reason(void **state)
{
    struct test_dir *d = *state;
    char *argv[] = {(char *)(uintptr_t)"x", NULL};
    struct vivi_fd_map map[] = {{.fd = 9999, .child_fd = 5}, {.fd = 0, .child_fd = 5}};
    struct vivi_spawn s = {.path = "/nonexistent/program", .argv = argv};
    struct vivi_proc_id id = {.pid = 77};
    viv_error err = VIV_ERROR_INIT;
    char path[200];

    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "cannot start /nonexistent/program: no such file");
    (void)snprintf(path, sizeof(path), "%s/text", d->path);
    assert_int_equal(vivi_write_file_at(d->fd, "text", "x", 1, VIVI_FAST, NULL), 0);
    s.path = path;
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_DENIED);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, ENOEXEC);
    s.path = "/bin/true";
    s.cwd = "/nonexistent";
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_NOT_FOUND);
    s.cwd = NULL;
    s.map = map;
    s.n_map = 1;
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_IO);
    assert_int_equal(err.sys_errno, EBADF);
    s.n_map = 2;
    assert_int_equal(vivi_spawn_detached(&s, &id, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "/bin/true: descriptor 5 is mapped twice");
    assert_int_equal(id.pid, 77);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* ---- gated ---- */

static int spawn_gated_sh(const char *text, int close_fd, struct vivi_gated *ret)
{
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)text,
                    NULL};
    struct vivi_spawn s = {.path = "/bin/sh", .argv = argv};

    return vivi_spawn_gated(&s, &close_fd, close_fd >= 0 ? 1 : 0, ret, NULL);
}

static void a_gated_child_runs_its_program_only_once_allowed(void **state)
{
    struct vivi_gated g;
    int wstatus, e;

    (void)state;
    assert_int_equal(spawn_gated_sh("exit 3", -1, &g), 0);
    assert_int_equal(vivi_wait_fd(g.exec_fd, POLLIN, 50, NULL), 0); /* still before exec */
    assert_int_equal(write(g.gate_fd, "g", 1), 1);
    assert_int_equal(vivi_wait_fd(g.exec_fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_int_equal(read(g.exec_fd, &e, sizeof(e)), 0); /* end of file: it worked */
    assert_int_equal(waitpid(g.pid, &wstatus, 0), g.pid);
    assert_int_equal(wstatus, 3 << 8);
    vivi_close(&g.gate_fd);
    vivi_close(&g.exec_fd);
}

static void a_gate_that_is_closed_ends_the_child_without_exec(void **state)
{
    struct test_dir *d = *state;
    char text[200];
    struct vivi_gated g;
    int wstatus;

    (void)snprintf(text, sizeof(text), "echo x > %s/ran", d->path);
    assert_int_equal(spawn_gated_sh(text, -1, &g), 0);
    vivi_close(&g.gate_fd);
    assert_int_equal(waitpid(g.pid, &wstatus, 0), g.pid);
    assert_int_equal(wstatus, 127 << 8);
    assert_int_equal(faccessat(d->fd, "ran", F_OK, 0), -1);
    vivi_close(&g.exec_fd);
}

static void a_waiting_child_does_not_hold_what_it_was_told_to_close(void **state)
{
    struct vivi_gated g;
    int p[2];
    char byte;

    (void)state;
    assert_int_equal(vivi_pipe(p, NULL), 0);
    assert_int_equal(spawn_gated_sh("exit 0", p[1], &g), 0);
    vivi_close(&p[1]);
    /* End of file while it still waits: no copy of the write end is left anywhere. */
    assert_int_equal(vivi_wait_fd(p[0], POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_int_equal(read(p[0], &byte, 1), 0);
    vivi_close(&p[0]);
    vivi_close(&g.gate_fd);
    vivi_close(&g.exec_fd);
    assert_int_equal(waitpid(g.pid, NULL, 0), g.pid);
}

static void a_gated_exec_that_fails_gives_its_errno(void **state)
{
    char *argv[] = {(char *)(uintptr_t)"x", NULL};
    struct vivi_spawn s = {.path = "/nonexistent/program", .argv = argv};
    struct vivi_gated g;
    int e = 0, wstatus;

    (void)state;
    assert_int_equal(vivi_spawn_gated(&s, NULL, 0, &g, NULL), 0);
    assert_int_equal(write(g.gate_fd, "g", 1), 1);
    assert_int_equal(vivi_read_full(g.exec_fd, &e, sizeof(e), -1, NULL), 0);
    assert_int_equal(e, ENOENT);
    assert_int_equal(waitpid(g.pid, &wstatus, 0), g.pid);
    assert_int_equal(wstatus, 127 << 8);
    vivi_close(&g.gate_fd);
    vivi_close(&g.exec_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_detached_program_has_exactly_its_map_and_a_clean_signal_state),
        test_in_dir(a_map_may_swap_numbers),
        test_in_dir(the_caller_sees_no_child_and_no_signal),
        test_in_dir(a_waiting_loop_in_another_thread_steals_nothing),
        test_in_dir(a_host_that_ignores_sigchld_is_served_too),
        test_in_dir(what_cannot_be_started_is_told_with_its_reason),
        test_in_dir(a_gated_child_runs_its_program_only_once_allowed),
        test_in_dir(a_gate_that_is_closed_ends_the_child_without_exec),
        test_in_dir(a_waiting_child_does_not_hold_what_it_was_told_to_close),
        test_in_dir(a_gated_exec_that_fails_gives_its_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
