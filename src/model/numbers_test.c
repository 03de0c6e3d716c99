#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/parse.h"

#define GIB (UINT64_C(1) << 30)

/* A deterministic sequence that looks random: xorshift64*. */
static uint64_t next_random(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * UINT64_C(0x2545f4914f6cdd1d);
}

static void sizes_are_bytes_with_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"1024", 1024},
        {"512MiB", 512 << 20},
        {"2G", 2 * GIB},
        {"2GiB", 2 * GIB},
        {"2gib", 2 * GIB},
        {"1.5GiB", 3 * GIB / 2},
        {"1.5k", 1536},
        {"0.1KiB", 102},
        {"7B", 7},
        {"1T", 1024 * GIB},
        {"8191PiB", UINT64_C(8191) << 50},
        {"9223372036854775807", INT64_MAX},
        {"0.999999999999999999P", 1125899906842623},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t v = 1;
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(vivi_parse_size(cases[i].text, &v, &err), 0);
        assert_int_equal(v, cases[i].bytes);
        assert_int_equal(err.code, 0);
    }
}

static void what_is_no_size_gets_the_fixed_message(void **state)
{
    static const char *const bad[] = {"",       "cow",
                                      "1 cow",  " 1",
                                      "1 ",     "-1",
                                      "+1",     "0x10",
                                      "010",    "1GB",
                                      "1.G",    ".5G",
                                      "1.5",    "1.5B",
                                      "1,5G",   "1e9",
                                      "G",      "1GiBs",
                                      "1KK",    "NaN",
                                      "1.5.5G", "1.0000000000000000001G"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        viv_error err = VIV_ERROR_INIT;
        uint64_t v = 4711;
        char want[128];

        assert_int_equal(vivi_parse_size(bad[i], &v, &err), -VIV_E_INVALID);
        assert_int_equal(v, 4711);
        assert_int_equal(err.code, VIV_E_INVALID);
        (void)snprintf(want, sizeof(want), "\"%s\" is not a size (examples: 512MiB, 2GiB)", bad[i]);
        assert_string_equal(err.message, want);
    }
}

static void sizes_beyond_the_range_are_too_large_not_wrapped(void **state)
{
    static const char *const bad[] = {"9223372036854775808", "18446744073709551616", "8192PiB",
                                      "99999999999999999999999999TiB", "16384P"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        viv_error err = VIV_ERROR_INIT;
        uint64_t v = 4711;
        char want[128];

        assert_int_equal(vivi_parse_size(bad[i], &v, &err), -VIV_E_INVALID);
        assert_int_equal(v, 4711);
        (void)snprintf(want, sizeof(want), "\"%s\" is too large", bad[i]);
        assert_string_equal(err.message, want);
    }
}

static void sizes_are_written_in_the_largest_unit_that_fits(void **state)
{
    char text[24];

    (void)state;
    vivi_format_size(512 << 20, text);
    assert_string_equal(text, "512MiB");
    vivi_format_size(GIB, text);
    assert_string_equal(text, "1GiB");
    vivi_format_size(3 * GIB / 2, text);
    assert_string_equal(text, "1.5GiB");
    vivi_format_size(1000, text);
    assert_string_equal(text, "1000B");
    vivi_format_size(0, text);
    assert_string_equal(text, "0B");
    vivi_format_size(UINT64_MAX, text);
    assert_string_equal(text, "18446744073709551615B");
}

static void a_written_size_reads_back_as_itself(void **state)
{
    uint64_t x = 88172645463325252u;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t bytes = next_random(&x) >> (1 + next_random(&x) % 63), back = 1;
        char text[24];

        if (i % 3 == 0) /* plenty of zeros at the end, for the units */
            bytes = bytes << (next_random(&x) % 63) & INT64_MAX;
        vivi_format_size(bytes, text);
        if (vivi_parse_size(text, &back, NULL) != 0 || back != bytes)
            fail_msg("%s", text);
    }
}

static void durations_are_milliseconds(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"10s", 10000},  {"500ms", 500}, {"2m", 120000},   {"1h", 3600000},
                 {"90", 90000},   {"1.5s", 1500}, {"0", 0},         {"0ms", 0},
                 {"0.5m", 30000}, {"2S", 2000},   {"1.0009s", 1000}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t v = -1;

        assert_int_equal(vivi_parse_duration(cases[i].text, &v, NULL), 0);
        assert_int_equal(v, cases[i].ms);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    static const char *const bad[] = {"",      "s",  "10 s",  "-1s",  "1.5",
                                      "1.5ms", "1d", "1m30s", "10sec"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        viv_error err = VIV_ERROR_INIT;
        int64_t v = 4711;
        char want[128];

        assert_int_equal(vivi_parse_duration(bad[i], &v, &err), -VIV_E_INVALID);
        assert_int_equal(v, 4711);
        (void)snprintf(want, sizeof(want), "\"%s\" is not a duration (examples: 500ms, 10s, 2m)",
                       bad[i]);
        assert_string_equal(err.message, want);
    }
    int64_t v = 4711;
    viv_error err = VIV_ERROR_INIT;
    assert_int_equal(vivi_parse_duration("9223372036854776s", &v, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"9223372036854776s\" is too large");
    assert_int_equal(v, 4711);
}

static void a_written_duration_reads_back_as_itself(void **state)
{
    uint64_t x = 42;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        int64_t ms = (int64_t)(next_random(&x) >> (1 + next_random(&x) % 63)), back = -1;
        char text[24];

        if (i % 3 == 0)
            ms = ms % 100000 * 60000;
        vivi_format_duration(ms, text);
        if (vivi_parse_duration(text, &back, NULL) != 0 || back != ms)
            fail_msg("%s", text);
    }
}

static void durations_are_written_in_the_largest_whole_unit(void **state)
{
    char text[24];

    (void)state;
    vivi_format_duration(120000, text);
    assert_string_equal(text, "2m");
    vivi_format_duration(90000, text);
    assert_string_equal(text, "90s");
    vivi_format_duration(1500, text);
    assert_string_equal(text, "1500ms");
    vivi_format_duration(7200000, text);
    assert_string_equal(text, "2h");
    vivi_format_duration(0, text);
    assert_string_equal(text, "0ms");
    vivi_format_duration(-5, text);
    assert_string_equal(text, "0ms");
}

static void whole_numbers_are_plain_decimal(void **state)
{
    static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x10", "010", "1.0", "1e3", "a"};
    uint64_t v = 0;
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_parse_u64("18446744073709551615", &v, NULL), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(vivi_parse_u64("0", &v, NULL), 0);
    assert_int_equal(v, 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        v = 4711;
        assert_int_equal(vivi_parse_u64(bad[i], &v, NULL), -VIV_E_INVALID);
        assert_int_equal(v, 4711);
    }
    assert_int_equal(vivi_parse_u64("18446744073709551616", &v, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"18446744073709551616\" is too large");
    assert_int_equal(vivi_parse_u64("0x10", &v, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"0x10\" is not a whole number");
}

static void six_words_are_booleans(void **state)
{
    bool b = false;

    (void)state;
    assert_true(vivi_parse_bool("true", &b) && b);
    assert_true(vivi_parse_bool("off", &b) && !b);
    assert_true(vivi_parse_bool("Yes", &b) && b);
    assert_true(vivi_parse_bool("NO", &b) && !b);
    assert_true(vivi_parse_bool("on", &b) && b);
    assert_true(vivi_parse_bool("false", &b) && !b);
    b = true;
    assert_false(vivi_parse_bool("0", &b));
    assert_false(vivi_parse_bool("y", &b));
    assert_false(vivi_parse_bool("", &b));
    assert_true(b);
}

static void cpu_lists_are_ascending_ranges(void **state)
{
    static const char *const bad[] = {
        "",      ",",    "0,",     "1,0", "0-",    "-1",    "3-1", "0,0",
        "0-3,3", "8192", "0-8192", "01",  "0 - 3", "0-3-5", "a",   "18446744073709551616"};
    uint64_t bits[128], before[128];
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_parse_cpu_list("0-3,8,64-65,8191", bits, NULL), 0);
    assert_true(bits[0] == 0x10f);
    assert_true(bits[1] == 3);
    assert_true(bits[127] == UINT64_C(1) << 63);
    for (int i = 2; i < 127; i++)
        assert_true(bits[i] == 0);
    memcpy(before, bits, sizeof(bits));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(vivi_parse_cpu_list(bad[i], bits, NULL), -VIV_E_INVALID);
        assert_memory_equal(bits, before, sizeof(bits));
    }
    assert_int_equal(vivi_parse_cpu_list("3-1", bits, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"3-1\" is not a list of CPUs (example: 0-3,8)");
    assert_int_equal(vivi_parse_cpu_list("0-8191", bits, NULL), 0);
}

static void shown_values_are_short_and_harmless(void **state)
{
    char shown[VIVI_SHOWN_SIZE], long_text[200];

    (void)state;
    assert_string_equal(vivi_show("a\n\x1b[1mb\x7f", shown), "\"a??[1mb?\"");
    memset(long_text, 'x', 60);
    long_text[60] = '\0';
    assert_int_equal(strlen(vivi_show(long_text, shown)), 62);
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    assert_int_equal(strlen(vivi_show(long_text, shown)), 62);
    assert_string_equal(shown + 56, "xx...\"");
    /* Not cut inside of a character. */
    for (size_t i = 0; i + 2 < sizeof(long_text); i += 2)
        memcpy(long_text + i, "\xc3\xa9", 2);
    long_text[100] = '\0';
    (void)vivi_show(long_text, shown);
    assert_int_equal((unsigned char)shown[strlen(shown) - 5], 0xa9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_bytes_with_binary_units),
        cmocka_unit_test(what_is_no_size_gets_the_fixed_message),
        cmocka_unit_test(sizes_beyond_the_range_are_too_large_not_wrapped),
        cmocka_unit_test(sizes_are_written_in_the_largest_unit_that_fits),
        cmocka_unit_test(a_written_size_reads_back_as_itself),
        cmocka_unit_test(durations_are_milliseconds),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(a_written_duration_reads_back_as_itself),
        cmocka_unit_test(durations_are_written_in_the_largest_whole_unit),
        cmocka_unit_test(whole_numbers_are_plain_decimal),
        cmocka_unit_test(six_words_are_booleans),
        cmocka_unit_test(cpu_lists_are_ascending_ranges),
        cmocka_unit_test(shown_values_are_short_and_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
