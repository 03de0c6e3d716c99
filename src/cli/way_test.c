#include "cli/way.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <net/if.h>

#include <cmocka.h>

#include "base/cleanup.h"

static void ways_have_a_host_and_maybe_a_port(void **state)
{
    static const struct {
        const char *text, *host, *port;
        bool v6;
    } good[] = {
        {"unix", "", NULL, false},
        {"tcp:moon", "moon", NULL, false},
        {"tcp:192.0.2.1:22", "192.0.2.1", "22", false},
        {"tcp:[::1]", "::1", NULL, true},
        {"tcp:[2001:db8::1]:4711", "2001:db8::1", "4711", true},
        {"tcp:[fe80::1%eth0]:22", "fe80::1%eth0", "22", true},
    };
    struct vivi_way w;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(vivi_way_parse(good[i].text, &w));
        assert_string_equal(w.host, good[i].host);
        assert_true(w.v6 == good[i].v6);
        if (good[i].port)
            assert_string_equal(w.port, good[i].port);
        else
            assert_null(w.port);
    }
}

static void what_is_no_way_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "tcp",
                                      "tcp:",
                                      "tcp::1",
                                      "tcp:a:",
                                      "tcp:a:0x1",
                                      "tcp:a:70000",
                                      "tcp:a/",
                                      "tcp:::1",
                                      "tcp:[",
                                      "tcp:[]",
                                      "tcp:[::1",
                                      "tcp:[::1]x",
                                      "tcp:[::1]:",
                                      "tcp:[moon]",
                                      "tcp:[fe80::1%]",
                                      "tcp:[1.2.3.4]",
                                      "tcp:[::1]:22:23",
                                      "udp:a",
                                      "unix:x"};
    struct vivi_way w;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (vivi_way_parse(bad[i], &w))
            fail_msg("%s", bad[i]);
}

static void a_host_of_an_url_may_end_with_a_slash(void **state)
{
    struct vivi_way w;

    (void)state;
    assert_true(vivi_way_parse_host("[::1]:22/", &w));
    assert_true(strncmp(w.port, "22", 2) == 0);
    assert_true(vivi_way_parse_host("moon/", &w));
    assert_string_equal(w.host, "moon");
    assert_false(vivi_way_parse_host("moon/crater", &w));
    assert_false(vivi_way_parse_host("[::1]/x", &w));
}

static void a_vmm_is_told_the_number_of_an_interface(void **state)
{
    struct vivi_way w;
    char url[128], want[128];

    (void)state;
    assert_true(vivi_way_parse("tcp:[fe80::1%lo]:22", &w));
    assert_true(vivi_way_is_of_a_link(&w));
    vivi_way_url(&w, "4711", url, sizeof(url));
    (void)snprintf(want, sizeof(want), "tcp:[fe80::1%%%u]:4711", if_nametoindex("lo"));
    assert_string_equal(url, want);
    assert_true(vivi_way_parse("tcp:[::1]", &w));
    assert_false(vivi_way_is_of_a_link(&w));
    vivi_way_url(&w, "1", url, sizeof(url));
    assert_string_equal(url, "tcp:[::1]:1");
    assert_true(vivi_way_parse("tcp:moon:22", &w));
    vivi_way_url(&w, "1", url, sizeof(url));
    assert_string_equal(url, "tcp:moon:1");
    /* one that is not here is left to the VMM, which says so */
    assert_true(vivi_way_parse("tcp:[fe80::1%nosuchif0]", &w));
    vivi_way_url(&w, "1", url, sizeof(url));
    assert_string_equal(url, "tcp:[fe80::1%nosuchif0]:1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ways_have_a_host_and_maybe_a_port),
        cmocka_unit_test(what_is_no_way_is_refused),
        cmocka_unit_test(a_host_of_an_url_may_end_with_a_slash),
        cmocka_unit_test(a_vmm_is_told_the_number_of_an_interface),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
