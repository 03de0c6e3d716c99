#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/model.h"

/* One row per state, one column per target in the order of VIVI_STATES: x = may. */
static const char *const wanted[VIV_ST_COUNT_] = {
    /*                   c s r p s r i o s s f b */
    [VIV_ST_CREATED] = ".x...xx....x",  [VIV_ST_STARTING] = "..x.....xxxx",
    [VIV_ST_RUNNING] = "...xx..xxxxx",  [VIV_ST_PAUSED] = "..x.x..xxxxx",
    [VIV_ST_SAVING] = "..xx....xxxx",   [VIV_ST_RESTORING] = "..xx....xxxx",
    [VIV_ST_INCOMING] = "..xx....xxxx", [VIV_ST_OUTGOING] = "..xx....xxxx",
    [VIV_ST_STOPPING] = "..x......xxx", [VIV_ST_STOPPED] = ".x...xx....x",
    [VIV_ST_FAILED] = ".x...xx....x",   [VIV_ST_BROKEN] = ".........xx.",
};

static void every_pair_of_states_is_allowed_or_refused_as_listed(void **state)
{
    (void)state;
    for (int from = 0; from < VIV_ST_COUNT_; from++) {
        assert_int_equal(strlen(wanted[from]), VIV_ST_COUNT_);
        for (int to = 0; to < VIV_ST_COUNT_; to++)
            if (vivi_state_may((enum viv_state)from, (enum viv_state)to) !=
                (wanted[from][to] == 'x'))
                fail_msg("%s -> %s", vivi_state_name((enum viv_state)from),
                         vivi_state_name((enum viv_state)to));
    }
}

static void numbers_that_are_no_states_may_nothing(void **state)
{
    (void)state;
    assert_false(vivi_state_may(VIV_ST_COUNT_, VIV_ST_STARTING));
    assert_false(vivi_state_may(VIV_ST_CREATED, VIV_ST_COUNT_));
    assert_false(vivi_state_may((enum viv_state)77, (enum viv_state)77));
    assert_false(vivi_state_has_vmm((enum viv_state)77));
    assert_string_equal(vivi_state_name((enum viv_state)77), "unknown");
    assert_string_equal(vivi_reason_name((enum vivi_reason)77), "unknown");
    assert_string_equal(vivi_rung_name((enum vivi_rung)77), "unknown");
    assert_string_equal(vivi_step_name((enum vivi_step)77), "unknown");
}

static void a_vmm_belongs_to_the_states_between_start_and_end(void **state)
{
    (void)state;
    for (int s = 0; s < VIV_ST_COUNT_; s++) {
        bool with = s >= VIV_ST_STARTING && s <= VIV_ST_STOPPING;

        assert_int_equal(vivi_state_has_vmm((enum viv_state)s), with);
        /* What owns a VMM can always end, well or badly. */
        if (with) {
            assert_true(vivi_state_may((enum viv_state)s, VIV_ST_STOPPED));
            assert_true(vivi_state_may((enum viv_state)s, VIV_ST_FAILED));
        }
    }
}

static void names_parse_back_and_nothing_else_does(void **state)
{
    enum viv_state s = VIV_ST_PAUSED;
    enum vivi_reason why = VIVI_REASON_KILL;
    enum vivi_rung rung = VIVI_RUNG_ACPI;

    (void)state;
    for (int i = 0; i < VIV_ST_COUNT_; i++) {
        assert_int_equal(vivi_state_parse(vivi_state_name((enum viv_state)i), &s), 0);
        assert_int_equal(s, i);
    }
    for (int i = 0; i < VIVI_REASON_COUNT_; i++) {
        assert_int_equal(vivi_reason_parse(vivi_reason_name((enum vivi_reason)i), &why), 0);
        assert_int_equal(why, i);
    }
    for (int i = 0; i < VIVI_RUNG_COUNT_; i++) {
        assert_int_equal(vivi_rung_parse(vivi_rung_name((enum vivi_rung)i), &rung), 0);
        assert_int_equal(rung, i);
    }
    s = VIV_ST_PAUSED;
    why = VIVI_REASON_KILL;
    rung = VIVI_RUNG_ACPI;
    assert_int_equal(vivi_state_parse("ready", &s), -VIV_E_INVALID);
    assert_int_equal(vivi_state_parse("", &s), -VIV_E_INVALID);
    assert_int_equal(vivi_reason_parse("Stop", &why), -VIV_E_INVALID);
    assert_int_equal(vivi_rung_parse("sigint", &rung), -VIV_E_INVALID);
    assert_int_equal(s, VIV_ST_PAUSED);
    assert_int_equal(why, VIVI_REASON_KILL);
    assert_int_equal(rung, VIVI_RUNG_ACPI);
}

static void only_ends_that_nobody_asked_for_are_failures(void **state)
{
    static const enum vivi_reason failures[] = {VIVI_REASON_GUEST_PANIC,   VIVI_REASON_VMM_EXIT,
                                                VIVI_REASON_VMM_SIGNAL,    VIVI_REASON_SPAWN_FAILED,
                                                VIVI_REASON_START_TIMEOUT, VIVI_REASON_UNOBSERVED};

    (void)state;
    for (int i = 0; i <= VIVI_REASON_COUNT_; i++) {
        bool failure = false;

        for (size_t k = 0; k < ARRAY_SIZE(failures); k++)
            failure |= (int)failures[k] == i;
        assert_int_equal(vivi_reason_is_failure((enum vivi_reason)i), failure);
    }
}

static void the_words_of_the_surface_are_all_there(void **state)
{
    (void)state;
    assert_string_equal(vivi_state_name(VIV_ST_RUNNING), "running");
    assert_string_equal(vivi_reason_name(VIVI_REASON_HOST_REBOOT), "host-reboot");
    assert_string_equal(vivi_rung_name(VIVI_RUNG_SIGKILL), "sigkill");
    assert_string_equal(vivi_step_name(VIVI_STEP_FIRST_BYTE), "first_byte_us");
    assert_int_equal(VIV_ST_COUNT_, 12);
    assert_int_equal(VIVI_STEP_COUNT_, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_states_is_allowed_or_refused_as_listed),
        cmocka_unit_test(numbers_that_are_no_states_may_nothing),
        cmocka_unit_test(a_vmm_belongs_to_the_states_between_start_and_end),
        cmocka_unit_test(names_parse_back_and_nothing_else_does),
        cmocka_unit_test(only_ends_that_nobody_asked_for_are_failures),
        cmocka_unit_test(the_words_of_the_surface_are_all_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
