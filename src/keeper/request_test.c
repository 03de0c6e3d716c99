#include "keeper/request.h"

#include <string.h>

#include "base/testing.h"

/* Fields as they stand on the wire, "a|b|" for "a\0b\0". */
static int parse(uint8_t op, size_t n_fds, const char *text, struct vivi_request *ret,
                 viv_error *err)
{
    static char payload[8192];
    struct vivi_frame f = {
        .version = VIVI_KEEPER_VERSION, .op = op, .n_fds = n_fds, .payload = payload};

    f.len = strlen(text);
    memcpy(payload, text, f.len + 1);
    for (size_t i = 0; i < f.len; i++)
        if (payload[i] == '|')
            payload[i] = '\0';
    return vivi_request_parse(&f, ret, err);
}

static void every_request_is_taken_apart(void **state)
{
    static struct vivi_request r;

    (void)state;
    assert_int_equal(parse(VIVI_KO_HOLD, 1, "caller|", &r, NULL), 1);
    assert_string_equal(r.name, "caller");
    assert_int_equal(parse(VIVI_KO_DROP, 0, "caller|", &r, NULL), 1);
    assert_string_equal(r.name, "caller");
    assert_int_equal(parse(VIVI_KO_LOG, 1, "serial.out|serial.log|4096|", &r, NULL), 1);
    assert_string_equal(r.name, "serial.out");
    assert_string_equal(r.file, "serial.log");
    assert_int_equal(r.limit_bytes, 4096);
    assert_int_equal(parse(VIVI_KO_DRAIN, 0, "18446744073709551615|serial.out|", &r, NULL), 1);
    assert_true(r.token == UINT64_MAX);
    assert_string_equal(r.name, "serial.out");
    assert_int_equal(parse(VIVI_KO_QUIT, 0, "", &r, NULL), 1);
    assert_int_equal(r.op, VIVI_KO_QUIT);
}

static void a_spawn_has_argv_with_its_end_and_a_map(void **state)
{
    static struct vivi_request r;

    (void)state;
    assert_int_equal(
        parse(VIVI_KO_SPAWN, 0, "7|vmm|3|/bin/x|2|x||3|0=null|2=vmm.log|255=serial.out|", &r, NULL),
        1);
    assert_int_equal(r.token, 7);
    assert_string_equal(r.name, "vmm");
    assert_int_equal(r.run, 3);
    assert_string_equal(r.exe, "/bin/x");
    assert_int_equal(r.n_argv, 2);
    assert_string_equal(r.argv[0], "x");
    assert_string_equal(r.argv[1], ""); /* an empty argument is one */
    assert_null(r.argv[2]);
    assert_int_equal(r.n_map, 3);
    assert_int_equal(r.map[0].child_fd, 0);
    assert_string_equal(r.map[0].name, "null");
    assert_int_equal(r.map[2].child_fd, 255);
    assert_string_equal(r.map[2].name, "serial.out");
}

static void what_is_malformed_is_refused_by_name(void **state)
{
    static const struct {
        uint8_t op;
        size_t n_fds;
        const char *text, *message;
    } cases[] = {
        {VIVI_KO_HOLD, 0, "caller|", "malformed request: number of descriptors"},
        {VIVI_KO_HOLD, 2, "caller|", "malformed request: number of descriptors"},
        {VIVI_KO_DROP, 1, "caller|", "malformed request: number of descriptors"},
        {VIVI_KO_HOLD, 1, "", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a|b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a=b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a,b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a@b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "a/b|", "malformed HOLD"},
        {VIVI_KO_HOLD, 1, "123456789012345678901234567890123456789012345678|", "malformed HOLD"},
        {VIVI_KO_DROP, 0, "a", "the last field has no end"},
        {VIVI_KO_LOG, 1, "a|b.log|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|b|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|.log|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|.b.log|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|../b.log|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|exits.log|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|monitor.log|0|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|b.log|-1|", "malformed LOG"},
        {VIVI_KO_LOG, 1, "a|b.log|9223372036854775808|", "malformed LOG"},
        {VIVI_KO_DRAIN, 0, "x|a|", "malformed DRAIN"},
        {VIVI_KO_DRAIN, 0, "18446744073709551616|a|", "malformed DRAIN"},
        {VIVI_KO_QUIT, 0, "now|", "malformed QUIT"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|0|0|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|x|1|x|0|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|monitor|1|/x|1|x|0|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|2|x|0|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|99999999999999999999|x|0|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|65|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|5|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|=a|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|256=a|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|5=lock|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|5=keeper|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|1|5=listener|", "malformed SPAWN"},
        {VIVI_KO_SPAWN, 0, "1|vmm|1|/x|1|x|2|5=a|5=b|", "malformed SPAWN"},
    };
    static struct vivi_request r;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        viv_error err = VIV_ERROR_INIT;

        if (parse(cases[i].op, cases[i].n_fds, cases[i].text, &r, &err) != -VIV_E_PROTOCOL)
            fail_msg("case %zu (%s) is accepted", i, cases[i].text);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void another_version_is_refused_and_a_newer_request_passed_over(void **state)
{
    struct vivi_frame f = {.version = 2, .op = VIVI_KO_QUIT, .payload = ""};
    static struct vivi_request r;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_request_parse(&f, &r, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "malformed version");
    for (uint8_t op = VIVI_KO_QUIT + 1; op < 70; op++)
        assert_int_equal(parse(op, 0, "x|", &r, NULL), 0);
    assert_int_equal(parse(0, 0, "x|", &r, NULL), 0);
}

static void more_fields_than_any_request_has_are_refused(void **state)
{
    static char text[4000];
    static struct vivi_request r;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    for (int i = 0; i < 700; i++)
        (void)snprintf(text + 2 * (size_t)i, 3, "1|");
    assert_int_equal(parse(VIVI_KO_SPAWN, 0, text, &r, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "more than 640 fields");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_taken_apart),
        cmocka_unit_test(a_spawn_has_argv_with_its_end_and_a_map),
        cmocka_unit_test(what_is_malformed_is_refused_by_name),
        cmocka_unit_test(another_version_is_refused_and_a_newer_request_passed_over),
        cmocka_unit_test(more_fields_than_any_request_has_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
