#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include <cmocka.h>

#include "../../tests/contract/poll_loop.h"
#include "base/fd.h"
#include "base/file.h"
#include "driver/lines.h"

struct heard {
    struct vivi_lines *close_at_line;
    unsigned n_lines, n_ends;
    char last[64];
    size_t last_len, bytes;
    viv_error why;
};

static void on_line(void *arg, char *line, size_t len)
{
    struct heard *h = arg;

    h->n_lines++;
    h->last_len = len;
    h->bytes += len;
    (void)snprintf(h->last, sizeof(h->last), "%.60s", line);
    if (h->close_at_line)
        vivi_lines_close(h->close_at_line);
}

static void on_end(void *arg, const viv_error *err)
{
    struct heard *h = arg;

    h->n_ends++;
    h->why = *err;
}

struct pair {
    char dir[64];
    struct poll_loop loop;
    struct vivi_lines lines;
    struct heard heard;
    int listen_fd, peer_fd;
};

static int setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    struct vivi_lines_handler on;
    char path[100];

    if (!p)
        return -1;
    poll_loop_init(&p->loop);
    on = (struct vivi_lines_handler){.arg = &p->heard, .line = on_line, .end = on_end};
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/viv-lines-XXXXXX");
    if (!mkdtemp(p->dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/s", p->dir);
    if (vivi_unix_listen(path, 1, &p->listen_fd, NULL) < 0 ||
        vivi_lines_open(&p->lines, &p->loop.iface, path, &on, NULL) < 0 ||
        vivi_accept(p->listen_fd, &p->peer_fd, NULL) != 1 ||
        vivi_fd_nonblock(p->peer_fd, false, NULL) < 0)
        return -1;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    unsigned left;

    vivi_lines_close(&p->lines);
    vivi_lines_close(&p->lines);
    left = poll_loop_leftovers(&p->loop);
    vivi_close(&p->listen_fd);
    vivi_close(&p->peer_fd);
    (void)vivi_remove_tree_at(AT_FDCWD, p->dir, NULL);
    free(p);
    return left == 0 ? 0 : -1;
}

static void say(struct pair *p, const char *text, size_t len)
{
    assert_int_equal(vivi_write_full(p->peer_fd, text, len, 1000, NULL), 0);
}

static void run(struct pair *p)
{
    while (poll_loop_step(&p->loop, 0))
        ;
}

static void lines_come_whole_whatever_the_pieces(void **state)
{
    struct pair *p = *state;
    static const char text[] = "one\r\n\ntwo\nhalf";

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        say(p, text + i, 1);
        run(p);
    }
    assert_int_equal(p->heard.n_lines, 3);
    assert_string_equal(p->heard.last, "two");
    say(p, "\n", 1);
    run(p);
    assert_string_equal(p->heard.last, "half");
    assert_int_equal(p->heard.last_len, 4);
}

static void an_end_of_file_is_told_once_and_closes(void **state)
{
    struct pair *p = *state;
    viv_error err = VIV_ERROR_INIT;

    say(p, "bye\nhalf", 8);
    vivi_close(&p->peer_fd);
    run(p);
    assert_int_equal(p->heard.n_lines, 1);
    assert_int_equal(p->heard.n_ends, 1);
    assert_int_equal(p->heard.why.code, VIV_E_IO);
    assert_string_equal(p->heard.why.message, "the VMM has closed its control socket");
    assert_false(p->lines.open);
    assert_int_equal(vivi_lines_send(&p->lines, "x\n", 2, &err), -VIV_E_IO);
}

static void a_line_that_never_ends_has_a_ceiling(void **state)
{
    struct pair *p = *state;
    static char chunk[65536];

    memset(chunk, 'x', sizeof(chunk));
    for (int i = 0; i < 32 && p->heard.n_ends == 0; i++) {
        ssize_t n = send(p->peer_fd, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL);

        (void)n;
        run(p);
    }
    assert_int_equal(p->heard.n_lines, 0);
    assert_int_equal(p->heard.n_ends, 1);
    assert_int_equal(p->heard.why.code, VIV_E_PROTOCOL);
    assert_string_equal(p->heard.why.message, "the VMM sent a line longer than 1048576 bytes");
}

static void a_callback_may_close(void **state)
{
    struct pair *p = *state;

    p->heard.close_at_line = &p->lines;
    say(p, "one\ntwo\n", 8);
    run(p);
    assert_int_equal(p->heard.n_lines, 1);
    assert_int_equal(p->heard.n_ends, 0);
    assert_false(p->lines.open);
}

static void what_the_peer_does_not_read_waits_up_to_a_ceiling(void **state)
{
    struct pair *p = *state;
    static char line[4096], got[4096];
    viv_error err = VIV_ERROR_INIT;
    size_t sent = 0, received = 0;
    int r;

    memset(line, 'y', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    while ((r = vivi_lines_send(&p->lines, line, sizeof(line), &err)) == 0) {
        sent += sizeof(line);
        assert_true(sent < (8u << 20));
    }
    assert_int_equal(r, -VIV_E_BUSY);
    assert_string_equal(err.message, "the VMM reads no commands");
    while (received < sent) {
        ssize_t n = recv(p->peer_fd, got, sizeof(got), 0);

        assert_true(n > 0);
        received += (size_t)n;
        run(p);
    }
    assert_int_equal(p->lines.out.len, 0);
    assert_int_equal(vivi_lines_send(&p->lines, "again\n", 6, &err), 0);
}

static void a_failed_send_is_told_from_the_loop(void **state)
{
    struct pair *p = *state;

    vivi_close(&p->peer_fd);
    assert_int_equal(vivi_lines_send(&p->lines, "x\n", 2, NULL), 0);
    assert_int_equal(p->heard.n_ends, 0);
    run(p);
    assert_int_equal(p->heard.n_ends, 1);
    assert_false(p->lines.open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_come_whole_whatever_the_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_of_file_is_told_once_and_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_that_never_ends_has_a_ceiling, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_close, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_peer_does_not_read_waits_up_to_a_ceiling, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_send_is_told_from_the_loop, setup, teardown),
    };

    return cmocka_run_group_tests_name("driver lines", tests, NULL, NULL);
}
