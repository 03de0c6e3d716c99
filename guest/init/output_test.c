/* What the guest prints: the workload's lines and the shell's filter, without a guest. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "console.h"
#include "shell.h"
#include "workload.h"

struct pipe_console {
    struct guest_consoles c;
    int read_fd;
};

static int set_up(void **state)
{
    struct pipe_console *p = calloc(1, sizeof(*p));
    int fds[2];

    assert_non_null(p);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    p->c.n = 1;
    p->c.at[0].fd = fds[1];
    p->read_fd = fds[0];
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pipe_console *p = *state;

    (void)close(p->c.at[0].fd);
    (void)close(p->read_fd);
    free(p);
    return 0;
}

static size_t drain(const struct pipe_console *p, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len + 1 < size && (n = read(p->read_fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    buf[len] = '\0';
    return len;
}

static void lines_come_at_their_rate(void **state)
{
    struct pipe_console *p = *state;
    const struct guest_options o = {.count = true, .count_rate = 10};
    struct guest_workload w;
    char text[512];

    guest_workload_start(&w, 1000);
    assert_int_equal(guest_workload_run(&w, &p->c, &o, 1000), GUEST_WISH_NONE);
    assert_int_equal(drain(p, text, sizeof(text)), 0);
    assert_int_equal(guest_workload_next_ms(&w, &o), 1101);
    assert_int_equal(guest_workload_run(&w, &p->c, &o, 1250), GUEST_WISH_NONE);
    (void)drain(p, text, sizeof(text));
    assert_string_equal(text, "line 00000001\nline 00000002\n");
}

static void a_reboot_is_wished_for_after_exactly_its_line(void **state)
{
    struct pipe_console *p = *state;
    const struct guest_options o = {.count = true, .count_rate = 1000, .reboot_every = 3};
    struct guest_workload w;
    char text[512];

    guest_workload_start(&w, 0);
    assert_int_equal(guest_workload_run(&w, &p->c, &o, 9000), GUEST_WISH_REBOOT);
    (void)drain(p, text, sizeof(text));
    assert_string_equal(text, "line 00000001\nline 00000002\nline 00000003\n");
}

/* A console that takes nothing for a while delays lines, and loses or repeats none. */
static void a_stalled_console_loses_no_line(void **state)
{
    struct pipe_console *p = *state;
    const struct guest_options o = {.count = true, .poweroff_after = 20000};
    struct guest_workload w;
    char *text = calloc(1, 400000);
    size_t len = 0;
    enum guest_wish wish = GUEST_WISH_NONE;
    unsigned long expected = 0;

    assert_non_null(text);
    guest_workload_start(&w, 0);
    for (int round = 0; wish == GUEST_WISH_NONE && round < 1000; round++) {
        for (int i = 0; i < 200 && wish == GUEST_WISH_NONE; i++)
            wish = guest_workload_run(&w, &p->c, &o, 1);
        len += drain(p, text + len, 400000 - len);
        guest_consoles_flush(&p->c);
    }
    len += drain(p, text + len, 400000 - len);
    assert_int_equal(wish, GUEST_WISH_POWER_OFF);
    assert_int_equal(len, 20000 * strlen("line 00000001\n"));
    for (char *line = text; *line != '\0'; line += 14)
        assert_int_equal(strtoul(line + 5, NULL, 10), ++expected);
    free(text);
}

static void what_does_not_fit_is_dropped_whole(void **state)
{
    struct pipe_console *p = *state;
    char big[GUEST_CONSOLE_QUEUE_BYTES];

    memset(big, 'x', sizeof(big));
    while (guest_consoles_feed(&p->c, big, sizeof(big)))
        continue;
    assert_true(guest_consoles_busy(&p->c));
    size_t queued = p->c.at[0].queued;
    assert_false(guest_consoles_feed(&p->c, big, sizeof(big)));
    assert_int_equal(p->c.at[0].queued, queued);
}

/* Feeds text in pieces of every size and compares what is left of it. */
static void assert_filtered(const char *text, const char *expected)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct guest_filter f = {0};
        char out[256];
        size_t n = 0;

        for (size_t at = 0; at < strlen(text); at += piece) {
            size_t len = strlen(text) - at < piece ? strlen(text) - at : piece;

            n += guest_filter_run(&f, text + at, len, out + n);
        }
        out[n] = '\0';
        assert_string_equal(out, expected);
    }
}

static void the_cursor_query_is_left_out_and_nothing_else(void **state)
{
    (void)state;
    assert_filtered("demo# \x1b[6n", "demo# ");
    assert_filtered("\x1b[6na\x1b[6n\x1b[6nb", "ab");
    assert_filtered("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m");
    assert_filtered("\x1b\x1b[6n\x1b[\x1b[6x", "\x1b\x1b[\x1b[6x");
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON(lines_come_at_their_rate),
        ON(a_reboot_is_wished_for_after_exactly_its_line),
        ON(a_stalled_console_loses_no_line),
        ON(what_does_not_fit_is_dropped_whole),
        cmocka_unit_test(the_cursor_query_is_left_out_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
