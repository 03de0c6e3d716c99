#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "driver/qemu/qemu.h"
#include "driver/qemu/qmp.h"

static int parse(const char *text, struct qmp_message *m, viv_error *err)
{
    return qmp_parse(text, strlen(text), m, err);
}

static void the_four_kinds_are_told_apart(void **state)
{
    struct qmp_message m = {.id = 99};

    (void)state;
    assert_int_equal(
        parse("{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": [\"oob\"]}}",
              &m, NULL),
        0);
    assert_int_equal(m.kind, QMP_GREETING);

    assert_int_equal(parse("{\"return\": {\"status\": \"paused\"}, \"id\": 7}", &m, NULL), 0);
    assert_int_equal(m.kind, QMP_RETURN);
    assert_int_equal(m.id, 7);
    assert_string_equal(json_string_value(json_object_get(m.body, "status")), "paused");
    qmp_message_done(&m);

    assert_int_equal(
        parse("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 8}", &m, NULL),
        0);
    assert_int_equal(m.kind, QMP_ERROR);
    assert_int_equal(m.id, 8);
    assert_string_equal(m.desc, "no");
    qmp_message_done(&m);

    assert_int_equal(parse("{\"timestamp\": {\"seconds\": 1}, \"event\": \"SHUTDOWN\", \"data\": "
                           "{\"reason\": \"guest-reset\"}}",
                           &m, NULL),
                     0);
    assert_int_equal(m.kind, QMP_EVENT);
    assert_string_equal(m.event, "SHUTDOWN");
    assert_string_equal(json_string_value(json_object_get(m.body, "reason")), "guest-reset");
    qmp_message_done(&m);

    assert_int_equal(parse("{\"event\": \"STOP\"}", &m, NULL), 0);
    assert_null(m.body);
    qmp_message_done(&m);
}

static void what_breaks_the_protocol_is_refused_and_leaves_the_result_alone(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "null",
        "[]",
        "\"event\"",
        "{}",
        "{\"id\": 1}",
        "{\"return\": {}, \"event\": \"X\"}",
        "{\"return\": {}, \"error\": {\"desc\": \"x\"}}",
        "{\"return\": {}, \"return\": {}}",
        "{\"return\": {}, \"id\": \"1\"}",
        "{\"return\": {}, \"id\": 0}",
        "{\"return\": {}, \"id\": -5}",
        "{\"return\": {}, \"id\": 1.5}",
        "{\"error\": {}}",
        "{\"error\": {\"desc\": 5}}",
        "{\"error\": \"x\"}",
        "{\"event\": 5}",
        "{\"event\": \"X\", \"data\": []}",
        "{\"event\": \"AN_EVENT_WHOSE_NAME_IS_LONGER_THAN_ANY_THAT_QEMU_HAS\"}",
        "{\"return\": \"\xff\"}",
        "{\"return\": {}} trailing",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct qmp_message m = {.kind = QMP_EVENT, .id = 42};
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(parse(bad[i], &m, &err), -VIV_E_PROTOCOL);
        assert_int_equal(err.code, VIV_E_PROTOCOL);
        assert_int_equal(m.id, 42);
    }
}

static void deep_nesting_is_refused(void **state)
{
    static char deep[200000];
    struct qmp_message m;

    (void)state;
    memset(deep, '[', sizeof(deep));
    memcpy(deep, "{\"return\":", 10);
    assert_int_equal(qmp_parse(deep, sizeof(deep), &m, NULL), -VIV_E_PROTOCOL);
}

static void long_words_of_qemu_are_cut_not_refused(void **state)
{
    static char text[2000];
    struct qmp_message m;

    (void)state;
    memset(text, 'e', sizeof(text) - 1);
    memcpy(text, "{\"error\": {\"desc\": \"", 20);
    memcpy(text + sizeof(text) - 5, "\"}}", 4);
    assert_int_equal(parse(text, &m, NULL), 0);
    assert_int_equal(strlen(m.desc), sizeof(m.desc) - 1);
}

static void versions_are_read_out_of_what_qemu_prints(void **state)
{
    char version[64] = "untouched";

    (void)state;
    assert_true(qemu_parse_version(
        "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\nCopyright (c)\n", version));
    assert_string_equal(version, "7.2.22");
    assert_true(qemu_parse_version("warning: x\nQEMU emulator version 10.0.0\n", version));
    assert_string_equal(version, "10.0.0");
    assert_false(qemu_parse_version("QEMU emulator version x", version));
    assert_false(qemu_parse_version("bash: no such file", version));
    assert_false(qemu_parse_version("", version));
    assert_string_equal(version, "10.0.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_four_kinds_are_told_apart),
        cmocka_unit_test(what_breaks_the_protocol_is_refused_and_leaves_the_result_alone),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(long_words_of_qemu_are_cut_not_refused),
        cmocka_unit_test(versions_are_read_out_of_what_qemu_prints),
    };

    return cmocka_run_group_tests_name("qemu qmp parse", tests, NULL, NULL);
}
