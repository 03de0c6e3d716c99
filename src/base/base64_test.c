#include "base/base64.h"

#include <string.h>

#include "base/testing.h"

static void assert_both_ways(const char *plain, size_t len, const char *text)
{
    char encoded[64], decoded[64];

    vivi_base64_encode(plain, len, encoded);
    assert_string_equal(encoded, text);
    assert_int_equal(strlen(text), VIVI_BASE64_LEN(len));
    assert_int_equal(vivi_base64_decode(text, strlen(text), decoded), len);
    assert_memory_equal(decoded, plain, len);
}

static void every_length_comes_back(void **state)
{
    (void)state;
    assert_both_ways("", 0, "");
    assert_both_ways("f", 1, "Zg==");
    assert_both_ways("fo", 2, "Zm8=");
    assert_both_ways("foo", 3, "Zm9v");
    assert_both_ways("foob", 4, "Zm9vYg==");
    assert_both_ways("\0\xff\xfe\x80", 4, "AP/+gA==");
}

static void every_byte_comes_back(void **state)
{
    unsigned char all[256], back[258];
    char text[VIVI_BASE64_LEN(sizeof(all)) + 1];

    (void)state;
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (unsigned char)i;
    vivi_base64_encode(all, sizeof(all), text);
    assert_int_equal(vivi_base64_decode(text, strlen(text), back), sizeof(all));
    assert_memory_equal(back, all, sizeof(all));
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z",    "Zg=",      "Zg=a",  "=m9v", "Z===", "====",
                                      "Zm9*", "Zg==Zm9v", "Zm9\n", "Zh==", "Zm9=", "Zm9v\xc3"};
    char decoded[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(vivi_base64_decode(bad[i], strlen(bad[i]), decoded), -1);
    assert_int_equal(vivi_base64_decode("Zg\0=", 4, decoded), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(what_is_not_base64_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
