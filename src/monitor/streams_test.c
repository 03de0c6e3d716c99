/* Logs as the monitor reads them: the driver's stream, readiness, tails, consoles. */
#include "monitor/testing.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/pty.h"

struct bench {
    char dir[64];
    int dir_fd;
    struct rig_loop loop;
    struct vivi_stream stream;
    struct vivi_consoles consoles;
    char got[8192];
    size_t got_len, most; /* most: bytes offered at once */
    bool greedy;          /* consumes nothing */
};

static struct bench bench;

static int open_bench(void **state)
{
    struct bench *b = &bench;

    *b = (struct bench){.stream = {.name = "serial.out", .log = "serial.log", .fd = -1}};
    (void)snprintf(b->dir, sizeof(b->dir), "/tmp/vivst.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->dir_fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rig_loop_init(&b->loop);
    assert_int_equal(vivi_stream_open(&b->stream, b->dir_fd, NULL), 0);
    vivi_consoles_init(&b->consoles, &b->loop.face);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;

    vivi_consoles_done(&b->consoles);
    vivi_close(&b->stream.fd);
    vivi_close(&b->dir_fd);
    rig_loop_done(&b->loop);
    return vivi_remove_tree_at(AT_FDCWD, b->dir, NULL);
}

static void grow(struct bench *b, const char *text, size_t len)
{
    assert_int_equal(vivi_append_at(b->dir_fd, "serial.log", text, len, NULL), 0);
    vivi_stream_refresh(&b->stream);
}

static void grow_by(struct bench *b, size_t len, char with)
{
    cleanup_free char *text = malloc(len);

    assert_non_null(text);
    memset(text, with, len);
    grow(b, text, len);
}

/* ---- the driver's stream ---- */

static size_t lines(void *ctx, const char *name, const char *data, size_t len)
{
    struct bench *b = ctx;
    const char *end = memrchr(data, '\n', len);
    size_t used = end && !b->greedy ? (size_t)(end - data) + 1 : 0;

    assert_string_equal(name, "serial.out");
    if (len > b->most)
        b->most = len;
    if (b->got_len + used < sizeof(b->got))
        memcpy(b->got + b->got_len, data, used);
    b->got_len += used;
    return used;
}

static bool pump(struct bench *b)
{
    bool skipped = false;

    assert_int_equal(
        vivi_stream_pump(&b->stream, &(struct vivi_stream_sink){lines, b}, &skipped, NULL), 0);
    return skipped;
}

static void a_half_message_is_offered_again_with_its_other_half(void **state)
{
    struct bench *b = *state;

    grow(b, "one\ntw", 6);
    assert_false(pump(b));
    assert_int_equal(b->stream.taken, 4);
    grow(b, "o\n", 2);
    assert_false(pump(b));
    assert_string_equal(b->got, "one\ntwo\n");
    assert_int_equal(b->stream.taken, b->stream.size);
}

static void a_message_longer_than_a_window_is_offered_whole(void **state)
{
    struct bench *b = *state;

    grow_by(b, 300000, 'x');
    grow(b, "\n", 1);
    assert_false(pump(b));
    assert_int_equal(b->got_len, 300001);
}

static void a_message_without_end_is_skipped_when_it_is_longer_than_any_may_be(void **state)
{
    struct bench *b = *state;

    grow_by(b, VIVI_INPUT_MAX + 100000, 'x');
    grow(b, "\nnext\n", 6);
    assert_true(pump(b));
    assert_int_equal(b->stream.taken, b->stream.size);
    assert_true(b->most <= VIVI_INPUT_MAX);
}

static void a_driver_that_takes_nothing_now_is_asked_once(void **state)
{
    struct bench *b = *state;

    b->greedy = true;
    grow(b, "later\n", 6);
    assert_false(pump(b));
    assert_int_equal(b->stream.taken, 0);
    b->greedy = false;
    assert_false(pump(b));
    assert_string_equal(b->got, "later\n");
}

/* ---- tails ---- */

static void the_last_line_is_printable_and_not_an_earlier_runs(void **state)
{
    struct bench *b = *state;
    char line[32];

    vivi_tail_line(&(struct vivi_tail){b->stream.fd, 0}, line, sizeof(line));
    assert_string_equal(line, "");
    grow(b, "old\n", 4);
    vivi_tail_line(&(struct vivi_tail){b->stream.fd, 4}, line, sizeof(line));
    assert_string_equal(line, "");
    grow(b, "first\nqemu: \033[1mno\r\n\n", 21);
    vivi_tail_line(&(struct vivi_tail){b->stream.fd, 4}, line, sizeof(line));
    assert_string_equal(line, "qemu: ?[1mno");
    vivi_tail_line(&(struct vivi_tail){-1, 0}, line, sizeof(line));
    assert_string_equal(line, "");
}

static void the_last_lines_are_whole(void **state)
{
    struct bench *b = *state;
    char text[64];

    grow(b, "a\r\nb\nc\n\nd", 9);
    vivi_tail_lines(&(struct vivi_tail){b->stream.fd, 0}, 3, text, sizeof(text));
    assert_string_equal(text, "c\n\nd");
    vivi_tail_lines(&(struct vivi_tail){b->stream.fd, 0}, 50, text, sizeof(text));
    assert_string_equal(text, "a\nb\nc\n\nd");
}

/* ---- readiness ---- */

static int scan(struct bench *b, struct vivi_ready *r, char ip[46])
{
    return vivi_ready_scan(r, b->stream.fd, b->stream.size, ip, NULL);
}

static void a_flood_is_read_in_slices_and_the_marker_behind_it_is_found(void **state)
{
    struct bench *b = *state;
    struct vivi_ready r;
    char ip[46] = "";
    int n = 0, got;

    vivi_ready_begin(&r, "", 0);
    grow_by(b, 10u << 20, 'x'); /* one line of 10 MiB */
    grow(b, "VMRS_READY 192.0.2.7\n", 21);
    while ((got = scan(b, &r, ip)) == 2)
        n++;
    assert_int_equal(got, 1);
    assert_true(n >= 9);
    assert_string_equal(ip, "192.0.2.7");
    assert_int_equal(vivi_ready_offset(&r), b->stream.size);
    assert_int_equal(scan(b, &r, ip), 0); /* once for one boot */
}

static void a_new_monitor_reads_again_from_the_start_of_the_line(void **state)
{
    struct bench *b = *state;
    struct vivi_ready r, again;
    char ip[46];

    vivi_ready_begin(&r, "00ff", 0);
    grow(b, "boot\n[1] VMRS_READY 192", 23);
    assert_int_equal(scan(b, &r, ip), 0);
    assert_int_equal(vivi_ready_offset(&r), 5);
    vivi_ready_begin(&again, "00ff", vivi_ready_offset(&r));
    grow(b, ".0.2.7 00ff\n", 12);
    assert_int_equal(scan(b, &again, ip), 1);
    assert_string_equal(ip, "192.0.2.7");
}

static void a_head_that_was_punched_away_is_skipped(void **state)
{
    struct bench *b = *state;
    cleanup_close int fd = openat(b->dir_fd, "serial.log", O_RDWR | O_CLOEXEC);
    struct vivi_ready r;
    char ip[46];

    vivi_ready_begin(&r, "", 0);
    grow_by(b, 8u << 20, 'x');
    grow(b, "\nVMRS_READY 192.0.2.7\n", 22);
    if (vivi_punch_head(fd, 8u << 20, NULL) < 0)
        skip();
    assert_int_equal(scan(b, &r, ip), 1); /* in one slice: seven of them are not there */
}

/* ---- consoles ---- */

static ssize_t drain(int fd, char *to, size_t size)
{
    size_t got = 0;
    ssize_t n;

    while (got < size && (n = recv(fd, to + got, size - got, MSG_DONTWAIT)) > 0)
        got += (size_t)n;
    return (ssize_t)got;
}

static int add(struct bench *b, bool steal, bool readonly, bool want_writer)
{
    bool writer = !want_writer;
    int fd = -1;

    assert_int_equal(vivi_console_add(&b->consoles, &(struct vivi_console_ask){steal, readonly},
                                      &fd, &writer, NULL),
                     0);
    assert_int_equal(writer, want_writer);
    return fd;
}

static void begin_run(struct bench *b, const char *fifo)
{
    vivi_consoles_begin(&b->consoles, b->stream.fd, b->stream.size, fifo);
}

static void out(struct bench *b, const char *text)
{
    grow(b, text, strlen(text));
    vivi_consoles_grew(&b->consoles, b->stream.size);
    rig_loop_settle(&b->loop);
}

static void all_clients_see_the_output_and_one_writes(void **state)
{
    struct bench *b = *state;
    char path[128], buf[64];
    int fifo, w, r1;

    (void)snprintf(path, sizeof(path), "%s/serial.in", b->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    fifo = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    begin_run(b, path);
    w = add(b, false, false, true);
    r1 = add(b, false, false, false);
    out(b, "hello");
    assert_int_equal(drain(w, buf, sizeof(buf)), 5);
    assert_int_equal(drain(r1, buf, sizeof(buf)), 5);
    assert_int_equal(send(w, "yes", 3, 0), 3);
    assert_int_equal(send(r1, "no", 2, 0), 2);
    rig_loop_settle(&b->loop);
    assert_int_equal(read(fifo, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "yes", 3);
    vivi_close(&w);
    vivi_close(&r1);
    vivi_close(&fifo);
    rig_loop_settle(&b->loop);
    assert_int_equal(b->consoles.n, 0);
}

static void stealing_moves_the_pen_and_tells_who_had_it(void **state)
{
    struct bench *b = *state;
    char buf[128] = "";
    int first, second;

    begin_run(b, NULL);
    first = add(b, false, false, true);
    second = add(b, true, false, true);
    assert_true(drain(first, buf, sizeof(buf) - 1) > 0);
    assert_string_equal(buf, "\r\n[viv: another client writes now, this one only watches]\r\n");
    vivi_close(&first);
    vivi_close(&second);
    rig_loop_settle(&b->loop);
}

static void a_client_that_does_not_read_loses_with_a_notice_and_holds_nobody_up(void **state)
{
    struct bench *b = *state;
    cleanup_free char *buf = malloc(2u << 20);
    int slow, quick;
    size_t quick_got = 0;
    ssize_t n;

    assert_non_null(buf);
    begin_run(b, NULL);
    slow = add(b, false, true, false);
    quick = add(b, false, true, false);
    for (int i = 0; i < 64; i++) {
        grow_by(b, 32768, 'x');
        vivi_consoles_grew(&b->consoles, b->stream.size);
        rig_loop_settle(&b->loop);
        quick_got += (size_t)drain(quick, buf, 2u << 20);
        rig_loop_settle(&b->loop);
    }
    quick_got += (size_t)drain(quick, buf, 2u << 20);
    assert_int_equal(quick_got, 64 * 32768);
    n = drain(slow, buf, 2u << 20); /* what the socket held */
    rig_loop_settle(&b->loop);
    n += drain(slow, buf + n, (2u << 20) - (size_t)n - 1);
    rig_loop_settle(&b->loop);
    n += drain(slow, buf + n, (2u << 20) - (size_t)n - 1);
    buf[n] = '\0';
    assert_non_null(strstr(buf, "\r\n[viv: "));
    assert_non_null(strstr(buf, " bytes lost]\r\n"));
    assert_true((size_t)n < 64 * 32768);
    vivi_close(&slow);
    vivi_close(&quick);
    rig_loop_settle(&b->loop);
}

static void input_that_the_vmm_does_not_take_holds_its_writer_back(void **state)
{
    struct bench *b = *state;
    cleanup_free char *buf = malloc(1u << 20);
    char path[128];
    int fifo, w;
    size_t sent = 0, got = 0;
    ssize_t n;

    assert_non_null(buf);
    memset(buf, 'i', 1u << 20);
    (void)snprintf(path, sizeof(path), "%s/serial.in", b->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    fifo = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    begin_run(b, path);
    w = add(b, false, false, true);
    for (int quiet = 0; quiet < 3; quiet++) {
        while ((n = send(w, buf, 65536, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
            sent += (size_t)n;
            quiet = 0;
        }
        rig_loop_settle(&b->loop);
    }
    assert_true(sent < 1u << 20); /* it was held back; the loop did not spin (settle asserts) */
    for (int quiet = 0; quiet < 3; quiet++) {
        while ((n = read(fifo, buf, 65536)) > 0) {
            got += (size_t)n;
            quiet = 0;
        }
        rig_loop_settle(&b->loop);
    }
    assert_int_equal(got, sent);
    vivi_close(&w);
    vivi_close(&fifo);
    rig_loop_settle(&b->loop);
}

static void input_goes_to_a_terminal_where_there_is_one(void **state)
{
    struct bench *b = *state;
    int master, slave, w;
    char got[8] = "";

    assert_int_equal(vivi_pty_open(&master, &slave, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(slave, true, NULL), 0);
    begin_run(b, NULL);
    vivi_consoles_terminal(&b->consoles, master);
    w = add(b, false, false, true);
    assert_int_equal(write(w, "ls\r\3", 4), 4);
    rig_loop_settle(&b->loop);
    assert_int_equal(read(slave, got, sizeof(got)), 4);
    assert_memory_equal(got, "ls\r\3", 4);
    vivi_close(&w);
    rig_loop_settle(&b->loop);
    vivi_consoles_end(&b->consoles);
    assert_true(fcntl(master, F_GETFD) >= 0); /* it was lent */
    vivi_close(&master);
    vivi_close(&slave);
}

#define T(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_half_message_is_offered_again_with_its_other_half),
        T(a_message_longer_than_a_window_is_offered_whole),
        T(a_message_without_end_is_skipped_when_it_is_longer_than_any_may_be),
        T(a_driver_that_takes_nothing_now_is_asked_once),
        T(the_last_line_is_printable_and_not_an_earlier_runs),
        T(the_last_lines_are_whole),
        T(a_flood_is_read_in_slices_and_the_marker_behind_it_is_found),
        T(a_new_monitor_reads_again_from_the_start_of_the_line),
        T(a_head_that_was_punched_away_is_skipped),
        T(all_clients_see_the_output_and_one_writes),
        T(stealing_moves_the_pen_and_tells_who_had_it),
        T(a_client_that_does_not_read_loses_with_a_notice_and_holds_nobody_up),
        T(input_that_the_vmm_does_not_take_holds_its_writer_back),
        T(input_goes_to_a_terminal_where_there_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
