#include "driver/cloud_hypervisor/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD(status, length)                                                             \
    "HTTP/1.1 " status " \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n" \
    "Content-Type: application/json\r\nContent-Length: " length "\r\n\r\n"

static struct ch_answer parse(const char *text)
{
    struct ch_answer a = {.status = 0};

    assert_int_equal(ch_answer_parse(text, strlen(text), &a, NULL), 1);
    return a;
}

static void expect_words(const char *text, const char *wanted)
{
    struct ch_answer a = parse(text);
    char words[200];

    ch_answer_words(&a, words, sizeof(words));
    assert_string_equal(words, wanted);
}

static void an_answer_is_whole_at_its_last_byte_and_not_before(void **state)
{
    static const char text[] = HEAD("200", "13") "{\"a\": [1, 2]}HTTP/1.1 204 ";
    size_t whole = strlen(text) - strlen("HTTP/1.1 204 ");
    struct ch_answer a;

    (void)state;
    for (size_t n = 0; n < whole; n++)
        assert_int_equal(ch_answer_parse(text, n, &a, NULL), 0);
    for (size_t n = whole; n <= strlen(text); n++) {
        assert_int_equal(ch_answer_parse(text, n, &a, NULL), 1);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.whole, whole);
        assert_int_equal(a.body_len, 13);
        assert_memory_equal(a.body, "{\"a\": [1, 2]}", 13);
        assert_false(a.last);
    }
}

static void one_without_a_length_has_no_body(void **state)
{
    struct ch_answer a =
        parse("HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\nx");

    (void)state;
    assert_int_equal(a.status, 204);
    assert_int_equal(a.body_len, 0);
    assert_int_equal(parse(HEAD("200", "0")).body_len, 0);
}

static void what_is_no_answer_is_refused(void **state)
{
    static const char *const texts[] = {
        "x\r\n",
        "HTTP/2.0 200 \r\n",
        "HTTP/1.1 20 \r\n",
        "HTTP/1.1 2000\r\n",
        "HTTP/1.1 abc \r\n",
        "HTTP/1.1 100 \r\n\r\n",
        "HTTP/1.1 600 \r\n\r\n",
        "HTTP/1.1 200 \r\nno header\r\n\r\n",
        "HTTP/1.1 200 \r\n: empty\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 0x10\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 \r\nContent-Length: 2097153\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ch_answer a;
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(ch_answer_parse(texts[i], strlen(texts[i]), &a, &err), -VIV_E_PROTOCOL);
        assert_int_equal(err.code, VIV_E_PROTOCOL);
    }
}

static void a_head_without_end_is_refused_at_its_limit(void **state)
{
    char *text = malloc(CH_HEAD_MAX_BYTES);
    struct ch_answer a;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', CH_HEAD_MAX_BYTES);
    memcpy(text, "HTTP/1.1 200 \r\nX: ", 18);
    assert_int_equal(ch_answer_parse(text, CH_HEAD_MAX_BYTES - 1, &a, NULL), 0);
    assert_int_equal(ch_answer_parse(text, CH_HEAD_MAX_BYTES, &a, NULL), -VIV_E_PROTOCOL);
    free(text);
}

static void the_whole_chain_of_causes_is_one_line(void **state)
{
    (void)state;
    expect_words(HEAD("500", "81") "[\"Error from API\",\"The VM could not boot\",\"Failed to valid"
                                   "ate config\",\"a\\nb\"]\r\n\r\n\r\n\r\n\r\n",
                 "The VM could not boot: Failed to validate config: a b");
    expect_words(HEAD("404", "13") "[\"Not Found\"]", "Not Found");
    expect_words(HEAD("400", "0"), "");
    /* before 47 */
    expect_words(HEAD("500", "33") "Error from API: VM is not running",
                 "Error from API: VM is not running");
}

static void what_the_parser_answers_is_no_json_and_ends_the_connection(void **state)
{
    static const char text[] =
        "HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
        "Content-Type: application/json\r\nContent-Length: 82\r\n\r\n"
        "{ \"error\": \"Invalid Method.\nAll previous unanswered requests will be dropped.\" }    ";

    (void)state;
    assert_true(parse(text).last);
    expect_words(text, "Invalid Method. All previous unanswered requests will be dropped.");
    assert_true(parse("HTTP/1.1 503 \r\nconnection: Close\r\n\r\n").last);
}

static void the_last_cause_is_the_one_to_blame(void **state)
{
    struct ch_answer a = parse(HEAD("404", "69") "[\"Error from API\",\"The VM info is not availabl"
                                                 "e\",\"VM is not created\"]");

    (void)state;
    assert_true(ch_answer_blames(&a, "VM is not created"));
    assert_false(ch_answer_blames(&a, "The VM info is not available"));
    a = parse(HEAD("500", "24") "Error: VM is not created");
    assert_true(ch_answer_blames(&a, "VM is not created"));
}

static void the_status_becomes_a_code_of_ours(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {{HEAD("500", "7") "[\"why\"]", VIV_E_VMM},
                 {HEAD("404", "7") "[\"why\"]", VIV_E_VMM},
                 {HEAD("400", "7") "[\"why\"]", VIV_E_VMM},
                 {HEAD("409", "7") "[\"why\"]", VIV_E_EXISTS},
                 {HEAD("429", "7") "[\"why\"]", VIV_E_BUSY}};
    viv_error err = VIV_ERROR_INIT;
    struct ch_answer a;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        a = parse(cases[i].text);
        assert_int_equal(ch_answer_fail(&a, "vm.boot", &err), -cases[i].code);
        assert_string_equal(err.message, "cloud-hypervisor: vm.boot: why");
    }
    a = parse(HEAD("400", "0"));
    (void)ch_answer_fail(&a, "vm.boot", &err);
    assert_string_equal(err.message, "cloud-hypervisor: vm.boot: status 400");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_whole_at_its_last_byte_and_not_before),
        cmocka_unit_test(one_without_a_length_has_no_body),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_head_without_end_is_refused_at_its_limit),
        cmocka_unit_test(the_whole_chain_of_causes_is_one_line),
        cmocka_unit_test(what_the_parser_answers_is_no_json_and_ends_the_connection),
        cmocka_unit_test(the_last_cause_is_the_one_to_blame),
        cmocka_unit_test(the_status_becomes_a_code_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
