/* A machine that is saved, goes on from what was saved, leaves, or comes: what is asked, what is
 * told, and what a failure leaves. */
#include "twin_test.h"

#include <sys/un.h>

#define RUNNING "{\"state\":\"Running\"}"
#define PAUSED  "{\"state\":\"Paused\"}"
#define ON_ITS_WAY                                                           \
    "[\"Error from API\",\"The VM could not be resized\",\"VM is currently " \
    "migrating and can't be modified\"]"
#define NO_FAULTS                                                                    \
    "[\"Error from API\",\"The VM could not be restored\",\"userfaultfd: Operation " \
    "not permitted\"]"

static const struct vivi_driver_effects *const fx = &vivi_effects_cloud_hypervisor;

/* ---- saving ---- */

static void a_snapshot_is_written_where_it_is_told(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->snapshot(t->m, "/vm/snapshots/s.tmp/vmm", 7, NULL), 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.snapshot "),
                        "{\"destination_url\":\"file:///vm/snapshots/s.tmp/vmm\"}");
    assert_int_equal(t->n_done, 1);
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 2 && t->done_op == 7 && t->done_err.code == 0);
}

static void a_snapshot_that_fails_is_told_in_the_vmms_words(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->snapshot(t->m, "/d", 7, NULL), 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.snapshot ");
    twin_answer(t, 500, "[\"Error from API\",\"The VM could not be snapshotted\",\"no space\"]");
    assert_true(t->n_done == 2 && t->done_op == 7 && t->done_err.code == VIV_E_VMM);
    assert_string_equal(t->done_err.message,
                        "cloud-hypervisor: vm.snapshot: The VM could not be snapshotted: no space");
    assert_int_equal(t->n_ending, 0);
}

/* ---- going on from what was saved ---- */

static void with_requests(struct twin *t, json_t *requests_consume)
{
    json_decref(t->requests);
    t->requests = requests_consume;
    assert_non_null(t->requests);
}

static void restoring(struct twin *t, const char *mode)
{
    with_requests(t,
                  json_pack("[{s:s, s:{s:s, s:b, s:s*}}]", "verb", "vm.restore", "body",
                            "source_url", "file:///s", "resume", 1, "memory_restore_mode", mode));
}

static void a_restore_needs_neither_create_nor_boot(void **state)
{
    struct twin *t = *state;

    restoring(t, NULL);
    twin_begin(t, false);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.restore "),
                        "{\"source_url\":\"file:///s\",\"resume\":true}");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
    assert_int_equal(t->n_created, 1);
    twin_expect_no_request(t);
}

static void an_older_release_is_told_to_resume_it(void **state)
{
    struct twin *t = *state;

    with_requests(t, json_pack("[{s:s, s:{s:s}}, {s:s}]", "verb", "vm.restore", "body",
                               "source_url", "file:///s", "verb", "vm.resume"));
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.restore ");
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_done, 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.resume "), "");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
}

static void memory_on_demand_is_read_first_where_the_host_forbids_it(void **state)
{
    struct twin *t = *state;

    restoring(t, CH_ON_DEMAND);
    twin_begin(t, false);
    assert_non_null(
        strstr(twin_expect_request(t, "PUT /api/v1/vm.restore "), "\"memory_restore_mode\""));
    twin_answer(t, 500, NO_FAULTS);
    assert_int_equal(t->n_done, 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.restore "),
                        "{\"source_url\":\"file:///s\",\"resume\":true}");
    twin_answer(t, 500, NO_FAULTS); /* never a third time */
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    twin_expect_no_request(t);
}

static void a_restore_that_is_refused_boots_nothing(void **state)
{
    struct twin *t = *state;

    restoring(t, NULL);
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.restore ");
    twin_answer(t, 500, "[\"Error from API\",\"The VM could not be restored\",\"no state.json\"]");
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_string_equal(
        t->done_err.message,
        "cloud-hypervisor: vm.restore: The VM could not be restored: no state.json");
    twin_expect_no_request(t);
}

/* The former monitor died before it had asked. */
static void who_adopts_an_empty_vmm_restores_as_planned(void **state)
{
    struct twin *t = *state;

    restoring(t, NULL);
    twin_begin(t, true);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 404, NOT_CREATED);
    fx->drained(t->m, t->token, 0);
    (void)twin_expect_request(t, "PUT /api/v1/vm.restore ");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
}

/* ---- leaving ---- */

static const struct vivi_migration away = {
    .url = "unix:/there", .downtime_ms = 100, .timeout_s = -1, .connections = -1};

static void send_away(struct twin *t)
{
    twin_start(t);
    assert_int_equal(fx->migrate_send(t->m, &away, 9, NULL), 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.send-migration "),
                        "{\"destination_url\":\"unix:/there\",\"downtime_ms\":100}");
}

static void its_arrival_there_is_the_end_here(void **state)
{
    struct twin *t = *state;

    send_away(t);
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_ending, 0); /* 53 answers before it has gone */
    (void)twin_event(t, 5, "vm", "migration-finished");
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_MIGRATED);
    assert_int_equal(t->n_done, 1); /* of the start */
}

static void one_that_fails_is_here_as_it_was(void **state)
{
    struct twin *t = *state;

    send_away(t);
    twin_answer(t, 204, NULL);
    twin_log_line(t, "cloud-hypervisor: 1.2s: <migration> ERROR:vmm/src/lib.rs:1 -- Migration "
                     "failed: the other side hung up\n");
    (void)twin_event(t, 5, "vm", "migration-failed");
    twin_run(t);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.resize "), "{}");
    twin_answer(t, 204, NULL); /* nothing is on its way any more */
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, PAUSED);
    assert_int_equal(t->state, VIV_ST_PAUSED);
    assert_true(t->n_done == 2 && t->done_op == 9 && t->done_err.code == VIV_E_VMM);
    assert_int_equal(t->n_ending, 0);
}

/* Nothing is on its way any more, which is asked when all that it told was read. */
static void look_settled(struct twin *t)
{
    fx->drained(t->m, t->token, 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.resize "), "{}");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
}

/* It may run there: what the VMM let run again stands still first of all. */
static void one_that_fails_after_its_hand_over_stands_still(void **state)
{
    struct twin *t = *state;

    send_away(t);
    (void)twin_event(t, 5, "vm", "snapshotted");
    twin_answer(t, 500, "[\"Error from API\",\"the other side hung up\"]");
    fx->drained(t->m, t->token, 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.pause "), "");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, PAUSED);
    assert_int_equal(t->state, VIV_ST_PAUSED);
    assert_true(t->n_done == 2 && t->done_op == 9 && t->done_err.code == VIV_E_VMM);
}

static void a_sender_that_is_refused_at_once_keeps_it(void **state)
{
    struct twin *t = *state;

    send_away(t);
    twin_answer(t, 500, "[\"Error from API\",\"cannot open the socket\"]");
    twin_expect_no_request(t); /* before the events that it told meanwhile were read */
    look_settled(t);
    twin_answer(t, 200, RUNNING);
    assert_true(t->n_done == 2 && t->done_op == 9 && t->done_err.code == VIV_E_VMM);
    assert_non_null(strstr(t->done_err.message, "cannot open the socket"));
    assert_int_equal(t->state, VIV_ST_RUNNING);
}

static void nobody_who_listens_yet_is_tried_again(void **state)
{
    struct twin *t = *state;

    send_away(t);
    twin_answer(t, 500, "[\"Error from API\",\"Connection refused (os error 111)\"]");
    assert_int_equal(t->n_done, 1);
    while (poll_loop_step(&t->loop, 1000) && t->m->move.look)
        ;
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.send-migration "),
                        "{\"destination_url\":\"unix:/there\",\"downtime_ms\":100}");
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_done, 1);
}

/* A monitor that was not there asks whether it still is on its way. */
static void what_a_former_monitor_sent_is_asked_for(void **state)
{
    struct twin *t = *state;

    twin_start(t);
    assert_int_equal(fx->migrate_send(t->m, NULL, 9, NULL), 0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.resize "), "{}");
    twin_answer(t, 500, ON_ITS_WAY);
    assert_string_equal(t->text, "sending");
    assert_int_equal(t->n_done, 1);
    (void)twin_event(t, 5, "vm", "migration-failed");
    twin_run(t);
    (void)twin_expect_request(t, "PUT /api/v1/vm.resize ");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, RUNNING);
    assert_true(t->n_done == 2 && t->done_op == 9 && t->done_err.code == VIV_E_VMM);
}

static void one_at_a_time_leaves(void **state)
{
    struct twin *t = *state;
    viv_error err = VIV_ERROR_INIT;

    send_away(t);
    assert_int_equal(fx->migrate_send(t->m, &away, 10, &err), -VIV_E_BUSY);
    twin_expect_no_request(t);
}

/* ---- coming ---- */

static void receiving(struct twin *t, char url[128])
{
    (void)snprintf(url, 128, "unix:%s/" CH_PORT_MOVE, t->dir);
    with_requests(t, json_pack("[{s:s, s:{s:s}}]", "verb", "vm.receive-migration", "body",
                               "receiver_url", url));
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.receive-migration ");
}

static void one_that_comes_is_here_as_it_was_there(void **state)
{
    struct twin *t = *state;
    char url[128];

    receiving(t, url);
    assert_int_equal(t->n_done, 0);
    twin_answer(t, 204, NULL);
    assert_int_equal(t->n_created, 1);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, PAUSED);
    fx->drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_PAUSED);
    twin_expect_no_request(t);
}

static void one_that_does_not_arrive_is_the_starts_error(void **state)
{
    struct twin *t = *state;
    char url[128];

    receiving(t, url);
    twin_answer(t, 500, "[\"Error from API\",\"the sender hung up\"]");
    assert_int_equal(t->n_done, 0); /* only the last word to the sender may be lost */
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 404, NOT_CREATED);
    fx->drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_non_null(strstr(t->done_err.message, "the sender hung up"));
    twin_expect_no_request(t);
}

static void one_that_runs_has_arrived_whatever_its_sender_heard(void **state)
{
    struct twin *t = *state;
    char url[128];

    receiving(t, url);
    twin_answer(t, 500, "[\"Error from API\",\"the sender hung up\"]");
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, RUNNING);
    fx->drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
}

/* The VMM itself is deaf meanwhile: a connection that says nothing ends its waiting. */
static void waiting_is_given_up_by_a_connection_that_says_nothing(void **state)
{
    struct twin *t = *state;
    int listener, fd = -1;
    viv_error err = VIV_ERROR_INIT;
    char url[128], c;

    receiving(t, url);
    assert_int_equal(fx->receive_abort(t->m, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_unix_listen(url + strlen("unix:"), 1, &listener, NULL), 0);
    assert_int_equal(fx->receive_abort(t->m, NULL), 0);
    assert_int_equal(vivi_accept(listener, &fd, NULL), 1);
    assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), 0);
    vivi_close(&fd);
    vivi_close(&listener);
    twin_expect_no_request(t);
}

static void who_adopts_a_receiver_to_whom_nobody_came_makes_nothing(void **state)
{
    struct twin *t = *state;

    with_requests(t, json_pack("[{s:s, s:{s:s}}]", "verb", "vm.receive-migration", "body",
                               "receiver_url", "unix:/x"));
    t->incoming = true;
    twin_begin(t, true);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 404, NOT_CREATED);
    fx->drained(t->m, t->token, 0);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_non_null(strstr(t->done_err.message, "the machine did not arrive"));
    twin_expect_no_request(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_twin(a_snapshot_is_written_where_it_is_told),
        in_twin(a_snapshot_that_fails_is_told_in_the_vmms_words),
        in_twin(a_restore_needs_neither_create_nor_boot),
        in_twin(an_older_release_is_told_to_resume_it),
        in_twin(memory_on_demand_is_read_first_where_the_host_forbids_it),
        in_twin(a_restore_that_is_refused_boots_nothing),
        in_twin(who_adopts_an_empty_vmm_restores_as_planned),
        in_twin(its_arrival_there_is_the_end_here),
        in_twin(one_that_fails_is_here_as_it_was),
        in_twin(one_that_fails_after_its_hand_over_stands_still),
        in_twin(a_sender_that_is_refused_at_once_keeps_it),
        in_twin(nobody_who_listens_yet_is_tried_again),
        in_twin(what_a_former_monitor_sent_is_asked_for),
        in_twin(one_at_a_time_leaves),
        in_twin(one_that_comes_is_here_as_it_was_there),
        in_twin(one_that_does_not_arrive_is_the_starts_error),
        in_twin(one_that_runs_has_arrived_whatever_its_sender_heard),
        in_twin(waiting_is_given_up_by_a_connection_that_says_nothing),
        in_twin(who_adopts_a_receiver_to_whom_nobody_came_makes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
