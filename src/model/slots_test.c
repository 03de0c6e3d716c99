#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/config.h"
#include "model/slots.h"

static json_t *disks(const char *list)
{
    json_t *doc = json_pack("{s:o,s:[]}", "disks", json_loads(list, 0, NULL), "nets");

    assert_non_null(json_object_get(doc, "disks"));
    return doc;
}

/* The slots of to after keeping those of from; 0 = none is written. */
static void expect(const char *from_text, const char *to_text, const char *wanted)
{
    json_t *from = disks(from_text), *to = disks(to_text), *list = json_object_get(to, "disks");
    char got[200] = "";

    assert_int_equal(vivi_slots_keep(to, from, NULL), 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
        size_t n = strlen(got);
        int slot = (int)json_integer_value(json_object_get(json_array_get(list, i), "slot"));

        (void)snprintf(got + n, sizeof(got) - n, "%s%d", n ? " " : "", slot);
    }
    assert_string_equal(got, wanted);
    json_decref(from);
    json_decref(to);
}

static void a_device_that_is_appended_needs_nothing_written(void **state)
{
    (void)state;
    expect("[{\"id\":\"a\"}]", "[{\"id\":\"a\"},{\"id\":\"b\"}]", "0 0");
    expect("[]", "[{\"id\":\"a\"}]", "0");
    expect("[{\"id\":\"a\"},{\"id\":\"b\"}]", "[{\"id\":\"a\"}]", "0");
}

static void those_behind_one_that_leaves_keep_their_places(void **state)
{
    (void)state;
    expect("[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"c\"}]", "[{\"id\":\"a\"},{\"id\":\"c\"}]",
           "1 3");
}

static void a_new_one_gets_the_first_free_place(void **state)
{
    (void)state;
    expect("[{\"id\":\"a\",\"slot\":1},{\"id\":\"c\",\"slot\":3}]",
           "[{\"id\":\"a\",\"slot\":1},{\"id\":\"c\",\"slot\":3},{\"id\":\"d\"}]", "1 3 0");
    expect("[{\"id\":\"a\"},{\"id\":\"b\"}]", "[{\"id\":\"new\"},{\"id\":\"a\"},{\"id\":\"b\"}]",
           "3 1 2");
}

static void a_place_that_somebody_gave_counts(void **state)
{
    (void)state;
    expect("[{\"id\":\"a\"},{\"id\":\"b\"}]", "[{\"id\":\"a\",\"slot\":5},{\"id\":\"b\"}]", "5 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_is_appended_needs_nothing_written),
        cmocka_unit_test(those_behind_one_that_leaves_keep_their_places),
        cmocka_unit_test(a_new_one_gets_the_first_free_place),
        cmocka_unit_test(a_place_that_somebody_gave_counts),
    };

    return cmocka_run_group_tests_name("model slots", tests, NULL, NULL);
}
