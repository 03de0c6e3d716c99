#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../tests/contract/poll_loop.h"
#include "base/fd.h"
#include "base/file.h"
#include "driver/agent_port.h"

struct rig {
    struct poll_loop loop;
    struct vivi_driver_host host;
    struct vivi_agent_port port;
    char dir[64];
    unsigned n;
    struct vivi_driver_event last;
};

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    struct rig *r = ctx;

    r->n++;
    r->last = *e;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    if (!r)
        return -1;
    poll_loop_init(&r->loop);
    r->host = (struct vivi_driver_host){.ctx = r, .loop = &r->loop.iface, .event = on_event};
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/viv-port-XXXXXX");
    *state = r;
    return mkdtemp(r->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    unsigned left;

    vivi_agent_port_done(&r->port);
    vivi_agent_port_done(&r->port);
    left = poll_loop_leftovers(&r->loop);
    (void)vivi_remove_tree_at(AT_FDCWD, r->dir, NULL);
    free(r);
    return left == 0 ? 0 : -1;
}

static int ask(struct rig *r, uint64_t op, viv_error *err)
{
    return vivi_agent_port_open(
        &r->port,
        &(struct vivi_agent_ask){
            .host = &r->host, .run_dir = r->dir, .name = "agent", .run = 3, .op = op},
        err);
}

static void the_channel_is_told_from_the_loop_and_goes_both_ways(void **state)
{
    struct rig *r = *state;
    cleanup_close int listener = -1, peer = -1, ours = -1;
    char path[80], byte = 0;

    (void)snprintf(path, sizeof(path), "%s/agent", r->dir);
    assert_int_equal(vivi_unix_listen(path, 1, &listener, NULL), 0);
    assert_int_equal(ask(r, 8, NULL), 0);
    assert_int_equal(r->n, 0);
    assert_int_equal(ask(r, 9, NULL), -VIV_E_BUSY);
    while (poll_loop_step(&r->loop, 0))
        ;
    assert_int_equal(r->n, 1);
    ours = r->last.fd;
    assert_true(r->last.kind == VIVI_EV_DONE && r->last.op == 8 && r->last.run == 3 && ours > 2);
    assert_true(fcntl(ours, F_GETFL) & O_NONBLOCK);
    assert_int_equal(vivi_accept(listener, &peer, NULL), 1);
    assert_int_equal(send(ours, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(peer, &byte, 1, 0), 1);
    assert_int_equal(send(peer, "y", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(ours, &byte, 1, 0), 1);
    assert_int_equal(byte, 'y');
}

static void a_run_without_a_channel_says_so(void **state)
{
    struct rig *r = *state;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(ask(r, 1, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(err.code, VIV_E_NOT_FOUND);
    while (poll_loop_step(&r->loop, 0))
        ;
    assert_int_equal(r->n, 0);
}

static void what_was_not_told_yet_is_closed_by_done(void **state)
{
    struct rig *r = *state;
    cleanup_close int listener = -1, peer = -1;
    char path[80], byte;

    (void)snprintf(path, sizeof(path), "%s/agent", r->dir);
    assert_int_equal(vivi_unix_listen(path, 1, &listener, NULL), 0);
    assert_int_equal(ask(r, 1, NULL), 0);
    vivi_agent_port_done(&r->port);
    while (poll_loop_step(&r->loop, 0))
        ;
    assert_int_equal(r->n, 0);
    assert_int_equal(vivi_accept(listener, &peer, NULL), 1);
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_channel_is_told_from_the_loop_and_goes_both_ways, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_without_a_channel_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_told_yet_is_closed_by_done, setup, teardown),
    };

    return cmocka_run_group_tests_name("driver agent port", tests, NULL, NULL);
}
