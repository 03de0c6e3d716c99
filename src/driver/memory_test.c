/* Out of memory is an ordinary error: each scenario runs once for every allocation it makes, with
 * that one failing, until it gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fault.h"
#include "driver/driver.h"

static char name[] = "web", machine[] = "auto",
            script[] = "ready after=1ms ip=192.0.2.9; panic "
                       "text=x; fail verb=run text=no";
static char kernel[] = "/images/vmlinuz", disk[] = "/disks/a,b.img", id[] = "root", nic[] = "n0";
static struct vivi_forward forward = {.host_ip = "127.0.0.1", .host_port = 8080, .guest_port = 80};
static struct vivi_disk disks[] = {{.id = id, .path = disk, .slot = 1}};
static struct vivi_net nets[] = {{.id = nic, .slot = 1, .forwards = &forward, .n_forwards = 1}};
static const struct vivi_config config = {.name = name,
                                          .machine = machine,
                                          .cpus = 1,
                                          .memory_bytes = UINT64_C(64) << 20,
                                          .kernel = kernel,
                                          .disks = disks,
                                          .n_disks = 1,
                                          .nets = nets,
                                          .n_nets = 1,
                                          .fake_script = script};
static const struct vivi_facts facts = {.host_memory_bytes = UINT64_C(1) << 30,
                                        .lowest_port = 9000,
                                        .probe = {.exe = "/usr/bin/vmm", .usable = true}};

typedef int (*scenario)(viv_error *err);

static int run_check(viv_error *err)
{
    cleanup_problems struct vivi_problems p = {0};
    int r = vivi_driver_get(VIVI_DRIVER_QEMU)->check(&config, &facts, &p);

    if (r == 0)
        assert_int_equal(p.n, 3); /* kernel, disk, port */
    return r < 0 ? vivi_fail(err, -r, "check") : 0;
}

static int plan_with(enum vivi_driver_kind kind, viv_error *err)
{
    const struct vivi_plan_input in = {.config = &config,
                                       .facts = &facts,
                                       .uuid = "6f1f2e0c-8a53-4f0e-9d4b-0c1d2e3f4a5b",
                                       .nonce = "00",
                                       .run_dir = "/r,un",
                                       .vm_dir = "/vm"};
    struct vivi_plan plan = {0}, empty = {0};
    json_t *doc = NULL;
    int r = vivi_driver_get(kind)->plan(&in, &plan, err);

    if (r < 0) {
        assert_memory_equal(&plan, &empty, sizeof(plan));
        return r;
    }
    r = vivi_plan_to_json(&plan, &doc, err);
    if (r < 0)
        assert_null(doc);
    json_decref(doc);
    vivi_plan_done(&plan);
    return r;
}

static int run_qemu_plan(viv_error *err)
{
    return plan_with(VIVI_DRIVER_QEMU, err);
}

static int run_fake_plan(viv_error *err)
{
    return plan_with(VIVI_DRIVER_FAKE, err);
}

static int run_fake_check(viv_error *err)
{
    cleanup_problems struct vivi_problems p = {0};
    int r = vivi_driver_get(VIVI_DRIVER_FAKE)->check(&config, &facts, &p);

    assert_int_equal(p.n, 0);
    return r < 0 ? vivi_fail(err, -r, "check") : 0;
}

static int run_facts(viv_error *err)
{
    const struct vivi_driver *d = vivi_driver_get(VIVI_DRIVER_FAKE);
    struct vivi_facts f = {0}, empty = {0};
    int r = vivi_facts_gather(&config, d, NULL, &f, err);

    if (r < 0)
        assert_memory_equal(&f, &empty, sizeof(f));
    vivi_facts_done(&f);
    return r;
}

static void every_failing_allocation_is_an_ordinary_error(void **state)
{
    static const scenario all[] = {run_check, run_qemu_plan, run_fake_plan, run_fake_check,
                                   run_facts};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        unsigned n = 0;
        bool hit;

        do {
            viv_error err = VIV_ERROR_INIT;
            int r;

            fault_at(++n);
            r = all[i](&err);
            hit = fault_hit();
            if (hit) {
                assert_int_equal(r, -VIV_E_NO_MEMORY);
                assert_int_equal(err.code, VIV_E_NO_MEMORY);
            } else {
                assert_int_equal(r, 0);
            }
        } while (hit);
        assert_true(n > 2);
    }
}

static void *json_allocate(size_t size)
{
    return malloc(size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_allocation_is_an_ordinary_error),
    };

    json_set_alloc_funcs(json_allocate, free);
    return cmocka_run_group_tests_name("driver memory", tests, NULL, NULL);
}
