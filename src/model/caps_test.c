#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/caps.h"

static void every_row_has_a_stable_word_of_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++) {
        const struct vivi_cap_row *row = &vivi_cap_rows[i];

        assert_non_null(row->word);
        assert_true(strlen(row->word) > 0 && strlen(row->word) <= 24);
        assert_int_equal(strspn(row->word, "abcdefghijklmnopqrstuvwxyz-"), strlen(row->word));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(row->word, vivi_cap_rows[j].word);
            assert_string_not_equal(row->text, vivi_cap_rows[j].text);
        }
    }
}

static void every_row_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++) {
        const struct vivi_cap_row *row = &vivi_cap_rows[i];

        assert_true(strlen(row->text) >= 3);
        assert_true(row->kind == VIVI_CAP_SLOT || row->kind == VIVI_CAP_FIELD ||
                    row->kind == VIVI_CAP_SERVICE);
        /* A reason says something; and no row is impossible everywhere. */
        assert_true(!row->ch_none || strlen(row->ch_none) > 10);
        assert_true(!row->vz_none || strlen(row->vz_none) > 10);
        assert_true(!row->qemu_none || strlen(row->qemu_none) > 10);
        assert_false(row->ch_none && row->vz_none && row->qemu_none);
    }
}

static void rows_that_drivers_name_have_their_kind(void **state)
{
    (void)state;
    assert_int_equal(vivi_cap_rows[VIVI_CAP_PAUSE].kind, VIVI_CAP_SLOT);
    assert_int_equal(vivi_cap_rows[VIVI_CAP_ADOPT].kind, VIVI_CAP_SLOT);
    assert_int_equal(vivi_cap_rows[VIVI_CAP_NET_FORWARD].kind, VIVI_CAP_FIELD);
    assert_int_equal(vivi_cap_rows[VIVI_CAP_CONSOLE].kind, VIVI_CAP_SERVICE);
    assert_string_equal(vivi_cap_rows[VIVI_CAP_TPM].vz_none, "Apple's SDK has no TPM class");
    assert_null(vivi_cap_rows[VIVI_CAP_PAUSE].qemu_none);
}

static void a_set_holds_exactly_what_was_put_in(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VIVI_CAP_COUNT_; i++) {
        struct vivi_caps set = {{0}};

        vivi_caps_set(&set, (enum vivi_cap)i, true);
        for (unsigned j = 0; j < VIVI_CAP_COUNT_; j++)
            assert_int_equal(vivi_caps_has(&set, (enum vivi_cap)j), i == j);
        vivi_caps_set(&set, (enum vivi_cap)i, false);
        assert_false(vivi_caps_has(&set, (enum vivi_cap)i));
    }
}

static void a_row_beyond_the_last_is_in_no_set(void **state)
{
    struct vivi_caps set = {{UINT64_MAX, UINT64_MAX}}, before = set;

    (void)state;
    assert_false(vivi_caps_has(&set, VIVI_CAP_COUNT_));
    vivi_caps_set(&set, VIVI_CAP_COUNT_, false);
    vivi_caps_set(&set, (enum vivi_cap)4711, false);
    assert_memory_equal(&set, &before, sizeof(set));
}

static void words_parse_back_and_nothing_else_does(void **state)
{
    enum vivi_cap cap = VIVI_CAP_USB;

    (void)state;
    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++) {
        assert_int_equal(vivi_cap_parse(vivi_cap_rows[i].word, &cap), 0);
        assert_int_equal(cap, i);
    }
    cap = VIVI_CAP_USB;
    assert_int_equal(vivi_cap_parse("pause ", &cap), -VIV_E_INVALID);
    assert_int_equal(vivi_cap_parse("", &cap), -VIV_E_INVALID);
    assert_int_equal(cap, VIVI_CAP_USB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_stable_word_of_its_own),
        cmocka_unit_test(every_row_says_what_it_is),
        cmocka_unit_test(rows_that_drivers_name_have_their_kind),
        cmocka_unit_test(a_set_holds_exactly_what_was_put_in),
        cmocka_unit_test(a_row_beyond_the_last_is_in_no_set),
        cmocka_unit_test(words_parse_back_and_nothing_else_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
