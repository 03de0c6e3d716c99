#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/fields.h"

static void every_field_is_described_completely(void **state)
{
    (void)state;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        bool quantity = f->type == VIVI_T_SIZE || f->type == VIVI_T_DURATION;

        assert_true(strlen(f->help) > 5 && !strchr(f->help, '\n'));
        assert_true(strlen(f->drivers) > 0);
        assert_int_equal(f->choices != NULL, f->type == VIVI_T_ENUM);
        assert_int_equal(f->unit != NULL, quantity);
        assert_int_equal(f->max > f->min, quantity || f->type == VIVI_T_INT);
        assert_true(!f->flag || f->arg);
        assert_true(!f->flag || strncmp(f->flag, "--", 2) == 0);
        assert_true(!f->short_flag || f->flag);
        assert_ptr_equal(vivi_field_find(f->path), f);
    }
}

static void paths_and_flags_stand_for_one_field_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < vivi_fields_count(); i++)
        for (size_t j = 0; j < i; j++) {
            const struct vivi_field *a = &vivi_fields[i], *b = &vivi_fields[j];

            assert_string_not_equal(a->path, b->path);
            if (a->flag && b->flag)
                assert_string_not_equal(a->flag, b->flag);
            assert_true(!a->short_flag || a->short_flag != b->short_flag);
        }
}

static void every_default_is_a_value_of_its_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        json_auto_t *v = vivi_value_default(&vivi_fields[i]);

        assert_non_null(v);
        if (vivi_fields[i].def && vivi_fields[i].type != VIVI_T_OBJECT_LIST)
            assert_false(json_is_null(v));
    }
}

static void fields_are_found_by_concrete_and_pattern_paths(void **state)
{
    (void)state;
    assert_string_equal(vivi_field_find("cpus.count")->path, "cpus.count");
    assert_string_equal(vivi_field_find("disks.data.path")->path, "disks.*.path");
    assert_string_equal(vivi_field_find("disks.*.path")->path, "disks.*.path");
    assert_string_equal(vivi_field_find("disks")->path, "disks");
    assert_string_equal(vivi_field_find("labels.job")->path, "labels");
    assert_string_equal(vivi_field_find("labels.a.b")->path, "labels");
    assert_null(vivi_field_find("boot"));
    assert_null(vivi_field_find("disks.data"));
    assert_null(vivi_field_find("disks..path"));
    assert_null(vivi_field_find("name.x"));
    assert_null(vivi_field_find("nameless"));
    assert_null(vivi_field_find("names"));
    assert_null(vivi_field_find(""));
    assert_null(vivi_field_find("."));
}

static void every_list_of_devices_has_a_first_word_for_its_flag(void **state)
{
    char pattern[64];

    (void)state;
    for (size_t i = 0; i < vivi_fields_count(); i++)
        if (vivi_fields[i].type == VIVI_T_OBJECT_LIST) {
            (void)snprintf(pattern, sizeof(pattern), "%s.*", vivi_fields[i].path);
            assert_non_null(vivi_field_shorthand(pattern));
        }
}

static void completion_knows_the_words(void **state)
{
    (void)state;
    assert_string_equal(vivi_field_values("accel"), "auto|kvm|tcg|hvf");
    assert_string_equal(vivi_field_values("disks.x.readonly"), "true|false");
    assert_null(vivi_field_values("memory.size"));
    assert_null(vivi_field_values("nope"));
}

/* The values a flag of each kind could have. */
static const char *sample(const struct vivi_field *f)
{
    if (strcmp(f->path, "disks") == 0)
        return "/d.img,ro";
    if (strcmp(f->path, "nets") == 0)
        return "nat";
    switch (f->type) {
    case VIVI_T_MAP: return "k=v";
    case VIVI_T_FORWARD_LIST: return "8080:80";
    case VIVI_T_INT: return "2";
    case VIVI_T_SIZE: return "1GiB";
    case VIVI_T_DURATION: return "1s";
    case VIVI_T_ENUM: return "auto";
    case VIVI_T_STR:
    case VIVI_T_BOOL:
    case VIVI_T_PATH:
    case VIVI_T_NAME:
    case VIVI_T_MAC:
    case VIVI_T_FORWARD:
    case VIVI_T_STR_LIST:
    case VIVI_T_OBJECT_LIST:
    case VIVI_T_TEXT: break;
    }
    return "web";
}

static void every_flag_sets_something_and_lists_grow(void **state)
{
    size_t flags = 0;

    (void)state;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        json_auto_t *doc = json_object(), *once = NULL;
        bool grows;
        char path[128];

        if (!f->flag)
            continue;
        flags++;
        vivi_field_flag_path(f, path);
        assert_int_equal(vivi_config_set(doc, path, sample(f), "/", NULL), 0);
        assert_true(json_object_size(doc) == 1);
        once = json_deep_copy(doc);
        assert_int_equal(vivi_config_set(doc, path, sample(f), "/", NULL), 0);
        grows = f->type == VIVI_T_OBJECT_LIST || f->type == VIVI_T_FORWARD_LIST ||
                f->type == VIVI_T_STR_LIST;
        assert_int_equal(json_equal(doc, once), !grows);
    }
    assert_int_equal(flags, 14);
}

/* The schema of a path: through properties, items and alternatives. NULL: none. */
static const json_t *schema_at(const json_t *schema, const char *path)
{
    char word[64];
    size_t n = strcspn(path, ".");
    const json_t *next;

    if (json_object_get(schema, "anyOf"))
        schema = json_array_get(json_object_get(schema, "anyOf"), 0);
    if (n == 0)
        return schema;
    (void)snprintf(word, sizeof(word), "%.*s", (int)n, path);
    next = strcmp(word, "*") == 0 ? json_object_get(schema, "items")
                                  : json_object_get(json_object_get(schema, "properties"), word);
    return next && path[n] == '.' ? schema_at(next, path + n + 1) : next;
}

static void the_schema_has_every_field_and_nothing_else(void **state)
{
    json_auto_t *schema = vivi_config_schema();

    (void)state;
    assert_non_null(schema);
    assert_string_equal(json_string_value(json_object_get(schema, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const json_t *s = schema_at(schema, vivi_fields[i].path);

        if (!s)
            fail_msg("%s", vivi_fields[i].path);
        assert_string_equal(json_string_value(json_object_get(s, "description")),
                            vivi_fields[i].help);
    }
    assert_int_equal(json_object_size(json_object_get(schema, "properties")), 29);
    assert_null(schema_at(schema, "graphics"));
    assert_int_equal(
        json_integer_value(json_object_get(schema_at(schema, "cpus.count"), "maximum")), 1024);
}

static void the_documents_have_a_row_per_field(void **state)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(1 << 20);
    cleanup_buf struct vivi_buf small = VIVI_BUF(100);
    size_t rows = 0;

    (void)state;
    assert_int_equal(vivi_config_docs(&out), 0);
    for (const char *p = out.data; (p = strchr(p, '\n')); p++)
        rows++;
    assert_int_equal(rows, vivi_fields_count() + 2);
    assert_non_null(strstr(out.data,
                           "| `cpus.count` | number, 1 to 1024 | 1 | `-c, --cpus N` | all | "
                           "at once | virtual CPUs |\n"));
    assert_non_null(strstr(out.data, "`--net nat\\|none\\|tap,tap=NAME"));
    assert_true(vivi_config_docs(&small) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_described_completely),
        cmocka_unit_test(paths_and_flags_stand_for_one_field_each),
        cmocka_unit_test(every_default_is_a_value_of_its_field),
        cmocka_unit_test(fields_are_found_by_concrete_and_pattern_paths),
        cmocka_unit_test(every_list_of_devices_has_a_first_word_for_its_flag),
        cmocka_unit_test(completion_knows_the_words),
        cmocka_unit_test(every_flag_sets_something_and_lists_grow),
        cmocka_unit_test(the_schema_has_every_field_and_nothing_else),
        cmocka_unit_test(the_documents_have_a_row_per_field),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
