#include "base/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/testing.h"

static void bytes_pass_unchanged_and_without_echo(void **state)
{
    static const char sent[] = "a\r\n\x03\x04\x11\x13\x1a\x1c\xff b";
    char got[sizeof(sent)];
    int master, slave;

    (void)state;
    assert_int_equal(vivi_pty_open(&master, &slave, NULL), 0);
    assert_int_equal(write(master, sent, sizeof(sent)), sizeof(sent));
    assert_int_equal(vivi_read_full(slave, got, sizeof(got), 1000, NULL), 0);
    assert_memory_equal(got, sent, sizeof(sent));
    assert_int_equal(read(master, got, sizeof(got)), -1); /* nothing came back */
    assert_int_equal(errno, EAGAIN);
    vivi_close(&master);
    vivi_close(&slave);
}

static void both_ends_are_close_on_exec_and_leak_nothing(void **state)
{
    int before = vivi_fd_count(), master, slave;

    (void)state;
    assert_int_equal(vivi_pty_open(&master, &slave, NULL), 0);
    assert_true(master >= 3 && slave >= 3);
    assert_true(fcntl(master, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(slave, F_GETFD) & FD_CLOEXEC);
    assert_true(isatty(slave));
    vivi_close(&master);
    vivi_close(&slave);
    assert_int_equal(vivi_fd_count(), before);
}

/* Why a VMM gets a duplicate of the master: without one, its input ends for good. */
static void a_duplicate_of_the_master_keeps_the_terminal_alive(void **state)
{
    int master, slave, duplicate;
    char c;

    (void)state;
    assert_int_equal(vivi_pty_open(&master, &slave, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(slave, true, NULL), 0);
    duplicate = dup(master);
    vivi_close(&master);
    assert_int_equal(read(slave, &c, 1), -1);
    assert_int_equal(errno, EAGAIN);
    vivi_close(&duplicate);
    assert_int_equal(read(slave, &c, 1), 0);
    vivi_close(&slave);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_pass_unchanged_and_without_echo),
        cmocka_unit_test(both_ends_are_close_on_exec_and_leak_nothing),
        cmocka_unit_test(a_duplicate_of_the_master_keeps_the_terminal_alive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
