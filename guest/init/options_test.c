#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

static struct guest_options parse(const char *cmdline)
{
    struct guest_options o;

    guest_options_parse(cmdline, &o);
    return o;
}

static void an_empty_command_line_asks_for_dhcp_and_nothing_else(void **state)
{
    struct guest_options o = parse("console=ttyS0 quiet\n");

    (void)state;
    assert_true(o.ip.dhcp);
    assert_false(o.ip.given || o.ip.off || o.count || o.panic || o.noready);
    assert_string_equal(o.nonce, "");
    assert_string_equal(o.lab, "");
}

static void the_nonce_is_taken_whole_or_not_at_all(void **state)
{
    char line[300] = "vmrs.nonce=";

    (void)state;
    assert_string_equal(parse("a vmrs.nonce=0123abcd b").nonce, "0123abcd");
    memset(line + strlen(line), 'f', 200);
    assert_string_equal(parse(line).nonce, "");
}

static void a_static_address_has_the_kernels_form(void **state)
{
    struct guest_options o = parse("ip=10.0.0.2::10.0.0.1:255.0.0.0:web:eth1:off:9.9.9.9:8.8.8.8");

    (void)state;
    assert_false(o.ip.dhcp || o.ip.off);
    assert_string_equal(o.ip.client, "10.0.0.2");
    assert_string_equal(o.ip.gateway, "10.0.0.1");
    assert_string_equal(o.ip.netmask, "255.0.0.0");
    assert_string_equal(o.ip.hostname, "web");
    assert_string_equal(o.ip.device, "eth1");
    assert_string_equal(o.ip.dns[0], "9.9.9.9");
    assert_string_equal(o.ip.dns[1], "8.8.8.8");
}

static void short_forms_of_ip_mean_what_the_kernel_means(void **state)
{
    (void)state;
    assert_true(parse("ip=dhcp").ip.dhcp);
    assert_true(parse("ip=on").ip.dhcp);
    assert_true(parse("ip=off").ip.off);
    assert_true(parse("ip=none").ip.off);
    assert_true(parse("ip=:::::eth1:dhcp").ip.dhcp);
    assert_string_equal(parse("ip=:::::eth1:dhcp").ip.device, "eth1");
    assert_string_equal(parse("ip=10.0.0.2").ip.client, "10.0.0.2");
    assert_false(parse("ip=10.0.0.2").ip.dhcp);
}

static void a_field_of_ip_too_long_or_too_many_fields_do_no_harm(void **state)
{
    char line[500] = "ip=";

    (void)state;
    memset(line + 3, '1', 300);
    assert_true(strlen(parse(line).ip.client) < sizeof(((struct guest_ip *)0)->client));
    assert_string_equal(parse("ip=1:2:3:4:5:6:7:8:9:10:11:12:13").ip.dns[1], "9");
}

static void test_switches_have_their_numbers(void **state)
{
    struct guest_options o =
        parse("vivguest.count=100 vivguest.reboot_every=2000 vivguest.panic=7 vivguest.nobutton "
              "vivguest.poweroff vivguest.flood=nolf vivguest.stop_delay_ms=x5");

    (void)state;
    assert_true(o.count && o.panic && o.nobutton && o.poweroff);
    assert_false(o.reboot || o.noshell);
    assert_int_equal(o.count_rate, 100);
    assert_int_equal(o.reboot_every, 2000);
    assert_int_equal(o.panic_ms, 7);
    assert_int_equal(o.poweroff_ms, 0);
    assert_int_equal(o.stop_delay_ms, 0);
    assert_int_equal(o.flood, GUEST_FLOOD_NOLF);
    assert_int_equal(parse("vivguest.flood").flood, GUEST_FLOOD_LINES);
    assert_string_equal(parse("root=/dev/vda1").root, "/dev/vda1");
    assert_string_equal(parse("rootwait").root, "");
}

static void a_quoted_value_may_have_spaces(void **state)
{
    struct guest_options o = parse("\"viv.lab=/bin/x -a b\" viv.lab_modules=a,b quiet");

    (void)state;
    assert_string_equal(o.lab, "/bin/x -a b");
    assert_string_equal(o.modules, "a,b");
    assert_string_equal(parse("viv.lab=\"x y\"").lab, "x y");
}

static void mounts_are_collected_up_to_their_limit(void **state)
{
    struct guest_options o = parse("viv.lab_mount=out:/out viv.lab_mount=:/x viv.lab_mount=x:rel "
                                   "viv.lab_mount=b:/b viv.lab_mount=c:/c viv.lab_mount=d:/d "
                                   "viv.lab_mount=e:/e");

    (void)state;
    assert_int_equal(o.mounts_n, GUEST_MAX_MOUNTS);
    assert_string_equal(o.mounts[0].tag, "out");
    assert_string_equal(o.mounts[0].path, "/out");
    assert_string_equal(o.mounts[1].tag, "b");
}

static void a_token_without_end_is_bounded(void **state)
{
    char line[4000];

    (void)state;
    memset(line, '"', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    (void)parse(line);
    memset(line, 'a', sizeof(line) - 1);
    (void)parse(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_command_line_asks_for_dhcp_and_nothing_else),
        cmocka_unit_test(the_nonce_is_taken_whole_or_not_at_all),
        cmocka_unit_test(a_static_address_has_the_kernels_form),
        cmocka_unit_test(short_forms_of_ip_mean_what_the_kernel_means),
        cmocka_unit_test(a_field_of_ip_too_long_or_too_many_fields_do_no_harm),
        cmocka_unit_test(test_switches_have_their_numbers),
        cmocka_unit_test(a_quoted_value_may_have_spaces),
        cmocka_unit_test(mounts_are_collected_up_to_their_limit),
        cmocka_unit_test(a_token_without_end_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
