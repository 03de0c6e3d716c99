#include "lent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/agent_tree.h"
#include "base/cleanup.h"

#define FILE_BYTES 5000u

/* A file in memory, filled with a pattern. */
static int make_file(void)
{
    int fd = memfd_create("lent", MFD_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        const char c = (char)(i % 251);

        assert_int_equal(write(fd, &c, 1), 1);
    }
    return fd;
}

static bool take(struct lent *l, int fd, const struct lent_offer *o)
{
    return lent_take(l, fd, (const char *)o, sizeof(*o));
}

static void an_offer_without_a_file_or_of_no_sense_is_refused(void **state)
{
    const struct lent_offer good = {.len = 1}, far = {.at = 1ull << 63, .len = 1},
                            long_one = {.at = 5, .len = INT64_MAX};
    struct lent l = {.fd = -1};

    (void)state;
    assert_false(take(&l, -1, &good));
    assert_false(take(&l, make_file(), &far));
    assert_false(take(&l, make_file(), &long_one));
    assert_false(lent_take(&l, make_file(), (const char *)&good, sizeof(good) - 1));
    assert_int_equal(l.fd, -1);
    assert_true(take(&l, make_file(), &good));
    assert_false(take(&l, make_file(), &good)); /* a second one */
    vivi_close(&l.fd);
}

static void parts_fit_their_room_and_stop_at_the_offer_s_end(void **state)
{
    const struct lent_offer o = {.at = 100, .len = 1500, .in_memory = 1};
    struct lent l = {.fd = -1};
    char buf[1001];
    size_t at = 100, n;

    (void)state;
    assert_true(take(&l, make_file(), &o));
    buf[1000] = 'x';
    while ((n = lent_read(&l, buf, 1000)) > 0) {
        assert_true(n <= 1000 && buf[1000] == 'x');
        for (size_t i = 0; i < n; i++)
            assert_int_equal((unsigned char)buf[i], (at + i) % 251);
        at += n;
    }
    assert_int_equal(at, 1600);
    assert_int_equal(lent_waiting(&l), 0);
    vivi_close(&l.fd);
}

static void each_part_of_a_tree_is_a_record(void **state)
{
    const struct lent_offer o = {.at = 10, .len = 4000, .tree = 1, .in_memory = 1};
    struct lent l = {.fd = -1};
    struct vivi_tree_record r;
    unsigned char buf[1000];
    uint64_t at = 10;
    size_t n;

    (void)state;
    assert_true(take(&l, make_file(), &o));
    while ((n = lent_read(&l, (char *)buf, sizeof(buf))) > 0) {
        assert_int_equal(vivi_tree_decode(buf, &r), 0);
        assert_int_equal(r.kind, 'C');
        assert_int_equal(r.size, at);
        assert_int_equal(r.extra_len, n - VIVI_TREE_HEAD);
        at += r.extra_len;
    }
    assert_int_equal(at, 4010);
    vivi_close(&l.fd);
}

/* What the worker is told when it gets its file back. */
static struct lent_answer give_back(struct lent *l)
{
    struct lent_answer answer = {0};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    lent_return(l, fds[0]);
    assert_int_equal(l->fd, -1);
    assert_int_equal(read(fds[1], &answer, sizeof(answer)), sizeof(answer));
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
    return answer;
}

static void a_file_that_is_shorter_than_promised_is_given_back_at_its_end(void **state)
{
    const struct lent_offer o = {.len = 10 * FILE_BYTES, .in_memory = 1};
    struct lent l = {.fd = -1};
    struct lent_answer answer;
    char buf[1000];

    (void)state;
    assert_true(take(&l, make_file(), &o));
    while (lent_read(&l, buf, sizeof(buf)) > 0)
        continue;
    answer = give_back(&l);
    assert_int_equal(answer.at, FILE_BYTES);
    assert_false(answer.never);
}

static void what_has_no_offsets_is_given_back_for_ever(void **state)
{
    const struct lent_offer o = {.len = 10};
    struct lent l = {.fd = -1};
    struct lent_answer answer;
    char buf[1000];
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "text", 4), 4);
    assert_true(take(&l, fds[0], &o));
    assert_int_equal(lent_read(&l, buf, sizeof(buf)), 0);
    answer = give_back(&l);
    assert_int_equal(answer.at, 0);
    assert_true(answer.never);
    vivi_close(&fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_without_a_file_or_of_no_sense_is_refused),
        cmocka_unit_test(parts_fit_their_room_and_stop_at_the_offer_s_end),
        cmocka_unit_test(each_part_of_a_tree_is_a_record),
        cmocka_unit_test(a_file_that_is_shorter_than_promised_is_given_back_at_its_end),
        cmocka_unit_test(what_has_no_offsets_is_given_back_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
