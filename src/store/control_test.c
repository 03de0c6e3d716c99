#include "store/testing.h"

#include <errno.h>

#include "store/control.h"

static void messages_go_through_frames(void **state)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096);
    cleanup_json json_t *body = json_pack("{s:i,s:s}", "id", 1, "verb", "start");
    cleanup_json json_t *got = NULL;
    struct vivi_frames frames;
    struct vivi_frame f;

    (void)state;
    vivi_frames_init(&frames);
    assert_int_equal(vivi_control_encode(&out, 1, VIVI_CTL_REQUEST, body), 0);
    assert_int_equal(vivi_frames_feed(&frames, out.data, out.len), 0);
    assert_int_equal(vivi_frames_next(&frames, &f, NULL), 1);
    assert_int_equal(f.version, 1);
    assert_int_equal(f.op, VIVI_CTL_REQUEST);
    assert_int_equal(vivi_control_parse(&f, &got, NULL), 0);
    assert_true(json_equal(body, got));
    vivi_frame_done(&f);
    vivi_frames_done(&frames);
}

static void what_is_no_object_is_a_protocol_error(void **state)
{
    static const char *const bad[] = {"", "[1]", "{\"a\":1", "{\"a\":1,\"a\":2}", "12"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vivi_frame f = {.version = 1, .op = 4, .payload = bad[i], .len = strlen(bad[i])};
        json_t *j = NULL;
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(vivi_control_parse(&f, &j, &err), -VIV_E_PROTOCOL);
        assert_int_equal(err.code, VIV_E_PROTOCOL);
        assert_null(j);
    }
}

static void one_version_apart_is_agreed_and_more_is_refused_by_name(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    unsigned v = 0;

    (void)state;
    assert_int_equal(vivi_control_agree(3, 3, "x", &v, NULL), 0);
    assert_int_equal(v, 3);
    assert_int_equal(vivi_control_agree(3, 4, "x", &v, NULL), 0);
    assert_int_equal(v, 3);
    assert_int_equal(vivi_control_agree(3, 2, "x", &v, NULL), 0);
    assert_int_equal(v, 2);
    assert_int_equal(vivi_control_agree(1, 0, "x", &v, NULL), -VIV_E_UNSUPPORTED);
    assert_int_equal(vivi_control_agree(1, 4, "the monitor of web", &v, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "this viv speaks control protocol 1, the monitor of web speaks 4");
    assert_int_equal(v, 2);
}

static void an_error_survives_the_wire(void **state)
{
    viv_error a = VIV_ERROR_INIT, b = VIV_ERROR_INIT;
    cleanup_json json_t *j = NULL;

    (void)state;
    (void)vivi_fail_field(&a, VIV_E_INVALID, "boot.kernel", "/x: no such file");
    a.sys_errno = ENOENT;
    a.flags = VIV_ERR_RETRY;
    vivi_error_vm(&a, "web");
    vivi_hint(&a, "look again");
    j = vivi_error_to_json(&a);
    assert_string_equal(json_string_value(json_object_get(j, "code")), "INVALID");
    assert_string_equal(json_string_value(json_object_get(j, "errno")), "ENOENT");
    vivi_error_from_json(j, &b);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void what_is_absent_is_null_and_what_is_unknown_is_internal(void **state)
{
    viv_error a = VIV_ERROR_INIT, b = VIV_ERROR_INIT;
    cleanup_json json_t *j = NULL;
    cleanup_json json_t *alien = NULL;
    cleanup_json json_t *nothing = json_object();

    (void)state;
    (void)vivi_fail(&a, VIV_E_BUSY, "later");
    j = vivi_error_to_json(&a);
    assert_int_equal(json_object_size(j), 7);
    assert_true(json_is_null(json_object_get(j, "errno")));
    assert_true(json_is_null(json_object_get(j, "vm")));
    assert_true(json_is_null(json_object_get(j, "field")));
    assert_true(json_is_null(json_object_get(j, "hint")));

    alien = json_pack("{s:s,s:s,s:i}", "code", "MARTIAN", "message", "hm", "hint", 5);
    vivi_error_from_json(alien, &b);
    assert_int_equal(b.code, VIV_E_INTERNAL);
    assert_string_equal(b.message, "hm");
    assert_string_equal(b.hint, "");
    vivi_error_from_json(nothing, &b);
    assert_int_equal(b.code, VIV_E_INTERNAL);
    assert_true(b.message[0]);
}

static void long_text_is_cut_at_a_character(void **state)
{
    viv_error b = VIV_ERROR_INIT;
    char text[1001] = {0};
    cleanup_json json_t *j = NULL;

    (void)state;
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    j = json_pack("{s:s,s:s}", "code", "IO", "message", text);
    vivi_error_from_json(j, &b);
    assert_int_equal(strlen(b.message), 510); /* 511 would cut one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_through_frames),
        cmocka_unit_test(what_is_no_object_is_a_protocol_error),
        cmocka_unit_test(one_version_apart_is_agreed_and_more_is_refused_by_name),
        cmocka_unit_test(an_error_survives_the_wire),
        cmocka_unit_test(what_is_absent_is_null_and_what_is_unknown_is_internal),
        cmocka_unit_test(long_text_is_cut_at_a_character),
    };

    return cmocka_run_group_tests_name("store: control", tests, NULL, NULL);
}
