#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cli/escape.h"

/* The visible form, fed in pieces of every size: the answer must not depend on them. */
static void shows(bool console, const char *data, size_t len, const char *want)
{
    for (size_t piece = 1; piece <= len; piece++) {
        struct vivi_escape e = {.console = console};
        cleanup_buf struct vivi_buf out = VIVI_BUF(4096);

        for (size_t at = 0; at < len; at += piece)
            vivi_escape_feed(&e, data + at, len - at < piece ? len - at : piece, &out);
        vivi_escape_end(&e, &out);
        assert_non_null(out.data);
        assert_string_equal(out.data, want);
        assert_int_equal(out.len, strlen(want));
    }
}

#define SHOWS(text, want) shows(false, text, sizeof(text) - 1, want)

static void ordinary_text_passes_untouched(void **state)
{
    (void)state;
    SHOWS("hello, world\n\ttab ~\n", "hello, world\n\ttab ~\n");
    SHOWS("gr\303\274n \342\202\254 \360\237\220\237\n",
          "gr\303\274n \342\202\254 \360\237\220\237\n");
}

static void escape_sequences_become_visible(void **state)
{
    (void)state;
    SHOWS("\033[2J\033]0;title\007x", "^[[2J^[]0;title^Gx");
    SHOWS("a\bb\177c\001", "a^Hb^?c^A");
    SHOWS("\0x", "^@x");
}

static void line_ends_pass_and_a_lone_return_does_not(void **state)
{
    (void)state;
    SHOWS("one\r\ntwo\r\n", "one\r\ntwo\r\n");
    SHOWS("one\r\r\ntwo", "one\r\ntwo");
    SHOWS("good\rbad", "good^Mbad");
    SHOWS("end\r", "end^M");
}

static void c1_controls_and_broken_utf8_become_hexadecimal(void **state)
{
    (void)state;
    SHOWS("a\302\233mb", "a\\xc2\\x9bmb");    /* CSI as U+009B */
    SHOWS("a\233b", "a\\x9bb");               /* CSI as one byte */
    SHOWS("\300\200", "\\xc0\\x80");          /* overlong NUL */
    SHOWS("\355\240\200", "\\xed\\xa0\\x80"); /* a surrogate */
    SHOWS("\364\220\200\200", "\\xf4\\x90\\x80\\x80");
    SHOWS("\342\202x", "\\xe2\\x82x"); /* cut short */
    SHOWS("\342\202\033", "\\xe2\\x82^[");
    SHOWS("\342\202", "\\xe2\\x82"); /* cut short by the end */
}

static void characters_that_reorder_text_become_hexadecimal(void **state)
{
    (void)state;
    SHOWS("a\342\200\256b", "a\\xe2\\x80\\xaeb"); /* U+202E */
    SHOWS("a\342\201\246b", "a\\xe2\\x81\\xa6b"); /* U+2066 */
    SHOWS("a\342\200\234b", "a\342\200\234b");    /* a quotation mark */
}

static void a_console_keeps_what_line_editors_need(void **state)
{
    static const char text[] = "a\b \b\rb\007\033[K";

    (void)state;
    shows(true, text, sizeof(text) - 1, "a\b \b\rb\007^[[K");
}

static void output_stays_within_its_growth(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        struct vivi_escape e = {0};
        cleanup_buf struct vivi_buf out = VIVI_BUF(64);
        unsigned char byte = (unsigned char)c;

        vivi_escape_feed(&e, &byte, 1, &out);
        vivi_escape_end(&e, &out);
        assert_true(out.len >= 1 && out.len <= VIVI_ESCAPE_GROWTH);
    }
}

static void a_message_is_one_line_of_bounded_length(void **state)
{
    char text[16];

    (void)state;
    vivi_escape_line("a\nb\tc\033", text, sizeof(text));
    assert_string_equal(text, "a^Jb^Ic^[");
    vivi_escape_line("0123456789abcdefghij", text, sizeof(text));
    assert_string_equal(text, "0123456789abcde");
    vivi_escape_line("", text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_text_passes_untouched),
        cmocka_unit_test(escape_sequences_become_visible),
        cmocka_unit_test(line_ends_pass_and_a_lone_return_does_not),
        cmocka_unit_test(c1_controls_and_broken_utf8_become_hexadecimal),
        cmocka_unit_test(characters_that_reorder_text_become_hexadecimal),
        cmocka_unit_test(a_console_keeps_what_line_editors_need),
        cmocka_unit_test(output_stays_within_its_growth),
        cmocka_unit_test(a_message_is_one_line_of_bounded_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
