#include "store/moving.h"
#include "store/testing.h"

static void every_phase_is_kept_and_stands_in_the_way(void **state)
{
    struct fixture *f = *state;
    struct vivi_moving m = {.to = "ssh://other"}, got;
    viv_error err = VIV_ERROR_INIT;
    int fd = f->root.fd;

    assert_int_equal(vivi_moving_read(fd, &got, &err), 0);
    assert_int_equal(vivi_moving_allows(fd, "web", &err), 0);
    for (int phase = VIVI_MOVING_SENDING; phase <= VIVI_MOVING_COMING; phase++) {
        m.phase = (enum vivi_moving_phase)phase;
        assert_int_equal(vivi_moving_write(fd, &m, &err), 0);
        assert_int_equal(vivi_moving_read(fd, &got, &err), 1);
        assert_int_equal(got.phase, phase);
        assert_string_equal(got.to, "ssh://other");
        assert_int_equal(vivi_moving_allows(fd, "web", &err), -VIV_E_WRONG_STATE);
        assert_non_null(strstr(err.hint, "web"));
    }
    assert_int_equal(vivi_moving_remove(fd, &err), 0);
    assert_int_equal(vivi_moving_remove(fd, &err), 0);
    assert_int_equal(vivi_moving_allows(fd, "web", &err), 0);
}

static void what_cannot_be_read_stands_in_the_way(void **state)
{
    struct fixture *f = *state;
    viv_error err = VIV_ERROR_INIT;

    put_file(f->root.fd, VIVI_MOVING_FILE, "{\"schema\": 1, \"phase\": \"flying\"}");
    assert_int_equal(vivi_moving_allows(f->root.fd, "web", &err), -VIV_E_PROTOCOL);
    put_file(f->root.fd, VIVI_MOVING_FILE, "{");
    assert_int_equal(vivi_moving_allows(f->root.fd, "web", &err), -VIV_E_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_phase_is_kept_and_stands_in_the_way, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_stands_in_the_way, fixture_open,
                                        fixture_close),
    };

    return cmocka_run_group_tests_name("moving", tests, NULL, NULL);
}
