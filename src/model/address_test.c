#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/parse.h"

static void names_are_dns_labels(void **state)
{
    static const char *const good[] = {
        "a",
        "7",
        "web",
        "a-b",
        "a--b",
        "x1",
        "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy"};
    static const char *const bad[] = {
        "",
        "-a",
        "a-",
        "A",
        "a_b",
        "a.b",
        "a/b",
        " a",
        "a ",
        "a\n",
        "\xc3\xa9",
        "..",
        "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxyz"};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(vivi_parse_name(good[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(vivi_parse_name(bad[i], NULL), -VIV_E_INVALID);
    assert_int_equal(vivi_parse_name("a/b", &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)");
}

static void mac_addresses_are_six_bytes_of_one_nic(void **state)
{
    static const char *const bad[] = {"",
                                      "52:54:00:12:34",
                                      "52:54:00:12:34:56:78",
                                      "52-54-00-12-34-56",
                                      "5254.0012.3456",
                                      "52:54:00:12:34:5g",
                                      "52:54:00:12:34:5",
                                      "52:54:00:12:34:567",
                                      " 52:54:00:12:34:56"};
    uint8_t mac[6] = {1, 2, 3, 4, 5, 6}, before[6] = {1, 2, 3, 4, 5, 6};
    viv_error err = VIV_ERROR_INIT;
    char text[18];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(vivi_parse_mac(bad[i], mac, NULL), -VIV_E_INVALID);
        assert_memory_equal(mac, before, 6);
    }
    assert_int_equal(vivi_parse_mac("x", mac, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"x\" is not a MAC address (example: 52:54:00:12:34:56)");
    assert_int_equal(vivi_parse_mac("01:00:5e:00:00:01", mac, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "\"01:00:5e:00:00:01\" cannot be the address of a NIC");
    assert_int_equal(vivi_parse_mac("00:00:00:00:00:00", mac, &err), -VIV_E_INVALID);
    assert_memory_equal(mac, before, 6);
    assert_int_equal(vivi_parse_mac("52:54:00:Ab:cD:ef", mac, &err), 0);
    vivi_format_mac(mac, text);
    assert_string_equal(text, "52:54:00:ab:cd:ef");
}

static void derived_macs_are_stable_local_and_different(void **state)
{
    uint8_t seen[512][6], mac[6];
    char id[16], text[18];

    (void)state;
    /* Recorded once: an address that changes with a release would break leases of running guests.
     */
    vivi_mac_derive("6f1d2c3b-0000-4000-8000-000000000001", "n0", mac);
    vivi_format_mac(mac, text);
    assert_string_equal(text, "9a:cb:2d:db:7c:b8");
    for (int i = 0; i < 512; i++) {
        (void)snprintf(id, sizeof(id), "n%d", i % 8);
        (void)snprintf(text, sizeof(text), "%08x", i / 8);
        vivi_mac_derive(text, id, seen[i]);
        assert_int_equal(seen[i][0] & 3, 2);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(seen[i], seen[j], 6);
    }
    /* The border between uuid and id counts. */
    vivi_mac_derive("ab", "c", mac);
    vivi_mac_derive("a", "bc", seen[0]);
    assert_memory_not_equal(mac, seen[0], 6);
}

static void addresses_become_canonical(void **state)
{
    static const char *const bad[] = {"",           "1.2.3",     "1.2.3.4.5",    "256.1.1.1",
                                      "1.2.3.4 ",   "::g",       "fe80::1%eth0", "[::1]",
                                      "1.2.3.4:80", "localhost", "01.2.3.4"};
    char ip[46] = "before";
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_parse_ip("10.0.2.15", ip, NULL), 0);
    assert_string_equal(ip, "10.0.2.15");
    assert_int_equal(vivi_parse_ip("FD00:0:0::0001", ip, NULL), 0);
    assert_string_equal(ip, "fd00::1");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(vivi_parse_ip(bad[i], ip, &err), -VIV_E_INVALID);
        assert_string_equal(ip, "fd00::1");
    }
    assert_string_equal(err.message, "\"01.2.3.4\" is not an IP address");
}

static void forwards_have_an_address_two_ports_and_a_protocol(void **state)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"8080:80", "127.0.0.1:8080:80/tcp"},
        {"8080:80/udp", "127.0.0.1:8080:80/udp"},
        {"127.0.0.1:8080:80/tcp", "127.0.0.1:8080:80/tcp"},
        {"0.0.0.0:1:65535", "0.0.0.0:1:65535/tcp"},
        {":80", "127.0.0.1:0:80/tcp"},
        {"0:80", "127.0.0.1:0:80/tcp"},
        {"10.1.2.3::80", "10.1.2.3:0:80/tcp"},
        {"[::1]:53:53/udp", "[::1]:53:53/udp"},
        {"[FD00::1]:0:1", "[fd00::1]:0:1/tcp"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct vivi_forward f, back;
        char text[80];

        if (vivi_parse_forward(cases[i].text, &f, NULL) != 0)
            fail_msg("%s", cases[i].text);
        vivi_format_forward(&f, text);
        assert_string_equal(text, cases[i].canonical);
        assert_int_equal(vivi_parse_forward(text, &back, NULL), 0);
        assert_string_equal(back.host_ip, f.host_ip);
        assert_int_equal(back.host_port, f.host_port);
        assert_int_equal(back.guest_port, f.guest_port);
        assert_int_equal(back.udp, f.udp);
    }
}

static void what_is_no_forward_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ":",
                                      "80",
                                      "8080:",
                                      "8080:0",
                                      "65536:80",
                                      "80:65536",
                                      "080:80",
                                      "8080:80/sctp",
                                      "8080:80/",
                                      "8080:80/TCP",
                                      "localhost:8080:80",
                                      "::1:53:53",
                                      "[::1]53:53",
                                      "[::1]:53",
                                      "[127.0.0.1]:1:2",
                                      "[::1:1:2",
                                      "1.2.3.4:1:2:3",
                                      "a:b",
                                      "-1:80",
                                      "8080 :80",
                                      "/tcp",
                                      "[]:1:2",
                                      "1:2/udp/tcp",
                                      "::80"};
    struct vivi_forward f = {.host_port = 4711};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (vivi_parse_forward(bad[i], &f, &err) != -VIV_E_INVALID)
            fail_msg("%s", bad[i]);
        assert_int_equal(f.host_port, 4711);
    }
    assert_string_equal(
        err.message, "\"::80\" is not a port forward (examples: 8080:80, 127.0.0.1:5353:53/udp)");
}

static void every_port_and_protocol_reads_back(void **state)
{
    (void)state;
    for (unsigned port = 0; port <= UINT16_MAX; port++) {
        struct vivi_forward f = {.udp = port % 2 != 0, .host_ip = "10.0.0.1"}, back = {0};
        char text[80];

        f.host_port = (uint16_t)port;
        f.guest_port = (uint16_t)(UINT16_MAX - port);
        vivi_format_forward(&f, text);
        if (f.guest_port == 0)
            assert_int_equal(vivi_parse_forward(text, &back, NULL), -VIV_E_INVALID);
        else if (vivi_parse_forward(text, &back, NULL) != 0 || back.udp != f.udp ||
                 back.host_port != f.host_port || back.guest_port != f.guest_port)
            fail_msg("%s", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_dns_labels),
        cmocka_unit_test(mac_addresses_are_six_bytes_of_one_nic),
        cmocka_unit_test(derived_macs_are_stable_local_and_different),
        cmocka_unit_test(addresses_become_canonical),
        cmocka_unit_test(forwards_have_an_address_two_ports_and_a_protocol),
        cmocka_unit_test(what_is_no_forward_is_refused),
        cmocka_unit_test(every_port_and_protocol_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
