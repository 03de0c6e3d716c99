#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/errno_text.h"
#include "base/testing.h"

static void a_failure_keeps_code_and_text_and_returns_the_negated_code(void **state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    (void)snprintf(err.hint, sizeof(err.hint), "of an earlier error");
    assert_int_equal(vivi_fail(&err, VIV_E_BUSY, "start of %s is in progress", "web"), -VIV_E_BUSY);
    assert_int_equal(err.code, VIV_E_BUSY);
    assert_string_equal(err.message, "start of web is in progress");
    assert_string_equal(err.hint, "");
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(err.size, sizeof(viv_error));
}

static void every_function_takes_null(void **state)
{
    (void)state;
    assert_int_equal(vivi_fail(NULL, VIV_E_IO, "x"), -VIV_E_IO);
    assert_int_equal(vivi_fail_field(NULL, VIV_E_INVALID, "name", "x"), -VIV_E_INVALID);
    assert_int_equal(vivi_fail_errno(NULL, ENOENT, "x"), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_fail_oom(NULL), -VIV_E_NO_MEMORY);
    assert_int_equal(vivi_wrap(NULL, -VIV_E_IO, "x"), -VIV_E_IO);
    vivi_hint(NULL, "x");
    vivi_error_vm(NULL, "x");
    vivi_error_clear(NULL);
}

static void a_field_stands_in_the_message_and_beside_it(void **state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    (void)vivi_fail_field(&err, VIV_E_INVALID, "boot.kernel", "%s: no such file", "/x");
    assert_string_equal(err.field, "boot.kernel");
    assert_string_equal(err.message, "boot.kernel: /x: no such file");
}

static void system_errors_read_in_lower_case_and_give_their_code(void **state)
{
    static const struct {
        int sys_errno, code;
        const char *text, *name;
    } cases[] = {
        {ENOENT, VIV_E_NOT_FOUND, "/x: no such file", "ENOENT"},
        {EACCES, VIV_E_DENIED, "/x: permission denied", "EACCES"},
        {EPERM, VIV_E_DENIED, "/x: operation not permitted", "EPERM"},
        {EROFS, VIV_E_DENIED, "/x: read-only file system", "EROFS"},
        {EEXIST, VIV_E_EXISTS, "/x: file exists", "EEXIST"},
        {EAGAIN, VIV_E_BUSY, "/x: resource temporarily unavailable", "EAGAIN"},
        {EBUSY, VIV_E_BUSY, "/x: device or resource busy", "EBUSY"},
        {ENOMEM, VIV_E_NO_MEMORY, "/x: cannot allocate memory", "ENOMEM"},
        {ETIMEDOUT, VIV_E_TIMEOUT, "/x: connection timed out", "ETIMEDOUT"},
        {EINVAL, VIV_E_INVALID, "/x: invalid argument", "EINVAL"},
        {ENOSYS, VIV_E_UNSUPPORTED, "/x: function not implemented", "ENOSYS"},
        {EOPNOTSUPP, VIV_E_UNSUPPORTED, "/x: operation not supported", "EOPNOTSUPP"},
        {ECANCELED, VIV_E_CANCELLED, "/x: operation cancelled", "ECANCELED"},
        {ENOSPC, VIV_E_IO, "/x: no space left on device", "ENOSPC"},
        {99999, VIV_E_IO, "/x: unknown error", "EUNKNOWN"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(vivi_fail_errno(&err, cases[i].sys_errno, "%s", "/x"), -cases[i].code);
        assert_string_equal(err.message, cases[i].text);
        assert_int_equal(err.sys_errno, cases[i].sys_errno);
        assert_int_equal((err.flags & VIV_ERR_RETRY) != 0, cases[i].code == VIV_E_BUSY);
        assert_string_equal(vivi_errno_name(cases[i].sys_errno), cases[i].name);
    }
    assert_string_equal(vivi_errno_name(0), "0");
    assert_string_equal(vivi_errno_text(0), "success");
}

static void wrapping_puts_context_before_the_cause_and_keeps_the_rest(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_fail_errno(&err, EACCES, "%s", "/d.img");

    (void)state;
    vivi_hint(&err, "try %s", "chmod");
    assert_int_equal(vivi_wrap(&err, r, "disk %d", 2), -VIV_E_DENIED);
    assert_string_equal(err.message, "disk 2: /d.img: permission denied");
    assert_string_equal(err.hint, "try chmod");
    assert_int_equal(err.sys_errno, EACCES);
    assert_int_equal(err.flags, 0);
}

static void an_error_may_be_wrapped_in_its_own_text(void **state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    (void)vivi_fail(&err, VIV_E_VMM, "first words");
    (void)vivi_fail(&err, VIV_E_IO, "quoted: %s", err.message);
    assert_string_equal(err.message, "quoted: first words");
    (void)vivi_wrap(&err, -VIV_E_IO, "%s", err.message);
    assert_string_equal(err.message, "quoted: first words: quoted: first words");
}

static void when_text_runs_out_the_outer_context_goes_and_the_cause_stays(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char cause[500], context[100];

    (void)state;
    memset(cause, 'c', sizeof(cause) - 1);
    cause[sizeof(cause) - 1] = '\0';
    memset(context, 'x', sizeof(context) - 1);
    context[sizeof(context) - 1] = '\0';
    (void)vivi_fail(&err, VIV_E_IO, "%s", cause);
    assert_int_equal(err.flags, 0);
    assert_int_equal(vivi_wrap(&err, -VIV_E_IO, "%s", context), -VIV_E_IO);
    assert_string_equal(err.message, cause);
    assert_int_equal(err.flags, VIV_ERR_TRUNCATED);
}

static void too_long_a_text_is_cut_between_characters(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char text[600];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[599] = '\0';
    memcpy(text + 510, "\xC3\xA4", 2); /* bytes 510 and 511: only the first would fit */
    (void)vivi_fail(&err, VIV_E_IO, "%s", text);
    assert_int_equal(strlen(err.message), 510);
    assert_int_equal(err.flags, VIV_ERR_TRUNCATED);
    vivi_hint(&err, "%s", text);
    assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
}

static void the_first_vm_named_stays(void **state)
{
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    (void)vivi_fail(&err, VIV_E_IO, "x");
    vivi_error_vm(&err, "web");
    vivi_error_vm(&err, "db");
    assert_string_equal(err.vm, "web");
}

static void every_code_has_its_word_and_exit_status(void **state)
{
    static const struct {
        int code;
        const char *name;
        int status;
    } cases[] = {
        {VIV_OK, "OK", 0},
        {VIV_E_INTERNAL, "INTERNAL", 1},
        {VIV_E_INVALID, "INVALID", 2},
        {VIV_E_NOT_FOUND, "NOT_FOUND", 3},
        {VIV_E_WRONG_STATE, "WRONG_STATE", 4},
        {VIV_E_UNSUPPORTED, "UNSUPPORTED", 5},
        {VIV_E_TIMEOUT, "TIMEOUT", 6},
        {VIV_E_DENIED, "DENIED", 7},
        {VIV_E_EXISTS, "EXISTS", 8},
        {VIV_E_BUSY, "BUSY", 9},
        {VIV_E_CANCELLED, "CANCELLED", 130},
        {VIV_E_NO_MEMORY, "NO_MEMORY", 1},
        {VIV_E_IO, "IO", 1},
        {VIV_E_PROTOCOL, "PROTOCOL", 1},
        {VIV_E_VMM, "VMM", 1},
        {VIV_E_VMM + 1, "INTERNAL", 1},
        {INT_MIN, "INTERNAL", 1},
        {INT_MAX, "INTERNAL", 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_string_equal(viv_code_name(cases[i].code), cases[i].name);
        assert_int_equal(viv_code_exit(cases[i].code), cases[i].status);
        if (cases[i].code == INT_MIN)
            continue;
        assert_string_equal(viv_code_name(-cases[i].code), cases[i].name);
        assert_int_equal(viv_code_exit(-cases[i].code), cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_keeps_code_and_text_and_returns_the_negated_code),
        cmocka_unit_test(every_function_takes_null),
        cmocka_unit_test(a_field_stands_in_the_message_and_beside_it),
        cmocka_unit_test(system_errors_read_in_lower_case_and_give_their_code),
        cmocka_unit_test(wrapping_puts_context_before_the_cause_and_keeps_the_rest),
        cmocka_unit_test(an_error_may_be_wrapped_in_its_own_text),
        cmocka_unit_test(when_text_runs_out_the_outer_context_goes_and_the_cause_stays),
        cmocka_unit_test(too_long_a_text_is_cut_between_characters),
        cmocka_unit_test(the_first_vm_named_stays),
        cmocka_unit_test(every_code_has_its_word_and_exit_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
