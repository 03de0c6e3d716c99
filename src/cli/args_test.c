#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"

static const struct vivi_flag own[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, NULL, "how long"},
    {"--lines", 'n', VIVI_V_NUMBER, "N", NULL, NULL, "how many"},
    {"--follow", 'f', VIVI_V_NONE, NULL, NULL, NULL, "go on"},
    {.name = NULL},
};
static const struct vivi_flag shared[] = {
    {"--output", 'o', VIVI_V_CHOICE, "FORMAT", "table|json|yaml", NULL, "how"},
    {"--quiet", 'q', VIVI_V_NONE, NULL, NULL, NULL, "less"},
    {.name = NULL},
};
static const struct vivi_flags flags = {.sets = {own, shared}};
static const struct vivi_flags with_fields = {.sets = {own, shared}, .fields = true};

static int parse(const struct vivi_flags *f, struct vivi_args *ret, viv_error *err, int n,
                 const char *const *words)
{
    return vivi_args_parse(f, n, words, ret, err);
}

#define PARSE(f, ret, err, ...)                                                       \
    parse(f, ret, err, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), \
          (const char *[]){__VA_ARGS__})

static void flags_and_words_may_come_in_any_order(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;
    int64_t ms = 0;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "web", "-q", "--timeout", "5s", "db"), 0);
    assert_int_equal(a.n_words, 2);
    assert_string_equal(a.words[0], "web");
    assert_string_equal(a.words[1], "db");
    assert_true(vivi_args_has(&a, "--quiet"));
    assert_false(vivi_args_has(&a, "--follow"));
    assert_int_equal(vivi_args_duration(&a, "--timeout", &ms, &err), 1);
    assert_int_equal(ms, 5000);
    assert_null(a.rest);
    vivi_args_done(&a);
}

static void every_form_of_a_value_is_the_same(void **state)
{
    static const char *const forms[][2] = {
        {"--timeout=5s", NULL}, {"--timeout", "5s"}, {"-t5s", NULL}, {"-t", "5s"}, {"-t=5s", NULL}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct vivi_args a = {0};
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(vivi_args_parse(&flags, forms[i][1] ? 2 : 1, forms[i], &a, &err), 0);
        assert_string_equal(vivi_args_str(&a, "--timeout"), "5s");
        assert_int_equal(a.n_words, 0);
        vivi_args_done(&a);
    }
}

static void switches_bundle_and_the_last_letter_may_take_a_value(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;
    int64_t n = 0;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "-fqn", "-1"), 0);
    assert_true(vivi_args_has(&a, "--follow"));
    assert_true(vivi_args_has(&a, "--quiet"));
    assert_int_equal(vivi_args_number(&a, "--lines", &n, &err), 1);
    assert_int_equal(n, -1);
    vivi_args_done(&a);
}

static void the_last_of_two_values_wins(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "-o", "json", "--output=yaml"), 0);
    assert_string_equal(vivi_args_str(&a, "--output"), "yaml");
    vivi_args_done(&a);
}

static void two_dashes_end_the_flags(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "demo", "--", "ls", "-q"), 0);
    assert_int_equal(a.n_words, 1);
    assert_int_equal(a.n_rest, 2);
    assert_string_equal(a.rest[0], "ls");
    assert_string_equal(a.rest[1], "-q");
    assert_false(vivi_args_has(&a, "--quiet"));
    vivi_args_done(&a);
}

static void a_single_dash_is_a_word(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "-"), 0);
    assert_int_equal(a.n_words, 1);
    vivi_args_done(&a);
}

static void refused(const char *first, const char *second, const char *message, const char *hint)
{
    const char *words[] = {first, second};
    struct vivi_args a = {.n_words = 77};
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_args_parse(&flags, second ? 2 : 1, words, &a, &err), -VIV_E_INVALID);
    assert_int_equal(err.code, VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.hint, hint);
    assert_int_equal(a.n_words, 77); /* untouched */
}

static void wrong_flags_are_refused_by_name_with_the_nearest(void **state)
{
    (void)state;
    refused("--tiemout", "5s", "--tiemout: unknown flag", "did you mean \"--timeout\"?");
    refused("--tiemout=5s", NULL, "--tiemout: unknown flag", "did you mean \"--timeout\"?");
    refused("--nonsense", NULL, "--nonsense: unknown flag", "");
    refused("-x", NULL, "-x: unknown flag", "");
    refused("-qx", NULL, "-x: unknown flag", "");
    refused("--timeout", NULL, "--timeout: needs a value", "");
    refused("-t", NULL, "-t: needs a value", "");
    refused("--quiet=yes", NULL, "--quiet: takes no value", "");
    refused("-o", "xml", "-o: \"xml\" is none of table, json, yaml", "");
    refused("--output=", NULL, "--output: \"\" is none of table, json, yaml", "");
    refused("--output=tab", NULL, "--output: \"tab\" is none of table, json, yaml", "");
}

static void wrong_values_are_refused_with_the_flag(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;
    int64_t n = 42;

    (void)state;
    assert_int_equal(PARSE(&flags, &a, &err, "-n", "7x", "-t", "soon"), 0);
    assert_int_equal(vivi_args_number(&a, "--lines", &n, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "--lines: \"7x\" is not a number");
    assert_int_equal(vivi_args_duration(&a, "--timeout", &n, &err), -VIV_E_INVALID);
    assert_memory_equal(err.message, "--timeout: ", strlen("--timeout: "));
    assert_int_equal(n, 42);
    vivi_args_done(&a);
}

static void flags_of_the_field_table_are_taken_only_where_they_belong(void **state)
{
    struct vivi_args a = {0};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(PARSE(&with_fields, &a, &err, "-c", "2", "--memory=1GiB", "-p", "80:80"), 0);
    assert_int_equal(a.n_given, 3);
    assert_string_equal(a.given[0].field->path, "cpus.count");
    assert_string_equal(a.given[1].field->path, "memory.size");
    assert_string_equal(a.given[1].value, "1GiB");
    assert_null(a.given[2].flag);
    vivi_args_done(&a);
    assert_int_equal(PARSE(&flags, &a, &err, "--memory=1GiB"), -VIV_E_INVALID);
    assert_string_equal(err.message, "--memory: unknown flag");
}

static void a_choice_is_a_whole_word(void **state)
{
    (void)state;
    assert_true(vivi_choice_has("a|bc|d", "bc"));
    assert_true(vivi_choice_has("a|bc|d", "d"));
    assert_false(vivi_choice_has("a|bc|d", "b"));
    assert_false(vivi_choice_has("a|bc|d", "c"));
    assert_false(vivi_choice_has("a|bc|d", ""));
    assert_false(vivi_choice_has("a|bc|d", "a|bc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_may_come_in_any_order),
        cmocka_unit_test(every_form_of_a_value_is_the_same),
        cmocka_unit_test(switches_bundle_and_the_last_letter_may_take_a_value),
        cmocka_unit_test(the_last_of_two_values_wins),
        cmocka_unit_test(two_dashes_end_the_flags),
        cmocka_unit_test(a_single_dash_is_a_word),
        cmocka_unit_test(wrong_flags_are_refused_by_name_with_the_nearest),
        cmocka_unit_test(wrong_values_are_refused_with_the_flag),
        cmocka_unit_test(flags_of_the_field_table_are_taken_only_where_they_belong),
        cmocka_unit_test(a_choice_is_a_whole_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
