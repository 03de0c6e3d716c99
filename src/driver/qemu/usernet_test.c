#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "driver/qemu/qemu.h"
#include "model/parse.h"

#define HEAD "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"

/* Two networks: the first forwards 0:80, 8081:80, 0:80/udp and 0.0.0.0:0:81, the second 0:80. */
struct bench {
    struct vivi_config config;
    struct vivi_net nets[2];
    struct vivi_forward first[4], second[1];
};

static void forward(struct vivi_forward *f, const char *text)
{
    assert_int_equal(vivi_parse_forward(text, f, NULL), 0);
}

static void set_up(struct bench *b)
{
    static char id0[] = "n0", id1[] = "n1";

    memset(b, 0, sizeof(*b));
    forward(&b->first[0], "0:80");
    forward(&b->first[1], "8081:80");
    forward(&b->first[2], "0:80/udp");
    forward(&b->first[3], "0.0.0.0:0:81");
    forward(&b->second[0], "0:80");
    b->nets[0] = (struct vivi_net){.id = id0, .slot = 1, .forwards = b->first, .n_forwards = 4};
    b->nets[1] = (struct vivi_net){.id = id1, .slot = 2, .forwards = b->second, .n_forwards = 1};
    b->config.nets = b->nets;
    b->config.n_nets = 2;
}

static void expect(const char *usernet, const char *ports)
{
    struct bench b;
    json_t *list, *p;
    char text[200] = "";
    size_t i;

    set_up(&b);
    list = qemu_ports(&b.config, usernet);
    assert_int_equal(json_array_size(list), 5);
    json_array_foreach(list, i, p)
    {
        size_t at = strlen(text);

        (void)snprintf(text + at, sizeof(text) - at, "%s%s:%d/%s", i ? " " : "",
                       json_string_value(json_object_get(p, "net")),
                       (int)json_integer_value(json_object_get(p, "host_port")),
                       json_string_value(json_object_get(p, "protocol")));
    }
    json_decref(list);
    assert_string_equal(text, ports);
}

static void each_forward_gets_the_port_that_qemu_bound(void **state)
{
    (void)state;
    expect("Hub -1 (net0):\r\n" HEAD
           "  TCP[HOST_FORWARD]   8               * 44429       10.0.2.15    81     0     0\r\n"
           "  TCP[HOST_FORWARD]  12       127.0.0.1  8081       10.0.2.15    80     0     0\r\n"
           "  TCP[HOST_FORWARD]  11       127.0.0.1 41079       10.0.2.15    80     0     0\r\n"
           "  UDP[HOST_FORWARD]   9       127.0.0.1 48510       10.0.2.15    80     0     0\r\n"
           "Hub -1 (net1):\r\n" HEAD
           "  TCP[HOST_FORWARD]  12       127.0.0.1 46397       10.0.3.15    80     0     0\r\n",
           "n0:41079/tcp n0:8081/tcp n0:48510/udp n0:44429/tcp n1:46397/tcp");
}

static void a_connection_is_no_forward_and_noise_is_skipped(void **state)
{
    (void)state;
    expect("noise (net0)\nHub -1 (net0):\n" HEAD
           "  TCP[ESTABLISHED]   14       127.0.0.1 50000       10.0.2.15    80     0     0\n"
           "  TCP[HOST_FORWARD]  11       127.0.0.1 70000       10.0.2.15    80     0     0\n"
           "  TCP[HOST_FORWARD]  11       127.0.0.1\n"
           "  TCP[HOST_FORWARD]  11       127.0.0.1 41079       10.0.2.15    80",
           "n0:41079/tcp n0:8081/tcp n0:0/udp n0:0/tcp n1:0/tcp");
    expect("", "n0:0/tcp n0:8081/tcp n0:0/udp n0:0/tcp n1:0/tcp");
}

static void only_a_free_port_has_to_be_asked_for(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    assert_true(qemu_wants_ports(&b.config));
    b.config.n_nets = 1;
    b.nets[0].forwards = &b.first[1];
    b.nets[0].n_forwards = 1;
    assert_false(qemu_wants_ports(&b.config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_forward_gets_the_port_that_qemu_bound),
        cmocka_unit_test(a_connection_is_no_forward_and_noise_is_skipped),
        cmocka_unit_test(only_a_free_port_has_to_be_asked_for),
    };

    return cmocka_run_group_tests_name("qemu usernet", tests, NULL, NULL);
}
