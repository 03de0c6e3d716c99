/*
 * The driver's effects against an API that says what the test wants: the order of steps, what is
 * held back from being consumed, how an end is judged, and answers that no real VMM gives.
 */
#include "twin_test.h"

static const struct vivi_driver_effects *const fx = &vivi_effects_cloud_hypervisor;

/* ---- start ---- */

static void a_start_pings_creates_and_boots(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    twin_expect_no_request(t);
}

static void an_answer_may_come_in_single_bytes(void **state)
{
    struct twin *t = *state;
    char text[400];
    size_t len =
        twin_format_answer(text, sizeof(text), 200, "{\"config\":{},\"state\":\"Paused\"}");

    twin_start(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 2, NULL), 0);
    (void)twin_expect_request(t, "GET /api/v1/vm.info HTTP/1.1\r\n");
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(t->n_done, 1);
        twin_say(t, text + i, 1);
    }
    assert_true(t->n_done == 2 && t->done_op == 2 && t->state == VIV_ST_PAUSED);
}

static void a_failed_boot_is_told_in_the_vmms_words_and_never_tried_again(void **state)
{
    struct twin *t = *state;

    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    twin_answer(t, 409,
                "[\"Error from API\",\"The VM could not boot\",\"Identifier x is not unique\"]");
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_string_equal(
        t->done_err.message,
        "cloud-hypervisor: vm.boot: The VM could not boot: Identifier x is not unique");
    twin_expect_no_request(t);
}

static void a_start_that_finds_a_vm_looks_at_it(void **state)
{
    struct twin *t = *state;

    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    twin_answer(t, 500, CREATED);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "{\"state\":\"Running\"}");
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
}

/* ---- adoption ---- */

static void an_empty_vmm_is_started_by_who_adopts_it(void **state)
{
    static const int codes[] = {404, 500}; /* since 53, before */
    struct twin *t = *state;

    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        twin_begin(t, true);
        (void)twin_expect_request(t, "GET /api/v1/vm.info ");
        twin_answer(t, codes[i], NOT_CREATED);
        vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
        (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
        twin_answer(t, 204, NULL);
        (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
        twin_answer(t, 204, NULL);
        assert_true(t->n_done == 1 && t->done_err.code == 0);
        vivi_effects_cloud_hypervisor.done(t->m);
        vivi_close(&t->peer_fd);
        t->n_done = t->n_api = 0;
    }
}

/* Between its last events and its end it answers as if nothing had ever been made. */
static void one_that_is_ending_is_not_started_anew(void **state)
{
    struct twin *t = *state;

    twin_begin(t, true);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 404, NOT_CREATED);
    (void)twin_event(t, 9, "vm", "shutdown");
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_WRONG_STATE);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_POWEROFF);
    twin_expect_no_request(t);
}

static void adopt_created(struct twin *t)
{
    twin_begin(t, true);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "{\"state\":\"Created\"}");
    assert_int_equal(t->n_done, 0);
}

static void one_that_was_not_booted_is_booted(void **state)
{
    struct twin *t = *state;

    adopt_created(t);
    (void)twin_event(t, 0, "vmm", "starting");
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->n_ending == 0);
}

static void one_whose_boot_failed_unseen_is_ended(void **state)
{
    struct twin *t = *state;

    adopt_created(t);
    assert_true(twin_event(t, 1, "vm", "booting") > 0);
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_VMM_EXIT);
    (void)twin_expect_request(t, "PUT /api/v1/vmm.shutdown ");
}

static void nothing_is_consumed_before_it_runs_and_ends_are_kept(void **state)
{
    struct twin *t = *state;
    size_t left;

    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    left = twin_event(t, 1, "vm", "booting");
    assert_true(left > 0);
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    twin_answer(t, 204, NULL);
    t->m->seen = 0; /* offered anew below */
    assert_int_equal(twin_event(t, 2, "virtio-device", "activated"), 0);
    assert_true(twin_event(t, 3, "vm", "shutdown") > 0);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_POWEROFF);
}

/* ---- ends ---- */

static void a_power_off_and_a_failed_cpu_differ_by_a_line_in_the_log(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    twin_log_line(t, "cloud-hypervisor: 1.2s: <vmm> WARN:x.rs:1 -- nothing special\n");
    twin_log_line(t, "cloud-hypervisor: 3.4s: <vcpu0> ERROR:vmm/src/cpu.rs:1460 -- VCPU generated "
                     "error: VcpuRun(Hang)\n");
    (void)twin_event(t, 3, "vm", "shutdown");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_VMM_EXIT);
    assert_string_equal(t->text, "VCPU generated error: VcpuRun(Hang)");
    (void)twin_event(t, 3, "vmm", "shutdown");
    assert_int_equal(t->n_ending, 1);
}

static void a_failure_that_is_read_late_takes_the_power_offs_place(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    (void)twin_event(t, 3, "vm", "shutdown");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_POWEROFF);
    twin_log_line(t, "cloud-hypervisor: 3.4s: <vcpu0> ERROR:vmm/src/cpu.rs:1460 -- VCPU generated "
                     "error: VcpuRun(Hang)\n");
    assert_true(t->n_ending == 2 && t->reason == VIVI_REASON_VMM_EXIT);
    assert_string_equal(t->text, "VCPU generated error: VcpuRun(Hang)");
}

static void its_last_words_are_told_as_one_chain(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    twin_log_line(t, "  0: of nothing\n");
    twin_log_line(t, "Error: Cloud Hypervisor exited with the following chain of errors:\n");
    twin_log_line(t, "  0: Failed to open\n");
    twin_log_line(t, "  1: No such file (os error 2)\n");
    twin_log_line(t, "Debug Info: x\n");
    assert_true(t->n_ending == 2 && t->reason == VIVI_REASON_VMM_EXIT);
    assert_string_equal(t->text, "cloud-hypervisor: Failed to open: No such file (os error 2)");
}

static void a_panic_ends_the_vmm(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    (void)twin_event(t, 3, "guest", "panic");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_GUEST_PANIC);
    (void)twin_expect_request(t, "PUT /api/v1/vmm.shutdown ");
    twin_answer(t, 200, "");
}

static void an_end_that_was_asked_for_needs_no_reason(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.quit(t->m, 2, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vmm.shutdown ");
    (void)twin_event(t, 3, "vm", "shutdown");
    assert_int_equal(t->n_ending, 0);
    vivi_close(&t->peer_fd); /* it ends before it answers: that is what was asked for */
    twin_run(t);
    assert_true(t->n_done == 2 && t->done_op == 2 && t->done_err.code == 0);
}

/* ---- resets ---- */

static void log_was_read(struct twin *t)
{
    fx->drained(t->m, t->token, 0);
    t->m->seen = 0; /* of what is not offered again here */
}

static void resets_are_told_with_their_time_and_the_watchdogs_as_such(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_true(twin_event(t, 7, "vm", "rebooting") > 0); /* seen again by who takes over */
    assert_int_equal(t->n_reset, 0);
    log_was_read(t); /* nothing in it */
    assert_true(t->n_reset == 1 && t->stamp / 1000000000 == 7 && t->text[0] == '\0');
    twin_log_line(t,
                  "x: 9s: <watchdog> ERROR:w.rs:175 -- Watchdog triggered: 21 seconds since last "
                  "ping\n");
    (void)twin_event(t, 9, "vm", "rebooting");
    assert_int_equal(t->n_reset, 2);
    assert_string_equal(t->text, "watchdog");
    t->text[0] = '\0';
    (void)twin_event(t, 11, "vm", "rebooting"); /* the streams share no order */
    twin_log_line(t,
                  "x: 11s: <watchdog> ERROR:w.rs:175 -- Watchdog triggered: 30 seconds since last "
                  "ping\n");
    log_was_read(t);
    assert_int_equal(t->n_reset, 3);
    assert_string_equal(t->text, "watchdog");
}

static void a_reset_is_done_when_answered_and_told(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.reset(t->m, 2, NULL), 0);
    assert_int_equal(vivi_effects_cloud_hypervisor.reset(t->m, 3, NULL), -VIV_E_BUSY);
    (void)twin_expect_request(t, "PUT /api/v1/vm.reboot ");
    (void)twin_event(t, 7, "vm", "rebooting");
    log_was_read(t);
    assert_int_equal(t->n_done, 1);
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 2 && t->n_reset == 1);
    /* its event is lost: told all the same, once what is in the FIFO was seen */
    assert_int_equal(vivi_effects_cloud_hypervisor.reset(t->m, 4, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.reboot ");
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_done, 2);
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
    assert_true(t->n_done == 3 && t->n_reset == 2 && t->stamp > UINT64_C(7000000000));
}

/* ---- answers that no real VMM gives ---- */

static void expect_query_fails(struct twin *t, const char *text, size_t len, int code)
{
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 5, NULL), 0);
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 6, NULL), 0);
    if (t->peer_fd < 0)
        assert_int_equal(vivi_accept(t->listen_fd, &t->peer_fd, NULL), 1);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    t->n_done = 0;
    (void)vivi_write_full(t->peer_fd, text, len, 1000, NULL);
    twin_run(t);
    vivi_close(&t->peer_fd);
    twin_run(t);
    assert_int_equal(t->n_done, 2); /* what was asked behind it as well */
    assert_int_equal(t->done_err.code, code);
}

static void garbage_ends_the_connection_and_the_next_request_opens_another(void **state)
{
    struct twin *t = *state;
    char *flood = malloc(5u << 20);

    assert_non_null(flood);
    twin_start(t);
    vivi_close(&t->peer_fd);
    twin_run(t);
    expect_query_fails(t, "SSH-2.0-x\r\n", 11, VIV_E_PROTOCOL);
    expect_query_fails(t, "HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{\"sta", 42, VIV_E_IO);
    expect_query_fails(t, "HTTP/1.1 200 \r\nContent-Length: 5242880\r\n\r\n", 42, VIV_E_PROTOCOL);
    memset(flood, 'x', 5u << 20);
    expect_query_fails(t, flood, 8192, VIV_E_PROTOCOL);
    expect_query_fails(t, "", 0, VIV_E_IO);
    free(flood);
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 7, NULL), 0);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "{\"state\":\"Running\"}");
    assert_true(t->done_op == 7 && t->done_err.code == 0);
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 8, NULL), 0);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "[1]");
    assert_int_equal(t->done_err.code, VIV_E_PROTOCOL);
}

static void nobody_listening_is_an_error_at_once(void **state)
{
    struct twin *t = *state;
    viv_error err = VIV_ERROR_INIT;

    twin_start(t);
    vivi_close(&t->listen_fd);
    vivi_close(&t->peer_fd);
    twin_run(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.query(t->m, 5, &err), -VIV_E_IO);
    assert_non_null(strstr(err.message, "vm.info"));
}

/* ---- devices ---- */

static char disk_id[] = "d", disk_path[] = "/srv/d.img";
static struct vivi_disk disk = {.id = disk_id, .path = disk_path};
static const struct vivi_config with_disk = {.disks = &disk, .n_disks = 1};
static const struct vivi_device a_disk = {
    .kind = VIVI_DEV_DISK, .id = "d", .config = &with_disk, .uuid = "u"};

static size_t device_left(struct twin *t, const char *name)
{
    char text[400];

    (void)snprintf(text, sizeof(text),
                   "{\n  \"timestamp\": {\n    \"secs\": 9,\n    \"nanos\": 0\n  },\n"
                   "  \"source\": \"vm\",\n  \"event\": \"device-removed\",\n"
                   "  \"properties\": {\n    \"id\": \"%s\"\n  }\n}\n\n",
                   name);
    return fx->input(t->m, CH_PORT_EVENTS, text, strlen(text));
}

static void a_device_is_added_under_a_name_of_its_kind(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->device_add(t->m, &a_disk, 2, NULL), 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.add-disk "),
                        "{\"id\":\"disk-d\",\"path\":\"/srv/d.img\",\"readonly\":false,"
                        "\"serial\":\"d\",\"image_type\":\"Raw\"}");
    twin_answer(t, 200, "{\"id\":\"disk-d\",\"bdf\":\"0000:00:06.0\"}");
    assert_true(t->n_done == 2 && t->done_op == 2 && t->done_err.code == 0);
    assert_int_equal(fx->device_add(t->m, &a_disk, 3, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.add-disk ");
    twin_answer(t, 500, "[\"Error from API\",\"Identifier disk-d is not unique\"]");
    assert_int_equal(t->done_err.code, VIV_E_EXISTS);
}

static void what_the_sandbox_forbids_is_refused_with_its_field(void **state)
{
    struct twin *t = *state;
    json_t *body = json_object_get(json_array_get(t->requests, 0), "body");
    viv_error err = VIV_ERROR_INIT;

    twin_start(t);
    assert_int_equal(json_object_set_new(body, "landlock_enable", json_true()), 0);
    assert_int_equal(
        json_object_set_new(body, "landlock_rules", json_pack("[{s:s}]", "path", "/srv2")), 0);
    assert_int_equal(fx->device_add(t->m, &a_disk, 2, &err), -VIV_E_DENIED);
    assert_string_equal(err.field, "disks.d.path");
    twin_expect_no_request(t);
    assert_int_equal(
        json_object_set_new(body, "landlock_rules", json_pack("[{s:s}]", "path", "/srv/")), 0);
    assert_int_equal(fx->device_add(t->m, &a_disk, 2, &err), 0);
}

static void a_device_has_left_when_its_event_says_so(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->device_remove(t->m, VIVI_DEV_DISK, "d", 2, NULL), 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.remove-device "),
                        "{\"id\":\"disk-d\"}");
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_done, 1);
    /* asked again: 53 has forgotten it, but the device tree has not */
    assert_int_equal(fx->device_remove(t->m, VIVI_DEV_DISK, "d", 3, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.remove-device ");
    twin_answer(t, 500,
                "[\"x\",\"Failed to find device corresponding to the given identifier: d\"]");
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "{\"state\":\"Running\",\"device_tree\":{\"disk-d\":{}}}");
    assert_int_equal(t->n_done, 1);
    (void)device_left(t, "net-d");
    assert_int_equal(t->n_done, 1);
    (void)device_left(t, "disk-d");
    assert_true(t->n_done == 3 && t->done_err.code == 0);
    /* and now it is gone */
    assert_int_equal(fx->device_remove(t->m, VIVI_DEV_DISK, "d", 4, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.remove-device ");
    twin_answer(t, 404,
                "[\"x\",\"Failed to find device corresponding to the given identifier: d\"]");
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, "{\"state\":\"Running\",\"device_tree\":{}}");
    assert_true(t->n_done == 4 && t->done_err.code == VIV_E_NOT_FOUND);
}

static void a_removal_ends_with_a_reboot_and_with_the_vmm(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->device_remove(t->m, VIVI_DEV_DISK, "d", 2, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.remove-device ");
    twin_answer(t, 204, NULL);
    (void)twin_event(t, 5, "vm", "rebooting");
    log_was_read(t);
    assert_int_equal(t->n_done, 1);
    (void)twin_event(t, 6, "vm", "rebooted"); /* made anew, without it */
    assert_true(t->n_done == 2 && t->done_err.code == 0);
    assert_int_equal(fx->device_remove(t->m, VIVI_DEV_DISK, "e", 3, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.remove-device ");
    twin_answer(t, 204, NULL);
    vivi_close(&t->peer_fd);
    twin_run(t);
    assert_true(t->n_done == 3 && t->done_op == 3 && t->done_err.code == VIV_E_IO);
}

/* ---- the agent's channel ---- */

static int listen_vsock(struct twin *t)
{
    char path[100];
    int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/" CH_PORT_VSOCK, t->dir);
    assert_int_equal(vivi_unix_listen(path, 1, &fd, NULL), 0);
    return fd;
}

static void the_agents_stream_is_handed_over_behind_its_ok(void **state)
{
    struct twin *t = *state;
    viv_error err = VIV_ERROR_INIT;
    int fd, listener;
    char text[32] = "";

    twin_start(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.agent_connect(t->m, 9, &err), -VIV_E_BUSY);
    assert_true(err.flags & VIV_ERR_RETRY); /* as in the middle of a reset */
    listener = listen_vsock(t);
    assert_int_equal(vivi_effects_cloud_hypervisor.agent_connect(t->m, 9, NULL), 0);
    assert_int_equal(vivi_accept(listener, &fd, NULL), 1);
    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), 13);
    assert_string_equal(text, "CONNECT 1024\n");
    assert_int_equal(vivi_write_full(fd, "OK 1073741824\nhello", 19, 1000, NULL), 0);
    twin_run(t);
    assert_true(t->done_op == 9 && t->done_err.code == 0 && t->done_fd > 2);
    assert_int_equal(recv(t->done_fd, text, sizeof(text), MSG_DONTWAIT), 5);
    assert_memory_equal(text, "hello", 5);
    vivi_close(&t->done_fd);
    vivi_close(&fd);
    vivi_close(&listener);
}

static void nobody_in_the_guest_is_busy_and_worth_another_try(void **state)
{
    struct twin *t = *state;
    int fd, listener;

    twin_start(t);
    listener = listen_vsock(t);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vivi_effects_cloud_hypervisor.agent_connect(t->m, 9, NULL), 0);
        assert_int_equal(vivi_accept(listener, &fd, NULL), 1);
        if (i == 1)
            assert_int_equal(vivi_write_full(fd, "NO\n!", 4, 1000, NULL), 0);
        vivi_close(&fd);
        twin_run(t);
        assert_int_equal(t->done_err.code, i == 0 ? VIV_E_BUSY : VIV_E_PROTOCOL);
    }
    assert_int_equal(vivi_effects_cloud_hypervisor.agent_connect(t->m, 9, NULL), 0);
    vivi_close(&listener); /* still open when the machine goes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_twin(a_start_pings_creates_and_boots),
        in_twin(an_answer_may_come_in_single_bytes),
        in_twin(a_failed_boot_is_told_in_the_vmms_words_and_never_tried_again),
        in_twin(a_start_that_finds_a_vm_looks_at_it),
        in_twin(an_empty_vmm_is_started_by_who_adopts_it),
        in_twin(one_that_is_ending_is_not_started_anew),
        in_twin(one_that_was_not_booted_is_booted),
        in_twin(one_whose_boot_failed_unseen_is_ended),
        in_twin(nothing_is_consumed_before_it_runs_and_ends_are_kept),
        in_twin(a_power_off_and_a_failed_cpu_differ_by_a_line_in_the_log),
        in_twin(a_failure_that_is_read_late_takes_the_power_offs_place),
        in_twin(its_last_words_are_told_as_one_chain),
        in_twin(a_panic_ends_the_vmm),
        in_twin(an_end_that_was_asked_for_needs_no_reason),
        in_twin(resets_are_told_with_their_time_and_the_watchdogs_as_such),
        in_twin(a_reset_is_done_when_answered_and_told),
        in_twin(garbage_ends_the_connection_and_the_next_request_opens_another),
        in_twin(nobody_listening_is_an_error_at_once),
        in_twin(a_device_is_added_under_a_name_of_its_kind),
        in_twin(what_the_sandbox_forbids_is_refused_with_its_field),
        in_twin(a_device_has_left_when_its_event_says_so),
        in_twin(a_removal_ends_with_a_reboot_and_with_the_vmm),
        in_twin(the_agents_stream_is_handed_over_behind_its_ok),
        in_twin(nobody_in_the_guest_is_busy_and_worth_another_try),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
