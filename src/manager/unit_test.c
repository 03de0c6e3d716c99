/* The text of units: word for word, and paths that would mean something else to systemd. */
#include "manager/unit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#define UUID "11111111-2222-4333-8444-555555555555"

static json_t *config(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    return j;
}

static void the_unit_of_a_user(void **state)
{
    json_t *c =
        config("{\"boot\":{\"kernel\":\"/k\",\"cmdline\":\"root=/dev/vda\"},"
               "\"disks\":[{\"id\":\"a\",\"path\":\"/srv/a b\"}],\"labels\":{\"path\":\"/no\"},"
               "\"stop\":{\"timeout\":90000}}");
    struct vivi_unit u = {.name = "web",
                          .uuid = UUID,
                          .root = "/users/ann/.local/state/vivarium",
                          .program = "/usr/bin/viv",
                          .config = c};
    struct vivi_buf out = VIVI_BUF(8192);

    (void)state;
    assert_int_equal(vivi_unit_text(&u, &out, NULL), 0);
    assert_string_equal(out.data,
                        "# Written by `viv autostart on web`; `viv autostart off web` removes it.\n"
                        "[Unit]\n"
                        "Description=Virtual machine web\n"
                        "Documentation=man:viv-autostart(1)\n"
                        "RequiresMountsFor=\"/users/ann/.local/state/vivarium\" \"/usr/bin/viv\" "
                        "\"/k\" \"/srv/a b\"\n"
                        "\n"
                        "[Service]\n"
                        "Type=forking\n"
                        "GuessMainPID=no\n"
                        "Environment=\"VIV_HOME=/users/ann/.local/state/vivarium\"\n"
                        "Environment=\"VIV_SCOPE=off\"\n"
                        "ExecStart=\"/usr/bin/viv\" start --unless-stopped web\n"
                        "ExecStop=\"/usr/bin/viv\" stop --for-now web\n"
                        "TimeoutStartSec=90\n"
                        "TimeoutStopSec=120\n"
                        "KillMode=mixed\n"
                        "OOMPolicy=continue\n"
                        "\n"
                        "[X-Vivarium]\n"
                        "UUID=" UUID "\n"
                        "\n"
                        "[Install]\n"
                        "WantedBy=default.target\n");
    vivi_buf_done(&out);
    json_decref(c);
}

static void the_unit_of_the_system_waits_for_the_network(void **state)
{
    struct vivi_unit u = {.name = "web",
                          .uuid = UUID,
                          .root = "/r",
                          .program = "/v",
                          .system = true,
                          .run = "/run/viv",
                          .libexec = "/x/libexec"};
    struct vivi_buf out = VIVI_BUF(8192);

    (void)state;
    assert_int_equal(vivi_unit_text(&u, &out, NULL), 0);
    assert_non_null(strstr(out.data, "\nAfter=network-online.target\n"));
    assert_non_null(strstr(out.data, "\nWantedBy=multi-user.target\n"));
    assert_non_null(strstr(out.data, "\nEnvironment=\"VIV_RUN=/run/viv\"\n"));
    assert_non_null(strstr(out.data, "\nEnvironment=\"VIV_LIBEXEC=/x/libexec\"\n"));
    assert_non_null(strstr(out.data, "\nTimeoutStopSec=90\n"));
    vivi_buf_done(&out);
}

static void what_means_something_to_systemd_is_escaped(void **state)
{
    struct vivi_unit u = {
        .name = "web", .uuid = UUID, .root = "/a%h \"b\"\\$x", .program = "/p$HOME/%i/viv"};
    struct vivi_buf out = VIVI_BUF(8192);

    (void)state;
    assert_int_equal(vivi_unit_text(&u, &out, NULL), 0);
    assert_non_null(
        strstr(out.data, "RequiresMountsFor=\"/a%%h \\\"b\\\"\\\\$x\" \"/p$HOME/%%i/viv\"\n"));
    assert_non_null(strstr(out.data, "ExecStart=\"/p$$HOME/%%i/viv\" start"));
    vivi_buf_done(&out);
}

static void a_path_that_would_begin_a_line_of_its_own_is_refused(void **state)
{
    struct vivi_unit u = {
        .name = "web", .uuid = UUID, .root = "/a\nExecStartPre=/bin/evil", .program = "/v"};
    struct vivi_buf out = VIVI_BUF(8192);

    (void)state;
    assert_int_equal(vivi_unit_text(&u, &out, NULL), -VIV_E_INVALID);
    u.root = "/a";
    u.program = "/v\r";
    vivi_buf_reset(&out);
    assert_int_equal(vivi_unit_text(&u, &out, NULL), -VIV_E_INVALID);
    vivi_buf_done(&out);
}

static void two_state_roots_do_not_share_a_name(void **state)
{
    char a[128], b[128], usual[128];

    (void)state;
    vivi_unit_name("web", "/var/lib/vivarium", true, usual);
    assert_string_equal(usual, "viv-web.service");
    vivi_unit_name("web", "/srv/a", false, a);
    vivi_unit_name("web", "/srv/b", false, b);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), strlen("viv-web.12345678.service"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unit_of_a_user),
        cmocka_unit_test(the_unit_of_the_system_waits_for_the_network),
        cmocka_unit_test(what_means_something_to_systemd_is_escaped),
        cmocka_unit_test(a_path_that_would_begin_a_line_of_its_own_is_refused),
        cmocka_unit_test(two_state_roots_do_not_share_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
