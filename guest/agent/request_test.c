#include "agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "procs.h"

#define PARSE(text, q, err) \
    request_parse(&(struct vivi_aw_frame){.payload = (text), .len = sizeof(text)}, q, err)

static void a_command_is_read_with_all_that_belongs_to_it(void **state)
{
    struct child_request q = {0};

    (void)state;
    assert_int_equal(
        PARSE("exec\0arg=ls\0cwd=/tmp\0user=web\0tty=1\0rows=24\0cols=80\0timeout_ms=5", &q, NULL),
        0);
    assert_false(q.shell);
    assert_true(q.tty);
    assert_false(q.input);
    assert_int_equal(q.rows, 24);
    assert_int_equal(q.cols, 80);
    assert_int_equal(q.timeout_ms, 5);
    assert_string_equal(q.cwd, "/tmp");
    assert_string_equal(q.user, "web");
}

static void a_shell_needs_no_command(void **state)
{
    struct child_request q = {0};

    (void)state;
    assert_int_equal(PARSE("shell\0stdin=1", &q, NULL), 0);
    assert_true(q.shell && q.input);
    assert_null(q.user);
}

static void what_is_wrong_is_named(void **state)
{
    struct child_request q = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(PARSE("exec", &q, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "no command is given");
    assert_int_equal(PARSE("fly\0arg=x", &q, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "this agent knows no request 'fly'");
    assert_int_equal(PARSE("exec\0arg=x\0rows=65536", &q, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "rows: more than 65535");
    assert_int_equal(PARSE("exec\0arg=x\0timeout_ms=soon", &q, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "timeout_ms: not a number");
}

static void users_may_be_numbers(void **state)
{
    static const struct {
        const char *text;
        bool is;
        uint32_t uid, gid;
    } cases[] = {
        {"0", true, 0, 7},
        {"1000:100", true, 1000, 100},
        {"web", false, 7, 7},
        {"1000:", false, 7, 7},
        {":5", false, 7, 7},
        {"1:x", false, 7, 7},
        {"4294967295", false, 7, 7},
        {"", false, 7, 7},
        {"99999999999999999999", false, 7, 7},
        {"1:4294967295", false, 7, 7},
        {"-1", false, 7, 7},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint32_t uid = 7, gid = 7;

        assert_int_equal(request_ids(cases[i].text, &uid, &gid), cases[i].is);
        assert_int_equal(uid, cases[i].uid);
        assert_int_equal(gid, cases[i].gid);
    }
}

static void signals_have_names_and_numbers(void **state)
{
    (void)state;
    assert_int_equal(procs_signal("INT"), 2);
    assert_int_equal(procs_signal("sigterm"), 15);
    assert_int_equal(procs_signal("9"), 9);
    assert_int_equal(procs_signal("64"), 64);
    assert_int_equal(procs_signal("65"), 0);
    assert_int_equal(procs_signal("0"), 0);
    assert_int_equal(procs_signal("-9"), 0);
    assert_int_equal(procs_signal(""), 0);
    assert_int_equal(procs_signal("NOSUCH"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_read_with_all_that_belongs_to_it),
        cmocka_unit_test(a_shell_needs_no_command),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(users_may_be_numbers),
        cmocka_unit_test(signals_have_names_and_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
