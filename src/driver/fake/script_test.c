#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "driver/fake/script.h"

static struct fake_script *parse(const char *text)
{
    struct fake_script *s = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (fake_script_parse(text, &s, &err) < 0)
        fail_msg("%s", err.message);
    return s;
}

static void an_empty_script_is_ready_at_once(void **state)
{
    static const char *const empty[] = {NULL, "", "  ", ";;\n ; \n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        cleanup_fake_script struct fake_script *s = parse(empty[i]);

        assert_int_equal(s->n_beats, 1);
        assert_int_equal(s->beats[0].act, FAKE_READY);
        assert_int_equal(s->beats[0].after_us, 0);
        assert_int_equal(s->beats[0].boot_to, UINT32_MAX);
    }
}

static void statements_take_their_keys(void **state)
{
    cleanup_fake_script struct fake_script *s =
        parse("ready after=5ms ip=192.0.2.7 nonce=wrong; line every=250us n=1000 size=4KiB\n"
              "poweroff after=2s boot=2+; reboot boot=1 after=1m; exit code=3 text=\"a; b\"\n"
              "crash signal=9");

    (void)state;
    assert_int_equal(s->n_beats, 6);
    assert_int_equal(s->beats[0].after_us, 5000);
    assert_string_equal(s->beats[0].ip, "192.0.2.7");
    assert_string_equal(s->beats[0].nonce, "wrong");
    assert_int_equal(s->beats[1].every_us, 250);
    assert_int_equal(s->beats[1].count, 1000);
    assert_int_equal(s->beats[1].size_bytes, 4096);
    assert_int_equal(s->beats[2].after_us, 2000000);
    assert_true(s->beats[2].boot_from == 2 && s->beats[2].boot_to == UINT32_MAX);
    assert_true(s->beats[3].boot_from == 1 && s->beats[3].boot_to == 1);
    assert_int_equal(s->beats[3].after_us, 60000000);
    assert_int_equal(s->beats[4].number, 3);
    assert_string_equal(s->beats[4].text, "a; b");
    assert_int_equal(s->beats[5].number, 9);
}

static void how_a_guest_changes_is_set(void **state)
{
    cleanup_fake_script struct fake_script *s =
        parse("unplug after=20ms; settle after=1s; busy n=2; keep text=\"it is mounted\"; "
              "slow verb=add by=1ms; hang verb=resize");
    cleanup_fake_script struct fake_script *ever = parse("busy");

    (void)state;
    assert_int_equal(s->unplug_after_us, 20000);
    assert_int_equal(s->settle_after_us, 1000000);
    assert_int_equal(s->busy_times, 2);
    assert_string_equal(s->keep_text, "it is mounted");
    assert_int_equal(s->rules[0].verb, FAKE_V_ADD);
    assert_int_equal(s->rules[1].verb, FAKE_V_RESIZE);
    assert_true(ever->busy_times == FAKE_FOREVER && !ever->keep_text);
}

static void switches_and_rules_are_set(void **state)
{
    cleanup_fake_script struct fake_script *s = parse(
        "no-ready; no-banner; ignore-button; ignore-term; stamp; echo; keys; button after=7ms\n"
        "refuse-start text=\"no disk\"; slow verb=pause by=100ms; fail verb=run text=x; "
        "hang verb=quit");

    (void)state;
    assert_int_equal(s->n_beats, 0);
    assert_true(s->no_ready && s->no_banner && s->ignore_button && s->ignore_term && s->stamp &&
                s->echo && s->keys && s->refuse);
    assert_int_equal(s->button_after_us, 7000);
    assert_int_equal(s->refuse_code, 1);
    assert_string_equal(s->refuse_text, "no disk");
    assert_int_equal(s->n_rules, 3);
    assert_true(s->rules[0].kind == FAKE_SLOW && s->rules[0].verb == FAKE_V_PAUSE);
    assert_int_equal(s->rules[0].by_us, 100000);
    assert_true(s->rules[1].kind == FAKE_FAIL && s->rules[1].verb == FAKE_V_RUN);
    assert_true(s->rules[2].kind == FAKE_HANG && s->rules[2].verb == FAKE_V_QUIT);
}

static void text_may_hold_any_byte(void **state)
{
    cleanup_fake_script struct fake_script *s =
        parse("print text=\"a\\n\\r\\t\\0\\e\\\\\\\"\\xff;\"; print text=b\\x20c");

    (void)state;
    assert_int_equal(s->beats[0].text_len, 10);
    assert_memory_equal(s->beats[0].text, "a\n\r\t\0\033\\\"\xff;", 10);
    assert_string_equal(s->beats[1].text, "b c");
}

static void mistakes_are_told_with_their_place(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"redy", "1:1: unknown statement \"redy\""},
        {"ready; \n  lin", "2:3: unknown statement \"lin\""},
        {"ready after=soon", "1:7: not a time (examples: 250us, 5ms, 2s): \"soon\""},
        {"ready after=5", "1:7: not a time (examples: 250us, 5ms, 2s): \"5\""},
        {"ready after=-5ms", "1:7: not a time (examples: 250us, 5ms, 2s): \"-5ms\""},
        {"fill size=1TB", "1:6: not a size (examples: 512, 10MiB): \"1TB\""},
        {"line n=x", "1:6: not a number: \"x\""},
        {"exit code=256", "1:6: out of range: \"256\""},
        {"crash signal=0", "1:7: out of range: \"0\""},
        {"ready boot=0", "1:7: not a boot (examples: 1, 2+): \"0\""},
        {"ready boot=1-2", "1:7: not a boot (examples: 1, 2+): \"1-2\""},
        {"ready now", "1:7: expected key=value, found \"now\""},
        {"poweroff ip=1", "poweroff: 1:10: unknown key \"ip\""},
        {"poweroff zzz=1", "poweroff: 1:10: unknown key \"zzz\""},
        {"echo after=1ms", "echo: 1:6: unknown key \"after\""},
        {"slow verb=pause", "slow: 1:1: needs key \"by\""},
        {"stamp; print", "print: 1:8: needs key \"text\""},
        {"slow verb=fly by=1ms", "1:6: unknown verb \"fly\""},
        {"print text=\"abc", "1:12: the quote is not closed"},
        {"print text=\\q", "1:13: unknown escape (\\n \\r \\t \\0 \\e \\\\ \\\" \\xNN)"},
        {"print text=\\x1g", "1:13: \\x needs two hex digits"},
        {"print text=\\", "1:13: unknown escape (\\n \\r \\t \\0 \\e \\\\ \\\" \\xNN)"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fake_script *s = NULL;
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(fake_script_parse(rows[i].text, &s, &err), -VIV_E_INVALID);
        assert_int_equal(err.code, VIV_E_INVALID);
        assert_string_equal(err.message, rows[i].message);
        assert_null(s);
    }
}

static void a_script_has_ceilings(void **state)
{
    static char text[2 * FAKE_SCRIPT_MAX_BYTES];
    struct fake_script *s = NULL;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    text[0] = '\0';
    for (int i = 0; i < FAKE_MAX_BEATS + 1; i++)
        (void)strncat(text, "reboot;", sizeof(text) - strlen(text) - 1);
    assert_int_equal(fake_script_parse(text, &s, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "1:449: too many statements");
    memset(text, ' ', FAKE_SCRIPT_MAX_BYTES + 1);
    text[FAKE_SCRIPT_MAX_BYTES + 1] = '\0';
    assert_int_equal(fake_script_parse(text, &s, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "longer than 16384 bytes");
    assert_null(s);
}

static void verbs_have_names_both_ways(void **state)
{
    (void)state;
    for (int v = 0; v < FAKE_V_COUNT_; v++) {
        enum fake_verb back = FAKE_V_COUNT_;

        assert_int_equal(fake_verb_parse(fake_verb_name((enum fake_verb)v), &back), 0);
        assert_int_equal(back, v);
    }
    assert_string_equal(fake_verb_name(FAKE_V_COUNT_), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_script_is_ready_at_once),
        cmocka_unit_test(statements_take_their_keys),
        cmocka_unit_test(how_a_guest_changes_is_set),
        cmocka_unit_test(switches_and_rules_are_set),
        cmocka_unit_test(text_may_hold_any_byte),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(a_script_has_ceilings),
        cmocka_unit_test(verbs_have_names_both_ways),
    };

    return cmocka_run_group_tests_name("fake script", tests, NULL, NULL);
}
