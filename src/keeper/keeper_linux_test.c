/* The real viv-keeper, with the test in the place of its monitor. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/spawn.h"
#include "keeper/rig_test.h"

static char *self_text(pid_t pid, const char *name)
{
    struct vivi_buf b = VIVI_BUF(100000);
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &b, NULL), 0);
    return vivi_buf_take(&b);
}

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
                   "cd /proc/$$/fd; echo * >&7; cd /; cat /proc/$$/stat >&7; echo _$VIV_FDS >&7",
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
        cleanup_free char *text = self_text(r->keeper, name);
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

/* ---- serial ---- */

#define COUNT_LINES \
    "trap 'echo $i >&2; exit 3' TERM; i=0; while :; do echo line $i; i=$((i+1)); done"

/* Every line once and in order; how many. The last may have been cut by the end of its writer. */
static unsigned long check_lines(struct rig *r)
{
    cleanup_free char *text = rig_file(r, "serial.log");
    unsigned long n = 0;

    for (const char *p = text; *p != '\0'; n++) {
        const char *end = strchr(p, '\n');
        char expected[32];

        if (end == NULL)
            return n;
        (void)snprintf(expected, sizeof(expected), "line %lu", n);
        if ((size_t)(end - p) != strlen(expected) || memcmp(p, expected, strlen(expected)) != 0)
            fail_msg("line %lu is \"%.*s\"", n, (int)(end - p), p);
        p = end + 1;
    }
    return n;
}

/* Ends the counting guest and compares what it said last with what is in the log. */
static void end_counting(struct rig *r, const struct vivi_proc_id *vmm, int said,
                         const char *status)
{
    char text[32] = "";
    unsigned long n;

    assert_int_equal(kill(vmm->pid, SIGTERM), 0);
    rig_wait_gone(vmm);
    rig_expect_exit(r, vmm, status);
    (void)rig_drain(r, "serial.out");
    assert_int_equal(vivi_wait_fd(said, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_true(read(said, text, sizeof(text) - 1) > 0);
    n = check_lines(r);
    /* The trap runs between two commands: between an echo and the count, at most one line apart. */
    assert_in_range(n, strtoul(text, NULL, 10), strtoul(text, NULL, 10) + 1);
    assert_true(n > 1000);
}

static struct vivi_proc_id start_counting(struct rig *r, int ret_said[2])
{
    assert_int_equal(vivi_pipe(ret_said, NULL), 0);
    rig_send(r, VIVI_KO_HOLD, ret_said[1], "said|");
    /* 9: what keeps the FIFO and its bytes when nobody of ours is left. */
    return rig_spawn(r, "1", COUNT_LINES, "1=serial.in|2=said|9=serial.out|");
}

static void wait_grown(struct rig *r, uint64_t by)
{
    uint64_t from;

    rig_wait(r, VIVI_KO_GREW);
    from = r->grew;
    while (r->grew < from + by)
        rig_wait(r, VIVI_KO_GREW);
}

static void a_killed_monitor_costs_no_line_and_its_next_has_the_same_descriptors(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    for (int i = 0; i < 5; i++) {
        wait_grown(r, 20000);
        rig_kill(r->puppet_pid, SIGKILL);
        rig_meet(r);
        assert_non_null(strstr(r->puppet_fds, ",serial.out@serial.log@0="));
        assert_non_null(strstr(r->puppet_fds, ",serial.in="));
        assert_true(vivi_proc_alive(&vmm));
    }
    end_counting(r, &vmm, said[0], "768");
    vivi_close(&said[0]);
    vivi_close(&said[1]);
}

static void a_killed_keeper_is_replaced_in_place_and_costs_no_line(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    pid_t keeper;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    keeper = r->keeper;
    for (int i = 0; i < 5; i++) {
        pid_t puppet = r->puppet_pid;

        wait_grown(r, 20000);
        rig_kill(keeper, SIGKILL);
        rig_meet(r); /* its monitor became the keeper, in its process, and started a monitor */
        keeper = puppet;
        assert_non_null(strstr(r->puppet_fds, ",serial.out@serial.log@0="));
        assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 1);
    }
    {
        char line[64];

        (void)snprintf(line, sizeof(line), "exit monitor 0 %d ", (int)keeper);
        assert_true(rig_has_line(r, "exits.log", line)); /* is none any more */
    }
    end_counting(r, &vmm, said[0], NULL); /* 3, or "?": it was not that keeper's child */
    vivi_close(&said[0]);
    vivi_close(&said[1]);
    (void)rig_keeper_ended(r);
    r->keeper = 0;
    rig_kill(keeper, SIGKILL);
}

static void when_both_are_killed_the_next_keeper_finds_the_vmm_and_its_end(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    for (int i = 0; i < 3; i++) {
        wait_grown(r, 20000);
        rig_kill(r->puppet_pid, SIGSTOP); /* or it would take over */
        rig_kill(r->keeper, SIGKILL);
        (void)rig_keeper_ended(r);
        rig_start(r);
        assert_string_equal(r->status, "busy\n"); /* a monitor lives: the lock is held */
        (void)rig_keeper_ended(r);
        rig_kill(r->puppet_pid, SIGKILL);
        assert_int_equal(vivi_lock_test(r->vm_fd, "lock", NULL), 0);
        assert_true(vivi_proc_alive(&vmm));
        rig_start_ok(r);
        rig_serial(r, "0"); /* the FIFO's path still leads to it: the VMM holds an end */
    }
    end_counting(r, &vmm, said[0], NULL);
    vivi_close(&said[0]);
    vivi_close(&said[1]);
}

static void a_vmm_that_ended_unseen_is_recorded_as_such(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    char line[64];

    rig_start_ok(r);
    vmm = rig_spawn(r, "4", "exec sleep 1000", "");
    rig_kill(r->puppet_pid, SIGSTOP);
    rig_kill(r->keeper, SIGKILL);
    (void)rig_keeper_ended(r);
    rig_kill(r->puppet_pid, SIGKILL);
    rig_kill(vmm.pid, SIGKILL);
    rig_start_ok(r);
    (void)snprintf(line, sizeof(line), "\nexit vmm 4 %d %" PRIu64 " ? ", (int)vmm.pid,
                   vmm.start_time);
    assert_true(rig_has_line(r, "exits.log", line));
}

static void a_stopped_monitor_costs_no_byte_no_memory_and_stalls_nobody(void **state)
{
    struct rig *r = *state;
    uint64_t before = 0, after = 0;
    struct vivi_proc_id vmm;
    struct stat st;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    wait_grown(r, 20000);
    rig_kill(r->puppet_pid, SIGSTOP);
    assert_int_equal(vivi_proc_private_kib(r->keeper, &before, NULL), 0);
    do { /* nobody reads the socket; the FIFO holds 64 KiB; the guest goes on for megabytes */
        (void)poll(NULL, 0, 5);
        assert_int_equal(fstatat(r->vm_fd, "serial.log", &st, 0), 0);
        assert_true(vivi_proc_alive(&vmm));
    } while (st.st_size < 8 << 20);
    assert_int_equal(vivi_proc_private_kib(r->keeper, &after, NULL), 0);
    assert_true(after <= before + 64);
    rig_kill(r->puppet_pid, SIGCONT);
    end_counting(r, &vmm, said[0], "768");
    assert_int_equal(fstatat(r->vm_fd, "serial.log", &st, 0), 0);
    assert_int_equal(r->grew, st.st_size); /* the last news is the last size */
    vivi_close(&said[0]);
    vivi_close(&said[1]);
}

static void growth_is_told_at_once(void **state)
{
    struct rig *r = *state;
    cleanup_close int fifo = -1;
    uint64_t worst = 0;
    char path[256];

    rig_start_ok(r);
    rig_serial(r, "0");
    (void)snprintf(path, sizeof(path), "%s/serial.out", r->run);
    fifo = open(path, O_WRONLY | O_CLOEXEC);
    rig_wait(r, VIVI_KO_GREW); /* the size it began with */
    for (int i = 0; i < 50; i++) {
        uint64_t start = vivi_mono_us();

        assert_int_equal(write(fifo, "VMRS_READY 192.0.2.7\n", 21), 21);
        rig_wait(r, VIVI_KO_GREW);
        assert_int_equal(r->grew, 21 * (i + 1));
        if (vivi_mono_us() - start > worst)
            worst = vivi_mono_us() - start;
    }
    (void)printf("# worst of 50: %" PRIu64 " us\n", worst);
    assert_true(worst < 1000000); /* what is promised is measured elsewhere, on an idle machine */
}

static void an_idle_keeper_does_not_wake_up(void **state)
{
    struct rig *r = *state;
    cleanup_free char *before = NULL, *after = NULL;
    struct vivi_proc_id vmm;

    rig_start_ok(r);
    rig_serial(r, "4096");
    vmm = rig_spawn(r, "1", "echo hello; exec sleep 1000", "1=serial.in|");
    while (r->grew < 6)
        rig_wait(r, VIVI_KO_GREW);
    assert_true(rig_quiet(r, 100));
    before = self_text(r->keeper, "status");
    assert_true(rig_quiet(r, 1000));
    after = self_text(r->keeper, "status");
    assert_string_equal(strstr(before, "voluntary_ctxt_switches"),
                        strstr(after, "voluntary_ctxt_switches"));
    rig_kill(vmm.pid, SIGKILL);
    rig_expect_exit(r, &vmm, "9");
}

static void what_a_vmm_wrote_last_is_in_the_log_before_its_end_is_told(void **state)
{
    struct rig *r = *state;

    rig_start_ok(r);
    rig_serial(r, "0");
    for (unsigned i = 1; i <= 20; i++) {
        struct vivi_proc_id vmm =
            rig_spawn(r, "1", "i=0; while [ $i -lt 99 ]; do echo $i; i=$((i+1)); done; echo end",
                      "1=serial.in|");

        rig_expect_exit(r, &vmm, "0");
        assert_int_equal(r->grew, i * (10 * 2 + 89 * 3 + 4));
    }
}

static void a_limited_log_keeps_its_tail_and_true_offsets(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    struct stat st;
    uint64_t size;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "262144");
    vmm = start_counting(r, said);
    wait_grown(r, 4 << 20);
    assert_int_equal(kill(vmm.pid, SIGTERM), 0);
    rig_expect_exit(r, &vmm, "768");
    size = rig_drain(r, "serial.out");
    vivi_close(&said[0]);
    vivi_close(&said[1]);
    assert_int_equal(fstatat(r->vm_fd, "serial.log", &st, 0), 0);
    assert_int_equal(st.st_size, size);
    assert_true(st.st_size > 4 << 20);
    if (st.st_blocks * 512 > 4 << 20) {
        (void)printf("# needs a file system with holes\n");
        skip();
    }
    assert_true(st.st_blocks * 512 < 262144 * 2);
}

static void a_log_of_another_stream_and_what_is_no_fifo_are_refused(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;

    rig_start_ok(r);
    rig_serial(r, "0");
    rig_send(r, VIVI_KO_LOG, r->vm_fd, "a|a.log|0|");
    {
        char path[256];
        cleanup_close int fifo = -1;

        (void)snprintf(path, sizeof(path), "%s/serial.out", r->run);
        fifo = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        rig_send(r, VIVI_KO_LOG, fifo, "b|serial.log|0|");
    }
    rig_send(r, VIVI_KO_HOLD, r->vm_fd, "lock|");
    assert_int_equal(rig_drain(r, "a"), 0);
    assert_int_equal(rig_drain(r, "b"), 0);
    assert_int_equal(faccessat(r->vm_fd, "a.log", F_OK, 0), -1);
    vmm = rig_spawn(r, "1", "echo x", "1=serial.in|");
    rig_expect_exit(r, &vmm, "0");
    assert_int_equal(rig_drain(r, "serial.out"), 2);
    rig_send(r, VIVI_KO_SPAWN, -1, "5|vmm|1|/bin/sh|1|sh|1|5=a|");
    rig_wait(r, VIVI_KO_SPAWN_FAILED);
}

static void a_full_disk_is_told_and_nothing_is_lost_when_it_has_room_again(void **state)
{
    struct rig *r = *state;
    struct vivi_proc_id vmm;
    char run[192];
    int said[2];

    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", r->vm, "tmpfs", 0, "size=1m") < 0) {
        (void)printf("# needs root: mounts a small file system\n");
        skip();
    }
    vivi_close(&r->vm_fd);
    assert_int_equal(vivi_open_dir(AT_FDCWD, r->vm, &r->vm_fd, NULL), 0);
    assert_int_equal(vivi_write_file_at(r->vm_fd, "lock", "", 0, VIVI_FAST, NULL), 0);
    memcpy(run, r->run, sizeof(run));
    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    rig_wait(r, VIVI_KO_LOST);
    assert_string_equal(r->fields[0], "serial.out");
    assert_string_equal(r->fields[1], "28"); /* ENOSPC */
    assert_true(rig_quiet(r, 300));          /* once per episode */
    assert_true(vivi_proc_alive(&vmm));
    rig_kill(r->puppet_pid, SIGKILL); /* a new monitor is told, too */
    rig_meet(r);
    rig_wait(r, VIVI_KO_LOST);
    assert_string_equal(r->fields[1], "28");
    assert_int_equal(mount("tmpfs", r->vm, "tmpfs", MS_REMOUNT, "size=256m"), 0);
    rig_wait(r, VIVI_KO_LOST);
    assert_string_equal(r->fields[1], "0");
    wait_grown(r, 100000);
    end_counting(r, &vmm, said[0], "768");
    vivi_close(&said[0]);
    vivi_close(&said[1]);
    rig_send(r, VIVI_KO_QUIT, -1, "");
    rig_puppet(r, PUPPET_EXIT, "0", -1);
    assert_int_equal(rig_keeper_ended(r), 0);
    vivi_close(&r->vm_fd);
    assert_int_equal(umount2(r->vm, MNT_DETACH), 0);
    assert_int_equal(vivi_open_dir(AT_FDCWD, r->vm, &r->vm_fd, NULL), 0);
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

static void a_monitor_that_dies_young_is_restarted_with_growing_pauses(void **state)
{
    struct rig *r = *state;
    uint64_t start, gap;

    rig_start_ok(r);
    for (unsigned i = 0, wait_ms = 50; i < 4; i++, wait_ms *= 2) {
        rig_kill(r->puppet_pid, SIGKILL);
        start = vivi_mono_us();
        rig_meet(r);
        gap = vivi_mono_us() - start;
        assert_true(gap >= (wait_ms - 2) * (uint64_t)1000);
        assert_true(gap < (wait_ms + 2000) * (uint64_t)1000);
    }
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
        test_in_rig(a_killed_monitor_costs_no_line_and_its_next_has_the_same_descriptors),
        test_in_rig(a_killed_keeper_is_replaced_in_place_and_costs_no_line),
        test_in_rig(when_both_are_killed_the_next_keeper_finds_the_vmm_and_its_end),
        test_in_rig(a_vmm_that_ended_unseen_is_recorded_as_such),
        test_in_rig(a_stopped_monitor_costs_no_byte_no_memory_and_stalls_nobody),
        test_in_rig(growth_is_told_at_once),
        test_in_rig(an_idle_keeper_does_not_wake_up),
        test_in_rig(what_a_vmm_wrote_last_is_in_the_log_before_its_end_is_told),
        test_in_rig(a_limited_log_keeps_its_tail_and_true_offsets),
        test_in_rig(a_log_of_another_stream_and_what_is_no_fifo_are_refused),
        test_in_rig(the_table_has_an_end_and_names_beyond_it_are_not_held),
        test_in_rig(a_monitor_that_talks_nonsense_is_replaced),
        test_in_rig(a_request_of_a_newer_monitor_is_passed_over),
        test_in_rig(a_monitor_that_dies_young_is_restarted_with_growing_pauses),
        test_in_rig(the_caller_s_end_is_told_to_every_monitor),
        test_in_rig(without_caller_and_without_any_monitor_the_vmm_is_ended),
        test_in_rig(quit_ends_the_keeper_and_no_child),
        test_in_rig(a_monitor_that_ends_well_with_nothing_left_ends_the_keeper),
        test_in_rig(signals_of_a_terminal_or_a_logout_do_not_end_it),
        test_in_rig(a_recorded_monitor_of_another_keeper_is_ended),
        test_in_rig(a_keeper_does_not_take_over_a_directory_that_was_replaced),
        test_in_rig(a_full_disk_is_told_and_nothing_is_lost_when_it_has_room_again), /* last: it
                                                        leaves the mount namespace of the others */
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* one by its name, or some by a pattern */
    rig_programs(argv[0]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
