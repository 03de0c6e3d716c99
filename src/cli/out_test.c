#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cli/out.h"

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    return j;
}

static void yaml_is(const char *json, const char *want)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096);
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = parse(json);

    assert_int_equal(vivi_out_yaml(doc, &out, &err), 0);
    assert_string_equal(out.data, want);
    json_decref(doc);
}

static void yaml_has_block_style_and_the_order_of_the_record(void **state)
{
    (void)state;
    yaml_is(
        "{\"name\":\"web\",\"cpus\":2,\"ready\":null,\"ok\":true,\"list\":[1,\"two\"],\"none\":[],"
        "\"map\":{\"a\":{\"b\":-1}},\"void\":{}}",
        "name: web\ncpus: 2\nready: null\nok: true\nlist:\n- 1\n- two\nnone: []\nmap:\n  a:\n"
        "    b: -1\nvoid: {}\n");
}

static void yaml_quotes_what_would_be_read_as_something_else(void **state)
{
    (void)state;
    yaml_is(
        "[\"42\",\"true\",\"No\",\"null\",\"\",\"a: b\",\"512MiB\",\"52:54:00:00:00:01\",\"x \","
        "\"on\",\"-\",\"/a/b c.img\",\"two\\nlines\",\"# no\"]",
        "- \"42\"\n- \"true\"\n- \"No\"\n- \"null\"\n- \"\"\n- \"a: b\"\n- \"512MiB\"\n"
        "- \"52:54:00:00:00:01\"\n- \"x \"\n- \"on\"\n- \"-\"\n- /a/b c.img\n- \"two\\nlines\"\n"
        "- \"# no\"\n");
}

static void template_is(const char *template, const char *want)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096);
    viv_error err = VIV_ERROR_INIT;
    json_t *rec = parse("{\"name\":\"web\",\"ip\":null,\"ready\":null,\"cpus\":2,"
                        "\"nets\":[{\"id\":\"n0\",\"mac\":\"m\"}],\"stop\":{\"rung\":\"acpi\"}}");

    assert_int_equal(vivi_out_template(template, rec, &out, &err), 0);
    assert_string_equal(out.data, want);
    json_decref(rec);
}

static void a_template_takes_fields_by_path(void **state)
{
    (void)state;
    template_is("{name} {cpus}", "web 2\n");
    template_is("{stop.rung}", "acpi\n");
    template_is("{nets.n0.mac} {nets.0.mac}", "m m\n");
    template_is("{nets}", "[{\"id\":\"n0\",\"mac\":\"m\"}]\n");
    template_is("{{name}}\\t\\\\\\n", "{name}\t\\\n\n");
    template_is("plain", "plain\n");
}

static void what_is_unknown_now_is_a_dash(void **state)
{
    (void)state;
    template_is("{ip}", "-\n");
    template_is("{ready.proof}", "-\n");
}

static void template_fails(const char *template, const char *message, const char *hint)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096);
    viv_error err = VIV_ERROR_INIT;
    json_t *rec = parse("{\"name\":\"web\",\"ip\":null}");

    assert_int_equal(vivi_out_template(template, rec, &out, &err), -VIV_E_INVALID);
    assert_int_equal(err.code, VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.hint, hint);
    json_decref(rec);
}

static void wrong_templates_are_refused_with_the_nearest_key(void **state)
{
    (void)state;
    template_fails("{nmae}", "--format: {nmae}: unknown key", "did you mean \"name\"?");
    template_fails("{nothing}", "--format: {nothing}: unknown key", "");
    template_fails("{name", "--format: \"{\" without a key and \"}\"", "");
    template_fails("{}", "--format: \"{\" without a key and \"}\"", "");
}

static void the_schema_number_comes_first_and_once(void **state)
{
    json_t *rec = parse("{\"name\":\"web\",\"schema\":7}"), *with = vivi_json_with_schema(rec);
    char *text = json_dumps(with, JSON_COMPACT);

    (void)state;
    assert_string_equal(text, "{\"schema\":1,\"name\":\"web\"}");
    free(text);
    json_decref(with);
    json_decref(rec);
}

static const char *red_second(size_t column, const char *text)
{
    (void)text;
    return column == 1 ? "31" : NULL;
}

static void a_table_is_aligned_by_characters(void **state)
{
    static const char *const head[] = {"NAME", "STATE", "X"};
    static const char *const cells[] = {"web", "r\303\274n", "1", "a-long-name", "", "\033[2J"};
    cleanup_table struct vivi_table t = {0};
    cleanup_buf struct vivi_buf plain = VIVI_BUF(4096), colored = VIVI_BUF(4096);
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    vivi_table_init(&t, head, 3);
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
        vivi_table_cell(&t, cells[i]);
    assert_int_equal(vivi_table_render(&t, NULL, &plain, &err), 0);
    assert_string_equal(plain.data, "NAME         STATE  X\n"
                                    "web          r\303\274n    1\n"
                                    "a-long-name  -      ^[[2J\n");
    assert_int_equal(vivi_table_render(&t, red_second, &colored, &err), 0);
    assert_non_null(strstr(colored.data, "\033[31mr\303\274n\033[0m    1\n"));
}

static void an_empty_table_is_its_head(void **state)
{
    static const char *const head[] = {"A", "B"};
    cleanup_table struct vivi_table t = {0};
    cleanup_buf struct vivi_buf out = VIVI_BUF(64);
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    vivi_table_init(&t, head, 2);
    assert_int_equal(vivi_table_render(&t, NULL, &out, &err), 0);
    assert_string_equal(out.data, "A  B\n");
}

static void ages_and_durations_are_short(void **state)
{
    static const struct {
        int64_t ms;
        const char *want;
    } ages[] = {{-5, "0s"},      {59999, "59s"},    {60000, "1m"},    {3599999, "59m"},
                {3600000, "1h"}, {86399999, "23h"}, {86400000, "1d"}, {864000000, "10d"}};
    char text[24];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
        vivi_text_age(ages[i].ms, text);
        assert_string_equal(text, ages[i].want);
    }
    vivi_text_seconds(2317, text);
    assert_string_equal(text, "2.31 s");
    vivi_text_seconds(5, text);
    assert_string_equal(text, "0.00 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_has_block_style_and_the_order_of_the_record),
        cmocka_unit_test(yaml_quotes_what_would_be_read_as_something_else),
        cmocka_unit_test(a_template_takes_fields_by_path),
        cmocka_unit_test(what_is_unknown_now_is_a_dash),
        cmocka_unit_test(wrong_templates_are_refused_with_the_nearest_key),
        cmocka_unit_test(the_schema_number_comes_first_and_once),
        cmocka_unit_test(a_table_is_aligned_by_characters),
        cmocka_unit_test(an_empty_table_is_its_head),
        cmocka_unit_test(ages_and_durations_are_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
