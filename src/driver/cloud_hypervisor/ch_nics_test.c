/* NICs that come as descriptors: each is added with its own before the boot, whoever makes the
 * machine. */
#include "twin_test.h"

#include <sys/stat.h>

#define CREATED_WITH_N0 "{\"state\":\"Created\",\"config\":{\"net\":[{\"id\":\"net-n0\"}]}}"
#define CREATED_WITHOUT "{\"state\":\"Created\",\"config\":{\"net\":null}}"

static void with_nics(struct twin *t, int n)
{
    static const char *const ids[] = {"net-n0", "net-n1"}, *const names[] = {"nic.n0", "nic.n1"};

    json_decref(t->requests);
    t->requests = json_pack("[{s:s, s:{s:i}}]", "verb", "vm.create", "body", "a", 1);
    for (int i = 0; i < n; i++)
        assert_int_equal(json_array_append_new(t->requests, json_pack("{s:s, s:{s:s}, s:s}", "verb",
                                                                      "vm.add-net", "body", "id",
                                                                      ids[i], "fd", names[i])),
                         0);
    assert_int_equal(json_array_append_new(t->requests, json_pack("{s:s}", "verb", "vm.boot")), 0);
    t->given = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(t->given >= 0);
}

/* The same open file, under another number. */
static void expect_given(struct twin *t)
{
    struct stat a, b;

    assert_true(t->got_fd >= 0);
    assert_int_equal(fstat(t->got_fd, &a), 0);
    assert_int_equal(fstat(t->given, &b), 0);
    assert_true(a.st_rdev == b.st_rdev && a.st_ino == b.st_ino);
}

static void each_is_added_with_its_descriptor_and_then_it_boots(void **state)
{
    struct twin *t = *state;

    with_nics(t, 2);
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    assert_int_equal(t->got_fd, -1);
    twin_answer(t, 204, NULL);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.add-net "), "{\"id\":\"net-n0\"}");
    assert_string_equal(t->asked, "nic.n0");
    expect_given(t);
    twin_answer(t, 204, NULL);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.add-net "), "{\"id\":\"net-n1\"}");
    assert_string_equal(t->asked, "nic.n1");
    expect_given(t);
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    assert_int_equal(t->got_fd, -1);
    assert_int_equal(t->n_done, 0);
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0 && t->state == VIV_ST_RUNNING);
}

static void one_that_the_vmm_refuses_is_the_starts_error(void **state)
{
    struct twin *t = *state;

    with_nics(t, 1);
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.add-net ");
    twin_answer(t, 400, "[\"Error from API\",\"no such queue\"]");
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_VMM);
    assert_string_equal(t->done_err.message, "cloud-hypervisor: vm.add-net: no such queue");
    twin_expect_no_request(t);
}

static void without_its_descriptor_nothing_boots(void **state)
{
    struct twin *t = *state;

    with_nics(t, 1);
    vivi_close(&t->given);
    twin_begin(t, false);
    (void)twin_expect_request(t, "PUT /api/v1/vm.create ");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_NOT_FOUND);
    assert_string_equal(t->done_err.message,
                        "cloud-hypervisor: vm.add-net: the descriptor nic.n0 is not here any more");
    twin_expect_no_request(t);
}

static void adopt(struct twin *t, const char *info)
{
    twin_begin(t, true);
    (void)twin_expect_request(t, "GET /api/v1/vm.info ");
    twin_answer(t, 200, info);
    vivi_effects_cloud_hypervisor.drained(t->m, t->token, 0);
}

static void who_adopts_a_machine_without_it_adds_it(void **state)
{
    struct twin *t = *state;

    with_nics(t, 1);
    adopt(t, CREATED_WITHOUT);
    (void)twin_expect_request(t, "PUT /api/v1/vm.add-net ");
    expect_given(t);
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0);
}

static void one_that_is_there_is_not_added_twice(void **state)
{
    struct twin *t = *state;

    with_nics(t, 2);
    adopt(t, CREATED_WITH_N0);
    assert_string_equal(twin_expect_request(t, "PUT /api/v1/vm.add-net "), "{\"id\":\"net-n1\"}");
    twin_answer(t, 204, NULL);
    (void)twin_expect_request(t, "PUT /api/v1/vm.boot ");
    twin_answer(t, 204, NULL);
    assert_true(t->n_done == 1 && t->done_err.code == 0);
}

/* Keeper and monitor died: nobody has it any more, and the machine has not run yet. */
static void a_machine_that_lacks_it_for_good_is_ended(void **state)
{
    struct twin *t = *state;

    with_nics(t, 1);
    vivi_close(&t->given);
    adopt(t, CREATED_WITHOUT);
    assert_true(t->n_done == 1 && t->done_err.code == VIV_E_NOT_FOUND);
    assert_true(t->n_ending == 1 && t->reason == VIVI_REASON_VMM_EXIT);
    (void)twin_expect_request(t, "PUT /api/v1/vmm.shutdown ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_twin(each_is_added_with_its_descriptor_and_then_it_boots),
        in_twin(one_that_the_vmm_refuses_is_the_starts_error),
        in_twin(without_its_descriptor_nothing_boots),
        in_twin(who_adopts_a_machine_without_it_adds_it),
        in_twin(one_that_is_there_is_not_added_twice),
        in_twin(a_machine_that_lacks_it_for_good_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
