/* Serial output through the real viv-keeper: nothing is lost, whoever dies, stops or is full. */
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/lock.h"
#include "keeper/rig_test.h"

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

/* Memory of its own; pages of the program come and go with other processes that run it. */
static uint64_t anonymous_kib(pid_t pid)
{
    cleanup_free char *text = rig_proc_text(pid, "status");
    const char *p = strstr(text, "RssAnon:");

    assert_non_null(p);
    return strtoull(p + strlen("RssAnon:"), NULL, 10);
}

static void a_stopped_monitor_costs_no_byte_no_memory_and_stalls_nobody(void **state)
{
    struct rig *r = *state;
    uint64_t before, after;
    struct vivi_proc_id vmm;
    struct stat st;
    int said[2];

    rig_start_ok(r);
    rig_serial(r, "0");
    vmm = start_counting(r, said);
    wait_grown(r, 20000);
    rig_kill(r->puppet_pid, SIGSTOP);
    before = anonymous_kib(r->keeper);
    do { /* nobody reads the socket; the FIFO holds 64 KiB; the guest goes on for megabytes */
        (void)poll(NULL, 0, 5);
        assert_int_equal(fstatat(r->vm_fd, "serial.log", &st, 0), 0);
        assert_true(vivi_proc_alive(&vmm));
    } while (st.st_size < 8 << 20);
    after = anonymous_kib(r->keeper);
    assert_in_range(after, 1, before + 64);
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
    before = rig_proc_text(r->keeper, "status");
    assert_true(rig_quiet(r, 1000));
    after = rig_proc_text(r->keeper, "status");
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
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
        /* The last, for it leaves the mount namespace of the others. */
        test_in_rig(a_full_disk_is_told_and_nothing_is_lost_when_it_has_room_again),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* one by its name, or some by a pattern */
    rig_programs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
