#include "base/buf.h"

#include <string.h>

#include "base/fault.h"
#include "base/testing.h"

static void what_is_added_stands_in_order_and_ends_in_nul(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(1000);

    (void)state;
    assert_int_equal(vivi_buf_add(&b, "ab\0c", 4), 0);
    assert_int_equal(vivi_buf_str(&b, "def"), 0);
    assert_int_equal(vivi_buf_printf(&b, "%d-%s", 42, "x"), 0);
    assert_int_equal(b.len, 11);
    assert_memory_equal(b.data, "ab\0cdef42-x", 12);
}

static void the_ceiling_is_exact_and_refuses_without_a_trace(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(10);
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_buf_add(&b, "0123456789", 10), 0);
    assert_int_equal(vivi_buf_check(&b, &err), 0);
    assert_int_equal(vivi_buf_add(&b, "x", 1), -VIV_E_PROTOCOL);
    assert_string_equal(b.data, "0123456789");
    assert_int_equal(b.len, 10);
    assert_true(b.cap <= 11);
    assert_int_equal(vivi_buf_check(&b, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "larger than 10 bytes");
}

static void a_failure_sticks_until_reset(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(4);

    (void)state;
    assert_int_equal(vivi_buf_str(&b, "abcdef"), -VIV_E_PROTOCOL);
    assert_int_equal(vivi_buf_str(&b, "a"), -VIV_E_PROTOCOL);
    assert_int_equal(vivi_buf_printf(&b, "a"), -VIV_E_PROTOCOL);
    vivi_buf_reset(&b);
    assert_int_equal(vivi_buf_str(&b, "a"), 0);
    assert_int_equal(vivi_buf_check(&b, NULL), 0);
}

static void sizes_near_the_end_of_the_number_range_are_refused(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(100);

    (void)state;
    assert_int_equal(vivi_buf_str(&b, "abc"), 0);
    assert_int_equal(vivi_buf_reserve(&b, SIZE_MAX), -VIV_E_PROTOCOL);
    vivi_buf_reset(&b);
    assert_int_equal(vivi_buf_str(&b, "abc"), 0);
    assert_int_equal(vivi_buf_reserve(&b, SIZE_MAX - 2), -VIV_E_PROTOCOL);
    assert_string_equal(b.data, "abc");
}

static void reserved_room_can_be_written_and_counted(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(100);

    (void)state;
    assert_int_equal(vivi_buf_reserve(&b, 100), 0);
    memset(b.data, 'x', 100);
    b.len = 100;
    b.data[100] = '\0';
    assert_int_equal(vivi_buf_reserve(&b, 0), 0);
    assert_int_equal(vivi_buf_reserve(&b, 1), -VIV_E_PROTOCOL);
}

static void consuming_keeps_the_rest_and_its_nul(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(100);

    (void)state;
    assert_int_equal(vivi_buf_str(&b, "hello world"), 0);
    vivi_buf_consume(&b, 6);
    assert_string_equal(b.data, "world");
    vivi_buf_consume(&b, 5);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    vivi_buf_consume(&b, 0);
}

static void json_strings_are_escaped_and_always_valid(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\n\r\t\x01\x1b\x7f", "\"\\n\\r\\t\\u0001\\u001b\\u007f\""},
        {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"a\xFFz", "\"a\\ufffdz\""},
        {"\xC0\x80", "\"\\ufffd\\ufffd\""},                       /* overlong NUL */
        {"\xE0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* overlong */
        {"\xED\xA0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* surrogate */
        {"\xF4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* above U+10FFFF */
        {"\xE2\x82", "\"\\ufffd\\ufffd\""},                       /* cut at the end */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cleanup_buf struct vivi_buf b = VIVI_BUF(100);

        assert_int_equal(vivi_buf_json_str(&b, cases[i].in), 0);
        assert_string_equal(b.data, cases[i].out);
    }
}

static void a_json_string_that_does_not_fit_leaves_nothing_behind(void **state)
{
    (void)state;
    for (size_t max = 2; max < 8; max++) { /* "a\n\u0001" needs 11 */
        cleanup_buf struct vivi_buf b = VIVI_BUF(max);

        assert_int_equal(vivi_buf_str(&b, "k:"), 0);
        assert_int_equal(vivi_buf_json_str(&b, "a\n\x01"), -VIV_E_PROTOCOL);
        assert_string_equal(b.data, "k:");
        assert_int_equal(b.len, 2);
    }
}

static void taking_moves_the_contents_out(void **state)
{
    struct vivi_buf b = VIVI_BUF(10);
    cleanup_free char *empty = vivi_buf_take(&b);
    cleanup_free char *text = NULL;

    (void)state;
    assert_string_equal(empty, "");
    assert_null(b.data);
    assert_int_equal(vivi_buf_str(&b, "abc"), 0);
    text = vivi_buf_take(&b);
    assert_string_equal(text, "abc");
    assert_int_equal(b.len, 0);
    assert_int_equal(vivi_buf_str(&b, "much too long"), -VIV_E_PROTOCOL);
    assert_null(vivi_buf_take(&b));
}

static int fill(struct vivi_buf *b)
{
    for (int i = 0; i < 50; i++) {
        int r = vivi_buf_printf(b, "line %d of some length;", i);

        if (r < 0)
            return r;
    }
    return vivi_buf_json_str(b, "a text\nwith escapes");
}

static void each_allocation_may_fail_and_is_reported_as_out_of_memory(void **state)
{
    unsigned n = 0;
    bool hit;

    (void)state;
    do {
        cleanup_buf struct vivi_buf b = VIVI_BUF(100000);
        viv_error err = VIV_ERROR_INIT;
        int r;

        fault_at(++n);
        r = fill(&b);
        hit = fault_hit();
        assert_int_equal(r, hit ? -VIV_E_NO_MEMORY : 0);
        assert_int_equal(vivi_buf_check(&b, &err), r);
        if (hit)
            assert_string_equal(err.message, "out of memory");
        assert_true(b.data == NULL || strlen(b.data) == b.len);
    } while (hit);
    assert_true(n > 3); /* the loop did meet allocations */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_stands_in_order_and_ends_in_nul),
        cmocka_unit_test(the_ceiling_is_exact_and_refuses_without_a_trace),
        cmocka_unit_test(a_failure_sticks_until_reset),
        cmocka_unit_test(sizes_near_the_end_of_the_number_range_are_refused),
        cmocka_unit_test(reserved_room_can_be_written_and_counted),
        cmocka_unit_test(consuming_keeps_the_rest_and_its_nul),
        cmocka_unit_test(json_strings_are_escaped_and_always_valid),
        cmocka_unit_test(a_json_string_that_does_not_fit_leaves_nothing_behind),
        cmocka_unit_test(taking_moves_the_contents_out),
        cmocka_unit_test(each_allocation_may_fail_and_is_reported_as_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
