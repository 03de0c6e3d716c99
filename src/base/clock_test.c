#include "base/clock.h"

#include "base/random.h"
#include "base/testing.h"

static void times_are_written_in_rfc_3339_utc(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1767323045678, "2026-01-02T03:04:05.678Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "1970-01-01T00:00:00.000Z"}, /* the year 10000 has no form */
        {INT64_MAX, "1970-01-01T00:00:00.000Z"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[VIVI_TIME_SIZE];
        int64_t back;

        vivi_time_format(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(vivi_time_parse(text, &back), 0);
        if (cases[i].ms < 253402300800000)
            assert_true(back == cases[i].ms);
    }
}

static void other_spellings_of_a_time_are_understood(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"2026-01-02T03:04:05Z", 1767323045000},
        {"2026-01-02T03:04:05.6Z", 1767323045600},
        {"2026-01-02T03:04:05.678999Z", 1767323045678},
        {"2026-01-02T04:34:05+01:30", 1767323045000},
        {"2026-01-01T22:04:05-05:00", 1767323045000},
    };
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(vivi_time_parse(cases[i].text, &ms), 0);
        assert_true(ms == cases[i].ms);
    }
}

static void what_is_no_time_is_refused_and_nothing_is_written(void **state)
{
    static const char *const cases[] = {
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-02-30T03:04:05Z",
        "2025-02-29T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05+25:00",
        "2026-01-02T03:04:05+0100",
        "-026-01-02T03:04:05Z",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t ms = 77;

        assert_int_equal(vivi_time_parse(cases[i], &ms), -VIV_E_INVALID);
        assert_true(ms == 77);
    }
}

static void the_clocks_go_forward_in_their_units(void **state)
{
    uint64_t ns = vivi_mono_ns(), us = vivi_mono_us(), later = vivi_mono_ns();

    (void)state;
    assert_in_range(us, ns / 1000, later / 1000);
    assert_true(vivi_wall_ms() > 1700000000000);
}

static void a_uuid_has_its_form_version_and_no_twin(void **state)
{
    char a[VIVI_UUID_SIZE], b[VIVI_UUID_SIZE];

    (void)state;
    assert_int_equal(vivi_uuid_new(a, NULL), 0);
    assert_int_equal(vivi_uuid_new(b, NULL), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 36);
    for (int i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            assert_int_equal(a[i], '-');
        else
            assert_non_null(strchr("0123456789abcdef", a[i]));
    }
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
}

static void random_hex_has_the_length_asked_for(void **state)
{
    char text[300];

    (void)state;
    for (size_t n = 0; n < sizeof(text) - 1; n += n < 20 ? 1 : 31) {
        memset(text, '#', sizeof(text));
        assert_int_equal(vivi_random_hex(text, n, NULL), 0);
        assert_int_equal(strlen(text), n);
        assert_int_equal(strspn(text, "0123456789abcdef"), n);
    }
}

static void random_bytes_fill_more_than_one_request_to_the_system(void **state)
{
    unsigned char a[1000] = {0}, zero[100] = {0};

    (void)state;
    assert_int_equal(vivi_random(a, sizeof(a), NULL), 0);
    for (size_t i = 0; i < sizeof(a); i += 100)
        assert_memory_not_equal(a + i, zero, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_in_rfc_3339_utc),
        cmocka_unit_test(other_spellings_of_a_time_are_understood),
        cmocka_unit_test(what_is_no_time_is_refused_and_nothing_is_written),
        cmocka_unit_test(the_clocks_go_forward_in_their_units),
        cmocka_unit_test(a_uuid_has_its_form_version_and_no_twin),
        cmocka_unit_test(random_hex_has_the_length_asked_for),
        cmocka_unit_test(random_bytes_fill_more_than_one_request_to_the_system),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
