#include "store/testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct world {
    struct fixture *f;
    struct vivi_vmdir d;
    struct vivi_host_now now;
    struct vivi_proc_id child; /* a process that lives, standing for a VMM */
};

static int world_open(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    void *f = NULL;
    pid_t pid;

    if (!w || fixture_open(&f) < 0)
        return -1;
    w->f = f;
    w->d = (struct vivi_vmdir)VIVI_VMDIR_EMPTY;
    pid = fork();
    if (pid == 0) {
        (void)pause();
        _exit(0);
    }
    *state = w;
    some_vm(&w->f->root, "web", UUID_A);
    return pid < 0 || vivi_proc_identify(pid, &w->child, NULL) < 0 ||
           vivi_host_now(&w->now, NULL) < 0 || vivi_vmdir_open(&w->f->root, "web", &w->d, NULL) < 0;
}

static void end_child(struct world *w)
{
    if (w->child.pid == 0)
        return;
    (void)kill(w->child.pid, SIGKILL);
    (void)waitpid(w->child.pid, NULL, 0);
    w->child.pid = 0;
}

static int world_close(void **state)
{
    struct world *w = *state;
    void *f = w->f;

    end_child(w);
    vivi_vmdir_done(&w->d);
    (void)fixture_close(&f);
    free(w);
    return 0;
}

/* A record that says: running, run 7, with this VMM. */
static void record(struct world *w, struct vivi_proc_id vmm)
{
    struct vivi_state s;

    some_state(&s, "web", UUID_A);
    s.state = VIV_ST_RUNNING;
    s.ready = true;
    s.run = 7;
    s.vmm = vmm;
    s.pid_ns = w->now.pid_ns;
    memcpy(s.host_boot_id, w->now.boot_id, sizeof(s.host_boot_id));
    (void)snprintf(s.ip, sizeof(s.ip), "192.0.2.1");
    assert_int_equal(vivi_state_write(w->d.fd, &s, VIVI_FAST, NULL), 0);
}

static void exits(struct world *w, const char *text)
{
    put_file(w->d.fd, "exits.log", text);
}

static bool truth(struct world *w, struct vivi_state *ret)
{
    bool derived = false;

    assert_int_equal(vivi_state_read_truth(&w->d, ret, &derived, NULL), 0);
    return derived;
}

static const struct vivi_proc_id gone = {4194303, 1};

static void a_living_vmm_is_as_recorded(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    record(w, w->child);
    assert_false(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_RUNNING);
    assert_true(s.ready);
}

static void a_vmm_nobody_saw_end_is_unobserved(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    record(w, gone);
    exits(w, "spawn vmm 7 4194303 1 x 1 1000\n");
    assert_true(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_FAILED);
    assert_string_equal(s.reason, "unobserved");
    assert_false(s.ready);
    assert_string_equal(s.ip, "");
    assert_int_equal(s.vmm.pid, 0);

    exits(w, "spawn vmm 7 4194303 1 x 1 1000\nexit vmm 7 4194303 1 ? 2000\n");
    assert_true(truth(w, &s));
    assert_string_equal(s.reason, "unobserved");
    assert_int_equal(s.ended_at_ms, 2000);
}

static void a_status_the_keeper_saw_is_told(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    record(w, gone);
    exits(w, "spawn vmm 7 4194303 1 x 1 1000\nexit vmm 7 4194303 1 9 2000\n");
    assert_true(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_FAILED);
    assert_string_equal(s.reason, "vmm-signal");
    assert_string_equal(s.reason_text, "the VMM was ended by signal 9");

    exits(w, "spawn vmm 7 4194303 1 x 1 1000\nexit vmm 7 4194303 1 768 2000\n");
    assert_true(truth(w, &s));
    assert_string_equal(s.reason, "vmm-exit");
    assert_string_equal(s.reason_text, "the VMM ended with exit code 3");
}

static void while_the_lock_is_held_the_record_stands(void **state)
{
    struct world *w = *state;
    cleanup_close int lock = -1;
    struct vivi_state s;

    record(w, gone);
    assert_int_equal(vivi_lock_open(w->d.fd, "lock", 0, &lock, NULL), 0);
    assert_false(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_RUNNING);
}

static void another_host_boot_means_stopped(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    record(w, w->child); /* even if a process of today has the same pid and start time */
    assert_int_equal(vivi_state_read(w->d.fd, &s, NULL), 0);
    (void)snprintf(s.host_boot_id, sizeof(s.host_boot_id), "another");
    assert_int_equal(vivi_state_write(w->d.fd, &s, VIVI_FAST, NULL), 0);
    assert_true(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_STOPPED);
    assert_string_equal(s.reason, "host-reboot");
    assert_false(s.ready);
}

static void pids_of_another_namespace_are_not_judged(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    record(w, gone);
    assert_int_equal(vivi_state_read(w->d.fd, &s, NULL), 0);
    s.pid_ns++;
    assert_int_equal(vivi_state_write(w->d.fd, &s, VIVI_FAST, NULL), 0);
    assert_false(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_RUNNING);
}

static void a_vmm_that_was_spawned_but_not_recorded_is_found(void **state)
{
    struct world *w = *state;
    struct vivi_state s;
    char line[128];

    record(w, (struct vivi_proc_id){0});
    (void)snprintf(line, sizeof(line), "spawn vmm 7 %d %llu x 1 1000\n", (int)w->child.pid,
                   (unsigned long long)w->child.start_time);
    exits(w, line);
    assert_true(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_RUNNING);
    assert_int_equal(s.vmm.pid, w->child.pid);

    exits(w, "");
    assert_true(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_FAILED);
    assert_string_equal(s.reason, "spawn-failed");
}

static void states_without_a_vmm_are_left_alone(void **state)
{
    struct world *w = *state;
    struct vivi_state s;

    assert_false(truth(w, &s));
    assert_int_equal(s.state, VIV_ST_CREATED);
}

/* ---- exits.log ---- */

static void the_last_record_of_a_role_and_run_is_found(void **state)
{
    struct world *w = *state;
    struct vivi_exit_rec rec = {.run = 99};

    assert_int_equal(vivi_exits_find(w->d.fd, "vmm", 1, &rec, NULL), 0);
    assert_int_equal(rec.run, 99);
    exits(w, "spawn monitor 0 10 100 boot 5 1\n"
             "spawn vmm 1 11 110 boot 5 2\n"
             "exit monitor 0 10 100 0 3\n"
             "exit vmm 1 11 110 256 4\n"
             "nonsense\n"
             "spawn vmm 2 12 120 boot 5 5 extra\n"
             "spawn vmm two 12 120 boot 5 5\n"
             "spawn vmm 2 13 130 boot-id 6 6\n"
             "exit vmm 2 99 130 0 7\n"
             "exit vmm 2 13 130 0 8"); /* torn */
    assert_int_equal(vivi_exits_find(w->d.fd, "vmm", 1, &rec, NULL), 1);
    assert_int_equal(rec.proc.pid, 11);
    assert_true(rec.exited && rec.status_known);
    assert_int_equal(rec.wstatus, 256);
    assert_int_equal(rec.exited_at_ms, 4);
    assert_int_equal(vivi_exits_last(w->d.fd, "vmm", &rec, NULL), 1);
    assert_int_equal(rec.run, 2);
    assert_int_equal(rec.proc.pid, 13);
    assert_false(rec.exited);
    assert_string_equal(rec.host_boot_id, "boot-id");
    assert_int_equal(rec.pid_ns, 6);
    assert_int_equal(vivi_exits_find(w->d.fd, "monitor", 0, &rec, NULL), 1);
    assert_int_equal(rec.proc.pid, 10);
    assert_int_equal(vivi_exits_find(w->d.fd, "virtiofsd", 0, &rec, NULL), 0);
}

static void a_long_exits_log_is_read_from_its_end(void **state)
{
    struct world *w = *state;
    struct vivi_exit_rec rec;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(8u << 20);

    for (unsigned i = 0; i < 40000; i++)
        (void)vivi_buf_printf(&buf, "spawn vmm %u %u 5 boot 1 1\nexit vmm %u %u 5 0 2\n", i, i + 1,
                              i, i + 1);
    assert_int_equal(vivi_buf_check(&buf, NULL), 0);
    assert_true(buf.len > 1u << 20);
    exits(w, buf.data);
    assert_int_equal(vivi_exits_last(w->d.fd, "vmm", &rec, NULL), 1);
    assert_int_equal(rec.run, 39999);
    assert_true(rec.exited);
    assert_int_equal(vivi_exits_find(w->d.fd, "vmm", 0, &rec, NULL), 0); /* forgotten */
}

/* ---- repair of a state.json that cannot be read ---- */

static void a_broken_state_is_set_aside_and_made_anew(void **state)
{
    struct world *w = *state;
    struct vivi_state s;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(100);

    assert_int_equal(vivi_state_repair(&w->d, NULL), 0); /* it is fine */
    put_file(w->d.fd, "state.json", "{oops");
    exits(w, "spawn vmm 7 4194303 1 x 1 1000\nexit vmm 7 4194303 1 9 2000\n");
    assert_int_equal(vivi_state_repair(&w->d, NULL), 1);
    assert_int_equal(vivi_read_file_at(w->d.fd, "state.json.broken-1", &buf, NULL), 0);
    assert_string_equal(buf.data, "{oops");
    assert_int_equal(vivi_state_read(w->d.fd, &s, NULL), 0);
    assert_string_equal(s.name, "web");
    assert_string_equal(s.uuid, UUID_A);
    assert_int_equal(s.run, 7);
    assert_int_equal(s.cpus, 3);
    assert_int_equal(s.memory_bytes, 1 << 20);
    assert_string_equal(s.driver, "fake");
    assert_int_equal(s.state, VIV_ST_STOPPED); /* another host boot */
    assert_string_equal(s.reason, "host-reboot");

    put_file(w->d.fd, "state.json", "again");
    assert_int_equal(vivi_state_repair(&w->d, NULL), 1);
    assert_int_equal(faccessat(w->d.fd, "state.json.broken-2", F_OK, 0), 0);
}

static void repair_finds_the_vmm_that_still_runs(void **state)
{
    struct world *w = *state;
    struct vivi_state s;
    char line[200];

    (void)snprintf(line, sizeof(line), "spawn vmm 4 %d %llu %s %llu 1000\n", (int)w->child.pid,
                   (unsigned long long)w->child.start_time, w->now.boot_id,
                   (unsigned long long)w->now.pid_ns);
    exits(w, line);
    assert_int_equal(unlinkat(w->d.fd, "state.json", 0), 0);
    assert_int_equal(vivi_state_repair(&w->d, NULL), 1);
    assert_int_equal(vivi_state_read(w->d.fd, &s, NULL), 0);
    assert_int_equal(s.state, VIV_ST_RUNNING);
    assert_int_equal(s.vmm.pid, w->child.pid);
    assert_int_equal(s.run, 4);

    end_child(w);
    put_file(w->d.fd, "state.json", "");
    assert_int_equal(vivi_state_repair(&w->d, NULL), 1);
    assert_int_equal(vivi_state_read(w->d.fd, &s, NULL), 0);
    assert_int_equal(s.state, VIV_ST_FAILED);
    assert_string_equal(s.reason, "unobserved");
}

static void without_a_uuid_there_is_no_repair(void **state)
{
    struct world *w = *state;
    viv_error err = VIV_ERROR_INIT;

    put_file(w->d.fd, "state.json", "{");
    w->d.uuid[0] = '\0';
    assert_int_equal(vivi_state_repair(&w->d, &err), -VIV_E_PROTOCOL);
    assert_non_null(strstr(err.message, "broken record (state.json: line 1: "));
    assert_int_equal(faccessat(w->d.fd, "state.json", F_OK, 0), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_living_vmm_is_as_recorded),
        T(a_vmm_nobody_saw_end_is_unobserved),
        T(a_status_the_keeper_saw_is_told),
        T(while_the_lock_is_held_the_record_stands),
        T(another_host_boot_means_stopped),
        T(pids_of_another_namespace_are_not_judged),
        T(a_vmm_that_was_spawned_but_not_recorded_is_found),
        T(states_without_a_vmm_are_left_alone),
        T(the_last_record_of_a_role_and_run_is_found),
        T(a_long_exits_log_is_read_from_its_end),
        T(a_broken_state_is_set_aside_and_made_anew),
        T(repair_finds_the_vmm_that_still_runs),
        T(without_a_uuid_there_is_no_repair),
    };

    return cmocka_run_group_tests_name("store: truth", tests, NULL, NULL);
}
