/* The real viv-keeper, with the test in the place of its monitor. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/spawn.h"
#include "keeper/rig_test.h"

/* ---- starting ---- */

static void a_started_keeper_holds_the_lock_listens_and_hands_over_its_descriptors(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id id;
    char expected[64], path[256];
    int c;

    rig_start_ok(r);
    assert_int_equal(vivi_proc_identify(r->keeper, &id, NULL), 0);
    (void)snprintf(expected, sizeof(expected), "ok %d %" PRIu64 "\n", (int)id.pid, id.start_time);
    assert_string_equal(r->status, expected);
    assert_string_equal(r->puppet_fds, "lock=3,listener=4,keeper=5");
    assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 1);
    (void)snprintf(path, sizeof(path), "%s/%s", r->run, VIVI_CONTROL_SOCKET);
    assert_int_equal(vivi_unix_connect(path, &c, NULL), 0);
    vivi_close(&c);
    (void)snprintf(expected, sizeof(expected), "spawn monitor 0 %d ", (int)r->puppet_pid);
    assert_true(rig_has_line(r, "exits.log", expected));
}

static void a_second_keeper_is_told_busy_and_disturbs_nothing(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    for (int i = 0; i < 5; i++) {
        rig_start(r);
        assert_string_equal(r->status, "busy\n");
    }
    assert_int_equal(rig_drain(r, "none"), 0);
}

static void a_directory_that_is_no_vm_s_any_more_is_told_gone(void **state)
{
    struct rig *r = *state;
    char old[256];

    assert_int_equal(unlinkat(r->vm_fd, "lock", 0), 0);
    rig_start(r);
    assert_string_equal(r->status, "gone\n");
    assert_int_equal(rig_keeper_ended(r), 1 << 8);
    assert_int_equal(faccessat(r->vm_fd, "lock", F_OK, 0), -1);
    (void)snprintf(old, sizeof(old), "%s.old", r->vm);
    assert_int_equal(rename(r->vm, old), 0);
    rig_start(r);
    assert_string_equal(r->status, "gone\n");
    assert_int_equal(rig_keeper_ended(r), 1 << 8);
}

static void a_monitor_that_cannot_be_started_is_told_with_its_reason(void **state)
{
    struct rig *r = *state;
    char expected[300];

    assert_int_equal(unlink(r->monitor), 0);
    rig_start(r);
    (void)snprintf(expected, sizeof(expected), "error 2 cannot start %s: no such file\n",
                   r->monitor);
    assert_string_equal(r->status, expected);
    assert_int_equal(rig_keeper_ended(r), 0);
    assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 0);
    assert_true(rig_has_line(r, "exits.log", "exit monitor 0 "));
}

static void a_socket_path_that_is_too_long_is_told(void **state)
{
    struct rig *r = *state;

    memset(r->run + strlen(r->run), 'x', 110);
    rig_start(r);
    assert_memory_equal(r->status, "error ", 6);
    assert_non_null(strstr(r->status, "socket path is longer than 103 bytes\n"));
    assert_int_equal(rig_keeper_ended(r), 1 << 8);
}

/* ---- children ---- */

static void every_exit_status_is_exact(void **state)
{
    static const struct {
        const char *script, *status;
    } cases[] = {{"exit 0", "0"},
                 {"exit 3", "768"},
                 {"kill -9 $$", "9"},
                 {"ulimit -c 0; kill -11 $$", "11"},
                 {"kill -31 $$", "31"}};
    struct rig *r = *state;

    rig_start_ok(r);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char run[8], line[64];
        struct vivi_proc_id id;

        (void)snprintf(run, sizeof(run), "%zu", i + 1);
        id = rig_spawn(r, run, cases[i].script, "");
        rig_wait(r, VIVI_KO_EXIT);
        assert_string_equal(r->fields[1], run);
        /* A core dump, where one is made all the same, sets another bit. */
        assert_int_equal(strtol(r->fields[4], NULL, 10) & ~0x80, strtol(cases[i].status, NULL, 10));
        (void)snprintf(line, sizeof(line), "\nexit vmm %s %d %" PRIu64 " %s ", run, (int)id.pid,
                       id.start_time, r->fields[4]);
        assert_true(rig_has_line(r, "exits.log", line));
        (void)snprintf(line, sizeof(line), "\nspawn vmm %s %d %" PRIu64 " ", run, (int)id.pid,
                       id.start_time);
        assert_true(rig_has_line(r, "exits.log", line));
    }
}

static void a_child_has_exactly_its_map_and_a_session_of_its_own(void **state)
{
    struct rig *r = *state;
    cleanup_free char *text = NULL;
    struct vivi_proc_id id;
    int p[2];

    rig_start_ok(r);
    assert_int_equal(vivi_pipe(p, NULL), 0);
    rig_send(r, VIVI_KO_HOLD, p[1], "out|");
    vivi_close(&p[1]);
    id = rig_spawn(r, "1",
                   "cd /proc/$$/fd; echo * >&7; cd /; cat /proc/$$/stat >&7; echo _$VIV_FDS >&7; "
                   "mine=$(cat /proc/$$/oom_score_adj); keepers=$(cat /proc/$PPID/oom_score_adj); "
                   "echo first $((mine == keepers + 100 ? 1 : mine == 1000)) >&7",
                   "7=out|0=null|");
    rig_send(r, VIVI_KO_DROP, -1, "out|");
    rig_expect_exit(r, &id, "0");
    assert_int_equal(rig_drain(r, "none"), 0); /* the drop was carried out: ours is the last end */
    {
        struct vivi_buf b = VIVI_BUF(10000);

        assert_int_equal(vivi_read_fd(p[0], &b, NULL), 0);
        text = vivi_buf_take(&b);
    }
    vivi_close(&p[0]);
    assert_memory_equal(text, "0 1 2 3 7\n", 10); /* 3 is the listing's own */
    assert_non_null(strstr(text, "\n_\n"));       /* the table is the monitor's business */
    assert_non_null(strstr(text, "\nfirst 1\n")); /* short of memory, the host ends it before us */
    {
        char session[64];

        (void)snprintf(session, sizeof(session), " %d %d %d ", (int)r->keeper, (int)id.pid,
                       (int)id.pid);
        assert_non_null(strstr(text, session)); /* parent, group, session */
    }
}

static void what_cannot_be_spawned_is_answered_with_its_errno(void **state)
{
    static const struct {
        const char *fields, *sys_errno, *text;
    } cases[] = {
        {"5|vmm|1|/nonexistent/vmm|1|x|0|", "2", "cannot start vmm: no such file"},
        {"5|vmm|1|/etc/passwd|1|x|0|", "13", "cannot start vmm: permission denied"},
        {"5|vmm|1|/bin/sh|1|x|1|5=nobody|", "2", "descriptor nobody: no such file"},
    };
    struct rig *r = *state;

    rig_start_ok(r);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        rig_send(r, VIVI_KO_SPAWN, -1, cases[i].fields);
        rig_wait(r, VIVI_KO_SPAWN_FAILED);
        assert_string_equal(r->fields[0], "5");
        assert_string_equal(r->fields[1], cases[i].sys_errno);
        assert_string_equal(r->fields[2], cases[i].text);
    }
    assert_true(rig_quiet(r, 50)); /* no EXIT of what never ran */
}

/* The only child of the keeper but the puppet. */
static pid_t waiting_child(struct rig *r)
{
    uint64_t deadline = vivi_mono_us() + TEST_DEADLINE_MS * (uint64_t)1000;
    char name[64];

    (void)snprintf(name, sizeof(name), "task/%d/children", (int)r->keeper);
    while (vivi_mono_us() < deadline) {
        cleanup_free char *text = rig_proc_text(r->keeper, name);
        char *rest = text;

        while (*rest != '\0') {
            pid_t pid = (pid_t)strtol(rest, &rest, 10);

            if (pid > 0 && pid != r->puppet_pid)
                return pid;
            rest += strspn(rest, " \n");
        }
        (void)poll(NULL, 0, 1);
    }
    return 0;
}

static void a_keeper_killed_before_the_gate_opens_leaves_no_process_and_no_exec(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id id;
    char fields[300];

    rig_start_ok(r);
    /* A FIFO in the place of exits.log: the keeper stands in open(2), its child at the gate. */
    assert_int_equal(unlinkat(r->vm_fd, "exits.log", 0), 0);
    assert_int_equal(mkfifoat(r->vm_fd, "exits.log", 0600), 0);
    (void)snprintf(fields, sizeof(fields), "5|vmm|1|/bin/sh|3|sh|-c|echo x > %s/ran|0|", r->vm);
    rig_send(r, VIVI_KO_SPAWN, -1, fields);
    id.pid = waiting_child(r);
    assert_int_equal(vivi_proc_identify(id.pid, &id, NULL), 0);
    rig_kill(r->puppet_pid, SIGKILL);
    rig_kill(r->keeper, SIGKILL);
    rig_wait_gone(&id);
    assert_int_equal(faccessat(r->vm_fd, "ran", F_OK, 0), -1);
    assert_int_equal(unlinkat(r->vm_fd, "exits.log", 0), 0);
}

/* ---- the monitor ---- */

static void the_table_has_an_end_and_names_beyond_it_are_not_held(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    char fields[64];

    rig_start_ok(r);
    for (int i = 0; i < VIVI_KEEPER_MAX_NAMES + 5; i++) {
        (void)snprintf(fields, sizeof(fields), "n%d|", i);
        rig_send(r, VIVI_KO_HOLD, r->vm_fd, fields);
    }
    vmm = rig_spawn(r, "1", "exit 0", "5=n0|6=n63|");
    rig_expect_exit(r, &vmm, "0");
    rig_send(r, VIVI_KO_SPAWN, -1, "5|vmm|1|/bin/sh|1|sh|1|5=n64|");
    rig_wait(r, VIVI_KO_SPAWN_FAILED);
    assert_string_equal(r->fields[1], "2");
    rig_kill(r->puppet_pid, SIGKILL); /* the next one inherits all of a full table */
    rig_meet(r);
    assert_non_null(strstr(r->puppet_fds, ",n63="));
    assert_null(strstr(r->puppet_fds, ",n64="));
}

static void a_monitor_that_talks_nonsense_is_replaced(void **state)
{
    static const char *const nonsense[] = {"\x03\0\0\0\x01\x01\0\0ab\0",
                                           "\xff\xff\xff\xff\x01\x01\0\0", "\0\0\0\0\x09\x06\0\0",
                                           "\0\0\0\0\x01\x01\x01\0"};
    static const size_t lengths[] = {11, 8, 8, 8};
    struct rig *r = *state;
    struct vivi_proc_id vmm;

    rig_start_ok(r);
    vmm = rig_spawn(r, "1", "exec sleep 1000", "");
    for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
        struct vivi_proc_id old;

        assert_int_equal(vivi_proc_identify(r->puppet_pid, &old, NULL), 0);
        assert_int_equal(vivi_write_full(r->link, nonsense[i], lengths[i], -1, NULL), 0);
        rig_wait_gone(&old);
        rig_meet(r);
        assert_true(r->puppet_pid != old.pid);
        assert_true(vivi_proc_alive(&vmm));
    }
    rig_kill(vmm.pid, SIGKILL);
    rig_expect_exit(r, &vmm, "9");
}

static void a_request_of_a_newer_monitor_is_passed_over(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    rig_send(r, (enum vivi_keeper_op)33, -1, "what|ever|");
    assert_int_equal(rig_drain(r, "none"), 0);
}

/* Kills the monitor; how long until the next one calls. */
static uint64_t restart_us(struct rig *r)
{
    uint64_t start = vivi_mono_us();

    rig_kill(r->puppet_pid, SIGKILL);
    rig_meet(r);
    return vivi_mono_us() - start;
}

static void a_monitor_that_dies_young_is_restarted_with_growing_pauses(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    for (unsigned i = 0, wait_us = 50000; i < 4; i++, wait_us *= 2)
        assert_in_range(restart_us(r), wait_us, wait_us + 2000000);
}

static void a_monitor_that_lived_for_a_second_is_restarted_at_once(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    for (int i = 0; i < 3; i++)
        (void)restart_us(r); /* the next pause would be 400 ms */
    assert_true(rig_quiet(r, 1050));
    assert_in_range(restart_us(r), 0, 300000);
    assert_in_range(restart_us(r), 50000, 300000); /* and the pauses begin anew */
}

static void the_caller_s_end_is_told_to_every_monitor(void **state)
{
    struct rig *r = *state;
    int p[2];

    rig_start_ok(r);
    assert_int_equal(vivi_pipe(p, NULL), 0);
    rig_send(r, VIVI_KO_HOLD, p[0], "caller|");
    vivi_close(&p[0]);
    assert_true(rig_quiet(r, 50));
    vivi_close(&p[1]);
    rig_wait(r, VIVI_KO_CALLER_GONE);
    assert_int_equal(r->n_fields, 0);
    assert_true(rig_quiet(r, 50)); /* once */
    rig_kill(r->puppet_pid, SIGKILL);
    rig_meet(r);
    rig_wait(r, VIVI_KO_CALLER_GONE);
    assert_int_equal(vivi_pipe(p, NULL), 0); /* another caller */
    rig_send(r, VIVI_KO_HOLD, p[0], "caller|");
    rig_kill(r->puppet_pid, SIGKILL);
    rig_meet(r);
    assert_true(rig_quiet(r, 50));
    vivi_close(&p[0]);
    vivi_close(&p[1]);
    rig_wait(r, VIVI_KO_CALLER_GONE);
}

static void without_caller_and_without_any_monitor_the_vmm_is_ended(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    int p[2];

    rig_start_ok(r);
    assert_int_equal(vivi_pipe(p, NULL), 0);
    rig_send(r, VIVI_KO_HOLD, p[0], "caller|");
    vmm = rig_spawn(r, "1", "exec sleep 1000", "");
    assert_int_equal(unlink(r->monitor), 0);
    rig_kill(r->puppet_pid, SIGKILL);
    assert_int_equal(vivi_wait_fd(r->listener, POLLIN, 500, NULL), 0);
    assert_true(vivi_proc_alive(&vmm)); /* as long as somebody is there, it runs */
    vivi_close(&p[0]);
    vivi_close(&p[1]);
    rig_wait_gone(&vmm);
    assert_int_equal(rig_keeper_ended(r), 0);
    assert_true(rig_has_line(r, "exits.log", " 15 ")); /* SIGTERM was enough */
    assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 0);
}

static void quit_ends_the_keeper_and_no_child(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    char path[256];

    rig_start_ok(r);
    vmm = rig_spawn(r, "1", "exec sleep 1000", "");
    rig_send(r, VIVI_KO_QUIT, -1, "");
    rig_puppet(r, PUPPET_EXIT, "0", -1);
    assert_int_equal(rig_keeper_ended(r), 0);
    assert_true(vivi_proc_alive(&vmm));
    assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/%s", r->run, VIVI_CONTROL_SOCKET);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(rig_has_line(r, "exits.log", "\nexit monitor 0 "));
}

static void a_monitor_that_ends_well_with_nothing_left_ends_the_keeper(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;

    rig_start_ok(r);
    vmm = rig_spawn(r, "1", "exec sleep 1000", "");
    rig_puppet(r, PUPPET_EXIT, "0", -1);
    rig_meet(r); /* something to keep: another monitor */
    rig_kill(vmm.pid, SIGKILL);
    rig_expect_exit(r, &vmm, "9");
    rig_puppet(r, PUPPET_EXIT, "1", -1);
    rig_meet(r); /* it failed: another one */
    rig_puppet(r, PUPPET_EXIT, "0", -1);
    assert_int_equal(rig_keeper_ended(r), 0);
}

static void signals_of_a_terminal_or_a_logout_do_not_end_it(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    assert_int_equal(kill(r->keeper, SIGINT), 0);
    assert_int_equal(kill(r->keeper, SIGHUP), 0);
    assert_int_equal(kill(r->keeper, SIGTERM), 0);
    assert_int_equal(rig_drain(r, "none"), 0);
}

static void a_recorded_monitor_of_another_keeper_is_ended(void **state)
{
    struct rig *r = *state;
    char *argv[] = {(char *)(uintptr_t)"sleep", (char *)(uintptr_t)"1000", NULL};
    struct vivi_spawn s = {.path = "/bin/sleep", .argv = argv};
    char line[256], boot[VIVI_BOOT_ID_SIZE];
    struct vivi_proc_id stale, other;
    uint64_t ns;

    assert_int_equal(vivi_spawn_detached(&s, &stale, NULL), 0);
    assert_int_equal(vivi_spawn_detached(&s, &other, NULL), 0);
    assert_int_equal(vivi_host_boot_id(boot, NULL), 0);
    assert_int_equal(vivi_pid_namespace(&ns, NULL), 0);
    /* The second one has the right pid and the wrong start time: the number was used again. */
    (void)snprintf(line, sizeof(line),
                   "garbage\nspawn monitor 0 %d %" PRIu64 " %s %" PRIu64 " 1\n"
                   "spawn monitor 0 %d %" PRIu64 " %s %" PRIu64 " 1\nspawn vmm 1 12 to",
                   (int)stale.pid, stale.start_time, boot, ns, (int)other.pid, other.start_time + 1,
                   boot, ns);
    assert_int_equal(vivi_write_file_at(r->vm_fd, "exits.log", line, strlen(line), VIVI_FAST, NULL),
                     0);
    rig_start_ok(r);
    assert_false(vivi_proc_alive(&stale));
    assert_true(vivi_proc_alive(&other));
    assert_true(rig_has_line(r, "exits.log", " to\nexit monitor 0 ")); /* the torn line was ended */
    rig_kill(other.pid, SIGKILL);
}

static void a_keeper_does_not_take_over_a_directory_that_was_replaced(void **state)
{
    struct rig *r = *state;
    char old[256];
    struct vivi_proc_id puppet;

    rig_start_ok(r);
    assert_int_equal(vivi_proc_identify(r->puppet_pid, &puppet, NULL), 0);
    (void)snprintf(old, sizeof(old), "%s.old", r->vm);
    assert_int_equal(rename(r->vm, old), 0);
    assert_int_equal(mkdir(r->vm, 0700), 0);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, r->vm, "", 0, VIVI_FAST, NULL), -VIV_E_IO);
    {
        char lock[256];

        (void)snprintf(lock, sizeof(lock), "%s/lock", r->vm);
        assert_int_equal(vivi_write_file_at(AT_FDCWD, lock, "", 0, VIVI_FAST, NULL), 0);
    }
    rig_kill(r->keeper, SIGKILL);
    rig_wait_gone(&puppet); /* became a keeper, saw it, ended */
    assert_int_equal(vivi_wait_fd(r->listener, POLLIN, 100, NULL), 0);
    {
        char path[256];
        cleanup_buf struct vivi_buf b = VIVI_BUF(100000);

        (void)snprintf(path, sizeof(path), "%s/monitor.log", r->dir->path);
        assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &b, NULL), 0);
        assert_non_null(strstr(b.data, "is no longer the directory of the VM"));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        test_in_rig(a_started_keeper_holds_the_lock_listens_and_hands_over_its_descriptors),
        test_in_rig(a_second_keeper_is_told_busy_and_disturbs_nothing),
        test_in_rig(a_directory_that_is_no_vm_s_any_more_is_told_gone),
        test_in_rig(a_monitor_that_cannot_be_started_is_told_with_its_reason),
        test_in_rig(a_socket_path_that_is_too_long_is_told),
        test_in_rig(every_exit_status_is_exact),
        test_in_rig(a_child_has_exactly_its_map_and_a_session_of_its_own),
        test_in_rig(what_cannot_be_spawned_is_answered_with_its_errno),
        test_in_rig(a_keeper_killed_before_the_gate_opens_leaves_no_process_and_no_exec),
        test_in_rig(the_table_has_an_end_and_names_beyond_it_are_not_held),
        test_in_rig(a_monitor_that_talks_nonsense_is_replaced),
        test_in_rig(a_request_of_a_newer_monitor_is_passed_over),
        test_in_rig(a_monitor_that_dies_young_is_restarted_with_growing_pauses),
        test_in_rig(a_monitor_that_lived_for_a_second_is_restarted_at_once),
        test_in_rig(the_caller_s_end_is_told_to_every_monitor),
        test_in_rig(without_caller_and_without_any_monitor_the_vmm_is_ended),
        test_in_rig(quit_ends_the_keeper_and_no_child),
        test_in_rig(a_monitor_that_ends_well_with_nothing_left_ends_the_keeper),
        test_in_rig(signals_of_a_terminal_or_a_logout_do_not_end_it),
        test_in_rig(a_recorded_monitor_of_another_keeper_is_ended),
        test_in_rig(a_keeper_does_not_take_over_a_directory_that_was_replaced),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* one by its name, or some by a pattern */
    rig_programs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
