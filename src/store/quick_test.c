#include "store/testing.h"

#include "store/state_fields.h"

static const char ordinary[] =
    "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"ready\":true,"
    "\"ready_proof\":\"marker\",\"ready_at_ms\":1795464542886,\"ip\":\"192.0.2.1\",\"run\":12,"
    "\"driver\":\"fake\",\"cpus\":1,\"memory_bytes\":536870912,\"vmm\":[22815,508878],"
    "\"config_stamp\":\"1ca\",\"labels\":{\"job\":\"42\",\"n\":-3,\"l\":[true,false,null,{}]}}";

static bool scan(const char *text, struct vivi_state *ret, bool *ret_labels)
{
    return vivi_state_scan(text, strlen(text), ret, ret_labels);
}

static void an_ordinary_record_is_read_quickly_and_as_the_long_way_does(void **state)
{
    struct fixture *f = *state;
    struct vivi_state quick, slow;
    struct vivi_state_text text;
    bool labels = false;

    assert_true(scan(ordinary, &quick, &labels));
    assert_true(labels);
    put_file(f->root.fd, "state.json", ordinary);
    assert_int_equal(vivi_state_read(f->root.fd, &slow, NULL), 0);
    assert_non_null(slow.extra);
    vivi_state_done(&slow);
    assert_memory_equal(&quick, &slow, sizeof(quick));
    assert_int_equal(vivi_state_read_quick(f->root.fd, "state.json", &text, &quick), 1);
    assert_true(text.has_labels);
    assert_int_equal(text.len, strlen(ordinary));
    assert_int_equal(vivi_state_read_quick(f->root.fd, "none", &text, &quick), 0);
}

static void what_this_program_writes_is_always_read_quickly(void **state)
{
    struct fixture *f = *state;
    struct vivi_state_text text;
    struct vivi_state s, got;

    some_vm(&f->root, "web", UUID_A);
    for (unsigned i = 0; i < VIV_ST_COUNT_; i++) {
        some_state(&s, "web", UUID_A);
        s.state = (enum viv_state)i;
        s.backoff_ms = -5;
        s.keeper = (struct vivi_proc_id){7, 8};
        s.restarts = UINT32_MAX;
        s.remove_when_ended = true;
        assert_int_equal(vivi_state_write(f->root.fd, &s, VIVI_FAST, NULL), 0);
        assert_int_equal(vivi_state_read_quick(f->root.fd, "state.json", &text, &got), 1);
        assert_false(text.has_labels);
        assert_memory_equal(&s, &got, sizeof(s));
    }
}

static void what_it_does_not_know_is_left_to_the_long_way(void **state)
{
    static const char *const cases[] = {
        "",
        "{}",
        "{\"schema\":2,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":10,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":1,\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\"}",
        "{\"schema\":1,\"uuid\":\"" UUID_A "\",\"name\":\"web\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"web\",\"name\":\"web\",\"uuid\":\"" UUID_A
        "\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"w\\u0065b\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"w\xc3\xa4\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"flying\"}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"run\":-1}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"run\":01}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"run\":1.5}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"run\":"
        "12345678901234567890}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A
        "\",\"state\":\"running\",\"vmm\":[0,1]}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"} ",
        "{\"schema\":1, \"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\"}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A
        "\",\"state\":\"running\",\"x\":{\"a\":}}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\",\"x\":[1,]}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"running\","
        "\"x\":[[[[[[1]]]]]]}",
        "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A
        "\",\"state\":\"running\",\"schema\":1}",
    };
    struct vivi_state s = {.name = "untouched"};
    bool labels;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (scan(cases[i], &s, &labels))
            fail_msg("taken: %s", cases[i]);
    assert_string_equal(s.name, "untouched");
}

/* Whatever one changed byte makes of a record: if the quick way takes it, the long way agrees. */
static void no_damage_is_read_otherwise_than_the_long_way_reads_it(void **state)
{
    static const char bytes[] = "\"{}[],:0-9atx \\\x01\xff";
    struct fixture *f = *state;
    size_t len = strlen(ordinary);
    char text[sizeof(ordinary)];
    unsigned taken = 0;

    for (size_t i = 0; i < len; i++) {
        for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
            struct vivi_state quick, slow;
            bool labels;

            memcpy(text, ordinary, sizeof(ordinary));
            text[i] = bytes[k];
            if (!vivi_state_scan(text, len, &quick, &labels))
                continue;
            taken++;
            put_file(f->root.fd, "state.json", text);
            if (vivi_state_read(f->root.fd, &slow, NULL) < 0)
                fail_msg("taken: %s", text);
            vivi_state_done(&slow);
            assert_memory_equal(&quick, &slow, sizeof(quick));
        }
        assert_false(vivi_state_scan(ordinary, i, &(struct vivi_state){0}, &(bool){false}));
    }
    assert_true(taken > 100);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_ordinary_record_is_read_quickly_and_as_the_long_way_does),
        T(what_this_program_writes_is_always_read_quickly),
        T(what_it_does_not_know_is_left_to_the_long_way),
        T(no_damage_is_read_otherwise_than_the_long_way_reads_it),
    };

    return cmocka_run_group_tests_name("store: quick", tests, NULL, NULL);
}
