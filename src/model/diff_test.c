#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/diff.h"
#include "model/random_doc.h"

#define ROUNDS 2000

static json_t *completed(const char *text)
{
    json_auto_t *doc = NULL;
    json_t *out = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (vivi_config_parse(text, strlen(text), NULL, "/base", &doc, &err) < 0 ||
        vivi_config_complete(doc, &out, &err) < 0)
        fail_msg("%s", err.message);
    return out;
}

static void diff_of(const char *from, const char *to, struct vivi_diff *ret)
{
    json_auto_t *a = completed(from), *b = completed(to);

    assert_int_equal(vivi_diff(a, b, ret, NULL), 0);
}

/* All changes as people see them, joined by "; ". */
static void tells(const char *from, const char *to, const char *wanted)
{
    cleanup_diff struct vivi_diff d = {0};
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096), again = VIVI_BUF(4096);

    diff_of(from, to, &d);
    for (size_t i = 0; i < d.n; i++) {
        json_auto_t *j = vivi_change_json(&d.items[i]);

        if (i > 0) {
            (void)vivi_buf_str(&out, "; ");
            (void)vivi_buf_str(&again, "; ");
        }
        assert_int_equal(vivi_change_text(&d.items[i], &out), 0);
        assert_int_equal(vivi_change_json_text(j, &again), 0);
    }
    assert_string_equal(out.data ? out.data : "", wanted);
    assert_string_equal(again.data ? again.data : "", wanted);
}

static void a_list_that_lies_deeper_is_compared_by_id(void **state)
{
    static const char one[] = "memory: {zones: [{id: a, size: 1GiB}]}";

    (void)state;
    tells(one, "memory: {zones: [{id: a, size: 2GiB}]}", "memory.zones.a.size: 1GiB → 2GiB");
    tells(one, "memory: {zones: [{id: a, size: 1GiB}, {id: b, size: 1MiB}]}",
          "memory.zones.b: added");
    tells(one, "{}", "memory.zones.a: removed");
}

static void what_is_the_same_has_no_difference(void **state)
{
    (void)state;
    tells("name: a", "{name: a, cpus: 1, nets: [{id: n0}], labels: {}}", "");
}

static void values_are_told_as_people_write_them(void **state)
{
    (void)state;
    tells("name: a", "{name: a, cpus: 4}", "cpus.count: 1 → 4");
    tells("{name: a, memory: 512MiB}", "{name: a, memory: 2GiB}", "memory.size: 512MiB → 2GiB");
    tells("{name: a, stop: {timeout: 60s}}", "{name: a, stop: {timeout: 90s}}",
          "stop.timeout: 1m → 90s");
    tells("name: a", "{name: a, boot: {cmdline: quiet}}", "boot.cmdline: (none) → quiet");
    tells("{name: a, boot: {cmdline: 'a b'}}", "name: a", "boot.cmdline: \"a b\" → (none)");
    tells("name: a", "{name: a, nets: [{id: n0, forward: ['80:8080']}]}",
          "nets.n0.forward: (none) → 127.0.0.1:80:8080/tcp");
}

static void entries_of_a_map_are_changes_of_their_own(void **state)
{
    (void)state;
    tells("{name: a, labels: {job: 41, old: x, same: y}}",
          "{name: a, labels: {job: 42, same: y, io.k8s/role: db}}",
          "labels.job: 41 → 42; labels.old: x → (none); labels.io.k8s/role: (none) → db");
}

static void devices_come_go_and_change_by_id(void **state)
{
    (void)state;
    tells("{name: a, disks: [{id: root, path: /r}, {id: old, path: /o}]}",
          "{name: a, disks: [{id: root, path: /r, readonly: true}, {id: data, path: /d}]}",
          "disks.old: removed; disks.root.readonly: false → true; disks.data: added");
    tells("name: a", "{name: a, nets: []}", "nets.n0: removed");
}

static void an_order_is_told_only_where_the_rest_does_not_make_it(void **state)
{
    (void)state;
    tells("{name: a, disks: [{id: x, path: /x}, {id: y, path: /y}]}",
          "{name: a, disks: [{id: y, path: /y}, {id: x, path: /x}]}", "disks: order x, y → y, x");
    tells("{name: a, disks: [{id: x, path: /x}]}",
          "{name: a, disks: [{id: n, path: /n}, {id: x, path: /x}]}",
          "disks.n: added; disks: order x, n → n, x");
    tells("{name: a, disks: [{id: x, path: /x}, {id: y, path: /y}]}",
          "{name: a, disks: [{id: y, path: /y}, {id: z, path: /z}]}",
          "disks.x: removed; disks.z: added");
}

static void a_change_is_a_record_of_its_path_values_and_time(void **state)
{
    cleanup_diff struct vivi_diff d = {0};
    json_auto_t *value = NULL, *device = NULL;
    cleanup_free char *text = NULL;

    (void)state;
    diff_of("name: a", "{name: a, cpus: 4, nets: []}", &d);
    assert_int_equal(d.n, 2);
    value = vivi_change_json(&d.items[0]);
    text = json_dumps(value, JSON_COMPACT);
    assert_string_equal(text, "{\"path\":\"cpus.count\",\"op\":\"change\",\"from\":1,\"to\":4,"
                              "\"when\":\"live\"}");
    device = vivi_change_json(&d.items[1]);
    assert_string_equal(json_string_value(json_object_get(device, "op")), "remove");
    assert_true(json_is_null(json_object_get(device, "to")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(device, "from"), "type")),
                        "nat");
    assert_true(vivi_change_is_device(&d.items[1]));
    assert_false(vivi_change_is_device(&d.items[0]));
}

static void a_device_that_is_not_there_cannot_be_changed(void **state)
{
    cleanup_diff struct vivi_diff d = {0};
    json_auto_t *other = completed("name: a"), *before = json_deep_copy(other);
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    diff_of("{name: a, disks: [{id: x, path: /x}]}",
            "{name: a, disks: [{id: x, path: /x, readonly: true}]}", &d);
    assert_int_equal(d.n, 1);
    assert_int_equal(vivi_change_make(other, &d.items[0], &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "disks.x.readonly: is not there");
    assert_true(json_equal(other, before));
}

static void control_characters_and_long_texts_stay_on_one_line(void **state)
{
    char yaml[400], longer[300];

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)snprintf(yaml, sizeof(yaml), "{name: a, driver: fake, fake: {script: \"a\\n%s\"}}",
                   longer);
    cleanup_diff struct vivi_diff d = {0};
    cleanup_buf struct vivi_buf out = VIVI_BUF(4096);
    diff_of("{name: a, driver: fake}", yaml, &d);
    assert_int_equal(d.n, 1);
    assert_int_equal(vivi_change_text(&d.items[0], &out), 0);
    assert_null(strchr(out.data, '\n'));
    assert_true(out.len < 120);
}

static void refuses(const char *from, const char *to, const char *message, const char *hint)
{
    cleanup_diff struct vivi_diff d = {0};
    viv_error err = VIV_ERROR_INIT;

    diff_of(from, to, &d);
    assert_int_equal(vivi_diff_fixed(&d, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.hint, hint);
}

static void what_was_made_so_stays_so(void **state)
{
    cleanup_diff struct vivi_diff d = {0};

    (void)state;
    refuses("{name: a, driver: fake}", "{name: a, driver: qemu, cpus: 2}",
            "driver: is fixed when the VM is created (fake)",
            "another driver needs another VM: viv create");
    refuses("{name: a, nets: [{id: n0, mac: '02:00:00:00:00:01'}]}",
            "{name: a, nets: [{id: n0, mac: '02:00:00:00:00:02'}]}",
            "nets.n0.mac: is fixed for as long as the device is there (02:00:00:00:00:01)",
            "remove nets.n0 and add another one");
    refuses("{name: a, disks: [{id: x, path: /x}]}",
            "{name: a, disks: [{id: n, path: /n}, {id: x, path: /x}]}",
            "disks: the order of devices is fixed (x, n)",
            "name those that are there in this order, new ones behind them");
    diff_of("{name: a, nets: [{id: n0, mac: '02:00:00:00:00:01'}]}",
            "{name: a, cpus: 2, nets: [{id: n1, mac: '02:00:00:00:00:02'}]}", &d);
    assert_int_equal(vivi_diff_fixed(&d, NULL), 0);
}

static void paths_meet_when_one_is_a_part_of_the_other(void **state)
{
    (void)state;
    assert_true(vivi_paths_meet("disks.data", "disks.data"));
    assert_true(vivi_paths_meet("disks.data", "disks.data.cache"));
    assert_true(vivi_paths_meet("disks.data.cache", "disks"));
    assert_false(vivi_paths_meet("disks.data", "disks.data2"));
    assert_false(vivi_paths_meet("disks.data.cache", "disks.data.path"));
}

static void equal_documents_have_equal_digests(void **state)
{
    json_auto_t *a = json_pack("{s:i,s:{s:i,s:i}}", "x", 1, "y", "b", 2, "c", 3);
    json_auto_t *b = json_pack("{s:{s:i,s:i},s:i}", "y", "c", 3, "b", 2, "x", 1);
    char one[VIVI_DIGEST_SIZE], other[VIVI_DIGEST_SIZE];

    (void)state;
    assert_int_equal(vivi_document_digest(a, one), 0);
    assert_int_equal(vivi_document_digest(b, other), 0);
    assert_string_equal(one, other);
    (void)json_object_set_new(json_object_get(b, "y"), "c", json_integer(4));
    assert_int_equal(vivi_document_digest(b, other), 0);
    assert_string_not_equal(one, other);
}

/* The property that everything stands on: from, and the changes made one by one, is to. */
static void making_the_changes_of_random_documents_gives_the_other_one(void **state)
{
    uint64_t seed = 20260101;
    json_auto_t *from = vivi_random_document(&seed, "a", "fake");
    size_t changes = 0, orders = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        json_auto_t *to = vivi_random_document(&seed, "a", "fake");
        json_auto_t *again = NULL;
        cleanup_diff struct vivi_diff d = {0};

        /* What is made up is what completing would leave alone. */
        assert_int_equal(vivi_config_complete(to, &again, NULL), 0);
        assert_true(json_equal(again, to));
        assert_int_equal(vivi_diff(from, to, &d, NULL), 0);
        assert_int_equal(d.n == 0, json_equal(from, to));
        changes += d.n;
        for (size_t k = 0; k < d.n; k++) {
            cleanup_buf struct vivi_buf out = VIVI_BUF(65536);

            orders += vivi_change_is_order(&d.items[k]);
            assert_int_equal(vivi_change_make(from, &d.items[k], NULL), 0);
            assert_int_equal(vivi_change_text(&d.items[k], &out), 0);
        }
        if (!json_equal(from, to)) {
            cleanup_free char *a = json_dumps(from, JSON_COMPACT),
                              *b = json_dumps(to, JSON_COMPACT);

            fail_msg("round %d\n%s\n%s", i, a, b);
        }
    }
    assert_true(changes > ROUNDS && orders > ROUNDS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_that_lies_deeper_is_compared_by_id),
        cmocka_unit_test(what_is_the_same_has_no_difference),
        cmocka_unit_test(values_are_told_as_people_write_them),
        cmocka_unit_test(entries_of_a_map_are_changes_of_their_own),
        cmocka_unit_test(devices_come_go_and_change_by_id),
        cmocka_unit_test(an_order_is_told_only_where_the_rest_does_not_make_it),
        cmocka_unit_test(a_change_is_a_record_of_its_path_values_and_time),
        cmocka_unit_test(a_device_that_is_not_there_cannot_be_changed),
        cmocka_unit_test(what_was_made_so_stays_so),
        cmocka_unit_test(paths_meet_when_one_is_a_part_of_the_other),
        cmocka_unit_test(equal_documents_have_equal_digests),
        cmocka_unit_test(control_characters_and_long_texts_stay_on_one_line),
        cmocka_unit_test(making_the_changes_of_random_documents_gives_the_other_one),
    };

    return cmocka_run_group_tests_name("diff", tests, NULL, NULL);
}
