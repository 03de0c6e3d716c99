#include "store/testing.h"

#include <sys/stat.h>

static void what_began_and_did_not_end_is_found_with_its_step(void **state)
{
    struct fixture *f = *state;
    struct vivi_journal_open o = {.op = "untouched"};
    struct vivi_journal_found found;
    int fd = f->root.fd;

    assert_int_equal(vivi_journal_unfinished(fd, &o, NULL), 0);
    assert_string_equal(o.op, "untouched");
    assert_int_equal(vivi_journal_begin(fd, UUID_A, "start", VIVI_DURABLE, NULL), 0);
    assert_int_equal(vivi_journal_unfinished(fd, &o, NULL), 1);
    assert_string_equal(o.op, UUID_A);
    assert_string_equal(o.verb, "start");
    assert_string_equal(o.step, "");
    assert_int_equal(vivi_journal_step(fd, UUID_A, "spawn", NULL), 0);
    assert_int_equal(vivi_journal_step(fd, UUID_B, "alien", NULL), 0);
    assert_int_equal(vivi_journal_unfinished(fd, &o, NULL), 1);
    assert_string_equal(o.step, "spawn");
    assert_int_equal(vivi_journal_end(fd, UUID_A, -VIV_E_TIMEOUT, NULL), 0);
    assert_int_equal(vivi_journal_unfinished(fd, &o, NULL), 0);
    assert_int_equal(vivi_journal_find(fd, UUID_A, &found, NULL), 1);
    assert_true(found.ended);
    assert_int_equal(found.code, VIV_E_TIMEOUT);
    assert_string_equal(found.what.verb, "start");
    assert_int_equal(vivi_journal_find(fd, "other", &found, NULL), 0);
}

static void a_torn_or_foreign_line_says_nothing(void **state)
{
    struct fixture *f = *state;
    struct vivi_journal_open o;

    put_file(f->root.fd, "ops.log",
             "garbage\n\n"
             "begin 0123456789012345678901234567890123456789 start 1\n" /* too long a name */
             "begin a start 1\nend a 0 2\nbegin b stop 3\nend b 0");
    assert_int_equal(vivi_journal_unfinished(f->root.fd, &o, NULL), 1);
    assert_string_equal(o.op, "b");
    assert_string_equal(o.verb, "stop");
}

static void names_that_would_not_read_back_are_refused(void **state)
{
    struct fixture *f = *state;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_journal_begin(f->root.fd, "a b", "start", VIVI_FAST, &err),
                     -VIV_E_INVALID);
    assert_int_equal(
        vivi_journal_begin(f->root.fd, "a", "012345678901234567890123", VIVI_FAST, &err),
        -VIV_E_INVALID);
    assert_int_equal(vivi_journal_step(f->root.fd, "a", "", &err), -VIV_E_INVALID);
    assert_int_equal(faccessat(f->root.fd, "ops.log", F_OK, 0), -1);
}

static void ended_operations_are_forgotten_but_never_one_in_flight(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(1u << 20);
    struct vivi_journal_open o;
    struct stat st;

    for (unsigned i = 0; i < 2000; i++)
        (void)vivi_buf_printf(&buf, "begin op%u start 1234567890123\nend op%u 0 1234567890123\n", i,
                              i);
    assert_int_equal(vivi_buf_check(&buf, NULL), 0);
    put_file(f->root.fd, "ops.log", buf.data);
    assert_int_equal(vivi_journal_begin(f->root.fd, "x", "stop", VIVI_FAST, NULL), 0);
    assert_int_equal(fstatat(f->root.fd, "ops.log", &st, 0), 0);
    assert_true(st.st_size < 100);

    put_file(f->root.fd, "ops.log", buf.data);
    assert_int_equal(vivi_append_at(f->root.fd, "ops.log", "begin y kill 1\n", 15, NULL), 0);
    assert_int_equal(vivi_journal_begin(f->root.fd, "x", "stop", VIVI_FAST, NULL), 0);
    assert_int_equal(vivi_journal_end(f->root.fd, "x", 0, NULL), 0);
    assert_int_equal(fstatat(f->root.fd, "ops.log", &st, 0), 0);
    assert_true(st.st_size > 64 << 10);
    assert_int_equal(vivi_journal_unfinished(f->root.fd, &o, NULL), 0); /* the last one ended */
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_began_and_did_not_end_is_found_with_its_step),
        T(a_torn_or_foreign_line_says_nothing),
        T(names_that_would_not_read_back_are_refused),
        T(ended_operations_are_forgotten_but_never_one_in_flight),
    };

    return cmocka_run_group_tests_name("store: journal", tests, NULL, NULL);
}
