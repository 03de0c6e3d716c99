#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "driver/cloud_hypervisor/ch.h"
#include "driver/machine.h"

static const struct vivi_config with_api = {.ch_mode = VIVI_CH_API};
static const struct vivi_config without = {.ch_mode = VIVI_CH_CLI};

static void the_table_follows_from_the_configuration(void **state)
{
    const struct vivi_driver_effects *fx = &vivi_effects_cloud_hypervisor;

    (void)state;
    assert_ptr_equal(vivi_effects_for(fx, &with_api), fx);
    assert_ptr_equal(vivi_effects_for(fx, &without), &vivi_effects_ch_cli);
    assert_null(vivi_effects_for(NULL, &without));
}

/* What inspect shows of a VM that does not run, and what its monitor will say. */
static void both_sides_know_the_same_rows(void **state)
{
    struct vivi_caps pure = vivi_driver_cloud_hypervisor.caps, effects = pure;

    (void)state;
    vivi_driver_cloud_hypervisor.narrow(&with_api, &pure);
    assert_memory_equal(&pure, &effects, sizeof(pure));
    vivi_driver_cloud_hypervisor.narrow(&without, &pure);
    vivi_machine_narrow(&effects, &vivi_effects_ch_cli);
    assert_memory_equal(&pure, &effects, sizeof(pure));
    assert_false(vivi_caps_has(&pure, VIVI_CAP_PAUSE));
    assert_true(vivi_caps_has(&pure, VIVI_CAP_AGENT));
}

static void every_other_verb_needs_api_mode(void **state)
{
    static const char *const verbs[] = {"pause", "resume",   "reset",   "stop",
                                        "nmi",   "coredump", "snapshot"};
    struct vivi_machine m = {.driver = &vivi_driver_cloud_hypervisor,
                             .fx = &vivi_effects_ch_cli,
                             .state = VIV_ST_RUNNING};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    m.caps = m.driver->caps;
    vivi_machine_narrow(&m.caps, m.fx);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        assert_int_equal(vivi_machine_may(&m, verbs[i], &err), -VIV_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, CH_NEEDS_API));
    }
    assert_int_equal(vivi_machine_may_raw(&m, &err), -VIV_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, CH_NEEDS_API));
    for (unsigned k = 0; k < VIVI_DEV_COUNT_; k++) {
        assert_int_equal(vivi_machine_may_device(&m, (enum vivi_device_kind)k, true, &err),
                         -VIV_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, CH_NEEDS_API));
    }
    assert_int_equal(vivi_machine_may(&m, "agent", &err), 0);
    assert_int_equal(vivi_machine_may(&m, "query", &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_follows_from_the_configuration),
        cmocka_unit_test(both_sides_know_the_same_rows),
        cmocka_unit_test(every_other_verb_needs_api_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
