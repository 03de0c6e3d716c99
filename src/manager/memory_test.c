/*
 * Out of memory is an ordinary error: a scenario is run with its nth allocation failing, for each n
 * until it gets through. Every call must answer 0 or NO_MEMORY, leave nothing behind on disk and
 * leak nothing (AddressSanitizer looks). jansson's allocations count too.
 */
#include "manager/testing.h"

#include "base/fault.h"
#include "base/fd.h"

#define MOST 20000

static const char yaml[] = "name: web\ndriver: fake\nlabels: {job: \"42\"}\ncpus: 2\n";

/* The first call that fails ends it. */
static int parse_and_check(viv *v, viv_error *err)
{
    viv_config *c = NULL;
    viv_list *problems = NULL;
    viv_rec *plan = NULL;
    int r = viv_config_parse(yaml, sizeof(yaml) - 1, "a.yaml", &c, err);

    if (r == 0)
        r = viv_config_set(c, "memory", "1GiB", err);
    if (r == 0)
        r = viv_config_check(v, c, &problems, err);
    if (r == 0)
        r = viv_config_plan(v, c, &plan, err);
    if (r == 0 && !viv_rec_json(plan))
        r = vivi_fail_oom(err);
    viv_rec_free(plan);
    viv_list_free(problems);
    viv_config_free(c);
    return r;
}

static int create_list_and_remove(viv *v, viv_error *err)
{
    viv_config *c = NULL;
    viv_vm *m = NULL;
    viv_list *l = NULL;
    viv_rec *info = NULL;
    int r = viv_config_parse(yaml, sizeof(yaml) - 1, NULL, &c, err);

    if (r == 0)
        r = viv_create(v, c, 0, &m, NULL, err);
    if (r == 0)
        r = viv_ls(v, "labels.job=42", &l, err);
    if (r == 0)
        r = viv_vm_info(m, &info, err);
    if (r == 0)
        r = viv_vm_remove(m, NULL, NULL, NULL, err);
    viv_rec_free(info);
    viv_list_free(l);
    viv_vm_free(m);
    viv_config_free(c);
    return r;
}

static int open_subscribe_and_ask(viv *v, viv_error *err)
{
    viv *own = NULL;
    viv_vm *m = NULL;
    viv_rec *rec = NULL;
    viv_opts *o = NULL;
    int r = viv_open(viv_root(v), 0, &own, err);

    if (r == 0)
        r = viv_subscribe(own, "vm=db", VIV_EVENTS_ALL, err);
    if (r == 0)
        r = viv_next(own, &rec, err);
    if (r >= 0)
        r = viv_lookup(own, "db", &m, err);
    if (r == 0)
        r = viv_opts_new(&o, err);
    if (r == 0)
        r = viv_opts_set_i64(o, "timeout_ms", 5000, err);
    viv_rec_free(rec);
    rec = NULL;
    if (r == 0)
        r = viv_vm_pause(m, o, NULL, &rec, err);
    viv_rec_free(rec);
    viv_opts_free(o);
    viv_vm_free(m);
    viv_close(own);
    return r;
}

/* What a failed create or an interrupted removal leaves is none of the next round's business. */
static void clean(viv *v)
{
    viv_vm *m = NULL;

    assert_int_equal(vivi_root_repair(&v->root, NULL), 0);
    if (viv_lookup(v, "web", &m, NULL) == 0)
        assert_int_equal(viv_vm_remove(m, NULL, NULL, NULL, NULL), 0);
    viv_vm_free(m);
}

static void every_allocation_fails_once(struct fixture *f, int (*scenario)(viv *, viv_error *))
{
    unsigned n;

    for (n = 1; n < MOST; n++) {
        viv_error err = VIV_ERROR_INIT;
        int fds = vivi_fd_count();
        int r;
        bool hit;

        fault_at(n);
        r = scenario(f->v, &err);
        hit = fault_hit();
        /* jansson 2.14 calls a text malformed when it could not keep a part of it. */
        if (r != 0 && r != -VIV_E_NO_MEMORY && r != -VIV_E_PROTOCOL)
            fail_msg("allocation %u: %d (%s)", n, r, err.message);
        if (r != 0) {
            assert_true(hit);
            assert_int_equal(err.code, -r);
        }
        assert_int_equal(vivi_fd_count(), fds);
        clean(f->v);
        if (!hit)
            break;
    }
    assert_in_range(n, 20, MOST - 1);
}

static void configurations_without_memory(void **state)
{
    every_allocation_fails_once(*state, parse_and_check);
}

static void machines_without_memory(void **state)
{
    every_allocation_fails_once(*state, create_list_and_remove);
}

static void operations_without_memory(void **state)
{
    struct fixture *f = *state;

    viv_vm_free(some_vm(f, "db"));
    double_start(f, "db", &(struct double_how){.result = "{\"changed\":true}"});
    every_allocation_fails_once(f, open_subscribe_and_ask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(configurations_without_memory),
        TEST(machines_without_memory),
        TEST(operations_without_memory),
    };

    json_set_alloc_funcs(malloc, free);
    return cmocka_run_group_tests_name("manager: memory", tests, NULL, NULL);
}
