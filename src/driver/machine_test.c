#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "driver/capset.h"
#include "driver/machine.h"

/* A driver that only counts. */
struct counted {
    unsigned calls, dones;
};
static unsigned all_dones;

static int count_start(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    (void)s;
    (void)op;
    (void)err;
    ((struct counted *)m)->calls++;
    return 0;
}

static int count(void *m, uint64_t op, viv_error *err)
{
    (void)op;
    (void)err;
    ((struct counted *)m)->calls++;
    return 0;
}

static int refuse(void *m, uint64_t op, viv_error *err)
{
    (void)m;
    (void)op;
    return vivi_fail(err, VIV_E_IO, "the VMM has closed its control socket");
}

static void count_done(void *m)
{
    (void)m;
    all_dones++;
}

static const struct vivi_driver_effects full = {.name = "qemu",
                                                .machine_size = sizeof(struct counted),
                                                .start = count_start,
                                                .adopt = count_start,
                                                .query = count,
                                                .quit = refuse,
                                                .power_button = count,
                                                .pause = count,
                                                .resume = count,
                                                .reset = count,
                                                .agent_connect = count,
                                                .done = count_done};

static const struct vivi_device *added;
static const struct vivi_resize *resized;

static int count_add(void *m, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    added = d;
    return count(m, op, err);
}

static int count_remove(void *m, enum vivi_device_kind kind, const char *id, uint64_t op,
                        viv_error *err)
{
    (void)kind;
    (void)id;
    return count(m, op, err);
}

static int count_resize(void *m, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    resized = what;
    return count(m, op, err);
}

/* clang-format off */
#define COUNTED_CAPS(X) X(POWER_BUTTON) X(KILL) X(STATE) X(RESET) X(PAUSE) X(ADOPT) X(AGENT)
/* clang-format on */
static const struct vivi_driver counted_driver = {
    .name = "qemu", .kind = VIVI_DRIVER_QEMU, .caps = VIVI_CAPSET(COUNTED_CAPS)};

static void make(struct vivi_machine *m)
{
    assert_int_equal(vivi_machine_init(m, &counted_driver, &full, &counted_driver.caps, NULL), 0);
}

/* With disks that come and go, CPUs and balloon that change, and counters. */
#define HOT_CAPS(X) COUNTED_CAPS(X) X(DISK_HOTPLUG) X(CPU_HOTPLUG) X(BALLOON) X(COUNTERS)
static const struct vivi_driver hot_driver = {
    .name = "qemu", .kind = VIVI_DRIVER_QEMU, .caps = VIVI_CAPSET(HOT_CAPS)};

static struct vivi_driver_effects hot_effects(void)
{
    struct vivi_driver_effects fx = full;

    fx.device_kinds = VIVI_DEVICE_BIT(VIVI_DEV_DISK) | VIVI_DEVICE_BIT(VIVI_DEV_SHARE);
    fx.device_add = count_add;
    fx.device_remove = count_remove;
    fx.resize_kinds = VIVI_RESIZE_BIT(VIVI_RESIZE_CPUS) | VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON);
    fx.resize = count_resize;
    fx.counters = count;
    return fx;
}

static void pause_without_the_capability_is_refused_and_calls_nothing(void **state)
{
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    make(&m);
    m.state = VIV_ST_RUNNING;
    vivi_caps_set(&m.caps, VIVI_CAP_PAUSE, false);
    assert_int_equal(vivi_machine_pause(&m, 1, &err), -VIV_E_UNSUPPORTED);
    assert_int_equal(err.code, VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "driver qemu cannot pause here: this host does not allow it");
    assert_int_equal(((struct counted *)m.priv)->calls, 0);
    assert_int_equal(m.state, VIV_ST_RUNNING);
    vivi_machine_done(&m);
}

static void each_verb_has_its_states_and_says_which(void **state)
{
    static const struct {
        const char *verb, *allowed, *message;
    } rows[] = {
        {"pause", "running", "only a running VM can be paused (it is "},
        {"resume", "paused", "only a paused VM can be resumed (it is "},
        {"reset", "running", "only a running VM can be reset (it is "},
        {"stop", "running stopping", "only a running VM has a power button (it is "},
        {"start", "starting restoring incoming", "only a VM being started can be run (it is "},
    };
    struct vivi_machine m;

    (void)state;
    make(&m);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (int s = 0; s < VIV_ST_COUNT_; s++) {
            viv_error err = VIV_ERROR_INIT;
            const char *name = vivi_state_name((enum viv_state)s);
            char wanted[100];
            int r;

            m.state = (enum viv_state)s;
            r = vivi_machine_may(&m, rows[i].verb, &err);
            if (strstr(rows[i].allowed, name)) {
                assert_int_equal(r, 0);
                continue;
            }
            assert_int_equal(r, -VIV_E_WRONG_STATE);
            (void)snprintf(wanted, sizeof(wanted), "%s%s)", rows[i].message, name);
            assert_string_equal(err.message, wanted);
        }
    }
    vivi_machine_done(&m);
}

static void kill_and_query_need_a_vmm(void **state)
{
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    make(&m);
    for (int s = 0; s < VIV_ST_COUNT_; s++) {
        m.state = (enum viv_state)s;
        assert_int_equal(vivi_machine_may(&m, "kill", &err) == 0, vivi_state_has_vmm(m.state));
        assert_int_equal(vivi_machine_may(&m, "query", &err) == 0, vivi_state_has_vmm(m.state));
    }
    m.state = VIV_ST_STOPPED;
    assert_int_equal(vivi_machine_quit(&m, 1, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "only a VM with a VMM can be ended (it is stopped)");
    vivi_machine_done(&m);
}

static void an_allowed_verb_reaches_the_driver_and_its_refusal_comes_back(void **state)
{
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    make(&m);
    m.state = VIV_ST_RUNNING;
    assert_int_equal(vivi_machine_pause(&m, 1, &err), 0);
    assert_int_equal(vivi_machine_reset(&m, 2, &err), 0);
    assert_int_equal(vivi_machine_power_button(&m, 3, &err), 0);
    assert_int_equal(vivi_machine_query(&m, 4, &err), 0);
    m.state = VIV_ST_PAUSED;
    assert_int_equal(vivi_machine_resume(&m, 5, &err), 0);
    assert_int_equal(((struct counted *)m.priv)->calls, 5);
    assert_int_equal(vivi_machine_quit(&m, 6, &err), -VIV_E_IO);
    assert_string_equal(err.message, "the VMM has closed its control socket");
    vivi_machine_done(&m);
}

static void an_unknown_verb_is_our_own_mistake(void **state)
{
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    make(&m);
    assert_int_equal(vivi_machine_may(&m, "levitate", &err), -VIV_E_INTERNAL);
    assert_string_equal(err.message, "no rule for the verb levitate");
    vivi_machine_done(&m);
}

static void done_reaches_the_driver_once(void **state)
{
    struct vivi_machine m;

    (void)state;
    make(&m);
    all_dones = 0;
    vivi_machine_done(&m);
    vivi_machine_done(&m);
    vivi_machine_done(NULL);
    assert_int_equal(all_dones, 1);
}

static void every_driver_keeps_slots_and_rows_together(void **state)
{
    size_t n;
    const struct vivi_driver *const *all = vivi_drivers(&n);

    (void)state;
    assert_true(n >= 2);
    for (size_t i = 0; i < n; i++) {
        const struct vivi_driver_effects *fx = vivi_effects_get(all[i]->kind);

        assert_non_null(fx);
        assert_string_equal(fx->name, all[i]->name);
        assert_null(vivi_machine_mismatch(&all[i]->caps, fx));
        assert_ptr_equal(vivi_driver_find(all[i]->name), all[i]);
        assert_non_null(all[i]->machine);
    }
    assert_null(vivi_effects_get(VIVI_DRIVER_VZ));
}

static void a_row_without_slot_and_a_slot_without_row_are_found(void **state)
{
    struct vivi_caps caps = counted_driver.caps;
    struct vivi_driver_effects fx = full;

    (void)state;
    assert_null(vivi_machine_mismatch(&caps, &fx));
    vivi_caps_set(&caps, VIVI_CAP_SNAPSHOT, true);
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "snapshot");
    vivi_caps_set(&caps, VIVI_CAP_SNAPSHOT, false);
    vivi_caps_set(&caps, VIVI_CAP_PAUSE, false);
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "pause");
    vivi_caps_set(&caps, VIVI_CAP_PAUSE, true);
    fx.reset = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "reset");
    fx = full;
    fx.agent_connect = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "agent");
    fx = full;
    fx.resume = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "a mandatory slot");
    fx = full;
    fx.done = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "a mandatory slot");
}

static void kinds_of_changes_are_rows_of_their_own(void **state)
{
    struct vivi_driver_effects fx = hot_effects();
    struct vivi_caps caps = hot_driver.caps;

    (void)state;
    assert_null(vivi_machine_mismatch(&caps, &fx));
    fx.device_kinds |= VIVI_DEVICE_BIT(VIVI_DEV_NET);
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "net-hotplug");
    fx = hot_effects();
    fx.resize_kinds &= ~VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON);
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "balloon");
    fx = hot_effects();
    fx.counters = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "counters");
    fx = hot_effects();
    fx.device_remove = NULL;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "a slot without kinds");
    fx = hot_effects();
    fx.resize_kinds = 0;
    assert_string_equal(vivi_machine_mismatch(&caps, &fx), "a slot without kinds");
}

static void a_kind_that_the_driver_does_not_handle_is_refused_by_name(void **state)
{
    struct vivi_driver_effects fx = hot_effects();
    struct vivi_device d = {.kind = VIVI_DEV_NET, .id = "n1"};
    struct vivi_resize to = {.kind = VIVI_RESIZE_MEMORY, .to = 1};
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_machine_init(&m, &hot_driver, &fx, &hot_driver.caps, NULL), 0);
    m.state = VIV_ST_RUNNING;
    assert_int_equal(vivi_machine_device_add(&m, &d, 1, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "driver qemu cannot hot-plug NICs here: it has no such operation");
    assert_int_equal(vivi_machine_device_remove(&m, VIVI_DEV_VSOCK, "v", 1, &err),
                     -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "driver qemu cannot hot-plug vsock devices here: it has no such operation");
    assert_int_equal(vivi_machine_resize(&m, &to, 1, &err), -VIV_E_UNSUPPORTED);
    assert_int_equal(((struct counted *)m.priv)->calls, 0);
    d.kind = VIVI_DEV_SHARE; /* a kind without a row */
    assert_int_equal(vivi_machine_device_add(&m, &d, 1, &err), 0);
    assert_ptr_equal(added, &d);
    to.kind = VIVI_RESIZE_BALLOON;
    assert_int_equal(vivi_machine_resize(&m, &to, 2, &err), 0);
    assert_ptr_equal(resized, &to);
    vivi_caps_set(&m.caps, VIVI_CAP_BALLOON, false);
    assert_int_equal(vivi_machine_resize(&m, &to, 2, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "driver qemu cannot set a balloon here: this host does not allow it");
    vivi_machine_done(&m);
}

static void changes_need_a_running_machine(void **state)
{
    struct vivi_driver_effects fx = hot_effects();
    const struct vivi_device d = {.kind = VIVI_DEV_DISK, .id = "data"};
    const struct vivi_resize two = {.kind = VIVI_RESIZE_CPUS, .to = 2};
    struct vivi_machine m;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_machine_init(&m, &hot_driver, &fx, &hot_driver.caps, NULL), 0);
    for (int s = 0; s < VIV_ST_COUNT_; s++) {
        m.state = (enum viv_state)s;
        assert_int_equal(vivi_machine_device_add(&m, &d, 1, &err) == 0, s == VIV_ST_RUNNING);
        assert_int_equal(vivi_machine_device_remove(&m, VIVI_DEV_DISK, "data", 1, &err) == 0,
                         s == VIV_ST_RUNNING);
        assert_int_equal(vivi_machine_may_resize(&m, &two, &err) == 0, s == VIV_ST_RUNNING);
        assert_int_equal(vivi_machine_counters(&m, 1, &err) == 0,
                         s == VIV_ST_RUNNING || s == VIV_ST_PAUSED);
    }
    m.state = VIV_ST_PAUSED;
    assert_int_equal(vivi_machine_device_add(&m, &d, 1, &err), -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "only a running VM can be changed (it is paused)");
    vivi_machine_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pause_without_the_capability_is_refused_and_calls_nothing),
        cmocka_unit_test(each_verb_has_its_states_and_says_which),
        cmocka_unit_test(kill_and_query_need_a_vmm),
        cmocka_unit_test(an_allowed_verb_reaches_the_driver_and_its_refusal_comes_back),
        cmocka_unit_test(an_unknown_verb_is_our_own_mistake),
        cmocka_unit_test(done_reaches_the_driver_once),
        cmocka_unit_test(every_driver_keeps_slots_and_rows_together),
        cmocka_unit_test(a_row_without_slot_and_a_slot_without_row_are_found),
        cmocka_unit_test(kinds_of_changes_are_rows_of_their_own),
        cmocka_unit_test(a_kind_that_the_driver_does_not_handle_is_refused_by_name),
        cmocka_unit_test(changes_need_a_running_machine),
    };

    return cmocka_run_group_tests_name("driver machine", tests, NULL, NULL);
}
