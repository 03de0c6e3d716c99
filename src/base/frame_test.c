#include "base/frame.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/testing.h"

static void encode(struct vivi_buf *b, uint8_t op, const char *payload)
{
    assert_int_equal(vivi_frame_encode(b, 1, op, payload, strlen(payload)), 0);
}

static void frames_come_whole_wherever_the_stream_is_split(void **state)
{
    static const char *const payloads[] = {"", "a", "hello\nworld", "x"};
    cleanup_buf struct vivi_buf wire = VIVI_BUF(1000);

    (void)state;
    for (uint8_t i = 0; i < ARRAY_SIZE(payloads); i++)
        encode(&wire, (uint8_t)(10 + i), payloads[i]);
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct vivi_frames r;
        size_t n = 0;

        vivi_frames_init(&r);
        for (int part = 0; part < 2; part++) {
            cleanup_frame struct vivi_frame f = {0};

            assert_int_equal(vivi_frames_feed(&r, part == 0 ? wire.data : wire.data + cut,
                                              part == 0 ? cut : wire.len - cut),
                             0);
            while (vivi_frames_next(&r, &f, NULL) == 1) {
                assert_int_equal(f.version, 1);
                assert_int_equal(f.op, 10 + n);
                assert_int_equal(f.len, strlen(payloads[n]));
                assert_string_equal(f.payload, payloads[n]); /* the NUL behind it, too */
                n++;
            }
        }
        assert_int_equal(n, ARRAY_SIZE(payloads));
        vivi_frames_done(&r);
    }
}

static void byte_by_byte_is_enough(void **state)
{
    cleanup_buf struct vivi_buf wire = VIVI_BUF(1000);
    cleanup_frame struct vivi_frame f = {0};
    struct vivi_frames r;

    (void)state;
    encode(&wire, 1, "payload");
    vivi_frames_init(&r);
    for (size_t i = 0; i < wire.len; i++) {
        assert_int_equal(vivi_frames_next(&r, &f, NULL), 0);
        assert_int_equal(vivi_frames_feed(&r, wire.data + i, 1), 0);
    }
    assert_int_equal(vivi_frames_next(&r, &f, NULL), 1);
    assert_string_equal(f.payload, "payload");
    assert_int_equal(vivi_frames_next(&r, &f, NULL), 0);
    vivi_frames_done(&r);
}

static void a_damaged_head_ends_the_stream(void **state)
{
    static const struct {
        unsigned char head[8];
        const char *message;
    } cases[] = {
        {{0x01, 0x00, 0x10, 0x00, 1, 1, 0, 0}, "a frame of 1048577 bytes (at most 1048576)"},
        {{0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0}, "a frame of 4294967295 bytes (at most 1048576)"},
        {{0, 0, 0, 0, 1, 1, 17, 0}, "a frame's head is damaged"},
        {{0, 0, 0, 0, 1, 1, 0, 1}, "a frame's head is damaged"},
        {{0, 0, 0, 0, 1, 1, 1, 0}, "a frame lacks its descriptors"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct vivi_frames r;
        struct vivi_frame f = {.op = 77};
        viv_error err = VIV_ERROR_INIT;

        vivi_frames_init(&r);
        assert_int_equal(vivi_frames_feed(&r, cases[i].head, 8), 0);
        assert_int_equal(vivi_frames_next(&r, &f, &err), -VIV_E_PROTOCOL);
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(f.op, 77);
        assert_int_equal(vivi_frames_next(&r, &f, &err), -VIV_E_PROTOCOL);
        vivi_frames_done(&r);
    }
}

static int next_from(struct vivi_frames *r, int fd, struct vivi_frame *f)
{
    int n;

    while ((n = vivi_frames_next(r, f, NULL)) == 0) {
        n = vivi_frames_read(r, fd, NULL);
        if (n <= 0)
            return n;
    }
    return n;
}

static void descriptors_go_with_their_frame(void **state)
{
    struct test_dir *d = *state;
    struct vivi_frame out = {.version = 1, .op = 5, .payload = "one", .len = 4, .n_fds = 2};
    struct vivi_frame bare = {.version = 1, .op = 6, .payload = "two", .len = 4};
    struct vivi_frames r;
    struct stat st;
    ino_t expected;
    int s[2];

    assert_int_equal(fstat(d->fd, &st), 0);
    expected = st.st_ino;
    out.fds[0] = d->fd;
    out.fds[1] = 1;
    vivi_frames_init(&r);
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    for (int i = 0; i < 20; i++) { /* many in one read, with and without */
        assert_int_equal(vivi_frame_send(s[0], &bare, TEST_DEADLINE_MS, NULL), 0);
        assert_int_equal(vivi_frame_send(s[0], &out, TEST_DEADLINE_MS, NULL), 0);
    }
    for (int i = 0; i < 40; i++) {
        cleanup_frame struct vivi_frame f = {0};

        assert_int_equal(next_from(&r, s[1], &f), 1);
        assert_int_equal(f.op, i % 2 == 0 ? 6 : 5);
        assert_int_equal(f.n_fds, i % 2 == 0 ? 0 : 2);
        if (f.n_fds == 2) {
            assert_int_equal(fstat(f.fds[0], &st), 0);
            assert_true(st.st_ino == expected);
        }
    }
    vivi_close(&s[0]);
    {
        struct vivi_frame f;

        assert_int_equal(next_from(&r, s[1], &f), 0); /* end of file */
    }
    vivi_frames_done(&r);
    vivi_close(&s[1]);
}

static void a_large_frame_with_the_most_descriptors_goes_through(void **state)
{
    struct test_dir *d = *state;
    struct vivi_frame out = {.version = 1, .op = 5, .len = VIVI_FRAME_MAX, .n_fds = VIVI_MAX_FDS};
    cleanup_free char *big = malloc(VIVI_FRAME_MAX);
    struct vivi_frames r;
    int s[2];
    pid_t pid;

    memset(big, 'b', VIVI_FRAME_MAX);
    out.payload = big;
    for (size_t i = 0; i < VIVI_MAX_FDS; i++)
        out.fds[i] = d->fd;
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    pid = fork();
    if (pid == 0)
        _exit(vivi_frame_send(s[0], &out, TEST_DEADLINE_MS, NULL) == 0 ? 0 : 1);
    vivi_frames_init(&r);
    {
        cleanup_frame struct vivi_frame f = {0};

        assert_int_equal(next_from(&r, s[1], &f), 1);
        assert_int_equal(f.len, VIVI_FRAME_MAX);
        assert_int_equal(f.n_fds, VIVI_MAX_FDS);
        assert_memory_equal(f.payload, big, VIVI_FRAME_MAX);
        assert_int_equal(vivi_frames_next(&r, &f, NULL), 0);
    }
    assert_true(r.buf.cap < 65536); /* what one large frame took is given back */
    vivi_frames_done(&r);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    vivi_close(&s[0]);
    vivi_close(&s[1]);
}

static void descriptors_that_no_frame_claims_are_an_error_and_are_closed(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf wire = VIVI_BUF(100);
    struct vivi_frame f = {0};
    viv_error err = VIV_ERROR_INIT;
    struct vivi_frames r;
    int s[2], before = vivi_fd_count();

    encode(&wire, 1, "x"); /* says 0 descriptors */
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_send_fds(s[0], wire.data, wire.len, &d->fd, 1, NULL), wire.len);
    vivi_frames_init(&r);
    assert_int_equal(vivi_frames_read(&r, s[1], NULL), 1);
    assert_int_equal(vivi_frames_next(&r, &f, NULL), 1);
    assert_int_equal(vivi_frames_next(&r, &f, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "descriptors that belong to no frame");
    vivi_frames_done(&r);
    vivi_close(&s[0]);
    vivi_close(&s[1]);
    assert_int_equal(vivi_fd_count(), before);
}

static void a_flood_of_descriptors_is_bounded(void **state)
{
    struct test_dir *d = *state;
    struct vivi_frames r;
    int s[2], fds[VIVI_MAX_FDS], before = vivi_fd_count(), n = 0;

    for (size_t i = 0; i < VIVI_MAX_FDS; i++)
        fds[i] = d->fd;
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    vivi_frames_init(&r);
    do /* never a whole frame */
        assert_int_equal(vivi_send_fds(s[0], "\x40", 1, fds, VIVI_MAX_FDS, NULL), 1);
    while (vivi_frames_read(&r, s[1], NULL) == 1 && ++n < 10);
    assert_true(n <= 2);
    vivi_frames_done(&r);
    vivi_close(&s[0]);
    vivi_close(&s[1]);
    assert_int_equal(vivi_fd_count(), before);
}

static void sending_to_one_who_does_not_read_ends_at_the_deadline(void **state)
{
    static char big[VIVI_FRAME_MAX];
    const struct vivi_frame f = {.version = 1, .op = 1, .payload = big, .len = sizeof(big)};
    viv_error err = VIV_ERROR_INIT;
    int s[2];

    (void)state;
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_frame_send(s[0], &f, 20, &err), -VIV_E_TIMEOUT);
    assert_int_equal(vivi_frame_send(s[0], &f, 0, &err), -VIV_E_TIMEOUT); /* its first byte, too */
    vivi_close(&s[1]);
    assert_int_equal(vivi_frame_send(s[0], &f, 20, &err), -VIV_E_IO);
    vivi_close(&s[0]);
}

static void too_large_a_frame_is_not_sent(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX * 2);
    struct vivi_frame f = {.payload = "", .len = VIVI_FRAME_MAX + 1};

    (void)state;
    assert_int_equal(vivi_frame_send(-1, &f, 0, NULL), -VIV_E_PROTOCOL);
    assert_int_equal(vivi_frame_encode(&b, 1, 1, "", VIVI_FRAME_MAX + 1), -VIV_E_PROTOCOL);
    assert_int_equal(b.len, 0);
}

static void a_frame_that_does_not_fit_the_queue_leaves_no_part_in_it(void **state)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(20);

    (void)state;
    assert_int_equal(vivi_frame_encode(&b, 1, 1, "abcd", 4), 0);
    assert_int_equal(vivi_frame_encode(&b, 1, 1, "abcd", 4), -VIV_E_PROTOCOL);
    assert_int_equal(b.len, 12);
}

static void a_queued_frame_may_announce_descriptors(void **state)
{
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(100);
    cleanup_frame struct vivi_frame f = {0};
    struct vivi_frames r;
    size_t first;
    int s[2];

    encode(&b, 1, "one");
    first = b.len;
    encode(&b, 2, "two");
    vivi_frame_announce(&b, first, 1);
    assert_int_equal(vivi_socketpair(s, NULL), 0);
    assert_int_equal(vivi_send_fds(s[0], b.data, first, NULL, 0, NULL), first);
    assert_int_equal(vivi_send_fds(s[0], b.data + first, b.len - first, &d->fd, 1, NULL),
                     b.len - first);
    vivi_frames_init(&r);
    assert_int_equal(next_from(&r, s[1], &f), 1);
    assert_int_equal(f.n_fds, 0);
    assert_int_equal(next_from(&r, s[1], &f), 1);
    assert_int_equal(f.op, 2);
    assert_int_equal(f.n_fds, 1);
    vivi_frames_done(&r);
    vivi_close(&s[0]);
    vivi_close(&s[1]);
}

static void fields_are_split_at_their_nuls(void **state)
{
    const char *f[4];
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_fields_split("", 0, f, 4, NULL), 0);
    assert_int_equal(vivi_fields_split("a\0\0ccc", 7, f, 4, NULL), 3);
    assert_string_equal(f[0], "a");
    assert_string_equal(f[1], "");
    assert_string_equal(f[2], "ccc");
    assert_int_equal(vivi_fields_split("a\0b", 3, f, 4, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "the last field has no end");
    assert_int_equal(vivi_fields_split("a\0b\0c\0d\0e", 10, f, 4, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "more than 4 fields");
}

/* One exchange; 1 when the frame came through. */
static int exchange(int from, int to, viv_error *err)
{
    static char payload[10000];
    const struct vivi_frame out = {
        .version = 1, .op = 9, .payload = payload, .len = sizeof(payload)};
    cleanup_frame struct vivi_frame f = {0};
    struct vivi_frames r;
    int n;

    vivi_frames_init(&r);
    n = vivi_frame_send(from, &out, TEST_DEADLINE_MS, err);
    while (n >= 0 && (n = vivi_frames_next(&r, &f, err)) == 0)
        if ((n = vivi_frames_read(&r, to, err)) <= 0)
            break;
    vivi_frames_done(&r);
    return n;
}

static void each_allocation_may_fail_and_nothing_leaks(void **state)
{
    struct test_dir *d = *state;
    unsigned n = 0;
    bool hit;

    (void)d;
    do {
        viv_error err = VIV_ERROR_INIT;
        int s[2], r;

        assert_int_equal(vivi_socketpair(s, NULL), 0);
        fault_at(++n);
        r = exchange(s[0], s[1], &err);
        hit = fault_hit();
        assert_int_equal(r, hit ? -VIV_E_NO_MEMORY : 1);
        vivi_close(&s[0]);
        vivi_close(&s[1]);
    } while (hit);
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_whole_wherever_the_stream_is_split),
        cmocka_unit_test(byte_by_byte_is_enough),
        cmocka_unit_test(a_damaged_head_ends_the_stream),
        test_in_dir(descriptors_go_with_their_frame),
        test_in_dir(a_large_frame_with_the_most_descriptors_goes_through),
        test_in_dir(descriptors_that_no_frame_claims_are_an_error_and_are_closed),
        test_in_dir(a_flood_of_descriptors_is_bounded),
        cmocka_unit_test(sending_to_one_who_does_not_read_ends_at_the_deadline),
        cmocka_unit_test(too_large_a_frame_is_not_sent),
        cmocka_unit_test(a_frame_that_does_not_fit_the_queue_leaves_no_part_in_it),
        test_in_dir(a_queued_frame_may_announce_descriptors),
        cmocka_unit_test(fields_are_split_at_their_nuls),
        test_in_dir(each_allocation_may_fail_and_nothing_leaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
